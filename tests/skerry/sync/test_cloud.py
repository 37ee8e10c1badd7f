"""The cloud's machine, one rule at a time."""

from __future__ import annotations

import pytest

from skerry.frozen import replace
from skerry.objects.meta import Key, Revision
from skerry.objects.spans import Span, Spans
from skerry.sync.cloud import TABLE, Admission, CloudSession, CloudState
from skerry.sync.effects import Admit, CloseLink, Commit, Heard
from skerry.sync.hashes import bucket_hashes, root_of
from skerry.sync.ports import SyncSettings
from skerry.sync.priorities import Priority
from skerry.sync.received import Received
from skerry.wire.frames import (
    Ack,
    Close,
    CloseCode,
    Compare,
    Fetch,
    Frame,
    Objects,
    Ping,
    Pong,
    Receipt,
    Report,
    Reports,
    Stamps,
    Welcome,
)
from tests.skerry.sync.conversation import FakeView, a_cloud, at, frames, hello, key, only, said, state


def root(view: FakeView) -> int:
    return root_of(bucket_hashes(view.stamps()))


def in_step(view: FakeView | None = None, settings: SyncSettings | None = None) -> tuple[CloudSession, FakeView]:
    view = view or FakeView()
    session = a_cloud(view, settings=settings, root=root(view))
    session.effects()
    assert session.state is CloudState.IN_STEP
    return session, view


def reports(*seqs: int, age_ms: int = 0) -> Reports:
    return Reports(
        reports=tuple(
            Report(seq=seq, kind="telemetry", key="k", body=b"{}", wall_ms=1, age_ms=age_ms) for seq in seqs
        )
    )


def sent(session: CloudSession) -> list[Objects]:
    return [frame for frame in said(session) if isinstance(frame, Objects)]


def test_equal_roots_are_in_step_after_one_frame_each_way() -> None:
    view = FakeView()
    view.put(state("a", 3))
    session = a_cloud(view, root=root(view))
    (said,) = frames(session.effects())
    assert isinstance(said, Welcome)
    assert (said.in_step, said.heartbeat_ms, said.revision) == (True, 30_000, 10)


def test_another_epoch_is_never_in_step() -> None:
    view = FakeView()
    session = a_cloud(view, root=root(view), epoch="e0")
    (said,) = frames(session.effects())
    assert isinstance(said, Welcome)
    assert not said.in_step


def test_an_edge_of_no_common_version_is_told_so() -> None:
    session = CloudSession(at(0))
    session.receive(hello(versions=(7, 8)), at(0))
    (said,) = frames(session.effects())
    assert isinstance(said, Close)
    assert "no common version" in said.reason


def test_the_best_common_version_is_spoken() -> None:
    session = a_cloud(FakeView(), versions=(9, 1))
    (said,) = frames(session.effects())
    assert isinstance(said, Welcome)
    assert said.version == 1


def test_a_replica_behind_what_the_edge_has_seen_waits_for_its_own_view() -> None:
    view = FakeView()
    session = a_cloud(view, revision=Revision(12), root=0)
    assert session.state is CloudState.BEHIND
    assert not session.effects()
    view.revision = Revision(11)
    session.changed((), at(1))
    assert session.state is CloudState.BEHIND
    view.revision = Revision(12)
    session.changed((), at(2))
    (said,) = frames(session.effects())
    assert isinstance(said, Welcome)


def test_a_replica_that_stays_behind_sends_the_edge_elsewhere() -> None:
    session = a_cloud(FakeView(), revision=Revision(12))
    session.tick(at(9))
    assert not session.effects()
    session.tick(at(10))
    close, end = session.effects()
    assert frames([close]) == [
        Close(code=CloseCode.BUSY, reason="this replica is behind what the node has seen", retry_after_ms=2000)
    ]
    assert isinstance(end, CloseLink)


def test_stamps_are_of_stale_buckets_only_and_cut_to_size() -> None:
    view = FakeView()
    view.put(*(state(f"n-{number}", number) for number in range(1, 200)))
    session = a_cloud(view, root=0, settings=SyncSettings(part_bytes=500))
    session.effects()
    held = dict(view.stamps())
    del held[key("n-7")]
    session.receive(Compare(root=1, buckets=bucket_hashes(held.items())), at(1))
    (told,) = said(session)
    assert isinstance(told, Stamps)
    assert len(told.buckets) == 1
    assert key("n-7") in {entry.key for entry in told.entries}
    assert len(told.entries) < 20

    other = a_cloud(view, root=0, settings=SyncSettings(part_bytes=500))
    other.effects()
    other.receive(Compare(root=1, buckets=bucket_hashes([])), at(1))
    parts = [frame for frame in said(other) if isinstance(frame, Stamps)]
    assert len(parts) > 10
    assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]
    assert [entry.key for part in parts for entry in part.entries] == list(view.states)


