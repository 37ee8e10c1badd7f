"""What keeping nodes in step costs the hub: memory of a session, a reconnect of many, one object that all need.

Run: python -m benchmarks.sync. Everything but TLS and sockets is real: views, machines, codec. Gateways and hub share
one thread, so each figure holds the cost of both sides.
"""

from __future__ import annotations

import gc
import json
import random
import resource
import time
import tracemalloc
from collections.abc import Sequence

from cloudcore.hub.views import Views
from cloudcore.store.port import Change, Stored
from skerry.objects.json import encode_object
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.spans import Span
from skerry.sync.cloud import Admission, CloudSession
from skerry.sync.edge import EdgeIdentity, EdgeSession, EdgeState
from skerry.sync.effects import Admit, Send, Write
from skerry.sync.ports import BootTimes, Instant, OutboxItem, Taken
from skerry.sync.received import Received
from skerry.wire.codec import decode, encode
from skerry.wire.frames import Start
from skerry.wire.shared import SharedEncoder

Rows = list[tuple[str, str]]

NODES = 2000
OBJECTS = 30
PUSHED_BYTES = (300, 3_000, 100_000)
WORDS = ("rate", "limit", "unit", "enabled", "address", "timeout", "mode", "level")
NOW = Instant(monotonic_s=1.0, wall_ms=1_790_000_000_000)


class NoReports:
    """An outbox with nothing in it."""

    def outbox(self, *, after: int, limit: int, lane: int | None = None) -> list[OutboxItem]:
        return []

    def take(self, *, after: int, limit: int, lane: int | None = None, until: int | None = None) -> Taken[OutboxItem]:
        return Taken(items=())

    def give_back(self, seqs: Sequence[int]) -> None:
        assert not seqs, "nothing was taken"

    def welcomed(self, settled: Sequence[tuple[int | None, Span]]) -> None:
        """Nothing was taken before."""

    def outbox_head(self) -> int:
        return 0

    def outbox_left(self) -> int:
        return 0

    def outbox_starts(self) -> tuple[Start, ...]:
        return ()

    def note_sent(self, through: int) -> None:
        assert through == 0, "there is nothing to send"

    def boots(self) -> tuple[BootTimes, ...]:
        return ()


class Pair:
    """Both machines of one node, joined by bytes."""

    def __init__(self, views: Views, node: str, held: dict[Key, Stamp]) -> None:
        identity = EdgeIdentity(
            node=node, agent_version="0", incarnation="i", boot_id="b", epoch="e", revision=Revision(0)
        )
        self.views, self.node, self.held = views, node, held
        self.edge = EdgeSession(identity, held.items(), NoReports(), NOW)
        self.cloud = CloudSession(NOW)
        self.size = 0

    def settle(self) -> None:
        """Until neither has anything to say."""
        while True:
            up, down = self.edge.effects(), self.cloud.effects()
            pushed = self.cloud.idle_frame()
            if not up and not down and pushed is None:
                return
            for effect in up:
                if isinstance(effect, Send):
                    self.cloud.receive(decode(self._carried(encode(effect.frame))), NOW)
                elif isinstance(effect, Write):
                    self.held.update((put.key, put.stamp) for put in effect.puts)
                    self.edge.written(effect.number, NOW)
            for effect in down:
                if isinstance(effect, Send):
                    self.edge.receive(decode(self._carried(encode(effect.frame))), NOW)
                elif isinstance(effect, Admit):
                    view = self.views.view(self.node)
                    self.cloud.admitted(Admission(view=view, epoch="e", session=1, received=Received()), NOW)
            if pushed is not None:
                self.edge.receive(decode(self._carried(encode(pushed))), NOW)

    def _carried(self, data: bytes) -> bytes:
        self.size += len(data)
        return data


def a_store() -> list[Stored]:
    """One pod with 28 ConfigMaps on each node, and a ConfigMap that all pods use."""
    objects: list[Stored] = [_stored(Key("configmaps", "ns", "shared"), {"data": {"a": "1"}})]
    for number in range(NODES):
        names = ["shared", *(f"c-{number}-{place}" for place in range(OBJECTS - 2))]
        objects += [_stored(Key("configmaps", "ns", name), {"data": {"a": "x" * 100}}) for name in names[1:]]
        volumes = [{"name": name, "configMap": {"name": name}} for name in names]
        spec = {"nodeName": f"n-{number}", "volumes": volumes}
        objects.append(_stored(Key("pods", "ns", f"p-{number}"), {"metadata": {"namespace": "ns"}, "spec": spec}))
    return objects


