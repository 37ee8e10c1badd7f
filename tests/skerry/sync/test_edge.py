"""The edge's machine, one rule at a time."""

from __future__ import annotations

import pytest

from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.spans import Span, Spans
from skerry.sync.edge import TABLE, EdgeSession, EdgeState
from skerry.sync.effects import BeginLife, CloseLink, Prune, Send, Write
from skerry.sync.hashes import bucket_of
from skerry.sync.ports import SyncSettings
from skerry.sync.priorities import Priority
from skerry.wire.frames import (
    BULK,
    PROMPT,
    Ack,
    Close,
    CloseCode,
    Compare,
    Fetch,
    Frame,
    Hello,
    LaneReceived,
    Objects,
    Ping,
    Pong,
    Receipt,
    Reports,
    Stamped,
    Stamps,
    Start,
)
from tests.skerry.sync.conversation import FakeOutbox, Item, an_edge, at, frames, key, only, state, welcome


def in_step(session: EdgeSession) -> EdgeSession:
    session.effects()
    session.receive(welcome(), at(0))
    session.effects()
    assert session.state is EdgeState.IN_STEP
    return session


def objects(batch: int, *puts: str, deletes: tuple[Key, ...] = (), revision: int = 20, more: bool = False) -> Objects:
    states = tuple(state(name, revision) for name in puts)
    return Objects(batch=batch, revision=Revision(revision), puts=states, deletes=deletes, more=more)


def stamps(*names: str, revision: int = 20, more: bool = False) -> Stamps:
    entries = tuple(Stamped(key=key(name), stamp=Stamp(f"uid-{name}", Revision(revision))) for name in names)
    return Stamps(revision=Revision(revision), buckets=tuple(range(64)), entries=entries, more=more)


def test_hello_is_said_first_and_nothing_else_before_welcome() -> None:
    outbox = FakeOutbox()
    outbox.add(Item(seq=3))
    session = an_edge(outbox=outbox)
    session.appended(at(1))
    (said,) = frames(session.effects())
    assert isinstance(said, Hello)
    assert (said.node, said.outbox_head, said.revision) == ("eu-1", 3, 5)
    session.receive(objects(1, "a"), at(1))
    assert session.state is EdgeState.CLOSED


def test_an_ack_waits_for_the_write() -> None:
    session = in_step(an_edge())
    session.receive(objects(1, "a"), at(1))
    session.receive(objects(2, "b"), at(1))
    effects = session.effects()
    assert not only(effects, Ack)
    first, second = [effect for effect in effects if isinstance(effect, Write)]
    session.written(first.number, at(2))
    assert frames(session.effects()) == [Ack(batch=1)]
    session.written(second.number, at(2))
    assert frames(session.effects()) == [Ack(batch=2)]


def test_the_parts_of_a_batch_are_one_write() -> None:
    session = in_step(an_edge())
    session.receive(objects(1, "a", more=True), at(1))
    assert not session.effects()
    session.receive(objects(1, "b"), at(1))
    (write,) = session.effects()
    assert isinstance(write, Write)
    assert [put.key.name for put in write.puts] == ["a", "b"]


def test_an_older_state_and_an_older_deletion_change_nothing() -> None:
    held = {key("a"): Stamp("uid-a", Revision(9)), key("b"): Stamp("uid-b", Revision(9))}
    session = in_step(an_edge(held))
    session.receive(objects(1, "a", deletes=(key("b"),), revision=8), at(1))
    (write,) = session.effects()
    assert isinstance(write, Write)
    assert write.empty
    session.receive(objects(2, "a", deletes=(key("b"),), revision=10), at(1))
    (write,) = session.effects()
    assert isinstance(write, Write)
    assert (len(write.puts), write.deletes, write.revision) == (1, (key("b"),), 10)


