"""A Job of many pods: each is read once for each of its states, and others have their turn in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from cloudcore.controllers.job.controller import JobController
from cloudcore.controllers.job.model import Job, JobPod, read_job
from cloudcore.controllers.job.observing import Observer
from skerry.objects.meta import Key
from tests.cloudcore.worlds import World, make_world

JOB: Any = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "sum", "namespace": "d", "uid": "u"},
    "spec": {"selector": {"matchLabels": {"app": "sum"}}},
}
KEY = Key("jobs.batch", "d", "sum")
NODE: Any = {"metadata": {"name": "n1"}}


def pod(name: str, **labels: str) -> Any:
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "sum", "uid": "u", "controller": True}
    metadata = {"name": name, "labels": {"app": "sum", **labels}, "ownerReferences": [owner]}
    return {"metadata": metadata, "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}}


@pytest.fixture
async def world() -> AsyncGenerator[World]:
    async with make_world() as made:
        await made.create("nodes", NODE)
        yield made


def by_name(pods: list[JobPod]) -> dict[str, JobPod]:
    return {str(each.obj["metadata"]["name"]): each for each in pods}  # type: ignore[index, call-overload]


async def test_what_has_not_changed_is_not_read_again(world: World):
    observer, job = Observer(world.tools), read_job(JOB)
    for name in ("a", "b"):
        await world.create("pods", pod(name))
    await world.create("pods", pod("other", app="other"))
    before = by_name(await observer.observe(KEY, job))
    assert sorted(before) == ["a", "b"]
    await world.set_status("pods", "a", phase="Failed")
    after = by_name(await observer.observe(KEY, job))
    assert after["b"] is before["b"]
    assert after["a"].failed and not before["a"].failed
    await world.delete("pods", "a", grace_s=0)
    assert sorted(by_name(await observer.observe(KEY, job))) == ["b"]


async def test_a_pod_whose_node_is_gone_or_whose_job_waits_otherwise_is_judged_anew(world: World):
    observer = Observer(world.tools)

    async def look(job: Job) -> JobPod:
        [found] = await observer.observe(KEY, job)
        return found

    await world.create("pods", pod("a"))
    await world.delete("pods", "a")
    patient = read_job({**JOB, "spec": {**JOB["spec"], "podReplacementPolicy": "Failed"}})
    assert (await look(read_job(JOB))).failed
    assert not (await look(patient)).failed
    await world.delete("nodes", "n1")
    assert (await look(patient)).failed


async def test_others_have_their_turn_while_many_pods_are_looked_at():
    async with make_world(real_rules=True) as world:
        template = {"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}}
        await world.create(
            "jobs.batch", {"metadata": {"name": "sum"}, "spec": {"template": template, "parallelism": 260}}
        )
        controller, turns = JobController(world.tools), 0
        await world.settle(controller)
        assert len(world.all("pods")) == 260

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        task = asyncio.create_task(others())
        await controller.reconcile(world.key("jobs.batch", "sum"))
        task.cancel()
        assert turns
