"""Services as kdig and the commands see them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cloudcore.dns.test_steering import HEAD, SERVICES
from tests.system.dns_process import dns_server

pytestmark = pytest.mark.system


def test_two_clients_get_two_answers_and_move_when_a_region_is_down(tmp_path: Path) -> None:
    if shutil.which("kdig") is None:
        pytest.skip("kdig is not installed")
    (tmp_path / "zones").mkdir()
    services = tmp_path / "zones" / "example.com.services.yaml"
    services.write_text(SERVICES)
    with dns_server(tmp_path, zones={"example.com": HEAD}) as server:
        for _ in range(2):  # made, and ready
            europe = server.kdig("+subnet=192.0.2.0/25", "www.example.com")
            assert "203.0.113.1" in europe and "192.0.2.0/25/25" in europe
            america = server.kdig("+subnet=198.51.100.0/24", "alias.example.com")
            assert "203.0.113.2" in america and "198.51.100.0/24/24" in america
        told = server.skerry("explain", "www.example.com", "--from", "192.0.2.7")
        assert "europe: fra, iad" in told and "203.0.113.1" in told and "scope /25" in told
        services.write_text(SERVICES.replace("203.0.113.1, region: fra", "203.0.113.1, region: fra, state: down"))
        assert "changed: example.com." in server.skerry("reload")
        moved = server.kdig("+subnet=192.0.2.0/25", "www.example.com")
        assert "203.0.113.2" in moved and "192.0.2.0/25/25" in moved
        services.write_text("services: 1")
        assert "services: a map is wanted" in server.skerry("reload")
        assert "203.0.113.2" in server.kdig("+subnet=192.0.2.0/25", "www.example.com")
