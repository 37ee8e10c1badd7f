"""Streams into pods in hostile use: gateways that vanish, too many commands, terminals without rest."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from edgecore.pods.streams import COMMANDS_MAX
from skerry.cli import kubeconfig
from tests.system.real_fleet import CORE, RealFleet, real_fleet, until
from tests.system.test_pod_streams import KUBECTLS, POD, a_pod

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


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
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        fleet.edge.stop(signal.SIGKILL)
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            fleet.edge.start()
        assert process.returncode == 1 and b"rror" in errors, errors
    until(lambda: fleet.ready() == "True", "the node is back", deadline_s=60)


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
