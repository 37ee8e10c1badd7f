"""The first release and this one, hand in hand: its machines and its codec, frozen in `tests/released/v1`.

Everything crosses as bytes, written by the one side's codec and read by the other's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from skerry.objects.meta import Key, Revision
from skerry.objects.spans import Spans
from skerry.sync.cloud import Admission, CloudSession
from skerry.sync.edge import EdgeIdentity, EdgeSession
from skerry.sync.received import Received
from skerry.wire import codec
from tests.released.v1 import cloud as cloud_1
from tests.released.v1 import codec as codec_1
from tests.released.v1 import edge as edge_1
from tests.released.v1 import frames as frames_1
from tests.skerry.sync.conversation import FakeOutbox, FakeView, Item, at, state


class Outbox1(FakeOutbox):
    """As the first release asked it: without lanes."""

    def outbox(self, *, after: int, limit: int) -> list[Item]:  # type: ignore[override]
        return super().outbox(after=after, limit=limit)


class View1(FakeView):
    """Its objects as the first release's codec wants them."""

    def state(self, key: Key) -> Any:
        found = super().state(key)
        return found and frames_1.ObjectState(key=found.key, stamp=found.stamp, body=found.body)


class Meeting:
    """One edge and one cloud over one link; what was written and what took effect."""

    def __init__(self, edge: Any, cloud: Any, admission: Any, *, edge_codec: Any, cloud_codec: Any) -> None:
        self.edge, self.cloud, self.admission = edge, cloud, admission
        self.edge_codec, self.cloud_codec = edge_codec, cloud_codec
        self.puts: list[str] = []
        self.effects: list[int] = []
        self.pruned: list[int] = []
        self.closed: list[str] = []
        self.covered: list[Any] = []

    def run(self, now_s: float = 0) -> None:
        """Until neither has anything to do."""
        while self._edge_turn(now_s) | self._cloud_turn(now_s):
            pass

    def _up(self, frame: Any, now_s: float) -> None:
        self.cloud.receive(self.cloud_codec.decode(self.edge_codec.encode(frame)), at(now_s))

    def _down(self, frame: Any, now_s: float) -> None:
        self.edge.receive(self.edge_codec.decode(self.cloud_codec.encode(frame)), at(now_s))

    def _edge_turn(self, now_s: float) -> bool:
        effects = self.edge.effects()
        for effect in effects:
            match type(effect).__name__:
                case "Send":
                    self._up(effect.frame, now_s)
                case "Write":
                    self.puts += [put.key.name for put in effect.puts]
                    self.edge.written(effect.number, at(now_s))
                case "Prune":
                    self.pruned.append(effect.through)
                case "CloseLink":
                    self.closed.append(effect.reason)
                case _:
                    pass
        if (frame := self.edge.idle_frame()) is not None:
            self._up(frame, now_s)
        return bool(effects) or frame is not None

    def _cloud_turn(self, now_s: float) -> bool:
        effects = self.cloud.effects()
        for effect in effects:
            match type(effect).__name__:
                case "Send":
                    self._down(effect.frame, now_s)
                case "Admit":
                    self.cloud.admitted(self.admission, at(now_s))
                case "Commit":
                    self.effects += [dated.report.seq for dated in effect.reports]
                    self.covered += getattr(effect, "covered", ())
                    self.cloud.committed()
                case "CloseLink":
                    self.closed.append(effect.reason)
                case _:
                    pass
        if (frame := self.cloud.idle_frame()) is not None:
            self._down(frame, now_s)
        return bool(effects) or frame is not None


def identity(made: Callable[..., Any]) -> Any:
    return made(node="eu-1", agent_version="0", incarnation="i1", boot_id="boot", epoch="e1", revision=Revision(5))


def mixed(*, received: int) -> list[Item]:
    """Forty reports of both lanes, those that are not received."""
    kinds = ("telemetry", "telemetry", "event", "pod_status")
    return [Item(seq=seq, kind=kinds[seq % 4]) for seq in range(received + 1, 41)]


