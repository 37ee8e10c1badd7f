"""Where a property's readings are pushed beside the twin: KubeEdge's `pushMethod`, checked and made exact.

Pure. What a gateway can't do of it is told, and keeps nobody from being served: manifests that were written for
KubeEdge's mappers name databases and detectors that are a mapper's own. What KubeEdge has no field for (credentials,
TLS, another form) is `push` in the property's visitor, by method: a password is for one server, and is sent to no
other. Source of the fields: KubeEdge's API types of v1beta1; of the
payloads, its mapper framework.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Final, Literal, TypeAlias
from urllib.parse import SplitResult, quote, unquote, urlsplit

from devices.fields import bool_in, map_in, refuse_unknown, text_in
from devices.http.config import Origin, Tls, origin_of, split, target_of
from devices.mqtt.config import Broker
from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.device_models import properties_in
from skerry.objects.hosts import is_loopback
from skerry.objects.json import JsonObject, bool_at, decode_object, encode_object, int_at, map_at, str_at

PUSH: Final = "push"
"""Ours, in a visitor's `configData`."""
_SECURED: Final = ("username", "passwordFile", "tls", "allowPlain")
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "http": ("format", "tokenFile", *_SECURED),
    "mqtt": ("format", *_SECURED),
    "influxdb2": ("tokenFile", *_SECURED),
    "otel": ("tokenFile", *_SECURED),
}
"""By method."""
QOS_MIN: Final = 1
"""With 0 nobody says that a reading arrived, and it would be lost between here and the broker."""
TIMEOUT_S_DEFAULT: Final = 10.0
TIMEOUT_S_MAX: Final = 60.0
_BROKERS: Final[Mapping[str, bool]] = {"tcp": False, "mqtt": False, "ssl": True, "tls": True, "mqtts": True}
"""Schemes of a broker's address, and whether they are secure."""
_PLAIN: Final = "!$'()*,-./:;<>?@[]^_`{|}~ "
"""What a form's field may hold as it is: KubeEdge sends values as they are, and so does Skerry where that is read
back as the same."""
_TEXTS: Final = ("STRING", "BYTES")
_NUMBERS: Final = ("INT", "FLOAT", "DOUBLE")
_INT64: Final = (-(1 << 63), (1 << 63) - 1)
_TOPIC: Final = re.compile(r"[^\x00+#]{1,1000}")
_LINE: Final = re.compile(r"[^\x00-\x1f]{1,200}")

Format: TypeAlias = Literal["kubeedge", "json"]


class HttpPush(Frozen):
    origin: Origin
    target: str
    tls: Tls
    timeout_s: float
    username: str
    password_file: str
    token_file: str


class MqttPush(Frozen):
    broker: Broker
    topic: str
    qos: int
    retained: bool


class InfluxPush(Frozen):
    """InfluxDB 2, by its line protocol."""

    http: HttpPush
    measurement: str
    tags: tuple[tuple[str, str], ...]
    field: str


class OtelPush(Frozen):
    """A collector of OpenTelemetry, by OTLP over HTTP in its JSON form."""

    http: HttpPush


Place: TypeAlias = HttpPush | MqttPush | InfluxPush | OtelPush


class PushTarget(Frozen):
    """One place to which a property's readings go."""

    method: str
    """`http`, `mqtt`, `influxdb2` or `otel`."""
    to: Place
    format: Format

    @property
    def place(self) -> str:
        """The server."""
        match self.to:
            case HttpPush():
                return str(self.to.origin)
            case MqttPush():
                return f"{'mqtts' if self.to.broker.tls else 'mqtt'}://{self.to.broker}"
            case InfluxPush() | OtelPush():
                return str(self.to.http.origin)

    @property
    def server(self) -> tuple[Origin | Broker, Tls | None]:
        """What is there or away as one: with other credentials or certificates it may be otherwise."""
        match self.to:
            case MqttPush():
                return self.to.broker, None
            case HttpPush():
                return self.to.origin, self.to.tls
            case InfluxPush() | OtelPush():
                return self.to.http.origin, self.to.http.tls

    @property
    def files(self) -> tuple[str, ...]:
        """On the gateway, that it names."""
        match self.to:
            case MqttPush():
                broker = self.to.broker
                named = (broker.password_file, broker.ca_file, broker.cert_file, broker.key_file)
            case HttpPush() | InfluxPush() | OtelPush():
                http = self.to if isinstance(self.to, HttpPush) else self.to.http
                named = (http.password_file, http.token_file, http.tls.ca_file, http.tls.cert_file, http.tls.key_file)
        return tuple(path for path in named if path)


