"""Pods that are given other resources while they run, and ports of the gateway, on memory parts."""

from __future__ import annotations

from skerry.frozen import replace
from skerry.objects.conditions import find_condition
from skerry.objects.json import Json, JsonObject, decode_object, dig, map_at, maps_at, str_at
from tests.edgecore.pods.pods_of import container, pod
from tests.edgecore.pods.stage import Gateway, eventually, gate

__all__ = ["gate"]


def sized(cpu: str, memory: str = "64Mi", *, uid: str = "uid-1", name: str = "web", restart: str = "") -> JsonObject:
    policy: Json = [{"resourceName": "cpu", "restartPolicy": restart}] if restart else []
    resources: JsonObject = {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}
    return pod(container("app", resources=resources, resizePolicy=policy), uid=uid, name=name)


def told_resources(gate: Gateway) -> Json:
    return dig(next(iter(maps_at(gate.status(), "containerStatuses")), {}), "resources", "limits", "cpu")


def resize_condition(gate: Gateway, name: str) -> tuple[str, str]:
    found = find_condition(maps_at(gate.status(), "conditions"), name)
    return str_at(found, "reason"), str_at(found, "message")


async def test_a_running_container_is_given_what_its_pod_wishes_now(gate: Gateway) -> None:
    async with gate.running():
        await gate.put(sized("1"))
        await eventually(lambda: told_resources(gate) == "1")
        await gate.put(sized("2", "128Mi"))
        await eventually(lambda: told_resources(gate) == "2")
        given = gate.runtime.resources["uid-1.app.0"]
        assert (given.cpu_quota_us, given.memory_bytes) == (200_000, 128 << 20)
    assert gate.runtime.starts == [("app", 0)]
    gate.runtime = gate.runtime.restarted()
    async with gate.running():  # another agent knows what was given
        await gate.put(sized("1", "128Mi"))
        await eventually(lambda: told_resources(gate) == "1")
        assert gate.runtime.starts == []


async def test_a_container_that_wants_to_be_restarted_for_it_is_and_without_delay(gate: Gateway) -> None:
    async with gate.running():
        await gate.put(sized("1", restart="RestartContainer"))
        await eventually(lambda: told_resources(gate) == "1")
        await gate.put(sized("2", restart="RestartContainer"))
        await eventually(lambda: told_resources(gate) == "2")
    assert gate.runtime.starts == [("app", 0), ("app", 1)]
    assert gate.runtime.resources["uid-1.app.0"].cpu_quota_us == 100_000


async def test_what_the_gateway_can_not_give_is_told_and_given_when_another_pod_goes(gate: Gateway) -> None:
    other = sized("3", uid="uid-2", name="other")
    async with gate.running():
        await gate.put(sized("1"))
        await eventually(lambda: told_resources(gate) == "1")
        await gate.put(sized("5"))
        await eventually(lambda: resize_condition(gate, "PodResizePending")[0] == "Infeasible")
        await gate.put(other)
        await eventually(lambda: len(gate.runtime.starts) == 2)
        await gate.put(sized("2"))
        await eventually(lambda: [r for r in gate.reports() if "Deferred" in str(r)])
        await gate.delete(other)
        await eventually(lambda: gate.runtime.resources["uid-1.app.0"].cpu_quota_us == 200_000)
        await eventually(lambda: told_resources(gate) == "2")
    told = [report for report in gate.reports() if str_at(report, "name") == "web"][-1]
    assert "PodResizePending" not in str(told)


async def test_a_limit_below_what_is_used_is_not_given_and_said(gate: Gateway) -> None:
    async with gate.running():
        await gate.put(sized("1"))
        await eventually(lambda: told_resources(gate) == "1")
        (run,) = await gate.runtime.list()
        usage = (await gate.runtime.usage())[0]
        gate.runtime.used[run.id] = replace(usage, memory_working_set_bytes=50 << 20)
        await gate.put(sized("1", "32Mi"))
        await eventually(lambda: resize_condition(gate, "PodResizeInProgress")[0] == "Error")
        assert "below current usage (52428800)" in resize_condition(gate, "PodResizeInProgress")[1]
        assert dig(maps_at(gate.status(), "containerStatuses")[0], "resources", "limits", "memory") == "64Mi"


def on_port(name: str, number: int, **spec: Json) -> JsonObject:
    ports: Json = [{"containerPort": 80, "hostPort": number}]
    return pod(container(ports=ports), name=name, uid=f"uid-{name}", **spec)


async def test_a_port_of_the_gateway_is_one_pods_until_it_has_gone(gate: Gateway) -> None:
    first, second, third = on_port("web", 8080), on_port("other", 8080), on_port("third", 8080)

    def reason_of(name: str) -> str:
        record = dict(gate.store.pods()).get(f"uid-{name}")
        return "none" if record is None else str_at(decode_object(record), "status", "reason")

    async with gate.running():
        await gate.put(first)
        await eventually(lambda: reason_of("web") == "")
        await gate.put(second)
        await eventually(lambda: reason_of("other") == "NodePorts")
        assert "NodePorts" in gate.reasons()
    async with gate.running():  # the first keeps its port over a restart, whoever wakes first
        await gate.put(third)
        await eventually(lambda: reason_of("third") == "NodePorts")
        assert reason_of("web") == ""
        await gate.delete(first)
        await eventually(lambda: reason_of("web") == "none")
        last = on_port("last", 8080)
        await gate.put(last)
        await eventually(lambda: reason_of("last") == "")


async def test_what_does_not_fit_beside_the_others_is_refused_until_they_have_gone(gate: Gateway) -> None:
    def phase_of(name: str) -> str:
        record = dict(gate.store.pods()).get(f"uid-{name}")
        status = {} if record is None else map_at(decode_object(record), "status")
        return str_at(status, "reason") or str_at(status, "phase")

    async with gate.running():
        await gate.put(sized("3", uid="uid-first", name="first"))
        await gate.put(sized("2", uid="uid-second", name="second"))  # both at once: the first counts
        await eventually(lambda: (phase_of("first"), phase_of("second")) == ("Running", "OutOfcpu"))
        status = map_at(decode_object(dict(gate.store.pods())["uid-second"]), "status")
        assert "containerStatuses" not in status and "conditions" not in status
        assert status["message"] == (
            "Pod was rejected: Node didn't have enough resource: cpu, requested: 2000, used: 3000, capacity: 4000"
        )
        await gate.delete(sized("3", uid="uid-first", name="first"))
        await eventually(lambda: phase_of("first") == "")
        await gate.put(sized("2", uid="uid-third", name="third"))
        await eventually(lambda: phase_of("third") == "Running")
    gate.runtime = gate.runtime.restarted()
    async with gate.running():
        await gate.put(sized("3", uid="uid-fourth", name="fourth"))
        await eventually(lambda: phase_of("fourth") == "OutOfcpu")
        assert (phase_of("second"), phase_of("third")) == ("OutOfcpu", "Running")
