"""Commands in a simulated world: the cloud's controller and the gateway's runner, around the real plans of both.

What the runner notes is durable like everything on its disk, some time after it is asked for; what a command does is
done at once when it is begun, and takes a while to end. The checker counts what was done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from cloudcore.controllers.command.plan import End, Offer, Remove, Wait, next_step
from cloudcore.store.positions import position_of
from edgecore.commands.plan import Begin, CarryOut, Forget, Halt, Keep, Seen, Step, plan
from edgecore.commands.records import CommandRecord, Moment
from edgecore.link.cloud_time import HeardTime
from edgecore.store.port import META_EPOCH, EdgeBatch
from skerry.objects.commands import COMMANDS, REPORT, CommandReport, Outcome, command_spec, ended, with_report
from skerry.objects.json import JsonObject, decode_object, map_at, str_at
from skerry.objects.meta import Key
from skerry.objects.times import micro_time_text
from skerry.sync.effects import DatedReport
from skerry.wire.frames import PROMPT

if TYPE_CHECKING:
    from tests.sim.cloud import Cloud
    from tests.sim.edge import Edge

TIMEOUT_S: Final = 20
TAKES_S: Final = 3.0
"""The longest that a command takes."""
FIRST_WITH_COMMANDS: Final = 2
"""The first release's agents know of none."""


class CloudCommands:
    """The cloud's controller, which some replica runs."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._world = cloud.world

    def give(self, name: str, edge: str, expires_s: int) -> None:
        """Somebody creates a Command, and admission stamps it."""
        position = position_of(edge, self._cloud.disk.lives.get(edge, {}))
        issued: JsonObject = {
            "time": micro_time_text(self._world.true_ms()),
            "epoch": self._cloud.disk.epoch,
            "incarnation": position.incarnation if position is not None else "",
        }
        spec: JsonObject = {
            "nodeName": edge,
            "action": {"deviceRefresh": {"device": name}},
            "timeoutSeconds": TIMEOUT_S,
            "expiresAfterSeconds": expires_s,
            "ttlSecondsAfterFinished": 86_400,
            "issued": issued,
        }
        key = Key(COMMANDS, "default", name)
        self._cloud.write(key, {"metadata": {"namespace": "default", "name": name}, "spec": spec, "status": {}})
        self.look(key)

    def look_at_all(self, node: str = "") -> None:
        """Something happened to the cloud, or to a node."""
        for key in self.keys:
            if node in ("", str_at(self._world.cloud_object(key), "spec", "nodeName")):
                self.look(key)

    @property
    def keys(self) -> list[Key]:
        return [key for key in self._cloud.disk.objects if key.resource == COMMANDS]

    def look(self, key: Key) -> None:
        """Decide and carry out, some time later."""
        self._world.after(self._world.watch_s(), lambda: self._reconcile(key), "the cloud looks at a command")

    def _reconcile(self, key: Key) -> None:
        if key not in self._cloud.disk.objects or not any(each.up for each in self._cloud.replicas):
            return  # it has gone, or whoever starts looks at all
        obj, now_ms = self._world.cloud_object(key), self._world.true_ms()
        step = next_step(
            obj, self._node(str_at(obj, "spec", "nodeName")), epoch=self._cloud.disk.epoch, now_ms=now_ms
        )
        match step:
            case Offer():
                status = {**map_at(obj, "status"), "offeredTime": micro_time_text(now_ms)}
                self._cloud.write(key, {**obj, "status": status})
                self.look(key)
            case End():
                end = ended(obj, phase=step.phase, reason=step.reason, message=step.message, now_ms=now_ms)
                self._cloud.write(key, end)
            case Wait(until_ms=until_ms) if until_ms is not None:
                self._world.after(max(0, until_ms - now_ms) / 1000 + 0.05, lambda: self.look(key))
            case Wait() | Remove():
                pass

    def _node(self, name: str) -> JsonObject:
        heard = name in self._cloud.sessions
        return {"status": {"conditions": [{"type": "Ready", "status": "True" if heard else "Unknown"}]}}

    def told(self, dated: DatedReport) -> None:
        """A gateway's word took effect."""
        report = CommandReport.decode(decode_object(dated.report.body))
        key = Key(COMMANDS, report.namespace, report.name)
        held = self._cloud.disk.objects.get(key)
        if held is None or held.uid != report.uid:
            return
        obj = self._world.cloud_object(key)
        after = with_report(obj, report, at_ms=dated.at_ms)
        if after is not obj:
            self._cloud.write(key, after)


