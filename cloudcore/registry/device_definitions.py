"""The shape of KubeEdge's device kinds (`devices.kubeedge.io/v1beta1`, KubeEdge 1.23), as OpenAPI definitions.

Written as data in the same form as Kubernetes' own definitions, so that decoding, publishing and explaining
treat devices like everything else. Free-form places (`configData`, a Device's `status`) keep what they are given.
Keeps no data; nothing to lose in a crash.
"""

from __future__ import annotations

from typing import Final

from skerry.objects.json import Json, JsonObject, map_at

PREFIX: Final = "io.kubeedge.devices.v1beta1."
_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_GROUP: Final = "devices.kubeedge.io"
_VERSION: Final = "v1beta1"


def device_definitions() -> dict[str, JsonObject]:
    """Definitions by name, `$ref`s in the carrier's own form (`#/$defs/NAME`)."""
    definitions = _shared() | _push() | _model() | _device() | _status()
    for kind in ("Device", "DeviceModel", "DeviceStatus"):
        definitions[f"{PREFIX}{kind}List"] = _list(kind)
    return definitions


def _shared() -> dict[str, JsonObject]:
    free = _free("Settings in the words of the protocol's driver.")
    return {
        PREFIX + "ProtocolConfig": _object(
            "How a device is reached.",
            protocolName=_string("Name of the protocol: modbus, mqtt, virtual."),
            configData=free,
        ),
        PREFIX + "VisitorConfig": _object(
            "How one property is read and written.",
            protocolName=_string("Name of the protocol: modbus, mqtt, virtual."),
            configData=free,
        ),
        PREFIX + "TwinProperty": _object(
            "A value of a property, as text, and what is known about it.",
            required=("value",),
            value=_string("The value as text."),
            metadata=_strings("What is known about the value: timestamp (milliseconds since 1970), type and others."),
        ),
        PREFIX + "Twin": _object(
            "The last told and the wanted value of one property, as seen by the node.",
            propertyName=_string("Name of the property in the device model."),
            observedDesired=_ref("TwinProperty", "The wanted value as the node has it."),
            reported=_ref("TwinProperty", "The value last told."),
        ),
    }


def _push() -> dict[str, JsonObject]:
    return {
        PREFIX + "PushMethod": _object(
            "Where a mapper pushes readings beside the twin.",
            http=_ref("PushMethodHTTP", "Push over HTTP."),
            mqtt=_ref("PushMethodMQTT", "Push over MQTT."),
            otel=_ref("PushMethodOTEL", "Push over OpenTelemetry."),
            dbMethod=_free("Push into a database (influxdb2, redis, TDEngine, mysql)."),
            anomalyDetection=_free("Detection of anomalies by the mapper."),
        ),
        PREFIX + "PushMethodHTTP": _object(
            "Push over HTTP.",
            hostName=_string("Host to push to."),
            port=_int64("Port to push to."),
            requestPath=_string("Path to push to."),
            timeout=_int64("Deadline of one push, seconds."),
        ),
        PREFIX + "PushMethodMQTT": _object(
            "Push over MQTT.",
            address=_string("Broker, host:port."),
            topic=_string("Topic."),
            qos=_int32("Quality of service, 0 to 2."),
            retained=_bool("Let the broker keep the last message."),
        ),
        PREFIX + "PushMethodOTEL": _object("Push over OpenTelemetry.", endpointURL=_string("URL of the collector.")),
    }


def _model() -> dict[str, JsonObject]:
    return {
        PREFIX + "DeviceModel": _kind(
            "DeviceModel",
            "A type of device: its properties and how they are reached by default.",
            spec=_ref("DeviceModelSpec", "What devices of this type are."),
        ),
        PREFIX + "DeviceModelSpec": _object(
            "What devices of a type are.",
            properties=_list_of("ModelProperty", "The properties of a device of this type."),
            protocol=_string("Name of the protocol that devices of this type speak."),
            protocolConfigData=_free("Default settings of the protocol; a device's own come first."),
        ),
        PREFIX + "ModelProperty": _object(
            "One property of a type of device.",
            name=_string("Name, unique in the model."),
            description=_string("What it is, for people."),
            type=_string("Type of the value.", "INT", "FLOAT", "DOUBLE", "STRING", "BOOLEAN", "BYTES", "STREAM"),
            accessMode=_string("May it be written?", "ReadWrite", "ReadOnly"),
            minimum=_string("Smallest allowed value, as text."),
            maximum=_string("Largest allowed value, as text."),
            unit=_string("Unit of the value."),
            visitors=_ref("VisitorConfig", "How it is read and written by default; a device's own come first."),
        ),
    }


