"""A faithful simulator of the WooCommerce REST API, served on loopback by the demo and the tests."""
