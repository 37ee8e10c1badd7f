"""What the cells of the matrix stand on: a cloud and a gateway in step, and what is asked of both.

What runs on the gateway is asked of its engine (`benchmarks.matrix.engines`), with the agent alive or dead; what is
declared, and what is said of it, of the cloud's API.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.faults.ground import CORE, FLAGS, NODE, config_map, pod
from benchmarks.matrix.engines import Engine, Run
from skerry.errors import SkerryError
from skerry.objects.conditions import is_true
from skerry.objects.json import JsonObject, int_at, maps_at, str_at
from skerry.objects.meta import name_of, uid_of
from skerry.testkit.real.programs import EdgeProgram, until
from skerry.testkit.real.rig import Rig, RigSettings, rig
from skerry.testkit.real.sites import Link

APPS = "/apis/apps/v1/namespaces/default"
KEPT = "kept"
"""The pod that runs through all cells and is never touched."""
LOOK_S = 0.03


@dataclass(slots=True)
class World:
    """One cloud, one gateway."""

    rig: Rig
    edge: EdgeProgram
    engine: Engine
    powers_lost: int = 0

    @property
    def link(self) -> Link:
        return self.rig.sites[self.edge.node].link

    def running(self) -> list[Run]:
        return self.engine.running(self.edge.data)

    def lose_power(self) -> None:
        """Everything on the gateway is killed in one act."""
        self.edge.machine.power_off()
        self.powers_lost += 1

    def boot(self) -> None:
        """Whatever runs containers and the agent are started, neither waiting for the other."""
        self.edge.machine.power_on()
        self.engine.booted(self.edge.machine)
        self.edge.start()

    def pod(self, name: str, *configs: str, **spec: object) -> JsonObject:
        """One that mounts these ConfigMaps, of an image that there is."""
        return self.with_image(pod(name, *configs, node=self.edge.node, **spec))

    def with_image(self, declared: JsonObject) -> JsonObject:
        """The same pod, or template of one, with the engine's image."""
        for each in maps_at(declared, "spec", "containers"):
            each |= {"image": self.engine.image, "imagePullPolicy": "IfNotPresent"}
        return declared

    def declared(self) -> list[JsonObject]:
        """The gateway's pods as the cloud has them. Raises as the client does."""
        query = {"fieldSelector": f"spec.nodeName={self.edge.node}"}
        return maps_at(self.rig.cloud.api.request("GET", "/api/v1/pods", query=query).obj, "items")

    def is_as_declared(self) -> bool:
        """Every container of every declared pod runs once, and nothing else does."""
        try:
            pods = self.declared()
        except SkerryError:
            return False
        if any(str_at(each, "metadata", "deletionTimestamp") for each in pods):
            return False
        wanted = Counter(
            (uid_of(each), str_at(container, "name"))
            for each in pods
            for container in maps_at(each, "spec", "containers")
        )
        return Counter((state.pod_uid, state.name) for state in self.running()) == wanted and self._is_rolled_out()

    def _is_rolled_out(self) -> bool:
        """Every Deployment has the pods of its template, and no other."""
        found = self.rig.cloud.find(f"{APPS}/deployments")
        return found is not None and all(_is_whole(each) for each in maps_at(found, "items"))

    def is_told_right(self) -> bool:
        """The node is Ready, and what the cloud says of its pods is what the gateway runs."""
        try:
            pods = self.declared()
            node = self.rig.cloud.api.request("GET", f"/api/v1/nodes/{self.edge.node}").obj
        except SkerryError:
            return False
        runs = {(state.pod_uid, state.name): state for state in self.running()}
        ready = is_true(node, "Ready") and self.edge.link_state == "connected"
        return ready and all(_is_told(each, runs) for each in pods) and self._is_rolled_out()

    def attempt_of(self, name: str) -> int:
        """Of the run of this pod's container that is there; -1 for none."""
        uids = {uid_of(each) for each in self.declared() if name_of(each) == name}
        return max((state.attempt for state in self.running() if state.pod_uid in uids), default=-1)

    def settle(self, within_s: float = 60.0) -> None:
        until(
            lambda: self.is_as_declared() and self.is_told_right(), "the gateway to be as declared", within_s=within_s
        )


def _is_told(declared: JsonObject, runs: Mapping[tuple[str, str], Run]) -> bool:
    status = declared.get("status")
    if not isinstance(status, dict) or str_at(status, "phase") != "Running":
        return False
    if not is_true(declared, "Ready"):
        return False
    for told in maps_at(status, "containerStatuses"):
        run = runs.get((uid_of(declared), str_at(told, "name")))
        if run is None or int_at(told, "restartCount") != run.attempt:
            return False
        if str_at(told, "containerID").rpartition("//")[2] != run.id:
            return False
    return True


def _is_whole(deployment: JsonObject) -> bool:
    wanted = int_at(deployment, "spec", "replicas")
    told = [int_at(deployment, "status", name) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    observed = int_at(deployment, "status", "observedGeneration") == int_at(deployment, "metadata", "generation")
    return observed and told == [wanted] * 3


@dataclass
class Watcher:
    """Looks at what runs all the time, and remembers containers of which two ran at once."""

    world: World
    doubles: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    looks: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watching(self) -> Generator[Watcher]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            counted = Counter((state.pod_uid, state.name) for state in self.world.running())
            self.doubles |= {run for run, times in counted.items() if times > 1}
            self.looks += 1


@contextmanager
def world(*, edge_flags: tuple[str, ...] = (), cloud_flags: tuple[str, ...] = ()) -> Generator[Rig]:
    """A cloud, and no gateway yet."""
    with rig(RigSettings(cloud_flags=(*FLAGS, *cloud_flags), edge_flags=edge_flags)) as made:
        until(lambda: made.cloud.find(f"{CORE}/serviceaccounts/default"), "the default service account")
        yield made


def begin(here: World) -> None:
    """The gateway runs, is in step, and runs the pod that stays."""
    here.engine.booted(here.edge.machine)
    here.edge.start()
    until(lambda: here.edge.link_state == "connected", "the gateway to be connected", within_s=60)
    here.rig.cloud.create(f"{CORE}/configmaps", config_map("settings", "0"))
    here.rig.cloud.create(f"{CORE}/pods", here.pod(KEPT, "settings"))
    here.settle()


def text_mounted(data: Path) -> list[str]:
    """What pods read of the ConfigMap `settings` in their volumes."""
    return [path.read_text() for path in data.glob("pods/*/volumes/**/settings/text")]


__all__ = ["APPS", "CORE", "KEPT", "NODE", "Watcher", "World", "begin", "text_mounted", "world"]
