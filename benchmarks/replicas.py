"""What the API takes in on SQLite and on PostgreSQL, alone and in three processes, and how soon another one shows it.

Clients and servers share the machine's cores. PostgreSQL is measured where SKERRY_BENCH_DATABASE names an empty
database, and as durable as that server is.

Run: python -m benchmarks replicas. Targets are those of the project's targets for the API.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import aiohttp

from benchmarks.fleet.cloud import Cloud
from skerry.cli import kubeconfig

Rows = list[tuple[str, str]]

DATABASE: Final = os.environ.get("SKERRY_BENCH_DATABASE", "")
CLIENTS: Final = 16
CREATES: Final = 6000
NOTICES: Final = 300
_CONFIGS: Final = "/api/v1/namespaces/default/configmaps"


def main() -> Rows:
    """The figures, as (what, value)."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        rows = _sqlite(folder)
        return rows + (_postgres(folder) if DATABASE else [("PostgreSQL", "not measured: SKERRY_BENCH_DATABASE")])


def _sqlite(folder: Path) -> Rows:
    with ExitStack() as stack:
        cloud = _started(stack, folder / "sqlite")
        return _creates("SQLite", [cloud])


def _postgres(folder: Path) -> Rows:
    key = folder / "cluster.key"
    key.write_bytes(base64.b64encode(os.urandom(32)))
    key.chmod(0o600)
    flags = ("--database", DATABASE, "--cluster-key", str(key))
    with ExitStack() as stack:
        clouds = [_started(stack, folder / "postgres-0", *flags)]
        rows = _creates("PostgreSQL, one process", clouds)
        clouds += [_started(stack, folder / f"postgres-{number}", *flags) for number in (1, 2)]
        rows += _creates("PostgreSQL, three processes", clouds)
        return rows + asyncio.run(_notices(clouds[0], clouds[1]))


def _started(stack: ExitStack, data: Path, *flags: str) -> Cloud:
    cloud = Cloud(data=data, flags=flags)
    data.mkdir(mode=0o700)
    stack.callback(cloud.kill)
    cloud.start()
    return cloud


def _creates(where: str, clouds: Sequence[Cloud]) -> Rows:
    took_s: list[float] = []
    before_s = sum(cloud.cpu_s for cloud in clouds)
    began_s = time.perf_counter()
    asyncio.run(_create_all(clouds, took_s))
    rate = CREATES / (time.perf_counter() - began_s)
    cpu_ms = 1000 * (sum(cloud.cpu_s for cloud in clouds) - before_s) / CREATES
    took_s.sort()
    p50, p99 = (1000 * took_s[round(part * (len(took_s) - 1))] for part in (0.5, 0.99))
    target = "" if where == "SQLite" else "  (target 2,000/s, p99 25 ms)"
    figure = f"{rate:.0f}/s, p50 {p50:.1f}, p99 {p99:.1f} ms{target}"
    return [
        (f"create ConfigMap, {CLIENTS} clients, {where}", figure),
        ("... processor time of all cloudcores for each", f"{cpu_ms:.2f} ms"),
    ]


async def _create_all(clouds: Sequence[Cloud], took_s: list[float]) -> None:
    run = f"{time.time_ns():x}"
    async with aiohttp.TCPConnector(limit=0) as connector, aiohttp.ClientSession(connector=connector) as session:

        async def client(which: int) -> None:
            cluster = kubeconfig.load(clouds[which % len(clouds)].data / "admin.kubeconfig")
            url = f"https://{cluster.host}:{cluster.port}{_CONFIGS}"
            for number in range(CREATES // CLIENTS):
                body = json.dumps(_config(f"{run}-{which}-{number}")).encode()
                sent_s = time.perf_counter()
                async with session.post(
                    url, data=body, headers={"Content-Type": "application/json"}, ssl=cluster.tls or False
                ) as response:
                    await response.read()
                    if response.status != 201:
                        raise SystemExit(f"not created: {response.status}")
                took_s.append(time.perf_counter() - sent_s)

        await asyncio.gather(*(client(which) for which in range(CLIENTS)))


def _config(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": "x" * 200}}


async def _notices(writer: Cloud, watcher: Cloud) -> Rows:
    """From when the answer to a write is there until a watch through another process shows it."""
    here, there = (kubeconfig.load(cloud.data / "admin.kubeconfig") for cloud in (writer, watcher))
    answered: dict[str, float] = {}
    shown: dict[str, float] = {}
    async with aiohttp.ClientSession() as session:
        url = f"https://{there.host}:{there.port}{_CONFIGS}?watch=true&labelSelector=bench%3Dnotice"
        async with session.get(url, ssl=there.tls or False, timeout=aiohttp.ClientTimeout(total=None)) as response:

            async def follow() -> None:
                async for line in response.content:
                    shown[json.loads(line)["object"]["metadata"]["name"]] = time.perf_counter()
                    if len(shown) == NOTICES:
                        return

            following = asyncio.create_task(follow())
            for number in range(NOTICES):
                config = _config(f"notice-{number}")
                config["metadata"] = {"name": f"notice-{number}", "labels": {"bench": "notice"}}
                url = f"https://{here.host}:{here.port}{_CONFIGS}"
                async with session.post(url, json=config, ssl=here.tls or False) as made:
                    await made.read()
                answered[f"notice-{number}"] = time.perf_counter()
                await asyncio.sleep(0.01)
            async with asyncio.timeout(30):
                await following
    late_ms = sorted(max(0.0, 1000 * (shown[name] - at_s)) for name, at_s in answered.items())
    p50, p99 = (late_ms[round(part * (len(late_ms) - 1))] for part in (0.5, 0.99))
    return [("from an answer until a watch through another process shows it", f"p50 {p50:.1f}, p99 {p99:.1f} ms")]
