"""Three replicas of one cloud on a PostgreSQL, and one of them killed: what its gateways and everybody's clients see.

No namespaces: what is measured is the cloud, on the loopback. The database is the one that SKERRY_BENCH_DATABASE
names, which must be empty, or a server that is started for the case.
"""

from __future__ import annotations

import base64
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.faults.case import Case, Figure, exactly
from benchmarks.faults.ground import CORE, DEVICES, config_map
from benchmarks.faults.scale import APPS, Light, deployment
from benchmarks.fleet.cloud import Cloud
from skerry.cli import kubeconfig
from skerry.cli.client import Client
from skerry.errors import SkerryError, UnavailableError
from skerry.objects.conditions import find_condition
from skerry.objects.json import JsonObject, decode_object, dig, maps_at, str_at
from skerry.objects.meta import uid_of
from skerry.testkit.real.power import Steward
from skerry.testkit.real.programs import until

GATEWAYS: Final = int(os.environ.get("SKERRY_FAULTS_REPLICAS", "90"))
MERGE_PATCH: Final = "application/merge-patch+json"
BEFORE_S, AFTER_S = 5.0, 60.0
"""How long readings and changes go on around the kill; after it for longer than a hub's Lease holds."""
LEASE: Final = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/skerry-cloudcore"


def client_of(cloud: Cloud) -> Client:
    return Client(cluster=kubeconfig.load(cloud.data / "admin.kubeconfig"))


@contextmanager
def database() -> Generator[str]:
    """The name of an empty one."""
    named = os.environ.get("SKERRY_BENCH_DATABASE", "")
    if named:
        yield named
        return
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        raise UnavailableError(
            "PostgreSQL is not installed (Debian: postgresql), and SKERRY_BENCH_DATABASE names none"
        )
    from tests.postgres_server import postgres_server  # of the repository, as this program is

    with postgres_server(durable=True) as server:
        yield server.dsn(server.create_database())


