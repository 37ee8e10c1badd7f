"""The bus tools as programs, with Modbus masters and slaves that we did not write."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.system.modbus_peers import free_port, libmodbus, program, serial_pair

pytestmark = pytest.mark.system

SKERRY = [sys.executable, "-m", "skerry.cli.main", "device"]
MODEL = """
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: peer}
spec:
  properties:
"""


def model(directory: Path) -> Path:
    """What the master of libmodbus expects to find."""
    lines = [MODEL]
    for prefix, places in (("hr", range(300)), ("ir", range(300)), ("co", range(300)), ("di", range(300))):
        kind = "INT" if prefix in ("hr", "ir") else "BOOLEAN"
        for at in places:
            visitor = f'{{configData: {{address: "{prefix}:{at}"}}}}'
            lines.append(f"    - {{name: {prefix}{at}, type: {kind}, accessMode: ReadOnly, visitors: {visitor}}}\n")
    file = directory / "model.yaml"
    file.write_text("".join(lines))
    return file


def settings() -> list[str]:
    found = [f"--set={prefix}{at}={1000 + at}" for prefix in ("hr", "ir") for at in range(125)]
    return found + [f"--set={prefix}{at}=true" for prefix in ("co", "di") for at in range(0, 24, 3)]


async def run(*command: str, code: int = 0) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    assert process.returncode == code, said.decode()
    return said.decode()


@asynccontextmanager
async def tool(*words: str, ready: str = "listening on") -> AsyncGenerator[None]:
    async with program(*SKERRY, *words, ready=ready):
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("peers")


async def test_masters_of_libmodbus_and_mbpoll_find_the_simulated_device_on_tcp(built: Path, tmp_path: Path) -> None:
    port = str(free_port())
    async with tool("simulate", str(model(tmp_path)), "--tcp", f":{port}", *settings()):
        assert await run(libmodbus(built), "master", "tcp", port, "1") == "ok\n"
        mbpoll = shutil.which("mbpoll")
        if mbpoll:
            said = await run(
                mbpoll, "-m", "tcp", "-p", port, "-0", "-r", "7", "-c", "2", "-t", "3", "-1", "127.0.0.1"
            )
            assert "[7]: \t1007" in said and "[8]: \t1008" in said


async def test_a_master_of_libmodbus_finds_the_simulated_device_on_a_serial_line(built: Path, tmp_path: Path) -> None:
    async with serial_pair(tmp_path) as (ours, theirs):
        line = f"{ours}?baudRate=115200"
        async with tool("simulate", str(model(tmp_path)), "--serial", line, *settings(), ready="answering on"):
            assert await run(libmodbus(built), "master", "rtu", str(theirs), "115200", "N", "1") == "ok\n"


@pytest.mark.parametrize("mode", ["rtu", "ascii"])
async def test_minimalmodbus_finds_it_in_both_serial_framings(tmp_path: Path, mode: str) -> None:
    script = (
        "import sys, minimalmodbus as m\n"
        "i = m.Instrument(sys.argv[1], 1, mode=sys.argv[2]); i.serial.baudrate = 115200; i.serial.timeout = 5\n"
        "assert i.read_registers(0, 20) == list(range(1000, 1020))\n"
        "assert i.read_register(7, functioncode=4) == 1007\n"
        "i.write_register(200, 77, functioncode=6); i.write_registers(201, [1, 2])\n"
        "assert i.read_registers(200, 3) == [77, 1, 2]\n"
        "i.write_bit(31, 1); assert i.read_bit(31, functioncode=1) == 1 and i.read_bit(3, functioncode=2) == 1\n"
        "i.write_float(210, -23.5); assert i.read_float(210) == -23.5\n"
        "print('ok')\n"
    )
    async with serial_pair(tmp_path) as (ours, theirs):
        line = f"{'ascii://' if mode == 'ascii' else ''}{ours}?baudRate=115200"
        async with tool("simulate", str(model(tmp_path)), "--serial", line, *settings(), ready="answering on"):
            assert await run(sys.executable, "-c", script, str(theirs), mode) == "ok\n"


async def test_scan_probe_read_and_write_on_a_slave_of_libmodbus(built: Path) -> None:
    port = str(free_port())
    line = f"tcp://127.0.0.1:{port}"
    async with program(libmodbus(built), "slave", "tcp", port):
        said = await run(*SKERRY, "bus", "scan", line, "--units", "1", "--map", "hr:0-400")
        assert "unit 1: does not say what it is (hr:0 = 1000)" in said
        assert "hr:0 (40001) to hr:299 (40300)" in said
        assert "read back: the same" in await run(
            *SKERRY, "modbus", "write", line, "hr:20", "23.4", "--as", "float32", "--order", "CDAB"
        )
        shown = await run(*SKERRY, "modbus", "read", line, "hr:20", "2", "--as", "float32", "--order", "all")
        assert re.search(r"hr:20 \(40021\) +3333 41bb +\S+ +23\.4 ", shown)
        guess = await run(*SKERRY, "bus", "probe", line, "hr:20", "2", "--samples", "2", "--every", "20ms")
        assert 'configData: {"address": "hr:20", "dataType": "float32", "order": "CDAB"}' in guess
        probed = json.loads(await run(*SKERRY, "bus", "probe", line, "hr:20", "2", "--samples", "1", "-o", "json"))
        assert (probed["line"], probed["unit"], probed["samples"]) == (f"127.0.0.1:{port}", 1, [[0x3333, 0x41BB]])
        assert probed["guesses"][0]["configData"] == {"address": "hr:20", "dataType": "float32", "order": "CDAB"}
        refused = await run(*SKERRY, "modbus", "read", line, "hr:299", "2", code=5)
        assert "the device refuses: exception 2: illegal data address" in refused
        draft = await run(*SKERRY, "bus", "scan", line, "--units", "1", "--map", "hr:298-301", "--model")
        assert "kind: DeviceModel" in draft and "address: hr:299" in draft and "hr:300" not in draft
    assert "cannot connect" in await run(*SKERRY, "modbus", "read", line, "hr:0", code=7)


async def test_what_was_recorded_is_played_again(built: Path, tmp_path: Path) -> None:
    port, tapped, again = str(free_port()), str(free_port()), str(free_port())
    file = str(tmp_path / "line.rec")
    read = [*SKERRY, "modbus", "read"]
    async with program(libmodbus(built), "slave", "tcp", port):
        async with tool("bus", "record", f"tcp://127.0.0.1:{port}", file, "--listen", f":{tapped}", ready=""):
            async with asyncio.timeout(20):
                while not Path(file).exists():
                    await asyncio.sleep(0.05)
            live = await _when_it_listens(*read, f"tcp://127.0.0.1:{tapped}", "hr:5", "3")
        assert "already: name another" in await run(*SKERRY, "bus", "record", f"tcp://127.0.0.1:{port}", file, code=2)
    async with tool("bus", "replay", file, "--tcp", f":{again}"):
        assert await run(*read, f"tcp://127.0.0.1:{again}", "hr:5", "3") == live
        await run(*read, f"tcp://127.0.0.1:{again}", "hr:6", "--timeout", "200ms", code=6)


async def _when_it_listens(*command: str) -> str:
    for _ in range(100):
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        said, _ = await process.communicate()
        if process.returncode == 0:
            return said.decode()
        await asyncio.sleep(0.05)
    raise AssertionError("it never listened")


async def test_faults_are_seen_by_a_master_that_we_did_not_write(tmp_path: Path) -> None:
    mbpoll = shutil.which("mbpoll")
    if mbpoll is None:
        pytest.skip("mbpoll is not installed")
    port = str(free_port())
    fault = ["--fault", "busy=100%,silent=unit1"]
    async with tool("simulate", str(model(tmp_path)), "--tcp", f":{port}", "--unit", "2", *fault):
        asked = [mbpoll, "-m", "tcp", "-p", port, "-0", "-r", "7", "-t", "3", "-1", "-o", "0.3", "127.0.0.1"]
        assert "Slave device or server is busy" in await run(*asked[:-1], "-a", "2", "127.0.0.1", code=1)
        assert "Connection timed out" in await run(*asked, code=1)
