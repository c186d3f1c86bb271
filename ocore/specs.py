"""What is known of a server's hardware and system, parsed from the facts that the `detect` role reports.

Facts come from a machine that may lie: every value is clamped to its range before anything else sees it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ocore.intake.text import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_CORES: Final = 4096
MAX_BYTES: Final = 2**53 - 1  # what JSON readers hold exactly
MAX_TEXT: Final = 200


@dataclass(frozen=True, slots=True)
class HardwareSpecs:
    """A server's hardware and system. All sizes are in bytes.

    Attributes:
        cpu_cores: cores that programs may use.
        ram_total_bytes: MemTotal; swap does not count.
        disk_total_bytes: size of the file system that holds (or will hold) /var/lib/docker.
        disk_free_bytes: what is free on it.
        own_disk_bytes: what our own containers and images use on it.
        os_name: such as "Debian GNU/Linux".
        os_version: such as "13.1".
        kernel_version: as `uname -r` prints it.
        architecture: "amd64" or "arm64".
        docker_version: the running daemon's; None where none answers.

    """

    cpu_cores: int = 0
    ram_total_bytes: int = 0
    disk_total_bytes: int = 0
    disk_free_bytes: int = 0
    own_disk_bytes: int = 0
    os_name: str = ""
    os_version: str = ""
    kernel_version: str = ""
    architecture: str = ""
    docker_version: str | None = None


def _count(value: Any, most: int) -> int:
    """Return a whole number between 0 and `most`; 0 for whatever is no number."""
    # A whole number is compared as it is: `math.isfinite` knows no larger ones than fractions can be.
    if isinstance(value, int) and not isinstance(value, bool):
        return max(0, min(value, most))
    return max(0, min(int(value), most)) if isinstance(value, float) and math.isfinite(value) else 0


def _text(value: Any) -> str:
    return plain(value, MAX_TEXT) if isinstance(value, str) else ""


def parse_specs(facts: Mapping[str, Any]) -> HardwareSpecs:
    """Turn the `ocore` fact into specs; what is missing or absurd becomes zero or empty."""
    return HardwareSpecs(
        cpu_cores=_count(facts.get("cpu_cores"), MAX_CORES),
        ram_total_bytes=_count(facts.get("ram_total_bytes"), MAX_BYTES),
        disk_total_bytes=_count(facts.get("disk_total_bytes"), MAX_BYTES),
        disk_free_bytes=_count(facts.get("disk_free_bytes"), MAX_BYTES),
        own_disk_bytes=_count(facts.get("own_disk_bytes"), MAX_BYTES),
        os_name=_text(facts.get("os_name")),
        os_version=_text(facts.get("os_version")),
        kernel_version=_text(facts.get("kernel")),
        architecture=_text(facts.get("architecture")),
        docker_version=_text(facts.get("docker_version")) or None,
    )
