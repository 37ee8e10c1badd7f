"""Streams into pods in hostile use: gateways that vanish, too many commands, terminals without rest."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from websockets.asyncio.client import connect, unix_connect
from websockets.typing import Subprotocol

from edgecore.pods.streams import COMMANDS_MAX
from skerry.cli import kubeconfig
from tests.system.real_fleet import CORE, RealFleet, real_fleet, until
from tests.system.test_pod_streams import KUBECTLS, POD, a_pod

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(300)]
SIDES = ("cloud", "gateway")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Generator[RealFleet]:
    with real_fleet(tmp_path_factory.mktemp("hostile")) as made:
        made.edge.start()
        made.create(f"{CORE}/pods", a_pod(POD, ("app", "exec sleep 100000")))
        until(lambda: made.run_of(POD), "the pod runs")
        yield made


def kubectl(fleet: RealFleet, binary: str, *arguments: str) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "KUBECONFIG": str(fleet.cloud.kubeconfig)}
    pipe = subprocess.PIPE
    return subprocess.Popen([binary, *arguments], env=environ, stdin=pipe, stdout=pipe, stderr=pipe)


@pytest.mark.parametrize("binary", KUBECTLS, ids=lambda path: Path(path).name + str(len(path)))
def test_a_gateway_that_vanishes_ends_a_command_with_words(fleet: RealFleet, binary: str) -> None:
    with kubectl(fleet, binary, "exec", "-i", POD, "--", "sh", "-c", "echo here; cat") as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"here\n", process.stderr.read()
        fleet.edge.stop(signal.SIGKILL)
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            fleet.edge.start()
        assert process.returncode == 1 and b"rror" in errors, errors
    # Not `ready`: a node is that for 40 s after its gateway was killed.
    until(lambda: fleet.edge.link_state() == "connected", "the gateway is back", deadline_s=60)


def test_more_commands_than_there_is_room_for_are_refused_with_words_and_the_others_go_on(fleet: RealFleet) -> None:
    many = COMMANDS_MAX + 8

    def run(_number: int) -> tuple[int, bytes]:
        with kubectl(fleet, KUBECTLS[-1], "exec", POD, "--", "sh", "-c", "sleep 8; echo done") as process:
            out, errors = process.communicate(timeout=120)
            return process.returncode, out + errors

    with ThreadPoolExecutor(many) as threads:
        ended = list(threads.map(run, range(many)))
    refused = [said for code, said in ended if code]
    assert all(b"are open on this gateway" in said for said in refused), refused
    assert len([code for code, _ in ended if code == 0]) >= min(COMMANDS_MAX, many - len(refused)) > 0
    with kubectl(fleet, KUBECTLS[-1], "exec", POD, "--", "echo", "fine") as process:
        assert process.communicate(timeout=60)[0] == b"fine\n"


def told(fleet: RealFleet, what: str) -> int:
    """How often the agent has said so of streams."""
    return (fleet.edge.data.parent / "edge.log").read_text().count(f"pod stream {what} ")


def dialled(fleet: RealFleet, side: str, query: str, *, patient: bool = False) -> connect:
    every_s = None if patient else 20
    path = f"{CORE}/pods/{POD}/exec?{query}"
    protocols = [Subprotocol("v5.channel.k8s.io")]
    if side == "gateway":
        socket = str(fleet.edge.data / "edgecore.sock")
        return unix_connect(socket, f"ws://localhost{path}", subprotocols=protocols, ping_interval=every_s)
    cluster = kubeconfig.load(fleet.cloud.kubeconfig)
    uri = f"wss://{cluster.host}:{cluster.port}{path}"
    return connect(uri, ssl=cluster.tls, proxy=None, subprotocols=protocols, ping_interval=every_s)


async def flooded(fleet: RealFleet, side: str) -> None:
    """A command that takes no input is given some until nobody takes more, and its client is killed."""
    async with asyncio.timeout(20):
        client = await dialled(fleet, side, "command=sleep&command=100000&stdin=true&stdout=true")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            while True:
                await client.send(b"\0" + bytes(30_000))
    client.transport.abort()


def test_a_command_that_takes_no_input_ends_with_a_client_that_is_killed(fleet: RealFleet) -> None:
    begun, ended = told(fleet, "begun"), told(fleet, "ended")

    async def feed() -> None:
        await asyncio.gather(*(flooded(fleet, side) for side in SIDES))

    asyncio.run(feed())
    until(lambda: told(fleet, "begun") == begun + len(SIDES), "both have begun")
    until(lambda: told(fleet, "ended") == ended + len(SIDES), "the commands are hung up on", deadline_s=75)


async def fed(fleet: RealFleet, side: str) -> bytes:
    """What a command says that takes three megabytes after most of a minute."""
    query = "command=sh&command=-c&command=sleep+55%3B+wc+-c&stdin=true&stdout=true"
    async with dialled(fleet, side, query, patient=True) as client, asyncio.timeout(120):

        async def give() -> None:
            for _ in range(100):
                await client.send(b"\0" + bytes(30_000))
            await client.send(b"\xff\0")

        giving = asyncio.create_task(give())
        seen = b""
        async for message in client:
            assert isinstance(message, bytes)
            seen += message[1:]
        await giving
        return seen


def waited_for(fleet: RealFleet, binary: str) -> tuple[int, bytes, bytes]:
    """How kubectl ends whose process takes its input after more than a minute."""
    with kubectl(fleet, binary, "exec", "-i", POD, "--", "sh", "-c", "sleep 70; wc -c") as process:
        out, errors = process.communicate(bytes(3_000_000), timeout=120)
        return process.returncode, out.strip(), errors


@dataclass(frozen=True, slots=True)
class Late:
    """Commands that take their input late, all begun at once."""

    of_side: dict[str, Future[bytes]]
    of_kubectl: dict[str, Future[tuple[int, bytes, bytes]]]


@pytest.fixture(scope="module")
def late(fleet: RealFleet) -> Generator[Late]:
    with ThreadPoolExecutor(len(SIDES) + len(KUBECTLS)) as threads:
        yield Late(
            of_side={side: threads.submit(lambda side=side: asyncio.run(fed(fleet, side))) for side in SIDES},
            of_kubectl={binary: threads.submit(waited_for, fleet, binary) for binary in KUBECTLS},
        )


@pytest.mark.parametrize("side", SIDES)
def test_a_command_that_takes_its_input_late_loses_nothing(late: Late, side: str) -> None:
    assert b"3000000" in late.of_side[side].result()


@pytest.mark.parametrize("binary", KUBECTLS, ids=lambda path: Path(path).name + str(len(path)))
def test_kubectl_waits_for_a_process_that_takes_its_input_after_more_than_a_minute(late: Late, binary: str) -> None:
    code, out, errors = late.of_kubectl[binary].result()
    assert (code, out) == (0, b"3000000"), errors


def test_a_terminal_that_never_rests_still_types_and_no_setpoint_waits_for_it(fleet: RealFleet) -> None:
    cluster = kubeconfig.load(fleet.cloud.kubeconfig)
    path = f"{CORE}/pods/{POD}/exec?command=sh&stdin=true&stdout=true&tty=true"

    async def talk() -> float:
        uri = f"wss://{cluster.host}:{cluster.port}{path}"
        async with connect(
            uri, ssl=cluster.tls, proxy=None, subprotocols=[Subprotocol("v5.channel.k8s.io")], max_size=None
        ) as client:
            for number in range(20_000):
                size = {"Width": 80 + number % 100, "Height": 24}
                await client.send(b"\4" + json.dumps(size).encode())
            await client.send(b"\4" + json.dumps({"Width": 7, "Height": 9}).encode())
            await client.send(b"\0stty size; exit 3\n")
            began, seen = time.monotonic(), b""
            while b"ExitCode" not in seen:
                message = await asyncio.wait_for(client.recv(), 60)
                assert isinstance(message, bytes)
                seen += message[1:]
            assert b"9 7" in seen and b'"3"' in seen
            return time.monotonic() - began

    assert asyncio.run(talk()) < 60
    assert fleet.ready() == "True"
