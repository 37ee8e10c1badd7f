"""A wall clock that is set, by years and in either direction, while pods wait or run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgecore.pods.backoff import Problem
from edgecore.pods.plan import plan
from edgecore.pods.records import CLOCKLESS_MS, Instant, PodRecord
from edgecore.store.port import META_EPOCH, EdgeBatch
from skerry.frozen import replace
from skerry.objects.json import str_at
from skerry.objects.meta import Key
from tests.edgecore.pods.pods_of import NOW_MS, pod
from tests.edgecore.pods.stage import Gateway, eventually
from tests.edgecore.pods.test_plan import seen

YEARS_MS = 3 * 365 * 86_400_000
EARLY_MS = 60_000
"""As a board without a battery says at its boot."""


def at(wall_ms: int, up_s: float, boot: str = "b1") -> Instant:
    return Instant(wall_ms=wall_ms, boot=boot, up_ms=round(up_s * 1000))


def begun(now: Instant) -> PodRecord:
    return PodRecord.new(Key("pods", "default", "web"), now_ms=now.wall_ms, grace_s=1).begun(now)


def test_a_problem_does_not_wait_for_a_year_that_was_never() -> None:
    missing = Problem(reason="ErrImagePull", message="no", retry_ms=NOW_MS + 5000, since_ms=NOW_MS)
    assert plan(replace(seen(now_ms=NOW_MS + 1), problems={"app": missing})).actions == ()
    assert plan(replace(seen(now_ms=NOW_MS - YEARS_MS), problems={"app": missing})).actions


@pytest.mark.parametrize(
    ("now", "start_ms"),
    [
        (at(EARLY_MS + 30_000, 50), EARLY_MS),
        (at(NOW_MS, 50), NOW_MS - 30_000),
        (at(NOW_MS, 50, "b2"), NOW_MS),
        (at(EARLY_MS, 50, "b2"), EARLY_MS),
    ],
    ids=["nothing was set", "set since", "another boot, which knows the time", "another one that does not"],
)
def test_a_start_in_1970_is_dated_as_soon_as_the_time_is_known(now: Instant, start_ms: int) -> None:
    assert begun(at(EARLY_MS, 20)).dated(now).start_ms == start_ms


@pytest.mark.parametrize(
    ("now", "start_ms"),
    [
        (at(NOW_MS + 3_600_000, 3620), NOW_MS),
        (at(NOW_MS - YEARS_MS, 3620), NOW_MS - YEARS_MS - 3_600_000),
        (at(NOW_MS + YEARS_MS, 3620), NOW_MS + YEARS_MS - 3_600_000),
        (at(NOW_MS + YEARS_MS, 50, "b2"), NOW_MS),
        (at(NOW_MS - YEARS_MS, 50, "b2"), NOW_MS - YEARS_MS),
        (at(EARLY_MS, 50, "b2"), NOW_MS),
        (at(NOW_MS + YEARS_MS, 50, ""), NOW_MS),
    ],
    ids=["nothing", "back", "forth", "a boot later", "a boot that is before it", "one in 1970", "nobody knows which"],
)
def test_a_start_goes_with_a_clock_that_is_set(now: Instant, start_ms: int) -> None:
    assert begun(at(NOW_MS, 20)).dated(now).start_ms == start_ms


def test_clocks_that_run_a_little_differently_move_no_start() -> None:
    record = begun(at(NOW_MS, 20))
    assert record.dated(at(NOW_MS + 60_000, 88)) == record


def test_what_an_older_agent_wrote_down_has_a_start_still() -> None:
    record = PodRecord.decode(PodRecord.new(Key("pods", "default", "web"), now_ms=NOW_MS, grace_s=1).encode())
    assert record.dated(at(NOW_MS + YEARS_MS, 50)).start_ms == NOW_MS
    early = replace(record, start_ms=CLOCKLESS_MS - 1)
    assert early.dated(at(NOW_MS, 50)).start_ms == NOW_MS
    assert PodRecord.decode(begun(at(NOW_MS, 20)).encode()) == begun(at(NOW_MS, 20))


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    gateway = Gateway(tmp_path)
    yield gateway
    gateway.store.close()


async def test_a_pod_with_a_deadline_that_began_in_1970_lives_on_when_the_clock_is_set(gate: Gateway) -> None:
    now_ms = gate.clock.wall_ms()
    gate.clock.step_wall(EARLY_MS - now_ms)
    async with gate.running() as manager:
        await gate.put(pod(activeDeadlineSeconds=600))
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
        gate.clock.advance(60)
        gate.clock.step_wall(now_ms)
        manager.refresh_all()
        await eventually(lambda: str_at(gate.status(), "startTime").startswith("20"))
        assert str_at(gate.status(), "phase") == "Running"
        gate.clock.advance(541)
        manager.refresh_all()
        await eventually(lambda: str_at(gate.status(), "reason") == "DeadlineExceeded")


async def test_a_sandbox_that_could_not_be_had_is_tried_again_after_the_clock_was_set_back(gate: Gateway) -> None:
    gate.runtime.no_sandboxes = "no network yet"
    async with gate.running():
        await gate.put(pod())
        await eventually(lambda: "FailedCreatePodSandBox" in gate.reasons())
        gate.runtime.no_sandboxes = ""
        gate.clock.step_wall(-YEARS_MS)
        await gate.store.apply(EdgeBatch(meta=((META_EPOCH, "e2"),)))  # it looks again, and forgives nothing
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
