"""Drivers of other packages: how they are found, and what they can't do to the agent."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from devices.mapper import Drivers, GuardedDriver, Services, found_drivers
from devices.port import DeviceConfig, Driver, PropertyConfig, Reading, WriteResult
from devices.virtual.driver import VirtualDriver
from skerry.clocks import SeededIds, SystemClock
from skerry.objects.meta import Key
from skerry.objects.twins import Value

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "06-driver"
DEVICE = Key("devices.devices.kubeedge.io", "default", "one")
CLOCK = SystemClock()
SERVICES = Services(clock=CLOCK, ids=SeededIds(1), node="here")


def config(type: str = "INT") -> DeviceConfig:
    prop = PropertyConfig(
        name="level",
        type=type,
        writable=True,
        unit="",
        minimum=None,
        maximum=None,
        collect_ms=20,
        visitor={"initial": "7"},
    )
    return DeviceConfig(device=DEVICE, protocol="acme", protocol_config={}, properties=(prop,))


def reading(value: object, quality: str = "good") -> Reading:
    return Reading(
        device=DEVICE,
        prop="level",
        value=value,  # pyright: ignore[reportArgumentType] - as code without types has it
        quality=quality,  # pyright: ignore[reportArgumentType]
        reason="",
        source_ms=1,
        monotonic_s=1,
    )


class Install:
    """Packages that are installed for a test."""

    def __init__(self, room: Path) -> None:
        self._room = room

    def package(self, name: str, entry: str, code: str) -> None:
        (self._room / f"{name}.py").write_text(code)
        info = self._room / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[skerry.drivers]\n{entry}\n")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Install(tmp_path)
    for name in ("gadget", "gadget_two", "gadget_broken"):
        sys.modules.pop(name, None)


GOOD = """
from devices.virtual.driver import VirtualDriver
def driver(services):
    return VirtualDriver(clock=services.clock)
"""


async def test_a_package_brings_a_driver_that_is_imported_when_it_is_needed(install: Install) -> None:
    install.package("gadget", "Gadget = gadget:driver", GOOD)
    drivers = Drivers({"virtual": lambda: VirtualDriver(clock=CLOCK)}, SERVICES)
    assert "gadget" in drivers and "virtual" in drivers and "absent" not in drivers
    assert "gadget" not in sys.modules
    driver = drivers["gadget"]()
    assert list(await driver.configure([config()])) == []
    assert (await driver.read(DEVICE, "level")).value == 7
    assert {"gadget", "virtual"} <= {*drivers}


def test_own_protocols_are_found_without_looking_at_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> object:
        raise AssertionError("packages were looked through")

    monkeypatch.setattr("devices.mapper.found_drivers", never)
    drivers = Drivers({"virtual": lambda: VirtualDriver(clock=CLOCK)}, SERVICES)
    assert "virtual" in drivers and "external" not in drivers
    assert drivers["virtual"]()


def test_a_name_of_ours_and_one_that_is_taken_are_left_out(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install.package("gadget", "modbus = gadget:driver\nexternal = gadget:driver\ngadget = gadget:driver", GOOD)
    install.package("gadget_two", "GADGET = gadget_two:driver", GOOD)
    found = found_drivers()
    assert set(found) & {"modbus", "external", "gadget"} == {"gadget"}
    assert caplog.text.count("driver_left_out") == 3


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nothing_of_that_name\n", "No module named 'nothing_of_that_name'"),
        ("x = 1\n", "has no attribute 'driver'"),
        ("def driver(services):\n    raise KeyError('port')\n", "KeyError: 'port'"),
    ],
)
async def test_a_package_that_can_t_be_loaded_makes_its_devices_invalid_and_nothing_else(
    install: Install, code: str, said: str
) -> None:
    install.package("gadget_broken", "gadget = gadget_broken:driver", code)
    driver = Drivers({}, SERVICES)["gadget"]()
    ((key, reason),) = await driver.configure([config()])
    assert key == DEVICE and "the driver gadget can't be loaded" in reason and said in reason
    assert (await driver.write(DEVICE, "level", 1)).state == "failed"
    assert (await driver.read(DEVICE, "level")).value is None
    assert (driver.explain(DEVICE, "level"), list(driver.health())) == (None, [])
    await driver.close()


class Wild:
    """Raises wherever it is asked."""

    def __init__(self, tells: Sequence[Reading] = ()) -> None:
        self._tells = tells

    def __getattr__(self, name: str) -> Callable[..., object]:
        def wild(*_: object, **__: object) -> object:
            raise ZeroDivisionError(name)

        return wild

    async def readings(self) -> AsyncIterator[Reading]:
        for each in self._tells:
            yield each
        raise ZeroDivisionError("readings")


def guarded(wild: object) -> GuardedDriver:
    driver: Driver = wild  # pyright: ignore[reportAssignmentType] - that is what is tested
    return GuardedDriver(driver, "", name="gadget", clock=CLOCK)


async def test_whatever_a_driver_raises_ends_at_its_devices(caplog: pytest.LogCaptureFixture) -> None:
    driver = guarded(Wild())
    ((key, reason),) = await driver.configure([config()])
    assert (key, reason) == (DEVICE, "its driver gadget failed: ZeroDivisionError")
    result = await driver.write(DEVICE, "level", 1)
    assert (result.state, result.reason) == ("failed", reason)
    assert (await driver.read(DEVICE, "level")).reason == reason
    assert [(each.online, each.reason) for each in driver.health()] == [(False, reason)]
    assert driver.explain(DEVICE, "level") is None and driver.rehearse(DEVICE, "level", 1) is None
    driver.stored([1])
    await driver.close()
    assert caplog.text.count("driver_failed") == 8


@pytest.mark.parametrize(
    ("type", "value", "quality", "said"),
    [
        ("INT", 7, "good", ""),
        ("DOUBLE", 7, "good", ""),
        ("BOOLEAN", True, "good", ""),
        ("INT", True, "good", "told bool in place of INT"),
        ("INT", 7.5, "good", "told float in place of INT"),
        ("STRING", 7, "good", "told int in place of STRING"),
        ("DOUBLE", float("nan"), "good", "told float in place of DOUBLE"),
        ("INT", None, "good", "told a value of quality good"),
        ("INT", 7, "bad", "told a value of quality bad"),
    ],
)
async def test_a_value_that_is_none_of_its_type_is_no_value(type: str, value: Value, quality: str, said: str) -> None:
    driver = guarded(Wild([reading(value, quality)]))
    await driver.configure([config(type)])
    async with asyncio.timeout(10):
        taken = await anext(driver.readings())
    assert said in taken.reason
    assert (taken.value, taken.quality) == ((None, "bad") if said else (value, "good"))


async def test_what_is_read_back_is_looked_at_as_well() -> None:
    class Lying(Wild):
        async def write(self, *_: object, **__: object) -> WriteResult:
            return WriteResult(state="verified", reason="", read_back=reading("seven"))

    driver = guarded(Lying())
    await driver.configure([config()])
    back = (await driver.write(DEVICE, "level", 7)).read_back
    assert back is not None and back.value is None


def test_the_example_passes_the_suite_as_somebody_else_would_run_it(tmp_path: Path) -> None:
    for name in ("acme_skerry.py", "test_acme.py"):
        shutil.copy(EXAMPLE / name, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "test_acme.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{EXAMPLE.parents[1]}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 passed" in done.stdout
