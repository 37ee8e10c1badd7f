"""A global cloud and three regions, each a real cloudcore: placed, overridden, cut off, edited, deleted, healed."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from skerry.objects.conditions import condition_of
from skerry.objects.json import str_at
from tests.system.cloud_process import CloudProcess, cloud_process
from tests.system.levels import reached

pytestmark = [pytest.mark.system, pytest.mark.long]

REGIONS = ("north", "south", "west")
NAMESPACE = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: types.kubefed.io/v1beta1
kind: FederatedNamespace
metadata: {name: shop, namespace: shop}
spec: {placement: {clusterSelector: {}}}
"""
CONFIG = """
apiVersion: types.kubefed.io/v1beta1
kind: FederatedConfigMap
metadata: {name: prices, namespace: shop}
spec:
  template: {data: {currency: eur, tea: "3"}}
  placement: {clusters: [{name: north}, {name: south}]}
  overrides:
  - clusterName: south
    clusterOverrides: [{path: /data/tea, value: "4"}, {op: add, path: /data/note, value: far}]
"""

DEPLOYMENT = """
apiVersion: types.kubefed.io/v1beta1
kind: FederatedDeployment
metadata: {name: web, namespace: shop}
spec:
  template:
    metadata: {labels: {app: web}}
    spec:
      replicas: 1
      selector: {matchLabels: {app: web}}
      template:
        metadata: {labels: {app: web}}
        spec: {containers: [{name: web, image: nginx}]}
---
apiVersion: scheduling.kubefed.io/v1alpha1
kind: ReplicaSchedulingPreference
metadata: {name: web, namespace: shop}
spec:
  targetKind: FederatedDeployment
  totalReplicas: 5
  clusters: {north: {minReplicas: 1, weight: 2}, "*": {weight: 1}}
"""

PUSHED = """
apiVersion: core.kubefed.io/v1beta1
kind: KubeFedCluster
metadata: {name: plain, namespace: kube-federation-system}
spec: {apiEndpoint: "https://ENDPOINT", secretRef: {name: plain}}
"""
RATES = """
apiVersion: types.kubefed.io/v1beta1
kind: FederatedConfigMap
metadata: {name: rates, namespace: shop}
spec:
  template: {data: {vat: "19"}}
  placement: {clusters: [{name: plain}]}
"""


NODE: Any = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "gateway"},
    "status": {
        "allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"},
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}


def until(look: Callable[[], Any], *, within_s: float = 30.0) -> Any:
    """What `look` finds, once it finds something."""
    return reached(look, lambda: "", within_s=within_s)


