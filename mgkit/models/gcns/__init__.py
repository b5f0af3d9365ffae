"""Networks of key-points."""
