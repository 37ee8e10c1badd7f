"""The gateway's own Kubernetes API, as applications in its pods use it: with the libraries and settings that they use
in any cluster, with and without a cloud."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from skerry.errors import SkerryError
from skerry.objects.json import Json, JsonObject, map_at
from tests.system.real_fleet import CORE, NODE, RealFleet, config_map, real_fleet, until
from tests.system.test_pod_streams import KUBECTLS

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

RBAC = "/apis/rbac.authorization.k8s.io/v1"
PROGRAM = """
import json, sys, time
def say(**what): print(json.dumps(what), flush=True)
from kubernetes import client, config, watch
config.load_incluster_config()
core = client.CoreV1Api()
pods = core.list_namespaced_pod("default").items
say(pods=[pod.metadata.name for pod in pods], version=client.VersionApi().get_code().git_version)
try:
    core.list_namespaced_secret("default")
except client.ApiException as error:
    say(refused=error.status, why=json.loads(error.body)["message"])
import kr8s
say(kr8s=sorted(pod.name for pod in kr8s.get("pods", namespace="default")))
written = {}
def write(name):
    try:
        core.create_namespaced_config_map("default", {"metadata": {"name": name}})
        return 201
    except client.ApiException as error:
        written[error.status] = json.loads(error.body)["message"]
        return error.status
say(write=write("by-the-pod"))
listed = core.list_namespaced_config_map("default", limit=1)
say(first=len(listed.items), more=bool(listed.metadata._continue))
since = listed.metadata.resource_version
for event in watch.Watch().stream(core.list_namespaced_config_map, "default", resource_version=since):
    if event["object"].metadata.name == "news":
        say(event=event["type"], text=event["object"].data["text"])
        break
# While the cloud stops it says that itself, with the same code.
while (code := write("alone")) != 503 or "only the cloud can do this" not in written[503]:
    time.sleep(0.2)
