"""What a Device and its model say about HTTP, checked and made exact.

Pure. docs/reference/devices.md describes every field. Credentials are in a Secret, never in a Device, which is read
by many; of a device all URLs are of one origin, so that they go nowhere else.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from string import Template
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

from devices.fields import bool_in, int_in, map_in, refuse_unknown, text_in
from devices.layouts import LAYOUT_FIELDS, parse_layout
from devices.payload import Binary, Layout
from devices.port import DeviceConfig, PropertyConfig
from devices.templates import command_in, fill
from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, read_json
from skerry.objects.meta import Key

PROTOCOL_FIELDS: Final = (
    "url", "headers", "tls", "timeoutMs", "responseBytesMax", "redirects", "keepAlive", "verifyDelayMs",
)  # fmt: skip
VISITOR_FIELDS: Final = (
    *LAYOUT_FIELDS, "url", "method", "body", "headers", "writeUrl", "writeMethod", "writeTemplate", "writeType",
)  # fmt: skip
TEMPLATE_NAMES: Final = ("value", "json", "timestamp", "device", "property")
BYTES_MAX: Final = 256 * 1024
"""Of an answer, as of an MQTT message: `devices.payload` takes no larger one."""
HEADERS_MAX: Final = 32
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OURS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "te"})
_CREDENTIALS: Final = frozenset({"authorization", "proxy-authorization", "cookie"})
_PORTS: Final = {"http": 80, "https": 443}


class Origin(Frozen):
    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """As a Host header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


class Tls(Frozen, hidden=("key_pem",)):
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    server_name: str = ""
    ca_pem: str = ""
    cert_pem: str = ""
    key_pem: str = ""


class Question(Frozen):
    """A request that reads; properties that say the same share one."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: str


class Command(Frozen):
    """A request that writes."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    type: str
    template: Template | None
    """None: the value's bytes, as the layout has them."""


class HttpProperty(Frozen):
    config: PropertyConfig
    question: Question | None
    """None for a property that is only written."""
    layout: Layout
    command: Command | None
    """None for a property that is only read."""


class HttpDevice(Frozen, hidden=("credentials",)):
    key: Key
    origin: Origin
    tls: Tls
    credentials: Mapping[str, str]
    """Headers that are never shown."""
    timeout_s: float
    bytes_max: int
    redirects: int
    keep: bool
    """Connections are used again."""
    verify_delay_s: float
    properties: dict[str, HttpProperty]


def parse_device(config: DeviceConfig) -> HttpDevice:
    """Raises `InvalidError` that names the field and the fix."""
    where, data = "spec.protocol.configData", config.protocol_config
    refuse_unknown(data, PROTOCOL_FIELDS, where)
    base = text_in(data, "url", where=where)
    origin = origin_of(split(base, f"{where}.url"))
    headers = headers_in(data, where)
    return HttpDevice(
        key=config.device,
        origin=origin,
        tls=_tls(data, config.secret, where, origin),
        credentials=_credentials(config.secret, "spec.protocol.configData.secretRef"),
        timeout_s=int_in(data, "timeoutMs", where=where, low=10, high=60_000, default=5000) / 1000,
        bytes_max=int_in(data, "responseBytesMax", where=where, low=1, high=BYTES_MAX, default=BYTES_MAX),
        redirects=int_in(data, "redirects", where=where, low=0, high=10, default=3),
        keep=bool_in(data, "keepAlive", where=where, default=False),
        verify_delay_s=int_in(data, "verifyDelayMs", where=where, low=0, high=60_000, default=0) / 1000,
        properties={prop.name: _property(prop, base, origin, headers) for prop in config.properties},
    )


def split(url: str, where: str) -> SplitResult:
    """Raises `InvalidError` for what is no URL that can be asked."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise InvalidError(f"{where}: {url!r} is no URL: {error}") from error
    if parts.scheme not in _PORTS or not parts.hostname:
        raise InvalidError(f"{where}: must be a URL such as http://10.0.0.5/api/")
    if parts.username is not None or parts.password is not None:
        raise InvalidError(f"{where}: credentials belong into a Secret, which secretRef names")
    if any(not "!" <= each <= "~" for each in url):
        raise InvalidError(f"{where}: blanks and letters other than ASCII are written as %20")
    return parts


def join(base: str, url: str, where: str) -> SplitResult:
    """A URL that may be relative to another. Raises `InvalidError` for what is none."""
    try:
        whole = urljoin(base, url)
    except ValueError as error:
        raise InvalidError(f"{where}: {url!r} is no URL: {error}") from error
    return split(whole, where)


def origin_of(parts: SplitResult) -> Origin:
    """Of a URL that was looked at."""
    return Origin(scheme=parts.scheme, host=parts.hostname or "", port=parts.port or _PORTS[parts.scheme])


def target_of(parts: SplitResult) -> str:
    """What a request line has."""
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def headers_in(data: JsonObject, where: str) -> tuple[tuple[str, str], ...]:
    """`headers`, in order of their names. Raises `InvalidError`."""
    given, where = map_in(data, "headers", where=where), f"{where}.headers"
    if len(given) > HEADERS_MAX:
        raise InvalidError(f"{where}: at most {HEADERS_MAX}")
    out: list[tuple[str, str]] = []
    for name in sorted(given):
        if name.lower() in _CREDENTIALS:
            raise InvalidError(f"{where}.{name}: credentials belong into a Secret, which secretRef names")
        out.append((name, header(name, text_in(given, name, where=where, default=""), f"{where}.{name}")))
    return tuple(out)


def header(name: str, value: str, where: str) -> str:
    """The value. Raises `InvalidError` for what can't be sent, or is not theirs to say."""
    if not _TOKEN.fullmatch(name) or name.lower() in _OURS:
        raise InvalidError(f"{where}: {name!r} can't be set")
    if not _VALUE.fullmatch(value):
        raise InvalidError(f"{where}: has characters that a header can't have")
    return value.strip()