def test_nothing_is_pushed_while_buckets_are_compared_and_nothing_is_lost_by_it() -> None:
    view = FakeView()
    session = a_cloud(view, root=1)
    session.effects()
    session.changed(view.put(state("a", 11)), at(1))
    assert not said(session)
    session.receive(Compare(root=1, buckets=bucket_hashes([])), at(2))
    (told,) = said(session)
    assert isinstance(told, Stamps)
    assert [entry.key.name for entry in told.entries] == ["a"]
    session.receive(Fetch(keys=(key("a"),)), at(3))
    (pushed,) = sent(session)
    assert pushed.puts == (view.states[key("a")],)


def test_changes_coalesce_by_object_behind_a_full_window() -> None:
    session, view = in_step(settings=SyncSettings(window_batches=2))
    pushed: list[Objects] = []
    for revision in range(11, 61):
        session.changed(view.put(state("a", revision)), at(1))
        pushed += sent(session)
    assert [frame.batch for frame in pushed] == [1, 2]
    assert session.waiting == 1
    session.receive(Ack(batch=1), at(2))
    (last,) = sent(session)
    assert last.puts[0].stamp.revision == 60
    session.receive(Ack(batch=3), at(3))
    assert session.unacknowledged == 0


def test_what_is_gone_from_the_view_is_a_deletion() -> None:
    view = FakeView()
    view.put(state("a", 3))
    session, _ = in_step(view)
    del view.states[key("a")]
    view.revision = Revision(11)
    session.changed((key("a"),), at(1))
    (pushed,) = sent(session)
    assert (pushed.puts, pushed.deletes, pushed.revision) == ((), (key("a"),), 11)


def test_a_batch_is_closed_under_reference_in_the_order_of_arrival() -> None:
    session, view = in_step(settings=SyncSettings(batch_bytes=1, part_bytes=1))
    pod = state("web", 14, resource="pods")
    view.closures[pod.key] = (key("a"), key("b"), key("unchanged"))
    keys = view.put(pod, state("b", 12), state("a", 13), state("other", 15))
    session.changed(keys, at(1))
    pushed = sent(session)
    assert [[put.key.name for put in frame.puts] for frame in pushed] == [["a"], ["b"], ["web"], ["other"]]
    assert [(frame.batch, frame.more) for frame in pushed] == [(1, True), (1, True), (1, False), (2, False)]


def test_a_group_too_large_for_one_batch_sends_what_is_referred_to_first() -> None:
    session, view = in_step(settings=SyncSettings(group_bytes_max=2000))
    pod = state("web", 20, resource="pods")
    configs = tuple(state(f"c-{number}", 11 + number, size=1500) for number in range(4))
    view.closures[pod.key] = tuple(config.key for config in configs)
    session.changed(view.put(pod, *configs), at(1))
    pushed = sent(session)
    assert [put.key.name for frame in pushed for put in frame.puts] == ["c-0", "c-1", "c-2", "c-3", "web"]
    assert pushed[0].batch < pushed[-1].batch


def test_a_differing_root_is_asked_about_but_not_over_and_over() -> None:
    session, view = in_step(settings=SyncSettings(compare_s_min=60))
    session.receive(Compare(batch=0, root=99), at(30))
    assert not frames(session.effects())
    session.receive(Compare(batch=0, root=99), at(61))
    assert frames(session.effects()) == [Compare()]
    assert session.state is CloudState.COMPARING
    session.receive(Compare(batch=0, root=99, buckets=bucket_hashes(view.stamps())), at(62))
    session.receive(Compare(batch=0, root=root(view)), at(63))
    assert session.state is CloudState.IN_STEP


def test_a_root_from_before_a_push_is_not_compared() -> None:
    session, view = in_step()
    session.changed(view.put(state("a", 11)), at(100))
    assert sent(session)
    session.receive(Compare(batch=0, root=99), at(101))
    assert session.state is CloudState.IN_STEP
    assert not frames(session.effects())