def test_catching_up_deletes_what_is_too_much_and_asks_for_what_lacks_in_chunks() -> None:
    held = {key("old"): Stamp("u", Revision(1)), key("newer"): Stamp("u", Revision(99))}
    session = an_edge(held, revision=99, settings=SyncSettings(fetch_keys=2))
    session.effects()
    session.receive(welcome(in_step=False, revision=Revision(99)), at(0))
    (compare,) = frames(session.effects())
    assert isinstance(compare, Compare)
    assert len(compare.buckets) == 64
    session.receive(stamps("a", "b", more=True), at(1))
    session.receive(stamps("c"), at(1))
    effects = session.effects()
    (write,) = [effect for effect in effects if isinstance(effect, Write)]
    assert write.deletes == (key("old"),), "what is newer than the view stays"
    assert frames(effects) == [Fetch(keys=(key("a"), key("b")))]
    session.receive(objects(1, "a", "b"), at(2))
    effects = session.effects()
    assert only(effects, Fetch) == [Fetch(keys=(key("c"),))]
    session.receive(objects(2, deletes=(key("c"),)), at(3))
    for number in (1, 2, 3):
        assert session.state is EdgeState.CATCHING_UP, "what has come is not what is held"
        assert not only(session.effects(), Compare), "a root waits for the writes behind it"
        session.written(number, at(4))
    assert session.state is EdgeState.IN_STEP
    assert isinstance(frames(session.effects())[-1], Compare)


def test_what_is_pushed_after_the_last_that_lacked_holds_up_nothing_but_the_root() -> None:
    session = an_edge()
    session.receive(welcome(in_step=False), at(0))
    session.receive(stamps("a"), at(1))
    session.receive(objects(1, "a"), at(2))
    session.receive(objects(2, "later"), at(2))
    session.effects()
    session.written(1, at(3))
    assert session.state is EdgeState.IN_STEP
    assert not only(session.effects(), Compare)
    session.receive(objects(3, "and", "so", "on"), at(3))
    session.written(2, at(4))
    session.written(3, at(4))
    assert len(only(session.effects(), Compare)) == 1


def test_one_that_only_had_too_much_is_in_step_when_that_is_deleted() -> None:
    session = an_edge({key("old"): Stamp("u", Revision(1))})
    session.receive(welcome(in_step=False), at(0))
    session.receive(stamps(), at(1))
    assert session.state is EdgeState.CATCHING_UP
    session.written(1, at(2))
    assert session.state is EdgeState.IN_STEP


def test_a_comparison_that_is_asked_for_while_the_last_is_written_begins_anew() -> None:
    session = an_edge()
    session.receive(welcome(in_step=False), at(0))
    session.receive(stamps("a"), at(1))
    session.receive(objects(1, "a"), at(2))
    session.receive(Compare(), at(2))
    session.written(1, at(3))
    assert session.state is EdgeState.COMPARING


def test_buckets_that_were_not_told_are_left_alone() -> None:
    held = {key(name): Stamp("u", Revision(1)) for name in "abcdefgh"}
    session = an_edge(held)
    session.receive(welcome(in_step=False), at(0))
    session.effects()
    bucket = bucket_of(key("a"))
    told = Stamps(revision=Revision(20), buckets=(bucket,), entries=(), more=False)
    session.receive(told, at(1))
    (write,) = [effect for effect in session.effects() if isinstance(effect, Write)]
    assert set(write.deletes) == {one for one in held if bucket_of(one) == bucket}


def test_a_row_with_a_revision_that_was_never_told_is_fetched_or_deleted() -> None:
    """Damaged on the disk; it would be newer than everything that comes, for ever."""
    session = an_edge({key("a"): Stamp("uid-a", Revision(90)), key("b"): Stamp("uid-b", Revision(91))})
    session.effects()
    session.receive(welcome(in_step=False), at(0))
    session.effects()
    session.receive(objects(1, "c", revision=21), at(1))
    buckets = tuple(range(64))
    told = Stamps(revision=Revision(20), buckets=buckets, entries=stamps("a", "c", revision=20).entries, more=False)
    session.receive(told, at(1))
    effects = session.effects()
    writes = [effect for effect in effects if isinstance(effect, Write)]
    assert [put.key for write in writes for put in write.puts] == [key("c")]
    assert [gone for write in writes for gone in write.deletes] == [key("b")]
    assert only(effects, Fetch) == [Fetch(keys=(key("a"),))]
    session.receive(objects(2, "a", revision=20), at(2))
    assert [put.key for effect in session.effects() if isinstance(effect, Write) for put in effect.puts] == [key("a")]