class Told(Frozen):
    """A reading as it is pushed."""

    namespace: str
    device: str
    prop: str
    value: str | None
    """None: there is none, for the `reason`. Said in JSON alone."""
    type: str
    unit: str
    quality: str
    reason: str
    source_ms: int
    seq: int


class Way(Frozen):
    """Of what waits in one queue: a device's property, how it is pushed, and to which server."""

    namespace: str
    device: str
    prop: str
    method: str
    place: str


def queue_name(namespace: str, device: str, prop: str, target: PushTarget) -> str:
    """In which its pushes wait."""
    return f"{namespace}/{device} {quote(prop, safe='')} {target.method} {target.place}"


def way_of(queue: str) -> Way:
    """What a queue's name says."""
    device, prop, method, place = queue.split(" ", 3)
    namespace, _, name = device.partition("/")
    return Way(namespace=namespace, device=name, prop=unquote(prop), method=method, place=place)


def methods_asked(device: JsonObject) -> frozenset[tuple[str, str]]:
    """Property and method of each `pushMethod` that is done here, whether or not it says enough to be done."""
    return frozenset(
        (name, method.rpartition(".")[2])
        for name, instance in properties_in(device).items()
        for method, _ in _methods(map_at(instance, "pushMethod"))
        if method in _MAKING
    )


def push_targets(
    device: JsonObject, model: JsonObject | None
) -> tuple[Mapping[str, tuple[PushTarget, ...]], tuple[str, ...]]:
    """By property, where its readings go; and what of its `pushMethod`s is not done, in words."""
    modelled = properties_in(model or {})
    found: dict[str, tuple[PushTarget, ...]] = {}
    untold: list[str] = []
    for name, instance in properties_in(device).items():
        if not map_at(instance, "pushMethod"):
            continue
        visitor = {
            **map_at(modelled.get(name, {}), "visitors", "configData"),
            **map_at(instance, "visitors", "configData"),
        }
        kind = str_at(modelled.get(name, {}), "type").upper()
        targets, left = pushes_in(instance, visitor, f"spec.properties[{name}]", type=kind)
        untold += left
        if targets:
            found[name] = targets
    return found, tuple(untold)


def pushes_in(
    instance: JsonObject, visitor: JsonObject, where: str, *, type: str = ""
) -> tuple[tuple[PushTarget, ...], tuple[str, ...]]:
    """The same of one property. `visitor` is the instance's over the model's; `type` "" is not known."""
    asked, here = map_at(instance, "pushMethod"), f"{where}.pushMethod"
    ours_at = f"{where}.visitors.configData.{PUSH}"
    try:
        ours = map_in(visitor, PUSH, where=f"{where}.visitors.configData")
        refuse_unknown(ours, tuple(FIELDS), ours_at)
    except InvalidError as error:
        return (), (str(error),)
    found: list[PushTarget] = []
    untold: list[str] = []
    for method, given in _methods(asked):
        name, at = method.rpartition(".")[2], f"{here}.{method}"
        making = _MAKING.get(method)
        if making is None:
            untold.append(f"{at}: not done by this gateway; a mapper may")
            continue
        if name == "otel" and type in _TEXTS:
            untold.append(f"{at}: metrics are numbers, and this is a {type}")
            continue
        try:
            its = map_in(ours, name, where=ours_at)
            refuse_unknown(its, FIELDS[name], f"{ours_at}.{name}")
            to = making(given, _Ours(said=its, at=f"{ours_at}.{name}"), at)
            found.append(PushTarget(method=name, to=to, format=_format(its, f"{ours_at}.{name}")))
        except InvalidError as error:
            untold.append(str(error))
    return tuple(found), tuple(untold)


def _methods(asked: JsonObject) -> list[tuple[str, JsonObject]]:
    out: list[tuple[str, JsonObject]] = []
    for name in asked:
        if name == "dbMethod":
            out += [(f"dbMethod.{each}", map_at(asked, name, each)) for each in map_at(asked, name)]
        else:
            out.append((name, map_at(asked, name)))
    return out


class _Ours(Frozen):
    """What is said of one method beside KubeEdge's fields, and where."""

    said: JsonObject
    at: str


def _format(ours: JsonObject, where: str) -> Format:
    match text_in(ours, "format", where=where, default="kubeedge"):
        case "kubeedge":
            return "kubeedge"
        case "json":
            return "json"
        case other:
            raise InvalidError(f"{where}.format: {other!r} is not one of kubeedge, json")


# --- places -----------------------------------------------------------------------------------------------


