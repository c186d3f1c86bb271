"""The API's document: what the framework makes of the code, with errors in the form that they are sent in."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI

from api.web.problems import MEDIA_TYPE

_PROBLEM: Final = {"$ref": "#/components/schemas/ProblemOut"}


class DocumentedApi(FastAPI):
    """An application whose document names the media type of problems: the framework would declare them as JSON."""

    def openapi(self) -> dict[str, Any]:
        """Return the document."""
        document = super().openapi()
        for operations in document["paths"].values():
            for operation in operations.values():
                for answer in operation["responses"].values():
                    _declare(answer)
        return document


def _declare(answer: dict[str, Any]) -> None:
    """Move a problem to its media type; one that is there already stays."""
    told = answer.get("content", {}).get("application/json", {})
    if told.get("schema") == _PROBLEM:
        answer["content"] = {MEDIA_TYPE: told}
