"""Lines on the command line: how they are named, opened and used, and how failures end a command.

    tcp://10.0.0.5        tcp://10.0.0.5:1502      rtu+tcp://gateway:4001      ascii+tcp://gateway:4001
    tls://10.0.0.5?caFile=ca.pem&certFile=me.pem&keyFile=me.key
    /dev/ttyUSB0?baudRate=9600&parity=even         ascii:///dev/ttyUSB0?baudRate=1200&dataBits=7

What follows the question mark are fields of `spec.protocol.configData` (docs/reference/devices.md). Nothing is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Final, ParamSpec
from urllib.parse import parse_qsl, urlsplit

import click

from devices.bus import ExceptionAnswerError, LineDownError, SilentError
from devices.modbus.channels import channel_to
from devices.modbus.endpoints import Endpoint, SerialEndpoint, parse_endpoint, parse_manners
from devices.modbus.frames import FRAMINGS
from devices.modbus.settings import WireSettings
from devices.modbus.wire import StreamWire, Trace
from skerry.cli.target import DeadlineError, RefusedError, failures_told
from skerry.clocks import SystemIds
from skerry.errors import BadRequestError, InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject

P = ParamSpec("P")

_SCHEMES: Final = {
    "tcp": "tcp", "tls": "tcp", "rtu+tcp": "rtu", "ascii+tcp": "ascii", "rtu": "rtu", "ascii": "ascii", "": "rtu",
}  # fmt: skip
WHERE: Final = "LINE"


class NamedLine(Frozen):
    """A line as somebody typed it."""

    endpoint: Endpoint
    data: JsonObject
    """The same as `configData`, for manifests that are written of it."""


def parse_line(text: str) -> NamedLine:
    """Raises `BadRequestError` that says how a line is named."""
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise BadRequestError(f"{text!r}: {error}") from error
    framing = _SCHEMES.get(parts.scheme)
    if framing is None:
        raise BadRequestError(f"{text!r}: {parts.scheme}:// is no line: use {', '.join(filter(None, _SCHEMES))}")
    data: JsonObject = dict(parse_qsl(parts.query))
    try:
        if parts.scheme in ("", "rtu", "ascii"):
            data["serialPort"] = parts.path
            data |= {"framing": "ascii"} if framing == "ascii" else {}
        else:
            tls: JsonObject = {
                name: data.pop(name) for name in ("caFile", "certFile", "keyFile", "serverName") if name in data
            }
            data["tcp"] = {"ip": parts.hostname or "", **({"port": parts.port} if parts.port else {})}
            data |= {"framing": framing} if framing != "tcp" else {}
            data |= {"tls": tls} if parts.scheme == "tls" else {}
        endpoint, _ = parse_endpoint(data, WHERE)
        parse_manners(data, endpoint, WHERE)
    except (InvalidError, ValueError) as error:
        raise BadRequestError(f"{text!r}: {error}") from error
    return NamedLine(endpoint=endpoint, data=data)


def wire_to(line: NamedLine, *, timeout_s: float, trace: Trace | None = None) -> StreamWire:
    """A wire of its own; close it."""
    endpoint = line.endpoint
    manners = parse_manners(line.data, endpoint, WHERE)
    settings = WireSettings(
        timeout_s=timeout_s,
        drain_s=max(timeout_s, manners.drain_s if "drainMs" in line.data else 0.0),
        pause_after_connect_s=manners.pause_after_connect_s,
        silence_chars=manners.silence_chars,
        character_s=endpoint.character_s if isinstance(endpoint, SerialEndpoint) else 0.0,
        local_echo=manners.local_echo,
    )
    return StreamWire(
        channel_to(endpoint, connect_s=max(timeout_s, 3.0)),
        FRAMINGS[endpoint.framing](),
        settings,
        name=str(endpoint),
        ids=SystemIds(),
        trace=trace,
    )


def told(command: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an asynchronous command; failures become messages and exit codes, as everywhere in `skerry`."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with failures_told():
            try:
                asyncio.run(command(*args, **kwargs))
            except ExceptionAnswerError as error:
                raise RefusedError(f"the device refuses: {error}") from error
            except SilentError as error:
                raise DeadlineError(str(error)) from error
            except LineDownError as error:
                in_use = "is in use" in str(error)
                hint = "; if it is a running agent, `skerry device read` asks through it" if in_use else ""
                raise LineDownError(f"{error}{hint}") from error

    return run


def seconds(text: str) -> float:
    """`200ms`, `2s`, or a number of seconds. Raises `BadRequestError`."""
    factor, digits = (0.001, text.removesuffix("ms")) if text.endswith("ms") else (1.0, text.removesuffix("s"))
    try:
        found = float(digits) * factor
    except ValueError as error:
        raise BadRequestError(f"{text!r} is no time: write 200ms or 2s") from error
    if not 0.01 <= found <= 60:
        raise BadRequestError(f"{text}: must be from 10ms to 60s")
    return found


line_argument = click.argument("line")
timeout_option = click.option(
    "--timeout", "patience", default="1s", show_default=True, help="So long an answer is awaited."
)


def listening(text: str) -> tuple[str, int]:
    """`127.0.0.1:1502`, or `:1502` on loopback. Raises `BadRequestError`."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise BadRequestError(f"{text!r} is no address to listen on: write 127.0.0.1:1502 or :1502")
    return host.strip("[]") or "127.0.0.1", int(port)
