"""Keys, sealed secrets and tokens."""
