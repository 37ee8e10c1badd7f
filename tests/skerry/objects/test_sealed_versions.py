"""The content of a version in a Secret: what goes in comes out, and nothing else does."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import pytest

from skerry.objects.sealed_versions import digest_of, opened, sealed

DATA: Any = {"template": {"data": {"pin": "MTIzNA=="}}, "overrides": []}


def test_what_is_sealed_is_opened_by_its_digest() -> None:
    kept = sealed(DATA, b"0123456789abcdef")
    assert opened(kept.digest, {"data": kept.data}) == DATA
    assert digest_of({"data": kept.data}) == kept.digest


def test_the_same_content_has_another_digest_each_time() -> None:
    assert sealed(DATA, b"one").digest != sealed(DATA, b"two").digest, "else it could be guessed"


@pytest.mark.parametrize(
    "held", [{}, {"version": "AAAA"}, {"version": "?", "salt": "?"}, {"version": 1, "salt": "AA=="}]
)
def test_what_was_not_written_by_us_is_no_version(held: Any) -> None:
    assert opened(sealed(DATA, b"s").digest, {"data": held}) is None
    assert opened("", {"data": held}) is None
    assert opened("d", None) is None


def test_what_somebody_exchanged_is_no_version() -> None:
    kept, other = sealed(DATA, b"s"), sealed({"template": {"data": {"pin": "b3RoZXI="}}}, b"s")
    assert opened(kept.digest, {"data": other.data}) is None


def test_a_content_that_unpacks_to_more_than_an_object_may_be_is_no_version() -> None:
    bomb = base64.b64encode(zlib.compress(b" " * (17 * 1024 * 1024))).decode()
    held: Any = {"data": {"version": bomb, "salt": ""}}
    assert opened(digest_of(held), held) is None


@pytest.mark.parametrize("text", [b"[]", b"1", b"null", b"[" * 100_000, b'{"a": NaN}', b'{"a": "\\ud800"}'])
def test_a_content_that_is_no_object_is_no_version(text: bytes) -> None:
    packed = base64.b64encode(zlib.compress(text)).decode()
    held: Any = {"data": {"version": packed, "salt": "AAAA"}}
    assert opened(digest_of(held), held) is None
