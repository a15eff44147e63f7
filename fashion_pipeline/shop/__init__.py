"""A WooCommerce shop: what changed in it, what is in it, and what its payloads mean."""
