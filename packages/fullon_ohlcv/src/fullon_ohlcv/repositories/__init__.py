"""Per-symbol faces of the store."""
