"""How an address is tried from outside: what is spoken, what counts as good, and how often. Pure; keeps nothing."""

from __future__ import annotations

import re
from typing import Final, Literal, cast

from skerry.errors import InvalidError
from skerry.frozen import Frozen

Kind = Literal["TCP", "TLS", "HTTP", "HTTPS", "GRPC", "ICMP"]
KINDS: Final[tuple[Kind, ...]] = ("TCP", "TLS", "HTTP", "HTTPS", "GRPC", "ICMP")
PORTS: Final = {"TCP": 0, "TLS": 443, "HTTP": 80, "HTTPS": 443, "GRPC": 50051, "ICMP": 0}
TIMEOUT_S_MAX: Final = 30.0
"""A target that is silent for longer is down, whoever waits; and each probe holds a turn."""
NOT_PERMITTED: Final = "echo over ICMP is not permitted here (net.ipv4.ping_group_range or CAP_NET_RAW)"
"""Why an attempt was none; who may not look says nothing of what is there."""
BODY_MAX: Final = 5120
"""Bytes of an answer in which its text is looked for, as Route 53 does."""
_STATUSES: Final = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")


class Probe(Frozen):
    type: Kind
    host: str
    """Whom TLS and HTTP are asked for."""
    port: int = 0
    path: str = "/"
    statuses: tuple[tuple[int, int], ...] = ((200, 399),)
    body: str = ""
    service: str = ""
    """Of gRPC's health protocol."""
    verify: bool = False
    """Whether a certificate must be one that this machine trusts."""
    certificate_days_min: int = 0
    interval_s: float = 5.0
    timeout_s: float = 2.5
    down_threshold: int = 3
    up_threshold: int = 2
    ok_threshold: int = 2


_FIELDS: Final = {
    "type",
    "host",
    "port",
    "path",
    "statuses",
    "body",
    "service",
    "verify",
    "certificateDaysMin",
    "intervalSeconds",
    "timeoutSeconds",
    "downThreshold",
    "upThreshold",
    "okThreshold",
}


def probe_of(given: object, field: str, host: str) -> Probe:
    """As a GlobalService and a file of services say it. Raises `InvalidError` that names the field."""
    if not isinstance(given, dict):
        raise InvalidError(f"{field}: a map is wanted")
    about = cast("dict[str, object]", given)
    if strange := sorted(set(about) - _FIELDS):
        raise InvalidError(f"{field}: {strange[0]!r} is not one of {', '.join(sorted(_FIELDS))}")
    kind = about.get("type")
    if kind not in KINDS:
        raise InvalidError(f"{field}.type: {kind!r} is not one of {', '.join(KINDS)}")
    port = int(_number(about, "port", field, 1, 65535, PORTS[kind]))
    if kind == "TCP" and not port:
        raise InvalidError(f"{field}.port: the port that is tried is wanted")
    interval_s = _number(about, "intervalSeconds", field, 0.1, 3600, 5.0)
    timeout_s = _number(about, "timeoutSeconds", field, 0.05, TIMEOUT_S_MAX, min(interval_s / 2, TIMEOUT_S_MAX))
    if timeout_s > interval_s:
        raise InvalidError(f"{field}.timeoutSeconds: is above the interval")
    path = _text(about, "path", field) or "/"
    if not path.startswith("/") or any(char <= " " or char > "~" for char in path):
        raise InvalidError(f"{field}.path: must begin with / and have no spaces")
    named = _text(about, "host", field) or host
    if any(char <= " " or char > "~" for char in named):
        raise InvalidError(f"{field}.host: a name is wanted")
    return Probe(
        type=kind,
        host=named,
        port=port,
        path=path,
        statuses=_statuses(about.get("statuses"), field),
        body=_text(about, "body", field),
        service=_text(about, "service", field),
        verify=about.get("verify") is True,
        certificate_days_min=int(_number(about, "certificateDaysMin", field, 0, 3650, 0)),
        interval_s=interval_s,
        timeout_s=timeout_s,
        down_threshold=int(_number(about, "downThreshold", field, 1, 100, 3)),
        up_threshold=int(_number(about, "upThreshold", field, 1, 100, 2)),
        ok_threshold=int(_number(about, "okThreshold", field, 1, 100, 2)),
    )


def _text(about: dict[str, object], name: str, field: str) -> str:
    found = about.get(name, "")
    if not isinstance(found, str):
        raise InvalidError(f"{field}.{name}: a text is wanted")
    return found


def _number(about: dict[str, object], name: str, field: str, low: float, high: float, default: float) -> float:
    if name not in about:
        return default
    found = about[name]
    if isinstance(found, bool) or not isinstance(found, int | float) or not low <= found <= high:
        raise InvalidError(f"{field}.{name}: a number from {low} to {high} is wanted")
    return found


def _statuses(given: object, field: str) -> tuple[tuple[int, int], ...]:
    if given is None:
        return ((200, 399),)
    if not isinstance(given, list) or not given:
        raise InvalidError(f"{field}.statuses: a list is wanted, as [200, 204-299]")
    ranges: list[tuple[int, int]] = []
    for number, each in enumerate(cast("list[object]", given)):
        found = _STATUSES.fullmatch(str(each))
        if found is None:
            raise InvalidError(f"{field}.statuses[{number}]: {each!r} is not a status as 200 or 200-299")
        ranges.append((int(found[1]), int(found[2] or found[1])))
    return tuple(ranges)
