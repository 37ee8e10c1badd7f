"""Our side of every kind of line, against Modbus programs that we did not write."""

from __future__ import annotations

import asyncio
import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from devices.bus import ExceptionAnswerError, LineDownError, Request, SilentError
from devices.codec import Codec, decode, encode
from devices.modbus.channels import channel_to
from devices.modbus.endpoints import Endpoint, Parity, SerialEndpoint, TcpEndpoint, TlsFiles
from devices.modbus.frames import FRAMINGS
from devices.modbus.settings import WireSettings
from devices.modbus.wire import StreamWire
from skerry.clocks import SeededIds
from tests.system.certificates import Site
from tests.system.modbus_peers import free_port, libmodbus, modbus_serial, program, pymodbus, serial_pair

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("peers")


def wire_to(endpoint: Endpoint, *, timeout_s: float = 10.0) -> StreamWire:
    return StreamWire(
        channel_to(endpoint, connect_s=10),
        FRAMINGS[endpoint.framing](),
        WireSettings(
            timeout_s=timeout_s,
            timeouts_s={9: 0.2},
            drain_s=0.2,
            character_s=endpoint.character_s if isinstance(endpoint, SerialEndpoint) else 0.0,
        ),
        name=str(endpoint),
        ids=SeededIds(1),
    )


async def holds_what_it_should(wire: StreamWire, *, unit: int = 1, bits: bool = True, masks: bool = True) -> None:
    """What each peer has in its tables, and functions 1 to 6, 15, 16 and (where it knows it) 22 and 23."""
    assert await wire.transact(Request(unit=unit, function=3, address=0, count=125)) == tuple(range(1000, 1125))
    assert await wire.transact(Request(unit=unit, function=4, address=7)) == (1007,)
    await wire.transact(Request(unit=unit, function=6, address=200, values=(77,)))
    await wire.transact(Request(unit=unit, function=16, address=201, values=(1, 2, 3)))
    assert await wire.transact(Request(unit=unit, function=3, address=200, count=4)) == (77, 1, 2, 3)
    if bits:
        coils = tuple(int(at % 3 == 0) for at in range(20))
        assert await wire.transact(Request(unit=unit, function=1, address=0, count=20)) == coils
        assert await wire.transact(Request(unit=unit, function=2, address=0, count=20)) == coils
        await wire.transact(Request(unit=unit, function=5, address=31, values=(1,)))
        await wire.transact(Request(unit=unit, function=15, address=32, values=(1, 0, 1)))
        assert await wire.transact(Request(unit=unit, function=1, address=31, count=4)) == (1, 1, 0, 1)
    if masks:
        await wire.transact(Request(unit=unit, function=22, address=200, values=(0xFFF0, 2)))
        both = Request(unit=unit, function=23, address=200, count=2, values=(9, 8), write_address=210)
        assert await wire.transact(both) == (77 & 0xFFF0 | 2, 1)
        assert await wire.transact(Request(unit=unit, function=3, address=210, count=2)) == (9, 8)


async def test_libmodbus_on_tcp(built: Path) -> None:
    port = free_port()
    async with program(libmodbus(built), "slave", "tcp", str(port)):
        wire = wire_to(TcpEndpoint(host="127.0.0.1", port=port))
        await holds_what_it_should(wire)
        with pytest.raises(ExceptionAnswerError, match="exception 2"):
            await wire.transact(Request(unit=1, function=3, address=299, count=2))
        await wire.close()


@pytest.mark.parametrize(("baud", "parity"), [(115200, "N"), (19200, "E")])
async def test_libmodbus_on_a_serial_line(built: Path, tmp_path: Path, baud: int, parity: Parity) -> None:
    async with (
        serial_pair(tmp_path) as (ours, theirs),
        program(libmodbus(built), "slave", "rtu", theirs, str(baud), parity, "5"),
    ):
        wire = wire_to(SerialEndpoint(path=str(ours), baud=baud, parity=parity))
        await holds_what_it_should(wire, unit=5)
        with pytest.raises(ExceptionAnswerError, match="exception 2"):
            await wire.transact(Request(unit=5, function=3, address=299, count=2))
        with pytest.raises(SilentError, match="unit 9 is silent"):
            await wire.transact(Request(unit=9, function=3, address=0))
        await wire.close()
        # libmodbus takes what comes after another unit's request for that unit's answer, and says nothing to it.
        again = wire_to(SerialEndpoint(path=str(ours), baud=baud, parity=parity), timeout_s=1.0)
        with pytest.raises(SilentError):
            await again.transact(Request(unit=5, function=4, address=3))
        await again.reset()
        assert await again.transact(Request(unit=5, function=4, address=3)) == (1003,)
        await again.close()


async def test_modbus_serial_on_a_serial_line_and_on_tcp(built: Path, tmp_path: Path) -> None:
    node = modbus_serial(built)
    port = free_port()
    async with program(*node, "tcp", str(port), "3"):
        wire = wire_to(TcpEndpoint(host="127.0.0.1", port=port))
        await holds_what_it_should(wire, unit=3, masks=False)
        await wire.close()
    async with serial_pair(tmp_path) as (ours, theirs), program(*node, "rtu", str(theirs), "115200", "3"):
        wire = wire_to(SerialEndpoint(path=str(ours), baud=115200))
        await holds_what_it_should(wire, unit=3, masks=False)
        await wire.close()


