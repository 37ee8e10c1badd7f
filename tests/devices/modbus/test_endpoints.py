"""Lines as manifests name them, in KubeEdge's forms and ours."""

from __future__ import annotations

import pytest

from devices.modbus.endpoints import Endpoint, SerialEndpoint, TcpEndpoint, TlsFiles, parse_endpoint, parse_manners
from skerry.errors import InvalidError
from skerry.objects.json import JsonObject

RS485: JsonObject = {
    "serialPort": "/dev/ttyS0", "baudRate": 9600, "dataBits": 8, "parity": "even", "stopBits": 1, "slaveID": 7,
}  # fmt: skip
LINE = SerialEndpoint(path="/dev/ttyS0", baud=9600, parity="E")


@pytest.mark.parametrize(
    ("data", "endpoint", "unit"),
    [
        (RS485, LINE, 7),
        ({"rtu": RS485}, LINE, 7),
        ({"com": {**RS485, "serialType": "RS485"}, "slaveID": 3}, LINE, 7),
        ({"serialPort": "/dev/ttyS0", "baudRate": "9600", "parity": "E", "unit": 2}, LINE, 2),
        (
            {"serialPort": "/dev/ttyS0", "baudRate": 1200, "framing": "ascii", "dataBits": 7, "stopBits": 2},
            SerialEndpoint(path="/dev/ttyS0", baud=1200, data_bits=7, stop_bits=2, framing="ascii"),
            1,
        ),
        ({"tcp": {"ip": "10.0.0.1", "port": 502, "slaveID": 4}}, TcpEndpoint(host="10.0.0.1", port=502), 4),
        ({"ip": "gw", "framing": "rtu"}, TcpEndpoint(host="gw", port=502, framing="rtu"), 1),
        ({"ip": "gw", "framing": "ASCII"}, TcpEndpoint(host="gw", port=502, framing="ascii"), 1),
        (
            {"ip": "plc", "tls": {"caFile": "/ca", "certFile": "/c", "keyFile": "/k", "serverName": "plc.example"}},
            TcpEndpoint(
                host="plc",
                port=802,
                tls=TlsFiles(ca_file="/ca", cert_file="/c", key_file="/k", server_name="plc.example"),
            ),
            1,
        ),
    ],
)
def test_lines_in_every_form(data: JsonObject, endpoint: Endpoint, unit: int) -> None:
    assert parse_endpoint(data, "w") == (endpoint, unit)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"serialPort": "/dev/ttyS0", "ip": "plc"}, "give either tcp.ip (and tcp.port) or serialPort; both"),
        ({"serialPort": "ttyS0", "baudRate": 9600}, "serialPort: 'ttyS0' is no path"),
        ({"serialPort": "/dev/ttyS0", "baudRate": 9601}, "no line has 9601; did you mean 9600?"),
        ({"serialPort": "/dev/ttyS0", "baudRate": 9600, "parity": "mark"}, "parity: 'mark'"),
        ({"serialPort": "/dev/ttyS0", "baudRate": 9600, "dataBits": 7}, "RTU needs 8"),
        ({"serialPort": "/dev/ttyS0", "baudRate": 9600, "slaveID": 0}, "slaveID: must be a whole number from 1"),
        ({"serialPort": "/dev/ttyS0", "baudRate": 9600, "framing": "tcp"}, "speaks rtu or ascii, not tcp"),
        ({"serialPort": "/dev/ttyS0", "baudRate": 9600, "tls": {}}, "tls: a serial line has none"),
        ({"serialPort": "/dev/ttyS0", "baudRate": 9600, "port": 1}, "port: a serial line has none"),
        ({"rtu": {"baudrate": 9600}}, "did you mean baudRate?"),
        ({"ip": "plc", "baudRate": 9600}, "baudRate: belongs to a serialPort"),
        ({"ip": "plc", "framing": "udp"}, "framing: 'udp' is not one of tcp, rtu, ascii"),
        ({"ip": "plc", "tls": {"keyFile": "/k"}}, "tls.certFile: required with keyFile"),
    ],
)
def test_a_mistake_names_the_field_and_the_fix(data: JsonObject, says: str) -> None:
    with pytest.raises(InvalidError) as refusal:
        parse_endpoint(data, "w")
    assert says in str(refusal.value)


def test_a_line_is_quiet_for_as_long_as_an_answer_may_take_where_nothing_else_is_said() -> None:
    assert parse_manners({"timeoutMs": 300}, LINE, "w").drain_s == 0.3
    assert parse_manners({"timeoutMs": 300, "drainMs": 900}, LINE, "w").drain_s == 0.9


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"barrier": True}, "barrier: Modbus TCP numbers its requests"),
        ({"silenceChars": 0}, "silenceChars: must be from 1 to 100"),
        ({"drainMs": 1}, "drainMs"),
    ],
)
def test_manners_that_make_no_sense_are_refused(data: JsonObject, says: str) -> None:
    with pytest.raises(InvalidError) as refusal:
        parse_manners(data, TcpEndpoint(host="plc", port=502), "w")
    assert says in str(refusal.value)


def test_a_character_is_as_long_as_its_bits() -> None:
    assert LINE.character_s == 11 / 9600
    assert SerialEndpoint(path="/dev/ttyS0", baud=9600).character_s == 10 / 9600
