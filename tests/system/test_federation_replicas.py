"""A global cloud in two replicas on one PostgreSQL: a region's session moves between them, and misses nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
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


@pytest.fixture(scope="module")
def server() -> Generator[PostgresServer]:
    with postgres_server() as found:
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
