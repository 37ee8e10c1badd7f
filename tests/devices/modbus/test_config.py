"""What a Device says about Modbus: understood, or refused by the name of the field and the fix."""

from __future__ import annotations

import pytest

from devices.codec import decode
from devices.modbus.config import ModbusProperty, parse_device, parse_property
from devices.port import DeviceConfig, PropertyConfig
from skerry.errors import InvalidError
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key

KEY = Key("devices.devices.kubeedge.io", "default", "plc")


def parsed(visitor: JsonObject, *, type: str = "INT", writable: bool = True) -> ModbusProperty:
    prop = PropertyConfig(
        name="x", type=type, writable=writable, unit="", minimum=None, maximum=None, collect_ms=1000, visitor=visitor
    )
    return parse_property(KEY, 1, prop)


@pytest.mark.parametrize(
    ("swap", "register_swap", "order"),
    [(False, False, "ABCD"), (True, False, "BADC"), (False, True, "CDAB"), (True, True, "DCBA")],
)
def test_kubeedges_fields_keep_their_meaning(swap: bool, register_swap: bool, order: str) -> None:
    prop = parsed(
        {"register": "HoldingRegister", "offset": 40, "limit": 2, "scale": 0.5, "isSwap": swap,
         "isRegisterSwap": register_swap}
    )  # fmt: skip
    assert (prop.point.table, prop.point.address, prop.point.count) == ("holding", 40, 2)
    assert (prop.codec.raw, prop.codec.order, str(prop.codec.scale)) == ("uint32", order, "0.5")


@pytest.mark.parametrize(
    ("type", "limit", "raw"),
    [("INT", 1, "uint16"), ("INT", 4, "uint64"), ("FLOAT", 2, "float32"), ("DOUBLE", 4, "float64"),
     ("STRING", 9, "string")],
)  # fmt: skip
def test_a_type_and_a_number_of_registers_imply_how_it_is_kept(type: str, limit: int, raw: str) -> None:
    assert parsed({"register": "HoldingRegister", "offset": 0, "limit": limit}, type=type).codec.raw == raw


@pytest.mark.parametrize(
    ("visitor", "type", "says"),
    [
        ({"address": "hr:0", "sclae": 2}, "INT", "configData.sclae: unknown field; did you mean scale?"),
        ({"register": "Holding", "offset": 0}, "INT", "register: 'Holding' is not one of CoilRegister"),
        ({"register": "HoldingRegister"}, "INT", "offset: required"),
        ({"register": "HoldingRegister", "offset": "x"}, "INT", "offset: must be a whole number from 0 to 65535"),
        ({"address": "100"}, "INT", "can be read in two ways"),
        ({"address": "hr:0", "offset": 3}, "INT", "give either address, or register and offset"),
        ({"address": "hr:0", "dataType": "int17"}, "INT", "dataType: 'int17' is not one of"),
        ({"address": "hr:0", "order": "ABDC"}, "FLOAT", "use ABCD, CDAB, BADC or DCBA"),
        ({"address": "hr:0", "scale": 0}, "INT", "a scale of 0"),
        ({"address": "hr:0", "limit": 3}, "INT", "limit"),
        ({"address": "co:0"}, "FLOAT", "holds a BOOLEAN"),
        ({"address": "hr:0.3"}, "INT", "one bit is a BOOLEAN"),
        ({"address": "ir:0"}, "INT", "can't be written: make the property ReadOnly"),
        ({"address": "hr:0", "write": "twice"}, "INT", "single or multiple"),
        ({"address": "hr:0", "dataType": "string"}, "INT", "can't be kept as string"),
        ({"address": "hr:0", "sentinels": 3}, "INT", "must be a list"),
        ({"address": "hr:0"}, "STREAM", "can't be read by Modbus"),
    ],
)
def test_a_mistake_is_refused_by_the_name_of_the_field(visitor: JsonObject, type: str, says: str) -> None:
    with pytest.raises(InvalidError, match=r"spec\.properties\[x\]\.visitors\.configData") as refusal:
        parsed(visitor, type=type)
    assert says in str(refusal.value)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({}, "give either tcp.ip (and tcp.port) or serialPort; neither is there"),
        ({"tcp": {"ip": "plc", "prot": 502}}, "did you mean port?"),
        ({"ip": "plc", "port": 70000}, "port: must be a whole number from 1 to 65535"),
        ({"com": {"serialPort": "/dev/ttyS0"}}, "baudRate: required"),
        ({"ip": "plc", "timeoutMs": 1}, "timeoutMs"),
    ],
)
def test_a_mistake_in_the_protocol_is_refused_too(data: JsonObject, says: str) -> None:
    with pytest.raises(InvalidError) as refusal:
        parse_device(DeviceConfig(device=KEY, protocol="modbus", protocol_config=data, properties=()))
    assert says in str(refusal.value)


def test_the_defaults_are_those_of_the_protocol() -> None:
    device = parse_device(DeviceConfig(device=KEY, protocol="modbus", protocol_config={"ip": "plc"}, properties=()))
    assert (str(device.endpoint), device.unit, device.manners.timeout_s) == ("plc:502", 1, 1.0)


