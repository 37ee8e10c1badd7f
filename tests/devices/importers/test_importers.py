"""What other tools know of a device, as manifests: samples in their documented forms, written here."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.codec import decode
from devices.commands.importing import guessed, manifests
from devices.commands.model import judgements, model
from devices.importers.draft import Draft
from devices.importers.edgex import import_edgex
from devices.importers.homeassistant import import_home_assistant
from devices.importers.sunspec import import_sunspec
from devices.importers.table import import_csv
from devices.importers.telegraf import import_telegraf
from devices.importers.v1alpha2 import OLD, convert
from devices.modbus.config import parse_device
from devices.port import DeviceConfig, PropertyConfig
from skerry.cli.device_export import manifest_text
from skerry.errors import BadRequestError, InvalidError
from skerry.objects.json import JsonObject, dig, map_at, str_at
from skerry.objects.meta import Key

TELEGRAF = """
[[inputs.modbus]]
  name = "pump"
  controller = "tcp://10.0.0.7:1502"
  transmission_mode = "RTUoverTCP"
  slave_id = 3
  timeout = "500ms"
  busy_retries = 2
  discrete_inputs = [{ name = "door", address = [4] }]
  holding_registers = [
    { name = "power", byte_order = "CDAB", data_type = "FLOAT32-IEEE", scale = 1.0, address = [10, 11] },
    { name = "volt", byte_order = "AB", data_type = "UFIXED", scale = 0.1, address = [12] },
    { name = "torn", byte_order = "ABCD", data_type = "INT32", address = [20, 22] },
  ]
  [inputs.modbus.workarounds]
    pause_between_requests = "20ms"
    one_request_per_field = true

[[inputs.modbus]]
  name = "line"
  controller = "file:///dev/ttyUSB0"
  baud_rate = 19200
  parity = "E"
  configuration_type = "request"
  [[inputs.modbus.request]]
    slave_id = 1
    register = "input"
    byte_order = "DCBA"
    fields = [
      { address = 0, name = "temp", type = "INT16", scale = 0.1 },
      { address = 1, name = "total", type = "UINT64" },
      { address = 5, name = "x", omit = true },
      { address = 6, name = "run", type = "BIT", bit = 3 },
    ]
  [[inputs.modbus.request]]
    slave_id = 2
    register = "coil"
    fields = [{ address = 7, name = "on" }]
"""
HOME_ASSISTANT = """
modbus:
  - name: hub1
    type: tcp
    host: 10.0.0.9
    port: 502
    delay: 2
    timeout: 5
    message_wait_milliseconds: 30
    sensors:
      - {name: "Flow temp", slave: 2, address: 100, input_type: input, data_type: float32, swap: word,
         unit_of_measurement: "°C", scan_interval: 5}
      - {name: level, slave: 2, address: 102, scale: 0.01, offset: -5, nan_value: 0x8000}
      - {name: odd, slave: 2, address: 103, data_type: custom, structure: ">f"}
    binary_sensors:
      - {name: alarm, slave: 2, address: 7, input_type: discrete_input}
    switches:
      - {name: fan, slave: 2, address: 8, write_type: coil}
      - {name: mode, slave: 2, address: 30, write_type: holding, command_on: 3, command_off: 1}
    climates:
      - {name: room, address: 1}
"""
EDGEX = """
name: Meter
deviceResources:
  - name: Energy
    properties: {valueType: Uint64, readWrite: R, units: Wh, scale: 10}
    attributes: {primaryTable: INPUT_REGISTERS, startingAddress: 4, isWordSwap: true}
  - name: Limit
    properties: {valueType: Float32, readWrite: RW, minimum: 0, maximum: 16}
    attributes: {primaryTable: HOLDING_REGISTERS, startingAddress: "8", rawType: INT16}
  - name: Relay
    properties: {valueType: Bool, readWrite: RW}
    attributes: {primaryTable: HOLDING_REGISTERS, startingAddress: "9.5"}
  - name: Masked
    properties: {valueType: Uint16, readWrite: R, mask: 255}
    attributes: {primaryTable: HOLDING_REGISTERS, startingAddress: 10}
