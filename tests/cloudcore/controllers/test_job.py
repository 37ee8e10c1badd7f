"""Jobs in a control plane in memory: pods are made, counted once, and the Job comes to its end."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cloudcore.controllers.garbage.controller import GarbageController
from cloudcore.controllers.job.controller import JobController
from cloudcore.controllers.job.model import TRACKING
from cloudcore.registry.bodies import body_of
from cloudcore.runtime.informer import Seen
from cloudcore.store.port import Batch, Change, Put
from skerry.objects.meta import Revision
from skerry.objects.times import time_text
from tests.cloudcore.worlds import World, make_world

NODE: Any = {"metadata": {"name": "n1"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}


def job(name: str = "sum", **spec: Any) -> Any:
    container = {"name": "c", "image": "i"}
    template = {"spec": {"containers": [container], "restartPolicy": spec.pop("restart", "Never")}}
    return {"metadata": {"name": name}, "spec": {"template": template, **spec}}


class JobWorld:
    """A world with a node, and somebody who plays it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.controller = JobController(world.tools)
        self.garbage = GarbageController(world.tools)

    async def settle(self) -> None:
        await self.world.settle(self.controller, self.garbage)

    async def make(self, **spec: Any) -> None:
        await self.world.create("jobs.batch", job(**spec))
        await self.settle()

    @property
    def status(self) -> Any:
        return self.world.get("jobs.batch", "sum").get("status", {})

    @property
    def condition(self) -> dict[str, str]:
        return {
            one["type"]: one.get("reason", "") for one in self.status.get("conditions", []) if one["status"] == "True"
        }

    def pods(self, phase: str = "") -> list[Any]:
        return [pod for pod in self.world.all("pods") if not phase or pod["status"]["phase"] == phase]

    def active(self) -> list[Any]:
        return [
            pod
            for pod in self.pods()
            if pod["status"]["phase"] in ("Pending", "Running") and "deletionTimestamp" not in pod["metadata"]
        ]

    async def bind(self) -> None:
        """Every pod is on the node, and runs."""
        for pod in self.active():
            name = pod["metadata"]["name"]
            if not pod["spec"].get("nodeName"):
                await self.world.update(
                    "pods",
                    name,
                    lambda obj: {**obj, "spec": {**obj["spec"], "nodeName": "n1"}},
                    subresource="binding",
                )
            await self.world.set_status("pods", name, phase="Running")
        await self.settle()

    async def end(self, *names: str, code: int = 0) -> None:
        """These pods, or all that are active, end with that code."""
        for name in names or [pod["metadata"]["name"] for pod in self.active()]:
            ended = {"exitCode": code, "finishedAt": time_text(self.world.clock.wall_ms())}
            statuses = [{"name": "c", "state": {"terminated": ended}}]
            phase = "Failed" if code else "Succeeded"
            await self.world.set_status("pods", name, phase=phase, containerStatuses=statuses)
        await self.settle()

    async def obey(self) -> None:
        """The node has ended what was to be deleted."""
        for pod in self.pods():
            if "deletionTimestamp" in pod["metadata"]:
                await self.world.delete("pods", pod["metadata"]["name"], grace_s=0)
        await self.settle()

    async def later(self, seconds: float) -> None:
        """The clock goes on, and whoever wanted to look again does."""
        self.world.clock.advance(seconds)
        await self.look()

    async def look(self) -> None:
        wait_s = await self.controller.reconcile(self.world.key("jobs.batch", "sum"))
        if wait_s is not None:
            self.world.later["sum"] = wait_s
        await self.settle()


@asynccontextmanager
async def job_world() -> AsyncGenerator[JobWorld, None]:
    async with make_world(real_rules=True) as world:
        await world.create("nodes", NODE)
        yield JobWorld(world)


async def test_a_job_makes_a_pod_and_is_complete_when_it_has_ended_well():
    async with job_world() as here:
        await here.make()
        [pod] = here.pods()
        uid = here.world.get("jobs.batch", "sum")["metadata"]["uid"]
        assert pod["metadata"]["labels"] == {
            "batch.kubernetes.io/controller-uid": uid,
            "batch.kubernetes.io/job-name": "sum",
            "controller-uid": uid,
            "job-name": "sum",
        }
        assert pod["metadata"]["finalizers"] == [TRACKING]
        assert pod["metadata"]["generateName"] == "sum-"
        assert (here.status["active"], here.status["ready"], here.status["terminating"]) == (1, 0, 0)
        await here.end()
        assert here.status["succeeded"] == 1
        assert "active" not in here.status
        assert here.status["uncountedTerminatedPods"] == {}
        assert here.condition == {"SuccessCriteriaMet": "CompletionsReached", "Complete": "CompletionsReached"}
        assert here.status["completionTime"] >= here.status["startTime"]
        assert "finalizers" not in here.pods()[0]["metadata"]
        assert [event["type"] for event in here.world.events("Completed")] == ["Normal"]
        assert len(here.world.events("SuccessfulCreate")) == 1


