"""Two gateways on one network reach each other's pods, and services lead to the pods of both. In namespaces."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skerry.errors import UnavailableError
from skerry.testkit.real.namespaces import PATH, Namespace, new_namespace
from tests.system.test_service_routing import ANSWERS, ASKS

pytestmark = pytest.mark.system
ROOT = Path(__file__).parents[2]


class Gateway:
    """At 192.0.2.N, with one pod 10.244.N.2 on the bridge that CNI's plugin would make."""

    def __init__(self, number: int, directory: Path) -> None:
        self.number = number
        self.name = f"g{number}"
        self.directory = directory
        self.space, self.pod = new_namespace(self.name), new_namespace(f"p{number}")
        self.agent: subprocess.Popen[str] | None = None
        run, inner = self.space.run, self.pod
        run("ip", "link", "add", "skerry0", "type", "bridge")
        run("ip", "address", "add", f"10.244.{number}.1/24", "dev", "skerry0")
        run("ip", "link", "set", "skerry0", "up")
        run("ip", "link", "add", "pod", "type", "veth", "peer", "name", "eth0", "netns", inner.path)
        run("ip", "link", "set", "pod", "master", "skerry0")
        run("bridge", "link", "set", "dev", "pod", "hairpin", "on")  # as the CNI plugin, with hairpinMode
        run("ip", "link", "set", "pod", "up")
        inner.run("ip", "address", "add", f"10.244.{number}.2/24", "dev", "eth0")
        inner.run("ip", "link", "set", "eth0", "up")
        inner.run("ip", "route", "add", "default", "via", f"10.244.{number}.1")
        self.answers = _started(inner, sys.executable, "-c", ANSWERS, self.name)
        _wait(self.answers, "ready")

    def begin(self) -> None:
        words = ("-m", "tests.system.site_network_process", self.name, str(self.directory))
        self.agent = _started(self.space, sys.executable, *words)
        _wait(self.agent, "done")

    def say(self, line: str) -> None:
        assert self.agent is not None and self.agent.stdin is not None
        self.agent.stdin.write(f"{line}\n")
        self.agent.stdin.flush()
        _wait(self.agent, "done")

    def kill(self) -> None:
        if self.agent is not None:
            self.agent.kill()
            self.agent.communicate()
            self.agent = None

    def routes(self) -> list[tuple[str, str]]:
        printed: Any = json.loads(self.space.run("ip", "-j", "route", "show", "proto", "115") or "[]")
        return [(each["dst"], each["gateway"]) for each in printed]

    def close(self) -> None:
        self.kill()
        self.answers.kill()
        self.answers.communicate()
        self.pod.close()
        self.space.close()


def _started(space: Namespace, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*space.prefix, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={"PATH": PATH},
    )


def _wait(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None and process.stdout.readline() == f"{word}\n"


def ask(space: Namespace, host: str, port: int, count: int = 6) -> Counter[str]:
    return Counter(space.run(sys.executable, "-c", ASKS, "tcp", host, str(port), str(count)).splitlines())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Gateway, Gateway]]:
    for program in ("nft", "ip"):
        if shutil.which(program, path=PATH) is None:
            pytest.skip(f"{program} is not installed")
    made: list[Gateway] = []
    try:
        first, second = (Gateway(number, tmp_path / f"cni{number}") for number in (1, 2))
        made += [first, second]
        words = ("ip", "link", "add", "lan", "type", "veth", "peer", "name", "lan", "netns", second.space.path)
        first.space.run(*words)
        for each in made:
            each.space.run("ip", "address", "add", f"192.0.2.{each.number}/24", "dev", "lan")
            each.space.run("ip", "link", "set", "lan", "up")
            each.begin()
        yield first, second
    except UnavailableError as error:
        pytest.skip(str(error))
    finally:
        for each in made:
            each.close()


def test_pods_of_two_gateways_reach_each_other_and_services_of_both(site: tuple[Gateway, Gateway]) -> None:
    first, second = site
    assert first.routes() == [("10.244.2.0/24", "192.0.2.2")]
    assert second.routes() == [("10.244.1.0/24", "192.0.2.1")]
    # A pod is seen at its own address: nothing is masqueraded within the site.
    assert ask(first.pod, "10.244.2.2", 8080, 1) == {"g2 10.244.1.2": 1}
    assert ask(second.pod, "10.244.1.2", 8080, 1) == {"g1 10.244.2.2": 1}
    said = ask(first.pod, "10.96.0.7", 80)
    assert Counter(line.split()[0] for line in said.elements()) == {"g1": 3, "g2": 3}
    assert "g2 10.244.1.2" in said
    # The agents' ends, and the cloud's, change nothing.
    first.kill()
    second.kill()
    assert ask(first.pod, "10.244.2.2", 8080, 1) == {"g2 10.244.1.2": 1}
    assert sum(ask(second.pod, "10.96.0.7", 80).values()) == 6


def test_a_gateway_that_dies_is_left_out_and_taken_back_with_no_cloud_to_say_so(
    site: tuple[Gateway, Gateway],
) -> None:
    first, second = site
    both, alone = {"g1 10.244.1.1", "g2 10.244.1.2"}, {"g1 10.244.1.1"}

    def becomes(wanted: set[str]) -> float:
        began = time.monotonic()
        while time.monotonic() < began + 60:
            try:
                if set(ask(first.pod, "10.96.0.7", 80, 4)) == wanted:
                    return time.monotonic() - began
            except UnavailableError:
                continue  # no way to the host: it was the dead one's turn
            time.sleep(0.2)
        raise AssertionError(f"not within a minute: {wanted}")

    becomes(both)
    second.space.run("ip", "link", "set", "lan", "arp", "off")
    first.space.run("ip", "neigh", "flush", "dev", "lan")
    assert becomes(alone) < 30
    second.space.run("ip", "link", "set", "lan", "arp", "on")
    assert becomes(both) < 30


def test_a_way_goes_with_its_neighbour_and_strangers_ways_stay(site: tuple[Gateway, Gateway]) -> None:
    first, _ = site
    first.space.run("ip", "route", "add", "203.0.113.0/24", "via", "192.0.2.2")
    first.say("alone")
    assert first.routes() == []
    assert "203.0.113.0/24" in first.space.run("ip", "route")
    assert ask(first.pod, "10.96.0.7", 80) == {"g1 10.244.1.1": 6}
    # What is made again by hand, or was by an agent that crashed, is found.
    first.kill()
    first.space.run("ip", "route", "add", "10.244.9.0/24", "via", "192.0.2.2", "proto", "115")
    first.begin()
    assert first.routes() == [("10.244.2.0/24", "192.0.2.2")]