def test_a_new_epoch_voids_what_is_held_before_anything_else() -> None:
    session = an_edge({key("a"): Stamp("uid-a", Revision(50))})
    session.effects()
    session.receive(welcome(epoch="e2", revision=Revision(3), in_step=False), at(0))
    effects = session.effects()
    (write,) = [effect for effect in effects if isinstance(effect, Write)]
    assert (write.void, write.epoch, write.revision) == (True, "e2", 0)
    session.receive(stamps("a", revision=3), at(1))
    assert only(session.effects(), Fetch) == [Fetch(keys=(key("a"),))]


@pytest.mark.parametrize(
    "frame",
    [
        welcome(version=9),
        welcome(epoch="e2", in_step=True),
        welcome(revision=Revision(4)),
        Ack(batch=1),
    ],
    ids=["version", "in step across epochs", "behind", "not a frame for an edge"],
)
def test_a_welcome_that_cannot_be_is_refused(frame: Frame) -> None:
    session = an_edge()
    session.effects()
    session.receive(frame, at(1))
    assert session.state is EdgeState.CLOSED
    close, end = session.effects()
    assert [type(close), type(end)] == [type(session_close(close)), CloseLink]


def test_a_store_that_sent_less_than_the_cloud_has_begins_a_new_life_and_forgets_what_both_had_in_common() -> None:
    """However far its numbers have got meanwhile."""
    outbox = FakeOutbox(left=4)
    outbox.add(*(Item(seq=number) for number in range(1, 41)))
    session = an_edge(outbox=outbox)
    session.effects()
    prompt, bulk = Spans.of((Span(1, 2), Span(4, 9))), Spans.of((Span(1, 3), Span(6, 20)))
    lanes = (LaneReceived(lane=PROMPT, spans=prompt.spans), LaneReceived(lane=BULK, spans=bulk.spans))
    session.receive(welcome(version=2, received=2, lanes=lanes), at(1))
    begin, close, end = session.effects()
    assert begin == BeginLife(
        settled=((PROMPT, Span(1, 2)), (PROMPT, Span(4, 4)), (BULK, Span(1, 3))),
    )
    assert isinstance(close, Send)
    assert isinstance(end, CloseLink)
    assert "the cloud has report 20, and this store's past ends with 4" in end.reason
    assert session.session == 0
    assert session.state is EdgeState.CLOSED


def test_a_copy_settles_what_it_has_in_common_with_the_one_that_told_it() -> None:
    outbox = FakeOutbox(left=4, starts=[Start(mark=1, first=5), Start(mark=2, first=11)])
    outbox.add(*(Item(seq=number) for number in range(1, 41)))
    session = an_edge(outbox=outbox, leaving=False)
    (hello,) = frames(session.effects())
    assert isinstance(hello, Hello)
    assert hello.starts == tuple(outbox.starts)
    session.receive(welcome(version=2, received=20, common=10), at(1))
    assert session.effects()[0] == BeginLife(settled=((PROMPT, Span(1, 10)), (BULK, Span(1, 10))))


def test_a_copy_that_has_everything_in_common_goes_on_with_its_life() -> None:
    outbox = FakeOutbox(left=4, starts=[Start(mark=1, first=5), Start(mark=2, first=11)])
    outbox.add(*(Item(seq=number) for number in range(1, 41)))
    session = an_edge(outbox=outbox, leaving=False)
    session.receive(welcome(version=2, received=10, common=10), at(1))
    assert session.state is EdgeState.IN_STEP
    again = an_edge(outbox=outbox)
    (hello,) = frames(again.effects())
    assert isinstance(hello, Hello)
    assert hello.starts == (), "told until reports may leave"
    again.receive(welcome(version=2, received=10), at(2))
    assert again.state is EdgeState.IN_STEP, "it is known in this run"


def test_what_this_run_of_the_agent_sent_is_no_sign_of_another_copy() -> None:
    outbox = FakeOutbox(left=0)
    outbox.add(Item(seq=1), Item(seq=2, kind="event"))
    in_step(an_edge(outbox=outbox))
    assert outbox.outbox_left() == 2
    again = an_edge(outbox=outbox)
    again.effects()
    again.receive(welcome(received=2), at(1))
    assert again.state is EdgeState.IN_STEP


