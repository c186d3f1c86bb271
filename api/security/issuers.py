"""Tokens of other issuers, which the settings name: whose keys sign them, and what their claims mean here.

The same rules hold as for our own (`tokens.py`). The keys are fetched when they are first needed, and again before they
are old or when a token names one that is not known: in a thread, at most once in some seconds, and never once for each
token, so that nobody makes us flood an issuer or wait for it. See docs/adr/0014-other-issuers.md.
"""

from __future__ import annotations

import math
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import jwt

from api.logs import log
from api.security.fetching import FetchFailed, fetch
from api.security.jwks import Key, KeysRefused, read_keys
from api.security.tokens import (
    DAY,
    LEEWAY,
    MAX_TEXT,
    PERMISSIONS,
    Caller,
    TokenRefused,
    check_beginning,
    unverified,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from api.settings import Issuer, Settings

_REQUIRED: Final = ["iss", "aud", "exp", "sub"]
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_log = log(__name__)


class KeysPending(Exception):  # noqa: N818 - reads as what happened
    """The keys are being fetched; whether the token is one of theirs is known in a moment."""


class KeysMissing(Exception):  # noqa: N818 - reads as what happened
    """There are no keys, so that nobody can tell whether the token is a good one."""


class Issuers:
    """Reads the tokens of other issuers."""

    def __init__(self, settings: Settings) -> None:
        trust = ssl.create_default_context(cafile=settings.issuers_ca_file) if settings.issuers else None
        self._longest = settings.token_max_days * DAY
        self._known = {one.issuer: (one, _Keys(one, settings, trust)) for one in settings.issuers if trust}
        self.patience = settings.issuers_timeout + 1

    def issued(self, token: str) -> bool:
        """Tell whether a token says that it is one of another issuer; it is not believed yet."""
        if not self._known:
            return False
        said = unverified(token)[1].get("iss")
        return isinstance(said, str) and said in self._known

    def read(self, token: str) -> Caller:
        """Return who a token stands for; the organization is as the claim has it, its id or its name.

        Raises:
            TokenRefused: it is no good.
            KeysPending: ask again in a moment.
            KeysMissing: the issuer's keys cannot be had.

        """
        header, said = unverified(token)
        issuer, keys = self._known[said["iss"]]
        _check_header(header, issuer)
        key = keys.find(header["kid"])
        if key is None:
            raise TokenRefused("its key is not known")
        if key.algorithm != header["alg"]:
            raise TokenRefused("its algorithm is not its key's")
        try:
            claims = jwt.decode(
                token,
                key.public,
                algorithms=[key.algorithm],
                audience=issuer.audience,
                issuer=issuer.issuer,
                leeway=LEEWAY,
                options={"require": _REQUIRED},
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise TokenRefused(str(error)[:MAX_TEXT]) from None
        return self._caller(issuer, claims)

    def _caller(self, issuer: Issuer, claims: dict[str, Any]) -> Caller:
        subject, name = _text(claims.get("sub")), claims.get("jti")
        organization = _text(_claim(claims, issuer.organization_claim))
        if issuer.organizations and organization not in issuer.organizations:
            raise TokenRefused("its issuer may not speak for that organization")
        check_beginning(claims)
        begins = claims.get("iat", int(time.time()))
        if not all(type(one) is int for one in (begins, claims["exp"])) or claims["exp"] - begins > self._longest:
            raise TokenRefused("it would live too long")
        granted = _permissions(issuer, _claim(claims, issuer.permissions_claim))
        token = f"{issuer.issuer}#{_text(name)}" if name is not None else ""
        return Caller(organization, f"{subject} ({issuer.issuer})", granted, token, issuer.issuer)


def _check_header(header: dict[str, Any], issuer: Issuer) -> None:
    if header.get("alg") not in issuer.algorithms or "crit" in header:
        raise TokenRefused("its algorithm is not one of its issuer's")
    if str(header.get("typ", "JWT")).lower() not in _TYPES:
        raise TokenRefused("it is of another type")
    if not isinstance(header.get("kid"), str):
        raise TokenRefused("it does not name its key")


def _claim(claims: dict[str, Any], path: str | tuple[str, ...]) -> Any:
    """Return a claim: by its name, or by the names that lead to it."""
    found: Any = claims
    for name in (path,) if isinstance(path, str) else path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or not value.isprintable():
        raise TokenRefused("a claim is no proper text")
    return value


def _permissions(issuer: Issuer, value: Any) -> frozenset[str]:
    """Return what a claim allows here: a list of texts, or one text with blanks, as `scope` has it."""
    given = value.split() if isinstance(value, str) else [] if value is None else value
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise TokenRefused("its permissions are no list of texts")
    if issuer.grants:
        return frozenset(issuer.grants[one] for one in given if one in issuer.grants)
    return frozenset(given) & frozenset(PERMISSIONS)


class _Keys:
    """The keys of one issuer."""

    def __init__(self, issuer: Issuer, settings: Settings, trust: ssl.SSLContext) -> None:
        self._issuer = issuer
        self._trust = trust
        self._timeout, self._pause = settings.issuers_timeout, settings.issuers_pause
        self._lifetime, self._keep = settings.issuers_lifetime, settings.issuers_keep_hours * 3600
        self._lock = threading.Lock()
        self._keys: Mapping[str, Key] = {}
        self._good_at = self._tried_at = -math.inf
        self._fetching = self._failed = False

    def find(self, name: str) -> Key | None:
        """Return a key; None where there is none of that name."""
        with self._lock:
            age = time.monotonic() - self._good_at
            found = self._keys.get(name) if age < self._keep else None
            if found is None or age > self._lifetime / 2:
                self._renew()
            if found is not None and age <= self._lifetime:
                return found
            # Of an issuer that is known to be away nobody waits for anything that the last good keys can tell.
            overdue = time.monotonic() - self._tried_at > self._timeout
            if self._fetching and not (found is not None and (self._failed or overdue)):
                raise KeysPending
            if age >= self._keep:
                raise KeysMissing
            return found

    def _renew(self) -> None:
        """Have the keys fetched, unless they are being fetched or just were."""
        if self._fetching or time.monotonic() - self._tried_at < self._pause:
            return
        self._fetching, self._tried_at = True, time.monotonic()
        threading.Thread(target=self._fetch, name="issuer", daemon=True).start()

    def _fetch(self) -> None:
        keys, reason = None, ""
        try:
            keys = read_keys(fetch(self._issuer.jwks_url, self._trust, self._timeout))
        except (FetchFailed, KeysRefused) as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next try must be possible
            reason = type(error).__name__
        with self._lock:
            self._fetching, self._failed = False, keys is None
            if keys is not None:
                self._keys, self._good_at = keys, time.monotonic()
        if keys is None:
            _log.warning("an issuer's keys cannot be had", issuer=self._issuer.issuer, reason=reason)