deviceCommands: [{name: All}]
---
deviceList:
  - name: meter-1
    profileName: Meter
    protocols: {modbus-rtu: {Address: /dev/ttyS1, BaudRate: "9600", Parity: E, UnitID: "5", Timeout: "2"}}
"""
SUNSPEC = json.dumps(
    {
        "id": 103,
        "group": {
            "name": "inverter",
            "points": [
                {"name": "ID", "type": "uint16", "size": 1},
                {"name": "L", "type": "uint16", "size": 1},
                {"name": "A", "type": "uint16", "size": 1, "sf": "A_SF", "units": "A"},
                {"name": "W", "type": "int16", "size": 1, "sf": "W_SF", "units": "W"},
                {"name": "WH", "type": "acc32", "size": 2, "units": "Wh"},
                {"name": "A_SF", "type": "sunssf", "size": 1},
                {"name": "St", "type": "enum16", "size": 1, "symbols": [{"name": "OFF", "value": 1}]},
                {"name": "Vr", "type": "string", "size": 8},
                {"name": "Evt", "type": "bitfield16", "size": 1, "symbols": [{"name": "HOT", "value": 2}]},
            ],
            "groups": [{"name": "mod", "count": 2, "points": [{"name": "T", "type": "int16", "size": 1}]}],
        },
    }
)
CSV = """\
name;address;type;scale;unit;access;minimum;maximum;order
setpoint;40003;int16;0.1;°C;RW;5;90;
flow;ir:4;float32;;l/s;R;;;CDAB
pump;co:1;;;;RW;;;
"""


def where(draft: Draft) -> dict[str, JsonObject]:
    return {str_at(prop, "name"): map_at(prop, "visitors", "configData") for prop in draft.properties}


def types(draft: Draft) -> dict[str, str]:
    return {str_at(prop, "name"): f"{str_at(prop, 'type')} {str_at(prop, 'accessMode')}" for prop in draft.properties}


def test_telegraf_s_registers_and_requests() -> None:
    pump, one, two = import_telegraf(TELEGRAF)
    assert pump.endpoint == {
        "tcp": {"ip": "10.0.0.7", "port": 1502},
        "framing": "rtu",
        "timeoutMs": 500,
        "pauseMs": 20,
        "slaveID": 3,
    }
    assert where(pump) == {
        "door": {"address": "di:4"},
        "power": {"address": "hr:10", "dataType": "float32", "order": "CDAB"},
        "volt": {"address": "hr:12", "dataType": "uint16", "scale": 0.1},
    }
    assert [note.split(":")[0] for note in pump.notes] == [
        "busy_retries",
        "workarounds.one_request_per_field",
        "torn",
    ]
    assert (one.name, two.name) == ("line-1", "line-2")
    assert (one.endpoint["parity"], one.endpoint["baudRate"], two.endpoint["slaveID"]) == ("even", 19200, 2)
    assert where(one) == {
        "temp": {"address": "ir:0", "dataType": "int16", "order": "BADC", "scale": 0.1},
        "total": {"address": "ir:1", "dataType": "uint64", "order": "DCBA"},
        "run": {"address": "ir:6", "bit": 11},
    }
    assert types(one) == {"temp": "DOUBLE ReadOnly", "total": "INT ReadOnly", "run": "BOOLEAN ReadOnly"}
    assert where(two) == {"on": {"address": "co:7"}}


REGISTERS = """
[[inputs.modbus]]
  name = "old"
  controller = "tcp://10.0.0.7:502"
  timeout = "1m30s"
  holding_registers = [
    { name = "power", byte_order = "CDAB", data_type = "FLOAT32", scale = 0.1, address = [10, 11] },
    { name = "flow", byte_order = "ABCD", data_type = "FLOAT32-IEEE", scale = 1.0, address = [12, 13] },
    { name = "big", byte_order = "GHEFCDAB", data_type = "FIXED", scale = 0.1, address = [14, 15, 16, 17] },
    { name = "swapped", byte_order = "BA", data_type = "INT16", scale = 1.0, address = [2] },
    { name = "half", byte_order = "BA", data_type = "FLOAT16-IEEE", address = [3] },
    { name = "low", byte_order = "BA", data_type = "UINT8L", address = [4] },
    { name = "run", byte_order = "BA", data_type = "BIT", bit = 3, address = [5] },
    { name = "name", byte_order = "BA", data_type = "STRING", address = [6, 7] },
    { name = "odd", byte_order = "ACBD", data_type = "INT32", address = [20, 21] },
    { name = "torn", byte_order = "ABCD", data_type = "INT32", address = [20, "21"] },
  ]
