"""What every form of the edge store must do. A form's test module subclasses and gives `store` and `clock`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import pytest

from edgecore.store.gaps import SERIES_MAX
from edgecore.store.port import (
    DAY_MS,
    META_LEAVING,
    EdgeBatch,
    EdgeStore,
    Held,
    NewPush,
    NewReading,
    NewReport,
    OutboxBudgets,
    OutboxReport,
    Pushed,
    ReportClass,
    TwinRow,
)
from skerry.clocks import ManualClock
from skerry.frozen import replace
from skerry.objects.blocks import READINGS_MAX, TELEMETRY_BLOCK, TEXT_MAX, Block, decode_block
from skerry.objects.blocks import Reading as BlockReading
from skerry.objects.json import decode_object
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.reports import GAP, SERIES_GAP, GapReport, SeriesGapReport
from skerry.objects.spans import Span
from skerry.objects.twins import DeviceName
from skerry.sync.ports import Reading
from skerry.wire.frames import BULK, PROMPT

OpenStore = Callable[[OutboxBudgets], EdgeStore]

BUDGETS = OutboxBudgets(event=1000, alarm=1000, telemetry=1000)
DAY_S = 86_400.0
AGEING = OutboxBudgets(alarm_ttl_ms=0, event_ttl_ms=4 * DAY_MS, telemetry_ttl_ms=2 * DAY_MS, free_floor=0)
ROOMY = OutboxBudgets(free_floor=1 << 20)
DEVICE = Key("devices.devices.kubeedge.io", "default", "pump")


def held(name: str, revision: int = 1, *, resource: str = "configmaps", namespace: str = "default") -> Held:
    return Held(
        key=Key(resource, namespace, name), stamp=Stamp("uid-" + name, Revision(revision)), body=b"%d" % revision
    )


def report(
    key: str, body: bytes = b"{}", *, report_class: ReportClass = "state", kind: str = "pod_status"
) -> NewReport:
    return NewReport(report_class=report_class, kind=kind, key=key, body=body)


def telemetry(number: int) -> NewReport:
    return report("series", b"%090d" % number, report_class="telemetry", kind="telemetry")


def readings(clock: ManualClock, *numbers: int, device: str = "boiler", ago_ms: int = 0) -> tuple[NewReading, ...]:
    """Of two properties in turn."""
    return tuple(
        NewReading(
            reading=BlockReading(
                DeviceName(namespace="default", name=device, uid="uid"),
                f"p{number % 2}",
                number,
                str(number),
                "INT",
                "good",
                "",
                number,
                None,
                0,
            ),
            taken_ms=round(clock.monotonic_s() * 1000) - ago_ms,
        )
        for number in numbers
    )


def blocks_of(store: EdgeStore, *, taking: bool = False) -> list[tuple[int, Block]]:
    found = store.outbox(after=0, limit=10_000, lane=BULK)
    if taking:
        assert store.take(after=0, limit=10_000, lane=BULK).items == found
    return [(report.seq, decode_block(report.body)) for report in found if report.kind == TELEMETRY_BLOCK]


def seqs_of(blocks: list[tuple[int, Block]]) -> list[list[int]]:
    return [[reading.seq for reading in block] for _, block in blocks]


def gaps_of(store: EdgeStore) -> dict[str, GapReport]:
    return {gap.report_class: gap for gap in store.stats().gaps}


def told_holes(store: EdgeStore) -> list[OutboxReport]:
    return [report for report in store.outbox(after=0, limit=10_000) if report.kind == SERIES_GAP]


def holes_of(store: EdgeStore) -> dict[str, SeriesGapReport]:
    """What waits to be told of single series."""
    waiting = store.outbox(after=0, limit=10_000, lane=PROMPT)
    return {item.key: SeriesGapReport.decode(decode_object(item.body)) for item in waiting if item.kind == SERIES_GAP}


def kept(store: EdgeStore) -> list[str]:
    """Classes that wait, but for what is told of gaps."""
    waiting = store.outbox(after=0, limit=10_000)
    return [item.report_class for item in waiting if item.kind not in {GAP, SERIES_GAP}]


@dataclass(slots=True)
class Room:
    """What is free on the store's disk."""

    free: int = 1 << 30


