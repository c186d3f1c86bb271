"""Fixtures: those of the service and of real processes, for what is of both."""

from __future__ import annotations

from tests.service.conftest import environment, pytest_generate_tests, servers, service, settings, storage

__all__ = ["environment", "pytest_generate_tests", "servers", "service", "settings", "storage"]
