"""The shape of KubeEdge's device kinds (`devices.kubeedge.io/v1beta1`, KubeEdge 1.23), as OpenAPI definitions.

Written as data in the same form as Kubernetes' own definitions, so that decoding, publishing and explaining
treat devices like everything else. Free-form places (`configData`, a Device's `status`) keep what they are given.
Keeps no data; nothing to lose in a crash.
"""

from __future__ import annotations

from typing import Final

from cloudcore.registry.definition_parts import (
    GroupParts,
    boolean,
    free,
    int32,
    int64,
    obj,
    string,
    strings,
    strings_list,
)
from skerry.objects.json import JsonObject

PREFIX: Final = "io.kubeedge.devices.v1beta1."
_PARTS: Final = GroupParts(prefix=PREFIX, group="devices.kubeedge.io", version="v1beta1")


def device_definitions() -> dict[str, JsonObject]:
    """Definitions by name, `$ref`s in the carrier's own form (`#/$defs/NAME`)."""
    definitions = _shared() | _push() | _model() | _device() | _status()
    for kind in ("Device", "DeviceModel", "DeviceStatus"):
        definitions[f"{PREFIX}{kind}List"] = _PARTS.list_kind(kind)
    return definitions


def _shared() -> dict[str, JsonObject]:
    settings = free("Settings in the words of the protocol's driver.")
    return {
        PREFIX + "ProtocolConfig": obj(
            "How a device is reached.",
            protocolName=string("Name of the protocol: modbus, mqtt, virtual."),
            configData=settings,
        ),
        PREFIX + "VisitorConfig": obj(
            "How one property is read and written.",
            protocolName=string("Name of the protocol: modbus, mqtt, virtual."),
            configData=settings,
        ),
        PREFIX + "TwinProperty": obj(
            "A value of a property, as text, and what is known about it.",
            required=("value",),
            value=string("The value as text."),
            metadata=strings("What is known about the value: timestamp (milliseconds since 1970), type and others."),
        ),
        PREFIX + "Twin": obj(
            "The last told and the wanted value of one property, as seen by the node.",
            propertyName=string("Name of the property in the device model."),
            observedDesired=_PARTS.ref("TwinProperty", "The wanted value as the node has it."),
            reported=_PARTS.ref("TwinProperty", "The value last told."),
        ),
    }


def _push() -> dict[str, JsonObject]:
    return {
        PREFIX + "PushMethod": obj(
            "Where a mapper pushes readings beside the twin.",
            http=_PARTS.ref("PushMethodHTTP", "Push over HTTP."),
            mqtt=_PARTS.ref("PushMethodMQTT", "Push over MQTT."),
            otel=_PARTS.ref("PushMethodOTEL", "Push over OpenTelemetry."),
            dbMethod=free("Push into a database (influxdb2, redis, TDEngine, mysql)."),
            anomalyDetection=free("Detection of anomalies by the mapper."),
        ),
        PREFIX + "PushMethodHTTP": obj(
            "Push over HTTP.",
            hostName=string("Host to push to."),
            port=int64("Port to push to."),
            requestPath=string("Path to push to."),
            timeout=int64("Deadline of one push, seconds."),
        ),
        PREFIX + "PushMethodMQTT": obj(
            "Push over MQTT.",
            address=string("Broker, host:port."),
            topic=string("Topic."),
            qos=int32("Quality of service, 0 to 2."),
            retained=boolean("Let the broker keep the last message."),
        ),
        PREFIX + "PushMethodOTEL": obj("Push over OpenTelemetry.", endpointURL=string("URL of the collector.")),
    }