class EdgeStoreContract:
    """Subclasses override `open_store`; the store it gives is new and has these budgets."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock(wall_ms=5_000, monotonic_s=7.0)

    @pytest.fixture
    def room(self) -> Room:
        """Of the store's disk; a form asks it."""
        return Room()

    @pytest.fixture
    def open_store(self) -> OpenStore:
        raise NotImplementedError("a form says how it is opened")

    @pytest.fixture
    def store(self, open_store: OpenStore) -> EdgeStore:
        return open_store(BUDGETS)

    def test_a_store_that_follows_no_damaged_one_has_nothing_to_salvage(self, store: EdgeStore) -> None:
        store.apply(EdgeBatch(reports=(report("p"),)))
        assert not store.salvage()
        assert kept(store) == ["state"]

    def test_a_batch_is_read_back_whole(self, store: EdgeStore) -> None:
        twin = TwinRow(device=DEVICE, prop="speed", body=b"{}")
        head = store.apply(
            EdgeBatch(
                puts=(held("a", 3),),
                reports=(report("p"),),
                twins=(twin,),
                pods=(("uid", b"run"),),
                commands=(("order", b"begun"),),
                rules=(("hot", b"fired"),),
                meta=(("epoch", "e1"),),
            )
        )
        assert head == store.outbox_head() == 1
        assert store.get(Key("configmaps", "default", "a")) == held("a", 3)
        assert dict(store.stamps()) == {Key("configmaps", "default", "a"): Stamp("uid-a", Revision(3))}
        assert list(store.twins(DEVICE)) == [twin]
        assert list(store.pods()) == [("uid", b"run")]
        assert (store.pod("uid"), store.pod("another")) == (b"run", None)
        assert list(store.commands()) == [("order", b"begun")]
        assert list(store.rules()) == [("hot", b"fired")]
        assert store.meta("epoch") == "e1"
        assert store.meta("absent") is None

    def test_a_new_life_forgets_what_the_cloud_has_and_has_sent_nothing(self, store: EdgeStore) -> None:
        store.apply(
            EdgeBatch(
                reports=(report("a"), report("b"), telemetry(3), telemetry(4), report("e")),
                meta=((META_LEAVING, "yes"),),
            )
        )
        assert store.outbox_left() == 0, "nothing was sent yet"
        store.note_sent(4)
        store.note_sent(2)
        assert store.outbox_left() == 4
        used = store.stats().outbox_bytes
        store.begin_life("second", ((PROMPT, Span(1, 1)), (BULK, Span(3, 3)), (BULK, Span(5, 5))))
        assert store.incarnation == "second"
        assert [item.seq for item in store.outbox(after=0, limit=9)] == [2, 4, 5]
        assert store.outbox_head() == 5
        assert (store.outbox_left(), store.meta(META_LEAVING)) == (0, "no")
        assert 0 < store.stats().outbox_bytes < used
        assert store.apply(EdgeBatch(reports=(report("f"),))) == 6

    def test_an_opening_and_a_new_life_are_starts(self, store: EdgeStore) -> None:
        (opened,) = store.outbox_starts()
        assert opened.first == 1
        store.apply(EdgeBatch(reports=(report("a"), report("b"))))
        assert list(store.outbox_starts()) == [opened]
        store.begin_life("second", ())
        (begun,) = store.outbox_starts()
        assert begun.first == 1, "all that waits is of this life"
        assert begun.mark != opened.mark

    def test_what_is_deleted_is_gone_and_what_is_put_again_stays(self, store: EdgeStore) -> None:
        store.apply(EdgeBatch(puts=(held("a"), held("b")), pods=(("uid", b"x"),), commands=(("order", b"begun"),)))
        store.apply(EdgeBatch(rules=(("hot", b"one"), ("cold", b"two"))))
        store.apply(EdgeBatch(rules=(("hot", b"three"), ("cold", None))))
        key_a, key_b = Key("configmaps", "default", "a"), Key("configmaps", "default", "b")
        store.apply(
            EdgeBatch(
                deletes=(key_a, key_b), puts=(held("a", 2),), pods=(("uid", None),), commands=(("order", None),)
            )
        )
        assert store.get(key_b) is None
        assert store.get(key_a) == held("a", 2)
        assert list(store.pods()) == []
        assert store.pod("uid") is None
        assert list(store.commands()) == []
        assert list(store.rules()) == [("hot", b"three")]

    def test_a_list_is_of_one_resource_and_ordered(self, store: EdgeStore) -> None:
        other = held("z", namespace="a-first")
        store.apply(EdgeBatch(puts=(held("b"), held("a"), other, held("a", resource="secrets"))))
        assert [item.key.name for item in store.list("configmaps")] == ["z", "a", "b"]
        assert [item.key.name for item in store.list("configmaps", namespace="default")] == ["a", "b"]

    def test_reports_carry_both_clocks(self, store: EdgeStore, clock: ManualClock) -> None:
        store.apply(EdgeBatch(reports=(report("p"),)))
        clock.advance(1.5)
        store.apply(EdgeBatch(reports=(report("q"),)))
        first, second = store.outbox(after=0, limit=10)
        assert (first.wall_ms, first.monotonic_ms) == (5_000, 7_000)
        assert (second.wall_ms, second.monotonic_ms) == (6_500, 8_500)
        assert first.boot_id == second.boot_id != ""

    def test_what_the_present_boot_knows_of_time_is_kept(self, store: EdgeStore, clock: ManualClock) -> None:
        (boot,) = store.boots()
        assert (boot.opened_ms, boot.last_ms, boot.floor_ms, boot.reading) == (7_000, 7_000, 0, None)
        clock.advance(59.9)
        store.apply(EdgeBatch(puts=(held("a"),)))
        assert store.boots() == [boot] or store.boots() == (boot,), "a minute is not worth a write"
        clock.advance(0.1)
        store.apply(EdgeBatch(puts=(held("a"),)))
        assert store.boots()[-1].last_ms == 67_000
        clock.advance(1)
        reading = Reading(said_ms=1, heard_ms=2, server_ms=3)
        store.apply(EdgeBatch(reading=reading))
        (heard,) = store.boots()
        assert (heard.opened_ms, heard.last_ms, heard.reading) == (7_000, 68_000, reading)

    def test_new_state_replaces_waiting_state_under_a_new_seq(self, store: EdgeStore) -> None:
        store.apply(EdgeBatch(reports=(report("p", b"1"), report("q", b"2"))))
        store.apply(EdgeBatch(reports=(report("p", b"3"),)))
        assert [(item.seq, item.body) for item in store.outbox(after=0, limit=10)] == [(2, b"2"), (3, b"3")]

    def test_the_receipt_of_replaced_state_leaves_the_newer_state_waiting(self, store: EdgeStore) -> None:
        sent = store.apply(EdgeBatch(reports=(report("p", b"old"),)))
        store.apply(EdgeBatch(reports=(report("p", b"new"),)))
        store.prune_outbox(through=sent)
        assert [item.body for item in store.outbox(after=0, limit=10)] == [b"new"]

    def test_state_of_two_kinds_does_not_meet(self, store: EdgeStore) -> None:
        store.apply(EdgeBatch(reports=(report("p"), report("p", kind="node_status"))))
        assert len(store.outbox(after=0, limit=10)) == 2

    def test_ordered_reports_with_one_key_are_all_kept(self, store: EdgeStore) -> None:
        store.apply(EdgeBatch(reports=(telemetry(1), telemetry(2))))
        assert [int(item.body) for item in store.outbox(after=0, limit=10)] == [1, 2]

    def test_the_outbox_is_read_in_pages(self, store: EdgeStore) -> None:
        store.apply(EdgeBatch(reports=tuple(report(f"p{number}") for number in range(5))))
        assert [item.seq for item in store.outbox(after=1, limit=2)] == [2, 3]
        assert [item.seq for item in store.outbox(after=3, limit=10)] == [4, 5]

    def test_the_head_survives_pruning(self, store: EdgeStore) -> None:
        head = store.apply(EdgeBatch(reports=(report("p"), report("q"))))
        store.prune_outbox(through=head)
        assert list(store.outbox(after=0, limit=10)) == []
        assert store.outbox_head() == head
        assert store.apply(EdgeBatch(reports=(report("p"),))) == head + 1

    def test_lanes_are_read_and_pruned_apart(self, store: EdgeStore) -> None:
        store.apply(EdgeBatch(reports=(telemetry(1), report("p"), telemetry(2))))
        store.apply(EdgeBatch(reports=(report("", report_class="alarm", kind="event"), telemetry(3), report("q"))))
        assert [item.seq for item in store.outbox(after=0, limit=9, lane=PROMPT)] == [2, 4, 6]
        assert [item.seq for item in store.outbox(after=2, limit=1, lane=PROMPT)] == [4]
        assert [item.seq for item in store.outbox(after=1, limit=9, lane=BULK)] == [3, 5]
        store.prune_outbox(lane=BULK, first=2, through=4)
        store.prune_outbox(lane=PROMPT, first=1, through=3)
        assert [item.seq for item in store.outbox(after=0, limit=9)] == [1, 4, 5, 6]
        assert store.stats().outbox_reports == 4
        store.prune_outbox(first=5, through=9)
        assert [item.seq for item in store.outbox(after=0, limit=9)] == [1, 4]

    def test_twin_rows_go_with_their_device(self, store: EdgeStore) -> None:
        other = Key(DEVICE.resource, "default", "valve")
        rows = (
            TwinRow(device=DEVICE, prop="a", body=b"1"),
            TwinRow(device=DEVICE, prop="b", body=b"1"),
            TwinRow(device=other, prop="a", body=b"1"),
        )
        store.apply(EdgeBatch(twins=rows))
        store.apply(EdgeBatch(twins=(TwinRow(device=DEVICE, prop="a", body=b"2"),)))
        assert [(row.prop, row.body) for row in store.twins(DEVICE)] == [("a", b"2"), ("b", b"1")]
        store.apply(EdgeBatch(twin_deletes=(DEVICE,)))
        assert [row.device for row in store.twins()] == [other]

    def test_over_budget_the_oldest_go_and_a_gap_is_reported(self, store: EdgeStore) -> None:
        for number in range(10):  # each costs 90 + 9 + 6 + 64 = 169 bytes: five fit in 1000
            store.apply(EdgeBatch(reports=(telemetry(number),)))
        kept = [item for item in store.outbox(after=0, limit=100) if item.kind == "telemetry"]
        assert [int(item.body) for item in kept] == [5, 6, 7, 8, 9]
        (told,) = [item for item in store.outbox(after=0, limit=100) if item.kind == GAP]
        gap = GapReport.decode(decode_object(told.body))
        assert (gap.report_class, gap.dropped, gap.total, gap.size_bytes) == ("telemetry", 5, 5, 5 * 169)
        assert gap.first_seq == 1
        assert store.stats().gaps == (gap,)

    def test_a_gap_after_its_receipt_is_a_new_episode_of_one_total(self, store: EdgeStore) -> None:
        store.apply(EdgeBatch(reports=tuple(telemetry(number) for number in range(7))))
        store.prune_outbox(through=store.outbox_head())
        store.apply(EdgeBatch(reports=tuple(telemetry(number) for number in range(6))))
        (gap,) = store.stats().gaps
        assert (gap.dropped, gap.total) == (1, 3)

    def test_one_class_does_not_crowd_out_another(self, store: EdgeStore) -> None:
        store.apply(EdgeBatch(reports=(report("", b"fire", report_class="alarm", kind="event"), report("p"))))
        store.apply(EdgeBatch(reports=tuple(telemetry(number) for number in range(50))))
        bodies = [item.body for item in store.outbox(after=0, limit=100)]
        assert b"fire" in bodies
        assert b"{}" in bodies

    def test_stats_count_what_waits(self, store: EdgeStore) -> None:
        store.apply(EdgeBatch(puts=(held("a"),), reports=(telemetry(1), report("p"))))
        stats = store.stats()
        assert (stats.outbox_reports, stats.objects, stats.gaps) == (2, 1, ())
        assert stats.outbox_bytes == 169 + len("pod_status") + len("p") + len(b"{}") + 64
        store.prune_outbox(through=2)
        assert (store.stats().outbox_reports, store.stats().outbox_bytes) == (0, 0)

    def test_stats_say_what_waits_by_class_and_which_is_the_oldest(
        self, store: EdgeStore, clock: ManualClock
    ) -> None:
        assert store.stats().waiting == ()
        alarm = report("", report_class="alarm", kind="event")
        store.apply(EdgeBatch(reports=(telemetry(1), report("p"), alarm)))
        clock.advance(1)
        store.apply(EdgeBatch(reports=(telemetry(2), report("p"), alarm)))
        found = {waits.report_class: waits for waits in store.stats().waiting}
        assert {name: (waits.reports, waits.oldest.seq) for name, waits in found.items()} == {
            "state": (1, 5),
            "alarm": (2, 3),
            "telemetry": (2, 1),
        }
        assert found["telemetry"].size_bytes == 2 * 169
        assert found["state"].oldest.monotonic_ms == found["telemetry"].oldest.monotonic_ms + 1000
        store.prune_outbox(lane=BULK, through=1)
        store.prune_outbox(lane=PROMPT, through=9)
        (waits,) = store.stats().waiting
        assert (waits.report_class, waits.reports, waits.oldest.seq) == ("telemetry", 1, 4)
        assert sum(waits.size_bytes for waits in store.stats().waiting) == store.stats().outbox_bytes

    def test_nothing_is_wrong_with_what_was_written(self, store: EdgeStore) -> None:
        store.apply(EdgeBatch(puts=(held("a"),), reports=(report("p"), *(telemetry(number) for number in range(9)))))
        store.prune_outbox(through=7)
        assert store.damage() == ""

    def test_incarnations_are_not_empty(self, store: EdgeStore) -> None:
        assert store.incarnation

    # --- what grows old ---

    def test_what_outlived_its_time_goes_and_a_gap_says_so(self, open_store: OpenStore, clock: ManualClock) -> None:
        store = open_store(AGEING)
        store.apply(EdgeBatch(reports=(telemetry(1), report("", report_class="event", kind="event"))))
        clock.advance(2 * DAY_S - 1)
        store.apply(EdgeBatch(reports=(telemetry(2),)))
        assert kept(store) == ["telemetry", "event", "telemetry"]
        clock.advance(61)
        store.apply(EdgeBatch())
        assert kept(store) == ["event", "telemetry"]
        gap = gaps_of(store)["telemetry"]
        assert (gap.dropped, gap.expired, gap.for_room, gap.first_seq) == (1, 1, 0, 1)
        clock.advance(2 * DAY_S)
        head = store.apply(EdgeBatch(reports=(telemetry(3),)))
        assert kept(store) == ["telemetry"]
        assert head == store.outbox_head() == store.outbox(after=0, limit=99)[-1].seq, "what is told has a number"
        assert (gaps_of(store)["telemetry"].total, gaps_of(store)["event"].expired) == (2, 1)
        assert store.stats().outbox_reports == len(store.outbox(after=0, limit=99))

    def test_alarms_and_state_do_not_grow_old_by_themselves(self, open_store: OpenStore, clock: ManualClock) -> None:
        store = open_store(AGEING)
        store.apply(EdgeBatch(reports=(report("", report_class="alarm", kind="event"), report("p"))))
        clock.advance(3650 * DAY_S)
        store.apply(EdgeBatch())
        assert kept(store) == ["alarm", "state"]
        assert store.stats().gaps == ()

    def test_a_wall_clock_that_steps_makes_nothing_old(self, open_store: OpenStore, clock: ManualClock) -> None:
        store = open_store(AGEING)
        store.apply(EdgeBatch(reports=(telemetry(1),)))
        clock.step_wall(57 * 365 * DAY_MS)
        clock.advance(120)
        store.apply(EdgeBatch())
        assert kept(store) == ["telemetry"]

    def test_much_that_is_old_goes_in_the_end(self, open_store: OpenStore, clock: ManualClock) -> None:
        store = open_store(AGEING)
        for number in range(3):
            store.apply(EdgeBatch(reports=tuple(telemetry(number * 500 + each) for each in range(500))))
        clock.advance(2 * DAY_S)
        for _ in range(2):
            store.apply(EdgeBatch())
        assert kept(store) == []
        assert gaps_of(store)["telemetry"].total == 1500

    # --- a disk that fills ---

    def test_below_the_floor_readings_go_and_never_more(self, open_store: OpenStore, room: Room) -> None:
        store = open_store(ROOMY)
        alarm, event = report("", report_class="alarm", kind="event"), report("", report_class="event", kind="event")
        store.apply(EdgeBatch(reports=(alarm, event, report("p"))))
        for number in range(4):
            readings = (telemetry(number * 100 + each) for each in range(100))
            store.apply(EdgeBatch(reports=tuple(replace(each, body=bytes(1000)) for each in readings)))
        assert kept(store).count("telemetry") == 400
        room.free = (1 << 20) - 100_000
        store.apply(EdgeBatch())
        assert 50 < kept(store).count("telemetry") < 340
        room.free = 0
        for _ in range(3):
            store.apply(EdgeBatch())
        left = kept(store)
        assert 50 <= left.count("telemetry") <= 64, "the newest 64 KiB are let through"
        assert (left.count("alarm"), left.count("event"), left.count("state")) == (1, 1, 1)
        (gap,) = gaps_of(store).values()
        assert gap.report_class == "telemetry"
        assert gap.for_room == gap.dropped > 300

    # --- holes in histories ---

    def test_the_series_that_have_holes_are_told(self, store: EdgeStore) -> None:
        for number in range(4):
            store.apply(EdgeBatch(reports=(telemetry(number), replace(telemetry(number), key="other"))))
        holes = holes_of(store)
        assert {series: hole.dropped for series, hole in holes.items()} == {"series": 2, "other": 1}
        assert (holes["series"].first_seq, holes["other"].first_seq) == (1, 2)
        assert holes["series"].first_wall_ms == holes["series"].last_wall_ms == 5_000
        store.prune_outbox(through=store.outbox_head(), lane=PROMPT)
        store.apply(EdgeBatch(reports=(telemetry(9),)))
        assert [hole.dropped for hole in holes_of(store).values()] == [1], "a new episode"

    def test_no_more_holes_wait_than_there_is_room_for(self, store: EdgeStore) -> None:
        for number in range(SERIES_MAX + 20):
            store.apply(EdgeBatch(reports=(replace(telemetry(number), key=f"series-{number:03}"),)))
        assert len(holes_of(store)) == SERIES_MAX
        assert gaps_of(store)["telemetry"].total > SERIES_MAX

    def test_other_classes_have_budgets_of_their_own_and_no_series(self, store: EdgeStore) -> None:
        event = report("", bytes(90), report_class="event", kind="event")
        store.apply(EdgeBatch(reports=(telemetry(1), *(event for _ in range(9)))))
        assert kept(store).count("telemetry") == 1
        assert gaps_of(store)["event"].dropped > 0
        assert holes_of(store) == {}

    # --- readings ---

    def test_readings_are_a_block_with_a_number_each(self, store: EdgeStore, clock: ManualClock) -> None:
        both = (*readings(clock, 1, 2, ago_ms=70), *readings(clock, 8, device="pump"), *readings(clock, 3))
        assert store.apply(EdgeBatch(readings=both)) == 4
        ((seq, block),) = blocks_of(store)
        assert seq == 4
        assert [(each.device.name, each.seq, each.ago_ms) for each in block] == [
            ("boiler", 1, 70),
            ("boiler", 2, 70),
            ("pump", 8, 0),
            ("boiler", 3, 0),
        ]
        assert store.stats().outbox_reports == 4
        assert [(waits.report_class, waits.reports) for waits in store.stats().waiting] == [("telemetry", 4)]

    def test_blocks_grow_while_nobody_asks_for_them(self, open_store: OpenStore, clock: ManualClock) -> None:
        store = open_store(OutboxBudgets())
        for number in range(1, 97):
            store.apply(EdgeBatch(readings=readings(clock, number)))
            clock.advance(0.25)
        found = blocks_of(store)
        assert len(found) <= 8
        assert [seq for block in seqs_of(found) for seq in block] == list(range(1, 97))
        now_ms = round(clock.monotonic_s() * 1000)
        rows = store.outbox(after=0, limit=100)
        taken = [
            row.monotonic_ms - reading.ago_ms
            for row, (_, block) in zip(rows, found, strict=True)
            for reading in block
        ]
        assert taken == [now_ms - 250 * (96 - number) for number in range(96)], "when each was taken"
        assert store.stats().outbox_reports == 96

    def test_what_was_taken_to_be_sent_stays_as_it_is(self, open_store: OpenStore, clock: ManualClock) -> None:
        store = open_store(OutboxBudgets())
        store.apply(EdgeBatch(readings=readings(clock, 1, 2)))
        taken = blocks_of(store, taking=True)
        clock.advance(60)
        for number in range(3, 19):
            store.apply(EdgeBatch(readings=readings(clock, number)))
        assert blocks_of(store)[:1] == taken
        assert seqs_of(blocks_of(store)) == [[1, 2], [*range(3, 19)]], "what came after it grew"

    def test_what_was_taken_is_dropped_like_all_else_once_a_session_knows_nothing_of_it(
        self, store: EdgeStore
    ) -> None:
        """Else a link on which no receipt comes keeps what is old, and what is new is dropped."""
        store.apply(EdgeBatch(reports=tuple(telemetry(number) for number in range(6))))
        assert [item.seq for item in store.take(after=0, limit=9, lane=BULK, until=5).items] == [2, 3, 4, 5]
        store.welcomed([(BULK, Span(1, 2)), (PROMPT, Span(1, 99))])
        store.apply(EdgeBatch(reports=tuple(telemetry(number) for number in range(6, 9))))
        assert [int(item.body) for item in store.outbox(after=0, limit=99, lane=BULK)] == [1, 5, 6, 7, 8]

    def test_what_was_given_back_is_dropped_and_what_stays_taken_is_not(self, store: EdgeStore) -> None:
        store.apply(EdgeBatch(reports=tuple(telemetry(number) for number in range(5))))
        store.take(after=0, limit=3, lane=BULK)
        store.give_back([2, 3])
        store.apply(EdgeBatch(reports=tuple(telemetry(number) for number in range(5, 7))))
        assert [int(item.body) for item in store.outbox(after=0, limit=99, lane=BULK)] == [0, 3, 4, 5, 6]

    def test_blocks_are_left_alone_where_somebody_sends(self, store: EdgeStore, clock: ManualClock) -> None:
        for number in (1, 2, 3):
            blocks_of(store, taking=True)
            store.apply(EdgeBatch(readings=readings(clock, number)))
            clock.advance(0.25)
        assert seqs_of(blocks_of(store)) == [[1], [2], [3]]

    def test_a_block_is_no_longer_than_ten_minutes(self, open_store: OpenStore, clock: ManualClock) -> None:
        store = open_store(OutboxBudgets())
        store.apply(EdgeBatch(readings=readings(clock, 1)))
        clock.advance(599)
        for number in range(2, 17):
            store.apply(EdgeBatch(readings=readings(clock, number)))
        assert seqs_of(blocks_of(store)) == [[*range(1, 17)]]
        store.apply(EdgeBatch(readings=readings(clock, 17)))
        clock.advance(601)
        for number in range(18, 34):
            store.apply(EdgeBatch(readings=readings(clock, number)))
        assert seqs_of(blocks_of(store)) == [[*range(1, 17)], [17], [*range(18, 34)]]

    def test_more_readings_than_a_block_has_are_several(self, store: EdgeStore, clock: ManualClock) -> None:
        assert store.apply(EdgeBatch(readings=readings(clock, *range(READINGS_MAX + 2)))) == READINGS_MAX + 2
        assert [len(block) for block in seqs_of(blocks_of(store))] == [READINGS_MAX, 2]

    def test_a_receipt_for_a_part_of_a_block_leaves_it_and_a_new_life_the_rest(
        self, store: EdgeStore, clock: ManualClock
    ) -> None:
        store.apply(EdgeBatch(readings=readings(clock, 1, 2, 3, 4)))
        store.prune_outbox(first=1, through=2, lane=BULK)
        assert seqs_of(blocks_of(store)) == [[1, 2, 3, 4]]
        store.begin_life("second", [(BULK, Span(1, 3))])
        assert [seq for seq, _ in blocks_of(store)] == [4]
        assert seqs_of(blocks_of(store)) == [[4]]
        assert store.stats().outbox_reports == 1
        store.prune_outbox(first=1, through=4, lane=BULK)
        assert store.stats().outbox_reports == store.stats().outbox_bytes == 0

    def test_readings_of_a_block_that_is_dropped_are_counted_by_their_series(
        self, open_store: OpenStore, clock: ManualClock
    ) -> None:
        store = open_store(BUDGETS)
        for first in range(0, 400, 4):
            store.apply(EdgeBatch(readings=readings(clock, *range(first, first + 4))))
            clock.advance(601)
        kept = [seq for block in seqs_of(blocks_of(store)) for seq in block]
        lost = 400 - len(kept)
        assert kept == list(range(lost, 400))
        assert gaps_of(store)["telemetry"].dropped == lost
        holes = {report.key: SeriesGapReport.decode(decode_object(report.body)) for report in told_holes(store)}
        assert {key: hole.dropped for key, hole in holes.items()} == {
            "default/boiler/p0": lost // 2,
            "default/boiler/p1": lost // 2,
        }
        assert [hole.first_seq for hole in holes.values()] == [1, 2]
        assert store.stats().outbox_reports == len(kept) + 3

    def test_of_a_large_block_no_more_is_dropped_than_there_is_no_room_for(
        self, open_store: OpenStore, clock: ManualClock
    ) -> None:
        store = open_store(OutboxBudgets(telemetry=1_000))
        store.apply(EdgeBatch(readings=readings(clock, *range(1500))))
        made = 1500
        while not gaps_of(store):
            clock.advance(601)
            store.apply(EdgeBatch(readings=readings(clock, made)))
            made += 1
        held_seqs = [seq for block in seqs_of(blocks_of(store)) for seq in block]
        assert held_seqs == list(range(made - len(held_seqs), made))
        assert gaps_of(store)["telemetry"].dropped == made - len(held_seqs) < 1500
        holes = [SeriesGapReport.decode(decode_object(report.body)) for report in told_holes(store)]
        assert sum(hole.dropped for hole in holes) == made - len(held_seqs)

    def test_what_is_on_its_way_is_not_dropped_before_one_knows_that_it_is_lost(
        self, open_store: OpenStore, clock: ManualClock
    ) -> None:
        store = open_store(replace(BUDGETS, telemetry_ttl_ms=2 * DAY_MS))
        store.apply(EdgeBatch(readings=readings(clock, 1, 2)))
        (sent,) = blocks_of(store, taking=True)
        clock.advance(3 * DAY_S)
        for first in range(3, 203, 4):
            store.apply(EdgeBatch(readings=readings(clock, *range(first, first + 4))))
            clock.advance(601)
        assert blocks_of(store)[0] == sent, "over budget, and older than it may be"
        lost = gaps_of(store)["telemetry"].dropped
        store.prune_outbox(first=1, through=sent[0], lane=BULK)
        kept_seqs = [seq for block in seqs_of(blocks_of(store)) for seq in block]
        assert kept_seqs == list(range(203 - len(kept_seqs), 203))
        assert lost == 200 - len(kept_seqs), "what arrived, what waits and what was dropped are all that was made"

    def test_a_block_has_no_more_text_than_can_travel(self, open_store: OpenStore, clock: ManualClock) -> None:
        store = open_store(OutboxBudgets())
        long = [
            new._replace(reading=new.reading._replace(value=f"{new.reading.seq:04d}" * (TEXT_MAX // 40)))
            for new in readings(clock, *range(25))
        ]
        for first in range(0, 25, 5):
            store.apply(EdgeBatch(readings=tuple(long[first : first + 5])))
        sizes = [len(block) for block in seqs_of(blocks_of(store))]
        assert sizes == [10, 10, 5]
        assert [reading.value for _, block in blocks_of(store) for reading in block] == [
            new.reading.value for new in long
        ]

    def test_a_full_outbox_that_thins_keeps_the_shape_and_counts_what_went(
        self, open_store: OpenStore, clock: ManualClock
    ) -> None:
        store = open_store(OutboxBudgets(telemetry=3_000, telemetry_full="thin"))
        chance, made = Random(1), 0
        for _ in range(40):
            noisy = [
                new._replace(
                    reading=new.reading._replace(
                        value="-1000000" if new.reading.seq % 600 == 0 else str(chance.randrange(99_999))
                    )
                )
                for new in readings(clock, *range(made, made + 120))
            ]
            spread = [new._replace(taken_ms=new.taken_ms - 1000 * (119 - at)) for at, new in enumerate(noisy)]
            store.apply(EdgeBatch(readings=tuple(spread)))
            made += 120
            clock.advance(120)
        held_readings = [reading for _, block in blocks_of(store) for reading in block]
        gap = gaps_of(store)["telemetry"]
        assert len(held_readings) + gap.dropped == made
        assert 0 < gap.thinned <= gap.dropped
        assert [reading.seq for reading in held_readings] == sorted(reading.seq for reading in held_readings)
        kept_peaks = [reading.seq for reading in held_readings if reading.value == "-1000000"]
        oldest = held_readings[0].seq
        assert kept_peaks == [seq for seq in range(0, made, 600) if seq >= oldest], "every peak is still there"
        holes = [SeriesGapReport.decode(decode_object(report.body)) for report in told_holes(store)]
        assert sum(hole.dropped for hole in holes) == gap.dropped
        assert sum(hole.thinned for hole in holes) == gap.thinned
        assert store.stats().outbox_bytes < 6_000

    def test_pushes_wait_in_order_queue_by_queue_until_they_are_done_with(self, store: EdgeStore) -> None:
        store.apply(EdgeBatch(pushes=(NewPush("a", b"1"), NewPush("b", b"2"), NewPush("a", b"3"))))
        first, last = store.pushes("a", limit=9)
        assert (first.body, last.body) == (b"1", b"3") and first.number < last.number
        assert [each.body for each in store.pushes("a", after=first.number, limit=9)] == [b"3"]
        assert [(each.queue, each.waiting, each.dropped) for each in store.push_queues()] == [
            ("a", 2, 0),
            ("b", 1, 0),
        ]
        store.apply(EdgeBatch(pushed=(Pushed("a", first.number), Pushed("a", last.number, arrived=False))))
        assert store.pushes("a", limit=9) == []
        assert [(each.queue, each.waiting, each.dropped, each.size_bytes > 0) for each in store.push_queues()] == [
            ("a", 0, 1, False),
            ("b", 1, 0, True),
        ]
        store.apply(EdgeBatch(pushes=(NewPush("a", b"4"),), push_ends=("b",)))
        assert [(each.queue, each.waiting) for each in store.push_queues()] == [("a", 1)]
        assert store.pushes("a", limit=9)[0].number > last.number, "numbers are never given twice"

    def test_beyond_their_budget_the_oldest_pushes_of_the_longest_queue_go(self, open_store: OpenStore) -> None:
        store = open_store(OutboxBudgets(push=2_000))
        store.apply(EdgeBatch(pushes=(NewPush("near", b"x" * 35),)))
        (near,) = store.pushes("near", limit=9)
        for number in range(100):
            store.apply(EdgeBatch(pushes=(NewPush("away", b"%032d" % number),)))
        queues = {each.queue: each for each in store.push_queues()}
        assert sum(each.size_bytes for each in queues.values()) <= 2_000
        assert queues["near"].waiting == 1 and store.pushes("near", limit=9) == [near]
        away = queues["away"]
        assert 5 < away.waiting < 20 and away.waiting + away.dropped == 100
        waiting = [int(each.body) for each in store.pushes("away", limit=99)]
        assert waiting == list(range(100 - away.waiting, 100))

    def test_a_push_that_was_dropped_while_it_was_on_its_way_and_arrived_is_not_dropped(
        self, open_store: OpenStore
    ) -> None:
        store = open_store(OutboxBudgets(push=250))
        store.apply(EdgeBatch(pushes=(NewPush("a", b"x" * 60),)))
        (sent,) = store.pushes("a", limit=9)
        store.apply(EdgeBatch(pushes=(NewPush("a", b"y" * 60), NewPush("a", b"z" * 60))))
        assert sent not in store.pushes("a", limit=9)
        (before,) = store.push_queues()
        store.apply(EdgeBatch(pushed=(Pushed("a", sent.number),)))
        (after,) = store.push_queues()
        assert (before.dropped - after.dropped, after.waiting) == (1, before.waiting)