def test_a_receipt_waits_for_the_commit_and_one_commit_runs_at_a_time() -> None:
    session, _ = in_step()
    session.receive(reports(1, 2, age_ms=1500), at(1))
    session.receive(reports(5), at(1))
    session.receive(reports(6, 7), at(1))
    (commit,) = only(session.effects(), Commit)
    assert isinstance(commit, Commit)
    assert [dated.report.seq for dated in commit.reports] == [1, 2]
    assert commit.covered == ((0, Span(1, 2)), (1, Span(1, 2))), "version 1 means every lane"
    assert commit.reports[0].at_ms == at(1).wall_ms - 1500
    session.committed()
    receipt, after = session.effects()
    assert frames([receipt]) == [Receipt(through=2)]
    assert isinstance(after, Commit)
    assert [dated.report.seq for dated in after.reports] == [5, 6, 7], "what waited goes together"


def test_an_edge_of_version_2_is_told_of_the_lanes_and_reports_in_them() -> None:
    received = Received((Spans.upto(9), Spans.read("1-4,8-8")))
    session = a_cloud(FakeView(), received=received, versions=(2, 1))
    (said,) = frames(session.effects())
    assert isinstance(said, Welcome)
    assert (said.version, said.received) == (2, 4)
    assert Received.told(said.received, said.lanes) == received
    session.receive(replace(reports(10), first=10), at(1))
    session.receive(replace(reports(6), lane=1, first=5, through=7, late=True), at(1))
    (commit,) = only(session.effects(), Commit)
    assert isinstance(commit, Commit)
    assert commit.covered == ((0, Span(10, 10)),)
    session.committed()
    receipt, after = session.effects()
    assert frames([receipt]) == [Receipt(lane=0, first=10, through=10)]
    assert isinstance(after, Commit)
    assert after.covered == ((1, Span(5, 7)),)


def test_a_silent_edge_is_asked_once_and_given_up_after_two_heartbeats() -> None:
    session, _ = in_step()
    assert session.deadline() == 45
    session.tick(at(45))
    assert frames(session.effects()) == [Ping(number=1)]
    assert session.deadline() == 60
    session.receive(Pong(number=1), at(50))
    session.tick(at(60))
    assert session.state is CloudState.IN_STEP
    session.tick(at(110))
    (end,) = only(session.effects(), CloseLink)
    assert isinstance(end, CloseLink)
    assert end.code == CloseCode.SILENT


def test_a_link_without_hello_is_closed() -> None:
    session = CloudSession(at(0))
    assert session.deadline() == 20
    session.tick(at(20))
    assert session.state is CloudState.CLOSED


@pytest.mark.parametrize(
    "frame",
    [
        Ack(batch=1),
        Compare(batch=1, root=5),
        Compare(root=5, buckets=(0,) * 64),
        Fetch(keys=(key("a"),)),
        reports(0),
        Receipt(through=1),
        hello(),
    ],
)
def test_what_cannot_come_in_step_ends_the_session(frame: Frame) -> None:
    session, _ = in_step()
    session.receive(frame, at(1))
    assert session.state is CloudState.CLOSED


def test_fetching_what_never_was_is_bounded() -> None:
    session = a_cloud(FakeView(), root=1, settings=SyncSettings(fetch_keys=2))
    session.receive(Compare(root=1, buckets=bucket_hashes([])), at(0))
    session.effects()
    for number in range(40):
        session.receive(Fetch(keys=tuple(Key("x", "ns", f"{number}-{place}") for place in range(10))), at(1))
        if session.state is CloudState.CLOSED:
            break
    assert session.state is CloudState.CLOSED
    assert session.waiting == 0


def test_an_admission_that_comes_too_late_is_nothing() -> None:
    session = CloudSession(at(0))
    session.receive(hello(), at(0))
    (admit,) = session.effects()
    assert isinstance(admit, Admit)
    session.lost("gone")
    session.admitted(Admission(view=FakeView(), epoch="e1", session=1, received=Received()), at(1))
    session.changed((key("a"),), at(1))
    session.receive(Ping(number=1), at(1))
    assert [type(effect) for effect in session.effects()] == [CloseLink]


def test_a_commit_that_ends_after_the_session_says_nothing() -> None:
    session, _ = in_step()
    session.receive(reports(1), at(1))
    session.effects()
    session.close(CloseCode.DONE, "restart")
    session.effects()
    session.committed()
    assert not only(session.effects(), Receipt)


