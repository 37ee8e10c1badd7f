"""Many gateways: changes that concern all of them, and all of them coming back in one second."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.faults.case import NOT_TESTED, Case, Figure, exactly
from benchmarks.faults.ground import CORE, NODE, Ground, Readiness, config_map, ground
from skerry.objects.conditions import find_condition
from skerry.objects.json import JsonObject, int_at, maps_at, str_at
from skerry.testkit.real.power import Steward
from skerry.testkit.real.programs import until
from skerry.testkit.real.rig import hub_address

NODES = 40
SERVICES, ROUNDS = 100, 20
STORM = int(os.environ.get("SKERRY_FAULTS_STORM", "1000"))
APPS = "/apis/apps/v1/namespaces/default"


@dataclass(slots=True)
class Light:
    """The light gateways' process, as seen from here."""

    steward: Steward
    count: int

    def tell(self, do: str, **more: str) -> JsonObject:
        return self.steward.order({"do": do, **more})

    def seen(self, what: str, **more: str) -> int:
        return int_at(self.tell("look", **more), what)

    def until(self, what: str) -> float:
        """Wait until all of them are `what`; how long it took."""
        return until(lambda: self.seen(what) == self.count, f"all {self.count}: {what}", within_s=300, every_s=0.1)

    def until_holding(self, resource: str, name: str, text: str, *, within_s: float = 300) -> float:
        """Wait until all of them hold the object with this text in it; how long it took."""
        return until(
            lambda: self.seen("holding", resource=resource, name=name, text=text) == self.count,
            f"all {self.count} to hold {resource}/{name} with {text}",
            within_s=within_s,
            every_s=0.1,
        )


@contextmanager
def light(here: Ground, count: int) -> Generator[Light]:
    """So many gateways on the cloud's own network: what is measured is the cloud, not a line."""
    rig = here.rig
    with ThreadPoolExecutor(4) as pool:  # as joining would have done: nobody is admitted whose Node is not there
        list(pool.map(partial(rig.cloud.create, "/api/v1/nodes"), map(light_node, range(count))))
    address = hub_address(4) if rig.place else f"127.0.0.1:{rig.cloud.hub_port}"
    command = [*(rig.place.prefix if rig.place else []), sys.executable, "-m", "benchmarks.faults.light_edges"]
    command += [str(rig.cloud.data), str(rig.directory / "light"), address, "0", str(count)]
    swarm = Light(Steward("light gateways", command, log=rig.logs / "light.log"), count)
    try:
        swarm.until("connected")
        swarm.tell("tell")
        until(lambda: ready_lights(here) == count, "all nodes to be Ready", within_s=300, every_s=0.25)
        yield swarm
    finally:
        swarm.steward.kill()


def light_node(number: int) -> JsonObject:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"light-{number}"}}


def ready_lights(here: Ground) -> int:
    query = {"labelSelector": "light=yes"}
    listed = maps_at(here.rig.cloud.api.request("GET", "/api/v1/nodes", query=query).obj, "items")
    return sum(
        str_at(find_condition(maps_at(n, "status", "conditions"), "Ready"), "status") == "True" for n in listed
    )


