"""Keys before a write, and values that are taken back after it."""

from __future__ import annotations

import pytest

from devices.bus import Request
from devices.modbus.config import ModbusDevice, parse_device
from devices.modbus.explain import is_pulse, rehearsal, writing
from devices.modbus.guards import Guards, KeyWrite, Pulse, parse_guards, read_pulses, write_pulses
from devices.port import DeviceConfig, PropertyConfig
from skerry.errors import InvalidError
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key


def device(visitor: JsonObject, type: str = "BOOLEAN", *, writable: bool = True) -> ModbusDevice:
    prop = PropertyConfig(
        name="door",
        type=type,
        writable=writable,
        unit="",
        minimum=None,
        maximum=90 if type == "INT" else None,
        collect_ms=1000,
        visitor=visitor,
    )
    return parse_device(
        DeviceConfig(
            device=Key("devices.devices.kubeedge.io", "default", "gate"),
            protocol="modbus",
            protocol_config={"tcp": {"ip": "10.0.0.7"}, "slaveID": 3},
            properties=(prop,),
        )
    )


UNLOCK: JsonObject = {"unlock": [{"address": "hr:100", "value": "0x5A5A"}, {"address": "co:7", "value": 1}]}


def test_guards_are_read_as_they_are_written() -> None:
    keys = (
        KeyWrite(table="holding", address=100, value=0x5A5A),
        KeyWrite(table="coil", address=7, value=1),
    )
    assert parse_guards(UNLOCK, "INT", "w") == Guards(unlock=keys)
    assert parse_guards({"pulse": {"milliseconds": 500}}, "BOOLEAN", "w").pulse == Pulse(after_s=0.5, back=False)
    assert parse_guards({"pulse": {"milliseconds": 50, "back": True}}, "BOOLEAN", "w").pulse == Pulse(
        after_s=0.05, back=True
    )
    assert parse_guards({"pulse": {"milliseconds": 50, "back": 3}}, "INT", "w").pulse == Pulse(after_s=0.05, back=3)
    assert parse_guards({}, "INT", "w") == Guards()


@pytest.mark.parametrize(
    ("visitor", "type", "says"),
    [
        ({"unlock": {}}, "BOOLEAN", "unlock: must be a list of 1 to 8 writes"),
        ({"unlock": []}, "BOOLEAN", "unlock: must be a list of 1 to 8 writes"),
        ({"unlock": [5]}, "BOOLEAN", r"unlock\[0\]: must be an object"),
        ({"unlock": [{"value": 1}]}, "BOOLEAN", r"unlock\[0\].address: required"),
        ({"unlock": [{"address": "ir:5", "value": 1}]}, "BOOLEAN", "can't be written as a whole"),
        ({"unlock": [{"address": "hr:5", "value": 70000}]}, "BOOLEAN", r"unlock\[0\].value: must be a whole number"),
        ({"unlock": [{"address": "hr:5", "value": 1, "when": 2}]}, "BOOLEAN", "when"),
        ({"pulse": 5}, "BOOLEAN", "pulse: must be an object"),
        ({"pulse": {"milliseconds": 5}}, "BOOLEAN", "pulse.milliseconds: must be a whole number from 10 to 60000"),
        ({"pulse": {"milliseconds": 50, "back": "up"}}, "BOOLEAN", "pulse.back"),
        ({"pulse": {"milliseconds": 50}}, "INT", "pulse.back: required"),
        ({"pulse": {"milliseconds": 50, "back": 91}}, "INT", "pulse.back: 91 is above the maximum of 90"),
    ],
)
def test_guards_that_make_no_sense_are_refused_by_their_field(visitor: JsonObject, type: str, says: str) -> None:
    address = "hr:0" if type == "INT" else "co:0"
    with pytest.raises(InvalidError, match=says):
        device({"address": address, **visitor}, type)


def test_guards_belong_to_what_is_written() -> None:
    with pytest.raises(InvalidError, match="unlock: belongs to a property that is written"):
        device({"address": "co:0", **UNLOCK}, writable=False)


def test_keys_go_first_and_the_value_goes_back_after_them_too() -> None:
    gate = device({"address": "co:3", **UNLOCK, "pulse": {"milliseconds": 500}})
    door = gate.properties["door"]
    keys = (
        Request(unit=3, function=6, address=100, values=(0x5A5A,)),
        Request(unit=3, function=5, address=7, values=(1,)),
    )
    assert writing(gate, door, True).requests == (*keys, Request(unit=3, function=5, address=3, values=(1,)))
    assert is_pulse(door, True) and not is_pulse(door, False)
    told = rehearsal(gate, door, True)
    assert [step.name for step in told.steps] == [
        "value", "unlock", "unlock", "sent", "pulse", "unlock", "unlock", "sent", "check",
    ]  # fmt: skip
    said = {step.name: step.says for step in told.steps}
    assert said["pulse"] == "after 500 ms back to false" and "false is expected" in said["check"]
    sent = [
        (one["function"], one["table"], one["address"], one["values"], one.get("afterMs")) for one in told.requests
    ]
    assert sent == [
        (6, "holding", 100, [0x5A5A], None), (5, "coil", 7, [1], None), (5, "coil", 3, [1], None),
        (6, "holding", 100, [0x5A5A], 500), (5, "coil", 7, [1], 500), (5, "coil", 3, [0], 500),
    ]  # fmt: skip
    assert "pulse" not in {step.name for step in rehearsal(gate, door, False).steps}
    multiple = device({"address": "co:3", "write": "multiple", **UNLOCK})
    assert [one.function for one in writing(multiple, multiple.properties["door"], True).requests] == [16, 15, 15]


def test_what_is_still_open_is_noted_and_a_note_that_can_t_be_read_is_forgotten() -> None:
    places = {"default/gate": frozenset({"door", "lamp"}), "default/none": frozenset[str]()}
    assert write_pulses(places) == '{"default/gate":["door","lamp"]}'
    assert read_pulses(write_pulses(places)) == {"default/gate": frozenset({"door", "lamp"})}
    assert read_pulses("") == read_pulses("[1]") == read_pulses("{") == read_pulses('{"a": 5}') == {}
