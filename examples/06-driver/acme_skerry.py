"""A driver for Acme's controllers, which take one line and answer one line over TCP: `GET level`, `SET speed 5`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from devices.mapper import (
    DeviceConfig,
    InvalidError,
    JsonObject,
    PollingDriver,
    Rehearsal,
    Sample,
    Services,
    Step,
    UnavailableError,
    Value,
    WriteResult,
)
from skerry.objects.twins import format_value, parse_value

TIMEOUT_S = 2.0


def driver(services: Services) -> PollingDriver:
    """What the entry point names."""
    return PollingDriver(Controller, clock=services.clock, ids=services.ids)


class Controller:
    """One device."""

    def __init__(self, config: DeviceConfig) -> None:
        """Read the configuration; speak to nobody yet. A mistake is an `InvalidError` that names the field."""
        host, port = config.protocol_config.get("host"), config.protocol_config.get("port")
        if not isinstance(host, str) or not isinstance(port, int):
            raise InvalidError("spec.protocol.configData: host and port are required")
        self._address = (host, port)
        self._names: dict[str, str] = {}
        self._types: dict[str, str] = {}
        self._lines: dict[str, str] = {}
        for prop in config.properties:
            where = f"spec.properties[{prop.name}].visitors.configData"
            for field in prop.visitor:
                if field != "name":
                    raise InvalidError(f"{where}.{field}: unknown field; there is name")
            self._names[prop.name] = str(prop.visitor.get("name", prop.name))
            self._types[prop.name] = prop.type

    async def read(self, names: Sequence[str]) -> Mapping[str, Sample]:
        """All of one cycle."""
        samples: dict[str, Sample] = {}
        for name in names:
            answer = await self._ask(f"GET {self._names[name]}")
            self._lines[name] = answer
            try:
                samples[name] = Sample(value=parse_value(self._types[name], answer))
            except InvalidError as error:
                samples[name] = Sample(value=None, reason=str(error))
        return samples

    async def write(self, name: str, value: Value, *, once: bool) -> WriteResult:
        """`applied`: it is read back by whoever called."""
        answer = await self._ask(self._command(name, value))
        if answer == "OK":
            return WriteResult(state="applied", reason="", read_back=None)
        return WriteResult(state="refused", reason=f"the controller says {answer}", read_back=None)

    async def _ask(self, line: str) -> str:
        """On a connection of its own: answers have no number here, and a late one, or one that comes twice, would be
        taken for the next."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                reader, writer = await asyncio.open_connection(*self._address)
                try:
                    writer.write(line.encode() + b"\n")
                    answer = await reader.readline()
                finally:
                    writer.close()
        except TimeoutError as error:
            raise UnavailableError(f"no answer within {TIMEOUT_S:g} s") from error
        except (OSError, ValueError) as error:
            raise UnavailableError(f"can't be reached: {error}") from error
        if not answer.endswith(b"\n"):
            raise UnavailableError("the connection ended before the answer")
        return answer.decode(errors="replace").strip()

    def _command(self, name: str, value: Value) -> str:
        return f"SET {self._names[name]} {format_value(value)}"

    def readable(self, name: str) -> bool:
        return True

    def place(self, name: str) -> str:
        return f"{self._names[name]} at {self._address[0]}:{self._address[1]}"

    def explained(self, name: str) -> tuple[JsonObject, tuple[Step, ...]]:
        """What `skerry device why` shows before the value."""
        line = self._lines.get(name)
        return ({}, ()) if line is None else ({"line": line}, (Step(name="line", says=line),))

    def rehearse(self, name: str, value: Value) -> Rehearsal:
        """What `skerry device set --dry-run` shows."""
        line = self._command(name, value)
        steps = (
            Step(name="value", says=f"{format_value(value)} ({self._types[name]})"),
            Step(name="line", says=line),
        )
        return Rehearsal(place=self.place(name), requests=({"line": line},), steps=steps, refusal="")

    async def close(self) -> None:
        """There is nothing to let go of."""