"""


def test_telegraf_s_own_names_of_types_and_orders_mean_what_telegraf_reads() -> None:
    (old,) = import_telegraf(REGISTERS)
    assert where(old) == {
        "power": {"address": "hr:10", "dataType": "uint32", "order": "CDAB", "scale": 0.1},
        "flow": {"address": "hr:12", "dataType": "float32", "order": "ABCD"},
        "big": {"address": "hr:14", "dataType": "int64", "order": "CDAB", "scale": 0.1},
        "swapped": {"address": "hr:2", "dataType": "int16", "order": "BADC"},
        "half": {"address": "hr:3", "dataType": "float16", "order": "BADC"},
        "low": {"address": "hr:4", "dataType": "uint8h"},
        "run": {"address": "hr:5", "bit": 11},
        "name": {"address": "hr:6", "dataType": "string", "limit": 2, "order": "BADC"},
    }
    assert [note.split(":")[0] for note in old.notes] == [
        "timeout '1m30s'", "odd", "torn",
    ]  # fmt: skip
    assert types(old)["power"].startswith("DOUBLE")
    judged = manifests([old], name="", node="eu-1", namespace="default")
    assert len(judged) == 2


SWAPPED = DeviceConfig(
    device=Key("devices.devices.kubeedge.io", "default", "old"),
    protocol="modbus",
    protocol_config={"ip": "127.0.0.1"},
    properties=(
        PropertyConfig(
            name="swapped", type="INT", writable=False, unit="", minimum=None, maximum=None, collect_ms=1000,
            visitor={"address": "hr:2", "dataType": "int16", "order": "BADC"},
        ),
    ),
)  # fmt: skip


def test_an_order_of_two_bytes_is_read_so() -> None:
    codec = parse_device(SWAPPED).properties["swapped"].codec
    assert decode(codec, [0x0100]) == 1


HOSTILE = [
    (import_telegraf, '[[inputs.modbus]]\ncontroller="tcp://h:99999"\nholding_registers=[]'),
    (import_telegraf, '[[inputs.modbus]]\ncontroller="tcp://[h:502"\n'),
    (import_telegraf, f"a = {'9' * 5000}"),
    (import_telegraf, f"a = {'[' * 5000}"),
    (import_home_assistant, "modbus: {host: h, port: .inf}"),
    (import_edgex, EDGEX.replace('UnitID: "5"', "UnitID: five")),
    (import_home_assistant, f"modbus: {'[' * 5000}"),
    (import_edgex, "deviceResources: &a [*a]"),
    (import_csv, 'name,address,type\na,hr:1,"' + "x" * 200_000),
    (partial(import_sunspec, base=0, factors={}), "[" * 100_000),
    (
        partial(import_sunspec, base=0, factors={}),
        json.dumps({"group": {"points": [{"name": "a"}], "groups": [{"name": "g", "count": 10**12}]}}),
    ),
    (
        partial(import_sunspec, base=0, factors={}),
        json.dumps({"group": {"points": [{"name": "a", "size": 70_000, "type": "string"}]}}),
    ),
]


@pytest.mark.parametrize(("read", "text"), HOSTILE)
def test_what_can_t_be_read_is_refused_and_no_fault_of_ours(read: Callable[[str], list[Draft]], text: str) -> None:
    with pytest.raises(InvalidError):
        read(text)


def test_what_home_assistant_says_oddly_is_left_out_with_a_note() -> None:
    (hub,) = import_home_assistant(
        """
