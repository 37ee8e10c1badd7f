"""Contents that were opened are remembered, of the Secret as it was and by its digest, and not without bound."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcore.federation.opened_contents import BYTES_MAX, OpenedContents
from skerry.objects.sealed_versions import sealed


def secret(text: str, *, uid: str = "u", version: int = 1) -> tuple[str, Any]:
    kept = sealed({"template": {"k": text}}, b"salt")
    return kept.digest, {"metadata": {"uid": uid, "resourceVersion": str(version)}, "data": kept.data}


def test_what_was_opened_is_not_opened_again() -> None:
    contents = OpenedContents()
    digest, obj = secret("one")
    first = contents.of(digest, obj)
    assert first == {"template": {"k": "one"}}
    assert contents.of(digest, obj) is first


def test_another_digest_is_none_of_it_and_that_is_remembered_too() -> None:
    contents = OpenedContents()
    digest, obj = secret("one")
    assert contents.of(digest, obj) is not None
    assert contents.of("other", obj) is None
    held = contents.held_bytes
    assert contents.of("other", obj) is None
    assert contents.held_bytes == held
    assert contents.of(digest, None) is None


@pytest.mark.parametrize("other", [{"uid": "v"}, {"version": 2}])
def test_another_secret_of_the_name_or_what_was_written_since_is_opened_anew(other: Any) -> None:
    contents = OpenedContents()
    digest, obj = secret("one")
    _, exchanged = secret("two", **other)
    assert contents.of(digest, obj) is not None
    assert contents.of(digest, exchanged) is None


def test_what_was_asked_for_last_stays_and_no_more_than_the_bound() -> None:
    contents = OpenedContents()
    secrets = [secret("x" * (1 << 20), uid=f"u{at}") for at in range(20)]
    first = contents.of(*secrets[0])
    for digest, obj in secrets[1:]:
        contents.of(digest, obj)
        assert contents.of(*secrets[0]) is first
        assert contents.held_bytes <= BYTES_MAX
    last = contents.of(*secrets[-1])
    assert contents.of(*secrets[-1]) is last
    assert contents.held_bytes > BYTES_MAX - (2 << 20)


def test_what_is_larger_than_the_bound_is_opened_each_time() -> None:
    contents = OpenedContents()
    digest, obj = secret("x" * (BYTES_MAX - 100))
    assert contents.of(digest, obj) is not None
    assert contents.held_bytes == 0