def _http(given: JsonObject, ours: _Ours, where: str) -> HttpPush:
    host, port, path = str_at(given, "hostName").rstrip("/"), int_at(given, "port"), str_at(given, "requestPath")
    if not host:
        raise InvalidError(f"{where}.hostName: required, such as http://10.0.0.5")
    if not 0 <= port <= 65535:
        raise InvalidError(f"{where}.port: {port} is not one of 1 to 65535")
    parts = _url(host if "://" in host else f"http://{host}", f"{where}.hostName", ours.at)
    if parts.path:
        raise InvalidError(f"{where}.hostName: a path is written as requestPath")
    if port and parts.port not in (None, port):
        raise InvalidError(f"{where}.port: {port}, and hostName says {parts.port}")
    if "#" in path:
        raise InvalidError(f"{where}.requestPath: a server is not told what comes after #")
    whole = f"{parts.geturl()}{f':{port}' if port and parts.port is None else ''}"
    split(f"{whole}{_rooted(path)}", f"{where}.requestPath")
    return _to(f"{whole}{_rooted(path)}", ours, f"{where}.hostName", timeout_s=_timeout_s(given))


def _url(url: str, where: str, ours_at: str) -> SplitResult:
    """Of a server, without a query. Raises `InvalidError`."""
    try:
        parts = urlsplit(url)
        has_user = parts.username is not None or parts.password is not None
    except ValueError as error:
        raise InvalidError(f"{where}: {url!r} is no URL: {error}") from error
    if has_user:
        raise InvalidError(f"{where}: credentials are {ours_at}.username and a file, .passwordFile")
    if "?" in url or "#" in url:
        raise InvalidError(f"{where}: has neither ? nor #")
    return split(url, where)


def _rooted(path: str) -> str:
    return path if not path or path.startswith("/") else f"/{path}"


def _timeout_s(given: JsonObject) -> float:
    """KubeEdge says no unit, and reads it nowhere. Nobody waits a quarter of an hour for one push: from a thousand on
    they are milliseconds."""
    given_s = float(int_at(given, "timeout"))
    given_s = given_s / 1000 if given_s >= 1000 else given_s
    return min(given_s, TIMEOUT_S_MAX) if given_s > 0 else TIMEOUT_S_DEFAULT


def _to(url: str, ours: _Ours, where: str, *, timeout_s: float) -> HttpPush:
    parts = split(url, where)
    origin = origin_of(parts)
    username, password_file = _user(ours)
    token_file = _file(ours.said, "tokenFile", ours.at)
    if token_file and username:
        raise InvalidError(f"{ours.at}: has both tokenFile and username: one of them")
    tls, secure = _tls(ours), origin.scheme == "https"
    if "tls" in ours.said and not secure:
        raise InvalidError(f"{where}: {ours.at}.tls is for https://")
    if username or token_file:
        _refuse_plain(ours, origin.host, secure=secure)
    return HttpPush(
        origin=origin,
        target=target_of(parts),
        tls=tls,
        timeout_s=timeout_s,
        username=username,
        password_file=password_file,
        token_file=token_file,
    )


def _mqtt(given: JsonObject, ours: _Ours, where: str) -> MqttPush:
    address, topic = str_at(given, "address"), str_at(given, "topic")
    try:
        parts = urlsplit(address if "://" in address else f"tcp://{address}")
        host, port = parts.hostname, parts.port
        has_user = parts.username is not None or parts.password is not None
    except ValueError as error:
        raise InvalidError(f"{where}.address: {address!r} is no address: {error}") from error
    if has_user:
        raise InvalidError(f"{where}.address: credentials are {ours.at}.username and a file, .passwordFile")
    if parts.scheme not in _BROKERS or not host or parts.path.strip("/") or parts.query or parts.fragment:
        raise InvalidError(f"{where}.address: {address!r}: write tcp://HOST:PORT, or ssl://HOST:PORT")
    if not _TOPIC.fullmatch(topic):
        raise InvalidError(f"{where}.topic: required, without + and #")
    qos, secure = int_at(given, "qos"), _BROKERS[parts.scheme]
    if qos not in (0, 1, 2):
        raise InvalidError(f"{where}.qos: {qos} is not one of 0, 1, 2")
    if "tls" in ours.said and not secure:
        raise InvalidError(f"{where}.address: {ours.at}.tls is for ssl://")
    username, password_file = _user(ours)
    if username:
        _refuse_plain(ours, host, secure=secure)
    tls = _tls(ours)
    broker = Broker(
        host=host,
        port=port or (8883 if secure else 1883),
        username=username,
        password_file=password_file,
        tls=secure,
        ca_file=tls.ca_file,
        cert_file=tls.cert_file,
        key_file=tls.key_file,
        session_expiry_s=1,
    )
    return MqttPush(broker=broker, topic=topic, qos=max(qos, QOS_MIN), retained=bool_at(given, "retained"))


