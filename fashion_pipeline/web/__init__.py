"""HTTP for everyone: which addresses may be reached, and how one exchange is bounded and retried."""
