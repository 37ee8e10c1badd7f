"""What a gateway's pods have to do on containerd, and all of it again after `kill -9` of who looks after them.

One list of checks runs four times: with nobody killed, and a moment after the agent, containerd, or both were. Pods
of before have to go on as they were; the one with an init container, a sidecar and probes serves for most checks.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from skerry.objects.json import Json, JsonObject, bool_at, int_at, map_at, maps_at, str_at
from skerry.objects.times import parse_time
from tests.system.containerd import BUSYBOX_IMAGE, Containerd, ImageRecipe, containerd_server, until
from tests.system.real_fleet import CORE, NODE, RealFleet, real_fleet
from tests.system.registry import PASSWORD, USER, Registry, registry_server
from tests.system.test_kubectl_debug import environ, kubectl

pytestmark = [
    pytest.mark.system,
    pytest.mark.long,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl"),
]
KILLED = ("nobody", "the agent", "containerd", "both")
HOST = "registry.test"
BACK_OFFS = {"20s": 2, "40s": 3, "1m20s": 4, "2m40s": 5}
"""How often a container was started anew that waits for so long."""
SETTINGS = {
    "SKERRY_RUNTIME": "containerd",
    "SKERRY_FREE_FLOOR_MIB": "1",
    "SKERRY_EVICTION_HARD": "nodefs.available<40%",
    "SKERRY_EVICTION_PRESSURE_TRANSITION_PERIOD_S": "1",
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Generator[Registry]:
    with registry_server(tmp_path_factory.mktemp("registry") / "r") as server:
        yield server


@pytest.fixture(scope="module")
def containerd(registry: Registry) -> Generator[Containerd]:
    with containerd_server(registries={HOST: registry.url}) as server:
        yield server


@pytest.fixture(scope="module")
def fleet(containerd: Containerd, tmp_path_factory: pytest.TempPathFactory) -> Generator[RealFleet]:
    """A gateway on a disk of 200 MiB, of which a pod can take more than it should."""
    directory = tmp_path_factory.mktemp("kills")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m,mode=0755", "tmpfs", str(directory)], check=True)
    try:
        with real_fleet(directory) as made:
            made.edge.environ = {
                **SETTINGS,
                "SKERRY_RUNTIME_ENDPOINT": containerd.endpoint,
                "SKERRY_CGROUP_ROOT": containerd.cgroup_root,
            }
            made.edge.start()
            until(lambda: made.ready() == "True", "the node is ready", lambda: made.edge.log)
            for name, password in (("right", PASSWORD), ("wrong", "no")):
                made.create(f"{CORE}/secrets", pull_secret(name, password))
            yield made
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def pull_secret(name: str, password: str) -> JsonObject:
    auths = {"auths": {HOST: {"username": USER, "password": password}}}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": name},
        "data": {".dockerconfigjson": base64.b64encode(json.dumps(auths).encode()).decode()},
    }


# --- pods ---------------------------------------------------------------------------------------------------------


def box(name: str, script: str, **more: Json) -> JsonObject:
    made: JsonObject = {
        "name": name,
        "image": BUSYBOX_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", script],
        "volumeMounts": [{"name": "room", "mountPath": "/room"}, {"name": "map", "mountPath": "/map"}],
    }
    return {**made, **more}


def pod(name: str, *containers: JsonObject, **spec: Json) -> JsonObject:
    made: JsonObject = {
        "nodeName": NODE,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 10,
        "containers": [*containers],
        "volumes": [{"name": "room", "emptyDir": {}}, {"name": "map", "configMap": {"name": "map"}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {**made, **spec}}


def probed_by(*command: str) -> JsonObject:
    return {"exec": {"command": [*command]}, "periodSeconds": 1, "failureThreshold": 1}


WHOLE = pod(
    "whole",
    box(
        "app",
        "echo app $(cat /room/book) >> /room/story; trap 'echo app ends >> /room/story; exit 0' TERM;"
        "rm -f /room/ill; touch /room/well; nc -ll -p 8080 -e echo served & while :; do sleep 0.1; done",
        readinessProbe=probed_by("test", "-e", "/room/well"),
        livenessProbe=probed_by("test", "!", "-e", "/room/ill"),
        lifecycle={"preStop": {"exec": {"command": ["sh", "-c", "echo asked >> /room/story"]}}},
    ),
    initContainers=[
        box("first", "echo $(hostname) >> /room/book"),
        box(
            "side",
            "trap 'echo side ends >> /room/story; cp /room/story /kept/story; exit 0' TERM; touch /room/side;"
            "while :; do sleep 0.1; done",
            restartPolicy="Always",
            startupProbe=probed_by("test", "-e", "/room/side"),
        ),
    ],
)
CRASHER = pod("crasher", box("app", "echo no; exit 3"))
HUNGRY = pod(
    "hungry",
    box(
        "app",
        "while ! test -e /room/eat; do sleep 0.1; done; exec tail /dev/zero",
        resources={"limits": {"memory": "24Mi"}},
    ),
    restartPolicy="Never",
)


def whole_with_a_place(kept: Path) -> JsonObject:
    """The sidecar tells the end of the story where it can be read afterwards."""
    made: JsonObject = json.loads(json.dumps(WHOLE))
    side = maps_at(made, "spec", "initContainers")[1]
    side["volumeMounts"] = [*maps_at(side, "volumeMounts"), {"name": "kept", "mountPath": "/kept"}]
    place: JsonObject = {"name": "kept", "hostPath": {"path": str(kept)}}
    return {**made, "spec": {**map_at(made, "spec"), "volumes": [*maps_at(made, "spec", "volumes"), place]}}


# --- who was killed -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Pods that ran before the kill, and what was known of them then."""

    fleet: RealFleet
    containerd: Containerd
    killed: str
    kept: Path
    runs: Mapping[str, str]
    """Of `whole`: id of each container."""
    pids: Mapping[str, int]
    crashed_ms: int
    """When `crasher` ended for the second time; the first is followed by another run at once."""

    def status(self, name: str) -> JsonObject:
        return map_at(self.fleet.find(f"{CORE}/pods/{name}"), "status")

    def container(self, name: str, container: str = "app") -> JsonObject:
        found = [
            *maps_at(self.status(name), "containerStatuses"),
            *maps_at(self.status(name), "initContainerStatuses"),
        ]
        return next((each for each in found if str_at(each, "name") == container), {})

    def until(self, holds: Callable[[], object], what: str, of: str = "whole") -> None:
        until(holds, what, lambda: f"{self.status(of)}\n{self.fleet.edge.log[-3000:]}", seconds=40)

    def create(self, made: JsonObject) -> None:
        self.fleet.create(f"{CORE}/pods", made)

    def inside(self, *command: str) -> str:
        return kubectl(self.fleet, "exec", "whole", "-c", "app", "--", *command)