@pytest.mark.parametrize("first", [None, Pong(number=1), Ping(number=1), Compare(batch=0, root=1)])
def test_an_edge_is_heard_by_the_first_that_it_says_after_welcome(first: Frame | None) -> None:
    session, _ = in_step()
    session.receive(first, at(1))
    assert only(session.effects(), Heard) == [Heard()]
    session.receive(Pong(number=2), at(2))
    assert not only(session.effects(), Heard), "once a session"


@pytest.mark.parametrize("first", [Close(code=CloseCode.PROTOCOL, reason="no"), Ack(batch=7), Fetch(keys=())])
def test_an_end_or_a_fault_is_no_sign_of_life(first: Frame) -> None:
    session, _ = in_step()
    session.receive(first, at(1))
    assert session.state is CloudState.CLOSED
    assert not only(session.effects(), Heard)


def test_nothing_before_welcome_counts_as_heard() -> None:
    session = CloudSession(at(0))
    session.receive(hello(), at(0))
    assert not only(session.effects(), Heard)


def test_an_edge_that_is_in_step_is_asked_to_say_something_and_no_other() -> None:
    session, _ = in_step()
    session.ask(at(1))
    assert frames(session.effects()) == [Ping(number=1)]
    assert session.deadline() == 46
    session.receive(Pong(number=1), at(2))
    session.effects()
    session.ask(at(3))
    assert not session.effects(), "it has said something"
    comparing = a_cloud(FakeView(), root=1)
    comparing.effects()
    comparing.ask(at(1))
    assert not comparing.effects(), "it has something to say"


def test_every_state_of_the_table_is_reachable_and_ends_in_closed() -> None:
    reached = {CloudState.WAITING}
    for _ in CloudState:
        reached |= {to for here in reached for cell in TABLE[here].values() for to in cell}
    assert reached == set(CloudState) == set(TABLE)
    assert not TABLE[CloudState.CLOSED]


def test_a_prompt_object_goes_before_what_waits_with_what_it_refers_to() -> None:
    session, view = in_step(settings=SyncSettings(batch_bytes=1))
    device = state("boiler", 20, resource="devices")
    model = state("model", 19, resource="models")
    view.closures[device.key] = (model.key,)
    session.changed(view.put(*(state(f"c-{number}", 11 + number) for number in range(5)), model), at(1))
    first = session.idle_frame()
    session.changed(view.put(device), at(2))
    pushed = [first, *sent(session)]
    names = [[put.key.name for put in frame.puts] for frame in pushed if isinstance(frame, Objects)]
    assert names == [["c-0"], ["model", "boiler"], ["c-1"], ["c-2"], ["c-3"], ["c-4"]]


def test_what_the_link_has_no_room_for_is_kept_as_keys_and_sent_in_its_last_form() -> None:
    session, view = in_step()
    for revision in range(11, 61):
        session.changed(view.put(state("a", revision)), at(1))
    assert (session.waiting, session.unacknowledged) == (1, 0)
    (only_one,) = sent(session)
    assert only_one.puts[0].stamp.revision == 60


def test_a_batch_that_has_begun_is_sent_to_its_end_before_another() -> None:
    session, view = in_step(settings=SyncSettings(part_bytes=2500))
    session.changed(view.put(state("a", 11, size=1500), state("b", 12, size=1500)), at(1))
    first = session.idle_frame()
    session.changed(view.put(state("boiler", 13, resource="devices")), at(1))
    frames_sent = [first, *said(session)]
    assert [(f.batch, f.more) for f in frames_sent if isinstance(f, Objects)] == [(1, True), (1, False), (2, False)]


def test_a_root_that_comes_in_the_middle_of_a_batch_is_not_compared() -> None:
    session, view = in_step(settings=SyncSettings(part_bytes=2500))
    session.changed(view.put(state("a", 11, size=1500), state("b", 12, size=1500)), at(100))
    session.idle_frame()
    session.receive(Compare(batch=1, root=99), at(200))
    assert session.state is CloudState.IN_STEP


