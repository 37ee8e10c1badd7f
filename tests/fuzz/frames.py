"""Frames that no honest peer would send, and those that it would, mixed: strategies for Hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from skerry.objects.meta import Key, Revision, Stamp
from skerry.wire.codec import NUMBER_MAX
from skerry.wire.frames import (
    Ack,
    Close,
    Compare,
    Fetch,
    Frame,
    Hello,
    Objects,
    ObjectState,
    Ping,
    Pong,
    Receipt,
    Report,
    Reports,
    Stamped,
    Stamps,
    StreamClose,
    StreamCredit,
    StreamData,
    StreamOpen,
    Welcome,
)
from tests.skerry.sync.conversation import key


class Zeros(bytes):
    """Many zero bytes with a short name, for the transcript of what failed."""

    def __repr__(self) -> str:
        return f"bytes({len(self)})"


SMALL = st.integers(0, 12)
NUMBERS = st.one_of(SMALL, st.sampled_from((19, 63, 64, 65, 1000, 30_000, 2**31, 2**32, NUMBER_MAX)))
REVISIONS = NUMBERS.map(Revision)
WORDS = st.sampled_from(("", "e1", "e2", "i1", "eu-1", "logs", "x" * 253, "\n", "é" * 100))
NAMES = st.sampled_from([f"c-{number}" for number in range(14)] + ["web", "", "nobody's"])
KEYS = st.one_of(NAMES.map(key), st.builds(Key, WORDS, WORDS, WORDS), st.just(key("web", "pods")))
STAMPS = st.builds(Stamp, WORDS, REVISIONS)
BODIES = st.one_of(st.binary(max_size=20), st.sampled_from((b"", b"{}", Zeros(5000), Zeros(300_000))))
HASHES = st.one_of(SMALL, st.integers(0, 2**64 - 1))


def some(items: st.SearchStrategy[object], most: int) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(items, max_size=most).map(tuple)


STATES = st.builds(ObjectState, key=KEYS, stamp=STAMPS, body=BODIES)
REPORTS = st.builds(
    Report,
    seq=NUMBERS,
    kind=WORDS,
    key=WORDS,
    body=BODIES,
    wall_ms=NUMBERS,
    age_ms=NUMBERS,
    estimated=st.booleans(),
)
STREAM_IDS = st.integers(0, 80)
STREAM_FRAMES: st.SearchStrategy[Frame] = st.one_of(
    st.builds(StreamOpen, stream=STREAM_IDS, kind=WORDS, params=st.binary(max_size=30), credit=NUMBERS),
    st.builds(StreamData, stream=STREAM_IDS, data=st.one_of(st.binary(max_size=9), st.just(Zeros(60_000)))),
    st.builds(StreamCredit, stream=STREAM_IDS, credit=NUMBERS),
    st.builds(StreamClose, stream=STREAM_IDS, code=NUMBERS, reason=WORDS),
)
BOTH: st.SearchStrategy[Frame] = st.one_of(
    STREAM_FRAMES,
    st.builds(Ping, number=NUMBERS),
    st.builds(Pong, number=NUMBERS),
    st.builds(Close, code=NUMBERS, reason=WORDS, retry_after_ms=NUMBERS),
)
TO_EDGE: st.SearchStrategy[Frame] = st.one_of(
    st.builds(
        Welcome,
        version=NUMBERS,
        session=NUMBERS,
        server_ms=NUMBERS,
        heartbeat_ms=NUMBERS,
        epoch=WORDS,
        revision=REVISIONS,
        received=NUMBERS,
        in_step=st.booleans(),
    ),
    st.just(Compare()),
    st.builds(
        Stamps,
        revision=REVISIONS,
        buckets=some(st.integers(0, 70), 64),
        entries=some(st.builds(Stamped, key=KEYS, stamp=STAMPS), 8),
        more=st.booleans(),
    ),
    st.builds(
        Objects,
        batch=NUMBERS,
        revision=REVISIONS,
        puts=some(STATES, 4),
        deletes=some(KEYS, 4),
        more=st.booleans(),
    ),
    st.builds(Receipt, through=NUMBERS),
    BOTH,
)
HELLOS: st.SearchStrategy[Frame] = st.builds(
    Hello,
    versions=st.sampled_from(((1,), (2, 1), (), (99,), (1,) * 16)),
    node=WORDS,
    agent_version=WORDS,
    incarnation=WORDS,
    epoch=WORDS,
    revision=REVISIONS,
    root=HASHES,
    outbox_head=NUMBERS,
    capabilities=some(WORDS, 3),
)
TO_CLOUD: st.SearchStrategy[Frame] = st.one_of(
    HELLOS,
    st.builds(Compare, batch=NUMBERS, root=HASHES, buckets=st.sampled_from(((), (0,), (0,) * 64, (7,) * 64))),
    st.builds(Fetch, keys=some(KEYS, 12)),
    st.builds(Ack, batch=NUMBERS),
    st.builds(Reports, reports=some(REPORTS, 5)),
    BOTH,
)
ANY = st.one_of(TO_EDGE, TO_CLOUD)
