"""Secrets are taken out of texts in every spelling."""

from __future__ import annotations

import base64
import json
import shlex
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from ocore.intake.scrub import HIDDEN, SHORTEST, Scrubber

PEM = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU=\n-----END OPENSSH PRIVATE KEY-----\n"


@given(st.text(min_size=SHORTEST), st.text(), st.text())
def test_no_spelling_of_a_secret_stays(secret: str, before: str, after: str) -> None:
    """A secret as it is, in JSON, in a URL, quoted for a shell and in base64 is gone."""
    spellings = [secret, json.dumps(secret)[1:-1], quote(secret, safe=""), shlex.quote(secret)]
    spellings.append(base64.b64encode(secret.encode()).decode().rstrip("="))
    for spelling in spellings:
        scrubbed = Scrubber([secret])(f"{before}{spelling}{after}")
        assert HIDDEN in scrubbed
        assert spelling not in scrubbed.replace(HIDDEN, "\0") or spelling in before or spelling in after


def test_a_private_key_goes_also_when_it_is_not_ours() -> None:
    """Whatever looks like a private key is taken out, whole or cut off."""
    assert Scrubber([])(f"see {PEM} there") == f"see {HIDDEN}\n there"
    assert Scrubber([])(PEM[:60]) == HIDDEN


def test_a_line_of_our_key_goes() -> None:
    """Also a single line of the key's body is a secret."""
    assert Scrubber([PEM])("x b3BlbnNzaC1rZXktdjEAAAAABG5vbmU= y") == f"x {HIDDEN} y"


def test_a_text_without_secrets_stays() -> None:
    """Nothing else is touched."""
    assert Scrubber(["hunter22"])("plain text") == "plain text"


def test_control_characters_do_not_hide_a_secret() -> None:
    """A secret that the other side splits with what is taken out later is taken out, too."""
    for split in ("hunter\x1b[0m22", "hunt\u200ber22", "hunter\x0022"):
        assert Scrubber(["hunter22"]).plain(f"a {split} b", 100) == f"a {HIDDEN} b"