def test_no_report_leaves_before_it_is_written_that_some_do() -> None:
    outbox = FakeOutbox(left=0)
    outbox.add(Item(seq=1, kind="event"))
    session = an_edge(outbox=outbox, leaving=False)
    session.effects()
    session.receive(welcome(), at(1))
    effects = session.effects()
    (write,) = [effect for effect in effects if isinstance(effect, Write)]
    assert write.leaving
    assert not write.empty
    assert only(effects, Reports) == []
    assert outbox.outbox_left() == 0
    session.appended(at(2))
    assert session.effects() == []
    session.written(write.number, at(3))
    (frame,) = frames(session.effects())
    assert isinstance(frame, Reports)
    assert [report.seq for report in frame.reports] == [1]


def session_close(effect: object) -> object:
    frame = getattr(effect, "frame", None)
    assert isinstance(frame, Close)
    assert frame.code == CloseCode.PROTOCOL
    return effect


@pytest.mark.parametrize("frame", [objects(2, "a"), Receipt(through=1), Fetch(keys=()), welcome()])
def test_what_cannot_come_in_step_ends_the_session(frame: Frame) -> None:
    session = in_step(an_edge())
    session.receive(frame, at(1))
    assert session.state is EdgeState.CLOSED


def test_frames_of_newer_versions_are_passed_over() -> None:
    session = in_step(an_edge())
    session.receive(None, at(1))
    assert session.state is EdgeState.IN_STEP


def test_reports_are_sent_within_the_window_and_forgotten_by_receipt() -> None:
    outbox = FakeOutbox()
    outbox.add(*(Item(seq=seq, monotonic_ms=-1000) for seq in range(1, 11)))
    session = an_edge(outbox=outbox, settings=SyncSettings(report_frames=2, reports_max=3))
    session.effects()
    session.receive(welcome(received=1), at(0))
    effects = session.effects()
    assert only(effects, Prune) == [Prune(lane=None, first=1, through=1)]
    sent = [frame for frame in frames(effects) if isinstance(frame, Reports)]
    assert [[report.seq for report in frame.reports] for frame in sent] == [[2, 3, 4], [5, 6, 7]]
    assert [report.age_ms for report in sent[0].reports] == [1000] * 3
    session.receive(Receipt(through=4), at(1))
    effects = session.effects()
    assert only(effects, Prune) == [Prune(lane=None, first=1, through=4)]
    (more,) = [frame for frame in frames(effects) if isinstance(frame, Reports)]
    assert [report.seq for report in more.reports] == [8, 9, 10]
    assert more.reports[0].age_ms == 2000, "ages are of the moment of sending"


def test_reports_from_before_the_boot_have_an_estimated_age() -> None:
    outbox = FakeOutbox()
    outbox.add(
        Item(seq=1, boot_id="earlier", wall_ms=at(0).wall_ms - 5000),
        Item(seq=2, boot_id="earlier", wall_ms=at(9).wall_ms),
    )
    session = an_edge(outbox=outbox)
    session.receive(welcome(), at(0))
    (sent,) = [frame for frame in frames(session.effects()) if isinstance(frame, Reports)]
    assert [(report.age_ms, report.estimated) for report in sent.reports] == [(5000, True), (0, True)]


def test_a_report_too_large_to_travel_is_told_by_name() -> None:
    outbox = FakeOutbox()
    outbox.add(Item(seq=1, body=bytes(1024 * 1024 + 1)), Item(seq=2))
    session = an_edge(outbox=outbox)
    session.receive(welcome(), at(0))
    (sent,) = [frame for frame in frames(session.effects()) if isinstance(frame, Reports)]
    assert [(report.kind, report.body[:20]) for report in sent.reports] == [
        ("oversize", b'{"kind":"telemetry",'),
        ("telemetry", b"{}"),
    ]


def test_a_quiet_line_is_asked_and_then_given_up() -> None:
    session = in_step(an_edge())
    assert session.deadline() == 40
    session.tick(at(39))
    assert not session.effects()
    session.tick(at(40))
    assert frames(session.effects()) == [Ping(number=1)]
    session.tick(at(41))
    assert not session.effects(), "one question"
    session.receive(Pong(number=1), at(42))
    assert session.deadline() == 80
    session.tick(at(80))
    assert frames(session.effects()) == [Ping(number=2)]
    session.tick(at(101))
    assert session.state is EdgeState.IN_STEP
    session.tick(at(102))
    (end,) = session.effects()
    assert isinstance(end, CloseLink)
    assert end.code == CloseCode.SILENT


