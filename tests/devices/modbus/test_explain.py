"""Registers explained, and writes rehearsed: the codec's own steps, in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.bus import BlockRead
from devices.codec import decode
from devices.modbus.config import ModbusDevice, parse_device
from devices.modbus.explain import Answers, asked_of, decoding, place_of, rehearsal, words_of, writing
from devices.plan import Limits, plan_blocks
from devices.port import DeviceConfig, PropertyConfig, Step, TwinConfig
from skerry.errors import InvalidError
from skerry.frozen import replace
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key

KEY = Key("devices.devices.kubeedge.io", "default", "boiler")


def device(*props: PropertyConfig) -> ModbusDevice:
    return parse_device(
        DeviceConfig(
            device=KEY,
            protocol="modbus",
            protocol_config={"tcp": {"ip": "10.0.0.7"}, "slaveID": 3},
            properties=props,
        )
    )


def prop(
    visitor: JsonObject, type: str = "FLOAT", *, name: str = "t", writable: bool = True, tolerance: float = 0.0
) -> PropertyConfig:
    return PropertyConfig(
        name=name,
        type=type,
        writable=writable,
        unit="",
        minimum=-10.0 if type in ("INT", "FLOAT") else None,
        maximum=90.0 if type in ("INT", "FLOAT") else None,
        collect_ms=500,
        visitor=visitor,
        twin=TwinConfig(tolerance=tolerance),
    )


def steps(visitor: JsonObject, type: str, *words: int) -> list[tuple[str, str]]:
    made = device(prop(visitor, type))
    return [(step.name, step.says) for step in decoding(made.properties["t"].codec, words)]


def test_each_step_shows_what_it_made_of_the_one_before() -> None:
    assert steps({"address": "hr:0", "dataType": "float32", "order": "CDAB"}, "FLOAT", 0x3333, 0x41BB) == [
        ("words", "0x3333 0x41BB"),
        ("order", "CDAB: 41 BB 33 33"),
        ("float32", "23.4"),
        ("range", "from -10 to 90: inside"),
        ("value", "23.4 (FLOAT)"),
    ]
    assert steps({"address": "hr:0", "dataType": "int16", "scale": 0.1, "valueOffset": -4}, "FLOAT", 0xFFFE) == [
        ("words", "0xFFFE"),
        ("int16", "-2"),
        ("scale", "-2 * 0.1 + -4 = -4.2"),
        ("range", "from -10 to 90: inside"),
        ("value", "-4.2 (FLOAT)"),
    ]


def test_what_makes_no_value_says_at_which_step() -> None:
    told = steps({"address": "hr:0", "dataType": "int16", "sentinels": [0x8000]}, "INT", 0x8000)
    assert told[1] == ("int16", "-32768")
    assert told[-1] == ("value", "none: the device says it has no value (0x8000)")
    told = steps({"address": "hr:0", "dataType": "float32"}, "FLOAT", 0x7FC0, 0)
    assert told[-1][1].startswith("none: ") and ("scale" not in dict(told))
    assert dict(steps({"address": "hr:0"}, "INT", 300))["range"] == ("from -10 to 90: 300 is above the maximum of 90")


def test_bits_and_texts_have_steps_of_their_own() -> None:
    assert steps({"address": "hr:7.3"}, "BOOLEAN", 8) == [
        ("words", "0x0008"),
        ("bit", "bit 3 of 0000000000001000 is 1"),
        ("value", "true (BOOLEAN)"),
    ]
    assert steps({"address": "co:1"}, "BOOLEAN", 0) == [("bit", "0"), ("value", "false (BOOLEAN)")]
    assert steps({"address": "hr:0", "dataType": "string", "limit": 2}, "STRING", 0x4142, 0x4300)[-1] == (
        "value",
        "'ABC' (STRING)",
    )


def test_names_and_parts_of_registers_show_the_number_behind_them() -> None:
    enum: JsonObject = {"address": "hr:0", "dataType": "uint16", "enum": {"3": "running"}}
    assert steps(enum, "STRING", 3)[1:] == [
        ("uint16", "3"),
        ("enum", "what 3 is called"),
        ("value", "'running' (STRING)"),
    ]
    assert steps(enum, "STRING", 4)[-1] == ("value", "none: 4 has no name in enum")
    told, requests, _ = rehearsed(enum, "STRING", "running")
    assert (told["enum"], requests[0]["values"]) == ("is 3", [3])
    part: JsonObject = {"address": "hr:0", "mask": 0x0FF0}
    assert dict(steps(part, "INT", 0x1234))["value"] == "35 (INT)"
    told, requests, _ = rehearsed(part, "INT", 0x21)
    assert (requests[0]["function"], requests[0]["values"]) == (22, [0xF00F, 0x0210])


def test_a_place_says_both_forms_of_its_address_and_with_what_it_is_read() -> None:
    made = device(prop({"address": "hr:0", "dataType": "float32"}), prop({"address": "hr:4"}, "INT", name="u"))
    t, u = made.properties.values()
    assert place_of(made, t) == "unit 3 at 10.0.0.7:502, hr:0 (40001), 2 registers"
    (block,) = plan_blocks([t.point, u.point], Limits())
    assert asked_of(t, block) == "every 0.5 s, in one request with another property: hr:0 to hr:4"
    assert asked_of(t, None) == "every 0.5 s"


def test_what_was_read_at_another_place_is_not_taken_for_this_one() -> None:
    before = device(prop({"address": "hr:0"}, "INT"))
    held = before.properties["t"]
    (block,) = plan_blocks([held.point], Limits())
    read = BlockRead(block=block, words=(7,), reason="", device_lives=True, source_ms=1, monotonic_s=1.0)
    notes = Answers()
    notes.take(before, held, read)
    notes.take(before, held, replace(read, words=None, reason="unit 3 is silent"))
    notes.take(before, held, read)
    newest, failure = notes.of(before, held)
    assert newest is not None and words_of(held, newest) == (7,)
    assert failure is not None and failure.reason == "unit 3 is silent"
    moved = device(prop({"address": "hr:9"}, "INT"))
    assert notes.of(moved, moved.properties["t"]) == (None, None)
    notes.keep({})
    assert notes.of(before, held) == (None, None)


# --- writing ---


def rehearsed(
    visitor: JsonObject, type: str, value: bool | float | str
) -> tuple[dict[str, str], list[JsonObject], str]:
    made = device(prop(visitor, type, tolerance=0.05))
    told = rehearsal(made, made.properties["t"], value)
    return {step.name: step.says for step in told.steps}, [*told.requests], told.refusal


def test_a_rehearsal_names_the_function_the_register_and_the_words() -> None:
    told, requests, refusal = rehearsed({"address": "40003", "dataType": "int16", "scale": 0.1}, "FLOAT", 64.0)
    assert refusal == ""
    assert requests == [{"unit": 3, "function": 6, "table": "holding", "address": 2, "values": [640]}]
    assert told["scale"] == "64 / 0.1 = 640"
    assert told["sent"] == "function 6, write one register: unit 3, hr:2 (40003) = 0x0280"
    assert told["check"] == "read back with function 3, and 64.0 within 0.05 is expected"


def test_bits_are_masked_coils_are_coils_and_wide_values_are_one_request() -> None:
    told, requests, _ = rehearsed({"address": "hr:7.3"}, "BOOLEAN", True)
    assert requests[0]["values"] == [0xFFF7, 0x0008]
    assert told["sent"] == "function 22, mask one register: unit 3, hr:7 (40008), AND 0xFFF7, OR 0x0008"
    assert rehearsed({"address": "hr:7.3"}, "BOOLEAN", False)[1][0]["values"] == [0xFFF7, 0]
    assert rehearsed({"address": "co:1"}, "BOOLEAN", True)[0]["sent"].endswith("co:1 (00002) = 1")
    assert rehearsed({"address": "co:1", "write": "multiple"}, "BOOLEAN", True)[1][0]["function"] == 15
    told, requests, _ = rehearsed({"address": "hr:0", "dataType": "float32", "order": "DCBA"}, "FLOAT", 23.4)
    assert (requests[0]["function"], requests[0]["values"]) == (16, [0x3333, 0xBB41])
    assert told["order"] == "DCBA on the wire"


@pytest.mark.parametrize(
    ("visitor", "type", "value", "why"),
    [
        ({"address": "hr:0", "dataType": "int16", "scale": 0.5}, "FLOAT", 64.3, "between two steps"),
        ({"address": "hr:0"}, "INT", 91, "above the maximum of 90"),
        ({"address": "hr:0", "dataType": "uint16"}, "INT", -1, "does not fit"),
    ],
)
def test_what_would_be_refused_says_why_and_sends_nothing(
    visitor: JsonObject, type: str, value: float, why: str
) -> None:
    _, requests, refusal = rehearsed(visitor, type, value)
    assert why in refusal and requests == []


def test_a_read_only_property_takes_nothing() -> None:
    made = device(prop({"address": "ir:0"}, "INT", writable=False))
    told = rehearsal(made, made.properties["t"], 5)
    assert (told.refusal, told.requests) == ("t is read-only", ())
    assert told.steps == (Step(name="value", says="5 (INT)"),)


@given(
    st.sampled_from(["int16", "uint16", "int32", "uint64", "float32", "float64", "bcd16"]),
    st.sampled_from(["ABCD", "CDAB", "BADC", "DCBA"]),
    st.sampled_from(["1", "0.1", "0.25", "10"]),
    st.integers(-10, 90),
)
def test_what_is_rehearsed_reads_back_as_what_was_wanted(raw: str, order: str, scale: str, value: int) -> None:
    made = device(prop({"address": "hr:0", "dataType": raw, "order": order, "scale": scale}))
    found = made.properties["t"]
    told = rehearsal(made, found, float(value))
    if told.refusal:
        with pytest.raises(InvalidError):
            writing(made, found, float(value))
        return
    (request,) = writing(made, found, float(value)).requests
    assert [*request.values] == told.requests[0]["values"]
    assert decode(found.codec, request.values) == pytest.approx(value)
    assert [step.name for step in decoding(found.codec, request.values)][-1] == "value"
