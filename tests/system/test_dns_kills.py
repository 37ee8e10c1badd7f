"""Two DNS servers that follow one cloud while its zone changes and each part is killed in turn: they end with one
zone and one serial, answer meanwhile, and start with no cloud."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.system.cloud_process import CloudProcess, cloud_process
from tests.system.dns_process import DnsProcess, dns_server

pytestmark = pytest.mark.system

ZONE = """
apiVersion: skerry.dev/v1
kind: DnsZone
metadata: {{name: example.com}}
spec:
  nameservers: [{{name: ns1, addresses: [192.0.2.1]}}]
  records: [{{name: now, type: TXT, data: [n{number}]}}, {{name: n{number}, type: A, data: [192.0.2.9]}}]
"""
STEPS = ("child", "cloud", "server", "child")
WAIT_S_MAX = 60.0


def state(server: DnsProcess) -> tuple[str, str]:
    """The serial, and what the zone says last."""
    soa = server.kdig("+short", "example.com", "SOA").split()
    return (soa[2] if len(soa) > 2 else ""), server.kdig("+short", "now.example.com", "TXT").strip()


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=20)


def kill_a_child(server: DnsProcess, chance: random.Random) -> None:
    told = subprocess.run(["pgrep", "-P", str(server.process.pid)], capture_output=True, text=True).stdout
    with suppress(ProcessLookupError):  # it has just left by itself
        os.kill(int(chance.choice(told.split())), signal.SIGKILL)


def kill_the_cloud(cloud: CloudProcess) -> None:
    assert cloud.process is not None
    kill(cloud.process)
    cloud.process = None


def test_whatever_is_killed_the_servers_end_with_one_zone_and_start_without_a_cloud(tmp_path: Path) -> None:
    if shutil.which("kdig") is None or shutil.which("pgrep") is None:
        pytest.skip("kdig and pgrep are needed")
    chance = random.Random(3)
    with ExitStack() as stack:
        cloud = stack.enter_context(cloud_process(tmp_path / "data"))

        def begun(name: str) -> DnsProcess:
            return stack.enter_context(dns_server(tmp_path / name, "--cloud", str(cloud.kubeconfig)))

        cloud.kubectl("apply", "-f", "-", stdin=ZONE.format(number=0))
        servers = {name: begun(name) for name in ("a", "b")}
        agreed(servers, "n0")
        for number, step in enumerate(STEPS, 1):
            cloud.kubectl("apply", "-f", "-", stdin=ZONE.format(number=number))
            time.sleep(chance.random() / 2)
            name = chance.choice([*servers])
            if step == "child":
                kill_a_child(servers[name], chance)
            elif step == "server":
                kill(servers[name].process)
                servers[name] = begun(name)
            else:
                kill_the_cloud(cloud)
                assert state(servers[name])[0], "it answers with no cloud"
                cloud.start()
        agreed(servers, f"n{len(STEPS)}")
        serials = {name: state(server)[0] for name, server in servers.items()}
        kill_the_cloud(cloud)
        for name in servers:
            kill(servers[name].process)
            servers[name] = begun(name)
            assert state(servers[name]) == (serials[name], f'"n{len(STEPS)}"')


def agreed(servers: dict[str, DnsProcess], text: str) -> None:
    """Wait until all say the same, and that."""
    deadline = time.monotonic() + WAIT_S_MAX
    while True:
        told = {state(server) for server in servers.values()}
        if len(told) == 1 and told.pop()[1] == f'"{text}"':
            return
        assert time.monotonic() < deadline, [server.log for server in servers.values()]
        time.sleep(0.1)
