"""Conversations with what runs in a pod: what is asked of a gateway on streams of kind `exec`, `attach` and
`portforward`, and what is said on them. Pure.

A forwarded port carries its bytes as they are. An exec or attach carries messages (`Messages`): standard input,
output and error, the size of the terminal, and how it ended. Input has a credit of its own: the gateway says how much
a process has read, so that one that reads nothing holds up neither the terminal's size nor the end of the input.
"""

from __future__ import annotations

import json
from typing import Final, Literal, TypeAlias

from skerry.errors import BadRequestError, ProtocolError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, bool_at, encode_object, int_at, str_at, strs_at

EXEC: Final = "exec"
ATTACH: Final = "attach"
FORWARD: Final = "portforward"
NODE_PROXY: Final = "nodeproxy"
"""Kinds of streams: the names of the subresources."""
INPUT_BYTES_MAX: Final = 256 * 1024
"""Of standard input on its way to a process that has not read it."""
COMMAND_BYTES_MAX: Final = 12 * 1024
"""Of a command with its arguments: it travels in one frame."""


class Whose(Frozen):
    """Which pod, and who asks: for the gateway's own log."""

    namespace: str
    pod: str
    uid: str
    by: str = ""

    def shown(self) -> JsonObject:
        return {"namespace": self.namespace, "pod": self.pod, "uid": self.uid, "by": self.by}


class Session(Frozen):
    """An exec (with a command) or an attach in a container."""

    whose: Whose
    container: str
    command: tuple[str, ...] = ()
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False

    @property
    def kind(self) -> Literal["exec", "attach"]:
        return EXEC if self.command else ATTACH

    def params(self) -> JsonObject:
        return {
            **self.whose.shown(),
            "container": self.container,
            "command": list(self.command),
            "stdin": self.stdin,
            "stdout": self.stdout,
            "stderr": self.stderr,
            "tty": self.tty,
        }

    @classmethod
    def of(cls, params: JsonObject) -> Session:
        """Raises `BadRequestError` where the container is not named."""
        session = cls(
            whose=_whose(params),
            container=str_at(params, "container"),
            command=tuple(strs_at(params, "command")),
            stdin=bool_at(params, "stdin"),
            stdout=bool_at(params, "stdout"),
            stderr=bool_at(params, "stderr"),
            tty=bool_at(params, "tty"),
        )
        if not session.container:
            raise BadRequestError("exec and attach: a container is required")
        return session


class Forward(Frozen):
    """One connection to a port of the pod."""

    whose: Whose
    port: int

    def params(self) -> JsonObject:
        return {**self.whose.shown(), "port": self.port}

    @classmethod
    def of(cls, params: JsonObject) -> Forward:
        """Raises `BadRequestError` for a port that is none."""
        port = int_at(params, "port")
        if not 1 <= port <= 65_535:
            raise BadRequestError(f"port {port} is none")
        return cls(whose=_whose(params), port=port)


def _whose(params: JsonObject) -> Whose:
    whose = Whose(
        namespace=str_at(params, "namespace"),
        pod=str_at(params, "pod"),
        uid=str_at(params, "uid"),
        by=str_at(params, "by"),
    )
    if not (whose.namespace and whose.pod):
        raise BadRequestError("namespace and pod are required")
    return whose


class Begun(Frozen):
    """Gateway to cloud, first: the process runs, or is attached to."""


class Input(Frozen):
    """Cloud to gateway: bytes for standard input."""

    data: bytes


class InputEnded(Frozen):
    """Cloud to gateway: no more of them."""


class InputRead(Frozen):
    """Gateway to cloud: the process has taken so many bytes of its input."""

    count: int


class Output(Frozen):
    """Gateway to cloud: bytes of standard output (1) or error (2)."""

    channel: Literal[1, 2]
    data: bytes


class Resized(Frozen):
    """Cloud to gateway: the terminal's size."""

    width: int
    height: int


class Exited(Frozen):
    """Gateway to cloud, last: how it ended. `failure`: it could not be run, or attached to, and why."""

    exit_code: int
    failure: str = ""


Message: TypeAlias = "Begun | Input | InputEnded | InputRead | Output | Resized | Exited"

_BEGUN, _INPUT, _OUTPUT, _ERROR, _EXITED, _RESIZED, _INPUT_ENDED, _INPUT_READ = range(8)
_HEAD_BYTES: Final = 4
PIECE_BYTES_MAX: Final = 64 * 1024
"""Of input or output in one message."""


def encode(message: Message) -> bytes:
    """As it travels: a byte that says what it is, three that say how long it is, and itself."""
    match message:
        case Begun():
            return _packed(_BEGUN, b"")
        case Input():
            return _packed(_INPUT, message.data)
        case InputEnded():
            return _packed(_INPUT_ENDED, b"")
        case InputRead():
            return _packed(_INPUT_READ, message.count.to_bytes(4, "big"))
        case Output():
            return _packed(_OUTPUT if message.channel == 1 else _ERROR, message.data)
        case Resized():
            return _packed(_RESIZED, message.width.to_bytes(2, "big") + message.height.to_bytes(2, "big"))
        case Exited():
            return _packed(_EXITED, encode_object({"exitCode": message.exit_code, "failure": message.failure[:4096]}))


def _packed(kind: int, data: bytes) -> bytes:
    assert len(data) <= PIECE_BYTES_MAX, "a writer cuts it"
    return bytes((kind,)) + len(data).to_bytes(_HEAD_BYTES - 1, "big") + data


class Messages:
    """Takes a stream of bytes apart. Keeps a message that is not whole yet."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, data: bytes) -> list[Message]:
        """Raises `ProtocolError` for what is none. A kind that only newer versions know is passed over."""
        self._buffer += data
        found: list[Message] = []
        while len(self._buffer) >= _HEAD_BYTES:
            size = int.from_bytes(self._buffer[1:_HEAD_BYTES], "big")
            if size > PIECE_BYTES_MAX:
                raise ProtocolError(f"a message of {size} bytes is over {PIECE_BYTES_MAX}")
            if len(self._buffer) < _HEAD_BYTES + size:
                break
            kind = self._buffer[0]
            body = bytes(self._buffer[_HEAD_BYTES : _HEAD_BYTES + size])
            del self._buffer[: _HEAD_BYTES + size]
            message = _message(kind, body)
            if message is not None:
                found.append(message)
        return found


def _message(kind: int, body: bytes) -> Message | None:
    match kind:
        case 0:
            return Begun()
        case 1:
            return Input(data=body)
        case 2:
            return Output(channel=1, data=body)
        case 3:
            return Output(channel=2, data=body)
        case 4:
            return _exited(body)
        case 5:
            return Resized(width=int.from_bytes(body[:2], "big"), height=int.from_bytes(body[2:4], "big"))
        case 6:
            return InputEnded()
        case 7:
            return InputRead(count=int.from_bytes(body[:4], "big"))
        case _:
            return None


def _exited(body: bytes) -> Exited:
    try:
        said: Json = json.loads(body)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise ProtocolError("how it ended makes no sense")
    return Exited(exit_code=int_at(said, "exitCode"), failure=str_at(said, "failure"))