def test_bytes_that_arrive_are_no_silence_and_do_not_replace_a_ping() -> None:
    """A report of a megabyte takes two minutes at 64 kbit/s. Meanwhile the edge must hear of us as well."""
    session, _ = in_step()
    session.progressed(44)
    session.tick(at(45))
    assert frames(session.effects()) == [Ping(number=1)]
    session.tick(at(60))
    session.progressed(89)
    session.tick(at(90))
    assert frames(session.effects()) == [Ping(number=2)]
    assert session.heard_s == 89
    session.tick(at(149))
    assert session.state is CloudState.CLOSED


def test_a_slow_link_is_given_small_batches() -> None:
    session, view = in_step()
    session.sent(64 * 1024, 30.0)
    session.changed(view.put(*(state(f"c-{number}", 11 + number, size=3000) for number in range(20))), at(1))
    pushed = sent(session)
    assert max(sum(len(put.body) for put in frame.puts) for frame in pushed) < 10_000
    assert {frame.batch for frame in pushed} == set(range(1, session.unacknowledged + 1))
    assert session.unacknowledged > 2


def test_what_is_next_is_told_without_being_made() -> None:
    session, view = in_step()
    assert session.idle_priority() is None
    session.streams.open("logs", b"{}")
    assert session.idle_priority() is Priority.STREAMS
    session.changed(view.put(state("a", 11)), at(1))
    assert session.idle_priority() is Priority.OBJECTS
    session.changed(view.put(state("boiler", 12, resource="devices")), at(1))
    assert session.idle_priority() is Priority.PROMPT
    session.changed(view.put(state("a", 20)), at(2))
    taken = session.idle_frame()
    assert isinstance(taken, Objects)
    assert [put.stamp.revision for put in taken.puts if put.key.name == "a"] == [20], "made when it went"
    assert session.idle_priority() is Priority.STREAMS
    session.lost("gone")
    assert session.idle_priority() is None


def test_a_rest_of_a_batch_is_as_urgent_as_what_waits_behind_it() -> None:
    session, view = in_step(settings=SyncSettings(part_bytes=2500))
    session.changed(view.put(*(state(name, 11, size=1500) for name in "abc")), at(1))
    session.idle_frame()
    assert session.idle_priority() is Priority.OBJECTS
    session.changed(view.put(state("boiler", 13, resource="devices")), at(1))
    assert session.idle_priority() is Priority.PROMPT


def test_under_a_cap_what_is_urgent_takes_nothing_along() -> None:
    session, view = in_step()
    session.capped(2000)
    session.changed(view.put(state("a", 11), state("boiler", 12, resource="devices")), at(1))
    taken = session.idle_frame()
    assert isinstance(taken, Objects)
    assert [put.key.name for put in taken.puts] == ["boiler"]
    assert session.idle_priority() is Priority.OBJECTS


def test_stamps_are_urgent_for_nothing_is_pushed_before_them() -> None:
    view = FakeView()
    view.put(state("a", 9))
    session = a_cloud(view)
    session.receive(Compare(root=1, buckets=(1,) * 64), at(1))
    assert session.idle_priority() is Priority.PROMPT
    assert isinstance(session.idle_frame(), Stamps)


def test_with_a_full_window_nothing_is_next() -> None:
    session, view = in_step(settings=SyncSettings(window_batches=1))
    session.changed(view.put(state("a", 11)), at(1))
    session.idle_frame()
    session.changed(view.put(state("b", 12)), at(1))
    assert session.idle_priority() is None
    session.receive(Ack(batch=1), at(2))
    assert session.idle_priority() is Priority.OBJECTS


def test_a_secret_shares_no_frame_with_anything_that_somebody_else_may_have_written() -> None:
    """Else its bytes could be guessed one by one: text that is like them makes the deflated frame shorter."""
    session, view = in_step()
    secrets = [state(name, 11, resource="secrets") for name in ("password", "token")]
    pod = state("pod", 12, resource="pods")
    view.closures[pod.key] = tuple(view.put(state("chosen", 11), *secrets, state("after", 11)))
    gone = key("gone")
    session.changed([gone, *view.closures[pod.key], *view.put(pod)], at(1))
    told = sent(session)
    assert {frame.batch for frame in told} == {1}, "one transaction all the same"
    assert [frame.more for frame in told] == [True] * (len(told) - 1) + [False]
    for frame in told:
        if any(put.key.resource == "secrets" for put in frame.puts):
            assert len(frame.puts) == 1 and not frame.deletes
    assert [put.key.name for frame in told for put in frame.puts] == ["chosen", "password", "token", "after", "pod"]
