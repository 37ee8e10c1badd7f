"""Endpoints that die and come back under a real server: answers move in time, drains hold over a restart."""

from __future__ import annotations

import http.server
import shutil
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.dns_peers import free_dns_port
from tests.system.dns_process import DnsProcess, dns_server

pytestmark = pytest.mark.system

HEAD = "@ 60 SOA ns1 host 1 7200 900 1209600 60\n@ 60 NS ns1\nns1 60 A 127.0.0.1\n"
SERVICES = """
services:
  www:
    policy: failover
    ttl: 4
    endpoints: [{address: 127.0.0.2, region: eu}, {address: 127.0.0.3, region: us}]
    probe: {type: HTTP, port: PORT, body: fine, intervalSeconds: 0.5, downThreshold: 3}
"""
INTERVAL_S, THRESHOLD = 0.5, 3


class _Fine(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"all is fine")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Nobody reads it."""


@contextmanager
def site(address: str, port: int) -> Generator[None]:
    server = http.server.ThreadingHTTPServer((address, port), _Fine)
    thread = threading.Thread(target=lambda: server.serve_forever(0.05))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(server: DnsProcess) -> str:
    return server.kdig("+short", "www.example.com").strip()


def seconds_until(what: Callable[[], bool], server: DnsProcess) -> float:
    begin = time.monotonic()
    while not what():
        assert time.monotonic() < begin + 30, server.log
        time.sleep(0.02)
    return time.monotonic() - begin


def zones(directory: Path, port: int) -> None:
    (directory / "zones").mkdir(parents=True, exist_ok=True)
    (directory / "zones" / "example.com.services.yaml").write_text(SERVICES.replace("PORT", str(port)))


def test_answers_move_in_time_when_a_region_dies_and_back_when_it_lives(tmp_path: Path) -> None:
    if shutil.which("kdig") is None:
        pytest.skip("kdig is not installed")
    port = free_dns_port()
    zones(tmp_path, port)
    with site("127.0.0.3", port):
        with site("127.0.0.2", port), dns_server(tmp_path, zones={"example.com": HEAD}) as server:
            seconds_until(lambda: "(unsure)" not in server.skerry("health"), server)
            assert answer(server) == "127.0.0.2"
        with dns_server(tmp_path, zones={"example.com": HEAD}) as server:
            took_s = seconds_until(lambda: answer(server) == "127.0.0.3", server)
            assert took_s <= INTERVAL_S * THRESHOLD + 2, "a cold start, with its first probes spread over a second"
            assert "probes say so" in server.skerry("explain", "www.example.com", "--from", "192.0.2.1")
            with site("127.0.0.2", port):
                seconds_until(lambda: answer(server) == "127.0.0.2", server)
                seconds_until(lambda: "(unsure)" not in server.skerry("health"), server)
                assert " 4 " in server.kdig("www.example.com").replace("\t", " ")
            took_s = seconds_until(lambda: answer(server) == "127.0.0.3", server)
            assert took_s <= INTERVAL_S * THRESHOLD + 1
    with dns_server(tmp_path, zones={"example.com": HEAD}) as server:
        assert answer(server) == "127.0.0.3", "the last known state, before any probe"


def test_a_drain_holds_over_a_restart_until_it_ends(tmp_path: Path) -> None:
    port = free_dns_port()
    zones(tmp_path, port)
    with site("127.0.0.3", port), site("127.0.0.2", port):
        with dns_server(tmp_path, zones={"example.com": HEAD}) as server:
            assert answer(server) == "127.0.0.2"
            assert "1 endpoint" in server.skerry("drain", "eu", "--for", "1h", "--reason", "new switch")
            assert answer(server) == "127.0.0.3"
        with dns_server(tmp_path, zones={"example.com": HEAD}) as server:
            assert answer(server) == "127.0.0.3" and "new switch" in server.skerry("health")
            assert "not drained any more" in server.skerry("undrain", "eu")
            assert answer(server) == "127.0.0.2"
            assert "is not drained here" in server.skerry("undrain", "eu")
            assert "no endpoint is at mars; regions are eu, us" in server.skerry("drain", "mars")
            assert "is no service here" in server.skerry("drain", "eu", "--service", "wwww.example.com")
            assert "drained here" not in server.skerry("health"), "what was mistyped is not kept"
            assert server.skerry("records", "example.com", "www").count("127.0.0") == 2
            assert "there is no wwww." in server.skerry("records", "example.com", "wwww")
            server.skerry("drain", "127.0.0.2", "--for", "1s")
            seconds_until(lambda: answer(server) == "127.0.0.2", server)


def test_two_observers_agree_on_who_is_down(tmp_path: Path) -> None:
    port, ports = free_dns_port(), [free_dns_port() for _ in range(2)]
    (tmp_path / "key").write_text("ab" * 16)
    flags = ("--observers-key", str(tmp_path / "key"))
    one = (*flags, "--nsid", "a", "--observe-port", str(ports[0]), "--observers", f"127.0.0.1@{ports[1]}")
    two = (*flags, "--nsid", "b", "--observe-port", str(ports[1]), "--observers", f"127.0.0.1@{ports[0]}")
    zones(tmp_path / "a", port)
    zones(tmp_path / "b", port)
    with (
        site("127.0.0.3", port),
        dns_server(tmp_path / "a", *one, zones={"example.com": HEAD}) as first,
        dns_server(tmp_path / "b", *two, zones={"example.com": HEAD}) as second,
    ):
        seconds_until(lambda: answer(first) == answer(second) == "127.0.0.3", first)
