"""Which runs that are over stay, by number and age, on one pod and on the whole gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecore.pods.dead_runs import Dead, DeadRuns, surplus
from edgecore.pods.parts import PodParts, log_directory
from edgecore.pods.plan import Remove, plan
from skerry.frozen import replace
from skerry.objects.json import str_at
from tests.edgecore.pods.pods_of import NOW_MS, container, ended, pod, state
from tests.edgecore.pods.stage import Gateway, eventually
from tests.edgecore.pods.test_plan import seen

HOUR_MS = 3_600_000


@pytest.mark.parametrize(("kept", "gone"), [(0, [0, 1, 2]), (1, [0, 1]), (2, [0]), (9, [])])
def test_so_many_runs_before_the_newest_stay(kept: int, gone: list[int]) -> None:
    runs = (*(ended(attempt=attempt) for attempt in range(3)), state(attempt=3))
    steps = plan(replace(seen(*runs), dead=DeadRuns(per_container=kept)))
    assert steps.actions == tuple(Remove(container_id=f"uid-1.app.{attempt}") for attempt in gone)


def test_a_young_one_stays_whatever_the_number() -> None:
    runs = (ended(attempt=0, at_ms=NOW_MS - HOUR_MS), ended(attempt=1, at_ms=NOW_MS - 1), state(attempt=2))
    limit = DeadRuns(per_container=0, age_ms_min=HOUR_MS)
    assert plan(replace(seen(*runs), dead=limit)).actions == (Remove(container_id="uid-1.app.0"),)


def test_one_that_ended_in_the_future_is_old() -> None:
    """It is dated by a clock that was wrong: to wait for that time could take years."""
    limit = DeadRuns(per_container=0, age_ms_min=HOUR_MS)
    runs = (ended(attempt=0, at_ms=NOW_MS + 50 * 365 * 24 * HOUR_MS), state(attempt=1))
    assert plan(replace(seen(*runs), dead=limit)).actions == (Remove(container_id="uid-1.app.0"),)


def test_the_run_by_which_it_is_decided_what_comes_next_stays() -> None:
    limit = DeadRuns(per_container=0)
    never = pod(restartPolicy="Never")
    steps = plan(replace(seen(ended(), the_pod=never, finished=True), dead=limit))
    assert not [step for step in steps.actions if isinstance(step, Remove)]


def of(uid: str, runs: int, finished_ms: int, *, may_go: bool = True) -> Dead:
    return Dead(uid=uid, runs=runs, finished_ms=finished_ms, may_go=may_go)


PODS = [of("new", 2, 300), of("old", 3, 100), of("middle", 1, 200), of("runs", 4, 50, may_go=False)]


@pytest.mark.parametrize(
    ("most", "going"),
    [(10, []), (9, ["old"]), (7, ["old"]), (6, ["old", "middle"]), (0, ["old", "middle", "new"]), (-1, [])],
)
def test_of_too_many_those_go_that_ended_first(most: int, going: list[str]) -> None:
    assert surplus(PODS, DeadRuns(total_max=most), now_ms=1000) == going


def test_what_is_too_young_does_not_go_for_others() -> None:
    assert surplus(PODS, DeadRuns(total_max=0, age_ms_min=850), now_ms=1000) == ["old"]


class Bounded(Gateway):
    limit = DeadRuns(total_max=1)

    def parts(self) -> PodParts:
        return replace(super().parts(), dead=self.limit)


async def test_a_finished_pod_loses_its_run_and_its_log_and_keeps_its_status(tmp_path: Path) -> None:
    gate = Bounded(tmp_path)

    def phases() -> dict[str, str]:
        return {str_at(each, "name"): str_at(each, "status", "phase") for each in gate.reports()}

    async def run_to_its_end(name: str) -> Path:
        await gate.put(pod(container("a"), name=name, uid=name, restartPolicy="Never"))
        await eventually(lambda: phases().get(name) == "Running")
        logs = log_directory(tmp_path, namespace="default", name=name, uid=name)
        (logs / "a").mkdir(parents=True, exist_ok=True)
        (logs / "a" / "0.log").write_text("bye")
        gate.clock.advance(1)
        gate.runtime.end(name, "a", code=0)
        await eventually(lambda: phases().get(name) == "Succeeded")
        return logs

    async with gate.running() as manager:
        first = await run_to_its_end("first")
        assert manager.clear_surplus() == 0
        second = await run_to_its_end("second")
        assert manager.clear_surplus() == 1
        await eventually(lambda: not first.exists())
        assert [each.pod_uid for each in await gate.runtime.list()] == ["second"]
        assert second.exists()
        assert manager.clear_surplus() == 0
        assert phases() == {"first": "Succeeded", "second": "Succeeded"}
    gate.store.close()
