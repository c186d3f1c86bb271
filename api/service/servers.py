"""What may be done to a server. API.md's table of states is the rule; `tests/service/test_states.py` reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy.orm import defer
from sqlmodel import col

from api.data.tables import RunKind, Server, ServerStatus, now
from api.errors import Problem
from api.service import credentials, etags, quotas
from api.service.agents import forget_token
from api.service.audit import changes, server_thing
from api.service.mapping import host_key
from api.service.queueing import enqueue, first_kind, stop, waiting

if TYPE_CHECKING:
    from api.parts import Parts
    from api.schemas.servers import ServerCreate, ServerUpdate
    from api.service.scope import Scope

_CONNECTION: Final = frozenset({"host", "port", "ssh_user", "auth_method", "ssh_password", "ssh_private_key"})
_AT_WORK: Final = (ServerStatus.VALIDATING, ServerStatus.PROVISIONING)


def create(parts: Parts, scope: Scope, body: ServerCreate, by: str) -> Server:
    """Make a server, and queue its validation."""
    key, password = body.ssh_private_key, body.ssh_password
    credentials.check(body.auth_method, key=key is not None, password=password is not None, given_key=key is not None)
    quotas.check_servers(scope, parts.settings)
    _check_free(scope, None, name=body.name, host=body.host, port=body.port)
    server = Server(
        organization_id=scope.organization,
        name=body.name,
        host=body.host,
        port=body.port,
        ssh_user=body.ssh_user,
        auth_method=body.auth_method,
        max_ssh_sessions=body.max_ssh_sessions,
        description=body.description,
        proxy_type=body.proxy_type or parts.settings.proxy,
        status_message="Waiting for a worker.",
    )
    quotas.check_runs(scope, parts.settings, [server.id])
    credentials.store(server, parts.seal, key=key, password=password)
    scope.session.add(server)
    scope.session.flush()
    enqueue(scope.session, server, first_kind(server, parts.settings), by)
    scope.note("server.create", server_thing(server), changes({}, _as_given(server, body)))
    return server


def update(
    parts: Parts, scope: Scope, name: str, body: ServerUpdate, by: str, *, if_match: str | None = None
) -> Server:
    """Change what the body names; what is absent stays. With `if_match`, only a server that is as it was read."""
    server = scope.server(name, lock=True)
    _refuse_removing(server)
    etags.check(if_match, server, parts.settings)
    given = _given(body)
    new = {field: getattr(body, field) for field in given}
    host, port = new.get("host", server.host), new.get("port", server.port)
    _check_free(scope, server, name=new.get("name", server.name), host=host, port=port)
    method = new.get("auth_method", server.auth_method)
    key, password = new.get("ssh_private_key"), new.get("ssh_password")
    credentials.check(
        method,
        key=bool(key or server.sealed_private_key),
        password=bool(password or server.sealed_password),
        given_key=key is not None,
    )
    reconnects = _reconnects(server, new)
    other_proxy = new.get("proxy_type", server.proxy_type) != server.proxy_type
    before = {field: getattr(server, field, None) for field in new}
    changed = changes(before, new)
    if not changed:
        return server
    _take(parts, server, new, host, port)
    if reconnects:
        _connect_anew(parts, scope, server, by)
    elif other_proxy:
        _bring_up_to_date(scope, server, by)
    server.updated_at = now()
    scope.session.add(server)
    scope.note("server.update", server_thing(server), changed)
    return server


def _as_given(server: Server, body: ServerCreate) -> dict[str, object]:
    """Return the fields of a new server, with what was taken for those that were not given."""
    return {field: getattr(server, field, getattr(body, field)) for field in type(body).model_fields}


def _given(body: ServerUpdate) -> set[str]:
    """Return the fields that were given; an empty credential is none."""
    return {
        field
        for field in body.model_fields_set
        if not (field in {"ssh_private_key", "ssh_password"} and getattr(body, field) is None)
    }


def _reconnects(server: Server, new: dict[str, object]) -> bool:
    """Tell whether what is given changes the connection; a credential is taken for a new one."""
    plain = _CONNECTION - {"ssh_private_key", "ssh_password"}
    return bool(new.keys() & {"ssh_private_key", "ssh_password"}) or any(
        new[field] != getattr(server, field) for field in plain & new.keys()
    )


def _take(parts: Parts, server: Server, new: dict[str, object], host: str, port: int) -> None:
    """Take over what is given."""
    if (host, port) != (server.host, server.port):
        credentials.rebind_key(server, parts.seal, host, port)
        _clear_pin(server)
        # It is another machine, as far as we know: the agent of the old one tells nothing of it.
        forget_token(server)
        server.provisioned = False
    for field in ("name", "ssh_user", "auth_method", "max_ssh_sessions", "description", "proxy_type"):
        if field in new:
            setattr(server, field, new[field])
    key, password = new.get("ssh_private_key"), new.get("ssh_password")
    credentials.store(
        server,
        parts.seal,
        key=key if isinstance(key, str) else None,
        password=password if isinstance(password, str) else None,
    )


def _connect_anew(parts: Parts, scope: Scope, server: Server, by: str) -> None:
    """Begin a new generation: what the old connection's run still says counts no more."""
    server.generation += 1
    server.misses = 0
    stop(scope.session, server, "superseded")
    _set_status(server, ServerStatus.PENDING, "The connection changed; waiting for a worker.")
    scope.session.add(server)
    enqueue(scope.session, server, first_kind(server, parts.settings), by)


