"""How readings are put together in rows of the outbox: what is written, how often, and from where."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edgecore.store.packing import HELD_MAX, QUIET_MS, SPAN_MS_MAX, Tails, pack
from edgecore.store.port import NewReading, OutboxReport
from skerry.frozen import replace
from skerry.objects.blocks import READINGS_MAX, TELEMETRY_BLOCK, TEXT_MAX, Block, Reading, decode_block, encode_block
from skerry.objects.twins import DeviceName

DEVICE = DeviceName(namespace="default", name="pump", uid="uid-pump")


class Outbox:
    """An outbox that knows blocks alone, and counts what is written."""

    def __init__(self) -> None:
        self.rows: dict[int, OutboxReport] = {}
        self.now_ms = 0
        self.written = 0
        self._seq = 0

    def block_row(self, seq: int) -> OutboxReport | None:
        return self.rows.get(seq)

    def drop_block(self, row: OutboxReport) -> None:
        del self.rows[row.seq]

    def put_block(self, body: bytes) -> int:
        count = len(decode_block(body))
        self.written += count
        self._seq += count
        self.rows[self._seq] = OutboxReport(
            seq=self._seq,
            kind=TELEMETRY_BLOCK,
            key="default/pump",
            report_class="telemetry",
            body=body,
            wall_ms=self.now_ms,
            monotonic_ms=self.now_ms,
            boot_id="b",
        )
        return self._seq

    def blocks(self) -> Iterator[Block]:
        for _, row in sorted(self.rows.items()):
            yield decode_block(row.body)


class Gateway:
    """Commits readings with numbers that count on."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.tails = Tails()
        self.made = 0

    def commit(self, count: int, *, every_ms: int = 1000, text: str = "1.5") -> None:
        self.outbox.now_ms += every_ms
        now_ms = self.outbox.now_ms
        readings = [new_reading(self.made + number, now_ms, text) for number in range(count)]
        self.made += count
        self.tails = pack(readings, self.outbox, self.tails, growing=self.tails.growing(now_ms), now_ms=now_ms)

    def kept(self) -> list[int]:
        return [reading.seq for block in self.outbox.blocks() for reading in block]


def new_reading(seq: int, now_ms: int, text: str) -> NewReading:
    reading = Reading(
        device=DEVICE,
        prop="flow",
        seq=seq,
        value=text,
        type="FLOAT",
        quality="good",
        reason="",
        source_ms=now_ms,
        source_seq=None,
        ago_ms=0,
    )
    return NewReading(reading=reading, taken_ms=now_ms)


def test_a_reading_is_written_twice_where_a_hundred_come_each_second() -> None:
    gateway = Gateway()
    for _ in range(600):
        gateway.commit(100)
    assert gateway.outbox.written < 2.1 * gateway.made
    assert len(gateway.outbox.rows) < 1.3 * gateway.made / 1600 + 16


def test_a_lone_reading_each_second_is_written_three_times() -> None:
    gateway = Gateway()
    for _ in range(3600):
        gateway.commit(1)
    assert gateway.outbox.written <= 3 * gateway.made
    assert len(gateway.outbox.rows) < 3600 / 60


def test_large_commits_fill_rows_as_far_as_they_go() -> None:
    gateway = Gateway()
    for _ in range(600):
        gateway.commit(300)
    assert gateway.outbox.written <= 2 * gateway.made
    assert max(len(block) for block in gateway.outbox.blocks()) == 1800


@given(st.lists(st.tuples(st.integers(1, 300), st.sampled_from([10, 1000, 90_000])), max_size=30))
def test_what_is_read_is_there_once_and_in_order_however_it_comes(commits: list[tuple[int, int]]) -> None:
    gateway = Gateway()
    for count, every_ms in commits:
        gateway.commit(count, every_ms=every_ms)
    assert gateway.kept() == list(range(gateway.made))
    for block in gateway.outbox.blocks():
        assert len(block) <= READINGS_MAX
        assert block[0].ago_ms - block[-1].ago_ms <= 2 * SPAN_MS_MAX
    for (seq, row), block in zip(sorted(gateway.outbox.rows.items()), gateway.outbox.blocks(), strict=True):
        assert row.seq == seq
        for reading in block:
            assert row.monotonic_ms - reading.ago_ms == reading.source_ms, "each keeps the time at which it was taken"


def test_a_transaction_without_readings_changes_nothing() -> None:
    gateway = Gateway()
    for _ in range(15):
        gateway.commit(1)
    gateway.tails = pack([], gateway.outbox, gateway.tails, growing=frozenset(), now_ms=gateway.outbox.now_ms)
    gateway.commit(1)
    assert len(gateway.outbox.rows) == 1


def test_long_texts_stay_within_what_can_travel() -> None:
    gateway = Gateway()
    for _ in range(64):
        gateway.commit(2, text="x" * 6000)
    for block in gateway.outbox.blocks():
        assert sum(reading.text_length for reading in block) <= TEXT_MAX


def test_what_was_taken_to_be_sent_does_not_change() -> None:
    gateway = Gateway()
    for _ in range(5):
        gateway.commit(10)
    taken = dict(gateway.outbox.rows)
    gateway.tails = gateway.tails.after_taking(taken.values(), gateway.outbox.now_ms)
    gateway.commit(10, every_ms=QUIET_MS + 1)
    for _ in range(40):
        gateway.commit(10)
    assert taken.items() <= gateway.outbox.rows.items()
    assert [after - before for before, after in pairwise(gateway.kept())] == [1] * (gateway.made - 1)


def test_a_row_that_changed_meanwhile_counts_as_it_is_now() -> None:
    gateway = Gateway()
    for _ in range(15):
        gateway.commit(4)
    (seq, row) = next(iter(gateway.outbox.rows.items()))
    gateway.outbox.rows[seq] = replace(row, body=encode_block(decode_block(row.body)[2:]))
    gateway.commit(4)
    assert gateway.kept() == list(range(2, gateway.made)), "not as it was remembered"


def test_a_row_that_went_or_broke_holds_nothing_up() -> None:
    gateway = Gateway()
    for _ in range(15):
        gateway.commit(HELD_MAX // 2)
    first, second, *_ = sorted(gateway.outbox.rows)
    del gateway.outbox.rows[first]
    broken = replace(gateway.outbox.rows[second], body=b"\x01\x80\x00 no block")
    gateway.outbox.rows[second] = broken
    gateway.commit(HELD_MAX // 2)
    assert gateway.outbox.rows.pop(second) == broken, "the check of the store finds it"
    assert gateway.kept() == list(range(HELD_MAX, gateway.made))
    assert len(gateway.outbox.rows) == 1
