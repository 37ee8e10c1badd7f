"""The messages of KubeEdge's Device Mapper Interface, package `v1beta1`, and the numbers of their fields.

Names follow our own style; what counts on the wire are numbers and forms, in `SCHEMA`. docs/reference/dmi.proto has
them as Protocol Buffers' own language; a test compiles it and compares. A message that is absent is None, since Go
programs tell absent from empty. Pure data.

Source: KubeEdge's `API/dmi/v1beta1/api.proto`, v1.21.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from skerry.frozen import Frozen, field
from skerry.wire.tables import Form, Schema, row


def _no_texts() -> Mapping[str, str]:
    return {}


class Any(Frozen):
    """`google.protobuf.Any`: a message of some other type."""

    type_url: str = ""
    value: bytes = b""


def _no_anys() -> Mapping[str, Any]:
    return {}


class CustomizedValue(Frozen):
    """Free-form configuration; see `devices.dmi.values`."""

    data: Mapping[str, Any] = field(default_factory=_no_anys)


class TwinProperty(Frozen):
    value: str = ""
    metadata: Mapping[str, str] = field(default_factory=_no_texts)


class Twin(Frozen):
    property_name: str = ""
    observed_desired: TwinProperty | None = None
    reported: TwinProperty | None = None


class DeviceStatus(Frozen):
    twins: tuple[Twin, ...] = ()
    report_to_cloud: bool = False
    report_cycle: int = 0


class PushMethodHttp(Frozen):
    hostname: str = ""
    port: int = 0
    request_path: str = ""
    timeout: int = 0


class PushMethodMqtt(Frozen):
    address: str = ""
    topic: str = ""
    qos: int = 0
    retained: bool = False


class PushMethodOtel(Frozen):
    endpoint_url: str = ""


class Influxdb2ClientConfig(Frozen):
    url: str = ""
    org: str = ""
    bucket: str = ""


class Influxdb2DataConfig(Frozen):
    measurement: str = ""
    tag: Mapping[str, str] = field(default_factory=_no_texts)
    field_key: str = ""


class DbMethodInfluxdb2(Frozen):
    client_config: Influxdb2ClientConfig | None = None
    data_config: Influxdb2DataConfig | None = None


class RedisClientConfig(Frozen):
    addr: str = ""
    db: int = 0
    poolsize: int = 0
    min_idle_conns: int = 0


class DbMethodRedis(Frozen):
    client_config: RedisClientConfig | None = None


class TdEngineClientConfig(Frozen):
    addr: str = ""
    dbname: str = ""


class DbMethodTdEngine(Frozen):
    client_config: TdEngineClientConfig | None = None


class MySqlClientConfig(Frozen):
    addr: str = ""
    database: str = ""
    user_name: str = ""


class DbMethodMySql(Frozen):
    client_config: MySqlClientConfig | None = None


class DbMethod(Frozen):
    influxdb2: DbMethodInfluxdb2 | None = None
    redis: DbMethodRedis | None = None
    tdengine: DbMethodTdEngine | None = None
    mysql: DbMethodMySql | None = None


class AnomalyDetection(Frozen):
    data: Mapping[str, Any] = field(default_factory=_no_anys)


class PushMethod(Frozen):
    http: PushMethodHttp | None = None
    mqtt: PushMethodMqtt | None = None
    db_method: DbMethod | None = None
    otel: PushMethodOtel | None = None
    anomaly_detection: AnomalyDetection | None = None


class VisitorConfig(Frozen):
    protocol_name: str = ""
    config_data: CustomizedValue | None = None


class ProtocolConfig(Frozen):
    protocol_name: str = ""
    config_data: CustomizedValue | None = None


class DeviceProperty(Frozen):
    name: str = ""
    desired: TwinProperty | None = None
    visitors: VisitorConfig | None = None
    report_cycle: int = 0
    collect_cycle: int = 0
    report_to_cloud: bool = False
    push_method: PushMethod | None = None


class DeviceMethod(Frozen):
    name: str = ""
    description: str = ""
    property_names: tuple[str, ...] = ()


class DeviceSpec(Frozen):
    device_model_reference: str = ""
    protocol: ProtocolConfig | None = None
    properties: tuple[DeviceProperty, ...] = ()
    methods: tuple[DeviceMethod, ...] = ()


class Device(Frozen):
    name: str = ""
    spec: DeviceSpec | None = None
    status: DeviceStatus | None = None
    namespace: str = ""


class ModelProperty(Frozen):
    name: str = ""
    description: str = ""
    type: str = ""
    access_mode: str = ""
    minimum: str = ""
    maximum: str = ""
    unit: str = ""


class DeviceCommand(Frozen):
    name: str = ""
    url: str = ""
    method: str = ""
    status_code: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    response: bytes = b""


class DeviceModelSpec(Frozen):
    properties: tuple[ModelProperty, ...] = ()
    commands: tuple[DeviceCommand, ...] = ()


class DeviceModel(Frozen):
    name: str = ""
    spec: DeviceModelSpec | None = None
    namespace: str = ""


class MapperInfo(Frozen):
    name: str = ""
    version: str = ""
    api_version: str = ""
    protocol: str = ""
    address: bytes = b""
    """The path of the mapper's own socket."""
    state: str = ""


