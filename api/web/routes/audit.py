"""The audit log."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from api.schemas.audit import AuditEntryOut, AuditList
from api.schemas.fields import PlainText
from api.service import audit, mapping
from api.service.scope import Scope
from api.web.dependencies import TheParts, Viewer
from api.web.paging import Cursor, page
from api.web.routes.responses import PROBLEMS
from api.web.transaction import reading

router = APIRouter(prefix="/api/audit", tags=["audit"], responses=PROBLEMS)


@router.get("", operation_id="listAudit")
def list_audit(
    parts: TheParts,
    caller: Viewer,
    request: Request,
    response: Response,
    *,
    limit: Annotated[int, Query(ge=1, le=500, description="The most to return.")] = 100,
    cursor: Cursor = None,
    server: Annotated[UUID | None, Query(description="Only what is about this server, also when it is gone.")] = None,
    action: Annotated[PlainText | None, Query(max_length=100, description="Only this action.")] = None,
) -> AuditList:
    """Return who changed what, newest first; a `Link` header with `rel="next"` leads to the rest."""

    def use(scope: Scope) -> list[AuditEntryOut]:
        found = audit.listed(
            scope,
            limit=limit + 1,
            before=str(cursor) if cursor else None,
            server=str(server) if server else None,
            action=action,
        )
        return [mapping.audit_out(one) for one in found]

    return AuditList(entries=page(reading(parts.database, caller, use), limit, request, response))
