"""Names to text and back."""

from __future__ import annotations

import dns.name
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.dns.names import canonical, is_below, is_within, labels, name_of, successor, text_of
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


ZONE = b"\x01z\0"
EDGES = st.sampled_from([0x00, 0x01, 0x40, 0x5B, 0x60, 0x61, 0x7A, 0xFE, 0xFF])
LONG = st.lists(
    st.integers(1, 63).flatmap(
        lambda size: st.tuples(EDGES, EDGES).map(lambda of: bytes([of[0]]) * (size - 1) + bytes([of[1]]))
    ),
    min_size=1,
    max_size=6,
).map(lambda parts: wire(parts)[:-1] + ZONE)


@given(LONG.filter(lambda name: len(name) <= 255), LONG.filter(lambda name: len(name) <= 255))
def test_nothing_is_between_a_name_and_its_successor(name: bytes, other: bytes) -> None:
    following = successor(name, ZONE)
    assert is_within(following, ZONE) and following == following.lower()
    assert following == ZONE or canonical(name) < canonical(following)
    end = canonical(following) if following != ZONE else (b"{",)
    assert not canonical(name) < canonical(other) < end


@pytest.mark.parametrize(
    ("name", "following"),
    [
        (b"\x01a" + ZONE, b"\x01\0\x01a" + ZONE),
        (
            wire([b"a" * 59, b"b" * 63, b"b" * 63, b"b" * 62])[:-1] + ZONE,
            wire([b"a" * 59 + b"\0", b"b" * 63, b"b" * 63, b"b" * 62])[:-1] + ZONE,
        ),
        (
            wire([b"a" * 60, b"b" * 63, b"b" * 63, b"b" * 62])[:-1] + ZONE,
            wire([b"a" * 59 + b"b", b"b" * 63, b"b" * 63, b"b" * 62])[:-1] + ZONE,
        ),
        (
            wire([b"@" * 60, b"b" * 63, b"b" * 63, b"b" * 62])[:-1] + ZONE,
            wire([b"@" * 59 + b"[", b"b" * 63, b"b" * 63, b"b" * 62])[:-1] + ZONE,
        ),
        (
            wire([b"\xff" * 60, b"\xff" * 63, b"\xff" * 63, b"b\xff" * 31])[:-1] + ZONE,
            wire([b"b\xff" * 31 + b"\0"])[:-1] + ZONE,
        ),
        (wire([b"\xff" * 59, b"\xff" * 63, b"\xff" * 63, b"\xff" * 63])[:-1] + ZONE, ZONE),
    ],
)
def test_a_name_without_room_below_it_has_the_next_beside_it(name: bytes, following: bytes) -> None:
    assert successor(name, ZONE) == following
