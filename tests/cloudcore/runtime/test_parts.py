"""A part that fails is named, and so is one that ends."""

import pytest

from cloudcore.runtime.parts import PartFailedError, part
from skerry.errors import UnavailableError


async def test_a_part_that_fails_or_ends_is_named():
    async def fails() -> None:
        raise UnavailableError("the disk is gone")

    async def ends() -> None:
        return

    with pytest.raises(PartFailedError, match="the watch cache failed: the disk is gone"):
        await part("watch cache", fails())
    with pytest.raises(PartFailedError, match="the hub ended, which it never should"):
        await part("hub", ends())
