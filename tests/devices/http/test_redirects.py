"""Where a device sends to: followed, or a reason why not; never a fault of the driver's."""

from __future__ import annotations

import pytest

from devices.http.client import Answer
from devices.http.config import HttpDevice, parse_device
from devices.http.driver import Asked, HttpPolled
from devices.port import DeviceConfig, PropertyConfig
from skerry.clocks import SystemClock
from skerry.objects.meta import Key


def device() -> HttpDevice:
    level = PropertyConfig(
        name="level", type="DOUBLE", writable=False, unit="", minimum=None, maximum=None, collect_ms=1000,
        visitor={"url": "a"},
    )  # fmt: skip
    key = Key("devices.devices.kubeedge.io", "default", "one")
    config = DeviceConfig(device=key, protocol="http", protocol_config={"url": "http://plc/"}, properties=(level,))
    return parse_device(config)


class Sending:
    """A client whose device sends from /a elsewhere."""

    def __init__(self, location: str) -> None:
        self._location = location

    async def exchange(self, asked: Asked, *, once: bool = False) -> Answer:
        if asked.target == "/a":
            return Answer(status=302, headers={"location": self._location}, body=b"")
        return Answer(status=200, headers={}, body=b"5")

    async def close(self) -> None: ...


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("/b", ""),
        ("http://plc:80/b?x=1", ""),
        ("http://[bad", "the answer's Location: 'http://[bad' is no URL"),
        ("http://plc:x/", "the answer's Location: 'http://plc:x/' is no URL"),
        ("http://plc\u00e4/", "letters other than ASCII"),
        ("http://other/", "it sends to http://other: let the device's url begin with that"),
        ("mailto:ann@example.org", "the answer's Location: must be a URL"),
        ("", "it sends elsewhere, to /a and on (redirects: 3)"),
    ],
)
async def test_a_place_that_can_t_be_followed_is_a_reason(location: str, said: str) -> None:
    polled = HttpPolled(device(), Sending(location), SystemClock())
    sample = (await polled.read(["level"]))["level"]
    assert said in sample.reason and (sample.value == 5.0) == (not said)
