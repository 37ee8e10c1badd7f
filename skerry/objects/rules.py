"""KubeEdge's rules (`rules.kubeedge.io/v1`) as both ends read them: where a message comes from and where it goes.

A Rule names two RuleEndpoints and, for each, a resource in that endpoint's own words: an HTTP path or URL, an MQTT
topic and the node of its broker, a path of a service on a gateway. Sources of the fields and of what topics mean:
KubeEdge's `build/crds/router` and `cloud/pkg/router/provider`. Pure; keeps nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from skerry.errors import ProtocolError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, encode_object, int_at, map_at, str_at, str_map_at, strs_at
from skerry.objects.meta import Key, name_of, namespace_of
from skerry.objects.times import time_text

GROUP: Final = "rules.kubeedge.io"
RULES: Final = "rules.rules.kubeedge.io"
ENDPOINTS: Final = "ruleendpoints.rules.kubeedge.io"
MESSAGES: Final = "rulemessages.skerry.dev"
"""Messages that a gateway has told and that wait for their target, and those that did not reach it."""

EndpointType: TypeAlias = Literal["rest", "eventbus", "servicebus"]
REST: Final = "rest"
EVENT_BUS: Final = "eventbus"
SERVICE_BUS: Final = "servicebus"
TYPES: Final[tuple[EndpointType, ...]] = (REST, EVENT_BUS, SERVICE_BUS)

SOURCE_KEYS: Final[Mapping[EndpointType, tuple[str, ...]]] = {
    REST: ("path",),
    EVENT_BUS: ("topic", "node_name"),
    SERVICE_BUS: ("target_url", "node_name"),
}
"""What `sourceResource` must say, by the type of the source."""
TARGET_KEYS: Final[Mapping[EndpointType, tuple[str, ...]]] = {
    REST: ("resource",),
    EVENT_BUS: ("topic",),
    SERVICE_BUS: ("path",),
}
PAIRS: Final = frozenset({(REST, EVENT_BUS), (REST, SERVICE_BUS), (EVENT_BUS, REST), (SERVICE_BUS, REST)})
"""Source and target types that make a rule."""

SHARED_TOPICS: Final = ("SYS/", "$hw/events/upload/")
"""Topics on which KubeEdge's apps tell what is for the cloud: a rule that names one of them means it as written,
where all others are below their rule's namespace."""

LOCAL_RULES: Final = "device-rules"
"""Of an agent that carries out DeviceRules."""
NO_BROKER: Final = "no-broker"
"""What an agent says of itself, among what it can, where it has no MQTT broker: older ones say nothing of it."""

MESSAGE: Final = "rule_message"
"""The kind of report in which a gateway tells a message."""
PAYLOAD_BYTES_MAX: Final = 256 * 1024
"""Of a message that goes up. It is an object of the cloud's store until its target has it."""
WITHIN_S: Final = 86_400
"""How long a message is tried where its target's endpoint does not say."""
WITHIN_S_MAX: Final = 30 * 86_400
ERRORS_KEPT: Final = 10
_TOPIC_BYTES_MAX: Final = 1024
_ERROR_LENGTH_MAX: Final = 512
_CALL_LENGTH_MAX: Final = 64


class Rule(Frozen):
    """What a Rule says, its types aside: those are in the RuleEndpoints."""

    namespace: str
    name: str
    source: str
    source_resource: Mapping[str, str]
    target: str
    target_resource: Mapping[str, str]

    @property
    def key(self) -> Key:
        return Key(RULES, self.namespace, self.name)

    @property
    def node(self) -> str:
        """The gateway where its messages come from; "" for a rule whose source is in the cloud."""
        return self.source_resource.get("node_name", "")


def rule_of(obj: JsonObject) -> Rule:
    return Rule(
        namespace=namespace_of(obj),
        name=name_of(obj),
        source=str_at(obj, "spec", "source"),
        source_resource=str_map_at(obj, "spec", "sourceResource"),
        target=str_at(obj, "spec", "target"),
        target_resource=str_map_at(obj, "spec", "targetResource"),
    )


def endpoint_type(endpoint: JsonObject) -> EndpointType | None:
    """None for a RuleEndpoint of a type that is not known here."""
    said = str_at(endpoint, "spec", "ruleEndpointType")
    return said if said in TYPES else None


def heard_topic(namespace: str, topic: str) -> str:
    """The filter by which the gateway's broker is asked for a rule's messages: KubeEdge's `{namespace}/{topic}`."""
    if topic.startswith(SHARED_TOPICS):
        return topic
    return "/".join((namespace, *(level for level in topic.split("/") if level)))


def told_topic(topic: str, rest: str) -> str:
    """Where a message is published: the rule's own topic, below it what a request's path has beyond the rule's."""
    return f"{topic.removesuffix('/')}/{rest.removeprefix('/')}" if rest.strip("/") else topic


