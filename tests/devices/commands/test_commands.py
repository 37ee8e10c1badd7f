"""The bus tools: what they make of their arguments and of manifests."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from devices.codec import decode
from devices.commands.bus import bus, guesses_listed, probe_shown
from devices.commands.lines import listening, parse_line, seconds
from devices.commands.manifests import read_devices
from devices.commands.modbus import modbus
from devices.commands.simulate import Moving, memories, parse_signal, simulate
from devices.modbus.detective import guesses
from devices.modbus.endpoints import Endpoint, SerialEndpoint, TcpEndpoint, TlsFiles
from devices.modbus.slave import Slave
from devices.plan import parse_address
from skerry.cli.device import device
from skerry.clocks import ManualClock
from skerry.errors import BadRequestError
from skerry.objects.json import maps_at

PLC = Path(__file__).parents[3] / "examples" / "04-plc" / "device.yaml"
SLOW = """
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: meter}
spec:
  properties:
    - {name: all, type: BYTES, visitors: {configData: {address: "hr:0", dataType: bytes, limit: 100}}}
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: meter-1}
spec:
  deviceModelRef: {name: meter}
  protocol: {protocolName: modbus, configData: {serialPort: /dev/ttyS9, baudRate: 9600, slaveID: 1}}
  properties: [{name: all, collectCycle: 100}]
