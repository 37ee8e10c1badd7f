"""The cluster's DNS on a gateway, asked by kdig (Knot) and asking dnsmasq, in a network namespace of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from skerry.errors import UnavailableError
from skerry.testkit.real.namespaces import PATH, Namespace, new_namespace

pytestmark = pytest.mark.system

ADDRESS = "169.254.20.10"
ROOT = Path(__file__).parents[2]


@dataclass
class Gateway:
    namespace: Namespace
    processes: list[subprocess.Popen[bytes]]
    upstream: subprocess.Popen[bytes]
    resolv_conf: Path

    def begin(self, *argv: str) -> subprocess.Popen[bytes]:
        made = subprocess.Popen([*self.namespace.prefix, *argv], env={**os.environ, "PATH": PATH})
        self.processes.append(made)
        return made

    def ask(self, *words: str) -> list[str]:
        """What `kdig +short` prints, sorted."""
        return sorted(line for line in self.told("+short", *words).splitlines() if line)

    def told(self, *words: str) -> str:
        return self.namespace.run("kdig", f"@{ADDRESS}", "+retry=0", "+time=8", *words)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    for program in ("kdig", "dnsmasq"):
        if shutil.which(program, path=PATH) is None:
            pytest.skip(f"{program} is not installed")
    try:
        namespace = new_namespace("dns")
    except UnavailableError as error:
        pytest.skip(str(error))
    processes: list[subprocess.Popen[bytes]] = []
    try:
        dnsmasq = [
            "dnsmasq",
            *("--keep-in-foreground", "--no-resolv", "--no-hosts", "--bind-interfaces", "--user=root", "--pid-file"),
            *("--conf-file=/dev/null", "--listen-address=127.0.0.53", "--local-ttl=60"),
            *("--address=/www.example.com/192.0.2.7", "--local=/example.com/", "--auth-ttl=60"),
        ]
        processes.append(subprocess.Popen([*namespace.prefix, *dnsmasq], env={**os.environ, "PATH": PATH}))
        resolv_conf = tmp_path / "resolv.conf"
        resolv_conf.write_text("nameserver 127.0.0.53\nsearch lan\n")
        argv = [sys.executable, "-m", "tests.system.cluster_dns_process", ADDRESS, str(resolv_conf)]
        served = subprocess.Popen([*namespace.prefix, *argv], stdout=subprocess.PIPE, cwd=ROOT)
        processes.append(served)
        assert served.stdout is not None and served.stdout.readline() == b"ready\n"
        yield Gateway(namespace, processes, processes[0], resolv_conf)
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        namespace.close()


def test_kdig_is_answered_as_the_specification_has_it(gateway: Gateway) -> None:
    assert gateway.ask("web.d.svc.cluster.local") == ["10.96.0.7"]
    assert gateway.ask("+tcp", "web.d.svc.cluster.local") == ["10.96.0.7"]
    assert gateway.ask("db.d.svc.cluster.local") == ["10.1.0.5", "10.2.0.1", "10.2.0.2"]
    assert gateway.ask("first.db.d.svc.cluster.local") == ["10.2.0.1"]
    assert gateway.ask("SRV", "_http._tcp.web.d.svc.cluster.local") == ["0 100 80 web.d.svc.cluster.local."]
    assert gateway.ask("-x", "10.96.0.7") == ["web.d.svc.cluster.local."]
    assert gateway.ask("10-1-0-5.d.pod.cluster.local") == ["10.1.0.5"]
    assert gateway.ask("TXT", "dns-version.cluster.local") == ['"1.1.0"']
    none = gateway.told("nobody.d.svc.cluster.local")
    assert "status: NXDOMAIN" in none and "SOA" in none
    srv = gateway.told("SRV", "_http._tcp.web.d.svc.cluster.local")
    assert "WARNING" not in srv and "ADDITIONAL: 1" in srv
    # Too many for one datagram: kdig asks again over TCP by itself.
    assert len(gateway.ask("many.d.svc.cluster.local")) == 89


def test_others_are_asked_and_what_they_said_outlives_them(gateway: Gateway) -> None:
    assert gateway.ask("www.example.com") == ["192.0.2.7"]
    assert gateway.ask("far.d.svc.cluster.local") == ["192.0.2.7", "www.example.com."]
    assert "status: NXDOMAIN" in gateway.told("nothing.example.com")
    gateway.upstream.kill()
    gateway.upstream.wait()
    assert gateway.ask("www.example.com") == ["192.0.2.7"]
    assert gateway.ask("web.d.svc.cluster.local") == ["10.96.0.7"]
    assert "status: SERVFAIL" in gateway.told("new.example.org")


DNSMASQ = ("dnsmasq", "--keep-in-foreground", "--no-hosts", "--bind-interfaces", "--user=root", "--pid-file")


def until(level: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 90
    while not level():
        assert time.monotonic() < end, what
        time.sleep(0.2)


def test_a_server_that_is_silent_costs_one_question_and_one_that_refuses_none(gateway: Gateway) -> None:
    gateway.begin(*DNSMASQ, "--no-resolv", "--conf-file=/dev/null", "--listen-address=127.0.0.54")
    gateway.resolv_conf.write_text("nameserver 127.0.0.54\nnameserver 127.0.0.53\n")
    until(
        lambda: "REFUSED" in gateway.namespace.run("kdig", "@127.0.0.54", "x.example.net"), "a router without a link"
    )
    assert gateway.ask("www.example.com") == ["192.0.2.7"]
    silent = gateway.begin(*DNSMASQ, "--no-resolv", "--conf-file=/dev/null", "--listen-address=127.0.0.55")
    until(lambda: "REFUSED" in gateway.namespace.run("kdig", "@127.0.0.55", "x.example.net"), "it listens")
    silent.send_signal(signal.SIGSTOP)
    gateway.resolv_conf.write_text("nameserver 127.0.0.55\nnameserver 127.0.0.53\n")
    gateway.told("first.example.com")
    began = time.monotonic()
    for number in range(5):
        assert "status: NXDOMAIN" in gateway.told(f"n{number}.example.com")
    assert time.monotonic() - began < 4.0, "it is asked last now"
    # Nobody left: what was known is told, and nobody waits for the rest.
    gateway.upstream.send_signal(signal.SIGSTOP)
    gateway.told("new.example.org")
    began = time.monotonic()
    assert "status: SERVFAIL" in gateway.told("newer.example.org")
    assert gateway.ask("web.d.svc.cluster.local") == ["10.96.0.7"]
    assert time.monotonic() - began < 2.0


def test_servers_are_asked_over_ipv6_and_what_they_say_of_it_is_told(gateway: Gateway) -> None:
    six = ("--listen-address=::1", "--no-resolv", "--conf-file=/dev/null", "--local=/six.example/")
    gateway.begin(*DNSMASQ, *six, "--address=/www.six.example/2001:db8::7", "--local-ttl=60")
    gateway.resolv_conf.write_text("nameserver ::1\n")
    until(lambda: gateway.ask("AAAA", "www.six.example") == ["2001:db8::7"], "it is answered over IPv6")
    assert gateway.ask("A", "www.six.example") == []
    assert gateway.ask("+tcp", "AAAA", "www.six.example") == ["2001:db8::7"]


def test_a_machine_whose_own_resolver_asks_us_goes_in_no_circle(gateway: Gateway) -> None:
    back = ("--listen-address=127.0.0.54", f"--server={ADDRESS}", "--no-resolv", "--conf-file=/dev/null")
    gateway.begin(*DNSMASQ, *back)
    gateway.resolv_conf.write_text("nameserver 127.0.0.54\n")
    until(lambda: "status: REFUSED" in gateway.told("x.example.org"), "the circle is seen")
    assert gateway.ask("web.d.svc.cluster.local") == ["10.96.0.7"]
    gateway.resolv_conf.write_text("nameserver 127.0.0.53\n")
    until(lambda: gateway.ask("www.example.com") == ["192.0.2.7"], "others are asked again")
