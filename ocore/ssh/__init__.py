"""OpenSSH as oCore uses it: its options, reading a host key, and what its words mean."""
