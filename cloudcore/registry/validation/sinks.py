"""What a Sink may say. Where it leads is tried by who sends (`cloudcore.sinks`). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qs, urlsplit

from skerry.errors import Cause
from skerry.objects.hosts import is_address, is_loopback
from skerry.objects.json import JsonObject, bool_at, int_at, map_at, str_at, strs_at
from skerry.objects.names import subdomain_faults
from skerry.validation.faults import forbidden, invalid, named, one_of, required, too_many, unsupported

PLACES: Final = ("webhook", "influx", "prometheus", "postgres", "mqtt")
QUALITIES: Final = ("good", "uncertain", "bad", "stale")
SYSTEM: Final = "kube-system"
BATCH_MAX: Final = 10_000
PATTERNS_MAX: Final = 100
_METRIC: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,199}")
_TABLE: Final = re.compile(r"([a-z_][a-z0-9_]{0,62}\.)?[a-z_][a-z0-9_]{0,62}")
_DATABASE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$-]{0,62}")
_FIELD: Final = re.compile(r"\{([^{}]*)\}")
_NAMES: Final = ("namespace", "device", "property", "node")


def validate_sink(obj: JsonObject, _old: JsonObject | None) -> Iterator[Cause]:
    spec = map_at(obj, "spec")
    given = [name for name in PLACES if name in spec]
    if len(given) != 1:
        words = f"must have exactly one of {', '.join(PLACES)}"
        yield required("spec", words) if not given else invalid("spec", [*given], words)
        return
    if "batch" in spec and not 1 <= int_at(spec, "batch") <= BATCH_MAX:
        yield invalid("spec.batch", int_at(spec, "batch"), f"must be between 1 and {BATCH_MAX}, inclusive")
    yield from one_of("spec.from", str_at(spec, "from"), ("Now", "Beginning"), needed=False)
    yield from one_of("spec.refusalPolicy", str_at(spec, "refusalPolicy"), ("Hold", "Skip"), needed=False)
    if "secretRef" in spec:
        yield from named("spec.secretRef.name", str_at(spec, "secretRef", "name"), subdomain_faults)
    yield from _selector(map_at(spec, "selector"), str_at(obj, "metadata", "namespace"))
    yield from _place(given[0], map_at(spec, given[0]), spec)


def _selector(selector: JsonObject, namespace: str) -> Iterator[Cause]:
    for name in ("namespaces", "devices", "properties"):
        if len(strs_at(selector, name)) > PATTERNS_MAX:
            yield too_many(f"spec.selector.{name}", len(strs_at(selector, name)), PATTERNS_MAX)
    if namespace != SYSTEM:
        for number, other in enumerate(strs_at(selector, "namespaces")):
            if other != namespace:
                yield forbidden(
                    f"spec.selector.namespaces[{number}]",
                    f"a sink sends what its own namespace has; one in {SYSTEM} may send what others have",
                )
    for number, quality in enumerate(strs_at(selector, "qualities")):
        if quality not in QUALITIES:
            yield unsupported(f"spec.selector.qualities[{number}]", quality, QUALITIES)


def _place(place: str, body: JsonObject, spec: JsonObject) -> Iterator[Cause]:
    where = f"spec.{place}"
    if place == "postgres":
        yield from _database(where, body, spec)
        return
    secure, plain = ("mqtts", "mqtt") if place == "mqtt" else ("https", "http")
    yield from _url(f"{where}.url", str_at(body, "url"), secure, plain, allow_plain=bool_at(spec, "allowPlain"))
    metric = str_at(body, "metric")
    if metric and not _METRIC.fullmatch(metric):
        yield invalid(f"{where}.metric", metric, "must be a name of a metric: letters, digits, _ and :")
    if place == "influx":
        precision = parse_qs(_query_of(str_at(body, "url"))).get("precision", ["ns"])
        if precision != ["ns"]:
            yield invalid(f"{where}.url", str_at(body, "url"), "times are sent in nanoseconds: leave precision out")
    yield from _topic(f"{where}.topic", str_at(body, "topic"))


def _database(where: str, body: JsonObject, spec: JsonObject) -> Iterator[Cause]:
    host, name, table = (str_at(body, each) for each in ("host", "database", "table"))
    if not host:
        yield required(f"{where}.host", "where the database is")
    elif not is_address(host) and any(subdomain_faults(host.lower())):
        yield invalid(f"{where}.host", host, "must be one name or address, without a port")
    if "port" in body and not 1 <= int_at(body, "port") <= 65_535:
        yield invalid(f"{where}.port", int_at(body, "port"), "must be between 1 and 65535, inclusive")
    if not name:
        yield required(f"{where}.database", "its name")
    elif not _DATABASE.fullmatch(name):
        yield invalid(f"{where}.database", name, "must be a name: letters, digits, _, $ and -, 63 at most")
    if table and not _TABLE.fullmatch(table):
        yield invalid(f"{where}.table", table, "must be TABLE or SCHEMA.TABLE, of lower case letters, digits and _")
    if "secretRef" not in spec:
        yield required("spec.secretRef", "a Secret with the `username` and `password` of the database")


def _url(field: str, url: str, secure: str, plain: str, *, allow_plain: bool) -> Iterator[Cause]:
    if not url:
        yield required(field)
        return
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        yield invalid(field, url, str(error))
        return
    if parts.scheme not in (secure, plain) or not host:
        yield invalid(field, url, f"must be {secure}://HOST...")
    elif parts.username or parts.password:
        yield invalid(field, f"{parts.scheme}://...@{host}", "credentials belong into the Secret of spec.secretRef")
    elif parts.scheme == plain and not allow_plain and not is_loopback(host):
        yield invalid(field, url, f"must be {secure}://, or spec.allowPlain says that it may go without TLS")


def _query_of(url: str) -> str:
    try:
        return urlsplit(url).query
    except ValueError:
        return ""


def _topic(field: str, topic: str) -> Iterator[Cause]:
    for name in _FIELD.findall(topic):
        if name not in _NAMES:
            yield invalid(field, topic, f"{{{name}}} is none of {', '.join('{' + each + '}' for each in _NAMES)}")
    if any(letter in topic for letter in "+#\0") or topic.startswith("$"):
        yield invalid(field, topic, "must be a topic that can be published to: no + or #, no $ at the start")
