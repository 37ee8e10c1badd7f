"""What a technician does at the gateway by hand: written down first, kept, and told with who and when."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from edgecore.pods.local_acts import ActParts, Hold, LocalActs
from edgecore.pods.manager import PodManager
from edgecore.pods.parts import PodParts
from edgecore.store.port import EdgeBatch
from skerry.clocks import SeededIds
from skerry.errors import ConflictError, InvalidError, NotFoundError, StorageFullError
from skerry.frozen import replace
from skerry.objects.json import JsonObject, decode_object, dig, str_at
from tests.edgecore.pods.pods_of import container, pod
from tests.edgecore.pods.stage import Gateway, eventually

BY = "root (uid 0)"


class ActGateway(Gateway):
    def __init__(self, tmp_path: Path) -> None:
        super().__init__(tmp_path)
        self.hold = Hold(self.store, self.clock)

    def parts(self) -> PodParts:
        return replace(super().parts(), hold=self.hold)

    def acts(self, manager: PodManager) -> LocalActs:
        return LocalActs(
            ActParts(
                store=self.store,
                runtime=self.runtime,
                pods=manager,
                hold=self.hold,
                clock=self.clock,
                ids=SeededIds(2),
                node="gate-1",
            )
        )

    def reboot(self) -> None:
        """The power went: nothing runs, and what is known is what the store keeps."""
        self.runtime.lose_power()
        self.runtime = self.runtime.restarted()
        self.hold = Hold(self.store, self.clock)

    def told(self) -> list[str]:
        return [f"{str_at(each, 'act')} {str_at(each, 'pod')}".strip() for each in self.reports("local_change")]

    def reason(self) -> str:
        return str_at(self.status(), "reason")


@pytest.fixture
def gate(tmp_path: Path) -> ActGateway:
    return ActGateway(tmp_path)


async def runs(gate: ActGateway, obj: JsonObject | None = None) -> None:
    await gate.put(obj or pod())
    await eventually(lambda: str_at(gate.status(), "phase") == "Running" and gate.runtime.starts)


async def test_a_restart_ends_each_container_once_and_is_told(gate: ActGateway) -> None:
    async with gate.running() as manager:
        await runs(gate, pod(container("a"), container("b"), terminationGracePeriodSeconds=7))
        acts = gate.acts(manager)
        answer = await acts.restart(BY, "default", "web", "")
        assert answer == {"pod": "web", "ends": {"a": 0, "b": 0}}
        await eventually(lambda: len(gate.runtime.starts) == 4)
        await acts.restart(BY, "default", "web", "b")
        await eventually(lambda: gate.runtime.starts[-1] == ("b", 2))
    assert sorted(gate.runtime.stops) == [("a", 7.0), ("b", 7.0), ("b", 7.0)]
    assert gate.told() == ["restart web", "restart web"]
    assert gate.reasons().count("RestartedOnGateway") == 2
    (newest, _) = acts.changes()
    assert (newest["by"], newest["container"], newest["act"]) == (BY, "b", "restart")


async def test_a_restart_that_was_written_down_is_carried_out_by_the_next_agent(gate: ActGateway) -> None:
    async with gate.running() as manager:
        await runs(gate)
        await manager.write("uid-1", lambda record: replace(record, restarts={"app": 0}), EdgeBatch())
    gate.runtime = gate.runtime.restarted()
    async with gate.running():
        await eventually(lambda: gate.runtime.starts == [("app", 1)])


async def test_a_stopped_pod_stays_stopped_across_power_cuts_until_it_is_started(gate: ActGateway) -> None:
    async with gate.running() as manager:
        await runs(gate, pod(terminationGracePeriodSeconds=7))
        await gate.acts(manager).stop(BY, "default", "web", "smoke")
        await eventually(lambda: gate.reason() == "StoppedOnGateway" and gate.runtime.stops == [("app", 7.0)])
        await eventually(gate.waiting)
        assert str_at(gate.waiting(), "reason") == "StoppedOnGateway"
        assert "by root (uid 0) at " in str_at(gate.status(), "message")
    gate.reboot()
    async with gate.running() as manager:
        await eventually(lambda: manager.count == 1)
        await eventually(lambda: gate.reason() == "StoppedOnGateway")
        assert gate.runtime.starts == []
        acts = gate.acts(manager)
        with pytest.raises(ConflictError, match="is stopped here"):
            await acts.restart(BY, "default", "web", "")
        await acts.start(BY, "default", "web")
        await eventually(lambda: gate.runtime.starts == [("app", 1)] and not gate.reason())
        with pytest.raises(ConflictError, match="is not stopped here"):
            await acts.start(BY, "default", "web")
    assert gate.told() == ["stop web", "start web"]


async def test_a_started_pod_waits_for_no_back_off(gate: ActGateway) -> None:
    async with gate.running() as manager:
        await runs(gate)
        for attempt in range(1, 4):
            await gate.acts(manager).stop(BY, "default", "web", "")
            await eventually(lambda: gate.reason() == "StoppedOnGateway" and gate.waiting())
            await gate.acts(manager).start(BY, "default", "web")
            await eventually(lambda n=attempt: gate.runtime.starts[-1] == ("app", n))


async def test_a_stop_ends_when_the_cloud_changes_the_pod(gate: ActGateway) -> None:
    async with gate.running() as manager:
        await runs(gate)
        await gate.acts(manager).stop(BY, "default", "web", "")
        await eventually(lambda: gate.reason() == "StoppedOnGateway" and gate.waiting())
        changed = pod(container(image="app:2"))
        metadata: Any = changed["metadata"]
        metadata["generation"] = 2
        await gate.put(changed)
        await eventually(lambda: gate.runtime.starts[-1] == ("app", 1) and not gate.reason())
    assert "StartedOnGateway" in gate.reasons()


async def test_a_full_disk_refuses_an_act_and_does_nothing(gate: ActGateway) -> None:
    async with gate.running() as manager:
        await runs(gate)
        gate.disk.fail_writes_with = StorageFullError("full")
        with pytest.raises(StorageFullError):
            await gate.acts(manager).stop(BY, "default", "web", "")
        gate.disk.fail_writes_with = None
        assert manager.stopped("uid-1") is None
    assert gate.runtime.stops == []


@pytest.mark.parametrize("policy", ["Never", "OnFailure"])
async def test_what_would_not_start_again_is_not_ended(gate: ActGateway, policy: str) -> None:
    async with gate.running() as manager:
        await runs(gate, pod(restartPolicy=policy))
        for act in (
            gate.acts(manager).stop(BY, "default", "web", ""),
            gate.acts(manager).restart(BY, "default", "web", ""),
        ):
            with pytest.raises(InvalidError, match="would not start again"):
                await act


async def test_what_is_not_here_is_said(gate: ActGateway) -> None:
    async with gate.running() as manager:
        await runs(gate)
        with pytest.raises(NotFoundError, match='pods "other" not found on this gateway'):
            await gate.acts(manager).stop(BY, "default", "other", "")
        with pytest.raises(NotFoundError, match='has no container "x" \\(it has: app\\)'):
            await gate.acts(manager).restart(BY, "default", "web", "x")


# --- upgrades -----------------------------------------------------------------------------------------------------


def going(obj: JsonObject) -> JsonObject:
    metadata: Any = obj["metadata"]
    metadata |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 5}
    return obj


async def test_while_upgrades_are_held_what_runs_stays_and_what_comes_waits(gate: ActGateway) -> None:
    async with gate.running() as manager:
        await runs(gate)
        acts = gate.acts(manager)
        await acts.hold_upgrades(BY, "harvest", None)
        await eventually(lambda: "kept" in _records(gate) and dig(_records(gate), "kept", "spec"))
        changed = pod(container(image="app:2"))
        metadata: Any = changed["metadata"]
        metadata["generation"] = 2
        await gate.put(going(changed))
        await gate.put(pod(uid="uid-2", name="new"))
        await eventually(lambda: str_at(_last(gate, "new"), "status", "reason") == "UpgradesHeld")
        assert "by root (uid 0)" in str_at(_last(gate, "new"), "status", "message")
        assert (gate.runtime.starts, gate.runtime.stops) == ([("app", 0)], [])
    gate.reboot()
    async with gate.running() as manager:
        await eventually(lambda: gate.runtime.starts == [("app", 1)])
        assert gate.runtime.specs["uid-1.app.1"].image == "app", "as it was, though the cloud has changed it"
        await gate.acts(manager).release_upgrades(BY)
        await eventually(lambda: ("app", 0) in gate.runtime.starts)  # the new one
        await eventually(lambda: any(each["gone"] for each in gate.reports()))  # the one that was deleted
    assert gate.told() == ["hold", "release"]


def _records(gate: ActGateway) -> JsonObject:
    return next((decode_object(body) for uid, body in gate.store.pods() if uid == "uid-1"), {})


def _last(gate: ActGateway, name: str) -> JsonObject:
    return next((each for each in reversed(gate.reports()) if each["name"] == name), {})


async def test_a_hold_ends_by_itself(gate: ActGateway) -> None:
    async with gate.running() as manager:
        acts = gate.acts(manager)
        with pytest.raises(InvalidError, match="over already"):
            await acts.hold_upgrades(BY, "", gate.clock.wall_ms())
        await acts.hold_upgrades(BY, "", gate.clock.wall_ms() + 60_000)
        await gate.put(pod())
        await eventually(lambda: gate.reason() == "UpgradesHeld")
        gate.clock.advance(61)
        assert acts.hold() is None
        manager.refresh_all()
        await eventually(lambda: gate.runtime.starts)
        with pytest.raises(ConflictError, match="not held here"):
            await acts.release_upgrades(BY)


async def test_the_newest_acts_are_kept_and_no_more(gate: ActGateway) -> None:
    async with gate.running() as manager:
        acts = gate.acts(manager)
        for _ in range(110):
            await acts.hold_upgrades(BY, "", None)
            await acts.release_upgrades(BY)
        assert len(acts.changes()) == 200 and acts.changes()[0]["act"] == "release"


async def test_whoever_goes_into_a_pod_is_written_down_and_told(gate: ActGateway) -> None:
    await gate.put(pod(container("app")))
    async with gate.running() as manager:
        acts = gate.acts(manager)
        await acts.enter(BY, "exec", "default", "web", "app")
        await acts.enter(BY, "port-forward", "default", "web", "80")
        with pytest.raises(NotFoundError):
            await acts.enter(BY, "attach", "default", "nosuch", "app")
        assert gate.told() == ["exec web", "port-forward web"]
        newest, first = acts.changes()
        assert (newest["reason"], "container" in newest) == ("port 80", False)
        assert (first["container"], first["by"], "reason" in first) == ("app", BY, False)


async def test_of_acts_at_the_same_time_none_is_lost(gate: ActGateway) -> None:
    async with gate.running() as manager:
        await runs(gate)
        acts = gate.acts(manager)
        await asyncio.gather(
            *(acts.enter(f"user {each}", "exec", "default", "web", "app") for each in range(9)),
            acts.hold_upgrades(BY, "harvest", None),
            acts.stop(BY, "default", "web", "smoke"),
        )
    kept = [(str_at(each, "by"), str_at(each, "act")) for each in acts.changes()]
    assert sorted(kept) == sorted([*((f"user {each}", "exec") for each in range(9)), (BY, "hold"), (BY, "stop")])
    assert len(gate.told()) == 11
