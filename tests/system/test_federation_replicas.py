"""A global cloud in two replicas on one PostgreSQL: a region's session moves between them, and misses nothing; a
rollout whose leader is killed goes on where it was."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.postgres_server import PostgresServer, postgres_server
from tests.system.cloud_process import CloudProcess, cloud_process
from tests.system.real_fleet import until as until_level
from tests.system.several_clouds import SeveralClouds, leader_of, several_clouds
from tests.system.test_federation import get, until

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(600)]

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
  placement: {clusterSelector: {}}
  template: {data: {turn: "0"}}
"""


SECRET = """
apiVersion: skerry.dev/v1
kind: RolloutPolicy
metadata: {name: careful, namespace: shop}
spec:
  targets: [{kind: FederatedSecret}]
  waves:
  - {name: canary, clusters: [{name: north}], minSucceeded: 1}
  - {name: second, clusters: [{name: south}], minSucceeded: 1}
  minReadySeconds: 1
---
apiVersion: types.kubefed.io/v1beta1
kind: FederatedSecret
metadata: {name: key, namespace: shop}
spec:
  placement: {clusterSelector: {}}
  template: {data: {key: "S0VZMA=="}}
"""
WHAT = "federatedsecret/key"


@pytest.fixture(scope="module")
def server() -> Generator[PostgresServer]:
    with postgres_server(durable=False) as found:
        yield found


@pytest.fixture
def clouds(server: PostgresServer, tmp_path: Path) -> Generator[SeveralClouds]:
    with several_clouds(tmp_path, server, count=2) as found:
        until_level(lambda: leader_of(found), "one leads")
        yield found


def is_heard(cloud: CloudProcess) -> bool:
    member = get(cloud, "kubefedcluster", "north", "kube-federation-system") or {}
    conditions = member.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def write(cloud: CloudProcess, turn: int) -> None:
    change = {"spec": {"template": {"data": {"turn": str(turn)}}}}
    cloud.kubectl("patch", "federatedconfigmap", "prices", "-n", "shop", "--type=merge", "-p", json.dumps(change))


def has(region: CloudProcess, turn: int) -> bool:
    found: Any = get(region, "configmap", "prices")
    return bool(found) and found["data"] == {"turn": str(turn)}


def is_told(cloud: CloudProcess, turn: int) -> bool:
    """The region has said that it has the newest."""
    rows = json.loads(cloud.kubectl("get", "memberobjects", "-o", "json"))["items"]
    mine = [row for row in rows if row["spec"]["object"]["kind"] == "ConfigMap"]
    return any(
        row.get("status", {}).get("revision") == row["spec"]["revision"]
        and row["spec"]["manifest"]["data"] == {"turn": str(turn)}
        for row in mine
    )


def test_a_region_goes_on_at_another_replica_whichever_ends(clouds: SeveralClouds, tmp_path: Path) -> None:
    one, other = clouds.replicas
    with cloud_process(tmp_path / "north") as north:
        one.skerry("region", "init")
        token = one.skerry("region", "token", "north").strip()
        north.skerry("region", "join", f"{one.hub},{other.hub}", token)
        until(lambda: "federatedconfigmaps" in one.kubectl("api-resources", "--api-group=types.kubefed.io"))
        one.kubectl("apply", "-f", "-", stdin=OBJECTS)
        until(lambda: has(north, 0), within_s=90)
        for turn, (gone, left) in enumerate([(one, other), (other, one)], 1):
            write(left, 10 * turn)  # through a replica that may not have the session
            until(lambda turn=turn: has(north, 10 * turn), within_s=60)
            clouds.kill(gone)
            write(left, turn)
            until(lambda turn=turn: has(north, turn), within_s=120)
            until(lambda left=left, turn=turn: is_told(left, turn), within_s=60)
            until(lambda left=left: is_heard(left), within_s=60)
            clouds.start(gone)
            until_level(lambda: leader_of(clouds), "one leads", deadline_s=60)
        time.sleep(16)  # longer than the grace after which somebody without a session might say that it is silent
        assert is_heard(one)
        assert is_heard(other)


