"""What the modules that run on servers decide, without a server."""