def deployment(replicas: int) -> JsonObject:
    """A pod on each light node, all of which use the ConfigMap `shared`."""
    template: JsonObject = {
        "metadata": {"labels": {"app": "load"}},
        "spec": {
            "nodeSelector": {"light": "yes"},
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "DoNotSchedule",
                    "labelSelector": {"matchLabels": {"app": "load"}},
                }
            ],
            "volumes": [{"name": "shared", "configMap": {"name": "shared"}}],
            "containers": [{"name": "app", "image": "sh", "volumeMounts": [{"name": "shared", "mountPath": "/s"}]}],
        },
    }
    spec: JsonObject = {"replicas": replicas, "selector": {"matchLabels": {"app": "load"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "load"}, "spec": spec}


def service_changes() -> Sequence[Figure]:
    """2,000 changes of Services that forty gateways all hold."""
    with ground("--heartbeat-s", "5", "--node-grace-s", "1") as here, light(here, NODES) as swarm:
        cloud = here.rig.cloud
        cloud.create(f"{CORE}/configmaps", config_map("shared", "0"))
        cloud.create(f"{APPS}/deployments", deployment(NODES))
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(partial(cloud.create, f"{CORE}/services"), map(service, range(SERVICES))))
        swarm.until_holding("services", f"s-{SERVICES - 1}", '"round":"0"')
        sessions, cpu_s = swarm.seen("sessions"), here.cloud_cpu_s()
        nodes = frozenset({NODE, *(f"light-{n}" for n in range(NODES))})
        with Readiness(here, nodes).watching() as readiness, ThreadPoolExecutor(4) as pool:
            began = time.monotonic()
            for number in range(1, ROUNDS + 1):
                paths = [f"{CORE}/services/s-{each}" for each in range(SERVICES)]
                list(pool.map(partial(_set_round, here, number), paths))
            written_s = time.monotonic() - began
            last_s = swarm.until_holding("services", f"s-{SERVICES - 1}", f'"round":"{ROUNDS}"')
        return [
            exactly("looks at which any node was not Ready", sum(readiness.seen.values()), 0),
            exactly("sessions lost", swarm.seen("sessions") - sessions, 0),
            Figure(what="changes written in", value=written_s, unit="s"),
            Figure(what="last write → last gateway has it", value=last_s, unit="s", at_most=5),
            Figure(what="the cloud's processor time for all", value=here.cloud_cpu_s() - cpu_s, unit="s", at_most=60),
        ]


def service(number: int) -> JsonObject:
    spec: JsonObject = {"selector": {"app": "load"}, "ports": [{"port": 80}]}
    metadata: JsonObject = {"name": f"s-{number}", "annotations": {"round": "0"}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def _set_round(here: Ground, number: int, path: str) -> None:
    here.rig.cloud.patch(path, {"metadata": {"annotations": {"round": str(number)}}})


def storm() -> Sequence[Figure]:
    """Everybody is away, and comes back in the same second."""
    with ground("--heartbeat-s", "30", "--node-grace-s", "1") as here, light(here, STORM) as swarm:
        cloud = here.rig.cloud
        cloud.create(f"{CORE}/configmaps", config_map("shared", "0"))
        cloud.create(f"{APPS}/deployments", deployment(STORM))
        swarm.until_holding("configmaps", "shared", '"0"', within_s=600)
        swarm.tell("cut")
        until(lambda: ready_lights(here) == 0, "the cloud to have noticed all", within_s=300, every_s=0.25)
        cloud.patch(f"{CORE}/configmaps/shared", {"data": {"text": "1"}})
        before = here.cloud_memory_mib()
        Path(f"/proc/{here.cloud_pid()}/clear_refs").write_text("5")  # the peak is measured from here (proc(5))
        began = time.monotonic()
        swarm.tell("heal")
        connected_s = swarm.until("connected")
        swarm.until_holding("configmaps", "shared", '"1"')
        in_step_s = time.monotonic() - began
        until(lambda: ready_lights(here) == STORM, "all nodes to be Ready", within_s=300, every_s=0.25)
        ready_s = time.monotonic() - began
        peak = here.cloud_memory_mib("VmHWM")
        return [
            Figure(what="gateways", value=STORM),
            Figure(what="all connected after", value=connected_s, unit="s"),
            Figure(what="all have what changed meanwhile after", value=in_step_s, unit="s"),
            Figure(what="all Ready after", value=ready_s, unit="s", at_most=30),
            Figure(what="peak memory of the cloud", value=peak, unit="MiB", at_most=400),
            Figure(what="of which the storm", value=peak - before, unit="MiB"),
        ]


CASES = (
    Case(
        number=3,
        name="service-changes",
        title=f"{NODES} nodes, {SERVICES * ROUNDS:,} Service changes",
        method=f"{NODES} light gateways (the product's link over real TLS, no pods) each with a pod in the "
        f"Services' namespace; "
        f"{SERVICES} Services changed {ROUNDS} times, four writers; heartbeat 5 s, grace 1 s; nodes looked at "
        f"four times a second.",
        kubeedge="nodes flap between Ready and NotReady (#7278)",
        run=service_changes,
    ),
    Case(
        number=14,
        name="storm",
        title=f"{STORM:,} nodes reconnect in the same second",
        method="Light gateways (the product's link, session and backoff over real TLS 1.3 with a certificate "
        "each) in one process on the "
        "same two cores; all were Unknown, and a ConfigMap that all use has changed.",
        kubeedge=NOT_TESTED + " (left out of the 100,000-node report)",
        run=storm,
    ),
)