class MapperRegisterRequest(Frozen):
    with_data: bool = False
    mapper: MapperInfo | None = None


class MapperRegisterResponse(Frozen):
    model_list: tuple[DeviceModel, ...] = ()
    device_list: tuple[Device, ...] = ()


class ReportDeviceStatusRequest(Frozen):
    device_name: str = ""
    reported_device: DeviceStatus | None = None
    device_namespace: str = ""


class ReportDeviceStatesRequest(Frozen):
    device_name: str = ""
    device_namespace: str = ""
    state: str = ""


class Nothing(Frozen):
    """Every answer that says no more than that it was done."""


class DeviceRequest(Frozen):
    """RegisterDevice and UpdateDevice."""

    device: Device | None = None


class Named(Frozen):
    """RemoveDevice, GetDevice, RemoveDeviceModel ask by it; RegisterDevice and CreateDeviceModel answer with it."""

    name: str = ""
    namespace: str = ""


class ModelRequest(Frozen):
    """CreateDeviceModel and UpdateDeviceModel."""

    model: DeviceModel | None = None


class GetDeviceResponse(Frozen):
    device: Device | None = None


_S, _B, _I, _L = Form.STRING, Form.BOOL, Form.INT32, Form.INT64
_M, _MS, _T, _A = Form.MESSAGE, Form.MESSAGES, Form.TEXTS, Form.NAMED


