"""Resolvers in front of the server: unbound keeps each region's answer apart, and what is signed validates."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cloudcore.dns.test_steering import HEAD, SERVICES
from tests.system.dns_peers import free_dns_port
from tests.system.dns_process import DnsProcess, dns_server, told

pytestmark = pytest.mark.system

UNBOUND = """
server:
  interface: 127.0.0.1
  port: PORT
  username: ""
  chroot: ""
  directory: "DIR"
  pidfile: "DIR/pid"
  use-syslog: no
  do-daemonize: no
  do-not-query-localhost: no
  access-control: 127.0.0.0/8 allow
  module-config: "MODULES"
  EXTRA
remote-control:
  control-enable: no
stub-zone:
  name: "example.com."
  stub-addr: 127.0.0.1@SERVER
"""


@contextmanager
def unbound(directory: Path, server: DnsProcess, modules: str, extra: str) -> Generator[int]:
    if shutil.which("unbound") is None:
        pytest.skip("unbound is not installed")
    directory.mkdir()
    port = free_dns_port()
    words = {"PORT": str(port), "DIR": str(directory), "MODULES": modules, "EXTRA": extra, "SERVER": str(server.port)}
    text = UNBOUND
    for word, value in words.items():
        text = text.replace(word, value)
    (directory / "unbound.conf").write_text(text)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(["unbound", "-d", "-c", str(directory / "unbound.conf")], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while "status:" not in told("kdig", "@127.0.0.1", "-p", str(port), "+retry=0", "+time=1", "localhost", "A"):
            assert process.poll() is None and time.monotonic() < deadline, (directory / "log").read_text()
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)


def asked(port: int, *words: str) -> str:
    return told("kdig", "@127.0.0.1", "-p", str(port), "+retry=0", "+time=5", *words)


def answers(server: DnsProcess) -> int:
    counts = json.loads(server.skerry("stats", "-o", "json"))["counts"]
    return counts["ready"] + counts["made"]


def test_clients_of_two_regions_get_their_own_answers_from_unbounds_cache(tmp_path: Path) -> None:
    (tmp_path / "zones").mkdir()
    (tmp_path / "zones" / "example.com.services.yaml").write_text(SERVICES)
    with dns_server(tmp_path, zones={"example.com": HEAD}) as server:
        extra = "send-client-subnet: 127.0.0.1\n  max-client-subnet-ipv4: 24\n  client-subnet-always-forward: yes"
        with unbound(tmp_path / "unbound", server, "subnetcache iterator", extra) as port:
            for address, expected in (("192.0.2.0/25", "203.0.113.1"), ("198.51.100.0/24", "203.0.113.2")):
                assert expected in asked(port, f"+subnet={address}", "+short", "www.example.com")
            before = answers(server)
            for address, expected in (
                ("192.0.2.0/25", "203.0.113.1"),
                ("198.51.100.128/25", "203.0.113.2"),
                ("192.0.2.64/26", "203.0.113.1"),
            ):
                assert expected in asked(port, f"+subnet={address}", "+short", "www.example.com")
            assert answers(server) == before, "from the cache, each its own"


SIGNED = HEAD + "ns 60 A 127.0.0.1\nsub 60 NS ns.sub\nns.sub 60 A 127.0.0.1\nmx 60 MX 10 Mail.Example.com.\n"


def test_what_is_signed_validates_with_delv_and_unbound_through_a_roll(tmp_path: Path) -> None:
    if shutil.which("delv") is None:
        pytest.skip("delv is not installed")
    (tmp_path / "zones").mkdir()
    (tmp_path / "zones" / "example.com.services.yaml").write_text(SERVICES)
    keys = str(tmp_path / "keys")
    with dns_server(tmp_path / "no", zones={}) as helper:
        assert "active" in helper.skerry("keys", "generate", "example.com", "--keys", keys)
        ds = helper.skerry("keys", "ds", "example.com", "--keys", keys).split(" DS ")[1].strip()
    with dns_server(tmp_path, "--dnssec-keys", keys, zones={"example.com": SIGNED}) as server:
        validates(tmp_path, server, ds)
        with unbound(
            tmp_path / "unbound", server, "validator iterator", f'trust-anchor: "example.com. DS {ds}"'
        ) as port:
            assert " ad" in asked(port, "+dnssec", "mx.example.com", "MX")
            denied = asked(port, "+dnssec", "nowhere.example.com")
            assert " ad" in denied and "SERVFAIL" not in denied
        assert "NXDOMAIN" in server.kdig("nowhere.example.com"), "who asks for no proof is told so as ever"
        new = server.skerry("keys", "generate", "example.com", "--keys", keys)
        tag = new.split()[2]
        server.skerry("reload")
        validates(tmp_path, server, ds)
        assert "active" in server.skerry("keys", "set", "example.com", tag, "active", "--keys", keys)
        server.skerry("reload")
        validates(tmp_path, server, new.split(" DS ")[1].strip())
        validates(tmp_path, server, ds)


def validates(directory: Path, server: DnsProcess, ds: str) -> None:
    """With delv, from a DS as the parent would have it."""
    tag, algorithm, digest_type, digest = ds.split(maxsplit=3)
    anchor = directory / "anchor"
    anchor.write_text(
        f'trust-anchors {{ example.com. static-ds {tag} {algorithm} {digest_type} "{digest.replace(" ", "")}"; }};'
    )
    for name, kind, expected in (
        ("mx.example.com", "MX", "; fully validated"),
        ("www.example.com", "A", "; fully validated"),
        ("alias.example.com", "A", "; fully validated"),
        ("any.app.example.com", "AAAA", "; fully validated"),
        ("example.com", "DNSKEY", "; fully validated"),
        ("mx.example.com", "A", "; negative response, fully validated"),
        ("nowhere.example.com", "A", "; negative response, fully validated"),
        ("app.example.com", "A", "; negative response, fully validated"),
        ("sub.example.com", "DS", "; negative response, fully validated"),
    ):
        done = subprocess.run(
            ["delv", "@127.0.0.1", "-p", str(server.port), "-a", str(anchor), "+root=example.com", name, kind],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert expected in done.stdout, f"{name} {kind}: {done.stdout}{done.stderr}"
