"""Clients in pods of a container runtime, on the pods' own network: Python's library and kubectl, by nothing but what
every pod is given, with a cloud and without one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import site
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from skerry.objects.json import Json, JsonObject, str_at
from tests.system.containerd import BUSYBOX_IMAGE, Containerd, containerd_server
from tests.system.real_fleet import CORE, NODE, RealFleet, config_map, real_fleet, until
from tests.system.test_local_api import grant, said

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

FOR_PODS = "169.254.20.11"
"""By default: it becomes this machine's, and pods reach it over their gateway."""
PROGRAM = """
import json, os, time
def say(**what): print(json.dumps(what), flush=True)
from kubernetes import client, config, watch
config.load_incluster_config()
core = client.CoreV1Api()
def pods(): return [pod.metadata.name for pod in core.list_namespaced_pod("default").items]
say(host=os.environ["KUBERNETES_SERVICE_HOST"], pods=pods())
try:
    core.list_namespaced_secret("default")
except client.ApiException as error:
    say(refused=error.status, why=json.loads(error.body)["message"])
since = core.list_namespaced_config_map("default").metadata.resource_version
say(ready=True)
for event in watch.Watch().stream(core.list_namespaced_config_map, "default", resource_version=since):
    if event["object"].metadata.name == "news":
        say(event=event["type"])
        break
def write(name):
    try:
        core.create_namespaced_config_map("default", {"metadata": {"name": name}})
        return 201, ""
    except client.ApiException as error:
        return error.status, json.loads(error.body)["message"]
say(written=write("by-the-pod")[0])
while "only the cloud can do this" not in (told := write("alone"))[1]:
    time.sleep(0.3)
say(alone=told[0], left=pods())
time.sleep(1000)
"""
SHELL = """
export HOME=/tmp
while true; do
    pods=$($KUBECTL get pods -o name 2>&1 | tr '\\n' ' ')
    secrets=$($KUBECTL get secrets 2>&1 | tr -d '"\\\\' | tr '\\n' ' ')
    made=$($KUBECTL create configmap by-kubectl 2>&1 | tr -d '"\\\\' | tr '\\n' ' ')
    trust=$(md5sum < /var/run/secrets/kubernetes.io/serviceaccount/ca.crt | cut -c1-32)
    printf '{"trust": "%s", "pods": "%s", "secrets": "%s", "made": "%s"}\\n' "$trust" "$pods" "$secrets" "$made"
    sleep 2
done
"""


@pytest.fixture(scope="module")
def containerd() -> Iterator[Containerd]:
    with containerd_server(registries={"docker.io": "http://127.0.0.1:9"}) as server:
        yield server


@pytest.fixture
def fleet(containerd: Containerd, tmp_path: Path) -> Iterator[RealFleet]:
    with real_fleet(tmp_path) as made:
        made.edge.environ = {
            "SKERRY_RUNTIME": "containerd",
            "SKERRY_RUNTIME_ENDPOINT": containerd.endpoint,
            "SKERRY_CGROUP_ROOT": containerd.cgroup_root,
            "SKERRY_LOCAL_API": "auto",
        }
        yield made
    subprocess.run(["ip", "address", "del", f"{FOR_PODS}/32", "dev", "lo"], check=False)


def host_paths(*paths: str) -> tuple[list[Json], list[Json]]:
    """Volumes of the gateway's own directories, and where they are mounted: where they are."""
    volumes: list[Json] = []
    mounts: list[Json] = []
    for at, path in enumerate(dict.fromkeys(paths)):
        volumes.append({"name": f"host-{at}", "hostPath": {"path": os.path.realpath(path)}})
        mounts.append({"name": f"host-{at}", "mountPath": path, "readOnly": True})
    return volumes, mounts


