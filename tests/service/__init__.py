"""Tests of the service, on each of the storages that it supports."""