def _credentials(secret: Mapping[str, bytes], where: str) -> dict[str, str]:
    """What a Secret's keys come to: `username` and `password`, `token`, or `header.NAME`."""
    texts = {name: _text(value, name, where) for name, value in secret.items()}
    out: dict[str, str] = {}
    if "username" in texts or "password" in texts:
        pair = f"{texts.get('username', '')}:{texts.get('password', '')}"
        out["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    if "token" in texts:
        if out:
            raise InvalidError(f"{where}: the Secret has both a token and a password: one of them")
        out["Authorization"] = header("Authorization", "Bearer " + texts["token"].strip(), f"{where}: token")
    for name, value in texts.items():
        if name.startswith("header."):
            named = name.removeprefix("header.")
            out[named] = header(named, value.strip(), f"{where}: {name}")
    return out


def _text(value: bytes, name: str, where: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidError(f"{where}: {name} of the Secret is not UTF-8 text") from error


def _tls(data: JsonObject, secret: Mapping[str, bytes], where: str, origin: Origin) -> Tls:
    given, where = map_in(data, "tls", where=where), f"{where}.tls"
    refuse_unknown(given, ("caFile", "certFile", "keyFile", "serverName"), where)
    if "tls" in data and origin.scheme != "https":
        raise InvalidError(f"{where}: the url begins with http://, not https://")
    cert, key = (text_in(given, name, where=where, default="") for name in ("certFile", "keyFile"))
    if bool(cert) != bool(key):
        raise InvalidError(f"{where}: certFile and keyFile belong together")
    pems = {
        name: _text(secret[name], name, "spec.protocol.configData.secretRef") if name in secret else ""
        for name in ("ca.crt", "tls.crt", "tls.key")
    }
    if bool(pems["tls.crt"]) != bool(pems["tls.key"]):
        raise InvalidError("spec.protocol.configData.secretRef: tls.crt and tls.key belong together")
    return Tls(
        ca_file=text_in(given, "caFile", where=where, default=""),
        cert_file=cert,
        key_file=key,
        server_name=text_in(given, "serverName", where=where, default=""),
        ca_pem=pems["ca.crt"],
        cert_pem=pems["tls.crt"],
        key_pem=pems["tls.key"],
    )


def _property(prop: PropertyConfig, base: str, origin: Origin, common: tuple[tuple[str, str], ...]) -> HttpProperty:
    where, data = f"spec.properties[{prop.name}].visitors.configData", prop.visitor
    refuse_unknown(data, VISITOR_FIELDS, where)
    if "url" not in data and "writeUrl" not in data:
        raise InvalidError(f"{where}.url: required, or writeUrl for a property that is only written")
    headers = tuple(sorted((dict(common) | dict(headers_in(data, where))).items()))
    layout = parse_layout(data, prop, where)
    return HttpProperty(
        config=prop,
        question=_question(data, base, origin, headers, where),
        layout=layout,
        command=_command(data, base, origin, headers, layout, where),
    )


def _target(data: JsonObject, name: str, base: str, origin: Origin, where: str) -> str:
    parts = join(base, text_in(data, name, where=where), f"{where}.{name}")
    if origin_of(parts) != origin:
        raise InvalidError(f"{where}.{name}: must be at {origin}, as the device's url is")
    return target_of(parts)


def _question(
    data: JsonObject, base: str, origin: Origin, headers: tuple[tuple[str, str], ...], where: str
) -> Question | None:
    if "url" not in data:
        for name in ("method", "body"):
            if name in data:
                raise InvalidError(f"{where}.url: required with {name}")
        return None
    method = text_in(data, "method", where=where, default="GET").upper()
    if method not in ("GET", "POST"):
        raise InvalidError(f"{where}.method: {method!r} does not read: use GET or POST")
    body = text_in(data, "body", where=where, default="")
    if body and method == "GET":
        raise InvalidError(f"{where}.method: must be POST where there is a body")
    return Question(method=method, target=_target(data, "url", base, origin, where), headers=headers, body=body)


def _command(
    data: JsonObject,
    base: str,
    origin: Origin,
    headers: tuple[tuple[str, str], ...],
    layout: Layout,
    where: str,
) -> Command | None:
    named = [name for name in ("writeUrl", "writeMethod", "writeTemplate", "writeType") if name in data]
    if not named:
        return None
    method = text_in(data, "writeMethod", where=where, default="PUT").upper()
    if method not in ("PUT", "POST", "PATCH"):
        raise InvalidError(f"{where}.writeMethod: {method!r} does not write: use PUT, POST or PATCH")
    template = None
    if isinstance(layout.source, Binary) and "writeTemplate" not in data:
        if layout.source.offset or layout.source.codec.bit is not None:
            raise InvalidError(f"{where}.writeTemplate: required, as the value is only a part of the payload")
    else:
        template = command_in(data, "writeTemplate", where, TEMPLATE_NAMES)
    type = text_in(data, "writeType", where=where, default=_type_of(template))
    return Command(
        method=method,
        target=_target(data, "writeUrl" if "writeUrl" in data else "url", base, origin, where),
        headers=headers,
        type=header("Content-Type", type, f"{where}.writeType"),
        template=template,
    )


def _type_of(template: Template | None) -> str:
    """What a body is that nobody has named: JSON where it reads as such."""
    if template is None:
        return "application/octet-stream"
    try:
        read_json(fill(template, dict.fromkeys(TEMPLATE_NAMES, "1")))
    except InvalidError:
        return "text/plain; charset=utf-8"
    return "application/json"
