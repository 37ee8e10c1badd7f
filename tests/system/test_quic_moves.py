"""A gateway on QUIC whose address changes under it: the session goes on, and nothing is said twice.

Cloud and gateway are processes in network namespaces of their own with one wire between them. A NAT that gives the
gateway another port looks the same from the hub; it is tested on the link alone in test_quic_link.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from skerry.objects.json import str_at
from skerry.testkit.real.namespaces import Namespace, enter, new_namespace, tool
from skerry.testkit.real.rig import may_isolate
from tests.system.cloud_process import CloudProcess
from tests.system.real_fleet import CORE, DEVICES, NODE, EdgeProcess, RealFleet, boiler, config_map, pod, until

pytestmark = pytest.mark.system

CLOUD, FIRST, SECOND, THIRD = "10.77.0.1", "10.77.0.2", "10.77.0.3", "10.77.0.4"
READINGS = 150


@dataclass(slots=True)
class Places:
    """Threads in either namespace: what they start, and where they connect to, is in it."""

    fleet: RealFleet
    site: Namespace
    in_cloud: ThreadPoolExecutor
    in_site: ThreadPoolExecutor

    def move(self, old: str, new: str) -> None:
        """The gateway's network takes the address that it had, and gives it another one."""
        self.site.run(tool("ip"), "addr", "del", f"{old}/24", "dev", "wire")
        self.site.run(tool("ip"), "addr", "add", f"{new}/24", "dev", "wire")

    def join(self) -> None:
        cloud, edge = self.fleet.cloud, self.fleet.edge
        token = self.in_cloud.submit(cloud.skerry, "token", "create", NODE).result().strip()
        address = f"{CLOUD}:{cloud.endpoints['hub_port']}"
        joining = self.in_site.submit(edge._main, "join", "--cloud", address, "--token", token).result()
        assert joining.wait(30) == 0, edge.log


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    if not may_isolate():
        pytest.skip("network namespaces need root")
    monkeypatch.setenv("SKERRY_TRANSPORT", "quic")
    with ExitStack() as stack:
        cloud_place, site = new_namespace("cloud"), new_namespace("site")
        stack.callback(cloud_place.close)
        stack.callback(site.close)
        ip = tool("ip")
        site.run(ip, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", cloud_place.path)
        for place, address in ((cloud_place, CLOUD), (site, FIRST)):
            place.run(ip, "addr", "add", f"{address}/24", "dev", "wire")
            place.run(ip, "link", "set", "wire", "up")
        in_cloud = stack.enter_context(ThreadPoolExecutor(1, initializer=enter, initargs=(cloud_place.fd,)))
        in_site = stack.enter_context(ThreadPoolExecutor(1, initializer=enter, initargs=(site.fd,)))
        edge = EdgeProcess(data=tmp_path / "edge")
        edge.data.mkdir()
        flags = ("--bind", "0.0.0.0", "--heartbeat-s", "5", "--node-grace-s", "1")
        fleet = RealFleet(cloud=CloudProcess(data=tmp_path / "cloud", flags=flags), edge=edge)
        stack.callback(fleet.leave)
        in_cloud.submit(fleet.cloud.start).result()
        found = Places(fleet=fleet, site=site, in_cloud=in_cloud, in_site=in_site)
        found.join()
        yield found


def test_a_session_outlives_changes_of_the_gateways_address(places: Places) -> None:
    places.in_cloud.submit(_story, places).result()


def _story(places: Places) -> None:
    fleet = places.fleet
    until(lambda: fleet.find(f"{CORE}/serviceaccounts/default"), "the default service account")
    fleet.create(f"{CORE}/configmaps", config_map("greeting", "before"))
    fleet.create(f"{CORE}/pods", pod("web", "greeting"))
    model, device = boiler(list(range(READINGS)))
    fleet.create(f"{DEVICES}/devicemodels", model)
    fleet.create(f"{DEVICES}/devices", device)
    places.in_site.submit(fleet.edge.start).result()
    until(lambda: fleet.run_of("web"), "the pod to run")
    until(lambda: len(fleet.history("boiler", "level")) > 10, "readings")
    link = fleet.edge.api.request("GET", "/skerry/link").obj
    assert str_at(link, "transport") == "quic"
    for old, new in ((FIRST, SECOND), (SECOND, THIRD)):
        places.move(old, new)
        fleet.patch(f"{CORE}/configmaps/greeting", {"data": {"text": f"at {new}"}})
        until(lambda text=f"at {new}": _held(fleet) == text, f"the change to reach {new}")
        told = len(fleet.history("boiler", "level"))
        until(lambda told=told: len(fleet.history("boiler", "level")) > told, f"readings from {new}")
    after = fleet.edge.api.request("GET", "/skerry/link").obj
    assert (after["state"], after["session"]) == ("connected", link["session"])
    assert fleet.edge.log.count("link up") == 1
    assert "link down" not in fleet.edge.log
    assert fleet.cloud.log.count(f"node session opens node={NODE}") == 1
    assert fleet.ready() == "True"
    numbers = fleet.history("boiler", "level")
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "each once, in order, none lost"


def _held(fleet: RealFleet) -> str:
    return str_at(fleet.held("configmaps").get("greeting", {}), "data", "text")