modbus:
  - name: hub
    host: h
    port: 502
    sensors:
      - {name: text, address: 1, nan_value: "n/a"}
      - {name: float, address: 2, data_type: float32, nan_value: 5}
      - {name: negative, address: 3, nan_value: -32768}
      - {name: hidden, slave: !secret unit, address: 4}
      - {name: since, address: 5, unit_of_measurement: 2020-13-45}
"""
    )
    assert where(hub) == {
        "negative": {"address": "hr:3", "dataType": "int16", "sentinels": [0x8000]},
        "since": {"address": "hr:5", "dataType": "int16"},
    }
    assert [note.split(":")[0] for note in hub.notes] == ["hidden", "text", "float"]


def test_a_scale_that_sunspec_does_not_have_is_left_out() -> None:
    points = [{"name": "a", "type": "int16", "sf": 400}, {"name": "b", "type": "int16", "sf": -2}]
    (draft,) = import_sunspec(json.dumps({"group": {"points": points}}), base=0, factors={})
    assert where(draft) == {"b": {"address": "hr:1", "dataType": "int16", "sentinels": [0x8000], "scale": 0.01}}
    assert draft.notes == ["a: left out: its scale factor is 400"]


READERS: list[tuple[Callable[[str], list[Draft]], str]] = [
    (import_telegraf, TELEGRAF + REGISTERS),
    (import_home_assistant, HOME_ASSISTANT),
    (import_edgex, EDGEX),
    (partial(import_sunspec, base=0, factors={"A_SF": 0}), SUNSPEC),
    (import_csv, CSV),
]
ODD = [
    "-1",
    "9" * 30,
    "null",
    "{",
    "]",
    "2020-13-45",
    "!x y",
    "inf",
    '"',
    "\n",
    "\0",
    "[1]",
    "0x_",
    "&a *a",
    "\u00b2",
    "",
]


def damaged(data: st.DataObject, text: str) -> str:
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        text = text[:start] + data.draw(st.sampled_from(ODD)) + text[end:]
    return text


@given(st.data())
@settings(max_examples=150)
def test_damaged_descriptions_are_imported_or_refused(data: st.DataObject) -> None:
    read, text = data.draw(st.sampled_from(READERS))
    with contextlib.suppress(InvalidError):
        manifests(read(damaged(data, text)), name="", node="", namespace="default")


@given(st.data())
@settings(max_examples=50)
def test_damaged_objects_of_kubeedge_s_older_versions_are_converted_or_refused(data: st.DataObject) -> None:
    page = (Path(__file__).parents[3] / "docs" / "howto" / "devices-of-v1alpha2.md").read_text()
    text = damaged(data, page[page.index("```yaml") + 7 : page.rindex("```")])
    with contextlib.suppress(InvalidError):
        manifest_text(convert(text, node="", namespace="default")[0])


def test_home_assistant_s_hub() -> None:
    (hub,) = import_home_assistant(HOME_ASSISTANT)
    assert hub.endpoint == {
        "tcp": {"ip": "10.0.0.9", "port": 502},
        "timeoutMs": 5000,
        "pauseAfterConnectMs": 2000,
        "pauseMs": 30,
        "slaveID": 2,
    }
    assert where(hub) == {
        "Flow_temp": {"address": "ir:100", "dataType": "float32", "order": "CDAB"},
        "level": {
            "address": "hr:102", "dataType": "int16", "scale": 0.01, "valueOffset": -5, "sentinels": [0x8000]
        },
        "alarm": {"address": "di:7"},
        "fan": {"address": "co:8"},
        "mode": {"address": "hr:30", "dataType": "uint16", "enum": {"1": "off", "3": "on"}},
    }  # fmt: skip
    assert hub.cycles_ms["Flow_temp"] == 5000
    assert types(hub)["fan"] == "BOOLEAN ReadWrite"
    told = "; ".join(hub.notes)
    for part in ("climates: not carried over (1)", "'Flow temp' is called 'Flow_temp'", "odd: data_type 'custom'"):
        assert part in told
    secret = import_home_assistant("modbus:\n  - {name: h, type: tcp, host: !secret place, port: 502}\n")
    assert "host: !secret place is not followed" in secret[0].notes[0]


def test_edgex_s_profile_with_its_device() -> None:
    (meter,) = import_edgex(EDGEX)
    assert meter.name == "meter-1"
    assert meter.endpoint == {
        "serialPort": "/dev/ttyS1",
        "baudRate": 9600,
        "dataBits": 8,
        "parity": "even",
        "stopBits": 1,
        "slaveID": 5,
        "timeoutMs": 2000,
    }
    assert where(meter) == {
        "Energy": {"address": "ir:4", "dataType": "uint64", "order": "CDAB", "scale": 10},
        "Limit": {"address": "hr:8", "dataType": "int16"},
        "Relay": {"address": "hr:9", "bit": 5},
    }
    assert [note.split(":")[0] for note in meter.notes] == ["Energy", "Masked", "deviceCommands"]
    assert str_at(meter.properties[1], "maximum") == "16"


def test_sunspec_s_points_lie_one_after_the_other_and_no_scale_is_made_up() -> None:
    (inverter,) = import_sunspec(SUNSPEC, base=40002, factors={"W_SF": -1})
    assert where(inverter) == {
        "W": {"address": "hr:40005", "dataType": "int16", "sentinels": [0x8000], "scale": 0.1},
        "WH": {"address": "hr:40006", "dataType": "uint32", "order": "ABCD", "sentinels": [0]},
        "St": {"address": "hr:40009", "dataType": "uint16", "sentinels": [0xFFFF], "enum": {"1": "OFF"}},
        "Vr": {"address": "hr:40010", "dataType": "string", "limit": 8},
        "Evt": {"address": "hr:40018", "dataType": "uint16", "flags": {"HOT": 2}, "sentinels": [0xFFFF]},
        "mod_1_T": {"address": "hr:40019", "dataType": "int16", "sentinels": [0x8000]},
        "mod_2_T": {"address": "hr:40020", "dataType": "int16", "sentinels": [0x8000]},
    }
    assert inverter.notes == ["A: left out: its scale factor A_SF is in the device; give --factor A_SF=N"]


def test_a_table_of_registers() -> None:
    (draft,) = import_csv(CSV)
    assert where(draft) == {
        "setpoint": {"address": "40003", "dataType": "int16", "scale": "0.1"},
        "flow": {"address": "ir:4", "dataType": "float32", "order": "CDAB"},
        "pump": {"address": "co:1"},
    }
    assert types(draft)["setpoint"] == "DOUBLE ReadWrite"
    with pytest.raises(InvalidError, match=r"line 2, type: int99 is not one of"):
        import_csv("name,address,type\na,hr:0,int99\n")
    with pytest.raises(InvalidError, match=r"line 2, address: '7' can be read in two ways"):
        import_csv("name,address,type\na,7,int16\n")


@pytest.mark.parametrize("text", ["", "x = 1", "[", "modbus: 1", "{}", "a,b\n"])
def test_what_is_none_of_these_says_so(text: str) -> None:
    for read in (import_telegraf, import_home_assistant, import_edgex, import_csv):
        with pytest.raises(InvalidError):
            read(text)
    with pytest.raises(InvalidError):
        import_sunspec(text, base=0, factors={})


def test_what_is_imported_would_be_served() -> None:
    drafts = [
        *(*import_telegraf(TELEGRAF), *import_home_assistant(HOME_ASSISTANT), *import_edgex(EDGEX)),
        *(*import_csv(CSV), *import_sunspec(SUNSPEC, base=0, factors={"A_SF": 0, "W_SF": 1})),
    ]
    objects = manifests(drafts, name="", node="eu-1", namespace="plant")
    models = [obj for obj in objects if obj["kind"] == "DeviceModel"]
    devices = [obj for obj in objects if obj["kind"] == "Device"]
    assert (len(models), len(devices)) == (7, 5)
    assert all(dig(device, "spec", "nodeName") == "eu-1" for device in devices)
    assert [one for one in judgements(models, devices) if one.finding.level == "fault"] == []


def test_the_command_prints_manifests_and_tells_on_stderr_what_was_left(tmp_path: Path) -> None:
    runner, file = CliRunner(), tmp_path / "pump.conf"
    file.write_text(TELEGRAF)
    done = runner.invoke(model, ["import", str(file)])
    assert done.exit_code == 0 and "kind: DeviceModel" in done.stdout
    assert "torn: addresses [20, 22]" in done.stderr and "from telegraf" in done.stderr
    assert runner.invoke(model, ["import", str(tmp_path / "absent.conf")]).exit_code == 3
    assert runner.invoke(model, ["import", str(file), "--from", "csv"]).exit_code == 5
    assert guessed("x.yaml", EDGEX) == "edgex" and guessed("x.yaml", HOME_ASSISTANT) == "homeassistant"
    with pytest.raises(BadRequestError, match="--from"):
        guessed("x", "")


def test_kubeedge_s_older_objects_become_what_the_page_about_them_says() -> None:
    page = (Path(__file__).parents[3] / "docs" / "howto" / "devices-of-v1alpha2.md").read_text()
    text = page[page.index("```yaml") + 7 : page.rindex("```")]
    before, after = yaml.safe_load_all(text)
    objects, notes = convert(yaml.safe_dump(before), node="", namespace="default")
    assert (objects, notes) == ([after], [])
    assert guessed("x.yaml", text) == "v1alpha2"


def test_of_kubeedge_s_older_objects_types_and_wanted_values_are_kept() -> None:
    told: JsonObject = {"accessMode": "ReadWrite", "minimum": 1, "maximum": 9, "unit": "rpm", "defaultValue": 3}
    speed: JsonObject = {"name": "speed", "type": {"int": told}}
    of_model: JsonObject = {
        "apiVersion": OLD,
        "kind": "DeviceModel",
        "metadata": {"name": "m"},
        "spec": {"properties": [speed, {"name": "odd", "type": {"tensor": {}}}]},
    }
    device: JsonObject = {
        "apiVersion": OLD,
        "kind": "Device",
        "metadata": {"name": "d", "namespace": "plant"},
        "spec": {
            "deviceModelRef": {"name": "m"},
            "protocol": {"customizedProtocol": {"protocolName": "own", "configData": {"a": 1}}},
            "propertyVisitors": [
                {
                    "propertyName": "speed",
                    "customizedProtocol": {"protocolName": "own", "configData": {"at": 2}},
                    "customizedValues": {"def": 5},
                }
            ],
        },
        "status": {"twins": [{"propertyName": "speed", "desired": {"value": "4"}}]},
    }
    (model_made, device_made), notes = convert(yaml.safe_dump_all([of_model, device]), node="eu-1", namespace="plant")
    assert dig(model_made, "spec", "properties") == [
        {
            "name": "speed", "type": "INT", "accessMode": "ReadWrite", "minimum": "1", "maximum": "9", "unit": "rpm"
        }
    ]  # fmt: skip
    assert map_at(device_made, "spec") == {
        "deviceModelRef": {"name": "m"},
        "nodeName": "eu-1",
        "protocol": {"protocolName": "own", "configData": {"a": 1}},
        "properties": [
            {
                "name": "speed",
                "desired": {"value": "4"},
                "visitors": {"protocolName": "own", "configData": {"at": 2, "def": 5}},
            }
        ],
    }
    assert notes == [
        "DeviceModel m/speed: defaultValue: not carried over",
        "DeviceModel m/odd: type tensor: left out",
    ]
    with pytest.raises(InvalidError, match="no object of"):
        convert("a: 1", node="", namespace="default")
