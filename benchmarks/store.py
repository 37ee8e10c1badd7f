"""What the cloud's store costs: durable commits against the floor of raw SQLite, and the watch cache's memory.

Run: python -m benchmarks.store. The floor is measured in the same run on the same disk: the same rows (current
object and log) through `sqlite3` in one thread, WAL and synchronous=FULL. Figures are the best of three, because
the machine is shared.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from cloudcore.store.cache import following
from cloudcore.store.port import Batch, Put
from cloudcore.store.sql import open_sql_store
from skerry.clocks import SystemIds
from skerry.objects.meta import Key

Rows = list[tuple[str, str]]

BODY = json.dumps({"metadata": {"name": "pod"}, "spec": {"fill": "x" * 2300}}, separators=(",", ":")).encode()
"""About as large as a pod (2.4 KB)."""
SINGLE = 1000
GROUPED = 6400
CALLERS = 64
PODS = 10_000


def raw_commits_s(folder: Path, *, total: int, per_commit: int) -> float:
    """Objects a second through plain sqlite3."""
    connection = sqlite3.connect(folder / f"raw-{per_commit}.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE objects (ns TEXT, name TEXT, rev INT, body BLOB, PRIMARY KEY (ns, name))")
    connection.execute("CREATE TABLE log (rev INTEGER PRIMARY KEY, ns TEXT, name TEXT, body BLOB)")
    start = time.perf_counter()
    for first in range(0, total, per_commit):
        connection.execute("BEGIN IMMEDIATE")
        for number in range(first, first + per_commit):
            connection.execute("INSERT INTO objects VALUES (?, ?, ?, ?)", ("ns", f"p{number}", number, BODY))
            connection.execute("INSERT INTO log VALUES (?, ?, ?, ?)", (number, "ns", f"p{number}", BODY))
        connection.execute("COMMIT")
    elapsed = time.perf_counter() - start
    connection.close()
    return total / elapsed


async def our_commits_s(folder: Path, *, total: int, callers: int) -> float:
    """Objects a second through the store, each commit of one object awaited by one of `callers`."""
    store = await open_sql_store(folder / f"ours-{callers}.db", ids=SystemIds())

    async def caller(which: int) -> None:
        for number in range(total // callers):
            key = Key("pods", "ns", f"p{which}-{number}")
            await store.commit(Batch(writes=(Put(key=key, uid="u", body=BODY, expected=None),)))

    start = time.perf_counter()
    await asyncio.gather(*(caller(which) for which in range(callers)))
    elapsed = time.perf_counter() - start
    await store.close()
    return total / elapsed


def best(measure: Callable[[Path], float]) -> float:
    found: list[float] = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(Path(folder)))
    return max(found)


def best_async(measure: Callable[[Path], Awaitable[float]]) -> float:
    async def run(folder: Path) -> float:
        return await measure(folder)

    return best(lambda folder: asyncio.run(run(folder)))


def main() -> Rows:
    """(measure, figure) rows; prints them too."""
    raw_single = best(lambda folder: raw_commits_s(folder, total=SINGLE, per_commit=1))
    ours_single = best_async(lambda folder: our_commits_s(folder, total=SINGLE, callers=1))
    raw_grouped = best(lambda folder: raw_commits_s(folder, total=GROUPED, per_commit=CALLERS))
    ours_grouped = best_async(lambda folder: our_commits_s(folder, total=GROUPED, callers=CALLERS))
    rows: Rows = [
        ("raw sqlite3, 1 object a commit, FULL", f"{raw_single:,.0f}/s"),
        ("store, 1 caller", f"{ours_single:,.0f}/s ({ours_single / raw_single:.0%} of raw)"),
        (f"raw sqlite3, {CALLERS} objects a commit, FULL", f"{raw_grouped:,.0f}/s"),
        (f"store, {CALLERS} callers", f"{ours_grouped:,.0f}/s ({ours_grouped / raw_grouped:.0%} of raw)"),
        *cache_rows(),
    ]
    width = max(len(name) for name, _ in rows)
    for name, figure in rows:
        print(f"{name:<{width}}  {figure}")
    return rows


def cache_rows() -> Rows:
    """Measured in a process of its own, so that its memory is its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cache.db"
        asyncio.run(_fill(path))
        command = [sys.executable, "-c", "from benchmarks.store import measure_cache; measure_cache()", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    return [(str(name), str(figure)) for name, figure in json.loads(done.stdout)]


def measure_cache() -> None:
    """Print the cache's rows as JSON, for the store in the file named by the first argument."""
    print(json.dumps(asyncio.run(_measure_cache(Path(sys.argv[1])))))


async def _fill(path: Path) -> None:
    store = await open_sql_store(path, ids=SystemIds())
    for first in range(0, PODS, 500):
        puts = (
            Put(key=Key("pods", f"ns-{number % 50}", f"pod-{number}"), uid=f"uid-{number}", body=BODY, expected=None)
            for number in range(first, first + 500)
        )
        await store.commit(Batch(writes=tuple(puts)))
    await store.close()


async def _measure_cache(path: Path) -> Rows:
    store = await open_sql_store(path, ids=SystemIds())
    before = _resident_mb()
    start = time.perf_counter()
    async with following(store) as cache:
        loaded_s = time.perf_counter() - start
        grown = _resident_mb() - before
        start = time.perf_counter()
        joined = b",".join([stored.body for stored in cache.select("pods")])
        list_ms = 1000 * (time.perf_counter() - start)
        key = Key("pods", "ns-1", "pod-1")
        start = time.perf_counter()
        for _ in range(200):
            (revision,) = await store.commit(Batch(writes=(Put(key=key, uid="uid-1", body=BODY, expected=None),)))
            await cache.wait_for(revision, timeout_s=5)
        write_ms = 1000 * (time.perf_counter() - start) / 200
    await store.close()
    return [
        (f"cache of {PODS:,} pods of 2.4 KB, memory", f"{grown:.0f} MB"),
        ("load it", f"{1000 * loaded_s:.0f} ms"),
        (f"list them all ({len(joined) / 1e6:.0f} MB)", f"{list_ms:.0f} ms"),
        ("write and see it in the cache", f"{write_ms:.2f} ms"),
    ]


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


if __name__ == "__main__":
    main()