def free_port() -> int:
    """The global cloud is dialled at the same place after a restart."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def get(cloud: CloudProcess, kind: str, name: str, namespace: str = "shop") -> Any:
    return cloud.find(kind, name, namespace)


def data(cloud: CloudProcess, name: str = "prices") -> Any:
    found = get(cloud, "configmap", name)
    return found and found["data"]


def clusters(cloud: CloudProcess, name: str = "prices") -> dict[str, Any]:
    status = get(cloud, "federatedconfigmap", name).get("status", {})
    return {each["name"]: each for each in status.get("clusters", [])}


class Federation:
    def __init__(self, base: Path, stack: ExitStack) -> None:
        self.world = stack.enter_context(cloud_process(base / "global", "--hub-port", str(free_port())))
        self.regions = {name: stack.enter_context(cloud_process(base / name)) for name in REGIONS}
        self.world.skerry("region", "init")
        for name, cloud in self.regions.items():
            token = self.world.skerry("region", "token", name, "--label", f"side={name}").strip()
            assert cloud.skerry("region", "join", self.world.hub, token).strip() == "connected"
        until(lambda: self.world.kubectl("get", "federatedconfigmaps", "-A", check=False) is not None)

    def heard(self, name: str) -> bool:
        member = get(self.world, "kubefedcluster", name, "kube-federation-system")
        conditions = {each["type"]: each["status"] for each in member.get("status", {}).get("conditions", [])}
        return conditions.get("Ready") == "True"


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    with ExitStack() as stack:
        made = Federation(tmp_path_factory.mktemp("federation"), stack)
        made.world.kubectl("apply", "-f", "-", stdin=NAMESPACE)
        made.world.kubectl("apply", "-f", "-", stdin=CONFIG)
        yield made


def test_members_have_what_placement_and_overrides_say(fed: Federation) -> None:
    until(lambda: data(fed.regions["north"]))
    until(lambda: data(fed.regions["south"]))
    assert data(fed.regions["north"]) == {"currency": "eur", "tea": "3"}
    assert data(fed.regions["south"]) == {"currency": "eur", "tea": "4", "note": "far"}
    assert data(fed.regions["west"]) is None
    told = until(lambda: (found := clusters(fed.world)) and "observedAt" in found["south"] and found)
    assert sorted(told) == ["north", "south"]
    until(lambda: get(fed.world, "federatedconfigmap", "prices")["status"]["conditions"][0]["status"] == "True")
    explained = fed.world.skerry("region", "explain", "federatedconfigmap", "prices", "-n", "shop").splitlines()
    assert [line.split()[1] for line in explained[1:4]] == ["yes", "yes", "no"]
    assert "does not name it" in explained[3]
    listed = fed.world.skerry("region", "list")
    assert all(name in listed for name in REGIONS)


def test_replicas_are_divided_among_members(fed: Federation) -> None:
    fed.world.kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    until(lambda: replicas(fed) == {"north": 3, "south": 1, "west": 1}, within_s=60)
    fed.world.kubectl("patch", "rsp", "web", "-n", "shop", "--type=merge", "-p", '{"spec":{"totalReplicas":6}}')
    until(lambda: sum(replicas(fed).values()) == 6 and replicas(fed))
    assert get(fed.world, "rsp", "web")["status"]["unplaced"] == 0


def test_what_nobody_has_room_for_is_parked_and_shown(fed: Federation) -> None:
    """`west` alone says that it has a node, with room for two; the others have none."""
    for name, cloud in fed.regions.items():
        if name == "west":
            cloud.kubectl("create", "-f", "-", stdin=json.dumps(NODE))
            heartbeat(cloud)
        cloud.stop()  # it tells of itself at once when it starts
        cloud.start()
    west = fed.regions["west"]

    def heard() -> bool:
        heartbeat(west)
        return [room["nodes"] for room in room_of(fed, "west")] == [1]

    until(heard, within_s=150)
    wanted = DEPLOYMENT.replace("name: web", "name: heavy").replace(
        "image: nginx}", 'image: nginx, resources: {requests: {cpu: "900m"}}}'
    )
    wanted = wanted.replace("north: {minReplicas: 1, weight: 2}, ", "").replace(
        "totalReplicas: 5", "totalReplicas: 2"
    )
    fed.world.kubectl("apply", "-f", "-", stdin=wanted)
    until(lambda: heartbeat(west) and get(west, "deployment", "heavy"), within_s=60)

    def placed() -> dict[str, int]:
        heartbeat(west)
        rows = get(fed.world, "rsp", "heavy").get("status", {}).get("clusters", [])
        return {each["name"]: each["replicas"] for each in rows if each["replicas"]}

    until(lambda: placed() == {"west": 2}, within_s=90)
    fed.world.kubectl("patch", "rsp", "heavy", "-n", "shop", "--type=merge", "-p", '{"spec":{"totalReplicas":5}}')

    def parked() -> int:
        heartbeat(west)
        return sum(each.get("parked", 0) for each in get(fed.world, "rsp", "heavy")["status"]["clusters"])

    until(lambda: parked() == 3, within_s=150)


def heartbeat(cloud: CloudProcess) -> Any:
    """What nobody hears of is taken for silent, also by a cloud that was just started, once its grace is over."""
    node = cloud.ask("GET", "/api/v1/nodes/gateway")
    if str_at(condition_of(node, "Ready") or {}, "status") == "True":
        return node
    media = "application/merge-patch+json"
    return cloud.ask("PATCH", "/api/v1/nodes/gateway/status", {"status": NODE["status"]}, content_type=media)


def room_of(fed: Federation, name: str) -> list[Any]:
    return get(fed.world, "kubefedcluster", name, "kube-federation-system").get("status", {}).get("room", [])


def replicas(fed: Federation) -> dict[str, int]:
    found = {name: get(cloud, "deployment", "web") for name, cloud in fed.regions.items()}
    return {name: obj["spec"]["replicas"] for name, obj in found.items() if obj}


def test_a_change_in_a_member_is_put_back_and_told(fed: Federation) -> None:
    until(lambda: data(fed.regions["north"]))
    fed.regions["north"].kubectl("patch", "configmap", "prices", "-n", "shop", "-p", '{"data":{"tea":"9"}}')
    until(lambda: data(fed.regions["north"]) == {"currency": "eur", "tea": "3"})
    drift = until(lambda: clusters(fed.world)["north"].get("drift"))
    assert (drift[0]["path"], drift[0]["found"], drift[0]["outcome"]) == ("/data/tea", '"9"', "Reverted")
    assert "DriftReverted" in fed.regions["north"].kubectl("get", "events", "-n", "shop")


def test_a_region_that_is_cut_off_goes_on_and_heals(fed: Federation) -> None:
    north, south = fed.regions["north"], fed.regions["south"]
    until(lambda: data(south))
    fed.world.stop()
    south.kubectl("patch", "configmap", "prices", "-n", "shop", "-p", '{"data":{"tea":"7"}}')
    drifted = until(lambda: json.loads(south.kubectl("get", "regionobjects", "-o", "json"))["items"])
    until(
        lambda: any(
            each.get("status", {}).get("drift")
            for each in json.loads(south.kubectl("get", "regionobjects", "-o", "json"))["items"]
        )
    )
    assert drifted
    assert data(south)["tea"] == "7", "cut off, people help themselves"
    south.stop()
    fed.world.start()
    until(lambda: fed.heard("north"), within_s=90)
    until(lambda: not fed.heard("south"), within_s=90)
    fed.world.kubectl("delete", "federatedconfigmap", "prices", "-n", "shop", "--wait=false")
    assert get(fed.world, "federatedconfigmap", "prices") is None, "nobody waits for the one that is away"
    until(lambda: data(north) is None, within_s=60)
    assert "south" in until(lambda: fed.world.skerry("region", "pending"))
    south.start()
    until(lambda: data(south) is None, within_s=90)
    until(lambda: "prices" not in fed.world.skerry("region", "pending"))


def test_what_is_there_is_federated_by_one_command_and_orphaned(fed: Federation) -> None:
    west = fed.regions["west"]
    fed.world.kubectl("create", "configmap", "rules", "-n", "shop", "--from-literal=a=b")
    fed.world.skerry("federate", "configmap", "rules", "-n", "shop")
    until(lambda: data(west, "rules") == {"a": "b"}, within_s=60)
    fed.world.kubectl("annotate", "federatedconfigmap", "rules", "-n", "shop", "kubefed.io/orphan=true")
    time.sleep(1)
    fed.world.kubectl("delete", "federatedconfigmap", "rules", "-n", "shop")
    until(lambda: "kubefed.io/managed" not in get(west, "configmap", "rules")["metadata"].get("labels", {}))
    assert data(west, "rules") == {"a": "b"}


def test_a_whole_namespace_is_federated_and_a_type_taken_out_again(fed: Federation, tmp_path: Path) -> None:
    west, world = fed.regions["west"], fed.world
    world.kubectl("create", "namespace", "cafe")
    world.kubectl("create", "configmap", "menu", "-n", "cafe", "--from-literal=tea=3")
    world.kubectl("create", "role", "reader", "-n", "cafe", "--verb=get", "--resource=pods")
    refused = world.try_skerry("federate", "namespace", "cafe", "--contents")
    assert refused.returncode != 0 and "not federated: Role: add --enable-type" in refused.stderr
    assert get(world, "federatednamespace", "cafe", "cafe") is None, "nothing was written yet"
    said = world.skerry("federate", "ns", "cafe", "--contents", "--enable-type")
    assert "federatedroles.types.kubefed.io/reader created" in said
    until(lambda: get(west, "role", "reader", "cafe"), within_s=60)
    assert get(west, "configmap", "menu", "cafe")["data"] == {"tea": "3"}
    assert get(world, "federatedconfigmap", "kube-root-ca.crt", "cafe") is None
    assert "is there already" in world.skerry("federate", "ns", "cafe", "-c")
    assert world.skerry("region", "orphaning", "status", "role", "reader", "-n", "cafe") == "Disabled\n"
    world.skerry("region", "orphaning", "enable", "federatedrole", "reader", "-n", "cafe")
    until(lambda: orphaned(world, "reader"))
    refused = world.try_skerry("region", "disable", "roles", "--delete-crd")
    assert "there is a FederatedRole reader yet" in refused.stderr
    world.kubectl("delete", "federatedrole", "reader", "-n", "cafe")
    until(lambda: "kubefed.io/managed" not in get(west, "role", "reader", "cafe")["metadata"].get("labels", {}))
    world.skerry("region", "disable", "role", "--delete-crd")
    until(lambda: "federatedroles" not in world.kubectl("api-resources", "--api-group=types.kubefed.io"))
    assert "enabled" in world.skerry("region", "enable", "roles")
    file = tmp_path / "some.yaml"
    file.write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: b}\n---\n"
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n"
    )
    printed = list(yaml.safe_load_all(world.skerry("federate", "-f", str(file))))
    assert [(each["kind"], each["metadata"]["namespace"]) for each in printed] == [
        ("FederatedConfigMap", "b"),
        ("FederatedNamespace", "b"),
    ]


def orphaned(cloud: CloudProcess, name: str) -> bool:
    """Whether every row of it would be orphaned."""
    rows = json.loads(cloud.kubectl("get", "memberobjects", "-o", "json"))["items"]
    return all(row["spec"]["orphan"] for row in rows if row["spec"]["object"]["name"] == name)


def test_a_plain_cluster_is_dialled_by_its_kubeconfig(fed: Federation, tmp_path: Path) -> None:
    with cloud_process(tmp_path / "plain") as plain:
        secret = ("create", "secret", "generic", "plain", "-n", "kube-federation-system")
        fed.world.kubectl(*secret, f"--from-file=kubeconfig={plain.kubeconfig}")
        fed.world.kubectl("apply", "-f", "-", stdin=PUSHED.replace("ENDPOINT", plain.https))
        until(lambda: fed.heard("plain"))
        fed.world.kubectl("apply", "-f", "-", stdin=RATES)
        until(lambda: data(plain, "rates") == {"vat": "19"}, within_s=60)
        until(lambda: "observedAt" in clusters(fed.world, "rates")["plain"])
        fed.world.kubectl("delete", "federatedconfigmap", "rates", "-n", "shop")
        until(lambda: data(plain, "rates") is None)
        until(lambda: "rates" not in fed.world.skerry("region", "pending"))
