"""One page that shows what the pipeline made of some stores, from what it stored; a file that fetches nothing."""
