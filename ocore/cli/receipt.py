"""`ocore receipt verify`: whether a document of receipts is to be believed. Contacts nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ocore.cli.exits import Exit
from ocore.cli.outcome import Outcome
from ocore.errors import ConfigError
from ocore.receipts import digest, is_public_key, verify

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ocore.cli.session import Session

REFUSED: Final = "receipt_refused"
_MOST: Final = 64 * 2**20
_REMEDY: Final = "Do not rely on it; read it anew from the service, with the keys that you know to be the service's."


def receipt(session: Session) -> Outcome:
    """Check a document of receipts, offline."""
    arguments = session.arguments
    keys = _keys(arguments)
    document = _read("FILE", arguments.file)
    faults = verify(document, keys, server=arguments.server, last=arguments.last)
    if faults:
        return _refused([(one.index, one.reason) for one in faults], [str(one) for one in faults])
    found = [one["receipt"] for one in document["receipts"]]
    stated = (document.get("statement") or {}).get("statement") or {}
    body: dict[str, Any] = {
        "believed": True,
        "server": found[0]["server"] if found else None,
        "receipts": len(found),
        "last": digest(found[-1]) if found else None,
        "statedAt": stated.get("at"),
        "faults": [],
    }
    return Outcome(body, _lines(body))


def add_receipt(parser: ArgumentParser) -> None:
    """Say which document, and whom to believe."""
    parser.add_argument("what", metavar="verify", choices=("verify",), help="what to do")
    parser.add_argument(
        "file", metavar="FILE", help="what GET /api/servers/{id}/receipts answered; - for standard input"
    )
    parser.add_argument(
        "--key",
        metavar="KEY",
        action="append",
        default=[],
        help="a public key that is believed, in base64, or a file with what GET /api/receipts/keys answered; "
        "may be given several times",
    )
    parser.add_argument("--server", metavar="ID", help="the server that it must be about (default: the first one's)")
    parser.add_argument("--last", metavar="DIGEST", help="the digest that the last receipt must have")


def _keys(arguments: Namespace) -> frozenset[str]:
    """Return the keys that are believed. Those that a document brings along prove nothing."""
    found: list[str] = []
    for given in arguments.key:
        found += [given] if is_public_key(given) else _keys_of(_read("--key", given))
    if not found:
        raise ConfigError("--key", "name at least one key; GET /api/receipts/keys answers which the service has")
    return frozenset(found)


def _keys_of(answer: Any) -> list[str]:
    rows = answer.get("keys") if isinstance(answer, dict) else None
    found = [str(one.get("key")) for one in rows if isinstance(one, dict)] if isinstance(rows, list) else []
    if not found or not all(is_public_key(one) for one in found):
        raise ConfigError("--key", "must be a public key in base64, or a file with what GET /api/receipts/keys answers")
    return found


def _read(field: str, name: str) -> Any:
    """Read JSON in which no object names something twice: such a one means two things."""
    try:
        text = sys.stdin.read(_MOST + 1) if name == "-" else _text_of(Path(name))
    except (OSError, UnicodeDecodeError) as error:
        words = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(field, f"{name} cannot be read: {words}") from None
    if len(text) > _MOST:
        raise ConfigError(field, f"{name} is larger than {_MOST // 2**20} MiB")
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ConfigError(field, f"{name} is not JSON: {error}") from None


def _text_of(file: Path) -> str:
    with file.open(encoding="utf-8") as opened:
        return opened.read(_MOST + 1)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands in an object twice")
    return found


def _refused(faults: list[tuple[int, str]], lines: list[str]) -> Outcome:
    body = {"believed": False, "faults": [{"index": index, "reason": reason} for index, reason in faults]}
    error = {"code": REFUSED, "message": f"{lines[0]}.", "remedy": _REMEDY, "retryable": False}
    complaint = [f"Refused ({REFUSED}):", *(f"  {line}" for line in lines), _REMEDY]
    return Outcome(body, (), Exit.FAILED, error, complaint)


def _lines(body: dict[str, Any]) -> list[str]:
    server = body["server"]
    where = f" of the server {server['id']} ({server['host']})" if server else ""
    until = f" Complete as of {body['statedAt']}." if body["statedAt"] else ""
    return [f"Believed: {body['receipts']} receipt(s){where}.{until}", f"Last: {body['last']}"]
