"""A model shop that changes between any two requests, and what a reader of it must know in the end."""