def test_a_cloud_that_does_not_greet_is_given_up() -> None:
    session = an_edge()
    session.effects()
    session.tick(at(20))
    (end,) = session.effects()
    assert isinstance(end, CloseLink)
    assert session.deadline() is None


def test_the_root_is_told_now_and_then_and_catching_up_without_progress_ends() -> None:
    session = in_step(an_edge(settings=SyncSettings(compare_s=50)))
    session.receive(Pong(number=0), at(45))
    session.tick(at(50))
    assert any(isinstance(frame, Compare) and not frame.buckets for frame in frames(session.effects()))
    session.receive(Compare(), at(51))
    assert session.state is EdgeState.COMPARING
    for now in (80, 100):
        session.receive(Pong(number=0), at(now))
    session.tick(at(102))
    assert session.state is EdgeState.CLOSED


def test_closing_by_the_peer_says_when_to_come_back() -> None:
    session = in_step(an_edge())
    session.receive(Close(code=CloseCode.BUSY, reason="too many", retry_after_ms=2500), at(1))
    (end,) = session.effects()
    assert end == CloseLink(code=CloseCode.BUSY, reason="too many", by_peer=True, retry_after_s=2.5)
    session.receive(Ping(number=1), at(2))
    session.close(CloseCode.DONE, "again", at(2))
    session.lost("gone")
    session.written(1, at(2))
    session.tick(at(99))
    assert not session.effects()


def test_batches_that_are_never_written_do_not_pile_up() -> None:
    session = in_step(an_edge())
    for batch in range(1, 66):
        session.receive(objects(batch, f"n-{batch}"), at(1))
    assert session.state is EdgeState.CLOSED


def test_every_state_of_the_table_is_reachable_and_ends_in_closed() -> None:
    reached = {EdgeState.GREETING}
    for _ in EdgeState:
        reached |= {to for here in reached for cell in TABLE[here].values() for to in cell}
    assert reached == set(EdgeState) == set(TABLE)
    assert not TABLE[EdgeState.CLOSED]
    assert all(EdgeState.CLOSED in TABLE[here]["close"] for here in EdgeState if here is not EdgeState.CLOSED)


def test_what_a_capped_cloud_may_not_send_yet_is_waited_for() -> None:
    session = in_step(an_edge(settings=SyncSettings(compare_s=50)))
    session.peer_is_capped = True
    session.receive(Compare(), at(1))
    for now in range(30, 301, 30):
        session.receive(Pong(number=0), at(now))
        session.tick(at(now + 25))
        deadline = session.deadline()
        assert deadline is not None and deadline > now
    assert session.state is EdgeState.COMPARING
    session.peer_is_capped = False
    session.receive(Pong(number=0), at(370))
    session.tick(at(380))
    assert session.state is EdgeState.CLOSED


def test_pieces_are_cut_to_the_cap_by_the_heartbeat_that_the_cloud_names() -> None:
    outbox = FakeOutbox()
    outbox.add(*(Item(seq=number, body=b"x" * 900) for number in range(1, 200)))
    session = an_edge(outbox=outbox)
    session.capped(4000)
    session.effects()
    session.receive(welcome(heartbeat_ms=16_000), at(0))
    told = [frame for frame in frames(session.effects()) if isinstance(frame, Reports)]
    assert told and all(len(frame.reports) == 8 for frame in told), "8,000 bytes: two seconds' worth"


def test_streams_are_told_of_before_they_are_taken() -> None:
    session = in_step(an_edge())
    assert session.idle_priority() is None
    session.streams.open("logs", b"{}")
    assert session.idle_priority() is Priority.STREAMS
    session.idle_frame()
    assert session.idle_priority() is None


def test_an_answer_counts_from_its_own_question_whatever_was_asked_since() -> None:
    session = in_step(an_edge())
    for second in (1, 3, 5):
        session.ask(at(second))
    session.receive(Pong(number=2), at(6))
    assert session.confirmed_s == at(3).monotonic_s
    session.receive(Pong(number=1), at(7))
    session.receive(Pong(number=9), at(7))
    assert session.confirmed_s == at(3).monotonic_s, "no older one, and none that was not asked"
    session.receive(Pong(number=3), at(8))
    assert session.confirmed_s == at(5).monotonic_s