@pytest.mark.parametrize("framing", ["rtu", "ascii"])
async def test_pymodbus_in_both_serial_framings_over_tcp(framing: str) -> None:
    port = free_port()
    async with program(*pymodbus(), framing, str(port)):
        wire = wire_to(TcpEndpoint(host="127.0.0.1", port=port, framing="rtu" if framing == "rtu" else "ascii"))
        await holds_what_it_should(wire, bits=False)
        objects = await wire.identify(1)
        assert objects[0] == b"Peer" and objects[1] == b"P1" and objects[5] == b"Model"
        await wire.close()


async def test_tls_with_certificates_of_both_sides(tmp_path: Path) -> None:
    site = Site(tmp_path)
    server = str(tmp_path / "server.pem")
    port = free_port()
    files = TlsFiles(
        ca_file=str(tmp_path / "ca.pem"),
        cert_file=str(site.identity.certificate_file),
        key_file=str(site.identity.key_file),
        server_name="",
    )
    async with program(*pymodbus(), "tls", str(port), server, server, str(tmp_path / "ca.pem")):
        wire = wire_to(TcpEndpoint(host="127.0.0.1", port=port, tls=files))
        await holds_what_it_should(wire, bits=False)
        await wire.close()
        unknown = TlsFiles(ca_file="", cert_file="", key_file="", server_name="")
        with pytest.raises(
            LineDownError, match=r"cannot connect to .*: self-signed certificate in certificate chain"
        ):
            await wire_to(TcpEndpoint(host="127.0.0.1", port=port, tls=unknown)).transact(READ)
        other = TlsFiles(
            ca_file=files.ca_file, cert_file=files.cert_file, key_file=files.key_file, server_name="else"
        )
        with pytest.raises(LineDownError, match="certificate is not valid for 'else'"):
            await wire_to(TcpEndpoint(host="127.0.0.1", port=port, tls=other)).transact(READ)
        missing = TlsFiles(ca_file="/nowhere/ca.pem", cert_file="", key_file="", server_name="")
        with pytest.raises(
            LineDownError, match=r"cannot use the files for TLS: /nowhere/ca\.pem can.t be read: No such file"
        ):
            await wire_to(TcpEndpoint(host="127.0.0.1", port=port, tls=missing)).transact(READ)


async def test_tls_before_libmodbus_which_knows_nothing_of_it(built: Path, tmp_path: Path) -> None:
    """As Modbus/TCP Security is: the same frames, inside of TLS."""
    if shutil.which("socat") is None:
        pytest.skip("socat is not installed")
    site, plain, port = Site(tmp_path), free_port(), free_port()
    listen = (
        f"OPENSSL-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr,cert={tmp_path}/server.pem,cafile={tmp_path}/ca.pem"
    )
    files = TlsFiles(
        ca_file=str(tmp_path / "ca.pem"),
        cert_file=str(site.identity.certificate_file),
        key_file=str(site.identity.key_file),
        server_name="",
    )
    async with (
        program(libmodbus(built), "slave", "tcp", str(plain)),
        program("socat", listen, f"TCP:127.0.0.1:{plain}", ready=""),
    ):
        wire = wire_to(TcpEndpoint(host="127.0.0.1", port=port, tls=files))
        async with asyncio.timeout(20):
            while True:
                try:
                    await holds_what_it_should(wire)
                    break
                except LineDownError:
                    await asyncio.sleep(0.05)  # socat is not up yet
        await wire.close()


READ = Request(unit=1, function=3, address=0)


@pytest.mark.parametrize(
    ("codec", "value", "how", "shown"),
    [
        (Codec(raw="float32", type="FLOAT", count=2), -23.5, ["-t", "4:float", "-B"], "-23.5"),
        (Codec(raw="float32", type="FLOAT", count=2, order="CDAB"), 1e10, ["-t", "4:float"], "1e+10"),
        (Codec(raw="int32", type="INT", count=2), -123456, ["-t", "4:int", "-B"], "-123456"),
        (Codec(raw="int32", type="INT", count=2, order="CDAB"), 123456, ["-t", "4:int"], "123456"),
        (Codec(raw="int16", type="FLOAT", count=1, scale=Decimal("0.1")), -4.2, ["-t", "4"], "65494 (-42)"),
        (Codec(raw="uint16", type="INT", count=1), 0xBEEF, ["-t", "4:hex"], "0xBEEF"),
        (Codec(raw="bcd16", type="INT", count=1), 1234, ["-t", "4:hex"], "0x1234"),
    ],
)
async def test_mbpoll_sees_what_we_wrote(built: Path, codec: Codec, value: float, how: list[str], shown: str) -> None:
    mbpoll = shutil.which("mbpoll")
    if mbpoll is None:
        pytest.skip("mbpoll is not installed")
    port = free_port()
    async with program(libmodbus(built), "slave", "tcp", str(port)):
        wire = wire_to(TcpEndpoint(host="127.0.0.1", port=port))
        await wire.transact(Request(unit=1, function=16, address=20, values=tuple(encode(codec, value))))
        words = await wire.transact(Request(unit=1, function=3, address=20, count=codec.count))
        assert decode(codec, words) == value
        await wire.close()
        asked = [mbpoll, "-m", "tcp", "-p", str(port), "-0", "-r", "20", "-c", "1", *how, "-1", "127.0.0.1"]
        process = await asyncio.create_subprocess_exec(*asked, stdout=asyncio.subprocess.PIPE)
        said, _ = await process.communicate()
    assert f"[20]: \t{shown}" in said.decode()