def a_pod(name: str, command: list[Json], env: list[Json], *paths: str) -> JsonObject:
    volumes, mounts = host_paths(*paths)
    container: JsonObject = {
        "name": "app",
        "image": BUSYBOX_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "env": env,
        "volumeMounts": mounts,
    }
    news: JsonObject = {"name": "news", "configMap": {"name": "news", "optional": True}}
    spec: JsonObject = {
        "nodeName": NODE,
        "serviceAccountName": "app",
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [*volumes, news],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def test_clients_in_containers_find_the_api_and_go_on_without_a_cloud(
    fleet: RealFleet, containerd: Containerd
) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    fleet.create(f"{CORE}/serviceaccounts", {"kind": "ServiceAccount", "metadata": {"name": "app"}})
    grant(fleet, "reader", ("pods", "get list watch"), ("configmaps", "get list watch create"))
    fleet.edge.start()
    until(lambda: fleet.ready() == "True", "the node is ready", deadline_s=60)
    python = os.path.realpath(sys.executable)
    libraries = [*site.getsitepackages(), str(Path(python).parent.parent)]
    system = [path for path in ("/lib", "/lib64", "/usr") if Path(path).exists()]
    path: list[Json] = [{"name": "PYTHONPATH", "value": site.getsitepackages()[0]}]
    fleet.create(f"{CORE}/pods", a_pod("library", [python, "-u", "-c", dedent(PROGRAM)], path, *system, *libraries))
    binary = os.path.realpath(kubectl)
    shell: list[Json] = ["sh", "-c", SHELL]
    fleet.create(f"{CORE}/pods", a_pod("shell", shell, [{"name": "KUBECTL", "value": binary}], binary))
    until(lambda: "ready" in said(fleet, "library"), "the library has asked", deadline_s=90)
    told = said(fleet, "library")
    assert told["host"] == FOR_PODS
    assert set(told["pods"]) == {"library", "shell"}
    who = 'User "system:serviceaccount:default:app" cannot list resource "secrets" in API group ""'
    refused = f'secrets is forbidden: {who} in the namespace "default"'
    assert told["refused"] == 403 and told["why"] == refused
    fleet.create(f"{CORE}/configmaps", config_map("news", "hello"))
    until(lambda: "written" in said(fleet, "library"), "the watch has told, and a write went to the cloud")
    assert said(fleet, "library")["event"] == "ADDED" and said(fleet, "library")["written"] == 201
    assert fleet.find(f"{CORE}/configmaps/by-the-pod") is not None
    until(lambda: fleet.find(f"{CORE}/configmaps/by-kubectl") is not None, "kubectl wrote")
    trusted = str_at(fleet.find(f"{CORE}/configmaps/kube-root-ca.crt"), "data", "ca.crt")
    trust = hashlib.md5(trusted.encode()).hexdigest()
    until(lambda: said(fleet, "shell")["trust"] == trust, "the cloud's authorities are all that pods need")
    told = said(fleet, "shell")
    assert told["pods"].split() == ["pod/library", "pod/shell"]
    assert told["secrets"].strip() == f"Error from server (Forbidden): {refused}".replace('"', "")
    fleet.cloud.stop()
    until(lambda: "alone" in said(fleet, "library"), "the library is refused a write", deadline_s=60)
    assert said(fleet, "library")["alone"] == 503 and set(said(fleet, "library")["left"]) == {"library", "shell"}
    fleet.edge.stop()
    fleet.edge.start()

    def here(pod: str) -> str:
        log = fleet.edge.api.chunks(f"{CORE}/pods/{pod}/log")
        return b"".join(log).decode().strip().splitlines()[-1]

    def refused_again() -> bool:
        return "only the cloud can do this" in here("shell") and "pod/library pod/shell" in here("shell")

    until(refused_again, "kubectl reads and is refused a write, also after a restart", deadline_s=60)
    assert json.loads(here("shell"))["trust"] == trust
    (fleet.edge.data / "local-api" / "cloud.pem").unlink()  # never linked, as far as the gateway knows
    fleet.edge.stop()
    fleet.edge.start()

    def trusts_both() -> bool:
        return refused_again() and json.loads(here("shell"))["trust"] != trust

    until(trusts_both, "kubectl reads by the gateway's own authority", deadline_s=60)
    fleet.start_cloud()
    until(lambda: json.loads(here("shell"))["trust"] == trust, "the cloud has signed again", deadline_s=90)
    until(lambda: "pod/library pod/shell" in here("shell"), "kubectl reads by the cloud's authority")