@pytest.mark.parametrize(
    ("visitor", "type", "registers", "value"),
    [
        ({"address": "hr:0", "enum": {"0": "off", "1": "on"}}, "STRING", [1], "on"),
        ({"address": "hr:0", "flags": {"pump": 0, "alarm": 3}}, "STRING", [9], "pump,alarm"),
        ({"address": "hr:0", "dataType": "uint32", "flags": {"top": 31}}, "STRING", [0x8000, 0], "top"),
        ({"address": "hr:0", "mask": 0xF0}, "INT", [0x1234], 3),
        ({"address": "hr:0", "dataType": "uint32", "time": "seconds"}, "STRING", [0x6553, 0xF100],
         "2023-11-14T22:13:20Z"),
        ({"address": "hr:0", "limit": 2, "time": "seconds", "epoch": "2000-01-01T00:00:00Z"}, "STRING", [0, 1],
         "2000-01-01T00:00:01Z"),
        ({"address": "hr:0", "time": "ymdhms6"}, "STRING", [2026, 1, 2, 3, 4, 5], "2026-01-02T03:04:05Z"),
        ({"address": "hr:0", "dataType": "mod10k", "limit": 2}, "INT", [1, 2], 10_002),
        ({"address": "hr:0", "dataType": "string", "limit": 2, "oneCharacter": "low"}, "STRING", [65, 66], "AB"),
        ({"address": "hr:0", "dataType": "int", "limit": 2}, "INT", [1, 0], 65_536),
        ({"address": "hr:0", "dataType": "float"}, "FLOAT", [0x4060, 0], 3.5),
    ],
)  # fmt: skip
def test_meanings_of_numbers(visitor: JsonObject, type: str, registers: list[int], value: object) -> None:
    made = parsed(visitor, type=type, writable=False)
    assert decode(made.codec, registers) == value


@pytest.mark.parametrize(
    ("visitor", "type", "says"),
    [
        ({"address": "hr:0", "enum": {"on": 1}}, "STRING", "enum: 'on' is no raw value"),
        ({"address": "hr:0", "enum": {"1": "on", "2": "on"}}, "STRING", "two values have one name"),
        ({"address": "hr:0", "enum": {"1": "on"}}, "INT", "enum: gives texts: make the property a STRING"),
        ({"address": "hr:0", "enum": {"1": "on"}, "flags": {"a": 1}}, "STRING", "a number has one meaning"),
        (
            {"address": "hr:0", "enum": {"1": "on"}, "scale": 2},
            "STRING",
            "scale: a number with enum is not calculated",
        ),
        ({"address": "hr:0", "enum": {"1": "on"}, "dataType": "float32"}, "STRING", "belongs to a whole number"),
        ({"address": "hr:0", "flags": {"a": 16}}, "STRING", "flags.a: must be a whole number from 0 to 15"),
        ({"address": "hr:0", "flags": {"a": 1, "b": 1}}, "STRING", "bit 1 is called a already"),
        ({"address": "hr:0", "flags": {"none": 1}}, "STRING", "or is 'none'"),
        (
            {"address": "hr:0", "dataType": "uint32", "flags": {"a": 1}},
            "STRING",
            "can't be written: make the property",
        ),
        ({"address": "hr:0", "dataType": "uint32", "mask": 1}, "INT", "mask: is of one register"),
        ({"address": "hr:0", "time": "noon"}, "STRING", "time: 'noon' is not one of seconds"),
        ({"address": "hr:0", "dataType": "moment"}, "STRING", "time: required with dataType moment"),
        ({"address": "hr:0", "dataType": "uint16", "time": "iec"}, "STRING", "iec can't be kept as uint16"),
        ({"address": "hr:0", "time": "iec", "epoch": "2000-01-01T00:00:00Z"}, "STRING", "epoch: belongs to"),
        ({"address": "hr:0", "dataType": "mod10k", "limit": 5}, "INT", "mod10k takes 2 to 4 registers"),
        ({"address": "hr:0", "padding": "nul"}, "INT", "padding: belongs to dataType string"),
        ({"address": "hr:0", "step": -1}, "INT", "step: must be above 0"),
        ({"address": "1", "addressBase": 1}, "INT", "register: required"),
        (
            {"address": 0, "addressBase": 1, "register": "HoldingRegister"},
            "INT",
            "address: must be a whole number from 1",
        ),
    ],
)
def test_a_meaning_that_makes_no_sense_is_refused(visitor: JsonObject, type: str, says: str) -> None:
    with pytest.raises(InvalidError) as refusal:
        parsed(visitor, type=type)
    assert says in str(refusal.value)


def test_a_bare_number_is_an_address_once_its_base_is_told() -> None:
    one = parsed({"address": 100, "addressBase": 1, "register": "HoldingRegister"}, type="INT")
    zero = parsed({"address": "0x64", "addressBase": 0, "register": "HoldingRegister"}, type="INT")
    assert (one.point.address, zero.point.address) == (99, 100)
