"""The shape of Skerry's own kind DeviceRule (`skerry.dev/v1`), as OpenAPI definitions. Keeps no data."""

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
    strings,
    strings_list,
)
from skerry.objects.device_rules import METHODS, MODES, SEVERITIES
from skerry.objects.json import JsonObject, map_at

PREFIX: Final = "dev.skerry.v1."
_PARTS: Final = GroupParts(prefix=PREFIX, group="skerry.dev", version="v1")
_TIME: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.Time"
_MICRO_TIME: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime"


def device_rule_definitions() -> dict[str, JsonObject]:
    """Definitions by name, `$ref`s in the carrier's own form (`#/$defs/NAME`)."""
    return {
        PREFIX + "DeviceRule": _PARTS.kind(
            "DeviceRule",
            "A rule that a gateway carries out by itself, with or without the cloud: when a condition on values of "
            "its devices holds, do something there.",
            spec=_PARTS.ref("DeviceRuleSpec", "When, and what."),
            status=_PARTS.ref("DeviceRuleStatus", "What it came to on its gateway."),
        ),
        PREFIX + "DeviceRuleList": _PARTS.list_kind("DeviceRule"),
        PREFIX + "DeviceRuleSpec": _spec(),
        PREFIX + "DeviceRuleValue": obj(
            "A value that expressions may name.",
            required=("name", "device", "property"),
            name=string("By which it is named; previous.NAME, quality.NAME and age.NAME (seconds) go with it."),
            device=string("A Device in the namespace of the rule."),
            property=string("One of its properties."),
            accept=strings_list("Qualities with which it counts: good, uncertain, bad, stale. good where left out."),
        ),
        PREFIX + "DeviceRuleLimit": obj(
            "At most so many firings in so many seconds.",
            count=int32("Firings; 60 where left out."),
            seconds=int64("3600 where left out."),
        ),
        **_actions(),
        **_status(),
    }


def _spec() -> JsonObject:
    return obj(
        "When, and what.",
        required=("actions",),
        nodeName=string(
            "The gateway on which it is carried out, and on which its devices are. Where left out, that of the first "
            "device it names: the rule moves with it."
        ),
        mode=string("Enforce; Shadow: tell what would be done, and do nothing; Off.", *MODES),
        priority=int32("Of two rules that want a property, the one with more goes first while it is in force. 0."),
        values=_PARTS.list_of("DeviceRuleValue", "What expressions may name."),
        when=string("A condition in CEL, such as temp > 80.0 && !pump."),
        forSeconds=int64("It has to hold for so long without a break."),
        until=string("A condition in CEL that ends it; where left out, that the other does not hold any more."),
        repeatSeconds=int64("While it is in force, act again every so often."),
        schedule=string("Instead of at once: where the condition holds at these times, as in cron: 0 6 * * 1-5."),
        timeZone=string("Of the schedule, such as Europe/Berlin; UTC where left out."),
        cooldownSeconds=int64("From one firing to the next, at least."),
        limit=_PARTS.ref("DeviceRuleLimit", "How often it may fire."),
        actions=_PARTS.list_of("DeviceRuleAction", "What is done when it fires, one after the other."),
        otherwise=_PARTS.list_of("DeviceRuleAction", "What is done when it is over."),
    )