SCHEMA: Final[Schema] = {
    Any: row((1, "type_url", _S), (2, "value", Form.BYTES)),
    CustomizedValue: row((1, "data", _A, Any)),
    TwinProperty: row((1, "value", _S), (2, "metadata", _T)),
    Twin: row((1, "property_name", _S), (2, "observed_desired", _M, TwinProperty), (3, "reported", _M, TwinProperty)),
    DeviceStatus: row((1, "twins", _MS, Twin), (2, "report_to_cloud", _B), (3, "report_cycle", _L)),
    PushMethodHttp: row((1, "hostname", _S), (2, "port", _L), (3, "request_path", _S), (4, "timeout", _L)),
    PushMethodMqtt: row((1, "address", _S), (2, "topic", _S), (3, "qos", _I), (4, "retained", _B)),
    PushMethodOtel: row((1, "endpoint_url", _S)),
    Influxdb2ClientConfig: row((1, "url", _S), (2, "org", _S), (3, "bucket", _S)),
    Influxdb2DataConfig: row((1, "measurement", _S), (2, "tag", _T), (3, "field_key", _S)),
    DbMethodInfluxdb2: row(
        (1, "client_config", _M, Influxdb2ClientConfig), (2, "data_config", _M, Influxdb2DataConfig)
    ),
    RedisClientConfig: row((1, "addr", _S), (2, "db", _I), (3, "poolsize", _I), (4, "min_idle_conns", _I)),
    DbMethodRedis: row((1, "client_config", _M, RedisClientConfig)),
    TdEngineClientConfig: row((1, "addr", _S), (2, "dbname", _S)),
    DbMethodTdEngine: row((1, "client_config", _M, TdEngineClientConfig)),
    MySqlClientConfig: row((1, "addr", _S), (2, "database", _S), (3, "user_name", _S)),
    DbMethodMySql: row((1, "client_config", _M, MySqlClientConfig)),
    DbMethod: row(
        (1, "influxdb2", _M, DbMethodInfluxdb2),
        (2, "redis", _M, DbMethodRedis),
        (3, "tdengine", _M, DbMethodTdEngine),
        (4, "mysql", _M, DbMethodMySql),
    ),
    AnomalyDetection: row((1, "data", _A, Any)),
    PushMethod: row(
        (1, "http", _M, PushMethodHttp),
        (2, "mqtt", _M, PushMethodMqtt),
        (3, "db_method", _M, DbMethod),
        (4, "otel", _M, PushMethodOtel),
        (5, "anomaly_detection", _M, AnomalyDetection),
    ),
    VisitorConfig: row((1, "protocol_name", _S), (2, "config_data", _M, CustomizedValue)),
    ProtocolConfig: row((1, "protocol_name", _S), (2, "config_data", _M, CustomizedValue)),
    DeviceProperty: row(
        (1, "name", _S),
        (2, "desired", _M, TwinProperty),
        (3, "visitors", _M, VisitorConfig),
        (4, "report_cycle", _L),
        (5, "collect_cycle", _L),
        (6, "report_to_cloud", _B),
        (7, "push_method", _M, PushMethod),
    ),
    DeviceMethod: row((1, "name", _S), (2, "description", _S), (3, "property_names", Form.STRINGS)),
    DeviceSpec: row(
        (1, "device_model_reference", _S),
        (2, "protocol", _M, ProtocolConfig),
        (3, "properties", _MS, DeviceProperty),
        (4, "methods", _MS, DeviceMethod),
    ),
    Device: row((1, "name", _S), (2, "spec", _M, DeviceSpec), (3, "status", _M, DeviceStatus), (4, "namespace", _S)),
    ModelProperty: row(
        (1, "name", _S),
        (2, "description", _S),
        (3, "type", _S),
        (4, "access_mode", _S),
        (5, "minimum", _S),
        (6, "maximum", _S),
        (7, "unit", _S),
    ),
    DeviceCommand: row(
        (1, "name", _S),
        (2, "url", _S),
        (3, "method", _S),
        (4, "status_code", Form.STRINGS),
        (5, "parameters", Form.STRINGS),
        (6, "response", Form.BYTES),
    ),
    DeviceModelSpec: row((1, "properties", _MS, ModelProperty), (2, "commands", _MS, DeviceCommand)),
    DeviceModel: row((1, "name", _S), (2, "spec", _M, DeviceModelSpec), (3, "namespace", _S)),
    MapperInfo: row(
        (1, "name", _S),
        (2, "version", _S),
        (3, "api_version", _S),
        (4, "protocol", _S),
        (5, "address", Form.BYTES),
        (6, "state", _S),
    ),
    MapperRegisterRequest: row((1, "with_data", _B), (2, "mapper", _M, MapperInfo)),
    MapperRegisterResponse: row((1, "model_list", _MS, DeviceModel), (2, "device_list", _MS, Device)),
    ReportDeviceStatusRequest: row(
        (1, "device_name", _S), (2, "reported_device", _M, DeviceStatus), (3, "device_namespace", _S)
    ),
    ReportDeviceStatesRequest: row((1, "device_name", _S), (2, "device_namespace", _S), (3, "state", _S)),
    Nothing: (),
    DeviceRequest: row((1, "device", _M, Device)),
    Named: row((1, "name", _S), (2, "namespace", _S)),
    ModelRequest: row((1, "model", _M, DeviceModel)),
    GetDeviceResponse: row((1, "device", _M, Device)),
}

MANAGER: Final = "v1beta1.DeviceManagerService"
"""Served by the gateway."""
MANAGER_CALLS: Final[Mapping[str, tuple[type, type]]] = {
    "MapperRegister": (MapperRegisterRequest, MapperRegisterResponse),
    "ReportDeviceStatus": (ReportDeviceStatusRequest, Nothing),
    "ReportDeviceStates": (ReportDeviceStatesRequest, Nothing),
}
MAPPER: Final = "v1beta1.DeviceMapperService"
"""Served by each mapper."""
MAPPER_CALLS: Final[Mapping[str, tuple[type, type]]] = {
    "RegisterDevice": (DeviceRequest, Named),
    "RemoveDevice": (Named, Nothing),
    "UpdateDevice": (DeviceRequest, Nothing),
    "CreateDeviceModel": (ModelRequest, Named),
    "RemoveDeviceModel": (Named, Nothing),
    "UpdateDeviceModel": (ModelRequest, Nothing),
    "GetDevice": (Named, GetDeviceResponse),
}
