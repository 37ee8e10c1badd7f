"""The DNS server as a process: asked by kdig and dig, reloaded under load, over TCP and TLS, and with the eight
probes of EDNS compliance (RFC 8906)."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import dns.edns
import dns.exception
import dns.message
import dns.query
import pytest

from cloudcore.dns.cookies import Cookies
from tests.cloudcore.dns.conftest import ZONE
from tests.system.dns_load import asking
from tests.system.dns_process import DnsProcess, dns_server, told

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DnsProcess]:
    if shutil.which("kdig") is None or shutil.which("dig") is None:
        pytest.skip("kdig and dig are not installed")
    directory = tmp_path_factory.mktemp("dns")
    certificate, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=ns1",
            "-keyout",
            str(key),
            "-out",
            str(certificate),
        ],
        check=True,
        capture_output=True,
    )
    flags = ["--nsid", "ns-a", "--tls-port", str(free_port())]
    flags += ["--tls-certificate", str(certificate), "--tls-key", str(key)]
    with dns_server(directory, *flags, zones={"example.com": ZONE}) as running:
        yield running


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def tls_port(server: DnsProcess) -> str:
    arguments = server.process.args
    assert isinstance(arguments, list)
    return str(arguments[arguments.index("--tls-port") + 1])


def test_kdig_is_answered_over_udp_tcp_and_tls(server: DnsProcess) -> None:
    for way in (["+notcp"], ["+tcp"]):
        assert server.kdig(*way, "+short", "www.example.com").split() == ["mail.example.com.", "192.0.2.2"]
    shown = told("kdig", "@127.0.0.1", "-p", tls_port(server), "+tls", "+padding", "MX", "example.com")
    assert "10 mail.example.com." in shown and "Padding" in shown.title() and "WARNING" not in shown


def test_a_client_with_cookies_is_content(server: DnsProcess) -> None:
    shown = told("dig", "@127.0.0.1", "-p", str(server.port), "+cookie", "+nsid", "wWw.example.com")
    assert "(good)" in shown and '("ns-a")' in shown and "wWw.example.com." in shown


@pytest.mark.parametrize(
    ("words", "wanted", "not_wanted"),
    [
        (["+noedns"], ["status: NOERROR", "SOA"], ["EDNS: version"]),
        (["+edns=0", "+nocookie"], ["status: NOERROR", "EDNS: version: 0"], []),
        (["+edns=100", "+noednsnegotiation", "+nocookie"], ["status: BADVERS", "EDNS: version: 0"], ["IN\tSOA"]),
        (["+ednsopt=100", "+nocookie"], ["status: NOERROR", "EDNS: version: 0"], ["OPT=100"]),
        (["+ednsflags=0x80", "+nocookie"], ["status: NOERROR", "EDNS: version: 0, flags:;"], ["MBZ"]),
        (["+dnssec", "+nocookie"], ["status: NOERROR", "flags: do"], []),
        (["+dnssec", "+bufsize=512", "+nocookie"], ["status: NOERROR", "flags: do"], []),
        (["+edns=100", "+noednsnegotiation", "+ednsopt=100", "+nocookie"], ["status: BADVERS"], ["OPT=100"]),
    ],
)
def test_edns_is_as_it_has_to_be(
    server: DnsProcess, words: list[str], wanted: list[str], not_wanted: list[str]
) -> None:
    shown = told("dig", "@127.0.0.1", "-p", str(server.port), "+norec", "soa", "example.com", *words)
    assert [word for word in wanted if word not in shown] == [], shown
    assert [word for word in not_wanted if word in shown.partition("QUESTION")[0]] == [], shown


def test_many_questions_on_one_connection_are_answered_in_order(server: DnsProcess) -> None:
    names = ["www.example.com", "mail.example.com", "nobody.example.com", "a.w.example.com"] * 50
    queries = [dns.message.make_query(name, "A", id=number) for number, name in enumerate(names)]
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
        whole = b"".join(len(wire).to_bytes(2, "big") + wire for query in queries for wire in [query.to_wire()])
        for place in range(0, len(whole), 7):  # in pieces that cut frames anywhere
            line.sendall(whole[place : place + 7])
        for query in queries:
            answer, _ = dns.query.receive_tcp(line, expiration=time.time() + 10)
            assert answer.id == query.id and query.is_response(answer)


def test_one_address_has_so_many_connections_and_silence_ends_them(tmp_path: Path) -> None:
    flags = ["--tcp-connections-per-client", "3", "--tcp-idle-s", "1"]
    with dns_server(tmp_path, *flags, zones={"example.com": ZONE}) as server:
        lines = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(4)]
        begun = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            assert [line.recv(1) for line in lines[3:]] == [b""]
        assert time.monotonic() - begun < 0.9
        for line in lines[:3]:
            with contextlib.suppress(ConnectionResetError):
                assert line.recv(1) == b""
        assert 0.5 < time.monotonic() - begun < 5
        for line in lines:
            line.close()


def test_a_reload_loses_no_query_and_shows_the_new_zone(tmp_path: Path) -> None:
    with dns_server(tmp_path, zones={"example.com": ZONE}) as server:
        stopped, lost, asked = [False], [0], [0]

        def ask_on() -> None:
            query = dns.message.make_query("mail.example.com", "A")
            while not stopped[0]:
                asked[0] += 1
                try:
                    dns.query.udp(query, "127.0.0.1", timeout=2, port=server.port)
                except dns.exception.Timeout:
                    lost[0] += 1

        threads = [Thread(target=ask_on) for _ in range(4)]
        for thread in threads:
            thread.start()
        path = server.zones / "example.com.zone"
        for number in range(8):
            path.write_text(ZONE.replace("192.0.2.2", f"192.0.2.{100 + number}"))
            assert "changed: example.com." in server.skerry("reload")
        time.sleep(0.3)
        assert server.kdig("+short", "mail.example.com").split() == ["192.0.2.107"]
        stopped[0] = True
        for thread in threads:
            thread.join()
        assert lost == [0] and asked[0] > 100
        path.write_text("rubbish")
        assert "problem:" in server.skerry("reload")
        assert server.kdig("+short", "mail.example.com").split() == ["192.0.2.107"]


def test_a_reload_reads_keys_so_that_they_can_be_rolled_without_a_restart(tmp_path: Path) -> None:
    keys = {"cookies": tmp_path / "cookies", "xfr": tmp_path / "xfr"}
    old, new = "0" * 31 + "1", "0" * 31 + "2"
    secret = {"old": "b2xkb2xkb2xkb2xkb2xkb2xk", "new": "bmV3bmV3bmV3bmV3bmV3bmV3"}
    keys["cookies"].write_text(f"{old}\n")
    keys["xfr"].write_text(f"old. hmac-sha256 {secret['old']}\n")
    flags = ("--cookie-keys", str(keys["cookies"]), "--transfer-keys", str(keys["xfr"]))

    with dns_server(tmp_path, *flags, zones={"example.com": ZONE}) as server:

        def cookie(sent: bytes = b"client!!") -> bytes:
            options: list[dns.edns.Option] = [dns.edns.GenericOption(dns.edns.OptionType.COOKIE, sent)]
            query = dns.message.make_query("mail.example.com", "A", use_edns=0, options=options)
            answer = dns.query.udp(query, "127.0.0.1", timeout=20, port=server.port)
            (said,) = [each.to_wire() for each in answer.options if each.otype == dns.edns.OptionType.COOKIE]
            assert said is not None
            return said

        def is_of(key: str, said: bytes) -> bool:
            return Cookies([bytes.fromhex(key)]).check(said, bytes((127, 0, 0, 1)), int(time.time()))[1]

        def gives(name: str) -> bool:
            return "ns1.example.com." in server.said(
                "-y", f"hmac-sha256:{name}:{secret[name]}", "AXFR", "example.com"
            )

        first = cookie()
        assert is_of(old, first) and gives("old") and not gives("new")
        keys["cookies"].write_text(f"{new}\n{old}\n")
        keys["xfr"].write_text("".join(f"{name}. hmac-sha256 {of}\n" for name, of in secret.items()))
        server.skerry("reload")
        assert is_of(new, cookie(first)) and gives("old") and gives("new")
        keys["cookies"].write_text("no key\n")
        (server.zones / "example.com.zone").write_text(ZONE.replace("192.0.2.2", "192.0.2.100"))
        assert "--cookie-keys" in server.skerry("reload") and is_of(new, cookie()), "as it was"
        assert server.kdig("+short", "mail.example.com").split() == ["192.0.2.100"], "zones are read all the same"
        keys["cookies"].write_text(f"{new}\n")
        keys["xfr"].write_text(f"new. hmac-sha256 {secret['new']}\n")
        server.skerry("reload")
        assert is_of(new, cookie(first)) and gives("new") and not gives("old")


@pytest.mark.parametrize("workers", [1, 2])
def test_no_question_is_missed_while_all_zones_are_read_again(tmp_path: Path, workers: int) -> None:
    """By a command or by a signal: processes with the new zones read from the sockets of those before them."""
    zones = {f"z{number}.example": ZONE for number in range(50)}
    names = [f"{name}.{origin}" for origin in zones for name in ("mail", "nobody", "www")]
    packets = [dns.message.make_query(name, "A", use_edns=0).to_wire()[2:] for name in names]
    with dns_server(tmp_path, "--workers", str(workers), zones=zones) as server:
        with asking(server.port, 2000, 8, packets) as told_by:
            for number in range(4):
                text = ZONE.replace("192.0.2.2", f"192.0.2.{100 + number}")
                for origin in zones:
                    (server.zones / f"{origin}.zone").write_text(text)
                if number % 2:
                    server.skerry("reload")
                else:
                    server.process.send_signal(signal.SIGHUP)
                deadline = time.monotonic() + 20
                while server.kdig("+short", "mail.z49.example").split() != [f"192.0.2.{100 + number}"]:
                    assert time.monotonic() < deadline, server.log
        found = told_by[0]
        assert (found.lost, found.late) == (0, 0) and found.sent > 10_000, found
        assert server.log.count("zones read again") >= 4


def test_a_new_process_that_ends_before_it_reads_leaves_the_old_ones_answering(tmp_path: Path) -> None:
    with dns_server(tmp_path, zones={"example.com": ZONE}) as server:
        deadline, number = time.monotonic() + 60, 0
        while "ended before it answered" not in server.log:  # one may read before it is killed
            assert time.monotonic() < deadline, server.log
            number += 1
            old = set(told("pgrep", "-P", str(server.process.pid)).split())
            (server.zones / "example.com.zone").write_text(ZONE.replace("192.0.2.2", f"192.0.2.{100 + number}"))
            server.process.send_signal(signal.SIGHUP)
            _kill_newcomers(server.process.pid, old, for_s=1.0)
        assert server.kdig("+short", "mail.example.com").split()
        wanted = [f"192.0.2.{100 + number}"]
        while server.kdig("+short", "mail.example.com").split() != wanted:
            assert time.monotonic() < deadline, server.log
            time.sleep(0.1)
        while "do not start" in server.skerry("zones"):
            assert time.monotonic() < deadline, server.log


def _kill_newcomers(parent: int, old: set[str], *, for_s: float) -> None:
    children, until = Path(f"/proc/{parent}/task/{parent}/children"), time.monotonic() + for_s
    seen = set(old)
    while time.monotonic() < until:
        for child in set(children.read_text().split()) - seen:
            seen.add(child)
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)


def test_a_process_that_dies_is_forked_again_and_none_outlives_its_parent(tmp_path: Path) -> None:
    with dns_server(tmp_path, zones={"example.com": ZONE}) as server:
        children = told("pgrep", "-P", str(server.process.pid)).split()
        assert len(children) == 2
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        deadline = time.monotonic() + 10
        while not server.kdig("+short", "mail.example.com").split() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert server.kdig("+short", "+tcp", "mail.example.com").split() == ["192.0.2.2"]
        children = told("pgrep", "-P", str(server.process.pid)).split()
        server.process.kill()
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{child}/exe").exists() for child in children) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(Path(f"/proc/{child}/exe").exists() for child in children)


def test_the_commands_tell_what_is_served(server: DnsProcess) -> None:
    assert "example.com." in server.skerry("zones")
    assert "192.0.2.2" in server.skerry("records", "example.com", "mail.example.com", "--type", "A")
    assert "an alias of mail.example.com." in server.skerry("explain", "www.example.com")
    assert "$ORIGIN example.com." in server.skerry("dump", "example.com")
    assert "noerror" in server.skerry("stats")
    assert "no zone" in server.skerry("dump", "example.org")
    assert "no DNS server answers" in server.skerry("zones", "--control", "/nowhere/sock")
