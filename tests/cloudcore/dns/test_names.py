"""Names to text and back."""

from __future__ import annotations

import dns.name
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcore.dns.names import canonical, is_below, is_within, labels, name_of, text_of
from skerry.errors import InvalidError

LABELS = st.lists(st.binary(min_size=1, max_size=20), max_size=8)


def wire(parts: list[bytes]) -> bytes:
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


@given(LABELS)
def test_a_name_survives_its_text(parts: list[bytes]) -> None:
    assert name_of(text_of(wire(parts))) == wire(parts)
    assert labels(wire(parts)) == parts


@given(LABELS)
def test_dnspython_reads_our_text_as_the_same_name(parts: list[bytes]) -> None:
    assert dns.name.from_text(text_of(wire(parts))).to_wire() == wire(parts)


@given(LABELS, LABELS)
def test_canonical_order_is_dnspythons(one: list[bytes], other: list[bytes]) -> None:
    ours = canonical(wire(one)) < canonical(wire(other))
    assert ours == (dns.name.Name([*one, b""]) < dns.name.Name([*other, b""]))


def test_a_name_is_below_another_at_labels_only() -> None:
    assert is_below(name_of("a.example"), name_of("example"))
    assert not is_within(name_of("bexample"), name_of("example"))
    assert not is_below(name_of("example"), name_of("example"))


@pytest.mark.parametrize(
    "text", ["a..b", ".a", "a b", "\\300", "a\\", "x" * 64, ".".join(["x" * 60] * 5), "ü.example"]
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        name_of(text)
