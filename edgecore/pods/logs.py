"""Reads the logs of containers: the lines somebody asked for, from files that may be rotated meanwhile.

Keeps nothing; the files are the runtime's (CRI format: time, stream, P or F, text). Memory is one block, however
long the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from edgecore.pods.containers import runs_of, wanted_of
from edgecore.pods.log_files import (
    arriving,
    closed,
    followed,
    instant_ns,
    is_of,
    opened_together,
    shown,
    size_of,
    to_tail,
)
from edgecore.pods.parts import log_directory
from edgecore.pods.port import ContainerState, Runtime
from edgecore.pods.sources import Files, GatewayPods
from edgecore.pods.status import FINAL
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import BadRequestError, NotFoundError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, decode_object, map_at, maps_at, str_at
from skerry.objects.logs import LogRequest
from skerry.objects.meta import Key
from skerry.objects.times import parse_time
from skerry.ports import Clock

NS_PER_MS: Final = 1_000_000
_PULLS: Final = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}


class LogParts(Frozen):
    store: AsyncEdgeStore
    runtime: Runtime
    clock: Clock
    directory: Path
    files: Files | None = None
    """See `edgecore.pods.parts.PodParts`."""


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
        run = self._run(request, uid, await self._parts.runtime.list(uid))
        directory = log_directory(self._parts.directory, namespace=request.namespace, name=request.pod, uid=uid)
        path = directory / request.container / f"{run.attempt}.log"
        async for chunk in self._cut(request, self._lines(request, path, run)):
            yield chunk

    def _run(self, request: LogRequest, uid: str, containers: Sequence[ContainerState]) -> ContainerState:
        runs = runs_of(containers, request.container)
        if request.previous:
            if len(runs) < 2:
                raise BadRequestError(
                    f'previous terminated container "{request.container}" in pod "{request.pod}" not found'
                )
            return runs[-2]
        if not runs:
            raise BadRequestError(self._none(request, uid))
        return runs[-1]

    def _none(self, request: LogRequest, uid: str) -> str:
        """Why there is no log at all, as a kubelet words it (validateContainerLogStatus)."""
        body = self._parts.store.pod(uid)
        status = map_at(decode_object(body), "status") if body is not None else {}
        what = f'container "{request.container}" in pod "{request.pod}"'
        if str_at(status, "phase") in FINAL:
            return f"{what} is not available"
        parts = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
        told = [each for name in parts for each in maps_at(status, name)]
        reason = next(
            (
                str_at(each, "state", "waiting", "reason")
                for each in told
                if str_at(each, "name") == request.container
            ),
            "",
        )
        return f"{what} is waiting to start: {_PULLS.get(reason, reason or 'ContainerCreating')}"

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
        since_ns = self._since_ns(request)
        stream = f" {request.stream} ".encode() if request.stream else b""
        files, begins = opened_together(path), True
        if request.tail_lines is not None:
            await asyncio.to_thread(to_tail, files, request.tail_lines)
        async for entries in self._entries(path, files, run, follow=request.follow):
            kept = [
                entry
                for entry in entries
                if (not since_ns or instant_ns(entry) >= since_ns) and (not stream or is_of(entry, stream))
            ]
            if kept:
                lines: list[bytes] = []
                for entry in kept:
                    lines.append(shown(entry, timestamps=request.timestamps and begins))
                    begins = lines[-1].endswith(b"\n")
                yield b"".join(lines)

    async def _entries(
        self, path: Path, files: list[BinaryIO], run: ContainerState, *, follow: bool
    ) -> AsyncGenerator[list[bytes]]:
        """All entries in order, a block at a time; with `follow` also those to come until the container ends, and
        without it none that come from now on."""
        if follow:
            async for block in followed(path, files, lambda: self._runs(run)):
                yield block
            return
        try:
            for file, until in [(file, size_of(file)) for file in files]:
                async for block in arriving(file, until):
                    yield block
        finally:
            closed(files)

    def _since_ns(self, request: LogRequest) -> int:
        """Older entries are not wanted; 0 for all."""
        if request.since_time:
            return parse_time(request.since_time) * NS_PER_MS
        if request.since_s is not None:
            return (self._parts.clock.wall_ms() - request.since_s * 1000) * NS_PER_MS
        return 0

    async def _runs(self, run: ContainerState) -> bool:
        now = await self._parts.runtime.list(run.pod_uid)
        return any(state.id == run.id and state.phase != "exited" for state in now)