def _influx(given: JsonObject, ours: _Ours, where: str) -> InfluxPush:
    client, data = map_at(given, "influxdb2ClientConfig"), map_at(given, "influxdb2DataConfig")
    url, org, bucket = (str_at(client, name) for name in ("url", "org", "bucket"))
    measurement, field = str_at(data, "measurement"), str_at(data, "fieldKey", default="value") or "value"
    tags = {name: text for name, text in map_at(data, "tag").items() if isinstance(text, str) and text}
    for name, text in (("influxdb2ClientConfig.bucket", bucket), ("influxdb2DataConfig.measurement", measurement)):
        if not text:
            raise InvalidError(f"{where}.{name}: required")
    if any(not _LINE.fullmatch(text) for text in (measurement, field, *tags, *tags.values())):
        raise InvalidError(f"{where}.influxdb2DataConfig: names and tags have no line breaks")
    _url(url, f"{where}.influxdb2ClientConfig.url", ours.at)
    query = f"org={quote(org, safe='')}&bucket={quote(bucket, safe='')}&precision=ns"
    to = _to(f"{url.rstrip('/')}/api/v2/write?{query}", ours, f"{where}.influxdb2ClientConfig.url", timeout_s=10.0)
    return InfluxPush(http=to, measurement=measurement, tags=tuple(sorted(tags.items())), field=field)


def _otel(given: JsonObject, ours: _Ours, where: str) -> OtelPush:
    url = str_at(given, "endpointURL")
    if not url:
        raise InvalidError(f"{where}.endpointURL: required, such as http://10.0.0.9:4318/v1/metrics")
    parts = _url(url, f"{where}.endpointURL", ours.at)
    whole = url if parts.path.strip("/") else f"{url.rstrip('/')}/v1/metrics"
    return OtelPush(http=_to(whole, ours, f"{where}.endpointURL", timeout_s=TIMEOUT_S_DEFAULT))


_MAKING: Final[Mapping[str, Callable[[JsonObject, _Ours, str], Place]]] = {
    "http": _http,
    "mqtt": _mqtt,
    "dbMethod.influxdb2": _influx,
    "otel": _otel,
}


def _user(ours: _Ours) -> tuple[str, str]:
    username = text_in(ours.said, "username", where=ours.at, default="")
    password_file = _file(ours.said, "passwordFile", ours.at)
    if bool(username) != bool(password_file):
        raise InvalidError(f"{ours.at}: username and passwordFile belong together")
    return username, password_file


def _file(said: JsonObject, name: str, where: str) -> str:
    path = text_in(said, name, where=where, default="")
    if path and not path.startswith("/"):
        raise InvalidError(f"{where}.{name}: {path!r} is no whole path, as /etc/skerry/devices/{path} is")
    return path


def _refuse_plain(ours: _Ours, host: str, *, secure: bool) -> None:
    """Credentials are not sent for all to read, unless that is wanted."""
    allowed = bool_in(ours.said, "allowPlain", where=ours.at, default=False)
    if not secure and not allowed and not is_loopback(host):
        raise InvalidError(
            f"{ours.at}: credentials would go to {host} without TLS: give it an address with https:// or ssl://, or "
            "say allowPlain: true"
        )


def _tls(ours: _Ours) -> Tls:
    where = f"{ours.at}.tls"
    given = map_in(ours.said, "tls", where=ours.at)
    refuse_unknown(given, ("caFile", "certFile", "keyFile"), where)
    ca, cert, key = (_file(given, name, where) for name in ("caFile", "certFile", "keyFile"))
    if bool(cert) != bool(key):
        raise InvalidError(f"{where}: certFile and keyFile belong together")
    return Tls(ca_file=ca, cert_file=cert, key_file=key)


# --- what waits -------------------------------------------------------------------------------------------


def says(target: PushTarget, told: Told) -> bool:
    """Whether this form has a word for the reading: KubeEdge's texts, lines and metrics know values alone."""
    if target.format == "json" and isinstance(target.to, HttpPush | MqttPush):
        return True
    if told.value is None or told.quality not in ("good", "uncertain"):
        return False
    match target.to:
        case InfluxPush():
            return told.type not in _NUMBERS or _is_float(told.value, told.type)
        case OtelPush():
            return told.type not in _TEXTS and _is_measure(told.value, told.type)
        case HttpPush() | MqttPush():
            return True


def _is_float(value: str, type: str) -> bool:
    """Without becoming another number."""
    try:
        return int(float(value)) == int(value) if type == "INT" else isfinite(float(value))
    except (ValueError, OverflowError):
        return False


