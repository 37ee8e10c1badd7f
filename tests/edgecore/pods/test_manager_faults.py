"""What pods tell when the runtime, or what they name, is not as it should be; on memory parts."""

from __future__ import annotations

import asyncio

import pytest

from edgecore.pods.logs import LogParts, PodLogs
from edgecore.pods.port import SeccompProfile
from skerry.errors import AwaitedError, BadRequestError, UnavailableError
from skerry.objects.json import Json, JsonObject, str_at
from skerry.objects.logs import LogRequest
from tests.edgecore.pods.pods_of import container, pod
from tests.edgecore.pods.stage import Gateway, eventually, gate

__all__ = ["gate"]


async def test_what_can_not_be_taken_away_keeps_nothing_from_being_told(gate: Gateway) -> None:
    """As containerd is while its network plugins are missing: it makes no sandbox, and forgets none."""
    await gate.put(pod(container(image="missing")))
    for attempt in range(2):
        async with gate.running():
            await eventually(lambda attempt=attempt: f"uid-1/{attempt}" in gate.runtime.sandbox_specs)
        gate.runtime.lose_power()
        gate.runtime = gate.runtime.restarted()
        gate.runtime.stuck = "network gone"
    gate.runtime.no_sandboxes = "cni plugin not initialized"
    async with gate.running() as manager:
        await eventually(lambda: "FailedCreatePodSandBox" in gate.reasons())
        (event,) = [each for each in gate.reports("event") if str_at(each, "reason") == "FailedCreatePodSandBox"]
        assert str_at(event, "message") == "Failed to create pod sandbox: cni plugin not initialized"
        gate.runtime.stuck = gate.runtime.no_sandboxes = ""
        gate.clock.advance(120)
        manager.refresh_all()
        await eventually(lambda: [*gate.runtime._sandboxes] == ["uid-1/2"])


async def test_a_profile_of_the_gateway_is_looked_for_below_its_data(gate: Gateway) -> None:
    profile: Json = {"seccompProfile": {"type": "Localhost", "localhostProfile": "audit/all.json"}}
    async with gate.running():
        await gate.put(pod(container(securityContext=profile), securityContext=profile))
        await eventually(lambda: gate.runtime.specs)
    (spec,) = gate.runtime.specs.values()
    (sandbox,) = gate.runtime.sandbox_specs.values()
    wanted = SeccompProfile(kind="localhost", localhost_ref=str(gate.directory / "seccomp" / "audit" / "all.json"))
    assert spec.security.seccomp == sandbox.seccomp == wanted


async def test_who_has_no_log_says_why_in_a_kubelets_words(gate: Gateway) -> None:
    logs = PodLogs(LogParts(store=gate.store, runtime=gate.runtime, clock=gate.clock, directory=gate.directory))

    async def said(name: str) -> str:
        with pytest.raises(BadRequestError) as refused:
            async for _ in logs.read(LogRequest(namespace="default", pod=name, uid="", container="app")):
                pass
        return str(refused.value)

    gate.refuse = lambda _: "The node had condition: [DiskPressure]. "
    async with gate.running():
        await gate.put(pod(name="late", uid="uid-3"))
        await eventually(lambda: str_at(gate.status(), "phase") == "Failed")
        assert await said("late") == 'container "app" in pod "late" is not available'
    gate.refuse = lambda _: ""
    async with gate.running():
        await gate.put(pod(container(image="missing")))
        await eventually(lambda: "ErrImagePull" in str(gate.status()))
        assert await said("web") == 'container "app" in pod "web" is waiting to start: image can\'t be pulled'
        await gate.put(
            pod(
                container(env=[{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "a"}}}]),
                name="cfg",
                uid="uid-4",
            )
        )
        await eventually(lambda: "CreateContainerConfigError" in str(gate.status()))
        assert await said("cfg") == 'container "app" in pod "cfg" is waiting to start: CreateContainerConfigError'


async def test_a_profile_that_leads_elsewhere_is_refused(gate: Gateway) -> None:
    async with gate.running():
        for number, path in enumerate(("../store/x.json", "/etc/x.json", "")):
            profile: Json = {"seccompProfile": {"type": "Localhost", "localhostProfile": path}}
            await gate.put(pod(container(securityContext=profile), name=f"p{number}", uid=f"uid-{number}"))
        await eventually(lambda: gate.reasons().count("Failed") == 3)
    assert not gate.runtime.starts


async def test_a_pod_that_waits_for_who_was_asked_is_not_looked_at_all_the_time(gate: Gateway) -> None:
    """Its token failed once, and is asked for again: when to try was long ago."""
    said = ["refused"]

    def tokens(_pod: JsonObject, _audience: str, _seconds: int) -> str:
        if said[0] == "refused":
            raise UnavailableError("failed to fetch token: refused")
        raise AwaitedError("failed to fetch token: asking the cloud")

    gate.tokens = tokens
    source: JsonObject = {"serviceAccountToken": {"path": "token"}}
    volumes: Json = [{"name": "v", "projected": {"sources": [source]}}]
    async with gate.running() as manager:
        await gate.put(pod(volumes=volumes))
        await eventually(lambda: "FailedMount" in gate.reasons())
        said[0] = "asking"
        gate.clock.advance(3600)
        manager.refresh("uid-1")
        await eventually(lambda: gate.runtime.looks)
        await asyncio.sleep(0.05)
        looks = gate.runtime.looks
        await asyncio.sleep(0.3)
        assert gate.runtime.looks - looks <= 1
