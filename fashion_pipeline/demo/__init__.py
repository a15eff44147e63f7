"""The demo: model WooCommerce shops served over HTTP, images drawn for them, and a page of the results."""
