"""CronJobs in a control plane in memory: at their times, once each, whoever crashes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcore.controllers.cronjob.controller import CronJobController
from cloudcore.controllers.cronjob.plan import SCHEDULED_AT, job_name, plan
from cloudcore.controllers.expiry.controller import ExpiryController
from cloudcore.controllers.garbage.controller import GarbageController
from skerry.objects.cron_jobs import parse_schedule
from skerry.objects.federation import REGION_OBJECTS, ROW
from skerry.objects.times import ms_at, time_text
from tests.cloudcore.worlds import World, make_world

MINUTE_S = 60


def cron_job(schedule: str = "*/5 * * * *", **spec: Any) -> Any:
    containers = [{"name": "c", "image": "i"}]
    template = {
        "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
        "spec": {"template": {"spec": {"containers": containers, "restartPolicy": "Never"}}},
    }
    return {"metadata": {"name": "tick"}, "spec": {"schedule": schedule, "jobTemplate": template, **spec}}


class CronWorld:
    def __init__(self, world: World) -> None:
        self.world = world
        self.controller = CronJobController(world.tools)

    async def settle(self) -> None:
        await self.world.settle(self.controller, GarbageController(self.world.tools))

    async def make(self, schedule: str = "*/5 * * * *", **spec: Any) -> None:
        await self.world.create("cronjobs.batch", cron_job(schedule, **spec))
        await self.settle()

    async def at(self, minutes: float) -> None:
        """So many minutes later."""
        self.world.clock.advance(minutes * MINUTE_S)
        await self.look()

    async def look(self) -> float | None:
        wait_s = await self.controller.reconcile(self.world.key("cronjobs.batch", "tick"))
        await self.settle()
        return wait_s

    async def end(self, name: str, type_: str = "Complete") -> None:
        now = time_text(self.world.clock.wall_ms())
        interim = "SuccessCriteriaMet" if type_ == "Complete" else "FailureTarget"
        conditions = [{"type": each, "status": "True", "lastTransitionTime": now} for each in (interim, type_)]
        more = {"completionTime": now} if type_ == "Complete" else {}
        await self.world.set_status("jobs.batch", name, startTime=now, conditions=conditions, **more)
        await self.settle()

    @property
    def status(self) -> Any:
        return self.world.get("cronjobs.batch", "tick").get("status", {})

    @property
    def jobs(self) -> list[str]:
        return sorted(self.world.names("jobs.batch"))

    @property
    def active(self) -> list[str]:
        return [each["name"] for each in self.status.get("active", [])]

    def reasons(self) -> set[str]:
        return {event["reason"] for event in self.world.all("events")}


@asynccontextmanager
async def cron_world() -> AsyncGenerator[CronWorld, None]:
    async with make_world(real_rules=True) as world:
        now_s = world.clock.wall_ms() / 1000
        world.clock.advance(3600 - now_s % 3600)  # on the hour
        yield CronWorld(world)


async def test_a_job_begins_at_each_time_and_says_for_which():
    async with cron_world() as here:
        await here.make()
        assert here.jobs == []
        assert await here.look() == pytest.approx(300)
        begun_ms = here.world.clock.wall_ms()
        await here.at(5.5)
        [name] = here.jobs
        assert name == f"tick-{begun_ms // 60_000 + 5}"
        job = here.world.get("jobs.batch", name)
        assert job["metadata"]["annotations"] == {SCHEDULED_AT: time_text(begun_ms + 300_000), "c": "d"}
        assert job["metadata"]["labels"]["a"] == "b"
        [owner] = job["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["controller"]) == ("CronJob", "tick", True)
        assert here.active == [name]
        assert here.status["lastScheduleTime"] == time_text(begun_ms + 300_000)
        await here.at(5)
        assert len(here.jobs) == 2
        assert len(here.active) == 2
        made = {event["message"] for event in here.world.events("SuccessfulCreate")}
        assert made == {f"Created job {each}" for each in here.jobs}
        await here.end(name)
        assert len(here.active) == 1
        assert here.status["lastSuccessfulTime"] == time_text(here.world.clock.wall_ms())
        assert "SawCompletedJob" in here.reasons()


async def test_forbid_waits_for_the_one_that_runs_and_replace_ends_it():
    async with cron_world() as here:
        await here.make(concurrencyPolicy="Forbid")
        await here.at(5)
        await here.at(5)
        [name] = here.jobs
        assert "JobAlreadyActive" in here.reasons()
        await here.end(name)
        assert len(here.jobs) == 2  # what was due begins late
    async with cron_world() as here:
        await here.make(concurrencyPolicy="Replace")
        await here.at(5)
        [first] = here.jobs
        await here.at(5)
        [second] = here.jobs
        assert first != second
        assert here.active == [second]
        assert [event["message"] for event in here.world.events("SuccessfulDelete")] == [f"Deleted job {first}"]


async def test_a_crash_after_a_job_was_made_makes_no_second_and_lets_none_run_beside_it():
    for policy in ("Allow", "Forbid"):
        async with cron_world() as here:
            await here.make(concurrencyPolicy=policy)
            await here.at(5)
            [name] = here.jobs
            # The status as it was before: the write of it was lost.
            await here.world.update("cronjobs.batch", "tick", lambda obj: {**obj, "status": {}}, subresource="status")
            here.controller = CronJobController(here.world.tools)
            await here.look()
            assert here.jobs == [name]
            assert here.active == [name]
            assert "UnexpectedJob" not in here.reasons()
            await here.at(5)
            assert len(here.jobs) == (2 if policy == "Allow" else 1)


async def test_a_crash_after_a_job_that_has_ended_since_makes_no_second():
    async with cron_world() as here:
        await here.make()
        await here.at(5)
        [name] = here.jobs
        await here.world.update("cronjobs.batch", "tick", lambda obj: {**obj, "status": {}}, subresource="status")
        await here.end(name)
        assert (here.jobs, here.active) == ([name], [])
        assert here.status["lastScheduleTime"]


async def test_a_job_of_that_name_that_is_somebody_elses_is_left_alone():
    async with cron_world() as here:
        await here.make()
        name = job_name({"metadata": {"name": "tick"}}, here.world.clock.wall_ms() + 300_000)
        spec = cron_job()["spec"]["jobTemplate"]["spec"]
        await here.world.create("jobs.batch", {"metadata": {"name": name}, "spec": spec})
        await here.at(5)
        assert (here.jobs, here.active) == ([name], [])


async def test_a_suspended_one_begins_nothing_and_what_was_missed_begins_once_when_it_goes_on():
    async with cron_world() as here:
        await here.make(suspend=True)
        await here.at(31)
        assert here.jobs == []
        await here.world.set_spec("cronjobs.batch", "tick", suspend=False)
        await here.settle()
        assert len(here.jobs) == 1
        assert here.status["lastScheduleTime"] == time_text(here.world.clock.wall_ms() - 60_000)


async def test_what_is_too_late_is_told_and_does_not_begin():
    async with cron_world() as here:
        await here.make("0 * * * *", startingDeadlineSeconds=30)
        await here.at(61)
        assert here.jobs == []
        await here.at(59.2)
        assert len(here.jobs) == 1


async def test_more_than_a_hundred_missed_times_are_told_of():
    async with cron_world() as here:
        await here.make("* * * * *", suspend=True)
        await here.at(102)
        await here.world.set_spec("cronjobs.batch", "tick", suspend=False)
        await here.settle()
        assert len(here.jobs) == 1
        [event] = here.world.events("TooManyMissedTimes")
        assert event["message"].startswith("too many missed start times. Set or decrease")


async def test_so_many_that_have_ended_are_kept():
    async with cron_world() as here:
        await here.make(successfulJobsHistoryLimit=1, failedJobsHistoryLimit=0)
        for type_ in ("Complete", "Failed", "Complete"):
            await here.at(5)
            await here.end(here.active[0], type_)
        assert len(here.jobs) == 1
        assert len(here.world.events("SuccessfulDelete")) == 2


async def test_a_job_that_went_missing_is_told_of():
    async with cron_world() as here:
        await here.make()
        await here.at(5)
        await here.world.delete("jobs.batch", here.jobs[0])
        await here.settle()
        assert here.active == []
        assert "MissingJob" in here.reasons()
        assert here.jobs == []


async def test_a_schedule_that_never_comes_says_so():
    async with cron_world() as here:
        await here.make("0 0 31 2 *")
        assert "InvalidSchedule" in here.reasons()


async def test_a_time_zone_is_where_the_time_is():
    async with cron_world() as here:
        await here.make("30 9 * * *", timeZone="Asia/Kathmandu")
        await here.at(24 * 60)
        [name] = here.jobs
        said = here.world.get("jobs.batch", name)["metadata"]["annotations"][SCHEDULED_AT]
        assert said.endswith("T09:30:00+05:45")
        at = datetime.fromtimestamp(int(name.removeprefix("tick-")) * 60, UTC)
        assert (at.hour, at.minute) == (3, 45)


async def test_a_job_that_has_ended_goes_after_its_while():
    async with make_world(real_rules=True) as world:
        expiry, garbage = ExpiryController(world.tools), GarbageController(world.tools)
        here = CronWorld(world)
        spec = cron_job()["spec"]["jobTemplate"]["spec"]
        await world.create(
            "jobs.batch", {"metadata": {"name": "one"}, "spec": {**spec, "ttlSecondsAfterFinished": 60}}
        )
        await world.create("jobs.batch", {"metadata": {"name": "stays"}, "spec": spec})
        await world.settle(expiry, garbage)
        await here.end("one")
        await here.end("stays")
        world.seen_until = type(world.seen_until)(0)
        await world.settle(expiry, garbage)
        assert world.later["one"] == pytest.approx(60, abs=1)
        world.clock.advance(59)
        await expiry.reconcile(world.key("jobs.batch", "one"))
        assert here.jobs == ["one", "stays"]
        world.clock.advance(2)
        await expiry.reconcile(world.key("jobs.batch", "one"))
        await world.settle(expiry, garbage)
        assert here.jobs == ["stays"]


async def test_a_job_that_a_federation_holds_here_stays_though_its_while_is_over():
    async with make_world() as world:
        expiry, garbage = ExpiryController(world.tools), GarbageController(world.tools)
        await world.create(REGION_OBJECTS, {"metadata": {"name": "row"}, "spec": {}})
        await world.create(REGION_OBJECTS, {"metadata": {"name": "leaves"}, "spec": {"remove": "Delete"}})
        for name, row in (("held", "row"), ("left", "leaves"), ("pretends", "nothing")):
            annotations = {ROW: row}
            spec = {"ttlSecondsAfterFinished": 0}
            await world.create("jobs.batch", {"metadata": {"name": name, "annotations": annotations}, "spec": spec})
            ended = [{"type": "Complete", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}]
            await world.set_status("jobs.batch", name, conditions=ended)
        await world.settle(expiry, garbage)
        assert world.names("jobs.batch") == ["held"]


SCHEDULES = st.sampled_from(
    ["* * * * *", "*/7 * * * *", "0 9 * * 1", "* 9 1 1 *", "30 6-16/4 * * 1-5", "@every 90s", "@every 7h"]
)


async def test_a_clock_that_was_ahead_is_told_of_once_and_silences_nothing():
    """A year ahead, a Job began; since the clock is right, that would be the last one for a year."""
    async with cron_world() as here:
        await here.make("0 * * * *")
        right_ms = here.world.clock.wall_ms()
        here.world.clock.step_wall(1000 * 365 * 24 * 3600)
        await here.look()
        assert len(here.jobs) == 1
        here.world.clock.step_wall(-1000 * 365 * 24 * 3600)
        await here.look()
        assert here.status["lastScheduleTime"] == time_text(right_ms)
        for hours in range(1, 4):
            await here.at(60)
            assert len(here.jobs) == 1 + hours
            assert here.status["lastScheduleTime"] == time_text(right_ms + hours * 3_600_000)
        [event] = here.world.events("ClockSkew")
        assert event["type"] == "Warning"
        assert event.get("count", 1) == 1


async def test_one_that_was_made_by_a_clock_that_was_ahead_begins():
    async with cron_world() as here:
        here.world.clock.step_wall(1000 * 24 * 3600)
        await here.make("0 * * * *")
        here.world.clock.step_wall(-1000 * 24 * 3600)
        await here.look()
        await here.at(60)
        assert len(here.jobs) == 1


async def test_a_schedule_of_a_while_counts_from_its_last_time_however_often_it_is_looked_at():
    """A look that was not at the time itself counted from then: each came minutes late, and with a short deadline
    none came."""
    async with cron_world() as here:
        await here.make("@every 7m", startingDeadlineSeconds=10)
        created = ms_at(here.world.get("cronjobs.batch", "tick")["metadata"]["creationTimestamp"])
        begun: list[str] = []
        for _ in range(20):
            wait_s = await here.look() or 0
            here.world.clock.advance(wait_s)
            await here.look()
            begun.append(here.status.get("lastScheduleTime", ""))
        times = sorted({at for at in begun if at})
        assert len(times) >= 7
        assert times == [time_text(created + 7 * 60_000 * (number + 1)) for number in range(len(times))]


@given(SCHEDULES, st.integers(0, 60 * 24 * 40), st.integers(0, 59))
def test_the_last_time_that_came_is_found_whatever_the_schedule(schedule: str, minutes: int, seconds: int) -> None:
    created = "2026-12-25T10:00:30Z"
    now_ms = ms_at(created) + (minutes * 60 + seconds) * 1000
    cron: Any = {"metadata": {"name": "t", "creationTimestamp": created}, "spec": {"schedule": schedule}}
    step = plan(cron, [], now_ms=now_ms)
    wanted, at_ms = None, parse_schedule(schedule).next_ms(ms_at(created))
    while at_ms is not None and at_ms <= now_ms:
        wanted, at_ms = at_ms, parse_schedule(schedule).next_ms(at_ms)
    assert step.begins_ms == wanted
    assert step.again_ms == (at_ms or 0) + 100
