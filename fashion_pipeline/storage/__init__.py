"""Files under one home: tables, blobs, pixels and vectors."""
