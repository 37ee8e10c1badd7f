"""Where a device hangs, and how its line is spoken to: `spec.protocol.configData`, checked and made exact.

Pure. KubeEdge's forms are understood as they are (`tcp.ip`, `tcp.port`; `serialPort`, `baudRate`, `dataBits`,
`parity`, `stopBits`, flat or in `rtu` or `com`), and ours, which say more (`framing`, `tls`, `drainMs` ...).
docs/reference/devices.md describes every field.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from devices.fields import bool_in, decimal_in, int_in, map_in, refuse_unknown, text_in
from devices.modbus.frames import FRAMINGS, FramingName
from devices.plan import GAP_TCP, Limits, Range, gap_worth, parse_range
from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject

TCP_FIELDS: Final = ("ip", "host", "port", "slaveID", "unit")
SERIAL_FIELDS: Final = ("serialPort", "baudRate", "dataBits", "parity", "stopBits", "slaveID", "unit", "serialType")
LINE_FIELDS: Final = (
    "framing", "tls", "timeoutMs", "timeout", "pauseMs", "pauseAfterConnectMs", "drainMs", "silenceChars",
    "localEcho", "barrier", "registersMax", "bitsMax", "gapMax", "noRead", "verifyDelayMs",
)  # fmt: skip
PROTOCOL_FIELDS: Final = ("tcp", "rtu", "com", *TCP_FIELDS, *SERIAL_FIELDS, *LINE_FIELDS)
TLS_FIELDS: Final = ("caFile", "certFile", "keyFile", "serverName")

DEFAULT_PORT: Final = 502
"""IANA's, for Modbus TCP."""
SECURE_PORT: Final = 802
"""IANA's, for Modbus/TCP Security."""
BAUDS: Final = (
    300, 600, 1200, 1800, 2400, 4800, 9600, 14400, 19200, 28800, 38400, 57600, 76800, 115200, 128000, 230400, 256000,
    460800, 500000, 576000, 921600, 1000000, 1152000, 1500000, 2000000, 2500000, 3000000, 3500000, 4000000,
)  # fmt: skip

SLOW_CHARACTER_S: Final = 11 / 9600

Parity: TypeAlias = Literal["N", "E", "O"]
_PARITIES: Final[dict[str, Parity]] = {"none": "N", "n": "N", "even": "E", "e": "E", "odd": "O", "o": "O"}


class TlsFiles(Frozen):
    """Files on the gateway; "" is none."""

    ca_file: str
    """Whom the peer's certificate must come from; "" trusts the system's authorities."""
    cert_file: str
    key_file: str
    server_name: str
    """What the peer's certificate must name; "" is the host it is dialled by."""


class TcpEndpoint(Frozen):
    """A line reached by TCP."""

    host: str
    port: int
    framing: FramingName = "tcp"
    tls: TlsFiles | None = None

    def __str__(self) -> str:
        how = {"tcp": "", "rtu": " (RTU)", "ascii": " (ASCII)"}[self.framing]
        return f"{self.host}:{self.port}{how}"


class SerialEndpoint(Frozen):
    """A serial line of this machine."""

    path: str
    baud: int
    data_bits: int = 8
    parity: Parity = "N"
    stop_bits: int = 1
    framing: FramingName = "rtu"

    @property
    def character_s(self) -> float:
        """Start bit, data, parity, stop bits."""
        return (1 + self.data_bits + (self.parity != "N") + self.stop_bits) / self.baud

    def __str__(self) -> str:
        how = " (ASCII)" if self.framing == "ascii" else ""
        return f"{self.path} {self.baud} {self.data_bits}{self.parity}{self.stop_bits}{how}"


Endpoint: TypeAlias = TcpEndpoint | SerialEndpoint


class Manners(Frozen):
    """How one device wants to be spoken to; a line keeps to the gentlest of its devices."""

    timeout_s: float
    pause_s: float
    pause_after_connect_s: float
    drain_s: float
    silence_chars: float
    local_echo: bool
    barrier: bool
    verify_delay_s: float
    limits: Limits


def parse_endpoint(data: JsonObject, where: str) -> tuple[Endpoint, int]:
    """The line and the unit on it. Raises `InvalidError` that names the field and the fix."""
    refuse_unknown(data, PROTOCOL_FIELDS, where)
    tcp = map_in(data, "tcp", where=where)
    serial: JsonObject = {}
    refuse_unknown(tcp, TCP_FIELDS, f"{where}.tcp")
    for name in ("rtu", "com"):
        given = map_in(data, name, where=where)
        refuse_unknown(given, SERIAL_FIELDS, f"{where}.{name}")
        serial |= given
    both: JsonObject = {**data, **tcp, **serial}
    over_tcp = any(both.get(name) is not None for name in ("ip", "host"))
    if over_tcp == (both.get("serialPort") is not None):
        which = "both of them are there" if over_tcp else "neither is there"
        raise InvalidError(f"{where}: give either tcp.ip (and tcp.port) or serialPort; {which}")
    if over_tcp:
        unit = int_in(both, "slaveID", "unit", where=where, low=0, high=255, default=1)
        return _tcp_endpoint(both, where), unit
    unit = int_in(both, "slaveID", "unit", where=where, low=1, high=255, default=1)
    return _serial_endpoint(both, where), unit


def _framing(data: JsonObject, where: str, allowed: tuple[FramingName, ...]) -> FramingName:
    given = text_in(data, "framing", where=where, default=allowed[0]).lower()
    if given not in FRAMINGS:
        raise InvalidError(f"{where}.framing: {given!r} is not one of {', '.join(FRAMINGS)}")
    if given not in allowed:
        raise InvalidError(f"{where}.framing: a serial line speaks rtu or ascii, not {given}")
    return given


