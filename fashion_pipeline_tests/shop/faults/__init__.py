"""What becomes of a store whose shop goes wrong, and what its owner is told."""
