"""An unmodified kubectl of every version found does its daily work against a real `cloudcore`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.system.cloud_process import BRIEF, CloudProcess, cloud_process
from tests.system.pretended_node import pretended_node

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(240)]

_SDK = Path("/usr/lib/google-cloud-sdk/bin")
_GIVEN = os.environ.get("SKERRY_KUBECTLS", "").split(os.pathsep)
"""Further binaries to try, as a path list: versions that no package has here."""
KUBECTLS = sorted(
    {str(path) for path in _SDK.glob("kubectl.1.*")} | {path for path in (*_GIVEN, shutil.which("kubectl")) if path}
)

APP = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: c, image: "nginx:1", ports: [{containerPort: 80}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data: {a: "1"}
"""

DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: tides.sea.example.com}
spec:
  group: sea.example.com
  scope: Namespaced
  names: {plural: tides, singular: tide, kind: Tide, shortNames: [td]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}
    additionalPrinterColumns:
    - {name: Height, type: integer, jsonPath: .spec.height}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties: {height: {type: integer}, replicas: {type: integer, default: 1}}
          status: {type: object, properties: {replicas: {type: integer}}}
"""

LONE = """
apiVersion: v1
kind: Pod
metadata: {name: lone}
spec: {containers: [{name: c, image: "nginx:1", ports: [{containerPort: 80}]}]}
"""

TIDE = """
apiVersion: sea.example.com/v1
kind: Tide
metadata: {name: spring}
spec: {height: 7}
"""


@dataclass(frozen=True)
class Kubectl:
    """One binary in one namespace."""

    binary: str
    kubeconfig: Path
    home: Path
    namespace: str

    def __call__(self, *arguments: str, stdin: str = "", ok: tuple[int, ...] = (0,), **environ: str) -> str:
        done = subprocess.run(
            [self.binary, "-n", self.namespace, *arguments],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.home), **BRIEF, **environ},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode in ok, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def json(self, *arguments: str) -> Any:
        return json.loads(self("get", *arguments, "-o", "json"))


def words(text: str) -> str:
    """Without the columns, whose widths differ between versions."""
    return " ".join(text.split())


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    with cloud_process(tmp_path_factory.mktemp("kubectl") / "cloud") as made:
        made.kubectl("apply", "-f", "-", stdin=DEFINITION)
        with pretended_node(made, "pretended"):
            yield made


@pytest.fixture(params=KUBECTLS, ids=lambda path: Path(path).name)
def kubectl(request: pytest.FixtureRequest, cloud: CloudProcess, tmp_path: Path) -> Iterator[Kubectl]:
    namespace = "t-" + Path(request.param).name.replace(".", "-")
    plain = Kubectl(binary=request.param, kubeconfig=cloud.kubeconfig, home=tmp_path, namespace="default")
    plain("create", "namespace", namespace)
    yield Kubectl(binary=request.param, kubeconfig=cloud.kubeconfig, home=tmp_path, namespace=namespace)
    plain("delete", "namespace", namespace, "--timeout=30s")


def test_a_manifest_is_applied_compared_edited_patched_and_deleted(kubectl: Kubectl, tmp_path: Path) -> None:
    assert "created" in kubectl("apply", "-f", "-", stdin=APP)
    assert kubectl("apply", "-f", "-", stdin=APP).count("unchanged") == 2
    assert "replicas: 3" in kubectl("diff", "-f", "-", stdin=APP.replace("replicas: 2", "replicas: 3"), ok=(1,))
    assert kubectl("diff", "-f", "-", stdin=APP) == ""
    dry = kubectl("apply", "--dry-run=server", "-f", "-", stdin=APP.replace('"1"', '"2"'))
    assert "configmap/conf configured (server dry run)" in dry
    kubectl("label", "configmap", "conf", "tier=back")
    kubectl("annotate", "configmap", "conf", "note=one")
    kubectl("edit", "configmap", "conf", EDITOR='sed -i s/\\"1\\"/\\"9\\"/')
    assert kubectl.json("configmap", "conf")["data"] == {"a": "9"}
    kubectl("patch", "configmap", "conf", "-p", '{"data":{"b":"2"}}')
    kubectl("patch", "configmap", "conf", "--type=merge", "-p", '{"data":{"c":"3"}}')
    kubectl("patch", "configmap", "conf", "--type=json", "-p", '[{"op":"remove","path":"/data/b"}]')
    conf = kubectl.json("configmap", "conf")
    assert (conf["data"], conf["metadata"]["labels"]) == ({"a": "9", "c": "3"}, {"tier": "back"})
    manifest = tmp_path / "conf.json"
    manifest.write_text(json.dumps({**conf, "data": {"a": "0"}}))
    assert "replaced" in kubectl("replace", "-f", str(manifest))
    assert kubectl("get", "configmap", "-l", "tier=back", "-o", "name") == "configmap/conf\n"
    assert "deleted" in kubectl("delete", "-f", "-", "--wait", "--timeout=30s", stdin=APP)
    assert "NotFound" in kubectl("get", "deployment", "web", ok=(1,))


def test_a_deployment_rolls_out_scales_restarts_and_goes_back(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=APP)
    kubectl("rollout", "status", "deployment/web", "--timeout=40s")
    table = kubectl("get", "deployment,replicaset,pod", "-o", "wide")
    assert "deployment.apps/web 2/2 2 2" in words(table)
    assert table.count("Running") == 2
    kubectl("scale", "deployment", "web", "--replicas=1")
    kubectl("wait", "deployment/web", "--for=condition=Available", "--timeout=30s")
    kubectl("set", "image", "deployment/web", "c=nginx:2")
    kubectl("rollout", "status", "deployment/web", "--timeout=40s")
    assert kubectl("rollout", "history", "deployment/web").count("<none>") >= 2
    kubectl("rollout", "undo", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=40s")
    found = kubectl.json("deployment", "web")["spec"]
    assert (found["replicas"], found["template"]["spec"]["containers"][0]["image"]) == (1, "nginx:1")
    kubectl("rollout", "restart", "deployment/web")
    described = words(kubectl("describe", "deployment", "web"))
    assert "ScalingReplicaSet" in described
    assert "Image: nginx:1" in described
    kubectl("rollout", "status", "deployment/web", "--timeout=40s")
    found = [pod["metadata"] for pod in kubectl.json("pods", "-l", "app=web")["items"]]
    staying = max((pod["creationTimestamp"], pod["name"]) for pod in found if "deletionTimestamp" not in pod)[1]
    kubectl("delete", "pod", staying, "--timeout=30s")


def test_lists_come_in_pages_and_watches_as_things_happen(kubectl: Kubectl, cloud: CloudProcess) -> None:
    many = "\n---\n".join(
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{number}, labels: {{page: 'yes'}}}}"
        for number in range(25)
    )
    kubectl("create", "-f", "-", stdin=many)
    listed = kubectl("get", "configmaps", "--chunk-size=10", "-l", "page=yes", "-o", "name").split()
    assert len(listed) == len(set(listed)) == 25
    watch = subprocess.Popen(
        [kubectl.binary, "-n", kubectl.namespace, "get", "configmaps", "-l", "page=no", "--watch", "-o", "name"],
        env={**os.environ, "KUBECONFIG": str(kubectl.kubeconfig), "HOME": str(kubectl.home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    stop = threading.Timer(30, watch.kill)
    stop.start()
    try:
        kubectl("label", "configmap", "c3", "page=no", "--overwrite")
        assert watch.stdout is not None
        assert watch.stdout.readline() == "configmap/c3\n"
        watch.stdout.close()
    finally:
        stop.cancel()
        watch.kill()
        watch.wait()


def test_a_custom_kind_is_applied_explained_scaled_and_listed_with_its_columns(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=TIDE)
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=TIDE)
    assert "height" in kubectl("explain", "tides.spec")
    kubectl("scale", "tide", "spring", "--replicas=3")
    assert kubectl.json("td", "spring")["spec"] == {"height": 7, "replicas": 3}
    head, row = kubectl("get", "tides").splitlines()
    assert (head.split(), row.split()) == (["NAME", "HEIGHT"], ["spring", "7"])
    assert "Unsupported" in kubectl("patch", "tide", "spring", "-p", "{}", "--type=strategic", ok=(1,))
    kubectl("delete", "tide", "spring", "--timeout=20s")


def test_generated_objects_tokens_and_permissions_work(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "g", "--from-literal=a=b")
    kubectl("create", "secret", "generic", "s", "--from-literal=a=b")
    kubectl("create", "deployment", "d", "--image=i")
    kubectl("create", "service", "clusterip", "svc", "--tcp=80:80")
    kubectl("create", "serviceaccount", "bot")
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods")
    kubectl("create", "rolebinding", "r", "--role=reader", f"--serviceaccount={kubectl.namespace}:bot")
    bot = f"--as=system:serviceaccount:{kubectl.namespace}:bot"
    assert kubectl("auth", "can-i", "list", "pods", bot).strip() == "yes"
    assert kubectl("auth", "can-i", "delete", "pods", bot, ok=(1,)).startswith("no")
    assert "Forbidden" in kubectl("get", "secrets", bot, ok=(1,))
    assert "Resources" in kubectl("auth", "can-i", "--list")
    if " token " in kubectl("create", "--help"):  # since 1.24
        assert kubectl("create", "token", "bot").count(".") == 2
    assert "already exists" in kubectl("create", "configmap", "g", ok=(1,))
    assert "Number of desired pods" in kubectl("explain", "deployment.spec.replicas")


def test_a_field_that_nobody_knows_is_named(kubectl: Kubectl) -> None:
    wrong = dedent(
        """
        apiVersion: v1
        kind: ConfigMap
        metadata: {name: wrong}
        dataa: {a: b}
        """
    )
    assert "dataa" in kubectl("apply", "-f", "-", stdin=wrong, ok=(1,))


def test_nodes_are_listed_cordoned_and_drained(kubectl: Kubectl) -> None:
    assert "pretended" in kubectl("get", "nodes", "-o", "wide")
    kubectl("cordon", "pretended")
    try:
        assert "SchedulingDisabled" in kubectl("get", "nodes")
        assert "Unschedulable: true" in words(kubectl("describe", "node", "pretended"))
    finally:
        kubectl("uncordon", "pretended")
