"""Cases of Kubernetes' conformance suite in which a pod goes through something, mirrored on containerd.

What a container sees of itself is in `test_containerd_from_inside`; each test here names the cases that it mirrors.
All pods that can be are made at once, and one watch keeps every state in which the cloud has shown them.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import pytest

from skerry.errors import SkerryError
from skerry.objects.conditions import find_condition
from skerry.objects.json import Json, JsonObject, bool_at, int_at, map_at, maps_at, str_at
from skerry.objects.meta import generation_of, name_of
from skerry.objects.times import parse_time
from tests.system.containerd import BUSYBOX_IMAGE, Containerd, containerd_server, until
from tests.system.real_fleet import CORE, NODE, RealFleet, real_fleet
from tests.system.test_kubectl_debug import kubectl

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(400),
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl"),
]
HOLDS = "trap 'exit 0' TERM; while :; do sleep 0.2; done"
COUNTS = """
count=$(echo hello >> /count/f; wc -l < /count/f)
if [ $count -eq 1 ]; then exit 1; fi
if [ $count -eq 2 ]; then exit 0; fi
trap 'exit 0' TERM; while :; do sleep 0.2; done
"""
SERVES = "read line; echo $line > /proc/1/fd/1; printf 'HTTP/1.0 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok'"
"""One request, told in the log."""


def box(script: str = HOLDS, name: str = "app", **more: Json) -> JsonObject:
    made: JsonObject = {
        "name": name,
        "image": BUSYBOX_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", script],
    }
    return {**made, **more}


def pod(name: str, *containers: JsonObject, **spec: Json) -> JsonObject:
    made: JsonObject = {
        "nodeName": NODE,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 5,
        "containers": [*containers],
    }
    metadata: JsonObject = {"name": name, "labels": {"key": "value1"}, "annotations": {"builder": "bar"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**made, **spec}}


def counting(policy: str) -> JsonObject:
    room: JsonObject = {"name": "count", "emptyDir": {"medium": "Memory"}}
    container = box(COUNTS, volumeMounts=[{"name": "count", "mountPath": "/count"}])
    return pod(f"counts-{policy.lower()}", container, restartPolicy=policy, volumes=[room])


def initialized(name: str, policy: str, second: str) -> JsonObject:
    inits: list[Json] = [box("exit 0", "init1"), box(second, "init2")]
    return pod(name, box(HOLDS if policy == "Always" else "exit 0"), initContainers=inits, restartPolicy=policy)


def expanding(name: str, value: str) -> JsonObject:
    room: JsonObject = {"name": "room", "emptyDir": {}}
    container = box(
        env=[{"name": "WHERE", "value": value}],
        volumeMounts=[{"name": "room", "mountPath": "/part", "subPathExpr": "$(WHERE)"}],
    )
    return pod(name, container, restartPolicy="Never", volumes=[room])


ANNOTATED: list[Json] = [
    {"name": "NAME", "value": "foo"},
    {"name": "NOTE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['mysubpath']"}}},
]
MOUNTS: list[Json] = [
    {"name": "room", "mountPath": "/part", "subPathExpr": "$(NOTE)/$(NAME)"},
    {"name": "room", "mountPath": "/all"},
]
SOURCES: dict[str, JsonObject] = {
    "gone": {"configMap": {"name": "gone", "optional": True}},
    "other": {"configMap": {"name": "other", "optional": True}},
    "come": {"configMap": {"name": "come", "optional": True}},
    "s-gone": {"secret": {"secretName": "gone", "optional": True}},
    "s-come": {"projected": {"sources": [{"secret": {"name": "come", "optional": True}}]}},
    "fields": {
        "downwardAPI": {
            "items": [
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                {"path": "notes", "fieldRef": {"fieldPath": "metadata.annotations"}},
            ]
        }
    },
}
HOSTS: JsonObject = {"name": "hosts", "hostPath": {"path": "/etc/hosts", "type": "FileOrCreate"}}
ORIGINAL: JsonObject = {"name": "hosts", "mountPath": "/etc/hosts-original"}

PODS = (
    *(counting(policy) for policy in ("Always", "OnFailure", "Never")),
    initialized("init-always", "Always", "exit 0"),
    initialized("init-never", "Never", "exit 0"),
    initialized("init-fails-always", "Always", "exit 1"),
    initialized("init-fails-never", "Never", "exit 1"),
    expanding("up", ".."),
    expanding("absolute", "/tmp"),
    pod(
        "later",
        box(env=ANNOTATED, volumeMounts=MOUNTS),
        restartPolicy="Never",
        volumes=[{"name": "room", "emptyDir": {}}],
    ),
    pod(
        "volumes",
        box(volumeMounts=[{"name": name, "mountPath": f"/v/{name}"} for name in SOURCES]),
        volumes=[{"name": name, **source} for name, source in SOURCES.items()],
    ),
    pod(
        "hosts",
        box(name="one", volumeMounts=[ORIGINAL]),
        box(name="two", volumeMounts=[ORIGINAL, {"name": "hosts", "mountPath": "/etc/hosts"}]),
        volumes=[HOSTS],
    ),
    pod("hosts-shared", box(name="one", volumeMounts=[ORIGINAL]), volumes=[HOSTS], hostNetwork=True),
    pod("deadline", box()),
    pod(
        "delayed",
        box(readinessProbe={"exec": {"command": ["true"]}, "initialDelaySeconds": 6, "periodSeconds": 1}),
    ),
    pod("target", box()),
    pod("talks", box("for i in $(seq 30); do echo line $i; done; sleep 3; echo last; exec sleep 1000")),
    pod("rooted", box(securityContext={"runAsNonRoot": True})),
    pod("token", box(), automountServiceAccountToken=True),
    pod(
        "handler",
        box(f'nc -ll -p 8080 -e sh -c "$SERVES" & {HOLDS}', env=[{"name": "SERVES", "value": SERVES}]),
    ),
)


@dataclass(slots=True)
class Watch:
    """Every state of every pod, in order, as a client is shown them."""

    fleet: RealFleet
    states: dict[str, list[JsonObject]] = field(default_factory=dict[str, list[JsonObject]])

    def run(self) -> None:
        try:
            rest = b""
            for piece in self.fleet.api().chunks(f"{CORE}/pods", query={"watch": "true"}):
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    shown: JsonObject = map_at(json.loads(line), "object")
                    self.states.setdefault(name_of(shown), []).append(shown)
        except (SkerryError, OSError):
            return  # the cloud has ended

    def of(self, name: str) -> list[JsonObject]:
        return [*self.states.get(name, ())]


@pytest.fixture(scope="module")
def containerd() -> Generator[Containerd]:
    with containerd_server(registries={"docker.io": "http://127.0.0.1:9"}) as server:
        yield server


@pytest.fixture(scope="module")
def fleet(containerd: Containerd, tmp_path_factory: pytest.TempPathFactory) -> Generator[RealFleet]:
    with real_fleet(tmp_path_factory.mktemp("conformance")) as made:
        made.edge.environ = {"SKERRY_RUNTIME": "containerd", "SKERRY_RUNTIME_ENDPOINT": containerd.endpoint}
        made.edge.start()
        until(lambda: made.ready() == "True", "the node is ready", lambda: made.edge.log)
        yield made


@pytest.fixture(scope="module")
def seen(fleet: RealFleet) -> Iterator[Watch]:
    made = Watch(fleet)
    threading.Thread(target=made.run, daemon=True).start()
    for kind, name in (("ConfigMap", "gone"), ("ConfigMap", "other"), ("Secret", "gone")):
        put(fleet, kind, name, "1")
    until(lambda: fleet.find(f"{CORE}/serviceaccounts/default"), "there is an account for pods")
    for each in PODS:
        fleet.create(f"{CORE}/pods", each)
    yield made


def put(fleet: RealFleet, kind: str, name: str, value: str) -> None:
    data: JsonObject = {"stringData" if kind == "Secret" else "data": {"d": value}}
    made: JsonObject = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **data}
    fleet.create(f"{CORE}/{kind.lower()}s", made)


def status_of(fleet: RealFleet, name: str) -> JsonObject:
    return map_at(fleet.find(f"{CORE}/pods/{name}"), "status")


def container_of(fleet: RealFleet, name: str) -> JsonObject:
    return next(iter(maps_at(status_of(fleet, name), "containerStatuses")), {})


def comes(fleet: RealFleet, name: str, phase: str) -> JsonObject:
    def shown() -> str:
        return f"{status_of(fleet, name)}\n{fleet.edge.log[-2000:]}"

    until(lambda: str_at(status_of(fleet, name), "phase") == phase, f"{name} is {phase}", shown)
    return status_of(fleet, name)


def ready(fleet: RealFleet, name: str) -> None:
    def holds() -> bool:
        told = maps_at(status_of(fleet, name), "containerStatuses")
        return bool(told) and all(bool_at(each, "ready") for each in told)

    until(holds, f"{name} is ready", lambda: f"{status_of(fleet, name)}\n{fleet.edge.log[-2000:]}")


def inside(fleet: RealFleet, name: str, script: str, container: str = "") -> str:
    where = ["-c", container] if container else []
    return kubectl(fleet, "exec", name, *where, "--", "sh", "-c", script)


def logged(fleet: RealFleet, name: str) -> str:
    return b"".join(fleet.api().chunks(f"{CORE}/pods/{name}/log")).decode()


# --- how pods begin and end ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "phase", "state", "count"),
    [
        ("Always", "Running", "running", 2),
        ("OnFailure", "Succeeded", "terminated", 1),
        ("Never", "Failed", "terminated", 0),
    ],
)
def test_containers_are_started_again_as_the_policy_says(
    policy: str, phase: str, state: str, count: int, fleet: RealFleet, seen: Watch
) -> None:
    """Container Runtime: starting a container that exits should run with the expected status."""
    name = f"counts-{policy.lower()}"
    until(lambda: int_at(container_of(fleet, name), "restartCount") == count, "it counts", seconds=40)
    comes(fleet, name, phase)
    told = container_of(fleet, name)
    assert (bool_at(told, "ready"), [*map_at(told, "state")]) == (policy == "Always", [state])


INITS = {
    "init-always": ("Running", "True", ""),
    "init-never": ("Succeeded", "True", ""),
    "init-fails-always": ("Pending", "False", "containers with incomplete status: [init2]"),
    "init-fails-never": ("Failed", "False", "containers with incomplete status: [init2]"),
}


@pytest.mark.parametrize("name", INITS)
def test_apps_wait_for_init_containers_in_every_state_that_is_shown(name: str, fleet: RealFleet, seen: Watch) -> None:
    """InitContainer: all four; the invariants hold at each event of the watch."""
    phase, condition, message = INITS[name]
    comes(fleet, name, phase)

    def tries() -> int:
        return int_at(maps_at(status_of(fleet, name), "initContainerStatuses")[1], "restartCount")

    if name == "init-fails-always":
        until(lambda: tries() >= 2, "it is tried again")
    status = status_of(fleet, name)
    told = find_condition(maps_at(status, "conditions"), "Initialized")
    assert (str_at(told, "status"), str_at(told, "message")) == (condition, message)
    inits = maps_at(status, "initContainerStatuses")
    assert [str_at(each, "name") for each in inits] == ["init1", "init2"]
    assert bool_at(inits[0], "ready") and int_at(inits[0], "state", "terminated", "exitCode", default=9) == 0
    shown = [each for each in seen.of(name) if maps_at(each, "status", "initContainerStatuses")]
    assert len(shown) >= 2
    for each in shown:
        keeps_the_order(map_at(each, "status"))
    was = [str_at(find_condition(maps_at(each, "status", "conditions"), "Initialized"), "status") for each in shown]
    assert "False" not in was[was.index("True") :] if "True" in was else condition == "False"


def keeps_the_order(status: JsonObject) -> None:
    done = True
    for each in maps_at(status, "initContainerStatuses"):
        state = map_at(each, "state")
        assert done or "waiting" in state, status
        done = done and int_at(state, "terminated", "exitCode", default=9) == 0
        assert not done or bool_at(each, "ready")
    if not done:
        for each in maps_at(status, "containerStatuses"):
            assert str_at(each, "state", "waiting", "reason") == "PodInitializing", status
            assert int_at(each, "restartCount") == 0
    told = find_condition(maps_at(status, "conditions"), "Initialized")
    assert str_at(told, "status") == str(done) and str_at(told, "lastTransitionTime"), status


def test_a_deadline_may_come_later(fleet: RealFleet, seen: Watch) -> None:
    """Pods: should allow activeDeadlineSeconds to be updated."""
    ready(fleet, "deadline")
    fleet.patch(f"{CORE}/pods/deadline", {"spec": {"activeDeadlineSeconds": 1}})
    assert str_at(comes(fleet, "deadline", "Failed"), "reason") == "DeadlineExceeded"


def test_nothing_is_ready_before_its_delay(fleet: RealFleet, seen: Watch) -> None:
    """Probing container: with readiness probe should not be ready before initial delay and never restart."""
    ready(fleet, "delayed")
    status = status_of(fleet, "delayed")
    since = str_at(find_condition(maps_at(status, "conditions"), "Ready"), "lastTransitionTime")
    begun = str_at(container_of(fleet, "delayed"), "state", "running", "startedAt")
    assert parse_time(since) - parse_time(begun) >= 6_000
    assert int_at(container_of(fleet, "delayed"), "restartCount") == 0


def test_who_must_not_be_root_does_not_begin_as_root(fleet: RealFleet, seen: Watch) -> None:
    """Security Context: should not run with an explicit root user ID."""

    def waits() -> str:
        return str_at(container_of(fleet, "rooted"), "state", "waiting", "reason")

    until(lambda: waits() == "CreateContainerConfigError", "it waits", lambda: str(status_of(fleet, "rooted")))
    message = str_at(container_of(fleet, "rooted"), "state", "waiting", "message")
    assert message.startswith("container has runAsNonRoot and image will run as root")


# --- volumes that change ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["up", "absolute"])
def test_a_part_that_leads_out_of_its_volume_is_no_part(name: str, fleet: RealFleet, seen: Watch) -> None:
    """Variable Expansion: should fail substituting values in a volume subpath with backticks, absolute path."""

    def waits() -> str:
        return str_at(container_of(fleet, name), "state", "waiting", "reason")

    until(lambda: waits() == "CreateContainerConfigError", "it waits", lambda: str(status_of(fleet, name)))
    assert str_at(status_of(fleet, name), "phase") == "Pending"


def test_a_part_that_could_not_be_named_can_be_later(fleet: RealFleet, seen: Watch) -> None:
    """Variable Expansion: a failing subpath expansion can be modified; should succeed in writing subpaths."""
    until(lambda: "CreateContainerConfigError" in json.dumps(status_of(fleet, "later")), "it waits")
    fleet.patch(f"{CORE}/pods/later", {"metadata": {"annotations": {"mysubpath": "mypath"}}})
    ready(fleet, "later")
    assert inside(fleet, "later", "touch /all/mypath/foo/f && ls /part") == "f\n"
    fleet.patch(f"{CORE}/pods/later", {"metadata": {"annotations": {"mysubpath": "mynewpath"}}})
    kubectl(fleet, "delete", "pod", "later", "--timeout=30s")


def test_sources_of_volumes_go_change_and_come(fleet: RealFleet, seen: Watch) -> None:
    """ConfigMap, Secrets, Projected configMap, secret: optional updates; Downward API volume: labels, annotations."""
    ready(fleet, "volumes")

    def shown() -> list[str]:
        script = "for v in gone other come s-gone s-come; do cat /v/$v/d 2>/dev/null || echo -n none; echo; done"
        return inside(fleet, "volumes", script).split()

    assert shown() == ["1", "1", "none", "1", "none"]
    assert inside(fleet, "volumes", "cat /v/fields/*") == 'key="value1"builder="bar"'
    for resource in ("configmaps", "secrets"):
        fleet.api().request("DELETE", f"{CORE}/{resource}/gone")
    fleet.patch(f"{CORE}/configmaps/other", {"data": {"d": "2"}})
    put(fleet, "ConfigMap", "come", "3")
    put(fleet, "Secret", "come", "4")
    until(lambda: shown() == ["none", "2", "3", "none", "4"], "all is seen", lambda: str(shown()))
    change: JsonObject = {"labels": {"key3": "value3"}, "annotations": {"builder": "foo"}}
    fleet.patch(f"{CORE}/pods/volumes", {"metadata": change})
    until(
        lambda: inside(fleet, "volumes", "cat /v/fields/*") == 'key="value1"\nkey3="value3"builder="foo"',
        "labels and annotations are seen",
    )
    assert int_at(container_of(fleet, "volumes"), "restartCount") == 0


def test_hosts_are_the_gateways_affair_unless_the_pod_has_its_network_or_a_file_of_its_own(
    fleet: RealFleet, seen: Watch
) -> None:
    """KubeletManagedEtcHosts."""
    ready(fleet, "hosts")
    ready(fleet, "hosts-shared")
    managed = "# Kubernetes-managed hosts file."
    assert inside(fleet, "hosts", "cat /etc/hosts", "one").startswith(managed)
    assert inside(fleet, "hosts", "cmp /etc/hosts /etc/hosts-original && echo same", "two") == "same\n"
    assert not inside(fleet, "hosts-shared", "cat /etc/hosts").startswith(managed)


def test_a_token_is_mounted_with_what_the_cloud_is_trusted_by(fleet: RealFleet, seen: Watch) -> None:
    """ServiceAccounts: should mount an API token into pods, also as a projected volume."""
    ready(fleet, "token")
    place = "/var/run/secrets/kubernetes.io/serviceaccount"
    trust = fleet.find(f"{CORE}/configmaps/kube-root-ca.crt")
    assert inside(fleet, "token", f"cat {place}/ca.crt") == str_at(trust, "data", "ca.crt")
    assert inside(fleet, "token", f"cat {place}/namespace") == "default"
    review: JsonObject = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": inside(fleet, "token", f"cat {place}/token")},
    }
    told = fleet.create("/apis/authentication.k8s.io/v1/tokenreviews", review)
    assert bool_at(told, "status", "authenticated")
    assert str_at(told, "status", "user", "username") == "system:serviceaccount:default:default"


# --- hooks, logs, and who looks in -------------------------------------------------------------------------------


def test_hooks_are_called_from_the_gateway_and_in_the_container(fleet: RealFleet, seen: Watch) -> None:
    """Container Lifecycle Hook: poststart and prestop, exec and http."""
    ready(fleet, "handler")
    address = str_at(status_of(fleet, "handler"), "podIP")
    for which, other in (("postStart", "preStop"), ("preStop", "postStart")):
        name = which.lower()
        asks: JsonObject = {"httpGet": {"host": address, "port": 8080, "path": f"/echo?msg={name}-http"}}
        runs: JsonObject = {"exec": {"command": ["wget", "-qO-", f"http://{address}:8080/{other.lower()}-exec"]}}
        fleet.create(f"{CORE}/pods", pod(name, box(lifecycle={which: asks, other: runs})))
    for name in ("poststart", "prestop"):
        ready(fleet, name)
        kubectl(fleet, "delete", "pod", name, "--timeout=30s")
    until(lambda: logged(fleet, "handler").count("GET") == 4, "all have called", lambda: logged(fleet, "handler"))
    paths = [line.split()[1] for line in logged(fleet, "handler").splitlines()]
    assert sorted(paths) == [
        "/echo?msg=poststart-http",
        "/echo?msg=prestop-http",
        "/poststart-exec",
        "/prestop-exec",
    ]


def test_logs_are_cut_in_every_way(fleet: RealFleet, seen: Watch) -> None:
    """Kubectl logs: should be able to retrieve and filter logs; Kubelet: should print the output to logs."""
    ready(fleet, "talks")
    until(lambda: "last" in logged(fleet, "talks"), "all is said")
    assert kubectl(fleet, "logs", "talks", "app", "--tail=1") == "last\n"
    assert kubectl(fleet, "logs", "talks", "app", "--limit-bytes=1") == "l"
    stamp, word = kubectl(fleet, "logs", "talks", "app", "--tail=1", "--timestamps").split(" ")
    assert word == "last\n" and parse_time(stamp) > 0
    time.sleep(1.5)
    recent = kubectl(fleet, "logs", "talks", "app", "--since=3s").splitlines()
    older = kubectl(fleet, "logs", "talks", "app", "--since=24h").splitlines()
    assert len(recent) < len(older) == 31


def test_ephemeral_containers_are_added_one_by_one(fleet: RealFleet, seen: Watch) -> None:
    """Ephemeral Containers: will start in an existing pod, should update the ephemeral containers."""
    ready(fleet, "target")
    path = f"{CORE}/pods/target/ephemeralcontainers"
    first = box("while :; do echo polo; sleep 0.5; done", "debugger", stdin=True, tty=True)
    fleet.api().request(
        "PATCH",
        path,
        body={"spec": {"ephemeralContainers": [first]}},
        content_type="application/strategic-merge-patch+json",
    )

    def states() -> list[str]:
        told = maps_at(status_of(fleet, "target"), "ephemeralContainerStatuses")
        return [next(iter(map_at(each, "state")), "") for each in told]

    until(lambda: states() == ["running"], "it runs", lambda: fleet.edge.log[-2000:])
    held = fleet.find(path) or {}
    assert generation_of(held) == 2 and len(maps_at(held, "spec", "ephemeralContainers")) == 1
    assert inside(fleet, "target", "echo marco", "debugger") == "marco\n"
    until(lambda: "polo" in kubectl(fleet, "logs", "target", "-c", "debugger"), "it is heard")
    spec = map_at(held, "spec")
    second: JsonObject = {"name": "debugger2", "image": BUSYBOX_IMAGE, "imagePullPolicy": "IfNotPresent"}
    spec["ephemeralContainers"] = [*maps_at(spec, "ephemeralContainers"), second]
    fleet.api().request("PUT", path, body=held)
    assert len(maps_at(fleet.find(path), "spec", "ephemeralContainers")) == 2
