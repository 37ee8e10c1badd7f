"""The shape of Skerry's own kind Sink (`skerry.dev/v1`), as OpenAPI definitions. Keeps no data."""

from __future__ import annotations

from typing import Final

from cloudcore.registry.definition_parts import (
    GroupParts,
    boolean,
    conditions,
    int32,
    int64,
    obj,
    string,
    strings_list,
)
from skerry.objects.json import JsonObject, map_at

PREFIX: Final = "dev.skerry.v1."
_PARTS: Final = GroupParts(prefix=PREFIX, group="skerry.dev", version="v1")


def sink_definitions() -> dict[str, JsonObject]:
    """Definitions by name, `$ref`s in the carrier's own form (`#/$defs/NAME`)."""
    return {
        PREFIX + "Sink": _PARTS.kind(
            "Sink",
            "Somewhere that readings of the history are sent on to: each at least once, in the order of arrival.",
            spec=_PARTS.ref("SinkSpec", "What is sent, and where."),
            status=_PARTS.ref("SinkStatus", "How far that is."),
        ),
        PREFIX + "SinkList": _PARTS.list_kind("Sink"),
        PREFIX + "SinkSpec": _spec(),
        PREFIX + "SinkSelector": obj(
            "Which readings: those that every given list matches. Names may be patterns, as pump-*.",
            namespaces=strings_list("Of devices; only a sink in kube-system may name others than its own."),
            devices=strings_list("Names of devices."),
            properties=strings_list("Names of properties."),
            qualities=strings_list("good, uncertain, bad, stale."),
        ),
        PREFIX + "SinkSecretReference": obj(
            "A Secret in the sink's namespace. Keys: token; username, password; signingKey; ca.crt.",
            name=string("Its name."),
        ),
        PREFIX + "WebhookSink": obj("A service that takes JSON.", url=string("Where: https://...")),
        PREFIX + "InfluxSink": obj(
            "InfluxDB, or what speaks its line protocol.",
            url=string("Where, with database or bucket: https://host/write?db=plant"),
            measurement=string("Name of the measurement; readings where left out."),
        ),
        PREFIX + "PrometheusSink": obj(
            "Prometheus, or what takes its remote write.",
            url=string("Where: https://host/api/v1/write"),
            metric=string("Name of the metric; skerry_reading where left out."),
        ),
        PREFIX + "PostgresSink": obj(
            "A database of PostgreSQL or TimescaleDB. Its certificate is checked, unless spec.allowPlain.",
            host=string("Where: a name or an address."),
            port=int32("5432 where left out."),
            database=string("Its name."),
            table=string("TABLE or SCHEMA.TABLE, made where it is not there; skerry_readings where left out."),
        ),
        PREFIX + "MqttSink": obj(
            "A broker of MQTT 3.1.1 or 5.",
            url=string("Where: mqtts://host[:port]"),
            topic=string("With {namespace}, {device}, {property}, {node}; skerry/{namespace}/{device}/{property}."),
        ),
        PREFIX + "SinkStatus": _status(),
    }


def _spec() -> JsonObject:
    spec = obj(
        "What is sent, and where: exactly one of webhook, influx, prometheus, postgres and mqtt.",
        selector=_PARTS.ref("SinkSelector", "Which readings; all of the namespace where it is left out."),
        batch=int32("Rows sent at once, at most; 1000 where left out."),
        refusalPolicy=string(
            "Where every row is refused: Hold (also where it is left out) lets them wait, as it may be no fault of "
            "theirs; Skip passes over them.",
            "Hold",
            "Skip",
        ),
        paused=boolean("Send nothing; what comes meanwhile is sent later."),
        allowPlain=boolean("Send without TLS to somewhere other than this machine."),
        secretRef=_PARTS.ref("SinkSecretReference", "Credentials."),
        webhook=_PARTS.ref("WebhookSink", "JSON by POST, signed."),
        influx=_PARTS.ref("InfluxSink", "InfluxDB's line protocol by POST."),
        prometheus=_PARTS.ref("PrometheusSink", "Prometheus' remote write 1.0."),
        postgres=_PARTS.ref("PostgresSink", "Rows of a table of PostgreSQL."),
        mqtt=_PARTS.ref("MqttSink", "Messages to an MQTT broker."),
    )
    begin = string("Where a new sink begins: with what comes (Now), or what there is.", "Now", "Beginning")
    map_at(spec, "properties")["from"] = begin  # a word of Python's
    return spec


def _status() -> JsonObject:
    return obj(
        "How far a sink is.",
        cursor=int64("Number of the last row of the history that was sent or passed over."),
        behind=int64("Rows of the history, of whatever device, that came since."),
        sent=int64("Rows that the other side took."),
        skipped=int64("Rows that it has no form for: a text is no sample of Prometheus."),
        refused=int64("Rows that it refused for good."),
        trimmed=int64("Rows, of whatever device, that the history had given up before they were sent."),
        lastRefused=string("The row that was refused last, and why."),
        lastSentTime=string("When rows were taken last."),
        conditions=conditions("Ready: whether it sends."),
    )