def runs_of(status: JsonObject) -> dict[str, str]:
    found = [*maps_at(status, "containerStatuses"), *maps_at(status, "initContainerStatuses")]
    return {str_at(each, "name"): str_at(each, "containerID").removeprefix("containerd://") for each in found}


@pytest.fixture(scope="module", params=KILLED)
def site(
    request: pytest.FixtureRequest,
    fleet: RealFleet,
    containerd: Containerd,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    kept = tmp_path_factory.mktemp("kept")
    config: JsonObject = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": {"k": "old"}}
    fleet.create(f"{CORE}/configmaps", config)
    for made in (whole_with_a_place(kept), CRASHER, HUNGRY):
        fleet.create(f"{CORE}/pods", made)

    def told(name: str) -> JsonObject:
        return map_at(fleet.find(f"{CORE}/pods/{name}"), "status")

    def are_ready() -> bool:
        return all(bool_at(each, "ready") for name in ("whole", "hungry") for each in ready_of(told(name)))

    until(are_ready, "the pods are ready", lambda: f"{told('whole')}\n{fleet.edge.log[-3000:]}")
    until(lambda: "back-off 10s" in json.dumps(told("crasher")), "one crashes", lambda: fleet.edge.log[-3000:])
    crashed = str_at(maps_at(told("crasher"), "containerStatuses")[0], "lastState", "terminated", "finishedAt")
    made = Site(
        fleet=fleet,
        containerd=containerd,
        killed=request.param,
        kept=kept,
        runs=runs_of(told("whole")),
        pids=containerd.pids(),
        crashed_ms=parse_time(crashed),
    )
    kill(made)
    yield made
    for name in ("crasher", "hungry"):
        fleet.api().request("DELETE", f"{CORE}/pods/{name}", query={"gracePeriodSeconds": "0"})
    fleet.api().request("DELETE", f"{CORE}/configmaps/map")
    until(
        lambda: not fleet.held("pods"),
        "its pods are gone",
        lambda: f"{[*fleet.held('pods')]}\n{fleet.edge.log[-3000:]}",
    )
    until(lambda: containerd.pids() == {}, "and their processes", lambda: str(containerd.pids()))


def ready_of(status: JsonObject) -> list[JsonObject]:
    return maps_at(status, "containerStatuses") or [{}]


def kill(site: Site) -> None:
    """A pod that is wanted meanwhile waits for who comes after."""
    if site.killed in ("the agent", "both"):
        site.fleet.edge.stop(signal.SIGKILL)
    if site.killed in ("containerd", "both"):
        site.containerd.kill()
    site.create(pod("meanwhile", box("app", "exit 0"), restartPolicy="Never"))
    if site.killed in ("containerd", "both"):
        site.containerd.start()
    if site.killed in ("the agent", "both"):
        site.fleet.edge.start()


# --- the list -----------------------------------------------------------------------------------------------------


def test_what_was_wanted_meanwhile_runs_and_what_ran_goes_on(site: Site) -> None:
    site.until(lambda: str_at(site.status("meanwhile"), "phase") == "Succeeded", "it ran", "meanwhile")
    site.until(lambda: site.fleet.ready() == "True", "the node is ready")
    site.until(lambda: bool_at(site.container("whole"), "ready"), "the pod is ready")
    told = site.status("whole")
    assert runs_of(told) == site.runs
    assert [int_at(site.container("whole", name), "restartCount") for name in ("first", "side", "app")] == [0, 0, 0]
    now = site.containerd.pids()
    assert {name: pid for name, pid in site.pids.items() if name in site.runs.values()}.items() <= now.items()
    site.fleet.api().request("DELETE", f"{CORE}/pods/meanwhile", query={"gracePeriodSeconds": "0"})


def test_a_command_is_run_in_a_container(site: Site) -> None:
    assert site.inside("cat", "/room/book") == "whole\n", "its init container ran once"
    ended = subprocess.run(
        ["kubectl", "exec", "-i", "whole", "-c", "side", "--", "sh", "-c", "cat; exit 7"],
        input="by stdin",
        env=environ(site.fleet),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.stdout, ended.returncode) == ("by stdin", 7)


def test_a_config_map_is_changed_in_place(site: Site) -> None:
    assert site.inside("cat", "/map/k") == "old"
    site.fleet.patch(f"{CORE}/configmaps/map", {"data": {"k": "new", "more": "x"}})
    site.until(lambda: site.inside("cat", "/map/k") == "new", "it is changed")
    assert site.inside("ls", "/map").split() == ["k", "more"]


def test_its_log_is_read_and_followed(site: Site) -> None:
    told = Path(f"/proc/{site.pids[site.runs['app']]}/fd/1")
    command = ["kubectl", "logs", "-f", "whole", "-c", "app", "--tail=1"]
    with subprocess.Popen(command, env=environ(site.fleet), stdout=subprocess.PIPE, text=True) as follow:
        try:
            assert follow.stdout is not None
            with told.open("w") as log:
                log.write("said now\n")
            assert follow.stdout.readline() == "said now\n"
        finally:
            follow.kill()
    assert kubectl(site.fleet, "logs", "whole", "-c", "app").splitlines()[-1] == "said now"


def test_a_port_is_forwarded(site: Site, tmp_path: Path) -> None:
    said = tmp_path / "said"
    with said.open("wb") as sink:
        forward = subprocess.Popen(
            ["kubectl", "port-forward", "whole", ":8080"], env=environ(site.fleet), stdout=sink, stderr=sink
        )
    try:
        until(lambda: "Forwarding from" in said.read_text(), "it forwards", said.read_text)
        found = re.search(r"127\.0\.0\.1:(\d+)", said.read_text())
        assert found is not None
        with socket.create_connection(("127.0.0.1", int(found[1])), timeout=20) as peer:
            assert peer.recv(100) == b"served\n"
    finally:
        forward.terminate()
        forward.wait(20)


def test_an_image_is_pulled_by_who_has_the_password(site: Site, registry: Registry) -> None:
    repository = f"shop/{site.killed.replace(' ', '-')}"
    registry.push(repository, "1", ImageRecipe(name=repository, command=("cat", "/is"), files={"is": b"private"}))
    made: JsonObject = {"name": "app", "image": f"{HOST}/{repository}:1"}
    for secret in ("wrong", "right"):
        site.create(pod(secret, made, restartPolicy="Never", imagePullSecrets=[{"name": secret}]))
    site.until(lambda: str_at(site.status("right"), "phase") == "Succeeded", "it ran", "right")
    assert kubectl(site.fleet, "logs", "right") == "private"

    def is_kept_out() -> bool:
        return str_at(site.container("wrong"), "state", "waiting", "reason") in ("ErrImagePull", "ImagePullBackOff")

    site.until(is_kept_out, "it waits", "wrong")
    kubectl(site.fleet, "delete", "pod", "wrong", "right", "--wait=false")


def test_probes_are_heeded(site: Site) -> None:
    site.inside("rm", "/room/well")
    site.until(lambda: not bool_at(site.container("whole"), "ready"), "it is not ready")
    site.inside("touch", "/room/well")
    site.until(lambda: bool_at(site.container("whole"), "ready"), "it is ready")
    site.inside("touch", "/room/ill")
    site.until(lambda: int_at(site.container("whole"), "restartCount") == 1, "it is started again")
    site.until(lambda: bool_at(site.container("whole"), "ready"), "it is ready again")
    assert str_at(site.container("whole"), "lastState", "terminated", "containerID").endswith(site.runs["app"])
    assert runs_of(site.status("whole"))["side"] == site.runs["side"]
    assert "said now" in kubectl(site.fleet, "logs", "whole", "-c", "app", "--previous")


def test_who_takes_too_much_memory_is_ended(site: Site) -> None:
    kubectl(site.fleet, "exec", "hungry", "--", "touch", "/room/eat")
    site.until(lambda: str_at(site.status("hungry"), "phase") == "Failed", "it failed", "hungry")
    ended = map_at(site.container("hungry"), "state", "terminated")
    assert (ended.get("reason"), ended.get("exitCode")) == ("OOMKilled", 137)


def test_who_crashes_waits_longer_each_time_whatever_happened_meanwhile(site: Site) -> None:
    lasting = {f"back-off {text} restarting failed container=app": count for text, count in BACK_OFFS.items()}

    seen: list[tuple[JsonObject, int]] = []

    def waits() -> bool:
        """In a wait after the first; in which one depends on how long the tests before took."""
        told = site.container("crasher")
        message = str_at(told, "state", "waiting", "message")
        seen.extend((told, lasting[start]) for start in lasting if message.startswith(start))
        return bool(seen)

    site.until(waits, "it waits", "crasher")
    told, count = seen[-1]
    again = parse_time(str_at(told, "lastState", "terminated", "startedAt"))
    waited_s = 10 * (2 ** (count - 1) - 1)
    assert again - site.crashed_ms >= 1000 * waited_s - 1000, "times are told in whole seconds"
    assert int_at(told, "restartCount") == count
    assert kubectl(site.fleet, "logs", "crasher", "--previous") == "no\n"


def test_who_fills_the_disk_is_evicted_alone(site: Site) -> None:
    fill = "dd if=/dev/zero of=/room/much bs=1048576 count=130; sleep 1000"
    site.create(pod("greedy", box("app", fill)))
    site.until(lambda: str_at(site.status("greedy"), "reason") == "Evicted", "it is evicted", "greedy")
    assert str_at(site.status("greedy"), "phase") == "Failed", "told when it has ended"
    assert bool_at(site.container("whole"), "ready")

    def is_tainted() -> bool:
        node = site.fleet.find(f"/api/v1/nodes/{NODE}")
        return any("pressure" in str_at(each, "key") for each in maps_at(node, "spec", "taints"))

    site.until(lambda: not is_tainted(), "the node has room again")
    site.fleet.api().request("DELETE", f"{CORE}/pods/greedy", query={"gracePeriodSeconds": "0"})


def test_a_pod_ends_in_order(site: Site) -> None:
    mine = [pid for name, pid in site.containerd.pids().items() if name in runs_of(site.status("whole")).values()]
    kubectl(site.fleet, "delete", "pod", "whole", "--timeout=30s")
    assert (site.kept / "story").read_text().splitlines()[-3:] == ["asked", "app ends", "side ends"]
    assert len(mine) == 2 and not [pid for pid in mine if Path(f"/proc/{pid}").exists()]