def _stored(key: Key, obj: dict[str, object]) -> Stored:
    body = encode_object(obj)  # type: ignore[arg-type]
    return Stored(key=key, uid=f"00000000-0000-4000-8000-{key.name:>12}", revision=Revision(1), body=body)


def pushed(views: Views, by_node: dict[str, Pair]) -> Rows:
    """What a hub spends on telling each gateway of one change, its link apart: encoding for each, and once for all.

    The view moves on between sessions, as that of a hub does whose gateways report.
    """
    rows: Rows = []
    revision = 2
    for size in PUSHED_BYTES:
        for what, encoder in (("encoded for each", encode), ("encoded once", SharedEncoder().encode)):
            revision += 1
            spent_s = 0.0
            body = json.dumps({"metadata": {}, "data": {"text": _text(size), "revision": str(revision)}}).encode()
            for node, keys in views.apply(_changed("shared", revision, body)).items():
                began_s = time.process_time()
                pair = by_node[node]
                pair.cloud.changed(keys, NOW)
                frame = pair.cloud.idle_frame()
                assert frame is not None, "there is news"
                data = encoder(frame, dictionary=1)
                spent_s += time.process_time() - began_s
                pair.edge.receive(decode(data), NOW)
                pair.settle()
                revision += 1
                views.apply(_changed("of nobody", revision, b"{}"))
            each_us = 1e6 * spent_s / NODES
            rows.append((f"ConfigMap of {size} B changed on {NODES}, {what}", f"{each_us:.0f} us of processor each"))
    return rows


def _changed(name: str, revision: int, body: bytes) -> Change:
    key = Key("configmaps", "ns", name)
    return Change(revision=Revision(revision), key=key, uid="u", before=None, after=body)


def _text(size: int) -> str:
    """Words that deflate to a third or so, as settings do."""
    chance = random.Random(size)
    return " ".join(f"{chance.choice(WORDS)}={chance.randrange(10_000)}" for _ in range(size // 10))


def main() -> Rows:
    """The figures, as (what, value)."""
    rows: Rows = [("nodes, objects of each", f"{NODES}, {OBJECTS}")]
    views = Views(json.loads)
    objects = a_store()
    began = time.perf_counter()
    views.load(objects, Revision(1))
    rows.append(("views made from the store", f"{time.perf_counter() - began:.2f} s"))

    pairs = [Pair(views, f"n-{number}", {}) for number in range(NODES)]
    began = time.perf_counter()
    for pair in pairs:
        pair.settle()
    took = time.perf_counter() - began
    assert all(pair.edge.state is EdgeState.IN_STEP for pair in pairs)
    rows.append(("empty gateways brought into step", f"{took:.2f} s, {took / NODES * 1e3:.2f} ms each"))

    again = [Pair(views, pair.node, pair.held) for pair in pairs]
    began = time.perf_counter()
    for pair in again:
        pair.settle()
    took = time.perf_counter() - began
    rows.append(("unchanged gateways back in step", f"{took:.2f} s, {took / NODES * 1e3:.2f} ms each"))
    rows.append(("bytes of an unchanged reconnect", f"{again[0].size}"))

    change = Change(
        revision=Revision(2), key=Key("configmaps", "ns", "shared"), uid="u", before=None, after=b'{"metadata":{}}'
    )
    by_node = {pair.node: pair for pair in again}
    began = time.perf_counter()
    for node, keys in views.apply(change).items():
        by_node[node].cloud.changed(keys, NOW)
        by_node[node].settle()
    rows.append(("one object changed on all of them", f"{time.perf_counter() - began:.2f} s"))
    rows += pushed(views, by_node)

    del pairs, again, by_node
    gc.collect()
    tracemalloc.start()
    sessions = [CloudSession(NOW) for _ in range(NODES)]
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    rows.append(("memory of an idle session, without link and view", f"{size / len(sessions) / 1024:.1f} KiB"))
    rows.append(("peak memory of this run", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB"))
    return rows


if __name__ == "__main__":
    for what, value in main():
        print(f"{what:50} {value}")
