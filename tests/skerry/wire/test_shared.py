"""A change for many sessions is encoded once, and what each of them is sent is the frame that it should be."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import TooLargeError
from skerry.objects.meta import Key, Revision, Stamp
from skerry.wire import shared
from skerry.wire.codec import BODY_BYTES_MAX, decode, encode, objects_head
from skerry.wire.dictionary import NUMBERS
from skerry.wire.frames import Objects, ObjectState, Ping
from skerry.wire.shared import ITEMS_MAX, SharedEncoder
from tests.released.v1 import codec as released
from tests.skerry.wire.samples import CONFIG, POD, SAMPLES, UID
from tests.skerry.wire.test_interop import frame_class

__all__ = ["frame_class"]

NOISE = random.Random(7).randbytes(BODY_BYTES_MAX)
BODIES = [
    b"{}",
    b'{"metadata":{"name":"settings","namespace":"default"},"data":{"rate":"5"}}',
    b"a" * 5000,
    NOISE[:900],
]


def pushed(body: bytes, *, batch: int = 1, revision: int = 7, stamp: int = 6) -> Objects:
    put = ObjectState(key=CONFIG, stamp=Stamp(UID, Revision(stamp)), body=body)
    return Objects(batch=batch, revision=Revision(revision), puts=(put,), deletes=(POD,), more=False)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Objects]:
    """The frames whose heads had to be made."""
    frames: list[Objects] = []

    def head(frame: Objects, *, tail_bytes: int, dictionary: int) -> bytes:
        frames.append(frame)
        return objects_head(frame, tail_bytes=tail_bytes, dictionary=dictionary)

    monkeypatch.setattr(shared, "objects_head", head)
    return frames


@pytest.mark.parametrize("number", (0, *NUMBERS))
@pytest.mark.parametrize("body", BODIES, ids=len)
def test_sessions_at_different_batches_share_what_they_are_told(
    made: list[Objects], body: bytes, number: int
) -> None:
    encoder = SharedEncoder()
    for batch in (1, 2, 99, 100, 127):
        frame = pushed(body, batch=batch, revision=70 + batch % 3)
        data = encoder.encode(frame, dictionary=number)
        assert decode(data) == frame
        assert len(data) <= len(encode(frame, dictionary=number)) + 16
    assert len(made) == 1


@given(
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**63 - 1),
    st.binary(max_size=2000),
    st.sampled_from((0, *NUMBERS)),
    st.booleans(),
)
def test_every_number_and_body_comes_back(batch: int, revision: int, body: bytes, number: int, more: bool) -> None:
    encoder = SharedEncoder()
    put = ObjectState(key=CONFIG, stamp=Stamp(UID, Revision(1)), body=body)
    frame = Objects(batch=batch, revision=Revision(revision), puts=(put,), deletes=(), more=more)
    for _ in range(2):
        assert decode(encoder.encode(frame, dictionary=number)) == frame


@pytest.mark.parametrize("body", BODIES, ids=len)
def test_a_gateway_of_the_first_release_reads_it(body: bytes) -> None:
    read: Any = released.decode(SharedEncoder().encode(pushed(body)))
    assert (read.batch, read.revision, read.puts[0].body) == (1, 7, body)


def test_a_parser_of_somebody_else_reads_it(frame_class: Any) -> None:
    theirs = frame_class.FromString(SharedEncoder().encode(pushed(BODIES[1], batch=300)))
    assert (theirs.objects.batch, theirs.objects.revision, theirs.objects.puts[0].body) == (300, 7, BODIES[1])


def test_another_state_of_the_object_is_made_anew(made: list[Objects]) -> None:
    encoder = SharedEncoder()
    for frame in (pushed(b"old"), pushed(b"new", stamp=8), pushed(b"another life, or a mistake", stamp=8)):
        assert decode(encoder.encode(frame)) == frame
    assert len(made) == 3


def test_what_is_kept_is_bounded_with_the_objects_behind_it() -> None:
    encoder = SharedEncoder(kept_bytes_max=3 * 5100)
    for stamp in range(20):
        encoder.encode(pushed(b"a" * 5000, stamp=stamp), dictionary=1)
    assert len(encoder._heads) == 2
    encoder.encode(pushed(b"a" * 20_000, stamp=99), dictionary=1)
    assert not encoder._heads, "larger than all that may be kept"
    assert encoder._bytes == 0


def test_what_is_used_stays_and_the_oldest_goes(made: list[Objects]) -> None:
    encoder = SharedEncoder(kept_bytes_max=3 * 5100)
    for stamp in (1, 2, 1, 3, 1):
        encoder.encode(pushed(b"a" * 5000, stamp=stamp), dictionary=1)
    assert len(made) == 3


def test_other_frames_and_whole_views_are_encoded_as_ever(made: list[Objects]) -> None:
    encoder = SharedEncoder()
    whole = Objects(
        batch=1,
        revision=Revision(7),
        puts=(),
        deletes=tuple(Key("pods", "default", f"p-{number}") for number in range(ITEMS_MAX + 1)),
        more=False,
    )
    for frame in (*SAMPLES.values(), Ping(number=3), whole):
        if frame is whole or not isinstance(frame, Objects):
            assert encoder.encode(frame, dictionary=1) == encode(frame, dictionary=1)
    assert not made


def test_an_object_that_no_frame_takes_is_refused_as_ever() -> None:
    for body in (NOISE + b"1", b"a" * (BODY_BYTES_MAX + 1)):
        with pytest.raises(TooLargeError):
            SharedEncoder().encode(pushed(body))
