"""What makes a device's values old: its own word, its silence, or a broker that is away for long."""

from __future__ import annotations

from devices.mqtt.config import Availability, MqttDevice, parse_device
from devices.mqtt.sessions import Seen, Session, health_of, is_merely_unconnected
from devices.port import DeviceConfig
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key

KEY = Key("devices.devices.kubeedge.io", "default", "sensor")
STATUS = Availability(topic="a/status", path=None, online="online", offline="offline")


def device(*, expire_ms: int = 0) -> MqttDevice:
    data: JsonObject = {"host": "broker", "expireAfterMs": expire_ms}
    return parse_device(DeviceConfig(device=KEY, protocol="mqtt", protocol_config=data, properties=()), None)


def session(*, connected: bool = True) -> Session:
    return Session(broker=device().broker, connected=connected, away_since_s=0.0)


def reason(known: MqttDevice, over: Session | None, seen: Seen, now_s: float) -> str:
    return health_of(known, over, seen, now_s).reason


def test_a_device_is_well_until_something_says_otherwise() -> None:
    seen = Seen(heard_s=0.0)
    assert reason(device(), session(), seen, 1e6) == ""
    assert reason(device(), None, seen, 0.0) == "not connected yet"
    assert reason(device(expire_ms=5000), session(), seen, 5.0) == ""
    assert reason(device(expire_ms=5000), session(), seen, 5.1) == "no message for 5 s"


def test_its_last_will_counts_until_it_is_back_and_other_words_change_nothing() -> None:
    seen = Seen(heard_s=0.0)
    for payload, away in ((b"offline", True), (b"\xff", True), (b"restarting", True), (b" online\n", False)):
        seen.take(STATUS, payload)
        assert (reason(device(), session(), seen, 0.0) == "the device is said to be offline") == away, payload


def test_a_broker_that_is_away_for_a_moment_makes_nothing_old() -> None:
    away, seen = session(connected=False), Seen(heard_s=0.0)
    assert is_merely_unconnected(device(), away, seen, 29.9, away_s_max=30.0)
    assert not is_merely_unconnected(device(), away, seen, 30.0, away_s_max=30.0)
    assert not is_merely_unconnected(device(expire_ms=5000), away, seen, 6.0, away_s_max=30.0), "its own time is over"
    assert not is_merely_unconnected(device(), session(), seen, 0.0, away_s_max=30.0)
