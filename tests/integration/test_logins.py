"""Every way in: all of them provision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import ocore
from tests.integration.support import describe, options, server, statuses

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hosts import Host


@pytest.mark.parametrize(
    ("variant", "by"),
    [
        ("sudo-password", "password"),
        pytest.param("sudo-password", "key", marks=pytest.mark.slow),
        pytest.param("sudo-nopasswd", "key", marks=pytest.mark.slow),
        pytest.param("password-only", "password", marks=pytest.mark.slow),
        pytest.param("ipv6", "key", marks=pytest.mark.slow),
    ],
)
def test_a_login_provisions(start: Callable[..., Host], variant: str, by: str) -> None:
    """The host is provisioned by this user, and a second run by the same way in finds it so."""
    host = start(variant, docker=True)
    result = ocore.provision(server(host, by=by), options())
    assert result.ok, describe(result)

    again = ocore.provision(server(host, by=by, host_key=result.host_key), options())
    assert again.ok, describe(again)
    assert statuses(again)["proxy"] == "unchanged"


@pytest.mark.slow
def test_python_is_installed_where_it_is_missing(start: Callable[..., Host]) -> None:
    """Validation reports a missing Python and changes nothing; provisioning installs it and goes on."""
    host = start("no-python", docker=True)
    checked = ocore.validate(server(host), options())
    assert checked.error is not None
    assert checked.error.code is ocore.ErrorCode.PYTHON_MISSING

    result = ocore.provision(server(host), options())
    assert result.ok, describe(result)


@pytest.mark.slow
def test_a_held_lock_is_waited_for_visibly(start: Callable[..., Host]) -> None:
    """While another program holds apt's lock the run waits, says for whom, and then succeeds."""
    from tests.hosts import hold_apt_locks  # noqa: PLC0415 - only here
    from tests.integration.support import Watch  # noqa: PLC0415 - only here

    host = start("root-key", docker=True)
    hold_apt_locks(host, 15)
    watch = Watch()
    result = ocore.provision(server(host), options(), recorder=watch)

    assert result.ok, describe(result)
    waits = [event.message for event in watch.events if event.kind == "retry" and event.step == "packages"]
    assert waits
    assert any("python3" in wait for wait in waits)