def filled(outbox: FakeOutbox, items: Iterable[Item]) -> FakeOutbox:
    outbox.add(*items)
    return outbox


def filled_view(made: FakeView) -> FakeView:
    made.put(state("a", 7), state("b", 9))
    return made


def an_old_edge(outbox: FakeOutbox, cloud_has: Received) -> Meeting:
    return Meeting(
        edge_1.EdgeSession(identity(edge_1.EdgeIdentity), (), outbox, at(0)),  # type: ignore[arg-type]
        CloudSession(at(0)),
        Admission(view=filled_view(FakeView()), epoch="e1", session=3, received=cloud_has),
        edge_codec=codec_1,
        cloud_codec=codec,
    )


def an_old_cloud(outbox: FakeOutbox, received: int) -> Meeting:
    return Meeting(
        EdgeSession(identity(EdgeIdentity), (), outbox, at(0)),
        cloud_1.CloudSession(at(0)),  # type: ignore[arg-type]
        cloud_1.Admission(view=filled_view(View1()), epoch="e1", session=3, received=received),  # type: ignore[arg-type]
        edge_codec=codec,
        cloud_codec=codec_1,
    )


def test_an_old_edge_is_served_as_before() -> None:
    outbox = filled(Outbox1(), mixed(received=4))
    meeting = an_old_edge(outbox, Received.upto(4))
    meeting.run()
    assert meeting.closed == []
    assert sorted(meeting.puts) == ["a", "b"]
    assert meeting.effects == list(range(5, 41)), "in one order"
    assert meeting.pruned[0] == 4
    assert meeting.pruned[-1] == 40
    outbox.add(Item(seq=41), Item(seq=44, kind="event"))
    meeting.edge.appended(at(1))
    meeting.run(1)
    assert meeting.effects[-2:] == [41, 44]
    received = Received.upto(4)
    for lane, span in meeting.covered:
        received = received.add(lane, span)
    assert received == Received.upto(44), "its position counts for every lane"


def test_an_old_edge_goes_on_from_what_version_2_left() -> None:
    """The agent was taken back to the first release, its outbox as it was."""
    has = Received((Spans.upto(30), Spans.read("1-9,20-35")))
    outbox = filled(Outbox1(), mixed(received=9))
    meeting = an_old_edge(outbox, has)
    meeting.run()
    assert meeting.closed == []
    lacking = [item.seq for item in mixed(received=0) if item.seq not in has.lanes[item.lane]]
    assert meeting.effects == lacking
    assert meeting.pruned[-1] == 40


def test_an_old_cloud_is_told_everything_in_one_order() -> None:
    outbox = filled(FakeOutbox(), mixed(received=0))
    meeting = an_old_cloud(outbox, received=11)
    meeting.run()
    assert meeting.closed == []
    assert sorted(meeting.puts) == ["a", "b"]
    assert meeting.effects == list(range(12, 41))
    assert meeting.pruned[0] == 11
    assert meeting.pruned[-1] == 40
    outbox.add(Item(seq=41), Item(seq=42, kind="event"))
    meeting.edge.appended(at(1))
    meeting.run(1)
    assert meeting.effects[-2:] == [41, 42]


@pytest.mark.parametrize("old", ["edge", "cloud"])
def test_both_notice_a_dead_line_and_say_so_in_words_that_both_know(old: str) -> None:
    meeting = an_old_edge(Outbox1(), Received()) if old == "edge" else an_old_cloud(FakeOutbox(), 0)
    meeting.run()
    meeting.edge.tick(at(30))
    meeting.run(30)
    assert meeting.closed == [], "a ping was answered"
    meeting.cloud.close(1, "the cloud is stopping", retry_after_s=2.0)
    meeting.run(31)
    assert meeting.closed == ["the cloud is stopping", "the cloud is stopping"]