async def test_as_many_pods_run_as_may_and_are_still_needed():
    async with job_world() as here:
        await here.make(completions=3, parallelism=2)
        assert len(here.active()) == 2
        await here.end()
        assert len(here.active()) == 1
        await here.end()
        assert here.status["succeeded"] == 3
        assert "Complete" in here.condition


async def test_a_job_without_completions_ends_with_its_pods_once_one_ended_well():
    async with job_world() as here:
        await here.make(parallelism=3)
        one, two, three = (pod["metadata"]["name"] for pod in here.pods())
        await here.end(one)
        assert len(here.pods()) == 3
        assert "Complete" not in here.condition
        await here.end(two, code=1)
        await here.end(three)
        assert (here.status["succeeded"], here.status["failed"]) == (2, 1)
        assert "Complete" in here.condition


async def test_a_failed_pod_is_replaced_after_a_while_that_doubles():
    async with job_world() as here:
        await here.make()
        await here.end(code=1)
        assert (here.status["failed"], here.active()) == (1, [])
        assert here.world.later["sum"] == pytest.approx(10)
        await here.later(9)
        assert not here.active()
        await here.later(1)
        assert len(here.active()) == 1
        await here.end(code=1)
        await here.later(19)
        assert not here.active()
        await here.later(1)
        assert len(here.active()) == 1


async def test_a_new_leader_recalls_how_often_pods_failed():
    async with job_world() as here:
        await here.make()
        await here.end(code=1)
        await here.later(10)
        await here.end(code=1)
        here.controller = JobController(here.world.tools)
        await here.later(19)
        assert not here.active()
        await here.later(1)
        assert len(here.active()) == 1


async def test_a_gateway_whose_clock_is_ahead_holds_no_replacement_up():
    async with job_world() as here:
        await here.make()
        here.world.clock.advance(0)
        ended = {"exitCode": 1, "finishedAt": "2099-01-01T00:00:00Z"}
        name = here.pods()[0]["metadata"]["name"]
        statuses = [{"name": "c", "state": {"terminated": ended}}]
        await here.world.set_status("pods", name, phase="Failed", containerStatuses=statuses)
        await here.settle()
        await here.later(10)
        assert len(here.active()) == 1


async def test_a_job_fails_when_its_pods_failed_too_often():
    async with job_world() as here:
        await here.make(backoffLimit=1)
        await here.end(code=1)
        await here.later(10)
        await here.end(code=1)
        assert here.condition == {"FailureTarget": "BackoffLimitExceeded", "Failed": "BackoffLimitExceeded"}
        assert here.status["failed"] == 2
        [event] = here.world.events("BackoffLimitExceeded")
        assert (event["type"], event["message"]) == ("Warning", "Job has reached the specified backoff limit")
        await here.later(1000)
        assert not here.active()


async def test_a_deadline_ends_what_runs_and_the_job_is_failed_when_that_has_ended():
    async with job_world() as here:
        await here.make(activeDeadlineSeconds=5, parallelism=2, completions=2)
        await here.bind()
        assert here.world.later["sum"] == 5
        await here.later(5)
        assert here.condition == {"FailureTarget": "DeadlineExceeded"}
        assert (here.status["failed"], here.status["terminating"]) == (2, 2)
        assert all("deletionTimestamp" in pod["metadata"] for pod in here.pods())
        await here.obey()
        assert here.condition == {"FailureTarget": "DeadlineExceeded", "Failed": "DeadlineExceeded"}
        assert here.pods() == []


async def test_a_suspended_job_has_no_pods_and_begins_anew():
    async with job_world() as here:
        await here.make(suspend=True)
        assert (here.pods(), here.condition) == ([], {"Suspended": "JobSuspended"})
        assert "startTime" not in here.status
        await here.world.set_spec("jobs.batch", "sum", suspend=False)
        await here.settle()
        assert len(here.active()) == 1
        first = here.status["startTime"]
        await here.bind()
        await here.world.set_spec("jobs.batch", "sum", suspend=True)
        await here.settle()
        assert here.active() == []
        await here.obey()
        assert "failed" not in here.status
        here.world.clock.advance(60)
        await here.world.set_spec("jobs.batch", "sum", suspend=False)
        await here.settle()
        assert here.status["startTime"] > first
        assert len(here.active()) == 1
        assert {event["reason"] for event in here.world.all("events")} >= {"Suspended", "Resumed"}