def _tcp_endpoint(data: JsonObject, where: str) -> TcpEndpoint:
    for name in ("baudRate", "dataBits", "parity", "stopBits"):
        if data.get(name) is not None:
            raise InvalidError(f"{where}.{name}: belongs to a serialPort; what is behind a gateway is set there")
    tls = _tls_files(data, where)
    host = text_in(data, "ip", "host", where=f"{where}.tcp")
    if not host:
        raise InvalidError(f"{where}.tcp.ip: must be an address or a name")
    return TcpEndpoint(
        host=host,
        port=int_in(
            data, "port", where=f"{where}.tcp", low=1, high=65535, default=SECURE_PORT if tls else DEFAULT_PORT
        ),
        framing=_framing(data, where, ("tcp", "rtu", "ascii")),
        tls=tls,
    )


def _tls_files(data: JsonObject, where: str) -> TlsFiles | None:
    if data.get("tls") is None:
        return None
    tls = map_in(data, "tls", where=where)
    where = f"{where}.tls"
    refuse_unknown(tls, TLS_FIELDS, where)
    files = TlsFiles(
        ca_file=text_in(tls, "caFile", where=where, default=""),
        cert_file=text_in(tls, "certFile", where=where, default=""),
        key_file=text_in(tls, "keyFile", where=where, default=""),
        server_name=text_in(tls, "serverName", where=where, default=""),
    )
    if files.key_file and not files.cert_file:
        raise InvalidError(f"{where}.certFile: required with keyFile")
    return files


def _serial_endpoint(data: JsonObject, where: str) -> SerialEndpoint:
    if data.get("tls") is not None or data.get("port") is not None:
        name = "tls" if data.get("tls") is not None else "port"
        raise InvalidError(f"{where}.{name}: a serial line has none")
    path = text_in(data, "serialPort", where=where)
    if not path.startswith("/"):
        raise InvalidError(f"{where}.serialPort: {path!r} is no path, as /dev/serial/by-id/... is")
    parity = text_in(data, "parity", where=where, default="none").lower()
    if parity not in _PARITIES:
        raise InvalidError(f"{where}.parity: {parity!r} is not one of none, even, odd")
    baud = int_in(data, "baudRate", where=where, low=BAUDS[0], high=BAUDS[-1])
    if baud not in BAUDS:
        nearest = min(BAUDS, key=lambda one: abs(one - baud))
        raise InvalidError(f"{where}.baudRate: no line has {baud}; did you mean {nearest}?")
    framing = _framing(data, where, ("rtu", "ascii"))
    data_bits = int_in(data, "dataBits", where=where, low=7, high=8, default=8)
    if data_bits == 7 and framing == "rtu":
        raise InvalidError(f"{where}.dataBits: RTU needs 8; 7 bits carry ASCII alone (framing: ascii)")
    return SerialEndpoint(
        path=path,
        baud=baud,
        data_bits=data_bits,
        parity=_PARITIES[parity],
        stop_bits=int_in(data, "stopBits", where=where, low=1, high=2, default=1),
        framing=framing,
    )


def parse_manners(data: JsonObject, endpoint: Endpoint, where: str) -> Manners:
    """Raises `InvalidError` that names the field and the fix."""
    timeout_ms = int_in(data, "timeoutMs", where=where, low=10, high=60_000, default=1000)
    silence = decimal_in(data, "silenceChars", where=where, default="3.5")
    if not 1 <= silence <= 100:
        raise InvalidError(f"{where}.silenceChars: must be from 1 to 100, not {silence}")
    barrier = bool_in(data, "barrier", where=where, default=False)
    if barrier and endpoint.framing == "tcp":
        raise InvalidError(f"{where}.barrier: Modbus TCP numbers its requests; only rtu and ascii need one")
    return Manners(
        timeout_s=timeout_ms / 1000,
        pause_s=int_in(data, "pauseMs", where=where, low=0, high=10_000, default=0) / 1000,
        pause_after_connect_s=int_in(data, "pauseAfterConnectMs", where=where, low=0, high=60_000, default=0) / 1000,
        drain_s=int_in(data, "drainMs", where=where, low=10, high=60_000, default=timeout_ms) / 1000,
        silence_chars=float(silence),
        local_echo=bool_in(data, "localEcho", where=where, default=False),
        barrier=barrier,
        verify_delay_s=int_in(data, "verifyDelayMs", where=where, low=0, high=10_000, default=0) / 1000,
        limits=Limits(
            registers_max=int_in(data, "registersMax", where=where, low=4, high=125, default=125),
            bits_max=int_in(data, "bitsMax", where=where, low=1, high=2000, default=2000),
            gap_max=int_in(data, "gapMax", where=where, low=0, high=124, default=_gap(endpoint)),
            no_read=_no_read(data, where),
        ),
    )


def _gap(endpoint: Endpoint) -> int:
    if isinstance(endpoint, SerialEndpoint):
        return gap_worth(endpoint.character_s)
    # The line behind a gateway is of a speed that nobody told.
    return GAP_TCP if endpoint.framing == "tcp" else gap_worth(SLOW_CHARACTER_S)


def _no_read(data: JsonObject, where: str) -> tuple[Range, ...]:
    given = data.get("noRead")
    if given is None:
        return ()
    if not isinstance(given, list):
        raise InvalidError(f"{where}.noRead: must be a list of places, such as [hr:100-120]")
    try:
        return tuple(parse_range(str(one)) for one in given)
    except InvalidError as error:
        raise InvalidError(f"{where}.noRead: {error}") from error