"""


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("tcp://10.0.0.5", TcpEndpoint(host="10.0.0.5", port=502)),
        ("tcp://[fe80::1]:1502", TcpEndpoint(host="fe80::1", port=1502)),
        ("rtu+tcp://gw:4001", TcpEndpoint(host="gw", port=4001, framing="rtu")),
        ("ascii+tcp://gw:4001", TcpEndpoint(host="gw", port=4001, framing="ascii")),
        (
            "tls://plc?caFile=ca.pem",
            TcpEndpoint(
                host="plc", port=802, tls=TlsFiles(ca_file="ca.pem", cert_file="", key_file="", server_name="")
            ),
        ),
        ("/dev/ttyUSB0?baudRate=9600&parity=even", SerialEndpoint(path="/dev/ttyUSB0", baud=9600, parity="E")),
        (
            "ascii:///dev/ttyUSB0?baudRate=1200&dataBits=7",
            SerialEndpoint(path="/dev/ttyUSB0", baud=1200, data_bits=7, framing="ascii"),
        ),
    ],
)
def test_lines_as_people_name_them(text: str, endpoint: Endpoint) -> None:
    assert parse_line(text).endpoint == endpoint


@pytest.mark.parametrize(
    "text", ["udp://x", "tcp://", "plc:502", "/dev/ttyUSB0", "/dev/ttyUSB0?baud=9600", "tcp://x:y"]
)
def test_what_is_no_line_is_refused_in_words(text: str) -> None:
    with pytest.raises(BadRequestError):
        parse_line(text)


def test_times_and_places_to_listen() -> None:
    assert (seconds("200ms"), seconds("2s"), seconds("0.5")) == (0.2, 2.0, 0.5)
    assert listening(":1502") == ("127.0.0.1", 1502) and listening("[::1]:5") == ("::1", 5)
    for text in ("soon", "1ms", "100s"):
        with pytest.raises(BadRequestError):
            seconds(text)
    for text in ("x:y", ":70000", ""):
        with pytest.raises(BadRequestError):
            listening(text)


def test_they_are_commands_of_skerry_device() -> None:
    shown = CliRunner().invoke(device, ["--help"]).output
    assert all(f"  {name} " in shown for name in ("bus", "modbus", "simulate", "describe"))
    assert "replay" in CliRunner().invoke(device, ["bus", "--help"]).output
    assert CliRunner().invoke(device, ["nothing"]).exit_code == 2


def test_a_plan_says_what_a_line_needs_and_ends_with_5_where_it_is_too_much(tmp_path: Path) -> None:
    good = CliRunner().invoke(bus, ["plan", str(PLC)])
    assert good.exit_code == 0 and "127.0.0.1:5020: 4%, 4.0 requests a second" in good.output
    assert "default/boiler-1" in good.output
    file = tmp_path / "slow.yaml"
    file.write_text(SLOW)
    slow = CliRunner().invoke(bus, ["plan", str(file)])
    assert slow.exit_code == 5
    assert "need 234% of the line /dev/ttyS9 9600 8N1; values come later than asked for" in slow.output
    assert "a collectCycle of 300 ms in place of 100 would do" in slow.output


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["write", "tcp://127.0.0.1:1", "ir:0", "1"], "can't be written"),
        (["write", "tcp://127.0.0.1:1", "hr:0", "70000"], "does not fit into uint16"),
        (["write", "tcp://127.0.0.1:1", "co:0", "2"], "a coil is 1 or 0"),
        (["write", "tcp://127.0.0.1:1", "hr:0.3", "1"], "a part of a register"),
        (["write", "tcp://127.0.0.1:1", "hr:0", "x", "--as", "float32"], "is no float32"),
        (["read", "tcp://127.0.0.1:1", "0"], "can be read in two ways"),
    ],
)
def test_a_mistake_on_the_command_line_is_usage(command: list[str], says: str) -> None:
    ended = CliRunner().invoke(modbus, command)
    assert ended.exit_code == 2 and says in ended.output


def test_what_would_be_written_is_shown_without_a_line() -> None:
    shown = CliRunner().invoke(
        modbus, ["write", "tcp://127.0.0.1:1", "hr:4", "23.5", "--as", "float32", "--order", "CDAB", "--dry-run"]
    )
    assert shown.output == "function 16, unit 1, hr:4 (40005): 0000 41bc\n"
    coils = CliRunner().invoke(modbus, ["write", "tcp://127.0.0.1:1", "co:4", "on", "0", "--dry-run"])
    assert coils.output == "function 15, unit 1, co:4 (00005): 1 0\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.yaml"], "can't read nowhere.yaml"),
        ([str(PLC), "--fault", "late=200%"], "--fault"),
        ([str(PLC), "--set", "colour=red"], "there is no such property"),
        ([str(PLC), "--set", "setpoint=1000"], "above the maximum"),
        ([str(PLC), "--signal", "colour={kind: constant, value: 1}"], "there is no such property"),
        ([str(PLC), "--signal", "setpoint={kind: sin}"], "'sin' is not one of"),
        ([str(PLC), "--signal", "setpoint=21"], "write {kind: sine"),
        ([str(PLC), "--signal", "setpoint={"], "not YAML"),
        ([str(PLC), "--tcp", ":1", "--serial", "/dev/x"], "give either --tcp or --serial"),
        ([str(PLC), "--serial", "/dev/ttyNOWHERE?baudRate=9600"], "there is no /dev/ttyNOWHERE"),
    ],
)
def test_a_simulation_that_makes_no_sense_is_refused(arguments: list[str], says: str) -> None:
    ended = CliRunner().invoke(simulate, arguments)
    assert ended.exit_code in (2, 3, 7) and says in ended.output


def test_a_value_that_moves_is_where_its_signal_has_it_when_it_is_asked() -> None:
    devices = read_devices([str(PLC)])
    (mover,) = parse_signal(devices, "temperature={kind: ramp, from: 10, to: 20, overS: 10}", seed=1)
    slave, clock = Slave(units=memories(devices)), ManualClock()
    moving = Moving(slave, [mover], clock)
    point, unit = mover.prop.point, mover.device.parsed.unit
    asked = bytes((4 if point.table == "input" else 3, *point.address.to_bytes(2, "big"), 0, point.count))
    told: list[object] = []
    for _ in range(3):
        answer = moving.answer(unit, asked)
        assert answer is not None
        words = [int.from_bytes(answer[at : at + 2], "big") for at in range(2, len(answer), 2)]
        told.append(decode(mover.prop.codec, words))
        clock.advance(2.5)
    assert told == [10.0, 12.5, 15.0]


def test_a_probe_is_told_to_programs_with_what_a_model_needs() -> None:
    samples = [(0x426F, 0x696C), (0x426F, 0x696C)]
    found = guesses(samples)
    told = probe_shown({"line": "x", "unit": 1, "address": "hr:20"}, samples, found)
    assert (told["kind"], told["allZero"], told["samples"]) == ("DeviceProbe", False, [[*each] for each in samples])
    texts = [each for each in maps_at(told, "guesses") if each["dataType"] == "string"]
    assert texts[0]["values"] == ["Boil", "Boil"]
    assert texts[0]["configData"] == {"address": "hr:20", "dataType": "string", "limit": 2}
    listing = guesses_listed(parse_address("hr:20"), found, 2)
    assert len(listing.rows) == len(found) and listing.rows[0].obj == maps_at(told, "guesses")[0]
    refused = CliRunner().invoke(bus, ["probe", "tcp://127.0.0.1:1", "hr:0", "-o", "xml"])
    assert refused.exit_code == 2 and "-o xml: use one of text, table" in refused.stderr
