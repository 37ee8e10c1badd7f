"""Hypothesis' state machines around the two session machines: any frame in any state, any order of calls."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from skerry.sync.edge import EdgeState
from skerry.wire.frames import Frame, Objects, Receipt, Stamps
from tests.fuzz import frames
from tests.fuzz.machines import CloudUnderTest, EdgeUnderTest
from tests.skerry.sync.conversation import hello, welcome


class EdgeMachine(RuleBasedStateMachine):
    """The gateway's half."""

    def __init__(self) -> None:
        super().__init__()
        self.edge = EdgeUnderTest()
        self.batch = 0

    @initialize(greeted=st.booleans(), in_step=st.booleans(), epoch=st.sampled_from(("e1", "e2")))
    def start(self, greeted: bool, in_step: bool, epoch: str) -> None:
        if greeted:
            self.edge.receive(welcome(in_step=in_step and epoch == "e1", epoch=epoch))

    @rule(frame=frames.TO_EDGE)
    def frame(self, frame: Frame) -> None:
        self.edge.receive(frame)

    @rule(frame=frames.ANY)
    def any_frame(self, frame: Frame) -> None:
        if self.edge.machine.state is not EdgeState.GREETING:
            self.edge.receive(frame)

    @rule(puts=frames.some(frames.STATES, 3), deletes=frames.some(frames.KEYS, 3), more=st.booleans())
    def next_batch(self, puts: tuple[object, ...], deletes: tuple[object, ...], more: bool) -> None:
        """The number that is due, so that deeper states are reached."""
        self.batch += 0 if more else 1
        self.edge.receive(
            Objects(
                batch=self.batch + 1 if more else self.batch,
                revision=frames.Revision(50),
                puts=puts,  # type: ignore[arg-type]
                deletes=deletes,  # type: ignore[arg-type]
                more=more,
            )
        )

    @precondition(lambda self: self.edge.machine.state is EdgeState.COMPARING)
    @rule(entries=frames.some(st.builds(frames.Stamped, key=frames.KEYS, stamp=frames.STAMPS), 9), more=st.booleans())
    def stamps(self, entries: tuple[object, ...], more: bool) -> None:
        every = tuple(range(64))
        self.edge.receive(
            Stamps(revision=frames.Revision(40), buckets=every, entries=entries, more=more)  # type: ignore[arg-type]
        )

    @rule(through=st.integers(1, 25))
    def receipt(self, through: int) -> None:
        self.edge.receive(Receipt(through=through))

    @rule()
    def unknown_frame(self) -> None:
        self.edge.receive(None)

    @rule(data=st.binary(max_size=60))
    def data(self, data: bytes) -> None:
        if len(data) > 40:  # seldom: it is nearly always the end
            self.edge.receive_bytes(data)

    @rule()
    def write_ends(self) -> None:
        self.edge.write_ends()

    @rule(count=st.integers(1, 9), size=st.sampled_from((0, 10, 70_000, 1_100_000)))
    def append(self, count: int, size: int) -> None:
        self.edge.append(count, size)

    @rule(seconds=st.sampled_from((0.0, 0.001, 1.0, 29.0, 61.0, 1000.0)))
    def wait(self, seconds: float) -> None:
        self.edge.wait(seconds)

    @rule()
    def wait_until_due(self) -> None:
        self.edge.wait_until_due()

    @rule()
    def link_takes(self) -> None:
        self.edge.link_takes()

    @rule(really=st.integers(0, 9))
    def lose(self, really: int) -> None:
        if really == 0:
            self.edge.lose()

    def teardown(self) -> None:
        """Left alone, every session ends: nothing stalls."""
        for _ in range(200):
            if not self.edge.is_open:
                return
            self.edge.wait_until_due()
        raise AssertionError(f"still {self.edge.machine.state} after 200 deadlines of silence")


class CloudMachine(RuleBasedStateMachine):
    """The cloud's half."""

    def __init__(self) -> None:
        super().__init__()
        self.cloud = CloudUnderTest()
        self.seq = 0

    @initialize(greeted=st.booleans(), behind=st.booleans(), epoch=st.sampled_from(("e1", "e2")))
    def start(self, greeted: bool, behind: bool, epoch: str) -> None:
        if greeted:
            self.cloud.receive(hello())
            self.cloud.admit(behind=behind, epoch=epoch)

    @rule(frame=frames.TO_CLOUD)
    def frame(self, frame: Frame) -> None:
        self.cloud.receive(frame)

    @rule(frame=frames.TO_EDGE)
    def wrong_way(self, frame: Frame) -> None:
        self.cloud.receive(frame)

    @rule(root=frames.HASHES)
    def buckets(self, root: int) -> None:
        self.cloud.receive(frames.Compare(root=root, buckets=(root % 2**64,) * 64))

    @rule(keys=frames.some(frames.KEYS, 20))
    def fetch(self, keys: tuple[object, ...]) -> None:
        self.cloud.receive(frames.Fetch(keys=keys))  # type: ignore[arg-type]

    @rule()
    def acknowledge(self) -> None:
        self.cloud.receive(frames.Ack(batch=self.cloud.machine.unacknowledged and 1))

    @rule(reports=st.lists(frames.REPORTS, min_size=1, max_size=5), step=st.integers(1, 3))
    def in_order(self, reports: list[frames.Report], step: int) -> None:
        told: list[frames.Report] = []
        for report in reports:
            self.seq += step
            told.append(frames.Report(seq=self.seq, kind="event", key="", body=report.body, wall_ms=0, age_ms=0))
        self.cloud.receive(frames.Reports(reports=tuple(told)))

    @rule()
    def unknown_frame(self) -> None:
        self.cloud.receive(None)

    @rule(behind=st.booleans(), epoch=st.sampled_from(("e1", "e2")))
    def admit(self, behind: bool, epoch: str) -> None:
        self.cloud.admit(behind=behind, epoch=epoch)

    @rule(name=frames.NAMES, gone=st.booleans())
    def change(self, name: str, gone: bool) -> None:
        self.cloud.change(name, gone=gone)

    @rule(conflict=st.booleans())
    def commit_ends(self, conflict: bool) -> None:
        self.cloud.commit_ends(conflict=conflict)

    @rule(seconds=st.sampled_from((0.0, 0.001, 1.0, 44.0, 61.0)))
    def wait(self, seconds: float) -> None:
        self.cloud.wait(seconds)

    @rule()
    def wait_until_due(self) -> None:
        self.cloud.wait_until_due()

    @rule()
    def link_takes(self) -> None:
        self.cloud.link_takes()

    @rule(really=st.integers(0, 19))
    def end(self, really: int) -> None:
        if really == 0:
            self.cloud.lose()
        elif really == 1:
            self.cloud.close()

    def teardown(self) -> None:
        """Left alone, every session ends: nothing stalls."""
        for _ in range(20):
            if not self.cloud.is_open:
                return
            self.cloud.wait_until_due()
        raise AssertionError(f"still {self.cloud.machine.state} after 20 deadlines of silence")
