"""The life of a pod on real processes: what a kubelet does, without a container runtime."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from edgecore.pods.runtimes.process import ProcessRuntime, ProcessSettings
from skerry.clocks import SystemClock
from skerry.objects.json import Json, JsonObject, dig, maps_at, str_at
from tests.edgecore.pods.pods_of import container, pod
from tests.edgecore.pods.stage import Gateway, going, init_states, ready

pytestmark = pytest.mark.system


class RealGateway(Gateway):
    """The agent's pods over real processes, with a memory store."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__(tmp_path)
        settings = ProcessSettings(directory=tmp_path / "containers", images=tmp_path / "images")
        self.real = ProcessRuntime(settings, SystemClock())
        self.runtime = self.real
        self.clock = SystemClock()


@pytest_asyncio.fixture
async def gate(tmp_path: Path) -> AsyncIterator[RealGateway]:
    gateway = RealGateway(tmp_path)
    yield gateway
    for state in await gateway.real.list():
        await gateway.real.stop(state.id, grace_s=0)
    await gateway.real.close()
    gateway.store.close()


async def level(gate: RealGateway, wanted: object, *path: str) -> None:
    try:
        async with asyncio.timeout(60):
            while dig(gate.status(), *path) != wanted:
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(gate.status()) from None


def shell(name: str, script: str, **fields: Json) -> JsonObject:
    return container(name, image="sh", command=["sh", "-c", script], **fields)


async def test_init_sidecar_probe_hooks_and_a_graceful_end(gate: RealGateway, tmp_path: Path) -> None:
    book = tmp_path / "book"
    inits: Json = [
        shell("init", f"echo init >> {book}"),
        shell(
            "side",
            f"echo side >> {book}; touch {tmp_path}/up; "
            f"trap 'echo side-ends >> {book}; exit 0' TERM; sleep 1000 & wait",
            restartPolicy="Always",
            startupProbe={"exec": {"command": ["test", "-e", f"{tmp_path}/up"]}, "periodSeconds": 1},
        ),
    ]
    app = shell(
        "app",
        f"echo app >> {book}; trap 'echo app-ends >> {book}; exit 0' TERM; sleep 1000 & wait",
        readinessProbe={"exec": {"command": ["test", "-e", f"{tmp_path}/ready"]}, "periodSeconds": 1},
        lifecycle={
            "postStart": {"exec": {"command": ["sh", "-c", f"echo hello >> {book}"]}},
            "preStop": {"exec": {"command": ["sh", "-c", f"echo bye >> {book}"]}},
        },
    )
    one = pod(app, initContainers=inits)
    async with gate.running():
        await gate.put(one)
        await level(gate, "Running", "phase")
        assert (init_states(gate), ready(gate)) == ({"init": "terminated", "side": "running"}, "False")
        (tmp_path / "ready").touch()
        async with asyncio.timeout(60):
            while ready(gate) != "True":
                await asyncio.sleep(0.02)
        assert sorted(book.read_text().split()) == ["app", "hello", "init", "side"]
        await gate.put(going(one, grace_s=30))
        async with asyncio.timeout(60):
            while not gate.reports()[-1]["gone"]:
                await asyncio.sleep(0.02)
            while await gate.real.list():  # taken away once the cloud can be told
                await asyncio.sleep(0.02)
    lines = book.read_text().split()
    assert lines[:2] == ["init", "side"] and lines[4:] == ["bye", "app-ends", "side-ends"]


async def test_a_liveness_probe_that_fails_ends_the_container_and_it_comes_back(
    gate: RealGateway, tmp_path: Path
) -> None:
    probe: Json = {
        "exec": {"command": ["test", "!", "-e", f"{tmp_path}/ill"]},
        "periodSeconds": 1,
        "failureThreshold": 1,
    }
    one = pod(shell("app", f"rm -f {tmp_path}/ill; touch {tmp_path}/begun; sleep 1000", livenessProbe=probe))
    async with gate.running():
        await gate.put(one)
        await level(gate, "Running", "phase")
        async with asyncio.timeout(60):
            while not (tmp_path / "begun").exists():  # else what it begins with takes the illness away
                await asyncio.sleep(0.02)
        (tmp_path / "ill").touch()
        async with asyncio.timeout(60):
            while dig(maps_at(gate.status(), "containerStatuses")[0], "restartCount") != 1:
                await asyncio.sleep(0.02)
    assert {"Unhealthy", "Killing"} <= set(gate.reasons())
    (told,) = maps_at(gate.status(), "containerStatuses")
    assert dig(told, "lastState", "terminated", "signal") in (9, 15)


async def test_last_words_come_from_the_file_or_from_the_log(gate: RealGateway, tmp_path: Path) -> None:
    said = shell("said", "printf 'by file' > /words/of/mine; exit 1", terminationMessagePath="/words/of/mine")
    logged = shell("logged", "echo by log; exit 1", terminationMessagePolicy="FallbackToLogsOnError")
    async with gate.running():
        await gate.put(pod(said, logged, restartPolicy="Never"))
        await level(gate, "Failed", "phase")
    told = {
        str_at(each, "name"): dig(each, "state", "terminated", "message")
        for each in maps_at(gate.status(), "containerStatuses")
    }
    assert told == {"said": "by file", "logged": "by log\n"}
