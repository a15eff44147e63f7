"""What is wrong with a shop, found out by trying: from its address to a page of its products. Nothing is written."""
