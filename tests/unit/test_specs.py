"""Facts from a machine that may lie."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocore.specs import MAX_BYTES, MAX_CORES, MAX_TEXT, HardwareSpecs, parse_specs

TRUE = {
    "cpu_cores": 4,
    "ram_total_bytes": 8_000_000_000,
    "disk_total_bytes": 150_000_000_000,
    "disk_free_bytes": 140_000_000_000,
    "own_disk_bytes": 1_000,
    "os_name": "Debian GNU/Linux",
    "os_version": "13.1",
    "kernel": "6.12.1-amd64",
    "architecture": "amd64",
    "docker_version": "26.1.5",
}


def test_true_facts_become_specs() -> None:
    """Every field is taken over."""
    assert parse_specs(TRUE) == HardwareSpecs(
        cpu_cores=4,
        ram_total_bytes=8_000_000_000,
        disk_total_bytes=150_000_000_000,
        disk_free_bytes=140_000_000_000,
        own_disk_bytes=1_000,
        os_name="Debian GNU/Linux",
        os_version="13.1",
        kernel_version="6.12.1-amd64",
        architecture="amd64",
        docker_version="26.1.5",
    )


def test_no_facts_become_empty_specs() -> None:
    """What is missing is zero or empty, and a Docker that does not answer has no version."""
    assert parse_specs({}) == HardwareSpecs()
    assert parse_specs({"docker_version": ""}).docker_version is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (-1, 0),
        (10**30, MAX_CORES),
        (1.9, 1),
        (float("inf"), 0),
        (float("nan"), 0),
        (True, 0),
        ("4", 0),
        (None, 0),
        ([], 0),
        ({}, 0),
    ],
)
def test_an_absurd_number_is_clamped(value: Any, expected: int) -> None:
    """A number out of its range is brought into it; what is no number is zero."""
    assert parse_specs({"cpu_cores": value}).cpu_cores == expected


def test_sizes_stay_within_what_json_readers_hold() -> None:
    """A size that a JavaScript program could not hold exactly is clamped."""
    assert parse_specs({"ram_total_bytes": 2**60}).ram_total_bytes == MAX_BYTES


@pytest.mark.parametrize("value", [5, None, ["x"], {"x": 1}, True])
def test_what_is_no_text_is_empty(value: Any) -> None:
    """A text field takes texts only."""
    assert parse_specs({"os_name": value}).os_name == ""


def test_texts_are_cleaned_and_cut() -> None:
    """Control characters go, and a text of any length is cut."""
    found = parse_specs({"os_name": "\x1b[31mDebian\x07\n", "kernel": "k" * 10_000_000})
    assert found.os_name == "Debian"
    assert len(found.kernel_version) == MAX_TEXT


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(sorted(TRUE)), json_values))
def test_any_facts_become_specs_that_can_be_stored(facts: dict[str, Any]) -> None:
    """Whatever a host reports, the specs are whole, in range and can be encoded."""
    found = parse_specs(facts)
    for value in dataclasses.asdict(found).values():
        if isinstance(value, str):
            assert len(value) <= MAX_TEXT
            value.encode()
        elif value is not None:
            assert 0 <= value <= MAX_BYTES
    json.dumps(dataclasses.asdict(found), allow_nan=False)
