"""Zones of a cloud as they are kept on disk, and read beside files of people."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudcore.dns.explain import explain
from cloudcore.dns.library import Library
from cloudcore.dns.lookup import look_up
from cloudcore.dns.places import Places
from cloudcore.dns.snapshot import forget_snapshot, keep_snapshot, kept_snapshots, read_snapshot
from cloudcore.dns.steering import Endpoint, Service, choose
from skerry.dns.names import name_of
from skerry.dns.numbers import NOERROR, A
from skerry.errors import InvalidError, UnavailableError
from skerry.objects.json import Json, JsonObject

ORIGIN = name_of("example.com")
TEXT = "$ORIGIN example.com.\nexample.com. 60 IN SOA a b {} 2 3 4 5\nexample.com. 60 IN NS a.test.\n"
ENDPOINTS: list[Json] = [
    {"address": "192.0.2.1", "region": "eu"},
    {"address": "192.0.2.2", "state": "down", "reason": "cut"},
]
SERVICES: JsonObject = {
    "orders": {"default": ["mars"]},
    "services": {"www.example.com.": {"endpoints": ENDPOINTS, "probe": {"type": "TCP", "port": 80}}},
}


def spec(serial: int = 1) -> JsonObject:
    return {"serial": serial, "zone": TEXT.format(serial), "services": SERVICES}


def test_what_is_kept_is_served_with_its_services(tmp_path: Path) -> None:
    assert keep_snapshot(tmp_path, "example.com", spec())
    assert not keep_snapshot(tmp_path, "example.com", spec()), "the same is not written again"
    zone = read_snapshot(tmp_path / "example.com.snapshot")
    service = zone.services[name_of("www.example.com")]
    assert zone.serial == 1 and [each.up for each in service.endpoints] == [True, False]
    assert service.probe is not None and service.probe.port == 80
    assert kept_snapshots(tmp_path) == ["example.com"]
    assert forget_snapshot(tmp_path, "example.com") and not forget_snapshot(tmp_path, "example.com")


def test_a_file_that_is_cut_short_keeps_what_was_served(tmp_path: Path) -> None:
    library = Library(None, tmp_path)
    keep_snapshot(tmp_path, "example.com", spec())
    assert library.load().zones[ORIGIN].serial == 1
    (tmp_path / "example.com.snapshot").write_bytes(b'{"zone": ')
    loaded = library.load()
    assert loaded.zones[ORIGIN].serial == 1 and "what it was is served" in loaded.problems[0]
    keep_snapshot(tmp_path, "example.com", spec(2))
    assert library.load().zones[ORIGIN].serial == 2


def test_what_can_not_be_served_replaces_nothing_on_disk(tmp_path: Path) -> None:
    """A server that starts would find no zone in it."""
    keep_snapshot(tmp_path, "example.com", spec())
    refused: list[JsonObject] = [
        {"serial": 2, "zone": "example.com. 60 IN A 192.0.2.1\n"},
        {"serial": 2, "zone": TEXT.format(2) + "www.example.com. 60 IN NS ns.test.\n", "services": SERVICES},
        {},
    ]
    for bad in refused:
        with pytest.raises(InvalidError):
            keep_snapshot(tmp_path, "example.com", bad)
    assert read_snapshot(tmp_path / "example.com.snapshot").serial == 1


def test_a_service_without_endpoints_is_a_name_without_addresses(tmp_path: Path) -> None:
    empty: JsonObject = {"services": {"www.example.com.": {"endpoints": []}}}
    keep_snapshot(tmp_path, "example.com", {**spec(), "services": empty})
    zone = read_snapshot(tmp_path / "example.com.snapshot")
    found = look_up(zone, name_of("www.example.com"), A)
    assert found.rcode == NOERROR and not found.answer and found.authority
    told = explain({zone.origin: zone}, name_of("www.example.com"), A, b"\1\2\3\4")
    assert "www.example.com. is a service that has no endpoints" in told["steps"]  # type: ignore[operator]


def test_a_zone_of_a_file_goes_before_the_clouds(tmp_path: Path) -> None:
    files, kept = tmp_path / "files", tmp_path / "kept"
    files.mkdir()
    kept.mkdir()
    (files / "example.com.zone").write_text(TEXT.format(7))
    keep_snapshot(kept, "example.com", spec())
    loaded = Library(files, kept).load()
    assert loaded.zones[ORIGIN].serial == 7 and "in another file as well" in loaded.problems[0]


@pytest.mark.parametrize("name", ["../etc/passwd", "", "a/b", ".hidden"])
def test_a_name_that_is_no_zones_is_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidError, match="no zone's name"):
        keep_snapshot(tmp_path, name, spec())


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError):
        Library(None, tmp_path / "nowhere").load()


def test_nobody_is_led_to_what_is_drained_even_when_nobody_is_up() -> None:
    def addresses(*endpoints: Endpoint) -> tuple[bytes, ...]:
        service = Service(
            name=ORIGIN, ttl=5, policy="round_robin", endpoints=endpoints, places=Places({}), orders={"": ()}
        )
        return choose(service, A, b"\1\2\3\4").rdatas

    drained = Endpoint(address=b"\0\0\0\1", region="", drained=True)
    down = Endpoint(address=b"\0\0\0\2", region="", up=False)
    assert addresses(drained, down) == (b"\0\0\0\2",)
    assert addresses(drained) == (b"\0\0\0\1",), "an answer that may work is better than none"


def test_what_a_later_cloud_says_beside_is_left_out_and_freezes_nothing(tmp_path: Path) -> None:
    rows: list[Json] = [{"address": "192.0.2.1", "colour": "red"}]
    later: JsonObject = {"mood": {}, "services": {"www.example.com.": {"endpoints": rows, "taste": 1}}}
    assert keep_snapshot(tmp_path, "example.com", {**spec(), "services": later})
    assert name_of("www.example.com") in read_snapshot(tmp_path / "example.com.snapshot").services
