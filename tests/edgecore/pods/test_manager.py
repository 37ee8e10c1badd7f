"""Pods from the store to the runtime and back, on memory parts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from edgecore.pods.env import ApiPlace
from edgecore.pods.logs import LogParts, PodLogs
from edgecore.pods.runtimes.fake import FakeRuntime
from edgecore.pods.status import Ending
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import AwaitedError, BadRequestError, NotFoundError, StorageFullError, UnavailableError
from skerry.frozen import replace
from skerry.objects.conditions import find_condition
from skerry.objects.json import Json, JsonObject, dig, maps_at, str_at
from skerry.objects.logs import LogRequest
from skerry.objects.meta import Key
from tests.edgecore.pods.pods_of import NODE, container, pod, stamp_of
from tests.edgecore.pods.stage import Gateway, eventually, gate, going, init_states, ready

__all__ = ["gate"]


async def test_pods_tell_the_address_that_their_node_has_now(gate: Gateway) -> None:
    early, late = (pod(container("a"), name=name, uid=name) for name in ("early", "late"))

    def told() -> dict[str, str]:
        return {str_at(each, "name"): str_at(each, "status", "podIP") for each in gate.reports()}

    async with gate.running() as manager:
        await gate.put(early)
        await eventually(lambda: told() == {"early": NODE.address})
        before = len(gate.reports())
        manager.moved(NODE.address)
        manager.moved("10.0.0.9")
        await gate.put(late)
        await eventually(lambda: told() == {"early": "10.0.0.9", "late": "10.0.0.9"})
        assert all(str_at(each, "status", "hostIP") == "10.0.0.9" for each in gate.reports()[before:])


async def test_a_pod_in_the_store_runs_and_is_told(gate: Gateway) -> None:
    async with gate.running():
        await gate.put(pod(container("a"), container("b")))
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
    assert gate.runtime.starts == [("a", 0), ("b", 0)]
    assert gate.reasons() == ["Started", "Started"]


async def test_the_next_agent_touches_nothing_and_tells_nothing(gate: Gateway) -> None:
    async with gate.running():
        await gate.put(pod())
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
    head = gate.store.outbox_head()
    gate.runtime = gate.runtime.restarted()
    async with gate.running() as manager:
        await eventually(lambda: manager.count == 1)
        await asyncio.sleep(0.05)
    assert (gate.runtime.starts, gate.runtime.stops, gate.store.outbox_head()) == ([], [], head)


async def test_the_runtime_is_asked_once_a_look_where_nothing_is_to_do(gate: Gateway) -> None:
    async with gate.running():
        await gate.put(pod())
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
        before = gate.runtime.looks
        await gate.put(pod())
        await eventually(lambda: gate.runtime.looks > before)
        await asyncio.sleep(0.05)
    assert gate.runtime.looks == before + 1


async def test_a_deleted_pod_is_stopped_told_gone_and_forgotten(gate: Gateway) -> None:
    async with gate.running() as manager:
        await gate.put(pod())
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
        going = pod()
        metadata = going["metadata"]
        assert isinstance(metadata, dict)
        metadata |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 5}
        await gate.put(going)
        await eventually(lambda: gate.reports()[-1]["gone"] is True)
        assert gate.runtime.stops == [("app", 5.0)]
        assert str_at(gate.status(), "phase") == "Failed"
        await gate.delete(going)
        await eventually(lambda: manager.count == 0)
    assert list(await gate.runtime.list()) == []
    assert list(gate.store.pods()) == []
    assert len([report for report in gate.reports() if report["gone"]]) == 1
    assert gate.reasons()[-1] == "Killing"


async def test_a_pod_that_vanished_while_the_agent_was_away_is_stopped(gate: Gateway) -> None:
    async with gate.running():
        await gate.put(pod(terminationGracePeriodSeconds=3))
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
    await gate.delete(pod())
    async with gate.running() as manager:
        await eventually(lambda: manager.count == 0 and gate.runtime.stops)
    assert gate.runtime.stops == [("app", 3.0)]


async def test_a_lost_store_stops_nothing_until_it_is_in_step_again(gate: Gateway) -> None:
    async with gate.running():
        await gate.put(pod())
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
    gate.store.close()
    gate.store = AsyncEdgeStore(MemoryEdgeStore(incarnation="new", clock=gate.clock))
    gate.in_step = False
    async with gate.running():
        await asyncio.sleep(0.05)
        assert gate.runtime.stops == []
        await gate.put(pod())
        gate.in_step = True
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
    assert (gate.runtime.stops, gate.runtime.starts) == ([], [("app", 0)])


async def test_directories_of_unknown_pods_go_once_the_store_is_in_step(gate: Gateway, tmp_path: Path) -> None:
    left = tmp_path / "pods" / "lost" / "volumes"
    left.mkdir(parents=True)
    gate.in_step = False
    async with gate.running():
        await gate.put(pod())
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
        assert left.is_dir(), "it may be wanted"
        gate.in_step = True
        await gate.put(pod(name="other", uid="other"))
        await eventually(lambda: not left.exists())


async def test_containers_of_an_unknown_pod_go_once_the_store_is_in_step(gate: Gateway) -> None:
    async with gate.running():
        await gate.put(pod())
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
    gate.store.close()
    gate.store = AsyncEdgeStore(MemoryEdgeStore(incarnation="new", clock=gate.clock))
    async with gate.running():
        await eventually(lambda: gate.runtime.stops)


async def test_a_waiting_pod_says_why_and_starts_when_its_config_map_comes(gate: Gateway) -> None:
    env: Json = [{"name": "V", "valueFrom": {"configMapKeyRef": {"name": "cfg", "key": "a"}}}]
    async with gate.running():
        await gate.put(pod(container(env=env)))
        await eventually(gate.waiting)
        assert gate.waiting() == {"reason": "CreateContainerConfigError", "message": 'configmap "cfg" not found'}
        config: JsonObject = {"metadata": {"name": "cfg", "namespace": "default", "uid": "c"}, "data": {"a": "1"}}
        await gate.put(config, "configmaps")
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
    assert gate.runtime.specs["uid-1.app.0"].env == (("V", "1"),)
    assert gate.reasons() == ["Failed", "Started"]


async def test_a_changed_config_map_changes_the_files_of_a_running_pod(gate: Gateway) -> None:
    mounts: Json = [{"name": "v", "mountPath": "/v"}]
    config: JsonObject = {"metadata": {"name": "cfg", "namespace": "default", "uid": "c"}, "data": {"a": "1"}}
    async with gate.running():
        await gate.put(config, "configmaps")
        volumes: Json = [{"name": "v", "configMap": {"name": "cfg"}}]
        await gate.put(pod(container(volumeMounts=mounts), volumes=volumes))
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
        (mount,) = gate.runtime.specs["uid-1.app.0"].mounts
        assert (mount.host_path / "a").read_text() == "1"
        config["data"] = {"a": "2"}
        await gate.put(config, "configmaps")
        await eventually(lambda: (mount.host_path / "a").read_text() == "2")
    assert gate.runtime.starts == [("app", 0)]


async def test_a_missing_volume_holds_all_containers(gate: Gateway) -> None:
    volumes: Json = [{"name": "v", "secret": {"secretName": "s"}}]
    async with gate.running():
        await gate.put(pod(volumes=volumes))
        await eventually(gate.waiting)
    assert 'volume "v" : secret "s" not found' in str(gate.waiting())
    assert gate.reasons() == ["FailedMount"]


async def test_as_long_as_volumes_are_missing_a_pod_with_init_containers_is_initializing(gate: Gateway) -> None:
    volumes: Json = [{"name": "v", "secret": {"secretName": "s"}}]
    async with gate.running():
        await gate.put(pod(initContainers=[container("init")], volumes=volumes))
        await eventually(gate.waiting)
    (init,) = maps_at(gate.status(), "initContainerStatuses")
    assert dig(init, "state", "waiting", "reason") == dig(gate.waiting(), "reason") == "PodInitializing"


async def test_a_pod_that_would_set_what_it_may_not_fails_before_it_begins(gate: Gateway) -> None:
    async with gate.running():
        await gate.put(pod(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}))
        await eventually(lambda: str_at(gate.status(), "phase") == "Failed")
    assert (str_at(gate.status(), "reason"), gate.runtime.starts) == ("SysctlForbidden", [])
    assert gate.told() == ['SysctlForbidden: forbidden sysctl: "kernel.msgmax" not allowlisted']


async def test_a_missing_image_is_told_as_kubectl_users_know_it(gate: Gateway) -> None:
    async with gate.running():
        await gate.put(pod(container(image="missing:1")))
        await eventually(gate.waiting)
        config: JsonObject = {"metadata": {"name": "cfg", "namespace": "default", "uid": "c"}}
        await gate.put(config, "configmaps")  # no reason to look for the image again
        await asyncio.sleep(0.02)
        assert dig(gate.waiting(), "reason") == "ErrImagePull"
        assert gate.told() == [
            'Failed: Failed to pull image "missing:1": image "missing:1" is not here',
            "Failed: Error: ErrImagePull",
        ]
        gate.clock.advance(11)
        await gate.put(pod(container(image="missing:1")))
        await eventually(lambda: dig(gate.waiting(), "reason") == "ImagePullBackOff")
        text = 'Back-off pulling image "missing:1": ErrImagePull: image "missing:1" is not here'
        assert dig(gate.waiting(), "message") == text
        assert gate.told()[2:] == [
            'BackOff: Back-off pulling image "missing:1"',
            "Failed: Error: ImagePullBackOff",
        ]
    async with gate.running():
        await gate.put(pod(container(image="missing:1", imagePullPolicy="Never"), uid="uid-2", name="never"))
        await eventually(lambda: dig(gate.waiting(), "reason") == "ErrImageNeverPull")
        assert gate.told()[-2].startswith("ErrImageNeverPull: ")


async def test_while_an_image_is_pulled_the_pod_is_told_of_and_may_go(gate: Gateway) -> None:
    gate.runtime.arriving = {"large:1": asyncio.Event()}
    one = pod(container("a", image="large:1"), container("b"))
    async with gate.running() as manager:
        await gate.put(one)
        await eventually(lambda: gate.told()[:1] == ['Pulling: Pulling image "large:1"'])
        await eventually(lambda: gate.runtime.starts == [("b", 0)])
        assert dig(gate.waiting(), "reason") == "ContainerCreating"
        gate.runtime.arriving["large:1"].set()
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
        pulled = 'Pulled: Successfully pulled image "large:1" in 1.5s (2s including waiting). Image size: 0 bytes.'
        assert pulled in gate.told()
        gate.runtime.arriving = {"huge:1": asyncio.Event()}
        other = pod(container(image="huge:1"), uid="uid-2", name="other")
        await gate.put(other)
        await eventually(lambda: 'Pulling: Pulling image "huge:1"' in gate.told())
        await gate.delete(other)
        await eventually(lambda: manager.count == 1)


async def test_a_crashed_container_whose_image_is_pulled_again_waits_for_nothing_else(gate: Gateway) -> None:
    one = pod(container(image="moving"))
    async with gate.running():
        await gate.put(one)
        await eventually(lambda: gate.runtime.starts == [("app", 0)])
        gate.runtime.arriving = {"moving": asyncio.Event()}
        gate.runtime.end("uid-1", "app", code=1)
        await eventually(lambda: 'Pulling: Pulling image "moving"' in gate.told())
        gate.runtime.arriving["moving"].set()
        await eventually(lambda: gate.runtime.starts == [("app", 0), ("app", 1)])


async def test_an_unsupported_pod_is_refused_with_the_field(gate: Gateway) -> None:
    async with gate.running():
        await gate.put(pod(container(volumeDevices=[{"name": "v", "devicePath": "/dev/v"}])))
        await eventually(lambda: str_at(gate.status(), "reason") == "Unsupported")
    assert "spec.containers[0].volumeDevices" in str_at(gate.status(), "message")
    assert (gate.runtime.starts, str_at(gate.status(), "phase")) == ([], "Pending")


async def test_a_crashing_container_is_restarted_and_then_waits(gate: Gateway) -> None:
    async with gate.running():
        await gate.put(pod(container(command=["exit", "3"])))
        await eventually(lambda: dig(gate.waiting(), "reason") == "CrashLoopBackOff")
        assert gate.runtime.starts == [("app", 0), ("app", 1)]
    assert "BackOff: Back-off restarting failed container app in pod web_default(uid-1)" in gate.told()
    gate.runtime = gate.runtime.restarted()
    async with gate.running():
        await asyncio.sleep(0.05)
        assert gate.runtime.starts == [], "the delay survives the agent"
        gate.clock.advance(11)
        await gate.put(pod(container(command=["exit", "3"])))
        await eventually(lambda: gate.runtime.starts == [("app", 2)])


async def test_after_a_power_cut_all_start_again_at_once_however_often(gate: Gateway) -> None:
    async with gate.running():
        await gate.put(pod(container("a"), container("b")))
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
    for boot in (1, 2, 3):
        gate.runtime = gate.runtime.restarted()
        gate.runtime.lose_power()
        async with gate.running():
            await eventually(lambda: len(gate.runtime.starts) == 2)
            await eventually(lambda: str_at(gate.status(), "phase") == "Running")
            await eventually(lambda: len(gate.runtime._sandboxes) <= 2)
        assert gate.runtime.starts == [("a", boot), ("b", boot)]


async def test_a_pod_whose_sandbox_can_not_be_had_says_so_and_gets_it_later(gate: Gateway) -> None:
    gate.runtime.no_sandboxes = "no network for it"
    async with gate.running():
        await gate.put(pod())
        await eventually(gate.waiting)
        waits = {"reason": "ContainerCreating", "message": "Failed to create pod sandbox: no network for it"}
        assert gate.waiting() == waits
        assert gate.reasons() == ["FailedCreatePodSandBox"]
        gate.runtime.no_sandboxes = ""
        gate.clock.advance(11)
        await gate.put(pod())
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
    assert gate.reasons() == ["FailedCreatePodSandBox", "Started"]


async def test_a_pod_that_has_ended_gives_its_sandbox_back(gate: Gateway) -> None:
    async with gate.running():
        await gate.put(pod(container(command=["exit", "0"]), restartPolicy="Never"))
        await eventually(lambda: str_at(gate.status(), "phase") == "Succeeded")
        await eventually(lambda: [each.ready for each in gate.runtime._sandboxes.values()] == [False])
        assert str_at(gate.status(), "podIP") == NODE.address


async def test_a_finished_job_is_not_run_again_when_the_runtime_forgot_it(gate: Gateway) -> None:
    once = pod(container(command=["exit", "0"]), restartPolicy="Never")
    async with gate.running():
        await gate.put(once)
        await eventually(lambda: str_at(gate.status(), "phase") == "Succeeded")
    gate.runtime = FakeRuntime(gate.clock)
    async with gate.running() as manager:
        await eventually(lambda: manager.count == 1)
        await asyncio.sleep(0.05)
    assert gate.runtime.starts == []


async def test_a_full_disk_stops_no_pod_and_what_happened_is_told_later(gate: Gateway) -> None:
    await gate.put(pod())
    gate.disk.fail_writes_with = StorageFullError("no room")
    async with gate.running():
        await eventually(lambda: gate.runtime.starts and gate.disk.attempts)
        assert gate.reports() == []
        gate.disk.fail_writes_with = None
        await gate.put(pod(name="other", uid="uid-2"))
        await gate.put(pod())  # any change of it is a reason to look again
        await eventually(lambda: len(gate.reports()) == 2)
    assert gate.reasons() == ["Started", "Started"]


async def test_an_old_life_of_a_name_ends_and_the_new_one_begins(gate: Gateway) -> None:
    async with gate.running():
        await gate.put(pod())
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
        await gate.put(pod(uid="uid-2"))
        await eventually(lambda: [item.pod_uid for item in gate.runtime._containers.values()] == ["uid-2"])
    assert gate.runtime.stops == [("app", 30.0)]


async def test_logs_are_read_with_their_options(gate: Gateway) -> None:
    logs = PodLogs(LogParts(store=gate.store, runtime=gate.runtime, clock=gate.clock, directory=gate.directory))
    request = LogRequest(namespace="default", pod="web", uid="", container="app")
    with pytest.raises(NotFoundError):
        await _all(logs, request)
    async with gate.running():
        await gate.put(pod())
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
        path = gate.directory / "logs" / "default_web_uid-1" / "app" / "0.log"
        path.parent.mkdir(parents=True)
        path.with_name("0.log.1").write_bytes(b"2025-06-15T15:06:39.5Z stdout F one\n")
        path.write_bytes(b"2025-06-15T15:06:41Z stdout P tw\n2025-06-15T15:06:41Z stderr F o\nhalf")
        assert await _all(logs, request) == b"one\ntwo\n"
        assert await _all(logs, _with(request, tail_lines=1)) == b"o\n"
        assert await _all(logs, _with(request, since_time="2025-06-15T15:06:40Z")) == b"two\n"
        assert await _all(logs, _with(request, limit_bytes=2)) == b"on"
        stamped = b"2025-06-15T15:06:39.5Z one\n2025-06-15T15:06:41Z two\n"
        assert await _all(logs, _with(request, timestamps=True)) == stamped, "a time where a line begins"
        assert await _all(logs, _with(request, stream="stdout")) == b"one\ntw"
        assert await _all(logs, _with(request, stream="stderr")) == b"o\n"
        with pytest.raises(BadRequestError, match="previous terminated"):
            await _all(logs, _with(request, previous=True))
        with pytest.raises(BadRequestError, match="not valid"):
            await _all(logs, _with(request, container="other"))
        followed = asyncio.create_task(_all(logs, _with(request, follow=True)))
        await asyncio.sleep(0.05)
        with path.open("ab") as file:
            file.write(b"2025-06-15T15:06:42Z stdout F never whole\n2025-06-15T15:06:43Z stdout F three\n")
        path.rename(path.with_name("0.log.20250615-150643"))
        path.write_bytes(b"2025-06-15T15:06:44Z stdout F four\n")
        gate.runtime.end("uid-1", "app", code=0)
        assert (await asyncio.wait_for(followed, 5)).endswith(b"three\nfour\n")


async def test_logs_of_init_containers_are_read_too(gate: Gateway) -> None:
    logs = PodLogs(LogParts(store=gate.store, runtime=gate.runtime, clock=gate.clock, directory=gate.directory))
    await gate.put(pod(initContainers=[container("first")], ephemeralContainers=[container("debugger")]))
    for name in ("first", "debugger"):
        with pytest.raises(BadRequestError, match=f'container "{name}" in pod "web" is waiting to start'):
            await _all(logs, LogRequest(namespace="default", pod="web", uid="", container=name))


async def _all(logs: PodLogs, request: LogRequest) -> bytes:
    return b"".join([chunk async for chunk in logs(request.params())])


def _with(request: LogRequest, **changes: Any) -> LogRequest:
    return replace(request, **changes)


async def test_pods_of_other_resources_wake_nobody(gate: Gateway) -> None:
    async with gate.running() as manager:
        held = Held(key=Key("services", "default", "s"), stamp=stamp_of(pod()), body=b"{}")
        await gate.store.apply(EdgeBatch(puts=(held,)))
        await asyncio.sleep(0.02)
        assert manager.count == 0


async def test_a_restored_cloud_is_told_of_every_pod_again_and_no_container_is_touched(gate: Gateway) -> None:
    async with gate.running():
        await gate.put(pod())
        await gate.put(pod(uid="uid-2", name="other"))
        await eventually(lambda: [str_at(told, "status", "phase") for told in gate.reports()] == ["Running"] * 2)
        await gate.meet_restored_cloud()
        await eventually(lambda: len(gate.reports()) == 2)
        await gate.meet_restored_cloud("e3")
        await eventually(lambda: len(gate.reports()) == 2)
        head = gate.store.outbox_head()
        await gate.store.apply(EdgeBatch(meta=(("known_ms", "1"),)))
        await asyncio.sleep(0.02)
        assert gate.store.outbox_head() == head
    assert {str_at(told, "status", "phase") for told in gate.reports()} == {"Running"}
    assert (sorted(gate.runtime.starts), gate.runtime.stops) == ([("app", 0), ("app", 0)], [])


async def test_an_agent_that_died_before_it_told_a_restored_cloud_does_so_when_it_starts(gate: Gateway) -> None:
    async with gate.running():
        await gate.put(pod())
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
    await gate.meet_restored_cloud()
    gate.runtime = gate.runtime.restarted()
    async with gate.running():
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
    assert gate.runtime.starts == []


async def test_a_pod_told_gone_runs_again_when_the_restored_cloud_knows_nothing_of_its_deletion(
    gate: Gateway,
) -> None:
    going = pod()
    metadata = going["metadata"]
    assert isinstance(metadata, dict)
    metadata |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 5}
    async with gate.running():
        await gate.put(pod())
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
        await gate.put(going)
        await eventually(lambda: gate.reports()[-1]["gone"] is True)
        await gate.meet_restored_cloud()
        await eventually(gate.reports)
        assert gate.reports()[-1]["gone"] is True
        await gate.put(pod())
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
    assert gate.reports()[-1]["gone"] is False
    assert gate.runtime.starts == [("app", 0), ("app", 0)]


# --- the life of a pod --------------------------------------------------------------------------------------------


async def test_init_containers_run_one_after_the_other_before_the_apps(gate: Gateway) -> None:
    async with gate.running():
        inits: Json = [container("first"), container("second", command=["exit", "0"])]
        await gate.put(pod(container("a"), initContainers=inits))
        await eventually(lambda: init_states(gate) == {"first": "running", "second": "waiting"})
        assert str_at(gate.status(), "phase") == "Pending"
        assert dig(gate.waiting(), "reason") == "PodInitializing"
        gate.runtime.end("uid-1", "first", code=0)
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
    assert gate.runtime.starts == [("first", 0), ("second", 0), ("a", 0)]


async def test_a_pod_whose_deadline_is_over_is_ended_for_good_and_says_why(gate: Gateway) -> None:
    async with gate.running():
        await gate.put(pod(activeDeadlineSeconds=5))
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
        gate.clock.advance(6)
        await gate.put(pod(activeDeadlineSeconds=5))  # whatever wakes the worker
        await eventually(lambda: str_at(gate.status(), "phase") == "Failed")
    assert str_at(gate.status(), "reason") == "DeadlineExceeded"
    assert "DeadlineExceeded" in gate.reasons()
    assert not gate.reports()[-1]["gone"]
    gate.runtime = gate.runtime.restarted()
    async with gate.running():
        await asyncio.sleep(0.05)
    assert gate.runtime.starts == [], "the next agent knows it, too"


async def test_a_pod_is_ended_for_good_by_whoever_may_say_so(gate: Gateway) -> None:
    async with gate.running() as manager:
        await gate.put(pod())
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
        manager.end("uid-1", Ending(reason="Evicted", message="too little memory", disrupted=True), 1.0)
        await eventually(lambda: str_at(gate.status(), "phase") == "Failed")
    assert (str_at(gate.status(), "reason"), gate.runtime.stops) == ("Evicted", [("app", 1.0)])
    told = find_condition(maps_at(gate.status(), "conditions"), "DisruptionTarget") or {}
    assert (told["status"], told["reason"]) == ("True", "TerminationByKubelet")


async def test_hooks_run_after_the_start_and_before_the_end(gate: Gateway) -> None:
    hooks: JsonObject = {
        "postStart": {"exec": {"command": ["say", "hello", "0"]}},
        "preStop": {"exec": {"command": ["say", "bye", "0"]}},
    }
    async with gate.running():
        await gate.put(pod(container(lifecycle=hooks)))
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
        assert gate.runtime.runs == [("app", ("say", "hello", "0"))]
        await gate.put(going(pod(container(lifecycle=hooks)), grace_s=5))
        await eventually(lambda: gate.reports()[-1]["gone"] is True)
    assert gate.runtime.runs[1:] == [("app", ("say", "bye", "0"))]
    ((name, grace_s),) = gate.runtime.stops
    assert name == "app" and 2 <= grace_s <= 5


async def test_a_container_whose_first_hook_fails_is_ended_and_starts_again(gate: Gateway) -> None:
    hooks: JsonObject = {"postStart": {"exec": {"command": ["say", "no", "1"]}}}
    async with gate.running():
        await gate.put(pod(container(lifecycle=hooks)))
        await eventually(lambda: dig(gate.waiting(), "reason") == "CrashLoopBackOff")
    assert gate.runtime.starts == [("app", 0), ("app", 1)]
    assert [name for name, _ in gate.runtime.stops] == ["app", "app"]
    assert {"FailedPostStartHook", "Killing"} <= set(gate.reasons())


async def test_a_failing_last_hook_is_told_and_holds_nothing_up(gate: Gateway) -> None:
    hooks: JsonObject = {"preStop": {"exec": {"command": ["say", "no", "1"]}}}
    async with gate.running():
        await gate.put(pod(container(lifecycle=hooks)))
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
        await gate.put(going(pod(container(lifecycle=hooks)), grace_s=5))
        await eventually(lambda: gate.reports()[-1]["gone"] is True)
    assert "FailedPreStopHook" in gate.reasons()


async def test_less_grace_cuts_a_hook_short(gate: Gateway) -> None:
    hooks: JsonObject = {"preStop": {"sleep": {"seconds": 1000}}}
    async with gate.running():
        await gate.put(pod(container(lifecycle=hooks)))
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
        await gate.put(going(pod(container(lifecycle=hooks)), grace_s=900))
        await eventually(lambda: "Killing" in gate.reasons())
        assert gate.runtime.stops == []
        await gate.put(going(pod(container(lifecycle=hooks)), grace_s=0))
        await eventually(lambda: gate.reports()[-1]["gone"] is True)


async def test_who_fails_a_liveness_probe_is_ended_and_starts_again(gate: Gateway) -> None:
    probe: JsonObject = {"exec": {"command": ["say", "sick", "1"]}, "failureThreshold": 1}
    one = pod(container(livenessProbe={**probe, "terminationGracePeriodSeconds": 3}))
    async with gate.running():
        await gate.put(one)
        await eventually(lambda: ("app", 1) in gate.runtime.starts)
    assert gate.runtime.stops[0] == ("app", 3.0)
    told = [str_at(event, "message") for event in gate.reports("event")]
    assert "Liveness probe failed: sick" in told
    assert "Container app failed liveness probe, will be restarted" in told


async def test_a_pod_is_ready_when_its_probe_says_so_and_stays_so_across_the_agent(gate: Gateway) -> None:
    one = pod(container(readinessProbe={"exec": {"command": ["say", "ok", "0"]}, "periodSeconds": 3600}))
    async with gate.running():
        await gate.put(one)
        await eventually(lambda: ready(gate) == "True")
    head = gate.store.outbox_head()
    gate.runtime = gate.runtime.restarted()
    async with gate.running():
        await eventually(lambda: gate.runtime.runs)
    assert gate.store.outbox_head() == head, "nothing is told that was known"


async def test_a_pod_is_not_ready_before_its_probe_is_satisfied(gate: Gateway) -> None:
    one = pod(container(readinessProbe={"exec": {"command": ["say", "no", "1"]}}))
    async with gate.running():
        await gate.put(one)
        await eventually(lambda: "Unhealthy" in gate.reasons())
        assert (str_at(gate.status(), "phase"), ready(gate)) == ("Running", "False")
        assert gate.runtime.stops == []


async def test_sidecars_start_before_the_apps_and_end_after_them(gate: Gateway) -> None:
    inits: Json = [container("side", restartPolicy="Always"), container("more", restartPolicy="Always")]
    one = pod(container("a"), initContainers=inits)
    async with gate.running():
        await gate.put(one)
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
        assert gate.runtime.starts == [("side", 0), ("more", 0), ("a", 0)]
        await gate.put(going(one, grace_s=30))
        await eventually(lambda: gate.reports()[-1]["gone"] is True)
    assert [name for name, _ in gate.runtime.stops] == ["a", "more", "side"]


async def test_a_job_ends_though_its_sidecar_would_go_on(gate: Gateway) -> None:
    inits: Json = [container("side", restartPolicy="Always")]
    async with gate.running():
        await gate.put(pod(container("a"), initContainers=inits, restartPolicy="Never"))
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
        gate.runtime.end("uid-1", "a", code=0)
        await eventually(lambda: str_at(gate.status(), "phase") == "Succeeded")
        assert [name for name, _ in gate.runtime.stops] == ["side"]
        await sandbox_gone(gate)


async def test_an_ended_container_tells_its_last_words(gate: Gateway) -> None:
    one = pod(container(terminationMessagePath="/words"), restartPolicy="Never")
    async with gate.running():
        await gate.put(one)
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
        (mount,) = gate.runtime.specs["uid-1.app.0"].mounts
        assert (mount.container_path, mount.read_only) == ("/words", False)
        mount.host_path.write_text("it was too hot")
        gate.runtime.end("uid-1", "app", code=1)
        await eventually(lambda: str_at(gate.status(), "phase") == "Failed")
    (told,) = maps_at(gate.status(), "containerStatuses")
    assert dig(told, "state", "terminated", "message") == "it was too hot"


async def sandbox_gone(gate: Gateway) -> None:
    async with asyncio.timeout(10):
        while any(each.ready for each in await gate.runtime.sandboxes()):
            await asyncio.sleep(0.005)


async def test_an_ephemeral_container_joins_a_running_pod_and_sees_its_target(gate: Gateway) -> None:
    plain = pod(container("a"))
    late: JsonObject = {**container("debug"), "targetContainerName": "a"}

    def told(name: str) -> list[Json]:
        return [dig(each, "state", name) for each in maps_at(gate.status(), "ephemeralContainerStatuses")]

    async with gate.running():
        await gate.put(plain)
        await eventually(lambda: dig(gate.status(), "phase") == "Running")
        await gate.put(pod(container("a"), ephemeralContainers=[late]))
        await eventually(lambda: any(told("running")))
        specs = {spec.name: (of, spec) for of, spec in gate.runtime.specs.items()}
        assert specs["debug"][1].namespaces.target == specs["a"][0]
        gate.runtime.end("uid-1", "debug", code=3)
        await eventually(lambda: any(told("terminated")))
        assert gate.runtime.starts == [("a", 0), ("debug", 0)]


async def test_an_ephemeral_container_whose_target_has_not_run_waits_and_says_why(gate: Gateway) -> None:
    late: JsonObject = {**container("debug"), "targetContainerName": "a"}
    async with gate.running():
        await gate.put(pod({**container("a"), "image": "missing"}, ephemeralContainers=[late]))
        await eventually(lambda: maps_at(gate.status(), "ephemeralContainerStatuses"))
        (told,) = maps_at(gate.status(), "ephemeralContainerStatuses")
        assert dig(told, "state", "waiting", "message") == "unable to find target container a"


async def test_a_token_that_is_on_its_way_holds_the_pod_up_and_is_no_news(gate: Gateway) -> None:
    said: list[str] = []

    def tokens(_pod: JsonObject, _audience: str, _seconds: int) -> str:
        if not said:
            raise AwaitedError("failed to fetch token: asking the cloud")
        if said[0] == "refused":
            raise UnavailableError("failed to fetch token: refused")
        return said[0]

    gate.tokens = tokens
    source: JsonObject = {"serviceAccountToken": {"path": "token"}}
    volumes: Json = [{"name": "kube-api-access-x", "projected": {"sources": [source]}}]
    mounts: Json = [{"name": "kube-api-access-x", "mountPath": "/t"}]
    async with gate.running() as manager:
        await gate.put(pod(container(volumeMounts=mounts), volumes=volumes))
        await eventually(lambda: gate.waiting() == {"reason": "ContainerCreating"})
        assert gate.runtime.starts == [] and gate.reasons() == []
        said.append("refused")
        manager.refresh("uid-1")
        await eventually(lambda: "FailedMount" in gate.reasons())
        said[0] = "a token"
        manager.refresh("uid-1")
        await eventually(lambda: gate.runtime.starts == [("app", 0)])


async def test_pods_that_are_not_sent_to_the_gateways_own_api_trust_the_clouds_alone(gate: Gateway) -> None:
    trust: JsonObject = {
        "metadata": {"name": "kube-root-ca.crt", "namespace": "default", "uid": "c"},
        "data": {"ca.crt": "cloud\n"},
    }
    volumes: Json = [{"name": "v", "configMap": {"name": "kube-root-ca.crt"}}]
    for apis, said in (((), "cloud\n"), ((ApiPlace(host="127.0.0.1", port=6443),), "cloud\nown\n")):
        gate.apis = apis
        async with gate.running():
            await gate.put(trust, "configmaps")
            await gate.put(pod(container(volumeMounts=[{"name": "v", "mountPath": "/v"}]), volumes=volumes))
            await eventually(lambda: str_at(gate.status(), "phase") == "Running")
            (mount,) = gate.runtime.specs["uid-1.app.0"].mounts
            await eventually(lambda: (mount.host_path / "ca.crt").read_text() == said)  # noqa: B023 - awaited here