def topic_faults(topic: str, *, wildcards: bool) -> list[str]:
    """Why a broker would not take it (MQTT 5, 4.7); empty for a good one. `wildcards`: where it is listened on."""
    if not topic.strip("/"):
        return ["must name at least one level"]
    if "\0" in topic or len(topic.encode()) > _TOPIC_BYTES_MAX:
        return [f"must have no NUL and at most {_TOPIC_BYTES_MAX} bytes"]
    levels = topic.split("/")
    if not wildcards:
        wild = "+" in topic or "#" in topic
        return ["messages are published on one topic: it can't have + or #"] if wild else []
    if any("+" in level and level != "+" for level in levels):
        return ["+ stands for a whole level, such as plant/+/temperature"]
    if any("#" in level for level in levels[:-1]) or (levels[-1] not in ("#",) and "#" in levels[-1]):
        return ["# stands for all levels from there on, and is the last: plant/#"]
    return []


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a message on this topic is meant by a filter (MQTT 5, 4.7.1)."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(levels) or level not in ("+", levels[index]):
            return False
    return len(levels) == len(wanted)


class RuleMessage(Frozen):
    """Kept in order, of the class `message`: what was heard for a rule. The rule is named, not its life: one that is
    made again under its name takes what waits."""

    namespace: str
    rule: str
    topic: str
    payload: bytes
    left_out_bytes: int = 0
    """Size of a payload that was too large to be kept, which is empty then."""
    call: str = ""
    """Of an application that waits for an answer: the name by which that is known."""
    within_ms: int = 0
    """How long it waits."""

    def encode(self) -> bytes:
        return encode_object(
            {"namespace": self.namespace, "rule": self.rule, "topic": self.topic}
            | payload_json(self.payload)
            | ({"leftOutBytes": self.left_out_bytes} if self.left_out_bytes else {})
            | ({"call": self.call, "withinMs": self.within_ms} if self.call else {})
        )

    @classmethod
    def decode(cls, body: JsonObject) -> RuleMessage:
        """Raises `ProtocolError`."""
        message = cls(
            namespace=str_at(body, "namespace"),
            rule=str_at(body, "rule"),
            topic=str_at(body, "topic"),
            payload=payload_of(body),
            left_out_bytes=int_at(body, "leftOutBytes"),
            call=str_at(body, "call"),
            within_ms=int_at(body, "withinMs"),
        )
        if not (message.namespace and message.rule):
            raise ProtocolError(f"{MESSAGE}: namespace and rule are required")
        if len(message.call) > _CALL_LENGTH_MAX or not 0 <= message.within_ms <= 1000 * WITHIN_S:
            raise ProtocolError(f"{MESSAGE}: call or withinMs make no sense")
        if len(message.payload) > PAYLOAD_BYTES_MAX or message.left_out_bytes < 0:
            raise ProtocolError(f"{MESSAGE}: the payload is of more than {PAYLOAD_BYTES_MAX} bytes")
        return message


def counted(rule: JsonObject, *, at_ms: int, succeeded: int = 0, failed: int = 0, reason: str = "") -> JsonObject:
    """The Rule with so many more messages delivered and given up; `reason`: why the last of those failed."""
    status = map_at(rule, "status")
    errors: list[Json] = [*strs_at(status, "errors")]
    if failed:
        errors.append(f"{time_text(at_ms)}: {reason}"[:_ERROR_LENGTH_MAX])
    return {
        **rule,
        "status": {
            **status,
            "successMessages": int_at(status, "successMessages") + succeeded,
            "failMessages": int_at(status, "failMessages") + failed,
            "errors": errors[-ERRORS_KEPT:],
        },
    }


def payload_json(payload: bytes) -> JsonObject:
    """As text where it is text, for people; else in base64."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # no database has text with a NUL
        return {"payloadBase64": base64.b64encode(payload).decode()}
    return {"payload": text}


def answer_json(body: bytes) -> JsonObject:
    """What a target has answered to a call, in the message's status."""
    return payload_json(body)


def answered_node(message: JsonObject) -> str:
    """The gateway that is to have the answer of a call, or that there is none; "" while it is not known, and for what
    is no call."""
    if not str_at(message, "spec", "call") or str_at(message, "status", "phase", default="Pending") == "Pending":
        return ""
    return str_at(message, "spec", "nodeName")


def answer_of(message: JsonObject) -> bytes:
    """Raises `ProtocolError`."""
    return payload_of(map_at(message, "status", "answer"))


def payload_of(body: Json) -> bytes:
    """Raises `ProtocolError` where it says base64 and is not."""
    coded = str_at(body, "payloadBase64")
    if not coded:
        return str_at(body, "payload").encode()
    try:
        return base64.b64decode(coded, validate=True)
    except ValueError as error:
        raise ProtocolError("payloadBase64: is not base64") from error