def _actions() -> dict[str, JsonObject]:
    action = obj(
        "One thing to do: exactly one of set, publish, call and alarm.",
        publish=_PARTS.ref("DeviceRulePublish", "Say something on the gateway's MQTT broker."),
        call=_PARTS.ref("DeviceRuleCall", "Ask an HTTP service on the gateway."),
        alarm=_PARTS.ref("DeviceRuleAlarmAction", "Tell the cloud, durably and before everything else that waits."),
        deadlineSeconds=int64("From the firing; what is not done by then is not done. 30."),
        atLeastOnce=boolean("Do again what may have been done; else it is left, and said to be unknown."),
    )
    map_at(action, "properties")["set"] = _PARTS.ref("DeviceRuleSet", "Want a value of a property.")
    return {
        PREFIX + "DeviceRuleAction": action,
        PREFIX + "DeviceRuleSet": obj(
            "A value that is wanted of a property on the same gateway.",
            required=("device", "property"),
            device=string("A Device in the namespace of the rule."),
            property=string("One of its properties, not read-only."),
            value=string("The value, as text."),
            valueExpression=string("Or an expression that makes it."),
            expiresSeconds=int64("It is not carried out later than that."),
            yieldSeconds=int64("What anybody but a rule wanted in so many seconds before stands."),
        ),
        PREFIX + "DeviceRulePublish": obj(
            "A message, with QoS 1.",
            required=("topic",),
            topic=string("One topic."),
            payload=string("The message."),
            payloadExpression=string("Or an expression that makes it."),
        ),
        PREFIX + "DeviceRuleCall": obj(
            "A request to 127.0.0.1.",
            required=("port",),
            port=int32("The port of the service."),
            method=string("POST where left out.", *METHODS),
            path=string("Path and query, escaped; / where left out."),
            headers=strings("Headers of the request."),
            body=string("The body."),
            bodyExpression=string("Or an expression that makes it."),
        ),
        PREFIX + "DeviceRuleAlarmAction": obj(
            "An alarm.",
            severity=string("Warning where left out.", *SEVERITIES),
            message=string("What is the matter."),
            messageExpression=string("Or an expression that makes it."),
        ),
    }


def _status() -> dict[str, JsonObject]:
    return {
        PREFIX + "DeviceRuleStatus": obj(
            "What it came to on its gateway.",
            observedGeneration=int64("Of the spec that is carried out."),
            nodeName=string("The gateway on which it is, where spec names none."),
            conditions=conditions("Ready: it fits what it names, and is carried out."),
            active=boolean("It fired, and is not over."),
            firings=int64("How often it fired."),
            endings=int64("How often it was over."),
            shadowFirings=int64("How often it would have fired."),
            skipped=int64("Times of its schedule at which it might not fire."),
            failedActions=int64("Actions that were not done."),
            unknownActions=int64("Actions of which nobody knows whether they were done."),
            yieldedActions=int64("Actions that let stand what somebody else wanted."),
            lastFiredTime={"$ref": f"#/$defs/{_TIME}", "description": "When it fired last."},
            lastEndedTime={"$ref": f"#/$defs/{_TIME}", "description": "When it was over last."},
            last=_PARTS.ref("DeviceRuleLook", "What its condition came to last."),
            recent=_PARTS.list_of("DeviceRuleFiring", "Its last firings and endings, the newest last."),
            errors=strings_list("What went wrong: the newest, each with its time."),
            alarms=_PARTS.list_of("DeviceRuleAlarm", "The newest alarms."),
            alarmCount=int64("How many there were."),
        ),
        PREFIX + "DeviceRuleSeen": obj(
            "A value as it was seen.",
            name=string("Its name in the rule."),
            value=string("As text."),
            quality=string("good, uncertain, bad, stale."),
        ),
        PREFIX + "DeviceRuleLook": obj(
            "What a condition came to.",
            result=string("True, False, or Unknown: a value is missing or not good enough."),
            reason=string("Why it is unknown."),
            heldUp=string("Why it does not fire although it is true."),
            values=_PARTS.list_of("DeviceRuleSeen", "Of what."),
        ),
        PREFIX + "DeviceRuleFiring": obj(
            "Once that it acted.",
            number=int64("Its number, from 1; endings are counted with firings."),
            what=string("fired, or ended."),
            time={"$ref": f"#/$defs/{_TIME}", "description": "When."},
            condition=string("The parts of its condition with what they came to."),
            values=_PARTS.list_of("DeviceRuleSeen", "Of what."),
            actions=_PARTS.list_of("DeviceRuleDeed", "What was done."),
        ),
        PREFIX + "DeviceRuleDeed": obj(
            "What became of an action.",
            form=string("set, publish, call, alarm."),
            target=string("Of what, or where."),
            said=string("The value, the message."),
            state=string("staged, begun, done, failed, unknown, yielded, shadow, cancelled."),
            reason=string("Why."),
            answer=string("What the device, the broker or the service has answered."),
            time={"$ref": f"#/$defs/{_TIME}", "description": "Of its state."},
        ),
        PREFIX + "DeviceRuleAlarm": obj(
            "An alarm that it raised.",
            time={"$ref": f"#/$defs/{_MICRO_TIME}", "description": "When."},
            severity=string("Info, Warning, Critical."),
            message=string("What is the matter."),
            number=int64("Of the firing."),
        ),
    }