def rewrite(cloud: CloudProcess, turn: int) -> None:
    template = {"spec": {"template": {"data": {"key": base64.b64encode(f"KEY{turn}".encode()).decode()}}}}
    cloud.kubectl("patch", "federatedsecret", "key", "-n", "shop", "--type=merge", "-p", json.dumps(template))


def turn_of(region: CloudProcess) -> int:
    """Of the Secret that it has; -1 for none."""
    found: Any = get(region, "secret", "key")
    return int(base64.b64decode(found["data"]["key"]).decode().removeprefix("KEY")) if found else -1


def revisions(cloud: CloudProcess) -> list[Any]:
    found = json.loads(cloud.kubectl("get", "federatedrevisions", "-n", "shop", "-o", "json"))["items"]
    return sorted(found, key=lambda each: each["spec"]["revision"])


def is_everywhere(cloud: CloudProcess, number: int) -> bool:
    newest = revisions(cloud)[-1:]
    return any(
        each["spec"]["revision"] == number and each.get("status", {}).get("outcome") == "Complete" for each in newest
    )


def test_a_rollout_goes_on_when_its_leader_is_killed_and_skips_no_wave(clouds: SeveralClouds, tmp_path: Path) -> None:
    one, other = clouds.replicas
    with ExitStack() as stack:
        names = ("north", "south", "west")
        regions = {name: stack.enter_context(cloud_process(tmp_path / name)) for name in names}
        one.skerry("region", "init")
        for name, region in regions.items():
            token = one.skerry("region", "token", name).strip()
            region.skerry("region", "join", f"{one.hub},{other.hub}", token)
        until(lambda: "federatedsecrets" in one.kubectl("api-resources", "--api-group=types.kubefed.io"))
        one.kubectl("apply", "-f", "-", stdin=OBJECTS + "---" + SECRET)
        until(lambda: [turn_of(each) for each in regions.values()] == [0, 0, 0], within_s=120)
        until(lambda: is_everywhere(other, 1), within_s=90)
        for turn in (1, 2):
            leader = until(lambda: leader_of(clouds), within_s=60)
            left = other if leader is one else one
            rewrite(left, turn)
            until(lambda turn=turn: turn_of(regions["north"]) == turn, within_s=60)
            clouds.kill(leader)  # after the first wave has begun, and before the last one has
            seen: set[tuple[int, ...]] = set()

            def goes_on(turn: int = turn, left: CloudProcess = left, seen: set[tuple[int, ...]] = seen) -> bool:
                has = tuple(turn_of(each) for each in regions.values())
                seen.add(has)
                return has == (turn, turn, turn) and is_everywhere(left, turn + 1)

            until(goes_on, within_s=180)
            assert all(list(has) == sorted(has, reverse=True) for has in seen), f"wave after wave: {seen}"
            clouds.start(leader)
        kept = revisions(one)
        assert [each["spec"]["revision"] for each in kept] == [1, 2, 3], "none is doubled"
        assert [each["status"]["phase"] for each in kept] == ["Complete"] * 3
        assert "S0VZ" not in json.dumps(kept), "who may read revisions reads no Secret"
        started = json.loads(one.kubectl("get", "events", "-n", "shop", "-o", "json"))["items"]
        waves = [each["message"] for each in started if each["reason"] == "WaveStarted"]
        assert len(waves) == len(set(waves)), "no wave begins twice"
        rows = json.loads(one.kubectl("get", "memberobjects", "-o", "json"))["items"]
        mine = [row["spec"]["member"] for row in rows if row["spec"]["object"]["kind"] == "Secret"]
        assert sorted(mine) == ["north", "south", "west"], "a row for each member, and no more"
        one.skerry("rollout", "undo", WHAT, "-n", "shop")
        until(lambda: [turn_of(each) for each in regions.values()] == [1, 1, 1], within_s=120)