def _model() -> dict[str, JsonObject]:
    return {
        PREFIX + "DeviceModel": _PARTS.kind(
            "DeviceModel",
            "A type of device: its properties and how they are reached by default.",
            spec=_PARTS.ref("DeviceModelSpec", "What devices of this type are."),
        ),
        PREFIX + "DeviceModelSpec": obj(
            "What devices of a type are.",
            properties=_PARTS.list_of("ModelProperty", "The properties of a device of this type."),
            protocol=string("Name of the protocol that devices of this type speak."),
            protocolConfigData=free("Default settings of the protocol; a device's own come first."),
        ),
        PREFIX + "ModelProperty": obj(
            "One property of a type of device.",
            name=string("Name, unique in the model."),
            description=string("What it is, for people."),
            type=string("Type of the value.", "INT", "FLOAT", "DOUBLE", "STRING", "BOOLEAN", "BYTES", "STREAM"),
            accessMode=string("May it be written?", "ReadWrite", "ReadOnly"),
            minimum=string("Smallest allowed value, as text."),
            maximum=string("Largest allowed value, as text."),
            unit=string("Unit of the value."),
            visitors=_PARTS.ref("VisitorConfig", "How it is read and written by default; a device's own come first."),
        ),
    }


def _device() -> dict[str, JsonObject]:
    status = obj(
        "What is known of a device. Free form in KubeEdge; the fields here are those that Skerry writes.",
        twins=_PARTS.list_of("Twin", "The device's twins."),
        state=string("online, offline or unhealthy."),
        lastOnlineTime=string("When it was last heard of, RFC 3339."),
        extensions=free("Whatever a mapper adds."),
        reportCycle=int64("How often its state is told, milliseconds."),
        reportToCloud=boolean("Is its state told to the cloud?"),
    )
    status["x-kubernetes-preserve-unknown-fields"] = True
    return {
        PREFIX + "Device": _PARTS.kind(
            "Device",
            "A device on a node: how it is reached, and its twins.",
            spec=_PARTS.ref("DeviceSpec", "What the device is and what is wanted of it."),
            status=_PARTS.ref("DeviceTwins", "What is known of it."),
        ),
        PREFIX + "DeviceTwins": status,
        PREFIX + "DeviceModelReference": obj(
            "Names a device model in the device's namespace.", name=string("Name of the DeviceModel.")
        ),
        PREFIX + "DeviceSpec": obj(
            "What a device is and what is wanted of it.",
            deviceModelRef=_PARTS.ref("DeviceModelReference", "The device's type."),
            nodeName=string("The node that is connected to the device."),
            properties=_PARTS.list_of("DeviceProperty", "Its properties: wanted values and how they are reached."),
            protocol=_PARTS.ref("ProtocolConfig", "How it is reached."),
            methods=_PARTS.list_of("DeviceMethod", "Named groups of properties that are written together."),
            stateReport=_PARTS.ref("StateReport", "How its state is told."),
        ),
        PREFIX + "StateReport": obj(
            "How a device's state is told.",
            reportCycle=int64("How often, milliseconds."),
            reportToCloud=boolean("To the cloud?"),
        ),
        PREFIX + "DeviceMethod": obj(
            "A named group of properties.",
            name=string("Name of the method."),
            description=string("What it does, for people."),
            propertyNames=strings_list("The properties it writes."),
        ),
        PREFIX + "DeviceProperty": obj(
            "One property of a device.",
            name=string("Name of the property in the device model."),
            desired=_PARTS.ref("TwinProperty", "The wanted value."),
            visitors=_PARTS.ref("VisitorConfig", "How it is read and written."),
            reportCycle=int64("How often it is told, milliseconds."),
            collectCycle=int64("How often it is read, milliseconds."),
            reportToCloud=boolean("Is it told to the cloud?"),
            pushMethod=_PARTS.ref("PushMethod", "Where a mapper pushes its readings beside the twin."),
        ),
    }


def _status() -> dict[str, JsonObject]:
    return {
        PREFIX + "DeviceStatus": _PARTS.kind(
            "DeviceStatus",
            "What a node tells of a device, beside the Device of the same name.",
            spec=obj("Empty."),
            status=_PARTS.ref("DeviceStatusStatus", "What the node told."),
        ),
        PREFIX + "DeviceStatusStatus": obj(
            "What a node told of a device.",
            twins=_PARTS.list_of("Twin", "The device's twins."),
            state=string("online, offline or unhealthy."),
            lastOnlineTime=string("When it was last heard of, RFC 3339."),
            extensions=free("Whatever a mapper adds."),
        ),
    }
