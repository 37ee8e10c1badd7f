"""A region that comes back after more than a year, whose certificate ended meanwhile, and one whose clock is wrong:
real clouds that are told another time (`skerry.testkit.real.clocks`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skerry.errors import UnavailableError
from skerry.objects.times import ms_at
from skerry.testkit.real.clocks import FakedClock
from tests.system.cloud_process import CloudProcess, cloud_process
from tests.system.test_federation import free_port, until

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(300)]

DAY_S = 86_400
AWAY_S = 400 * DAY_S
"""Longer than a region's certificate is valid."""
OBJECTS = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: types.kubefed.io/v1beta1
kind: FederatedNamespace
metadata: {name: shop, namespace: shop}
spec: {placement: {clusterSelector: {}}}
---
apiVersion: types.kubefed.io/v1beta1
kind: FederatedConfigMap
metadata: {name: prices, namespace: shop}
spec:
  template: {data: {tea: "1"}}
  placement: {clusterSelector: {}}
"""


def kubectl(cloud: CloudProcess, *arguments: str, stdin: str = "") -> str:
    """Which goes by this machine's clock, and so can't judge certificates of other times."""
    return cloud.kubectl("--insecure-skip-tls-verify", *arguments, stdin=stdin)


def get(cloud: CloudProcess, kind: str, name: str) -> Any:
    text = kubectl(cloud, "get", kind, name, "-n", "shop", "-o", "json", "--ignore-not-found")
    return json.loads(text) if text.strip() else None


def merge(cloud: CloudProcess, kind: str, change: Any) -> None:
    kubectl(cloud, "patch", kind, "prices", "-n", "shop", "--type=merge", "-p", json.dumps(change))


class Pair:
    def __init__(self, world: CloudProcess, north: CloudProcess, base: Path) -> None:
        self.world, self.north = world, north
        self.clocks = {cloud.data.name: FakedClock(base / f"clock-{cloud.data.name}") for cloud in (world, north)}
        for cloud in (world, north):
            words = (f"{name}={value}" for name, value in self.clock(cloud).env.items())
            cloud.prefix = ("env", *words)

    def clock(self, cloud: CloudProcess) -> FakedClock:
        return self.clocks[cloud.data.name]

    def declare(self, tea: str) -> None:
        merge(self.world, "federatedconfigmap", {"spec": {"template": {"data": {"tea": tea}}}})

    def has(self, tea: str) -> bool:
        found = get(self.north, "configmap", "prices")
        return bool(found) and found["data"] == {"tea": tea}

    def told(self) -> Any:
        """What the global cloud shows of the region's object, once it is of the newest wish and heard."""
        status = get(self.world, "federatedconfigmap", "prices").get("status", {})
        (row,) = status.get("clusters") or [{}]
        return row if status.get("counts", {}).get("current") == 1 else None


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    base = tmp_path_factory.mktemp("clock")
    with (
        cloud_process(base / "global", "--hub-port", str(free_port())) as world,
        cloud_process(base / "north") as north,
    ):
        world.skerry("region", "init")
        north.skerry("region", "join", world.hub, world.skerry("region", "token", "north").strip())
        until(lambda: "federatedconfigmaps" in world.kubectl("api-resources", "--api-group=types.kubefed.io"))
        world.kubectl("apply", "-f", "-", stdin=OBJECTS)
        until(lambda: get(north, "configmap", "prices"))
        world.stop()
        north.stop()
        try:
            made = Pair(world, north, base)
        except UnavailableError as error:
            pytest.skip(str(error))
        yield made


def test_a_region_whose_certificate_ended_while_it_was_alone_comes_back_without_a_new_token(pair: Pair) -> None:
    for cloud in (pair.north, pair.world):
        pair.clock(cloud).step(AWAY_S)
    pair.north.start()  # alone, as it has been
    merge(pair.north, "configmap", {"data": {"tea": "9"}})
    until(lambda: "cut off" in pair.north.skerry("region", "status"), within_s=60)
    assert pair.has("9"), "people help themselves"
    pair.world.start()
    pair.declare("2")
    until(lambda: pair.has("2"), within_s=200)
    told = until(pair.told, within_s=60)
    assert abs(ms_at(told["observedAt"]) - pair.clock(pair.world).wall_ms) < DAY_S * 1000
    drift = until(lambda: (pair.told() or {}).get("drift"), within_s=60)
    assert (drift[0]["found"], drift[0]["outcome"]) == ('"9"', "Reverted"), "nothing is overwritten silently"


@pytest.mark.parametrize("off_s", [-3600, 3600, -365 * DAY_S])
def test_a_region_whose_clock_is_wrong_is_a_member_like_any_other(pair: Pair, off_s: int) -> None:
    """And what is told of it is told by the global cloud's clock."""
    if pair.world.process is None or pair.north.process is None:
        pytest.skip("the clouds are not up")
    pair.north.stop()
    pair.clock(pair.north).step(off_s)
    pair.north.start()
    try:
        pair.declare(f"off {off_s}")
        until(lambda: pair.has(f"off {off_s}"), within_s=120)
        told = until(pair.told, within_s=60)
        assert abs(ms_at(told["observedAt"]) - pair.clock(pair.world).wall_ms) < 600_000
        merge(pair.north, "configmap", {"data": {"tea": f"x{off_s}"}})
        found = f'"x{off_s}"'

        def drifted() -> Any:
            drift = (pair.told() or {}).get("drift", [])
            return next((each for each in drift if each["found"] == found), None)

        at_ms = ms_at(until(drifted, within_s=60)["at"])
        assert abs(at_ms - pair.clock(pair.world).wall_ms) < 600_000
    finally:
        pair.clock(pair.north).step(-off_s)


def test_a_global_clock_that_is_set_while_it_runs_makes_nobody_silent(pair: Pair) -> None:
    if pair.world.process is None:
        pytest.skip("the global cloud is not up")
    for off_s in (3600, -7200, 3600):
        pair.clock(pair.world).step(off_s)
        pair.declare(f"set {off_s}")
        until(lambda off_s=off_s: pair.has(f"set {off_s}"), within_s=60)
        until(pair.told, within_s=60)
    assert " yes " in pair.world.skerry("region", "list")
