"""Zones of Knot's that this server is a secondary of: fetched with a key, again at a NOTIFY, and kept on disk."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.dns_peers import free_dns_port, knot
from tests.system.dns_process import DnsProcess, dns_server
from tests.system.levels import reached

pytestmark = pytest.mark.system

SECRET = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
TEXT = "$TTL 60\n@ SOA a b {0} 3600 600 86400 60\n@ NS a.test.\nwww A 192.0.2.{0}\n"
KNOT = """
key:
  - id: xfr
    algorithm: hmac-sha256
    secret: {secret}
remote:
  - id: us
    address: 127.0.0.1@{port}
acl:
  - id: them
    key: xfr
    action: transfer
"""
OPTIONS = "    notify: us\n    acl: them\n"


def until(what: Callable[[], bool], server: DnsProcess) -> None:
    reached(what, lambda: server.log, within_s=30)


def test_a_zone_is_fetched_kept_and_fetched_again_at_a_notify(tmp_path: Path) -> None:
    if shutil.which("knotd") is None:
        pytest.skip("knot is not installed")
    port, primary = free_dns_port(), free_dns_port()
    (tmp_path / "keys").write_text(f"xfr. hmac-sha256 {SECRET}\n")
    head = KNOT.format(secret=SECRET, port=port)
    mine = ("--port", str(port), "--secondary", f"example.com=127.0.0.1@{primary}")
    mine += ("--transfer-keys", str(tmp_path / "keys"))

    def address(server: DnsProcess) -> str:
        return server.kdig("+short", "www.example.com").strip()

    first, second = ({"example.com": TEXT.format(number)} for number in (1, 2))
    with (
        knot(tmp_path / "knot", first, zone_options=OPTIONS, head=head, port=primary),
        dns_server(tmp_path / "us", *mine) as server,
    ):
        until(lambda: address(server) == "192.0.2.1", server)
    with dns_server(tmp_path / "us", *mine) as server:
        assert address(server) == "192.0.2.1", "kept, with the primary away"
        until(lambda: "can't be fetched" in server.log, server)
        with knot(tmp_path / "knot", second, zone_options=OPTIONS, head=head, port=primary):
            until(lambda: address(server) == "192.0.2.2", server)
        refused = server.said("example.com", "SOA", "+opcode=NOTIFY", "@127.0.0.1")
        assert "SERVFAIL" not in refused


def test_a_primary_that_hangs_holds_up_its_own_zones_alone(tmp_path: Path) -> None:
    if shutil.which("knotd") is None:
        pytest.skip("knot is not installed")
    port, primary = free_dns_port(), free_dns_port()
    (tmp_path / "keys").write_text(f"xfr. hmac-sha256 {SECRET}\n")
    head = KNOT.format(secret=SECRET, port=port)
    zones = {f"z{number}.test": TEXT.format(1) for number in range(20)}
    with socket.create_server(("127.0.0.2", 0), backlog=64) as silent:
        hung = [f"h{number}.test=127.0.0.2@{silent.getsockname()[1]}" for number in range(8)]
        mine = [f"{origin}=127.0.0.1@{primary}" for origin in zones]
        flags = ("--port", str(port), "--secondary", ",".join([*hung, *mine]))
        begin = time.monotonic()
        with (
            knot(tmp_path / "knot", zones, zone_options=OPTIONS, head=head, port=primary),
            dns_server(tmp_path / "us", *flags, "--transfer-keys", str(tmp_path / "keys")) as server,
        ):
            until(lambda: all(server.kdig("+short", f"www.{each}").strip() == "192.0.2.1" for each in zones), server)
            assert time.monotonic() - begin < 10, "one after the other, each that hangs takes ten seconds"
