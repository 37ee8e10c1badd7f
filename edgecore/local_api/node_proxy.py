"""`nodes/NAME/proxy`: a kubelet's own paths, asked by the cloud over a stream of the session. No port is open for it.

The cloud has decided that whoever asks may. HTTP is spoken on the stream as on any connection of the local API, and
what is answered is what it answers there; the agent's other paths are not for the cloud. Keeps nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final, Protocol

from edgecore.local_api.answers import Answer
from edgecore.local_api.bounds import Room
from edgecore.local_api.kubelet import is_kubelets
from edgecore.local_api.requests import Request, Stream, Talk
from skerry.errors import NotFoundError, UnavailableError
from skerry.forms.status import UNKNOWN_RESOURCE, MethodNotAllowedError
from skerry.objects.json import JsonObject
from skerry.objects.logs import LogRequest
from skerry.ports import Pipe

BODY_BYTES_MAX: Final = 64 * 1024
_HEALTH: Final = (("healthz",), ("livez",), ("readyz",), ("healthz", "ping"))


class Answers(Protocol):
    """See `edgecore.local_api.routes.Routes`."""

    async def answer(self, request: Request) -> Answer | Stream | Talk: ...


class Logs(Protocol):
    def __call__(self, params: JsonObject, /) -> AsyncGenerator[bytes]: ...


class NodeProxy:
    """A talker, once there is somebody who answers."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self._answers: Answers | None = None
        self._room = Room(body_bytes_max=BODY_BYTES_MAX, bytes_max=16 * BODY_BYTES_MAX)

    def begin(self, answers: Answers) -> None:
        """The local API is there."""
        self._answers = answers

    async def __call__(self, _params: JsonObject, pipe: Pipe, /) -> None:
        """Raises `UnavailableError`."""
        if self._answers is None:
            raise UnavailableError("this agent has no local API that could answer")
        from edgecore.local_api.connection import Connection  # h11: with the first client

        await Connection(_Reader(pipe), _Writer(pipe), self, uid=-1, room=self._room).serve()

    async def answer(self, request: Request) -> Answer | Stream | Talk:
        """Raises the errors of `skerry.errors`."""
        assert self._answers is not None
        match request.parts:
            case ("containerLogs", namespace, pod, container) if request.method == "GET":
                return self._log(request, namespace, pod, container)
            case () | ("containerLogs", *_):
                raise NotFoundError(UNKNOWN_RESOURCE)
            case parts if is_kubelets(parts) or parts in _HEALTH:
                if request.method not in ("GET", "HEAD"):
                    raise MethodNotAllowedError("a gateway's own paths are read with GET")
                return await self._answers.answer(request)
            case _:
                raise NotFoundError(UNKNOWN_RESOURCE)

    def _log(self, request: Request, namespace: str, pod: str, container: str) -> Stream:
        asked = LogRequest(
            namespace=namespace,
            pod=pod,
            uid="",
            container=container,
            follow=request.flag("follow"),
            previous=request.flag("previous"),
            timestamps=request.flag("timestamps"),
            tail_lines=request.number("tailLines") if request.text("tailLines") else request.number("tail"),
            since_s=request.number("sinceSeconds"),
            since_time=request.text("sinceTime"),
            limit_bytes=request.number("limitBytes"),
        )
        return Stream(chunks=self._logs(asked.params()), content_type="text/plain")


class _Reader:
    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._left = b""

    async def read(self, count: int, /) -> bytes:
        data = self._left or await self._pipe.read()
        self._left = data[count:]
        return data[:count]


class _Writer:
    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._waiting = bytearray()

    def write(self, data: bytes, /) -> None:
        self._waiting += data

    def get_extra_info(self, _name: str, /) -> object:
        return None

    async def drain(self) -> None:
        data, self._waiting = bytes(self._waiting), bytearray()
        await self._pipe.write(data)