def _device() -> dict[str, JsonObject]:
    status = _object(
        "What is known of a device. Free form in KubeEdge; the fields here are those that Skerry writes.",
        twins=_list_of("Twin", "The device's twins."),
        state=_string("online, offline or unhealthy."),
        lastOnlineTime=_string("When it was last heard of, RFC 3339."),
        extensions=_free("Whatever a mapper adds."),
        reportCycle=_int64("How often its state is told, milliseconds."),
        reportToCloud=_bool("Is its state told to the cloud?"),
    )
    status["x-kubernetes-preserve-unknown-fields"] = True
    return {
        PREFIX + "Device": _kind(
            "Device",
            "A device on a node: how it is reached, and its twins.",
            spec=_ref("DeviceSpec", "What the device is and what is wanted of it."),
            status=_ref("DeviceTwins", "What is known of it."),
        ),
        PREFIX + "DeviceTwins": status,
        PREFIX + "DeviceModelReference": _object(
            "Names a device model in the device's namespace.", name=_string("Name of the DeviceModel.")
        ),
        PREFIX + "DeviceSpec": _object(
            "What a device is and what is wanted of it.",
            deviceModelRef=_ref("DeviceModelReference", "The device's type."),
            nodeName=_string("The node that is connected to the device."),
            properties=_list_of("DeviceProperty", "Its properties: wanted values and how they are reached."),
            protocol=_ref("ProtocolConfig", "How it is reached."),
            methods=_list_of("DeviceMethod", "Named groups of properties that are written together."),
            stateReport=_ref("StateReport", "How its state is told."),
        ),
        PREFIX + "StateReport": _object(
            "How a device's state is told.",
            reportCycle=_int64("How often, milliseconds."),
            reportToCloud=_bool("To the cloud?"),
        ),
        PREFIX + "DeviceMethod": _object(
            "A named group of properties.",
            name=_string("Name of the method."),
            description=_string("What it does, for people."),
            propertyNames=_strings_list("The properties it writes."),
        ),
        PREFIX + "DeviceProperty": _object(
            "One property of a device.",
            name=_string("Name of the property in the device model."),
            desired=_ref("TwinProperty", "The wanted value."),
            visitors=_ref("VisitorConfig", "How it is read and written."),
            reportCycle=_int64("How often it is told, milliseconds."),
            collectCycle=_int64("How often it is read, milliseconds."),
            reportToCloud=_bool("Is it told to the cloud?"),
            pushMethod=_ref("PushMethod", "Where a mapper pushes its readings beside the twin."),
        ),
    }


def _status() -> dict[str, JsonObject]:
    return {
        PREFIX + "DeviceStatus": _kind(
            "DeviceStatus",
            "What a node tells of a device, beside the Device of the same name.",
            spec=_object("Empty."),
            status=_ref("DeviceStatusStatus", "What the node told."),
        ),
        PREFIX + "DeviceStatusStatus": _object(
            "What a node told of a device.",
            twins=_list_of("Twin", "The device's twins."),
            state=_string("online, offline or unhealthy."),
            lastOnlineTime=_string("When it was last heard of, RFC 3339."),
            extensions=_free("Whatever a mapper adds."),
        ),
    }


def _kind(kind: str, description: str, /, **fields: JsonObject) -> JsonObject:
    definition = _object(
        description,
        apiVersion=_string("Group and version of this representation of the object."),
        kind=_string("Kind of the object."),
        metadata={"$ref": f"#/$defs/{_META}", "description": "Standard object's metadata."},
    )
    map_at(definition, "properties").update(fields)
    definition["x-kubernetes-group-version-kind"] = [{"group": _GROUP, "version": _VERSION, "kind": kind}]
    return definition


def _list(kind: str) -> JsonObject:
    items: JsonObject = {"type": "array", "items": {"$ref": f"#/$defs/{PREFIX}{kind}"}, "description": "The objects."}
    definition = _object(
        f"A list of {kind} objects.",
        required=("items",),
        apiVersion=_string("Group and version of this representation of the list."),
        kind=_string("Kind of the list."),
        metadata={
            "$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta",
            "description": "Standard list metadata.",
        },
        items=items,
    )
    definition["x-kubernetes-group-version-kind"] = [{"group": _GROUP, "version": _VERSION, "kind": f"{kind}List"}]
    return definition


def _object(description: str, /, *, required: tuple[str, ...] = (), **fields: JsonObject) -> JsonObject:
    definition: JsonObject = {"type": "object", "description": description, "properties": {**fields}}
    if required:
        definition["required"] = list(required)
    return definition


def _ref(name: str, description: str) -> JsonObject:
    return {"$ref": f"#/$defs/{PREFIX}{name}", "description": description}


def _list_of(name: str, description: str) -> JsonObject:
    return {
        "type": "array",
        "items": {"$ref": f"#/$defs/{PREFIX}{name}"},
        "description": description,
        "x-kubernetes-list-type": "atomic",
    }


def _string(description: str, *allowed: str) -> JsonObject:
    schema: JsonObject = {"type": "string", "description": description}
    if allowed:
        values: list[Json] = [*allowed]
        schema["enum"] = values
    return schema


def _strings(description: str) -> JsonObject:
    return {"type": "object", "additionalProperties": {"type": "string"}, "description": description}


def _strings_list(description: str) -> JsonObject:
    return {"type": "array", "items": {"type": "string"}, "description": description}


def _int64(description: str) -> JsonObject:
    return {"type": "integer", "format": "int64", "description": description}


def _int32(description: str) -> JsonObject:
    return {"type": "integer", "format": "int32", "description": description}


def _bool(description: str) -> JsonObject:
    return {"type": "boolean", "description": description}


def _free(description: str) -> JsonObject:
    return {"type": "object", "description": description, "x-kubernetes-preserve-unknown-fields": True}
