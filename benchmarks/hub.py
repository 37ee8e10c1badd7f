"""One hub process and thousands of gateways: what each costs at rest, and how soon all are in step after a storm.

The hub is a real `cloudcore` on a prepared directory; the gateways are one process beside it (`benchmarks.fleet`),
with a certificate and a session each. Both share the machine's cores, so times hold the cost of both sides. How many:
SKERRY_BENCH_NODES (10,000 unless said), of which half take part in the storm and the change.

Run: python -m benchmarks hub. Targets and KubeEdge's figures are those of the project's targets for the session.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from benchmarks.fleet.cloud import Cloud, Gateways, fleet
from benchmarks.fleet.world import NAMESPACE, SHARED, make_world
from skerry.cli import kubeconfig
from skerry.cli.client import Client

Rows = list[tuple[str, str]]

NODES = int(os.environ.get("SKERRY_BENCH_NODES", "10000"))
STORM = NODES // 2
OWN_CONFIGS = 25
"""With node, service account, shared ConfigMap, Service and pod: a view of 30 objects."""
IDLE_S = 60
ACKNOWLEDGED_S = 2.0
"""From when all have a change until all have said so."""
QUIET_S_MAX = 600.0
IN_STEP_S_MAX = 900.0


def _row(what: str, figure: str, target: str, kubeedge: str) -> tuple[str, str]:
    return what, f"{figure}  (target {target}; KubeEdge {kubeedge})"


def main() -> Rows:
    """The figures, as (what, value)."""
    rows: Rows = [("gateways, objects in the view of each", f"{NODES}, 30")]
    with tempfile.TemporaryDirectory() as directory:
        world = make_world(Path(directory) / "cloud", nodes=NODES, own_configs=OWN_CONFIGS)
        with fleet(world) as (cloud, gateways):
            alone_mib = cloud.resident_mib
            rows += _storm(cloud, gateways)
            rows += _change(cloud, gateways)
            gateways.tell("start", first=STORM, last=NODES)
            gateways.until("settled", NODES, within_s=IN_STEP_S_MAX)
            rows += _at_rest(cloud, gateways, alone_mib)
    return rows


def _until_quiet(cloud: Cloud) -> float:
    """Conditions are written after everyone is in step; how long until that is over and the hub is at rest."""
    began_s = time.monotonic()
    while time.monotonic() < began_s + QUIET_S_MAX:
        before_s = cloud.cpu_s
        time.sleep(5)
        if cloud.cpu_s - before_s < 1.0:
            return time.monotonic() - began_s
    raise SystemExit("the hub does not come to rest")


def _storm(cloud: Cloud, gateways: Gateways) -> Rows:
    """First all come with nothing in their hands; then all links break at once."""
    gateways.tell("start", first=0, last=STORM)
    first_s = gateways.until("settled", STORM, within_s=IN_STEP_S_MAX)
    _until_quiet(cloud)
    gateways.tell("forget")
    before_s = cloud.cpu_s
    gateways.tell("drop")
    again_s = gateways.until("settled", STORM, within_s=IN_STEP_S_MAX)
    seen = gateways.tell("look")
    return [
        (f"{STORM} empty gateways at once until all are in step", f"{first_s:.1f} s"),
        _row(
            f"{STORM} gateways back at once until all are in step", f"{again_s:.1f} s", "20 s for 5,000", "untested"
        ),
        ("... of which the hub's own processor time", f"{cloud.cpu_s - before_s:.1f} s"),
        ("... asked to come back later", str(seen["busy"])),
    ]


def _change(cloud: Cloud, gateways: Gateways) -> Rows:
    """One ConfigMap that all of them use is changed through the API."""
    _until_quiet(cloud)
    gateways.tell("forget")
    client = Client(cluster=kubeconfig.load(cloud.data / "admin.kubeconfig"))
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{SHARED}"
    before_s = cloud.cpu_s
    client.request("PATCH", path, body={"data": {"value": "1"}}, content_type="application/merge-patch+json")
    began_s = time.monotonic()
    gateways.until("shared", STORM, within_s=120)
    seen = gateways.tell("look")
    took = f"{seen['shared_last_s'] - began_s:.2f} s"
    time.sleep(ACKNOWLEDGED_S)
    each_ms = 1000 * (cloud.cpu_s - before_s) / STORM
    return [
        _row(f"one ConfigMap changed on {STORM}: the last has it", took, "5 s for 5,000", "not published"),
        ("... the hub's own processor time for each, acknowledgement included", f"{each_ms:.3f} ms"),
        ("... sessions lost by silence meanwhile", str(seen["silent"])),
    ]


def _at_rest(cloud: Cloud, gateways: Gateways, alone_mib: float) -> Rows:
    quiet_s = _until_quiet(cloud)
    gateways.tell("forget")
    before_s = cloud.cpu_s
    time.sleep(IDLE_S)
    share = (cloud.cpu_s - before_s) / IDLE_S
    held_mib = cloud.resident_mib
    each_kib = (held_mib - alone_mib) * 1024 / NODES
    seen = gateways.tell("look")
    return [
        _row(f"memory of the whole cloud, {NODES} gateways held", f"{held_mib:.0f} MiB", "700 MiB", "not published"),
        ("... before the first came", f"{alone_mib:.0f} MiB"),
        (f"the last {NODES - STORM} in step until their conditions are written", f"{quiet_s:.0f} s"),
        _row("memory of an idle gateway, session and TLS", f"{each_kib:.1f} KiB", "60 KB", "270 KB"),
        _row("processor at rest", f"{share:.1%} of a core", "15 %", "not published"),
        ("sessions lost in that minute", str(seen["silent"] + seen["failed"])),
    ]


if __name__ == "__main__":
    for what, value in main():
        print(f"{what:60} {value}")
