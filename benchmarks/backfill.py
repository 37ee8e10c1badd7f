"""How fast a gateway's readings become the cloud's history, on SQLite and on PostgreSQL, over a real link.

Run: python -m benchmarks backfill. Of a backlog: how long it takes from when the gateway says what waits. Of what is
read now: what arrives of devices that are read as often as the target asks. Both processes and the database share
this machine's cores. Target: 5,000 readings a second.
"""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from skerry.objects.json import JsonObject, int_at, maps_at

if TYPE_CHECKING:
    from tests.system.real_fleet import RealFleet

Rows = list[tuple[str, str]]

_DEVICES: Final = "/apis/devices.kubeedge.io/v1beta1/namespaces/default"
READINGS: Final = 200_000
A_COMMIT: Final = 1000
MACHINES: Final = 25
POINTS: Final = 20
"""Of each machine."""
CYCLE_S: Final = 0.1
SETTLED_S: Final = 5.0
LIVE_S: Final = 15.0
_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")


def main() -> Rows:
    """The figures, as (what, value)."""
    from tests.postgres_server import postgres_server  # of the repository, as this program is
    from tests.system.real_fleet import real_fleet

    with tempfile.TemporaryDirectory() as directory, real_fleet(Path(directory)) as fleet:
        rows = _live(fleet)
    rows += _measured("SQLite")
    if shutil.which("pg_config") is None and not Path("/usr/lib/postgresql").exists():
        return [*rows, ("PostgreSQL", "not measured: it is not installed")]
    with postgres_server() as server, tempfile.TemporaryDirectory() as directory:
        key = Path(directory) / "cluster.key"
        key.write_bytes(base64.b64encode(os.urandom(32)))
        key.chmod(0o600)
        database = server.dsn(server.create_database())
        return rows + _measured("PostgreSQL", "--database", database, "--cluster-key", str(key))


def _measured(where: str, *flags: str) -> Rows:
    from tests.system.backlogs import pile_up, waiting
    from tests.system.real_fleet import boiler, real_fleet, until

    with (
        tempfile.TemporaryDirectory() as directory,
        real_fleet(Path(directory), "--records-per-series", str(2 * READINGS), *flags) as fleet,
    ):
        model, device = boiler([*range(1, 50)])
        fleet.create(f"{_DEVICES}/devicemodels", model)
        fleet.create(f"{_DEVICES}/devices", device)
        fleet.edge.start()
        until(lambda: fleet.history("boiler", "level"), "the first reading")
        fleet.edge.stop()
        pile_up(fleet, READINGS, a_commit=A_COMMIT)
        cloud_s = _cpu_s(fleet, "cloud")
        fleet.edge.start()
        until(lambda: waiting(fleet) > READINGS / 2, "the gateway to say what waits")
        edge_s = _cpu_s(fleet, "edge")
        left, began_s = waiting(fleet), time.perf_counter()
        until(lambda: waiting(fleet) < 1000, "the backlog to be there", deadline_s=600)
        took_s = time.perf_counter() - began_s
        return _rows(
            where, left, took_s, cloud_s=_cpu_s(fleet, "cloud") - cloud_s, edge_s=_cpu_s(fleet, "edge") - edge_s
        )


def _rows(where: str, count: int, took_s: float, *, cloud_s: float, edge_s: float) -> Rows:
    each: Sequence[tuple[str, float]] = (("cloudcore", cloud_s), ("edgecore", edge_s))
    return [
        (f"readings into the history, {where}", f"{count / took_s:,.0f}/s  (target 5,000)"),
        *((f"... processor time of {name} for each", f"{1e6 * cpu_s / count:.0f} us") for name, cpu_s in each),
    ]


def _live(fleet: RealFleet) -> Rows:
    """What arrives of what is read now."""
    model, _ = _machine(0)
    fleet.create(f"{_DEVICES}/devicemodels", model)
    fleet.edge.start()
    for number in range(MACHINES):
        fleet.create(f"{_DEVICES}/devices", _machine(number)[1])
    time.sleep(SETTLED_S)
    before, edge_s, cloud_s = _newest(fleet), _cpu_s(fleet, "edge"), _cpu_s(fleet, "cloud")
    began_s = time.perf_counter()
    time.sleep(LIVE_S)
    count, took_s = _newest(fleet) - before, time.perf_counter() - began_s
    edge_s, cloud_s = _cpu_s(fleet, "edge") - edge_s, _cpu_s(fleet, "cloud") - cloud_s
    asked = MACHINES * POINTS / CYCLE_S
    return _rows(f"read now, {asked:,.0f}/s asked for", count, took_s, cloud_s=cloud_s, edge_s=edge_s)


def _machine(number: int) -> tuple[JsonObject, JsonObject]:
    """A DeviceModel and a virtual Device with `POINTS` values that change with every cycle, all of them kept."""
    names = [f"p{point}" for point in range(POINTS)]
    properties: list[JsonObject] = [{"name": name, "type": "FLOAT", "accessMode": "ReadOnly"} for name in names]
    config: JsonObject = {"script": [f"{value / 8}" for value in range(97)], "twin": {"everyReading": True}}
    visited: list[JsonObject] = [
        {
            "name": name,
            "collectCycle": round(CYCLE_S * 1000),
            "reportToCloud": True,
            "visitors": {"configData": config},
        }
        for name in names
    ]
    api: JsonObject = {"apiVersion": "devices.kubeedge.io/v1beta1"}
    model: JsonObject = {
        **api,
        "kind": "DeviceModel",
        "metadata": {"name": "machine"},
        "spec": {"protocol": "virtual", "properties": [*properties]},
    }
    device: JsonObject = {
        **api,
        "kind": "Device",
        "metadata": {"name": f"machine-{number}"},
        "spec": {
            "nodeName": "eu-1",
            "deviceModelRef": {"name": "machine"},
            "protocol": {"protocolName": "virtual"},
            "properties": [*visited],
        },
    }
    return model, device


def _newest(fleet: RealFleet) -> int:
    """The number of the newest row: they count all rows of the store."""
    query = {"property": "p0", "order": "newest", "limit": "1"}
    found: list[int] = []
    for number in range(MACHINES):
        page = fleet.api().request("GET", f"{_DEVICES}/devices/machine-{number}/history", query=query).obj
        found += [int_at(item, "number") for item in maps_at(page, "items")]
    return max(found, default=0)


def _cpu_s(fleet: RealFleet, which: str) -> float:
    process = fleet.cloud.process if which == "cloud" else fleet.edge.process
    assert process is not None, "it runs"
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S
