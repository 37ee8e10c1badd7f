"""The channels of exec, attach and port-forward in WebSocket messages, and how an exec ended. Pure; keeps nothing.

A message begins with its channel: a byte, or a digit where the rest is base64. Clients of all ages are about:
browsers speak base64, the e2e suite the first form without a version, Python and Go the fourth and fifth.

Sources: kubelet `pkg/kubelet/cri/streaming/remotecommand` and `portforward`, apiserver `pkg/util/proxy`,
`k8s.io/streaming` `httpstream/wsstream`.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from skerry.errors import BadRequestError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, encode_object, int_at
from skerry.objects.pod_streams import Exited, Resized

STDIN, STDOUT, STDERR, STATUS, RESIZE = range(5)
_CLOSE: Final = 255
"""v5: the next byte is a channel that is closed."""


class Channels(Frozen):
    """One subprotocol."""

    name: str
    is_base64: bool = False
    has_status: bool = True
    """How it ended is a Status; before v4 it is a line of text, and nothing where it ended well."""
    closes: bool = False
    """Channels can be closed one by one (v5)."""

    def encode(self, channel: int, data: bytes) -> bytes | str:
        """A message to the client."""
        if self.is_base64:
            return f"{channel}{base64.b64encode(data).decode()}"
        return bytes((channel,)) + data

    def decode(self, message: bytes | str) -> tuple[int, bytes] | None:
        """Channel and data; None for an empty message. Raises `BadRequestError`."""
        raw = message.encode() if isinstance(message, str) else message
        if not raw:
            return None
        if not self.is_base64:
            return raw[0], raw[1:]
        try:
            return raw[0] - ord("0"), base64.b64decode(raw[1:], validate=True)
        except binascii.Error as error:
            raise BadRequestError(f"a message is not base64: {error}") from error

    def closed(self, channel: int, data: bytes) -> int | None:
        """The channel that the client closes with this message; None: it closes none."""
        return data[0] if self.closes and channel == _CLOSE and data else None

    def closing(self, channel: int) -> bytes | None:
        """The message that closes a channel; None where there is none."""
        return bytes((_CLOSE, channel)) if self.closes else None


def _by_name(*known: Channels) -> Mapping[str, Channels]:
    return {each.name: each for each in known}


REMOTE_COMMAND: Final = _by_name(
    Channels(name="v5.channel.k8s.io", closes=True),
    Channels(name="v4.channel.k8s.io"),
    Channels(name="v4.base64.channel.k8s.io", is_base64=True),
    Channels(name="v3.channel.k8s.io", has_status=False),
    Channels(name="v2.channel.k8s.io", has_status=False),
    Channels(name="channel.k8s.io", has_status=False),
    Channels(name="base64.channel.k8s.io", is_base64=True, has_status=False),
    Channels(name="", has_status=False),
)
"""Of exec and attach, by name; "" for a client that names none."""
PORT_FORWARD: Final = _by_name(
    Channels(name="v5.channel.k8s.io", closes=True),
    Channels(name="v4.channel.k8s.io"),
    Channels(name="v4.base64.channel.k8s.io", is_base64=True),
    Channels(name=""),
)
BEARER: Final = "base64url.bearer.authorization.k8s.io."
"""Begins the subprotocol in which a browser gives its token."""


def _as_it_is(data: bytes) -> bytes:
    return data


def _in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


LOGS: Final[Mapping[str, Callable[[bytes], str | bytes]]] = {
    "binary.k8s.io": _as_it_is,
    "base64.binary.k8s.io": _in_base64,
    "": _as_it_is,
}
"""Of logs, which have no channels: how a piece goes into a message."""
TUNNELS: Final = ("SPDY/3.1+portforward.k8s.io", "v2.portforward.k8s.io")
"""SPDY inside a WebSocket, for port-forward: kubectl from 1.31 on, and 1.30 by its first name."""
SPDY_COMMAND: Final = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
)
SPDY_FORWARD: Final = ("portforward.k8s.io",)


def agreed(offered: Sequence[str], known: Sequence[str] | Mapping[str, object]) -> str | None:
    """The first that the client offers and we know; None where there is none."""
    return next((name for name in offered if name in known), None)


def offered_in(headers: Sequence[str]) -> list[str]:
    """Names in headers that may come several times, and list several each."""
    return [name.strip() for header in headers for name in header.split(",") if name.strip()]


def resize_of(data: bytes) -> Resized | None:
    """remotecommand.TerminalSize; None for what makes no sense, which a kubelet passes over as well."""
    try:
        said: Json = json.loads(data)
    except ValueError:
        return None
    width, height = int_at(said, "Width"), int_at(said, "Height")
    return Resized(width=width, height=height) if 0 < width < 65_536 and 0 < height < 65_536 else None


def status_of(exited: Exited, command: Sequence[str]) -> JsonObject:
    """metav1.Status, as a kubelet makes it: clients take the exit code out of its cause."""
    if exited.failure:
        what = "executing command in" if command else "attaching to"
        return internal_error(f"error {what} container: {exited.failure}")
    if exited.exit_code == 0:
        return {"metadata": {}, "status": "Success"}
    ended = f"error executing command [{' '.join(command)}], exit code {exited.exit_code}"
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: {ended}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(exited.exit_code)}]},
    }


def internal_error(why: str) -> JsonObject:
    """apimachinery's NewInternalError."""
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {why}",
        "reason": "InternalError",
        "details": {"causes": [{"message": why}]},
        "code": 500,
    }


def shown_status(status: JsonObject, *, has_status: bool) -> bytes:
    """What is written to the channel or stream for it; empty: nothing."""
    if has_status:
        return encode_object(status)
    return b"" if status["status"] == "Success" else str(status.get("message", "")).encode()
