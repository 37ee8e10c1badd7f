"""What every driver promises, as tests: for ours, and for the driver that you write.

    class TestAcme(DriverContract):
        @pytest.fixture
        def make(self) -> MakeForm: ...

It needs a device that answers, real or played; see `Form`. docs/howto/write-a-driver.md has a whole example.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager

from devices.port import DeviceConfig, Driver, Reading
from skerry.frozen import Frozen, replace
from skerry.objects.meta import Key
from skerry.waits import end_tasks


class Form(Frozen, caches=True):
    """A driver with one device that holds 7 in `level` (INT, read-only) and takes values for `setpoint` (INT, from 0
    to 90); `broken` is the same device with a mistake in the visitor of `level`."""

    driver: Driver
    config: DeviceConfig
    broken: DeviceConfig


MakeForm = Callable[[], AbstractAsyncContextManager[Form]]


async def first(form: Form, wanted: Callable[[Reading], bool]) -> Reading:
    """The first reading that is wanted. (`readings` has one consumer.)"""
    async with asyncio.timeout(10):
        async for reading in form.driver.readings():
            if wanted(reading):
                return reading
    raise AssertionError("readings never end by themselves")


class Running:
    """A form at work."""

    def __init__(self, form: Form) -> None:
        self.form = form

    async def __aenter__(self) -> Form:
        assert list(await self.form.driver.configure([self.form.config])) == []
        self._task = asyncio.create_task(self.form.driver.run())
        return self.form

    async def __aexit__(self, *_: object) -> None:
        await self.form.driver.close()
        await end_tasks(self._task)


def _on_a_loop(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """So that the suite needs no plugin but pytest itself."""

    @functools.wraps(test)
    def run(self: object, make: MakeForm) -> None:
        asyncio.run(test(self, make))

    return run


class DriverContract:
    """Subclass, and provide the fixture `make`."""

    @_on_a_loop
    async def test_a_reading_has_value_quality_and_time(self, make: MakeForm) -> None:
        async with make() as form, Running(form):
            reading = await first(form, lambda reading: reading.prop == "level")
            assert (reading.device, reading.value, reading.quality) == (form.config.device, 7, "good")
            assert reading.source_ms > 1_700_000_000_000
            assert form.driver.health()[0].online

    @_on_a_loop
    async def test_a_write_is_verified_and_shows(self, make: MakeForm) -> None:
        async with make() as form, Running(form):
            await first(form, lambda reading: reading.prop == "level")
            assert (await form.driver.write(form.config.device, "setpoint", 42)).state == "verified"
            await first(form, lambda reading: reading.prop == "setpoint" and reading.value == 42)

    @_on_a_loop
    async def test_what_is_written_once_shows_as_well(self, make: MakeForm) -> None:
        async with make() as form, Running(form):
            await first(form, lambda reading: reading.prop == "level")
            assert (await form.driver.write(form.config.device, "setpoint", 43, once=True)).state == "verified"
            await first(form, lambda reading: reading.prop == "setpoint" and reading.value == 43)

    @_on_a_loop
    async def test_a_property_is_read_when_asked_or_says_why_not(self, make: MakeForm) -> None:
        async with make() as form, Running(form):
            await first(form, lambda reading: reading.prop == "level")
            reading = await form.driver.read(form.config.device, "level")
            assert (reading.device, reading.prop) == (form.config.device, "level")
            assert reading.value == 7 if reading.quality == "good" else "can't be asked" in reading.reason
            missing = await form.driver.read(form.config.device, "nothing")
            assert missing.quality == "bad" and missing.value is None and missing.reason

    @_on_a_loop
    async def test_what_can_t_be_written_is_refused_and_never_raised(self, make: MakeForm) -> None:
        async with make() as form, Running(form):
            await first(form, lambda reading: reading.prop == "level")
            result = await form.driver.write(form.config.device, "level", 1)
            assert result.state == "refused" and result.reason
            result = await form.driver.write(form.config.device, "nothing", 1)
            assert result.state == "failed" and "nothing" in result.reason
            elsewhere = Key(form.config.device.resource, "default", "elsewhere")
            assert (await form.driver.write(elsewhere, "level", 1)).state == "failed"

    @_on_a_loop
    async def test_a_mistake_is_refused_by_the_name_of_the_field_and_harms_no_other(self, make: MakeForm) -> None:
        async with make() as form:
            other = replace(form.broken, device=Key(form.config.device.resource, "default", "other"))
            ((key, reason),) = await form.driver.configure([form.config, other])
            assert key == other.device and "spec.properties[level].visitors.configData" in reason
            async with Running(form):
                await first(form, lambda reading: reading.device == form.config.device)

    @_on_a_loop
    async def test_another_set_may_be_given_at_any_time(self, make: MakeForm) -> None:
        async with make() as form, Running(form):
            await first(form, lambda reading: reading.prop == "level")
            assert list(await form.driver.configure([])) == []
            assert list(form.driver.health()) == []
            assert list(await form.driver.configure([form.config])) == []
            await first(form, lambda reading: reading.prop == "level" and reading.value == 7)

    @_on_a_loop
    async def test_receipts_nobody_knows_do_no_harm(self, make: MakeForm) -> None:
        async with make() as form, Running(form):
            form.driver.stored([1, 999_999])
            await first(form, lambda reading: reading.prop == "level")

    @_on_a_loop
    async def test_a_value_can_be_explained_from_what_came_to_what_it_is(self, make: MakeForm) -> None:
        async with make() as form, Running(form):
            await first(form, lambda reading: reading.prop == "level")
            told = form.driver.explain(form.config.device, "level")
            assert told is not None and told.place and told.asked and told.raw
            assert told.steps[-1].name == "value" and told.steps[-1].says == "7 (INT)"
            assert told.reading is not None and told.reading.value == 7
            assert told.error == "" and (told.next_s is None or 0 <= told.next_s <= 1)
            assert form.driver.explain(form.config.device, "nothing") is None
            assert form.driver.explain(Key(form.config.device.resource, "default", "elsewhere"), "level") is None

    @_on_a_loop
    async def test_a_rehearsal_says_what_a_write_does_and_sends_nothing(self, make: MakeForm) -> None:
        async with make() as form, Running(form):
            await first(form, lambda reading: reading.prop == "level")
            done = await form.driver.write(form.config.device, "setpoint", 42)
            told = form.driver.rehearse(form.config.device, "setpoint", 43)
            assert (done.state, told is not None and told.refusal) == ("verified", ""), done
            assert told is not None and told.requests and told.steps[0].says == "43 (INT)"
            seen = form.driver.explain(form.config.device, "setpoint")
            assert seen is not None and seen.reading is not None and seen.reading.value == 42
            refused = form.driver.rehearse(form.config.device, "level", 1)
            assert refused is not None and refused.refusal and not refused.requests
            assert refused.refusal == (await form.driver.write(form.config.device, "level", 1)).reason
            assert form.driver.rehearse(form.config.device, "nothing", 1) is None
