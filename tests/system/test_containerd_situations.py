"""What people see of pods in trouble with `kubectl get` and `kubectl describe`, on containerd: a kubelet's words.

(Kubernetes documentation, "Debug Pods"; the words are those of a kubelet of 1.36.) All pods are made at once; each
test waits for its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field

import pytest

from skerry.objects.json import Json, JsonObject
from tests.system.containerd import BUSYBOX_IMAGE, Containerd, containerd_server, until
from tests.system.real_fleet import CORE, NODE, RealFleet, real_fleet
from tests.system.test_kubectl_debug import kubectl

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(400),
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl"),
]

HOLDS = "trap 'exit 0' TERM; sleep 1000 & wait"


def box(name: str, script: str, **more: Json) -> JsonObject:
    made: JsonObject = {
        "name": name,
        "image": BUSYBOX_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", script],
    }
    return {**made, **more}


def fails(**more: Json) -> JsonObject:
    return {"exec": {"command": ["sh", "-c", "echo sick; exit 1"]}, "periodSeconds": 1, "failureThreshold": 1, **more}


@dataclass(frozen=True, kw_only=True)
class Situation:
    """A pod, and what is seen of it in the end."""

    pod: Mapping[str, Json]
    """Of its spec."""
    status: tuple[str, ...]
    """Of the column STATUS, one of them."""
    said: tuple[str, ...] = ()
    """By `kubectl describe`, blanks squeezed."""
    unsaid: tuple[str, ...] = ()
    ready: str = "0/1"
    deleted: bool = field(default=False)


def app(script: str = HOLDS, **more: Json) -> list[Json]:
    return [box("app", script, **more)]


SITUATIONS: dict[str, Situation] = {
    "runs": Situation(
        pod={"containers": app()},
        status=("Running",),
        ready="1/1",
        said=(
            (
                f'Normal Pulled edgecore Container image "{BUSYBOX_IMAGE}" already present on '
                "machine and can be accessed by the pod"
            ),
            "Normal Created edgecore Container created",
            "Normal Started edgecore Container started",
        ),
    ),
    "completed": Situation(
        pod={"containers": app("exit 0"), "restartPolicy": "Never"},
        status=("Completed",),
        said=("Reason: Completed Exit Code: 0", "Status: Succeeded"),
    ),
    "failed": Situation(
        pod={"containers": app("exit 4"), "restartPolicy": "Never"},
        status=("Error",),
        said=("Reason: Error Exit Code: 4", "Status: Failed"),
    ),
    "crashes": Situation(
        pod={"containers": app("exit 3")},
        status=("CrashLoopBackOff",),
        said=(
            "State: Waiting Reason: CrashLoopBackOff Last State: Terminated Reason: Error Exit Code: 3",
            ("Warning BackOff edgecore Back-off restarting failed container app in pod crashes_default("),
        ),
    ),
    "no-image": Situation(
        pod={"containers": app(image="nowhere.skerry.test/nothing:1")},
        status=("ImagePullBackOff", "ErrImagePull"),
        said=(
            'Normal Pulling edgecore Pulling image "nowhere.skerry.test/nothing:1"',
            'Warning Failed edgecore Failed to pull image "nowhere.skerry.test/nothing:1": ',
            "Warning Failed edgecore Error: ErrImagePull",
            'Normal BackOff edgecore Back-off pulling image "nowhere.skerry.test/nothing:1"',
            "Warning Failed edgecore Error: ImagePullBackOff",
        ),
    ),
    "never": Situation(
        pod={"containers": app(image="skerry.test/nothing:1", imagePullPolicy="Never")},
        status=("ErrImageNeverPull",),
        said=(
            (
                'Warning ErrImageNeverPull edgecore Container image "skerry.test/nothing:1" is not '
                "present with pull policy of Never"
            ),
            "Warning Failed edgecore Error: ErrImageNeverPull",
        ),
    ),
    "bad-name": Situation(
        pod={"containers": app(image="Nothing/Here:1")},
        status=("InvalidImageName",),
        said=(
            (
                'Warning InspectFailed edgecore Failed to apply default image tag "Nothing/Here:1": '
                'couldn\'t parse image name "Nothing/Here:1": invalid reference format: repository name must be '
                "lowercase"
            ),
            "Warning Failed edgecore Error: InvalidImageName",
        ),
    ),
    "no-config": Situation(
        pod={
            "containers": app(env=[{"name": "V", "valueFrom": {"configMapKeyRef": {"name": "missing", "key": "a"}}}])
        },
        status=("CreateContainerConfigError",),
        said=('Warning Failed edgecore Error: configmap "missing" not found',),
    ),
    "no-volume": Situation(
        pod={
            "containers": app(volumeMounts=[{"name": "v", "mountPath": "/v"}]),
            "volumes": [{"name": "v", "configMap": {"name": "missing"}}],
        },
        status=("ContainerCreating",),
        said=(
            'Warning FailedMount edgecore MountVolume.SetUp failed for volume "v" : configmap "missing" not found',
        ),
    ),
    "image-volume": Situation(  # of which containerd is capable from 2.1 on
        pod={
            "containers": app(volumeMounts=[{"name": "v", "mountPath": "/v"}]),
            "volumes": [{"name": "v", "image": {"reference": BUSYBOX_IMAGE}}],
        },
        status=("Unsupported",),
        said=("spec.volumes[0].image: this gateway's runtime can't mount images (containerd can from 2.1 on",),
    ),
    "no-program": Situation(
        pod={"containers": [{**box("app", ""), "command": ["/bin/nothing"]}], "restartPolicy": "Never"},
        status=("StartError", "ContainerCannotRun"),
        said=(
            "Reason: StartError",
            "Exit Code: 128 Started: Thu, 01 Jan 1970",
            "Warning Failed edgecore Error: failed to create",
        ),
    ),
    "init-fails": Situation(
        pod={"containers": app(), "initContainers": [box("first", "exit 2")], "restartPolicy": "Never"},
        status=("Init:Error",),
        said=("Status: Failed", "State: Waiting Reason: PodInitializing"),
    ),
    "init-crashes": Situation(
        pod={"containers": app(), "initContainers": [box("first", "exit 2")]},
        status=("Init:CrashLoopBackOff",),
        said=(
            ("Warning BackOff edgecore Back-off restarting failed container first in pod init-crashes_default("),
            "State: Waiting Reason: PodInitializing",
        ),
    ),
    "init-runs": Situation(
        pod={"containers": app(), "initContainers": [box("first", HOLDS), box("second", "exit 0")]},
        status=("Init:0/2",),
    ),
    "dead": Situation(
        pod={"containers": app(livenessProbe=fails()), "terminationGracePeriodSeconds": 1},
        status=("CrashLoopBackOff",),
        said=(
            "Warning Unhealthy edgecore Liveness probe failed: sick",
            "Normal Killing edgecore Container app failed liveness probe, will be restarted",
        ),
    ),
    "unready": Situation(
        pod={"containers": app(readinessProbe=fails())},
        status=("Running",),
        said=(
            "Warning Unhealthy edgecore Readiness probe failed: sick",
            "ContainersReady False",
            "Ready False",
        ),
        unsaid=("Killing",),
    ),
    "never-starts": Situation(
        pod={"containers": app(startupProbe=fails()), "terminationGracePeriodSeconds": 1},
        status=("CrashLoopBackOff",),
        said=(
            "Warning Unhealthy edgecore Startup probe failed: sick",
            "Normal Killing edgecore Container app failed startup probe, will be restarted",
        ),
    ),
    "hungry": Situation(
        pod={"containers": app("exec tail /dev/zero", resources={"limits": {"memory": "24Mi"}})},
        status=("CrashLoopBackOff",),
        said=("Last State: Terminated Reason: OOMKilled Exit Code: 137",),
    ),
    "too-long": Situation(
        pod={"containers": app(), "activeDeadlineSeconds": 1},
        status=("Completed",),
        said=(
            (
                "Status: Failed Reason: DeadlineExceeded Message: Pod was active on the node longer than the "
                "specified deadline"
            ),
            "Normal DeadlineExceeded edgecore Pod was active on the node longer than the specified deadline",
            "Normal Killing edgecore Stopping container app",
        ),
    ),
    "hook-fails": Situation(
        pod={"containers": app(lifecycle={"postStart": {"exec": {"command": ["sh", "-c", "exit 1"]}}})},
        status=("CrashLoopBackOff", "PostStartHookError"),
        said=(
            "Warning FailedPostStartHook edgecore PostStartHook failed",
            "Normal Killing edgecore FailedPostStartHook",
        ),
    ),
    "hook-fails-and-it-stays": Situation(
        pod={
            "containers": app(
                "trap '' TERM; while :; do sleep 0.2; done",
                lifecycle={"postStart": {"exec": {"command": ["sh", "-c", "echo no way; exit 1"]}}},
            ),
            "terminationGracePeriodSeconds": 120,
        },
        status=("PostStartHookError",),
        said=("Reason: PostStartHookError", "Warning FailedPostStartHook edgecore PostStartHook failed"),
    ),
    "starts-again-after-42": Situation(
        pod={
            "containers": app(
                "test -e /v/f && exit 0; touch /v/f; exit 42",
                volumeMounts=[{"name": "v", "mountPath": "/v"}],
                restartPolicy="Never",
                restartPolicyRules=[{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}],
            ),
            "volumes": [{"name": "v", "emptyDir": {}}],
            "restartPolicy": "Never",
        },
        status=("Completed",),
        said=("Reason: Completed Exit Code: 0", "Exit Code: 42", "Restart Count: 1", "Status: Succeeded"),
    ),
    "another-system": Situation(
        pod={"containers": app(), "os": {"name": "windows"}},
        status=("PodOSNotSupported",),
        said=(
            "Warning PodOSNotSupported edgecore Failed to admit pod as the OS field doesn't match node OS",
            "Status: Failed Reason: PodOSNotSupported",
        ),
    ),
    "half": Situation(
        pod={"containers": [*app(), box("done", "exit 0")], "restartPolicy": "Never"},
        status=("NotReady",),
        ready="1/2",
    ),
    "gone": Situation(
        pod={
            "containers": app(
                "trap '' TERM; while :; do sleep 0.2; done",
                lifecycle={"preStop": {"exec": {"command": ["sh", "-c", "exit 1"]}}},
            ),
            "terminationGracePeriodSeconds": 25,
        },
        status=("Terminating",),
        ready="1/1",
        deleted=True,
        said=(
            "Normal Killing edgecore Stopping container app",
            "Warning FailedPreStopHook edgecore PreStopHook failed",
        ),
    ),
}


@pytest.fixture(scope="module")
def containerd() -> Generator[Containerd]:
    with containerd_server(registries={"docker.io": "http://127.0.0.1:9"}) as server:
        yield server


@pytest.fixture(scope="module")
def fleet(containerd: Containerd, tmp_path_factory: pytest.TempPathFactory) -> Generator[RealFleet]:
    with real_fleet(tmp_path_factory.mktemp("situations")) as made:
        made.edge.environ = {"SKERRY_RUNTIME": "containerd", "SKERRY_RUNTIME_ENDPOINT": containerd.endpoint}
        made.edge.start()
        until(lambda: made.ready() == "True", "the node is ready", lambda: made.edge.log)
        for name, situation in SITUATIONS.items():
            spec: JsonObject = {"nodeName": NODE, "automountServiceAccountToken": False, **situation.pod}
            body: JsonObject = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
            made.create(f"{CORE}/pods", body)
        yield made


def row(fleet: RealFleet, name: str) -> list[str]:
    return kubectl(fleet, "get", "pod", name, "--no-headers").split()


def described(fleet: RealFleet, name: str) -> str:
    """Without ages, and with single blanks."""
    lines: list[str] = []
    events = False
    for line in kubectl(fleet, "describe", "pod", name).splitlines():
        words = line.split()
        events = events or line.startswith("Events:")
        if events and words[:1] in (["Normal"], ["Warning"]):
            after = words.index("edgecore") if "edgecore" in words else 3
            words = [*words[:2], *(word for word in words[after:] if not word.startswith("spec."))]
        lines.append(" ".join(words))
    return " ".join(lines)


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_pod_is_seen_as_on_a_kubelets_node(name: str, fleet: RealFleet) -> None:
    situation = SITUATIONS[name]
    if situation.deleted:
        until(lambda: row(fleet, name)[2] == "Running", "it runs", lambda: described(fleet, name))
        kubectl(fleet, "delete", "pod", name, "--wait=false")
    seen: list[str] = []

    def in_the_end() -> bool:
        seen.append(row(fleet, name)[2])
        return seen[-1] in situation.status

    until(in_the_end, f"{situation.status}", lambda: f"{seen[-3:]} {described(fleet, name)}")
    missing = list(situation.said)

    def all_is_said() -> bool:
        text = described(fleet, name)
        missing[:] = [each for each in situation.said if each not in text]
        return not missing

    until(all_is_said, "all is said", lambda: f"{missing}\n{described(fleet, name)}", seconds=30)
    assert row(fleet, name)[1] == situation.ready
    assert not [each for each in situation.unsaid if each in described(fleet, name)]