def _bring_up_to_date(scope: Scope, server: Server, by: str) -> None:
    """Queue a run for a changed wish, unless one that waits will see it anyway or the server is not well."""
    if server.status in {ServerStatus.PENDING, ServerStatus.ERROR}:
        return
    run = waiting(scope.session, server)
    if run is None or run.kind != RunKind.PROVISION or run.steps:
        enqueue(scope.session, server, RunKind.PROVISION, by)


def remove(parts: Parts, scope: Scope, name: str, by: str, *, if_match: str | None = None) -> None:
    """Mark a server for removal, and queue its clean-up; whatever else it was doing ends."""
    server = scope.server(name, lock=True)
    if server.status == ServerStatus.REMOVING:
        return
    etags.check(if_match, server, parts.settings)
    server.generation += 1
    stop(scope.session, server, "removed")
    _set_status(server, ServerStatus.REMOVING, "Waiting for a worker to clean it up.")
    scope.session.add(server)
    enqueue(scope.session, server, RunKind.CLEANUP, by)
    scope.note("server.delete", server_thing(server))


def retry(parts: Parts, scope: Scope, name: str, by: str) -> str:
    """Queue a run for a server that failed, or that waits with nothing queued; return what was done, in words."""
    server = scope.server(name, lock=True)
    _refuse_removing(server)
    if server.status in _AT_WORK:
        raise Problem("busy", f"The server is {server.status}.")
    if server.status not in {ServerStatus.PENDING, ServerStatus.ERROR}:
        raise Problem("not_failed", f"The server is {server.status}, so there is nothing to retry.")
    if server.status == ServerStatus.PENDING and waiting(scope.session, server) is not None:
        return "The server is already waiting for a worker."
    quotas.check_runs(scope, parts.settings, [server.id])
    _set_status(server, ServerStatus.PENDING, "Waiting for a worker.")
    scope.session.add(server)
    enqueue(scope.session, server, first_kind(server, parts.settings), by)
    scope.note("server.retry", server_thing(server))
    return "A new run is queued; it goes on at the first step that is not so."


def reset_host_key(scope: Scope, name: str, expected: str | None) -> str:
    """Clear the pinned host key; return what that means, in words."""
    server = scope.server(name, lock=True)
    _refuse_removing(server)
    was = host_key(server)
    _clear_pin(server)
    # Whoever answers there from now on gets a token of its own.
    agent = " Its agent gets a new token with the next provisioning." if server.agent_token_hash else ""
    forget_token(server)
    server.expected_fingerprint = expected
    before = {"host_key_fingerprint": was.fingerprint if was else None}
    scope.note(
        "server.reset-host-key",
        server_thing(server),
        changes(before, {"host_key_fingerprint": None, "expected_fingerprint": expected}),
    )
    server.updated_at = now()
    scope.session.add(server)
    then = f"must show {expected}" if expected else "takes the key that the server shows, and pins it"
    hint = " Retry the server to connect." if server.status == ServerStatus.ERROR else ""
    return f"The host key was cleared; the next connection {then}.{agent}{hint}"


def _clear_pin(server: Server) -> None:
    """Clear the pin, and raise its epoch: a run that began before cannot pin its key again.

    What the machine was known by goes with it: there may be another one now, and the old one may be somebody else's.
    """
    server.host_key = server.shown_key = server.address = None
    server.host_key_epoch += 1
    server.expected_fingerprint = None


def _set_status(server: Server, status: ServerStatus, message: str) -> None:
    server.status, server.status_message, server.status_code = status, message, ""
    server.updated_at = now()


def _refuse_removing(server: Server) -> None:
    if server.status == ServerStatus.REMOVING:
        raise Problem("removing")


def _check_free(scope: Scope, server: Server | None, *, name: str, host: str, port: int) -> None:
    """Check that no other server has this name or this address; the database's own constraints hold in a race."""
    others = scope.servers() if server is None else scope.servers().where(col(Server.id) != server.id)
    if scope.session.exec(others.where(col(Server.name) == name)).first() is not None:
        raise Problem("name_taken", f"There is another server with the name {name!r}.")
    at = (col(Server.host) == host, col(Server.port) == port)
    if scope.session.exec(others.where(*at)).first() is not None:
        raise Problem("address_taken", f"There is another server at {host} port {port}.")


def listed(
    scope: Scope, *, limit: int | None, before: str | None, status: ServerStatus | None, words: str | None
) -> list[Server]:
    """Return servers, newest first.

    Args:
        scope: whose they are.
        limit: the most to return; all where None.
        before: only those that were made before the one with this id.
        status: only those with this status.
        words: only those with these words in their name or host.

    """
    sealed = (Server.sealed_private_key, Server.sealed_password, Server.sealed_agent_token)
    query = scope.servers().options(*(defer(column) for column in sealed))  # type: ignore[arg-type]
    query = query.order_by(col(Server.id).desc())
    if status is not None:
        query = query.where(col(Server.status) == status)
    if before is not None:
        query = query.where(col(Server.id) < before)
    if words:
        query = query.where(
            col(Server.name).icontains(words, autoescape=True) | col(Server.host).icontains(words, autoescape=True)
        )
    return list(scope.session.exec(query.limit(limit) if limit else query).all())
