"""A federation whose global cloud changes under it: its authority, and the replica that a region is connected to."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from skerry.errors import SkerryError
from tests.postgres_server import postgres_server
from tests.system.cloud_process import CloudProcess, cloud_process
from tests.system.several_clouds import several_clouds
from tests.system.test_federation import free_port, until

pytestmark = pytest.mark.system

SYSTEM = "kube-federation-system"
OBJECTS = """
apiVersion: types.kubefed.io/v1beta1
kind: FederatedNamespace
metadata: {name: default, namespace: default}
spec: {placement: {clusterSelector: {}}}
---
apiVersion: types.kubefed.io/v1beta1
kind: FederatedConfigMap
metadata: {name: prices, namespace: default}
spec: {template: {data: {tea: "3"}}, placement: {clusterSelector: {}}}
"""


def ca(cloud: CloudProcess, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cloudcore.main", "ca", words[0], "--data", str(cloud.data), *words[1:]]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def membership(region: CloudProcess) -> dict[str, str]:
    secret = json.loads(region.kubectl("get", "secret", "skerry-region-membership", "-n", SYSTEM, "-o", "json"))
    return {name: base64.b64decode(text).decode() for name, text in secret["data"].items()}


def conditions(cloud: CloudProcess, member: str) -> dict[str, str]:
    try:
        found: Any = cloud.find("kubefedcluster", member, SYSTEM) or {}
    except (SkerryError, OSError):
        return {}
    return {each["type"]: each["status"] for each in found.get("status", {}).get("conditions", [])}


def tea(region: CloudProcess) -> Any:
    found: Any = region.find("configmap", "prices", "default")
    return found["data"]["tea"] if found else None


def test_a_region_follows_a_change_of_authority_and_renews_within_its_session(tmp_path: Path) -> None:
    with (
        cloud_process(tmp_path / "global", "--hub-port", str(free_port())) as world,
        cloud_process(tmp_path / "north") as north,
    ):
        world.skerry("region", "init")
        token = world.skerry("region", "token", "north").strip()
        assert north.skerry("region", "join", world.hub, token).strip() == "connected"
        old = ca(world, "list").stdout.splitlines()[1].split()[0]
        hub = world.hub
        assert ca(world, "rotate").returncode == 0
        refused = ca(world, "retire", old)
        assert (refused.returncode, "region/north" in refused.stderr) == (1, True), refused.stderr
        world.stop()
        world.flags = ("--hub-port", hub.rpartition(":")[2])
        world.start()
        before = membership(north)["certificate"]
        until(lambda: membership(north)["certificate"] != before, within_s=90)
        until(lambda: ca(world, "retire", old).returncode == 0, within_s=60)
        world.stop()
        world.start()
        until(lambda: conditions(world, "north").get("Ready") == "True", within_s=60)

        before = membership(north)["certificate"]
        soon = json.dumps({"data": {"renew-after-ms": base64.b64encode(b"1").decode()}})
        north.kubectl("patch", "secret", "skerry-region-membership", "-n", SYSTEM, "--type=merge", "-p", soon)
        until(lambda: membership(north)["certificate"] != before, within_s=60)
        until(lambda: north.skerry("region", "status").startswith("connected"), within_s=60)


@pytest.mark.long
def test_a_region_moves_between_replicas_of_the_global_cloud_and_nobody_takes_it_for_silent(tmp_path: Path) -> None:
    with (
        postgres_server(durable=False) as server,
        several_clouds(tmp_path, server, "--node-grace-s", "4", "--heartbeat-s", "2") as clouds,
        cloud_process(tmp_path / "north") as north,
    ):
        one, two = clouds.replicas
        one.skerry("region", "init")
        token = one.skerry("region", "token", "north").strip()
        assert north.skerry("region", "join", f"{one.hub},{two.hub}", token).strip() == "connected"
        until(lambda: "error" not in one.kubectl("apply", "-f", "-", stdin=OBJECTS, check=False))
        until(lambda: tea(north) == "3")
        since = ready_since(two)
        end_s = time.monotonic() + 20  # longer than the grace of a hub that does not have its session
        while time.monotonic() < end_s:
            assert [conditions(cloud, "north")["Ready"] for cloud in (one, two)] == ["True", "True"]
            time.sleep(0.5)
        clouds.kill(one)
        two.kubectl(
            "patch",
            "federatedconfigmap",
            "prices",
            "--type=merge",
            "-p",
            '{"spec":{"template":{"data":{"tea":"5"}}}}',
        )
        until(lambda: tea(north) == "5", within_s=60)
        assert ready_since(two) == since, "it moved within the grace"
        north.stop()
        until(lambda: conditions(two, "north").get("Ready") == "False", within_s=60)
        clouds.start(one)
        north.start()
        until(lambda: conditions(one, "north").get("Ready") == "True", within_s=60)


def ready_since(cloud: CloudProcess) -> str:
    member = json.loads(cloud.kubectl("get", "kubefedcluster", "north", "-n", SYSTEM, "-o", "json"))
    return next(each["lastTransitionTime"] for each in member["status"]["conditions"] if each["type"] == "Ready")
