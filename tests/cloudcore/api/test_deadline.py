"""A request that takes too long is told so, whatever its time was spent on; every other end is as it was."""

from __future__ import annotations

import asyncio

import pytest

from cloudcore.api.app import _deadline
from skerry.errors import NotFoundError
from skerry.forms.status import DeadlineError


async def test_a_request_that_takes_too_long_is_told_how_long_it_had() -> None:
    with pytest.raises(DeadlineError, match=r"allotted 0s") as told:
        async with _deadline(0):
            await asyncio.Event().wait()
    assert isinstance(told.value.__cause__, TimeoutError)


async def test_a_shorter_wait_within_it_that_came_to_its_end_is_one_too() -> None:
    with pytest.raises(DeadlineError, match=r"allotted 60s"):
        async with _deadline(60):
            raise TimeoutError


async def test_errors_and_a_client_that_leaves_pass_as_they_are() -> None:
    for error in (NotFoundError("x"), asyncio.CancelledError()):
        with pytest.raises(type(error)):
            async with _deadline(60):
                raise error
    async with _deadline(60):
        pass
