"""The nine operations of the seed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from sqlmodel import col, select

from api.data.tables import ServerStatus, StepLog
from api.schemas.capacity import CapacityOut
from api.schemas.fields import EntityTags, PlainText
from api.schemas.servers import (
    HostKeyReset,
    Message,
    ServerCreate,
    ServerDetail,
    ServerList,
    ServerOut,
    ServerUpdate,
    StepLogList,
)
from api.service import etags, mapping, servers
from api.service.scope import Scope
from api.web.dependencies import Manager, TheParts, Viewer
from api.web.once import Once
from api.web.paging import Cursor, page
from api.web.routes.responses import BODY, CHANGED, CONFLICT, KEYED, NOT_FOUND, PROBLEMS
from api.web.transaction import reading, writing

router = APIRouter(prefix="/api/servers", tags=["servers"], responses=PROBLEMS)

IfMatch = Annotated[EntityTags, Header(description="The ETag of a GET: 412 where somebody changed it meanwhile.")]


@router.get("", operation_id="listServers")
def list_servers(
    parts: TheParts,
    caller: Viewer,
    request: Request,
    response: Response,
    *,
    limit: Annotated[int | None, Query(ge=1, le=500, description="The most to return; all without it.")] = None,
    cursor: Cursor = None,
    status: Annotated[ServerStatus | None, Query(description="Only those with this status.")] = None,
    q: Annotated[PlainText | None, Query(max_length=100, description="Only those with this in name or host.")] = None,
) -> ServerList:
    """Return the organization's servers, newest first.

    With `limit`, a `Link` header with `rel="next"` leads to the rest.
    """
    most = limit + 1 if limit else None

    def use(scope: Scope) -> list[ServerOut]:
        found = servers.listed(scope, limit=most, before=str(cursor) if cursor else None, status=status, words=q)
        return [mapping.server_out(one) for one in found]

    found = reading(parts.database, caller, use)
    return ServerList(servers=page(found, limit, request, response) if limit else found)


@router.post("", status_code=201, operation_id="createServer", responses=BODY | CONFLICT)
def create_server(parts: TheParts, caller: Manager, once: Once, body: ServerCreate, response: Response) -> ServerOut:
    """Create a server, and queue its validation; a validated server goes on to be provisioned by itself."""
    made = once(ServerOut, lambda scope: mapping.server_out(servers.create(parts, scope, body, caller.subject)))
    if not once.replayed:
        parts.bell.ring()
    response.headers["Location"] = f"/api/servers/{made.id}"
    return made


@router.get(
    "/{id}",
    operation_id="getServer",
    responses=NOT_FOUND | {304: {"description": "It is as If-None-Match has it"}},
    response_model=ServerDetail,
)
def get_server(
    parts: TheParts,
    caller: Viewer,
    id: str,  # noqa: A002 - the seed's name
    response: Response,
    if_none_match: Annotated[EntityTags, Header(description="An ETag that was seen: 304 where it still holds.")] = None,
) -> ServerDetail | Response:
    """Return a server with its hardware, status and capacity, and an ETag that says which state this is."""

    def use(scope: Scope) -> tuple[ServerDetail, str]:
        server = scope.server(id)
        detail = mapping.server_detail(server, parts.settings)
        return detail, etags.of(server, detail)

    detail, tag = reading(parts.database, caller, use)
    if etags.is_known(if_none_match, tag):
        return Response(status_code=304, headers={"ETag": tag})
    response.headers["ETag"] = tag
    return detail


@router.put("/{id}", operation_id="updateServer", responses=NOT_FOUND | CONFLICT | CHANGED | BODY)
def update_server(
    parts: TheParts,
    caller: Manager,
    id: str,  # noqa: A002 - the seed's name
    body: ServerUpdate,
    if_match: IfMatch = None,
) -> ServerOut:
    """Change what the body names; a change of the connection queues a new validation."""

    def use(scope: Scope) -> ServerOut:
        return mapping.server_out(servers.update(parts, scope, id, body, caller.subject, if_match=if_match))

    changed = writing(parts.database, caller, use)
    parts.bell.ring()
    return changed


@router.delete("/{id}", status_code=202, operation_id="deleteServer", responses=NOT_FOUND | CHANGED)
def delete_server(
    parts: TheParts,
    caller: Manager,
    id: str,  # noqa: A002 - the seed's name
    if_match: IfMatch = None,
) -> Message:
    """Mark a server for removal: what was put on it is cleaned up, and then it is gone, here with its secrets."""
    writing(parts.database, caller, lambda scope: servers.remove(parts, scope, id, caller.subject, if_match=if_match))
    parts.bell.ring()
    return Message(message="The server is being removed; it is gone when it is not found any more.")


@router.get("/{id}/capacity", operation_id="getServerCapacity", responses=NOT_FOUND)
def get_capacity(
    parts: TheParts,
    caller: Viewer,
    id: str,  # noqa: A002 - the seed's name
    *,
    profile: Annotated[str | None, Query(description="The size of an instance; the setting's without it.")] = None,
    add_cores: Annotated[int, Query(alias="addCores", ge=0, le=4096, description="If there were more cores.")] = 0,
    add_ram: Annotated[int, Query(alias="addRamMB", ge=0, le=2**24, description="If there were more RAM.")] = 0,
    add_disk: Annotated[int, Query(alias="addDiskGB", ge=0, le=2**20, description="If there were more disk.")] = 0,
) -> CapacityOut:
    """Return how many instances a server can carry, and why; also if it had more, or for instances of another size."""
    asked = mapping.Asked(mapping.profile(parts.settings, profile), add_cores, add_ram, add_disk)
    return reading(parts.database, caller, lambda scope: mapping.capacity(scope.server(id), parts.settings, asked))


@router.get("/{id}/provisioning-logs", operation_id="getServerProvisioningLogs", responses=NOT_FOUND)
def get_logs(parts: TheParts, caller: Viewer, id: str) -> StepLogList:  # noqa: A002 - the seed's name
    """Return every attempt at every step, oldest first."""

    def use(scope: Scope) -> StepLogList:
        server = scope.server(id)
        query = select(StepLog).where(col(StepLog.server_id) == server.id).order_by(col(StepLog.id))
        return StepLogList(logs=[mapping.log_out(row) for row in scope.session.exec(query).all()])

    return reading(parts.database, caller, use)


@router.post("/{id}/reset-host-key", operation_id="resetServerHostKey", responses=NOT_FOUND | CONFLICT | BODY)
def reset_host_key(
    once: Once,
    id: str,  # noqa: A002 - the seed's name
    body: HostKeyReset | None = None,
) -> Message:
    """Clear the pinned host key: the next connection takes the key it is shown, or must be shown the expected one."""
    expected = body.expected_fingerprint if body else None
    return once(Message, lambda scope: Message(message=servers.reset_host_key(scope, id, expected)))


@router.post("/{id}/retry", operation_id="retryServer", responses=NOT_FOUND | CONFLICT | KEYED)
def retry_server(parts: TheParts, caller: Manager, once: Once, id: str) -> Message:  # noqa: A002 - the seed's name
    """Queue a new run for a server that failed."""
    said = once(Message, lambda scope: Message(message=servers.retry(parts, scope, id, caller.subject)))
    if not once.replayed:
        parts.bell.ring()
    return said
