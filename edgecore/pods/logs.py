"""Reads the logs of containers: the lines somebody asked for, from files that may be rotated meanwhile.

Keeps nothing; the files are the runtime's (CRI format: time, stream, P or F, text). Memory is one block, however
long the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Final

from edgecore.pods.containers import runs_of, wanted_of
from edgecore.pods.log_files import blocks, files_of, is_of, opened, replaced, shown, stored
from edgecore.pods.port import ContainerState, Runtime
from edgecore.pods.sources import Files, GatewayPods
from edgecore.pods.worker import log_directory
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import BadRequestError, NotFoundError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, maps_at, str_at
from skerry.objects.logs import LogRequest
from skerry.objects.meta import Key
from skerry.objects.times import parse_time, time_text
from skerry.ports import Clock

FOLLOW_S: Final = 0.2
"""How often a followed file is looked at."""


class LogParts(Frozen):
    store: AsyncEdgeStore
    runtime: Runtime
    clock: Clock
    directory: Path
    files: Files | None = None
    """See `edgecore.pods.worker.PodParts`."""


class PodLogs:
    """A source of streams of kind `logs`, and of the local API."""

    def __init__(self, parts: LogParts) -> None:
        self._parts = parts
        self._pods = GatewayPods(parts.store, parts.files)

    def __call__(self, params: JsonObject) -> AsyncGenerator[bytes]:
        return self.read(LogRequest.of(params))

    async def read(self, request: LogRequest) -> AsyncGenerator[bytes]:
        """Raises `NotFoundError` (no such pod here) and `BadRequestError` (no such container, or nothing yet), as
        the kubelet words them."""
        found = self._pods.find(Key("pods", request.namespace, request.pod), request.uid)
        if found is None:
            raise NotFoundError(f'pods "{request.pod}" not found')
        uid, pod = found.uid, found.pod
        names = [one.name for one in wanted_of(pod)]
        names += [str_at(one, "name") for one in maps_at(pod, "spec", "ephemeralContainers")]
        if request.container not in names:
            raise BadRequestError(f"container {request.container} is not valid for pod {request.pod}")
        run = self._run(request, await self._parts.runtime.list(uid))
        directory = log_directory(self._parts.directory, namespace=request.namespace, name=request.pod, uid=uid)
        path = directory / request.container / f"{run.attempt}.log"
        async for chunk in self._cut(request, self._lines(request, path, run)):
            yield chunk

    @staticmethod
    def _run(request: LogRequest, containers: Sequence[ContainerState]) -> ContainerState:
        runs = runs_of(containers, request.container)
        if request.previous:
            if len(runs) < 2:
                raise BadRequestError(
                    f'previous terminated container "{request.container}" in pod "{request.pod}" not found'
                )
            return runs[-2]
        if not runs:
            raise BadRequestError(
                f'container "{request.container}" in pod "{request.pod}" is waiting to start: ContainerCreating'
            )
        return runs[-1]

    @staticmethod
    async def _cut(request: LogRequest, chunks: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        left = request.limit_bytes
        async for chunk in chunks:
            if left is None:
                yield chunk
                continue
            if left <= 0:
                return
            yield chunk[:left]
            left -= len(chunk)

    async def _lines(self, request: LogRequest, path: Path, run: ContainerState) -> AsyncGenerator[bytes]:
        since = self._since(request)
        stream = f" {request.stream} ".encode() if request.stream else b""
        skip, begins = 0, True
        if request.tail_lines is not None:
            # Counted first, then skipped: a tail of any length costs no memory.
            skip = max(sum(1 for _ in stored(path, since)) - request.tail_lines, 0)
        async for entries in self._entries(path, run, follow=request.follow):
            wanted = [
                entry
                for entry in entries
                if (not since or entry[: len(since)] >= since) and (not stream or is_of(entry, stream))
            ]
            kept = wanted[skip:]
            skip -= len(wanted) - len(kept)
            if kept:
                lines: list[bytes] = []
                for entry in kept:
                    lines.append(shown(entry, timestamps=request.timestamps and begins))
                    begins = lines[-1].endswith(b"\n")
                yield b"".join(lines)

    async def _entries(self, path: Path, run: ContainerState, *, follow: bool) -> AsyncGenerator[list[bytes]]:
        """All entries in order, a block at a time; with `follow` also those to come until the container ends."""
        for older in files_of(path)[:-1]:
            rotated = opened(older)
            if rotated is not None:
                with rotated:
                    for block in blocks(rotated):
                        yield block
        file = opened(path)
        last_round = not follow
        try:
            while True:
                for block in blocks(file) if file is not None else ():
                    yield block
                newer = replaced(path, file)
                if newer is not None:
                    if file is not None:
                        file.close()
                    file = newer
                elif last_round:
                    return
                else:
                    last_round = not await self._runs(run)  # then once more to the end
                    if not last_round:
                        await asyncio.sleep(FOLLOW_S)
        finally:
            if file is not None:
                file.close()

    def _since(self, request: LogRequest) -> bytes:
        """Entries that sort before this are older; b"" for all."""
        if request.since_time:
            return time_text(parse_time(request.since_time)).removesuffix("Z").encode()
        if request.since_s is not None:
            return time_text(self._parts.clock.wall_ms() - request.since_s * 1000).removesuffix("Z").encode()
        return b""

    async def _runs(self, run: ContainerState) -> bool:
        now = await self._parts.runtime.list(run.pod_uid)
        return any(state.id == run.id and state.phase != "exited" for state in now)