def _is_measure(value: str, type: str) -> bool:
    """What OTLP has a number for: whole ones of 64 bits, and floats."""
    try:
        return _INT64[0] <= int(value) <= _INT64[1] if type == "INT" else type == "BOOLEAN" or isfinite(float(value))
    except (ValueError, OverflowError):
        return False


def encode_push(told: Told) -> bytes:
    """As it waits. Of which device and property it is, its queue says."""
    kept: JsonObject = {
        "v": told.value,
        "t": told.type,
        "u": told.unit,
        "q": told.quality,
        "r": told.reason,
        "ms": told.source_ms,
        "n": told.seq,
    }
    return encode_object(kept)


def decode_push(queue: str, body: bytes) -> Told:
    """The reading."""
    kept, way = decode_object(body), way_of(queue)
    value = kept.get("v")
    return Told(
        namespace=way.namespace,
        device=way.device,
        prop=way.prop,
        value=value if isinstance(value, str) else None,
        type=str_at(kept, "t"),
        unit=str_at(kept, "u"),
        quality=str_at(kept, "q"),
        reason=str_at(kept, "r"),
        source_ms=int_at(kept, "ms"),
        seq=int_at(kept, "n"),
    )


# --- payloads ---------------------------------------------------------------------------------------------


def payload_of(target: PushTarget, told: Told, *, time_text: Callable[[int], str]) -> bytes | None:
    """What is sent; None where this form has no word for the reading (`says`).

    `time_text` gives a moment as `2026-01-31 23:59:59`, of UTC as KubeEdge's containers have it."""
    if not says(target, told):
        return None
    if isinstance(target.to, InfluxPush):
        return _line(target.to, told)
    if isinstance(target.to, OtelPush):
        return _metric(told)
    if target.format == "json" or told.value is None:
        return _json(told)
    at = time_text(told.source_ms)
    if isinstance(target.to, MqttPush):
        return f"time is {at}  {target.to.topic}: {told.value}".encode()
    return f"{quote(told.prop, safe=_PLAIN)}={quote(told.value, safe=_PLAIN)}&time={at}".encode()


def content_type_of(target: PushTarget) -> str:
    """Of an HTTP push."""
    if isinstance(target.to, InfluxPush):
        return "text/plain; charset=utf-8"
    if isinstance(target.to, OtelPush) or target.format == "json":
        return "application/json"
    return "application/x-www-form-urlencoded"


def _json(told: Told) -> bytes:
    body: JsonObject = {
        "namespace": told.namespace,
        "device": told.device,
        "property": told.prop,
        "value": told.value,
        "type": told.type,
        "unit": told.unit,
        "quality": told.quality,
        "reason": told.reason,
        "timestamp": told.source_ms,
        "sequence": told.seq,
    }
    return encode_object(body)


def _metric(told: Told) -> bytes:
    """One point of a gauge, as OTLP has it in JSON (opentelemetry-proto 1.x: whole numbers of 64 bits are texts)."""
    assert told.value is not None, "a metric has a value"
    point: JsonObject = {
        "timeUnixNano": str(told.source_ms * 1_000_000),
        "attributes": [_attribute("namespace", told.namespace), _attribute("device", told.device)],
    }
    match told.type:
        case "INT":
            point["asInt"] = told.value
        case "BOOLEAN":
            point["asInt"] = "1" if told.value.lower() == "true" else "0"
        case _:
            point["asDouble"] = float(told.value)
    metric: JsonObject = {"name": told.prop, "unit": told.unit, "gauge": {"dataPoints": [point]}}
    scope: JsonObject = {"scope": {"name": "skerry"}, "metrics": [metric]}
    resource: JsonObject = {"attributes": [_attribute("service.name", "edgecore")]}
    return encode_object({"resourceMetrics": [{"resource": resource, "scopeMetrics": [scope]}]})


def _attribute(key: str, text: str) -> JsonObject:
    return {"key": key, "value": {"stringValue": text}}


def _line(to: InfluxPush, told: Told) -> bytes:
    """A line of InfluxDB's protocol. Numbers are floats, whatever their type: a field has one type for good."""
    from skerry.objects.line_protocol import point, quoted  # only who pushes lines pays

    assert told.value is not None, "a line has a value"
    match told.type:
        case "INT" | "FLOAT" | "DOUBLE":
            value = told.value
        case "BOOLEAN":
            value = told.value.lower()
        case _:
            value = quoted(told.value)
    return point(to.measurement, dict(to.tags), {to.field: value}, at_ms=told.source_ms, number=told.seq).encode()