say(alone=code, why=written[503], pods=len(core.list_namespaced_pod("default").items))
time.sleep(1000)
"""


def a_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealFleet]:
    with real_fleet(tmp_path_factory.mktemp("local-api")) as made:
        made.edge.environ["SKERRY_LOCAL_API"] = f"127.0.0.1:{a_port()}"
        yield made


def grant(fleet: RealFleet, name: str, *rules: tuple[str, str]) -> None:
    """A Role with these resources and verbs, given to the ServiceAccount `app`."""
    written: list[Json] = [
        {"apiGroups": [""], "resources": [resource], "verbs": [*verbs.split()]} for resource, verbs in rules
    ]
    role = f"{RBAC}/namespaces/default"
    fleet.create(f"{role}/roles", {"kind": "Role", "metadata": {"name": name}, "rules": written})
    binding: JsonObject = {
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": "app", "namespace": "default"}],
    }
    fleet.create(f"{role}/rolebindings", binding)


WIDGETS: JsonObject = {
    "metadata": {"name": "widgets.acme.example"},
    "spec": {
        "group": "acme.example",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wd"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
            }
        ],
    },
}


def grant_of(fleet: RealFleet, name: str, group: str, resource: str, verbs: str) -> None:
    """The same, of another group."""
    role = f"{RBAC}/namespaces/default"
    rule: JsonObject = {"apiGroups": [group], "resources": [resource], "verbs": [*verbs.split()]}
    fleet.create(f"{role}/roles", {"kind": "Role", "metadata": {"name": name}, "rules": [rule]})
    binding: JsonObject = {
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": "app", "namespace": "default"}],
    }
    fleet.create(f"{role}/rolebindings", binding)


def program_pod(name: str, program: str) -> JsonObject:
    container: JsonObject = {"name": "app", "image": "sh", "command": [sys.executable, "-u", "-c", program]}
    spec: JsonObject = {
        "nodeName": NODE,
        "serviceAccountName": "app",
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [{"name": "news", "configMap": {"name": "news", "optional": True}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def said(fleet: RealFleet, pod: str) -> dict[str, Any]:
    """All that the program has told so far."""
    try:
        text = b"".join(fleet.edge.api.chunks(f"{CORE}/pods/{pod}/log")).decode()
    except (SkerryError, OSError):
        return {}
    found: dict[str, Any] = {}
    for line in text.splitlines():
        if line.startswith("{"):
            found |= json.loads(line)
    assert "Traceback" not in text, text
    return found


def test_libraries_in_a_pod_find_the_api_and_go_on_without_a_cloud(fleet: RealFleet) -> None:
    fleet.create(f"{CORE}/serviceaccounts", {"kind": "ServiceAccount", "metadata": {"name": "app"}})
    grant(fleet, "reader", ("pods", "get list watch"), ("configmaps", "get list watch create"))
    fleet.create(f"{CORE}/configmaps", config_map("other", "x"))
    fleet.edge.start()
    until(lambda: fleet.ready() == "True", "the node is ready")
    fleet.create(f"{CORE}/pods", program_pod("asks", dedent(PROGRAM)))
    until(lambda: "first" in said(fleet, "asks"), "the program has asked", deadline_s=60)
    told = said(fleet, "asks")
    assert told["pods"] == told["kr8s"] == ["asks"]
    assert told["version"].startswith("v1.36")
    assert told["refused"] == 403
    assert told["why"] == (
        'secrets is forbidden: User "system:serviceaccount:default:app" cannot list resource "secrets" in API group '
        '"" in the namespace "default"'
    )
    assert told["write"] == 201, "the cloud was asked, in the pod's name"
    assert fleet.find(f"{CORE}/configmaps/by-the-pod") is not None
    assert told["first"] == 1
    fleet.create(f"{CORE}/configmaps", config_map("news", "hello"))
    until(lambda: "event" in said(fleet, "asks"), "the watch has told")
    assert said(fleet, "asks")["event"] == "ADDED"
    fleet.cloud.stop()
    until(lambda: "alone" in said(fleet, "asks"), "the write is refused", deadline_s=60)
    told = said(fleet, "asks")
    assert told["pods"] == 1
    assert "only the cloud can do this" in told["why"]


def test_kubectl_works_against_the_gateway_with_a_pods_token(fleet: RealFleet, tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    fleet.create(f"{CORE}/serviceaccounts", {"kind": "ServiceAccount", "metadata": {"name": "app"}})
    grant(fleet, "reader", ("pods", "get list watch"), ("pods/log", "get"))
    fleet.edge.start()
    until(lambda: fleet.ready() == "True", "the node is ready")
    token_file = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    show = f"import time; print(open('{token_file}').read()); time.sleep(1000)"
    fleet.create(f"{CORE}/pods", program_pod("shows", show))
    log = f"{CORE}/pods/shows/log"

    def token() -> str:
        try:
            return b"".join(fleet.edge.api.chunks(log)).decode().strip()
        except (SkerryError, OSError):
            return ""

    until(lambda: token().count(".") == 2, "the pod has its token")
    until(lambda: "local API on TCP" in fleet.edge.log, "the API is served")

    def ask(*arguments: str, bearer: str = "") -> str:
        done = subprocess.run(
            [
                kubectl,
                f"--server=https://{fleet.edge.environ['SKERRY_LOCAL_API']}",
                f"--certificate-authority={fleet.edge.data / 'local-api' / 'ca.crt'}",
                f"--token={bearer or token()}",
                *arguments,
            ],
            env={**os.environ, "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "none")},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout + done.stderr

    for _ in range(2):
        assert "shows" in ask("get", "pods")
        assert ask("get", "pods", "-o", "name", "--field-selector=spec.nodeName=none").strip() == ""
        assert token() in ask("logs", "shows")
        assert "Forbidden" in ask("get", "configmaps")
        assert "You must be logged in" in ask("get", "pods", bearer="x.y.z")
        if fleet.cloud.process is not None:
            fleet.cloud.stop()


def kubeconfig_of(fleet: RealFleet, path: Path, token: str) -> Path:
    """As somebody on the gateway writes one."""
    cluster: JsonObject = {
        "server": f"https://{fleet.edge.environ['SKERRY_LOCAL_API']}",
        "certificate-authority": str(fleet.edge.data / "local-api" / "ca.crt"),
    }
    config: JsonObject = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "gateway", "cluster": cluster}],
        "users": [{"name": "app", "user": {"token": token}}],
        "contexts": [{"name": "gateway", "context": {"cluster": "gateway", "user": "app"}}],
        "current-context": "gateway",
    }
    path.write_text(json.dumps(config))
    return path


def test_kubectl_prints_explains_waits_and_watches_as_against_any_cluster(fleet: RealFleet, tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    fleet.create(f"{CORE}/serviceaccounts", {"kind": "ServiceAccount", "metadata": {"name": "app"}})
    grant(fleet, "reader", ("pods", "get list watch"), ("configmaps", "get list watch"))
    fleet.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", WIDGETS)
    grant_of(fleet, "widgets", "acme.example", "widgets", "get list")
    fleet.edge.start()
    until(lambda: fleet.ready() == "True", "the node is ready")
    token_file = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    show = f"import time; print(open('{token_file}').read()); time.sleep(1000)"
    fleet.create(f"{CORE}/pods", program_pod("shows", show))
    widget: JsonObject = {"apiVersion": "acme.example/v1", "kind": "Widget", "metadata": {"name": "w1"}}
    fleet.create("/apis/acme.example/v1/namespaces/default/widgets", {**widget, "spec": {"size": 7}})

    def token() -> str:
        try:
            return b"".join(fleet.edge.api.chunks(f"{CORE}/pods/shows/log")).decode().strip()
        except (SkerryError, OSError):
            return ""

    until(lambda: token().count(".") == 2, "the pod has its token")
    config = kubeconfig_of(fleet, tmp_path / "config", token())
    environ = {**os.environ, "HOME": str(tmp_path), "KUBECONFIG": str(config)}

    def ask(*arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [kubectl, *arguments], env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    until(lambda: "local API on TCP" in fleet.edge.log, "the API is served")
    assert "v1.36" in ask("version")
    assert "FIELDS:" in ask("explain", "pod.spec.containers"), "schemas come from the cloud"
    assert ask("get", "widgets").split() == ["NAME", "SIZE", "w1", "7"], "a kind that somebody defined in the cloud"
    assert ask("get", "wd/w1", "-o", "name").strip() == "widget.acme.example/w1"
    assert "cannot list resource" in ask("get", "deploy", code=1), "kinds are known, and roles decide"
    for _ in range(2):
        rows = ask("get", "pods", "-o", "wide").splitlines()
        assert rows[0].split()[:6] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP"]
        assert rows[1].split()[:3] == ["shows", "1/1", "Running"]
        assert "condition met" in ask("wait", "--for=condition=Ready", "pod/shows", "--timeout=20s")
        assert "Image:" in ask("describe", "pod", "shows")
        assert {"pods", "configmaps", "devices"} <= {line.split()[0] for line in ask("api-resources").splitlines()}
        assert "REQUIRED" in ask("explain", "pod.spec.containers").upper()
        assert "NotFound" in ask("get", "pod", "other", code=1)
        shown = json.loads(ask("get", "--raw", "/api/v1/namespaces/default/pods?limit=1"))
        assert shown["kind"] == "PodList"
        assert "apiVersion: v1" in ask("get", "pod", "shows", "-o", "yaml")
        with subprocess.Popen(
            [kubectl, "get", "pods", "-w", "-o", "name"], env=environ, stdout=subprocess.PIPE, text=True
        ) as watching:
            assert watching.stdout is not None
            assert watching.stdout.readline().strip() == "pod/shows"
            watching.terminate()
        if fleet.cloud.process is not None:
            fleet.cloud.stop()
    fleet.edge.stop()
    fleet.edge.start()
    assert "shows" in ask("get", "pods"), "and after a restart without a cloud"


def test_prometheus_scrapes_the_gateway_with_a_pods_token(fleet: RealFleet, tmp_path: Path) -> None:
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("prometheus is not installed")
    fleet.create(f"{CORE}/serviceaccounts", {"kind": "ServiceAccount", "metadata": {"name": "app"}})
    rules: list[Json] = [{"apiGroups": [""], "resources": ["nodes/metrics", "nodes/stats"], "verbs": ["get"]}]
    fleet.create(f"{RBAC}/clusterroles", {"kind": "ClusterRole", "metadata": {"name": "scraper"}, "rules": rules})
    binding: JsonObject = {
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "scraper"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "scraper"},
        "subjects": [{"kind": "ServiceAccount", "name": "app", "namespace": "default"}],
    }
    fleet.create(f"{RBAC}/clusterrolebindings", binding)
    fleet.edge.start()
    until(lambda: fleet.ready() == "True", "the node is ready")
    token_file = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    show = f"import time; print(open('{token_file}').read(), flush=True); time.sleep(1000)"
    fleet.create(f"{CORE}/pods", program_pod("shows", show))

    def token() -> str:
        try:
            return b"".join(fleet.edge.api.chunks(f"{CORE}/pods/shows/log")).decode().strip()
        except (SkerryError, OSError):
            return ""

    until(lambda: token().count(".") == 2, "the pod has its token")
    until(lambda: "local API on TCP" in fleet.edge.log, "the API is served")
    summary = fleet.edge.api.request("GET", "/stats/summary").obj
    pods: Any = summary["pods"]
    (shown,) = [pod for pod in pods if pod["podRef"]["name"] == "shows"]
    assert shown["containers"][0]["memory"]["workingSetBytes"] > 0
    target = fleet.edge.environ["SKERRY_LOCAL_API"]
    jobs: list[Json] = [
        {
            "job_name": path.strip("/").replace("/", "-"),
            "scheme": "https",
            "metrics_path": path,
            "authorization": {"credentials": token()},
            "tls_config": {"ca_file": str(fleet.edge.data / "local-api" / "ca.crt"), "server_name": "kubernetes"},
            "static_configs": [{"targets": [target]}],
        }
        for path in ("/metrics", "/metrics/resource", "/metrics/cadvisor")
    ]
    config = tmp_path / "prometheus.yml"
    config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))
    address = f"127.0.0.1:{a_port()}"
    with subprocess.Popen(
        [
            prometheus,
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'db'}",
            f"--web.listen-address={address}",
        ],
        stderr=subprocess.DEVNULL,
    ) as running:
        try:

            def asked(query: str) -> list[Any]:
                try:
                    with urlopen(f"http://{address}/api/v1/query?{urlencode({'query': query})}", timeout=5) as answer:
                        return json.load(answer)["data"]["result"]
                except OSError:
                    return []

            until(lambda: len(asked("up == 1")) == 3, "all three are scraped", deadline_s=60)
            until(lambda: asked('container_memory_working_set_bytes{pod="shows"} > 0'), "a container is told of")
            assert asked("skerry_link_connected == 1") and asked("kubelet_running_pods == 1")
            assert asked("process_resident_memory_bytes > 1e7")
        finally:
            running.terminate()


@pytest.mark.parametrize("binary", KUBECTLS, ids=lambda path: Path(path).name + str(len(path)))
def test_kubectl_of_any_age_enters_copies_and_forwards_at_the_gateway_without_a_cloud(
    fleet: RealFleet, tmp_path: Path, binary: str
) -> None:
    fleet.create(f"{CORE}/serviceaccounts", {"kind": "ServiceAccount", "metadata": {"name": "app"}})
    rights = [("pods", "get list"), ("pods/exec", "create get"), ("pods/attach", "create get")]
    grant(fleet, "enters", *rights, ("pods/portforward", "create get"))
    fleet.edge.start()
    until(lambda: fleet.ready() == "True", "the node is ready")
    port = a_port()
    serve = f"""
    import http.server, json, os, threading
    print(json.dumps(dict(token=open("/var/run/secrets/kubernetes.io/serviceaccount/token").read())), flush=True)
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200); self.send_header("Content-Length", "5"); self.end_headers()
            self.wfile.write(b"hello")
        def log_message(self, *args): pass
    http.server.HTTPServer(("127.0.0.1", {port}), Answer).serve_forever()
    """
    fleet.create(f"{CORE}/pods", program_pod("serves", dedent(serve)))
    until(lambda: "token" in said(fleet, "serves"), "the pod has its token")
    until(lambda: "local API on TCP" in fleet.edge.log, "the API is served")
    config = kubeconfig_of(fleet, tmp_path / "config", said(fleet, "serves")["token"])
    environ = {**os.environ, "HOME": str(tmp_path), "KUBECONFIG": str(config)}
    fleet.cloud.stop()

    def kubectl(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([binary, *arguments], env=environ, input=given, capture_output=True, timeout=60)

    done = kubectl("exec", "-i", "serves", "--", "sh", "-c", "cat; echo oops >&2; exit 3", given=b"x" * 500_000)
    assert (done.returncode, done.stdout) == (3, b"x" * 500_000), done.stderr
    assert b"oops" in done.stderr
    (tmp_path / "sent").write_bytes(os.urandom(300_000))
    there = tmp_path / "there"
    done = kubectl("cp", str(tmp_path / "sent"), f"default/serves:{there}")
    assert done.returncode == 0 and there.read_bytes() == (tmp_path / "sent").read_bytes(), done.stderr
    own = a_port()
    forward = [binary, "port-forward", "pod/serves", f"{own}:{port}", f"{a_port()}:1"]
    with subprocess.Popen(forward, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"Forwarding"), process.communicate()
        for _ in range(3):
            with urlopen(f"http://127.0.0.1:{own}/", timeout=20) as answer:
                assert answer.read() == b"hello"
        process.terminate()
        process.communicate(timeout=20)


def test_events_and_annotations_wait_through_a_power_cut_and_arrive_with_who_wrote_them(
    fleet: RealFleet, tmp_path: Path
) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    fleet.create(f"{CORE}/serviceaccounts", {"kind": "ServiceAccount", "metadata": {"name": "app"}})
    grant(fleet, "writes", ("pods", "get list patch"), ("events", "create"), ("configmaps", "create"))
    fleet.edge.start()
    until(lambda: fleet.ready() == "True", "the node is ready")
    tell = """
    import json, time
    print(json.dumps(dict(token=open("/var/run/secrets/kubernetes.io/serviceaccount/token").read())), flush=True)
    time.sleep(1000)
    """
    fleet.create(f"{CORE}/pods", program_pod("works", dedent(tell)))
    until(lambda: "token" in said(fleet, "works"), "the pod has its token")
    until(lambda: "local API on TCP" in fleet.edge.log, "the API is served")
    config = kubeconfig_of(fleet, tmp_path / "config", said(fleet, "works")["token"])
    environ = {**os.environ, "HOME": str(tmp_path), "KUBECONFIG": str(config)}

    def run(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [kubectl, *arguments], env=environ, input=given, capture_output=True, text=True, timeout=60
        )

    done = run("annotate", "pod", "works", "app/phase=0", "app/both=0")
    assert done.returncode == 0, done.stderr
    until(lambda: "app/both" in json.dumps(fleet.edge.api.request("GET", f"{CORE}/pods/works").obj), "it came down")
    fleet.cloud.stop()
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "works.1", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": "works", "namespace": "default"},
        "reason": "Calibrated",
        "message": "by hand",
    }

    def kept() -> bool:
        return run("annotate", "--overwrite", "pod", "works", "app/phase=1", "app/both=1").returncode == 0

    until(kept, "the link is lost, and the write kept")
    written = run("create", "--validate=false", "-f", "-", given=json.dumps(event))
    assert written.returncode == 0 and "kept on this gateway" in written.stderr, written.stderr
    refused = run("create", "configmap", "no")
    assert refused.returncode == 1 and "only the cloud can do this" in refused.stderr
    refused = run("label", "pod", "works", "a=b")
    assert refused.returncode == 1 and "only the cloud can do this" in refused.stderr
    fleet.edge.stop(signal.SIGKILL)
    fleet.edge.start()
    shown = subprocess.run(
        [sys.executable, "-m", "skerry.cli.main", "--data", str(fleet.edge.data), "node", "backlog"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "system:serviceaccount:default:app" in shown.stdout and "Calibrated: by hand" in shown.stdout, shown
    fleet.edge.stop(signal.SIGKILL)
    fleet.start_cloud()
    pod = fleet.find(f"{CORE}/pods/works")
    assert pod is not None
    fleet.patch(f"{CORE}/pods/works", {"metadata": {"annotations": {"app/both": "cloud"}}})
    fleet.edge.start()

    def annotations() -> JsonObject:
        found = fleet.find(f"{CORE}/pods/works") or {}
        return map_at(found, "metadata", "annotations")

    until(lambda: annotations().get("app/phase") == "1", "the annotation arrived", deadline_s=60)
    assert annotations()["app/both"] == "cloud", "what was changed in the cloud meanwhile stays"
    arrived = fleet.find(f"{CORE}/events/works.1")
    assert arrived is not None
    by = map_at(arrived, "metadata", "annotations")["skerry.dev/written-by"]
    assert by == "system:serviceaccount:default:app" and arrived["message"] == "by hand"
    events = fleet.cloud.kubectl("get", "events", "-o", "wide")
    assert "changed in the cloud meanwhile, and left as they are: app/both" in events
