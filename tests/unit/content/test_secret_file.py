"""A secret's file: when it is as it should be, and who may read it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from ocore_secret_file import MODE, OPTIONS, is_so

if TYPE_CHECKING:
    from pathlib import Path

OURSELVES = (os.getuid(), os.getgid())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file with a secret in it."""
    found = tmp_path / "token"
    found.write_bytes(b"secret")
    found.chmod(MODE)
    return found


def test_a_secret_that_is_as_it_should_be(file: Path) -> None:
    """Its content, its mode and its owner must all be right."""
    assert MODE == 0o600
    assert is_so(str(file), b"secret", OURSELVES)
    assert not is_so(str(file), b"secre", OURSELVES)
    assert not is_so(str(file), b"secret ", OURSELVES)
    assert not is_so(str(file), b"secret", (OURSELVES[0] + 1, OURSELVES[1]))
    assert not is_so(str(file.parent / "none"), b"secret", OURSELVES)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o700])
def test_others_may_not_read_it(file: Path, mode: int) -> None:
    """Another mode is to be mended, also where the content is right."""
    file.chmod(mode)
    assert not is_so(str(file), b"secret", OURSELVES)


def test_a_link_is_no_file_of_ours(file: Path) -> None:
    """Somebody else's link is replaced, and not written through."""
    link = file.parent / "link"
    link.symlink_to(file)
    assert not is_so(str(link), b"secret", OURSELVES)


def test_ansible_hides_the_content() -> None:
    """Wherever Ansible shows the call, the secret is not in it."""
    assert OPTIONS["content"]["no_log"] is True