async def test_indexes_run_once_each_and_know_themselves():
    async with job_world() as here:
        await here.make(completionMode="Indexed", completions=3, parallelism=2)
        first, second = here.pods()
        assert first["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] == "0"
        assert first["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] == "0"
        assert first["spec"]["hostname"] == "sum-0"
        assert first["metadata"]["generateName"] == "sum-0-"
        [variable] = first["spec"]["containers"][0]["env"]
        path = "metadata.labels['batch.kubernetes.io/job-completion-index']"
        assert (variable["name"], variable["valueFrom"]["fieldRef"]["fieldPath"]) == ("JOB_COMPLETION_INDEX", path)
        await here.end(second["metadata"]["name"])
        assert here.status["completedIndexes"] == "1"
        assert sorted(pod["spec"]["hostname"] for pod in here.active()) == ["sum-0", "sum-2"]
        await here.end()
        assert here.status["completedIndexes"] == "0-2"
        assert here.status["succeeded"] == 3
        assert "Complete" in here.condition


async def test_each_index_has_a_limit_of_its_own():
    async with job_world() as here:
        await here.make(completionMode="Indexed", completions=2, parallelism=2, backoffLimitPerIndex=1)
        bad = here.pods()[1]["metadata"]["name"]
        await here.end(here.pods()[0]["metadata"]["name"])
        await here.end(bad, code=1)
        assert (here.status["failedIndexes"], here.status.get("failed", 0)) == ("", 0)
        assert here.active() == []
        await here.later(10)
        [again] = here.active()
        assert again["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] == "1"
        assert here.status["failed"] == 1
        await here.end(code=1)
        assert (here.status["failedIndexes"], here.status["completedIndexes"]) == ("1", "0")
        assert (here.status["failed"], here.status["succeeded"]) == (2, 1)
        assert here.condition == {"FailureTarget": "FailedIndexes", "Failed": "FailedIndexes"}


async def test_too_many_failed_indexes_end_the_job():
    async with job_world() as here:
        await here.make(
            completionMode="Indexed", completions=4, parallelism=1, backoffLimitPerIndex=0, maxFailedIndexes=0
        )
        await here.end(code=1)
        assert (here.status["failedIndexes"], here.status["failed"]) == ("0", 1)
        assert here.condition["Failed"] == "MaxFailedIndexesExceeded"


@pytest.mark.parametrize(
    ("action", "reason", "failed"), [("FailJob", "PodFailurePolicy", 1), ("Ignore", "", 0), ("Count", "", 1)]
)
async def test_a_policy_says_what_a_failure_means(action: str, reason: str, failed: int):
    rule = {"action": action, "onExitCodes": {"operator": "In", "values": [3]}}
    async with job_world() as here:
        await here.make(podFailurePolicy={"rules": [rule]})
        name = here.pods()[0]["metadata"]["name"]
        await here.end(code=3)
        assert here.condition.get("Failed", "") == reason
        assert here.status.get("failed", 0) == failed
        if reason:
            [event] = here.world.events("PodFailurePolicy")
            why = f"Container c for pod d/{name} failed with exit code 3 matching FailJob rule at index 0"
            assert event["message"] == why


async def test_an_index_fails_at_once_where_the_policy_says_so():
    rule = {"action": "FailIndex", "onExitCodes": {"operator": "NotIn", "values": [0]}}
    async with job_world() as here:
        await here.make(
            completionMode="Indexed",
            completions=2,
            parallelism=2,
            backoffLimitPerIndex=5,
            podFailurePolicy={"rules": [rule]},
        )
        good, bad = (pod["metadata"]["name"] for pod in here.pods())
        await here.end(bad, code=1)
        await here.end(good)
        assert (here.status["failedIndexes"], here.status["completedIndexes"]) == ("1", "0")
        assert here.condition["Failed"] == "FailedIndexes"


async def test_a_job_may_be_complete_with_some_of_its_indexes():
    async with job_world() as here:
        rules = [{"succeededIndexes": "1-3", "succeededCount": 1}]
        await here.make(completionMode="Indexed", completions=4, parallelism=2, successPolicy={"rules": rules})
        await here.bind()
        await here.end(here.pods()[1]["metadata"]["name"])
        assert here.condition == {"SuccessCriteriaMet": "SuccessPolicy"}
        assert here.status["terminating"] == 1
        await here.obey()
        assert here.condition["Complete"] == "SuccessPolicy"
        assert here.status["completedIndexes"] == "1"
        assert here.status.get("failed", 0) == 0


async def test_a_pod_that_is_deleted_counts_and_is_replaced_when_the_policy_says():
    for policy, at_once in (("TerminatingOrFailed", True), ("Failed", False)):
        async with job_world() as here:
            await here.make(podReplacementPolicy=policy)
            await here.bind()
            name = here.pods()[0]["metadata"]["name"]
            await here.world.delete("pods", name)
            await here.settle()
            assert here.status.get("failed", 0) == (1 if at_once else 0)
            assert here.status["terminating"] == 1
            await here.later(10)
            assert len(here.active()) == (1 if at_once else 0)
            if not at_once:
                await here.end(name, code=143)
                await here.later(10)
                assert (here.status["failed"], len(here.active())) == (1, 1)


async def test_a_pod_without_a_node_that_is_deleted_has_failed_whatever_the_policy():
    async with job_world() as here:
        await here.make(podReplacementPolicy="Failed")
        await here.world.delete("pods", here.pods()[0]["metadata"]["name"])
        await here.settle()
        assert here.status["failed"] == 1
        await here.later(10)
        assert len(here.active()) == 1


async def test_a_pod_that_is_deleted_by_force_is_not_waited_for():
    async with job_world() as here:
        await here.make(podReplacementPolicy="Failed")
        await here.bind()
        name = here.pods()[0]["metadata"]["name"]
        await here.world.delete("pods", name)
        await here.settle()
        assert (here.status.get("failed", 0), here.status["terminating"]) == (0, 1)
        await here.world.delete("pods", name, grace_s=0)
        await here.settle()
        assert (here.status["failed"], here.status["terminating"]) == (1, 0)
        assert name not in here.world.names("pods")
        await here.later(10)
        assert len(here.active()) == 1


async def test_a_deleted_node_leaves_nobody_waiting_for_what_was_deleted_on_it():
    async with job_world() as here:
        await here.make(podReplacementPolicy="Failed")
        await here.bind()
        await here.world.delete("pods", here.pods()[0]["metadata"]["name"])
        await here.settle()
        assert here.status.get("failed", 0) == 0
        await here.world.delete("nodes", "n1")
        await here.settle()
        assert here.status["failed"] == 1


async def test_a_job_that_goes_lets_its_pods_go():
    async with job_world() as here:
        await here.make(parallelism=2, completions=2)
        await here.bind()
        await here.world.delete("jobs.batch", "sum")
        await here.settle()
        assert all("finalizers" not in pod["metadata"] for pod in here.pods())
        await here.obey()
        assert here.pods() == []


async def test_an_orphan_is_adopted_and_stays_tracked_and_a_stranger_is_released():
    async with job_world() as here:
        await here.make(parallelism=2, completions=4)
        await here.bind()
        first, second = (pod["metadata"]["name"] for pod in here.pods())

        def orphaned(pod: Any) -> Any:
            return {**pod, "metadata": {k: v for k, v in pod["metadata"].items() if k != "ownerReferences"}}

        def nameless(pod: Any) -> Any:
            return {**pod, "metadata": {k: v for k, v in pod["metadata"].items() if k != "labels"}}

        await here.world.update("pods", first, orphaned)
        await here.settle()
        adopted = here.world.get("pods", first)["metadata"]
        assert adopted["ownerReferences"][0]["kind"] == "Job"
        assert adopted["finalizers"] == [TRACKING]
        await here.world.update("pods", second, nameless)
        await here.settle()
        released = here.world.get("pods", second)["metadata"]
        assert "ownerReferences" not in released
        assert "finalizers" not in released
        assert len(here.pods()) == 3


async def test_a_job_that_is_somebody_elses_is_left_alone():
    async with job_world() as here:
        await here.make(managedBy="example.com/other")
        assert (here.pods(), here.status) == ([], {})


async def put_as_before(here: JobWorld, stored: Any, spec: Any) -> None:
    """What an older version, which judged less, has stored."""
    key, uid = here.world.key("jobs.batch", "sum"), stored["metadata"]["uid"]
    expected = Revision(int(stored["metadata"]["resourceVersion"]))
    put = Put(key=key, uid=uid, body=body_of({**stored, "spec": spec}), expected=expected)
    [revision] = await here.world.store.commit(Batch(writes=(put,)))
    await here.world.cache.wait_for(revision, timeout_s=5)


STRANGER: Any = {"metadata": {"name": "stranger"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


async def test_a_job_of_before_there_was_a_controller_gets_its_selector_and_takes_no_strangers():
    async with job_world() as here:
        stored = await here.world.create("jobs.batch", job())
        spec = {name: value for name, value in stored["spec"].items() if name != "selector"}
        spec["template"] = {"spec": stored["spec"]["template"]["spec"]}
        await put_as_before(here, stored, spec)
        uid = stored["metadata"]["uid"]
        await here.world.create("pods", STRANGER)
        await here.settle()
        selector = here.world.get("jobs.batch", "sum")["spec"]["selector"]
        assert selector == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
        assert "ownerReferences" not in here.world.get("pods", "stranger")["metadata"]
        assert len(here.pods()) == 2


@pytest.mark.parametrize(
    ("selector", "why"),
    [
        (None, "spec.selector: Required value"),
        (
            {"matchExpressions": [{"key": "a", "operator": "in", "values": ["b"]}]},
            '"in" is not a valid label selector',
        ),
    ],
)
async def test_a_job_of_before_jobs_were_judged_takes_nothing_without_a_selector_and_says_why(
    selector: Any, why: str
):
    async with job_world() as here:
        stored = await here.world.create("jobs.batch", job())
        spec = {**stored["spec"], "manualSelector": True, "selector": selector}
        if selector is None:
            del spec["selector"]
        await put_as_before(here, stored, spec)
        await here.world.create("pods", STRANGER)
        await here.settle()
        pod = here.world.get("pods", "stranger")
        assert here.pods() == [pod]
        assert "ownerReferences" not in pod["metadata"]
        [event] = [each for each in here.world.all("events") if each["reason"] == "InvalidSelector"]
        assert why in event["message"]


async def test_what_a_job_without_a_selector_took_is_let_go_with_it():
    async with job_world() as here:
        await here.make()
        [pod] = here.pods()
        stored = here.world.get("jobs.batch", "sum")
        spec = {name: value for name, value in stored["spec"].items() if name != "selector"}
        metadata = {**stored["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b"]}
        await put_as_before(here, {**stored, "metadata": metadata}, {**spec, "manualSelector": True})
        await here.settle()
        assert TRACKING not in here.world.get("pods", pod["metadata"]["name"])["metadata"].get("finalizers", [])


async def test_a_job_that_is_going_or_over_is_not_asked_for_a_pod_that_nobody_owns():
    async with job_world() as here:
        await here.make()
        stored = here.world.get("jobs.batch", "sum")
        labels = stored["spec"]["template"]["metadata"]["labels"]
        pod = await here.world.create("pods", {**STRANGER, "metadata": {"name": "stranger", "labels": labels}})
        change = Seen(
            Change(
                revision=Revision(1), key=here.world.key("pods", "stranger"), uid="u", before=None, after=body_of(pod)
            )
        )
        keys = next(each.keys for each in here.controller.watches() if each.resource == "pods")
        assert [key.name for key in keys(change)] == ["sum"]
        metadata = {**stored["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b"]}
        stored = here.world.get("jobs.batch", "sum")
        await put_as_before(here, {**stored, "metadata": {**stored["metadata"], **metadata}}, stored["spec"])
        assert list(keys(change)) == []


async def test_fewer_or_more_may_run_while_it_does():
    async with job_world() as here:
        await here.make(parallelism=4, completions=8)
        await here.bind()
        await here.world.set_spec("jobs.batch", "sum", parallelism=1)
        await here.settle()
        assert len(here.active()) == 1
        assert here.status.get("failed", 0) == 0
        await here.world.set_spec("jobs.batch", "sum", parallelism=3)
        await here.settle()
        assert len(here.active()) == 3


async def test_restarts_in_a_pod_count_against_the_limit():
    async with job_world() as here:
        await here.make(restart="OnFailure", backoffLimit=2)
        await here.bind()
        name = here.pods()[0]["metadata"]["name"]
        await here.world.set_status("pods", name, containerStatuses=[{"name": "c", "restartCount": 2}])
        await here.settle()
        assert here.condition == {"FailureTarget": "BackoffLimitExceeded"}


async def test_nothing_is_written_when_nothing_changes():
    async with job_world() as here:
        await here.make(parallelism=2, completions=2)
        await here.bind()
        before = await here.world.store.revision()
        await here.look()
        assert await here.world.store.revision() == before
