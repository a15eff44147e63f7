"""A model WooCommerce shop served over HTTP, and garments drawn for it."""