class EdgeCommands:
    """The gateway's runner: one loop writes, and plans from what is durable."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._world = edge.world
        self._heard: HeardTime | None = None
        self._running: set[str] = set()
        self._waiting: set[str] = set()
        """Of those, what is not carried out yet."""
        self._stopping: set[str] = set()
        self._ended: dict[str, Outcome] = {}
        self._busy = False

    def forget(self) -> None:
        """The agent died."""
        self._heard = None
        self._running.clear()
        self._waiting.clear()
        self._stopping.clear()
        self._ended.clear()
        self._busy = False

    def hear(self, server_ms: int, said_s: float) -> None:
        """The cloud said what its clock reads."""
        self._heard = HeardTime(server_ms=server_ms, said_s=said_s)
        self.poke()

    def poke(self) -> None:
        """Something may have to be done."""
        if self._edge.version < FIRST_WITH_COMMANDS or not self._edge.agent_up:
            return
        if self._busy:
            return  # planned again when what is under way is written
        store = self._edge.store
        steps = self._steps() if store.commands() or store.list(COMMANDS) else []
        if steps:
            self._busy = True
            self._take(steps)

    def _steps(self) -> list[Step]:
        seen = self._see()
        ends: list[Step] = [
            Keep(record=seen.records[uid].after(outcome, seen.now)) for uid, outcome in self._ended.items()
        ]
        if ends:
            return ends
        made = plan(seen)
        if made.wake_s is not None and not made.steps:
            self._world.after(max(0.05, made.wake_s), self._edge.guarded(self.poke), f"{self._edge.name}: commands")
        return [*made.steps]

    def _see(self) -> Seen:
        store, plant = self._edge.store, self._world.plant
        held = {item.stamp.uid: decode_object(item.body) for item in store.list(COMMANDS)}
        if plant.obey_any_life:
            held = {uid: _given_to(obj, store.incarnation) for uid, obj in held.items()}
        cloud_ms = self._cloud_ms()
        return Seen(
            held=held,
            records={uid: CommandRecord.decode(uid, body) for uid, body in store.commands()},
            running=frozenset(self._running),
            waiting=frozenset(self._waiting),
            known=self._known(),
            stopping=frozenset(self._stopping),
            refusals={},
            incarnation=store.incarnation,
            epoch=store.meta(META_EPOCH) or "",
            cloud_ms=cloud_ms,
            now=self._now(),
        )

    def _cloud_ms(self) -> int | None:
        if self._heard is None:
            return None
        return 0 if self._world.plant.deaf_to_deadlines else self._heard.latest_ms(self._edge.clock.monotonic_s())

    def _now(self) -> Moment:
        clock = self._edge.clock
        return Moment(
            wall_ms=clock.wall_ms(),
            boot_id=f"boot-{self._edge.boots}",
            monotonic_ms=round(clock.monotonic_s() * 1000),
        )

    def _take(self, steps: list[Step]) -> None:
        """One after the other, each when the one before is durable."""
        if not steps:
            self._busy = False
            self.poke()
            return
        step, rest = steps[0], steps[1:]
        match step:
            case Keep(record=record):
                self._write(record, lambda: self._kept(record, rest))
            case Begin(record=record):
                self._running.add(record.uid)
                if self._world.plant.begin_unwritten:
                    self._carry_out(record)
                    self._write(record, lambda: self._take(rest))
                else:
                    self._write(record, lambda: self._begun(record, rest))
            case CarryOut(record=record):
                cloud_ms = self._cloud_ms()
                if cloud_ms is not None and cloud_ms < record.command.expires_ms:
                    self._carry_out(record)
                self._take(rest)
            case Forget(uid=uid):
                batch = EdgeBatch(commands=((uid, None),))
                self._edge.note(batch, lambda: self._take(rest))
            case Halt(uid=uid):
                self._stopping.add(uid)
                self._take(rest)

    def _write(self, record: CommandRecord, told: Callable[[], None]) -> None:
        report = record.report(self._now(), self._edge.store.incarnation)
        self._edge.note(EdgeBatch(commands=((record.uid, record.encode()),), reports=(report,)), told)

    def _kept(self, record: CommandRecord, rest: list[Step]) -> None:
        if self._ended.pop(record.uid, None) is not None or record.uid in self._waiting:
            self._running.discard(record.uid)
            self._waiting.discard(record.uid)
        self._take(rest)

    def _begun(self, record: CommandRecord, rest: list[Step]) -> None:
        self._waiting.add(record.uid)
        self._take(rest)

    def _known(self) -> frozenset[str]:
        """The cloud has the report that they are begun: state leaves the outbox for no other reason."""
        if not self._waiting or self._world.plant.carry_out_unknown:
            return frozenset(self._waiting)
        told = self._edge.store.outbox(after=0, limit=100_000, lane=PROMPT)
        return frozenset(self._waiting - {report.key for report in told if report.kind == REPORT})

    def receipted(self) -> None:
        """Reports left the outbox because the cloud has them."""
        if self._waiting:
            self.poke()

    def _carry_out(self, record: CommandRecord) -> None:
        self._waiting.discard(record.uid)
        self._world.checkers.carried_out(self._edge, record.uid, record.command.expires_ms)
        takes_s = self._world.random.uniform(0.02, TAKES_S)
        done = self._edge.guarded(lambda: self._done(record.uid))
        self._world.after(takes_s, done, f"{self._edge.name}: a command ends")

    def _done(self, uid: str) -> None:
        self._ended[uid] = Outcome(phase="Succeeded", reason="", message="", result={})
        self.poke()


def _given_to(obj: JsonObject, incarnation: str) -> JsonObject:
    """A planted bug: as if it had been given to this life of the store."""
    assert command_spec(obj).node, "admission saw to it"
    issued = {**map_at(obj, "spec", "issued"), "incarnation": incarnation}
    return {**obj, "spec": {**map_at(obj, "spec"), "issued": issued}}
