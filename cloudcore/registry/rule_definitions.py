"""The shape of KubeEdge's Rule and RuleEndpoint (`rules.kubeedge.io/v1`, KubeEdge 1.23), and of Skerry's RuleMessage.

What is ours in a Rule is optional and in its status alone. Keeps no data.
"""

from __future__ import annotations

from typing import Final

from cloudcore.registry.definition_parts import (
    GroupParts,
    boolean,
    conditions,
    int64,
    obj,
    string,
    strings,
    strings_list,
)
from skerry.objects.json import JsonObject
from skerry.objects.rules import GROUP, TYPES

PREFIX: Final = "io.kubeedge.rules.v1."
_PARTS: Final = GroupParts(prefix=PREFIX, group=GROUP, version="v1")
_OURS: Final = GroupParts(prefix="dev.skerry.v1.", group="skerry.dev", version="v1")


def rule_definitions() -> dict[str, JsonObject]:
    """Definitions by name, `$ref`s in the carrier's own form (`#/$defs/NAME`)."""
    definitions = _rule() | _endpoint() | _message()
    for kind in ("Rule", "RuleEndpoint"):
        definitions[f"{PREFIX}{kind}List"] = _PARTS.list_kind(kind)
    definitions["dev.skerry.v1.RuleMessageList"] = _OURS.list_kind("RuleMessage")
    return definitions


def _rule() -> dict[str, JsonObject]:
    return {
        PREFIX + "Rule": _PARTS.kind(
            "Rule",
            "Where messages come from and where they go.",
            spec=_PARTS.ref("RuleSpec", "From where to where."),
            status=_PARTS.ref("RuleStatus", "What became of its messages."),
        ),
        PREFIX + "RuleSpec": obj(
            "From where to where.",
            required=("source", "sourceResource", "target", "targetResource"),
            source=string("Name of the RuleEndpoint where messages come from."),
            sourceResource=strings(
                'What of the source: {"path": "/a"} of rest, {"topic": "a", "node_name": "edge-1"} of eventbus, '
                '{"target_url": "http://a", "node_name": "edge-1"} of servicebus.'
            ),
            target=string("Name of the RuleEndpoint where messages go."),
            targetResource=strings(
                'Where at the target: {"resource": "http://a"} of rest, {"topic": "a"} of eventbus, {"path": "/a"} '
                "of servicebus."
            ),
        ),
        PREFIX + "RuleStatus": obj(
            "What became of its messages.",
            successMessages=int64("Messages that their target has acknowledged."),
            failMessages=int64("Messages that did not reach their target, and are tried no more."),
            errors=strings_list("Why messages failed: the newest reasons, each with its time."),
            conditions=conditions("Ready: both ends are there and fit; Delivering: its target takes messages."),
            waitingMessages=int64("Messages that wait for the target."),
            droppedMessages=int64("Messages that were given up and are not kept any more: the newest 1,000 are."),
        ),
    }


def _endpoint() -> dict[str, JsonObject]:
    return {
        PREFIX + "RuleEndpoint": _PARTS.kind(
            "RuleEndpoint",
            "A kind of place where messages come from or go.",
            spec=_PARTS.ref("RuleEndpointSpec", "Which kind of place."),
        ),
        PREFIX + "RuleEndpointSpec": obj(
            "Which kind of place.",
            required=("ruleEndpointType",),
            ruleEndpointType=string(
                "rest: HTTP in the cloud; eventbus: the MQTT broker of a gateway; servicebus: HTTP services on it.",
                *TYPES,
            ),
            properties=strings(
                'Of servicebus: {"service_port": "8080"}. Of rest, ours and optional: "ca", certificates in PEM by '
                'which the target is known; "insecure_skip_verify": "true"; "deliver_within_seconds", '
                "after which a message is given up (86400)."
            ),
        ),
    }


def _message() -> dict[str, JsonObject]:
    return {
        "dev.skerry.v1.RuleMessage": _OURS.kind(
            "RuleMessage",
            "A message of a Rule that waits for its target, or did not reach it. Deleted when the target has it.",
            spec=_OURS.ref("RuleMessageSpec", "What is to be delivered."),
            status=_OURS.ref("RuleMessageStatus", "What was tried."),
        ),
        "dev.skerry.v1.RuleMessageAnswer": obj(
            "What the target has said to a call.",
            status=int64("HTTP status."),
            payload=string("The body, where it is text."),
            payloadBase64=string("The body, where it is not."),
        ),
        "dev.skerry.v1.RuleMessageSpec": obj(
            "What is to be delivered.",
            rule=string("Name of the Rule, in the message's namespace."),
            nodeName=string("The gateway that told it."),
            topic=string("The topic on which it was published there."),
            payload=string("The message, where it is text."),
            payloadBase64=string("The message, where it is not."),
            heardTime=string("When the gateway heard it, by the cloud's clock: RFC 3339."),
            incarnation=string("The life of the gateway's outbox that told it."),
            order=int64("Its place among the messages of that life."),
            call=string("Of an application that waits for an answer: the name of its call."),
            redeliver=boolean("Of a message that was given up: try again, for as long as a new one is tried."),
        ),
        "dev.skerry.v1.RuleMessageStatus": obj(
            "What was tried.",
            phase=string(
                "Pending: it waits; Answered: a call has its answer; Dead: it is tried no more.",
                "Pending",
                "Answered",
                "Dead",
            ),
            answer=_OURS.ref("RuleMessageAnswer", "What the target has said to a call."),
            attempts=int64("How often it was sent."),
            lastAttemptTime=string("When it was sent last."),
            deadlineTime=string("From when on it is tried no more."),
            reason=string("Why it did not reach its target, in one word."),
            message=string("Why, for people."),
        ),
    }
