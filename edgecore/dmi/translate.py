"""Devices and models as KubeEdge's mappers are told of them.

Pure. As KubeEdge's edgecore: what the model says of visitors and protocol is put into the device, every message that
its mapper framework looks into is there (it does not ask whether), numbers are those of the manifest. Other than
there, `reportToCloud` is always true: it makes the mapper tell the gateway, which knows itself what goes on to the
cloud.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from devices.dmi import messages
from devices.dmi.codec import encode
from devices.dmi.values import anys
from skerry.frozen import replace
from skerry.objects.device_models import properties_in, served_properties
from skerry.objects.json import JsonObject, bool_at, int_at, map_at, maps_at, str_at, str_map_at, strs_at
from skerry.objects.meta import name_of, namespace_of


def device_message(device: JsonObject, model: JsonObject, desired: Mapping[str, str]) -> messages.Device:
    """`desired`: values by property, for those that are to hold one."""
    spec = map_at(device, "spec")
    protocol = str_at(spec, "protocol", "protocolName")
    placed = properties_in(device)
    return messages.Device(
        name=name_of(device),
        namespace=namespace_of(device),
        spec=messages.DeviceSpec(
            device_model_reference=str_at(spec, "deviceModelRef", "name"),
            protocol=messages.ProtocolConfig(
                protocol_name=protocol,
                config_data=messages.CustomizedValue(
                    data=anys(
                        {**map_at(model, "spec", "protocolConfigData"), **map_at(spec, "protocol", "configData")}
                    )
                ),
            ),
            properties=tuple(
                _property(name, of_model, placed.get(name, {}), protocol, desired.get(name, ""))
                for name, of_model in served_properties(device, model).items()
            ),
            methods=tuple(
                messages.DeviceMethod(
                    name=str_at(method, "name"),
                    description=str_at(method, "description"),
                    property_names=tuple(strs_at(method, "propertyNames")),
                )
                for method in maps_at(spec, "methods")
            ),
        ),
        status=messages.DeviceStatus(
            report_to_cloud=bool_at(spec, "stateReport", "reportToCloud")
            or bool_at(device, "status", "reportToCloud"),
            report_cycle=int_at(spec, "stateReport", "reportCycle") or int_at(device, "status", "reportCycle"),
        ),
    )


def _property(
    name: str, model: JsonObject, instance: JsonObject, protocol: str, desired: str
) -> messages.DeviceProperty:
    visitor = {**map_at(model, "visitors", "configData"), **map_at(instance, "visitors", "configData")}
    visitor.pop("twin", None)  # ours
    named = str_at(instance, "visitors", "protocolName") or str_at(model, "visitors", "protocolName") or protocol
    metadata = {"type": str_at(model, "type").lower()}
    return messages.DeviceProperty(
        name=name,
        desired=messages.TwinProperty(value=desired, metadata=metadata),
        visitors=messages.VisitorConfig(
            protocol_name=named, config_data=messages.CustomizedValue(data=anys(visitor))
        ),
        report_cycle=int_at(instance, "reportCycle"),
        collect_cycle=int_at(instance, "collectCycle"),
        report_to_cloud=True,
        push_method=_push_method(map_at(instance, "pushMethod")),
    )


def _push_method(push: JsonObject) -> messages.PushMethod:
    http, mqtt, otel = (map_at(push, name) for name in ("http", "mqtt", "otel"))
    databases, anomaly = map_at(push, "dbMethod"), map_at(push, "anomalyDetection")
    return messages.PushMethod(
        http=messages.PushMethodHttp(
            hostname=str_at(http, "hostName"),
            port=int_at(http, "port"),
            request_path=str_at(http, "requestPath"),
            timeout=int_at(http, "timeout"),
        )
        if http
        else None,
        mqtt=messages.PushMethodMqtt(
            address=str_at(mqtt, "address"),
            topic=str_at(mqtt, "topic"),
            qos=int_at(mqtt, "qos"),
            retained=bool_at(mqtt, "retained"),
        )
        if mqtt
        else None,
        otel=messages.PushMethodOtel(endpoint_url=str_at(otel, "endpointURL")) if otel else None,
        db_method=_databases(databases) if databases else None,
        anomaly_detection=messages.AnomalyDetection(data=anys(anomaly)) if anomaly else None,
    )


def _databases(given: JsonObject) -> messages.DbMethod:
    influx, redis = map_at(given, "influxdb2"), map_at(given, "redis", "redisClientConfig")
    tdengine, mysql = map_at(given, "TDEngine", "TDEngineClientConfig"), map_at(given, "mysql", "mysqlClientConfig")
    client, data = map_at(influx, "influxdb2ClientConfig"), map_at(influx, "influxdb2DataConfig")
    return messages.DbMethod(
        influxdb2=messages.DbMethodInfluxdb2(
            client_config=messages.Influxdb2ClientConfig(
                url=str_at(client, "url"), org=str_at(client, "org"), bucket=str_at(client, "bucket")
            ),
            data_config=messages.Influxdb2DataConfig(
                measurement=str_at(data, "measurement"),
                tag=str_map_at(data, "tag"),
                field_key=str_at(data, "fieldKey"),
            ),
        )
        if influx
        else None,
        redis=messages.DbMethodRedis(
            client_config=messages.RedisClientConfig(
                addr=str_at(redis, "addr"),
                db=int_at(redis, "db"),
                poolsize=int_at(redis, "poolsize"),
                min_idle_conns=int_at(redis, "minIdleConns"),
            )
        )
        if redis
        else None,
        tdengine=messages.DbMethodTdEngine(
            client_config=messages.TdEngineClientConfig(
                addr=str_at(tdengine, "addr"), dbname=str_at(tdengine, "dbName")
            )
        )
        if tdengine
        else None,
        mysql=messages.DbMethodMySql(
            client_config=messages.MySqlClientConfig(
                addr=str_at(mysql, "addr"), database=str_at(mysql, "database"), user_name=str_at(mysql, "userName")
            )
        )
        if mysql
        else None,
    )


def fingerprint(message: messages.Device | messages.DeviceModel) -> str:
    """The same for what a mapper would serve in the same way: what is wanted is told by itself, when it may be."""
    if isinstance(message, messages.Device) and message.spec is not None:
        properties = tuple(replace(prop, desired=None) for prop in message.spec.properties)
        message = replace(message, spec=replace(message.spec, properties=properties))
    return hashlib.sha256(encode(message)).hexdigest()[:16]


def model_message(model: JsonObject) -> messages.DeviceModel:
    """The model's properties; visitors are in the devices."""
    return messages.DeviceModel(
        name=name_of(model),
        namespace=namespace_of(model),
        spec=messages.DeviceModelSpec(
            properties=tuple(
                messages.ModelProperty(
                    name=str_at(prop, "name"),
                    description=str_at(prop, "description"),
                    type=str_at(prop, "type"),
                    access_mode=str_at(prop, "accessMode"),
                    minimum=str_at(prop, "minimum"),
                    maximum=str_at(prop, "maximum"),
                    unit=str_at(prop, "unit"),
                )
                for prop in maps_at(model, "spec", "properties")
            )
        ),
    )
