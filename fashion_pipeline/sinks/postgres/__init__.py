"""PostgreSQL: connections, tables, rows, and the lock of each store."""
