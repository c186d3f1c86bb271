"""Tests without a server, a network or a wait."""
