"""What is found wrong with models and devices before a gateway has them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from devices.commands.model import findings_listed, judgements, model, models_listed
from skerry.cli.apply import read_manifests
from skerry.objects.json import Json, JsonObject

EXAMPLE = Path(__file__).parents[3] / "examples" / "04-plc" / "device.yaml"


def prop(
    name: str, *, type: str = "INT", access: str = "ReadOnly", bounds: JsonObject | None = None, **data: Json
) -> JsonObject:
    return {
        "name": name,
        "type": type,
        "accessMode": access,
        "unit": "V",
        **(bounds or {}),
        "visitors": {"protocolName": "modbus", "configData": {**data}},
    }


def a_model(*props: JsonObject) -> JsonObject:
    return {
        "apiVersion": "devices.kubeedge.io/v1beta1",
        "kind": "DeviceModel",
        "metadata": {"name": "m"},
        "spec": {"protocol": "modbus", "properties": list(props)},
    }


def a_device(name: str = "d", *, cycle_ms: int = 1000, protocol: JsonObject | None = None) -> JsonObject:
    return {
        "kind": "Device",
        "metadata": {"name": name},
        "spec": {
            "deviceModelRef": {"name": "m"},
            "protocol": {"protocolName": "modbus", "configData": protocol or {"ip": "127.0.0.1"}},
            "properties": [{"name": "u", "collectCycle": cycle_ms}],
        },
    }


def found(models: list[JsonObject], devices: list[JsonObject] | None = None) -> list[tuple[str, str, str]]:
    return [(one.finding.level, one.finding.code, one.title) for one in judgements(models, devices or [])]


SOUND = prop("u", address="hr:0", dataType="int16", sentinels=[0x8000])


def test_a_sound_model_is_clean() -> None:
    assert found([a_model(SOUND)]) == found([a_model(SOUND)], [a_device()]) == []


@pytest.mark.parametrize(
    ("wrong", "level", "code"),
    [
        ({**SOUND, "unit": ""}, "hint", "unit"),
        (prop("u", address="hr:0", dataType="int16"), "hint", "sentinel"),
        (prop("u", address="hr:0"), "hint", "sign"),
        (prop("u", type="FLOAT", address="hr:0", dataType="float32"), "hint", "order"),
        ({**SOUND, "accessMode": "ReadWrite", "minimum": "0"}, "warning", "unbounded"),
        ({**SOUND, "minimum": "9", "maximum": "1"}, "fault", "range"),
        (prop("u", address="hr:0", dataType="int99"), "fault", "invalid"),
        (
            prop(
                "u", access="ReadWrite", bounds={"minimum": "0", "maximum": "40000"}, address="hr:0", dataType="int16"
            ),
            "warning",
            "range",
        ),
    ],
)
def test_each_weakness_is_found(wrong: JsonObject, level: str, code: str) -> None:
    assert (level, code) in {one[:2] for one in found([a_model(wrong)])}


def test_registers_of_two_properties_are_found_and_parts_of_one_register_are_none() -> None:
    long = prop("a", address="hr:0", dataType="uint32", order="ABCD", sentinels=[1])
    assert ("warning", "overlap", "DeviceModel m") in found(
        [a_model(long, prop("b", address="hr:1", dataType="int16"))]
    )
    twice = [prop(name, address="hr:0", dataType="int16", sentinels=[1]) for name in "ab"]
    assert found([a_model(*twice)]) == [("hint", "overlap", "DeviceModel m")]
    parts = [prop(name, address="hr:0", dataType="uint16", mask=mask) for name, mask in (("a", 0xFF), ("b", 0xFF00))]
    assert found([a_model(*parts)]) == []
    input_register = prop("b", address="ir:1", dataType="int16", sentinels=[1])
    assert found([a_model(long, input_register)]) == []


def test_two_orders_in_one_device_are_suspicious() -> None:
    props = [
        prop(name, type="FLOAT", address=f"hr:{at}", dataType="float32", order=order)
        for name, at, order in (("a", 0, "ABCD"), ("b", 2, "CDAB"))
    ]
    assert found([a_model(*props)]) == [("warning", "orders", "DeviceModel m")]


def test_a_line_that_can_t_carry_its_polls_is_a_fault() -> None:
    slow: JsonObject = {"serialPort": "/dev/ttyS0", "baudRate": 9600}
    assert found([a_model(SOUND)], [a_device(protocol=slow)]) == []
    devices = [a_device(f"d{at}", cycle_ms=100, protocol={**slow, "slaveID": at}) for at in range(1, 10)]
    (finding,) = found([a_model(SOUND)], devices)
    assert finding[:2] == ("fault", "budget")


def test_a_device_without_its_model_and_two_properties_of_one_name_are_told() -> None:
    assert found([], [a_device()]) == [("warning", "model", "Device d")]
    assert ("fault", "twice", "DeviceModel m") in found([a_model(SOUND, SOUND)])


def test_the_example_has_no_faults_and_the_command_says_so_with_its_exit_code(tmp_path: Path) -> None:
    objects = [obj for _, obj in read_manifests(str(EXAMPLE))]
    assert {one.finding.level for one in judgements(objects[:1], objects[1:])} == {"hint"}
    done = CliRunner().invoke(model, ["validate", "-f", str(EXAMPLE)])
    assert (done.exit_code, done.output) == (0, "valid\n")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(EXAMPLE.read_text().replace("int16", "int99"))
    done = CliRunner().invoke(model, ["validate", "-f", str(wrong)])
    assert done.exit_code == 5 and "'int99' is not one of" in done.output
    assert CliRunner().invoke(model, ["lint", "-f", str(EXAMPLE), "--level", "warning"]).output == "clean\n"
    assert CliRunner().invoke(model, ["lint"]).exit_code == 2


def test_models_are_listed_with_who_uses_them() -> None:
    obj = a_model(SOUND)
    obj["metadata"] = {"name": "m", "namespace": "n"}
    device = a_device()
    device["metadata"] = {"name": "d", "namespace": "n"}
    (row,) = models_listed([obj], [device, a_device()]).rows
    assert row.cells == ("n", "m", "modbus", "1", "0", "1", "d")
    assert row.name == "devicemodel.devices.kubeedge.io/m"
    listed = findings_listed([*judgements([a_model(SOUND, SOUND)], [])])
    assert listed.rows[0].cells[:4] == ("fault", "DeviceModel m", "twice", "spec.properties[u]")
