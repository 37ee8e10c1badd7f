"""Programs that speak Modbus and that we did not write, each behind a few lines that start it."""

from __future__ import annotations

import asyncio
import functools
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


@functools.cache
def _built(directory: Path) -> Path:
    program = directory / "libmodbus"
    made = subprocess.run(
        ["gcc", "-O1", "-o", program, HERE / "libmodbus.c", "-lmodbus"], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    return program


def libmodbus(directory: Path) -> str:
    """The program, built; skips where it can't be."""
    if shutil.which("gcc") is None or not Path("/usr/include/modbus/modbus.h").exists():
        pytest.skip("gcc or libmodbus is not installed")
    return str(_built(directory))


def modbus_serial(directory: Path) -> list[str]:
    """Node's command line; skips where npm has none."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed")
    if not (directory / "node_modules").exists():
        got = subprocess.run(
            [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", directory, "modbus-serial@8.0.25"],
            capture_output=True,
            text=True,
            timeout=100,
        )
        if got.returncode:
            pytest.skip(f"npm has no modbus-serial here: {got.stderr[-200:]}")
    script = directory / "serial_slave.js"
    shutil.copy(HERE / script.name, script)
    return [node, str(script)]


def pymodbus() -> list[str]:
    return [sys.executable, str(HERE / "pymodbus_slave.py")]


@asynccontextmanager
async def program(*command: str | Path, ready: str = "ready") -> AsyncGenerator[asyncio.subprocess.Process]:
    """A peer at work, until the block ends."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        if ready:
            async with asyncio.timeout(30):
                while line := await process.stdout.readline():
                    if ready in line.decode():
                        break
                else:
                    raise AssertionError(f"{command} ended before it was ready")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def serial_pair(directory: Path) -> AsyncGenerator[tuple[Path, Path]]:
    """Two ends of a serial line."""
    if shutil.which("socat") is None:
        pytest.skip("socat is not installed")
    ends = directory / "master", directory / "slave"
    addresses = [f"pty,raw,echo=0,link={end}" for end in ends]
    async with program("socat", *addresses, ready=""):
        async with asyncio.timeout(10):
            while not all(end.exists() for end in ends):
                await asyncio.sleep(0.02)
        yield ends