@dataclass(slots=True)
class Witness:
    """One client at one replica that survives: follows all ConfigMaps, and looks at the nodes all the time."""

    cloud: Cloud
    seen: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    """(revision, text) of the changes of the ConfigMap `shared` that its watch showed."""
    not_ready: int = 0
    looks: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watching(self) -> Generator[Witness]:
        threads = [threading.Thread(target=run, daemon=True) for run in (self._follow, self._look)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            threads[1].join()

    def _follow(self) -> None:
        query = {"watch": "true", "fieldSelector": "metadata.name=shared"}
        try:
            for line in client_of(self.cloud).lines(f"{CORE}/configmaps", query=query):
                event = decode_object(line)
                revision = int(str_at(event, "object", "metadata", "resourceVersion"))
                self.seen.append((revision, str_at(event, "object", "data", "text")))
        except (SkerryError, OSError):
            return  # the cloud is ended before its watcher is

    def _look(self) -> None:
        api = client_of(self.cloud)
        while not self._stop.wait(0.25):
            nodes = maps_at(api.request("GET", "/api/v1/nodes").obj, "items")
            self.looks += 1
            self.not_ready += sum(ready(node) != "True" for node in nodes)


def ready(node: JsonObject) -> str:
    return str_at(find_condition(maps_at(node, "status", "conditions"), "Ready"), "status")


@dataclass(slots=True)
class Ground:
    """Three replicas, and gateways spread over them."""

    replicas: list[Cloud]
    swarm: Light

    def at(self, cloud: Cloud) -> int:
        """How many gateways are connected to this replica."""
        return self.swarm.seen("at", address=f"127.0.0.1:{cloud.port}")

    def leader(self) -> Cloud:
        """The replica that leads: its log says so last."""
        told = [
            (cloud.data.with_suffix(".log").read_text().rfind(" leading identity="), cloud) for cloud in self.replicas
        ]
        return max(told, key=lambda each: each[0])[1]


@contextmanager
def ground(count: int) -> Generator[Ground]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        key = folder / "cluster.key"
        key.write_bytes(base64.b64encode(os.urandom(32)))
        key.chmod(0o600)
        flags = ("--database", stack.enter_context(database()), "--cluster-key", str(key), "--log-level", "info")
        replicas: list[Cloud] = []
        for number in range(3):
            cloud = Cloud(data=folder / f"replica-{number}", flags=flags)
            cloud.data.mkdir(mode=0o700)
            stack.callback(cloud.kill)
            cloud.start()
            replicas.append(cloud)
        addresses = ",".join(f"127.0.0.1:{cloud.port}" for cloud in replicas)
        command = [sys.executable, "-m", "benchmarks.faults.light_edges", str(replicas[0].data)]
        command += [str(folder / "light"), addresses, "0", str(count)]
        swarm = Light(Steward("light gateways", command, log=folder / "light.log"), count)
        stack.callback(swarm.steward.kill)
        swarm.until("connected")
        swarm.tell("tell")
        api = client_of(replicas[0])
        until(lambda: ready_nodes(api) == count, "all nodes to be Ready", within_s=300, every_s=0.25)
        yield Ground(replicas=replicas, swarm=swarm)


def ready_nodes(api: Client) -> int:
    return sum(ready(node) == "True" for node in maps_at(api.request("GET", "/api/v1/nodes").obj, "items"))


def bound_pods(api: Client) -> set[str]:
    """uids of the pods that have a node."""
    pods = maps_at(api.request("GET", f"{CORE}/pods").obj, "items")
    return {
        uid_of(pod)
        for pod in pods
        if str_at(pod, "spec", "nodeName") and dig(pod, "metadata", "deletionTimestamp") is None
    }


def numbers(api: Client, node: str) -> list[int]:
    """What the history holds of a gateway's readings, in its order."""
    found: list[int] = []
    query = {"property": "count", "limit": "5000"}
    while True:
        page = api.request("GET", f"{DEVICES}/devices/{node}/history", query=query).obj
        found += [int(str(item["value"])) for item in maps_at(page, "items")]
        query["continue"] = str_at(page, "metadata", "continue")
        if not query["continue"]:
            return found


def one_of_three() -> Sequence[Figure]:
    """The leader is killed while gateways tell readings and a ConfigMap that all use changes all the time."""
    with ground(GATEWAYS) as here, ExitStack() as stack:
        victim = here.leader()
        survivors = [cloud for cloud in here.replicas if cloud is not victim]
        api = client_of(survivors[0])
        api.request("POST", f"{CORE}/configmaps", body=config_map("shared", "0"))
        api.request("POST", f"{APPS}/deployments", body=deployment(GATEWAYS))
        here.swarm.until_holding("configmaps", "shared", '"0"', within_s=300)
        pods, at_victim = bound_pods(api), here.at(victim)
        witnesses = [stack.enter_context(Witness(cloud).watching()) for cloud in survivors]
        until(lambda: all(witness.seen for witness in witnesses), "the watches to begin")
        work = _Work(here, api)
        work.go_on(BEFORE_S)
        killed_s = time.monotonic()
        assert victim.process is not None
        victim.process.send_signal(signal.SIGKILL)
        victim.process.wait()
        moved_s = work.until_connected() - killed_s
        work.go_on(killed_s + AFTER_S - time.monotonic())
        in_step_s = here.swarm.until_holding("configmaps", "shared", f'"{work.round}"')
        told = list(range(1, work.said + 1))
        names = [f"light-{number}" for number in range(GATEWAYS)]
        until(lambda: len(numbers(api, names[-1])) >= work.said, "the last readings", within_s=120)
        held = {name: numbers(client_of(survivors[1]), name) for name in names}
        written = [str(number) for number in range(work.round + 1)]
        until(lambda: all(w.seen[-1][1] == written[-1] for w in witnesses), "the watches to be at the end")
        return [
            Figure(what="gateways, of which at the replica that is killed", value=at_victim),
            Figure(what="killed → all are connected to another", value=moved_s, unit="s", at_most=15),
            Figure(what="last change → all have it", value=in_step_s, unit="s", at_most=5),
            exactly("looks at which any node was not Ready", sum(w.not_ready for w in witnesses), 0),
            Figure(what="of looks", value=sum(w.looks for w in witnesses)),
            Figure(what="readings told", value=work.said * GATEWAYS),
            exactly("readings lost", sum(len(set(told) - set(held[name])) for name in names), 0),
            exactly(
                "readings twice or out of order", sum(held[name] != sorted(set(held[name])) for name in names), 0
            ),
            Figure(what="changes that two watches at the other replicas followed", value=work.round),
            exactly(
                "of them lost, twice or out of order",
                sum([text for _, text in w.seen] != written for w in witnesses),
                0,
            ),
            exactly("pods evicted or made anew", len(pods ^ bound_pods(api)), 0),
        ]


@dataclass(slots=True)
class _Work:
    """What goes on all the time: each round a reading of every gateway, and a change."""

    here: Ground
    api: Client
    round: int = 0
    said: int = 0

    def step(self) -> None:
        self.here.swarm.tell("say")
        self.said += 1
        body: JsonObject = {"data": {"text": str(self.round + 1)}}
        self.api.request("PATCH", f"{CORE}/configmaps/shared", body=body, content_type=MERGE_PATCH)
        self.round += 1
        time.sleep(0.2)

    def go_on(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.step()

    def until_connected(self) -> float:
        """When all of them are connected, to somebody who lives."""
        end_s = time.monotonic() + 120
        lost = False
        while time.monotonic() < end_s:
            connected = self.here.swarm.seen("connected")
            lost = lost or connected < self.here.swarm.count
            if lost and connected == self.here.swarm.count:
                return time.monotonic()
            self.step()
        raise UnavailableError("not all gateways found another replica within two minutes")


CASES = (
    Case(
        number=9,
        name="replicas",
        title="Three replicas, one of them killed",
        method=f"Three cloudcores on one PostgreSQL, {GATEWAYS} light gateways (the product's link over real TLS, a "
        f"pod each) spread over them; each tells five readings a second at most, and a ConfigMap that all use "
        f"changes as often, from {BEFORE_S:.0f} s before to {AFTER_S:.0f} s after the replica that leads is killed "
        f"(kill -9); heartbeat 30 s, grace 40 s; nodes looked at four times a second at both others, ConfigMaps "
        f"watched there.",
        kubeedge="pods stay Pending, as several cloudcores make the same ObjectSync (#4925)",
        run=one_of_three,
    ),
)
