"""What those say who judge zones for a living: zonemaster and dnsviz, of a signed zone with services on two servers
of a net of its own, with a root and a parent that are ours as well."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from skerry.errors import UnavailableError
from skerry.testkit.real.namespaces import Namespace, new_namespace

pytestmark = pytest.mark.system

ONE, OTHER, ABOVE = "198.41.0.1", "199.7.83.1", "192.33.4.1"
"""Addresses that are nobody's in this net, and of no range that judges complain of."""
ZONE = f"""
$TTL 3600
@ SOA ns1 hostmaster 2026112901 14400 3600 1209600 300
@ NS ns1
@ NS ns2
@ MX 10 mail
@ TXT "v=spf1 -all"
@ CAA 0 issue "ca.test"
ns1 A {ONE}
ns2 A {OTHER}
mail A {ONE}
www CNAME mail
*.w A {ONE}
a.b.ent A {ONE}
sub NS ns.sub
ns.sub A {ONE}
_sip._tcp SRV 1 2 5060 mail
"""
SERVICES = f"""
services:
  geo: {{endpoints: [{{address: {ONE}, region: eu}}, {{address: {OTHER}, region: us}}]}}
"""
HEAD = "$TTL 3600\n@ SOA ns.root. host.root. 1 14400 3600 1209600 300\n@ NS ns.root.\n"
ROOT = (
    HEAD.replace("@", ".")
    + f"ns.root. A {ABOVE}\ncom. NS ns.root.\n"
    + "1.0.41.198.in-addr.arpa. PTR ns1.example.com.\n1.83.7.199.in-addr.arpa. PTR ns2.example.com.\n"
)
COM = HEAD + f"example NS ns1.example\nexample NS ns2.example\nns1.example A {ONE}\nns2.example A {OTHER}\n"
ACCEPTED = ("IPv6", "No response from nameserver(s) on PTR")
"""Nobody has addresses of IPv6 here; and reverse names are asked for at the root that the world has."""


@dataclass
class Court:
    place: Namespace
    ds: str

    def judge(self, *command: str, given: str | None = None) -> str:
        done = subprocess.run(
            [*self.place.prefix, *command], input=given, capture_output=True, text=True, timeout=240
        )
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Generator[Court]:
    directory = tmp_path_factory.mktemp("judges")
    with ExitStack() as stack:
        try:
            place = new_namespace("judges")
        except UnavailableError as error:
            pytest.skip(str(error))
        stack.callback(place.close)
        for address in (ONE, OTHER, ABOVE):
            place.run("ip", "address", "add", f"{address}/32", "dev", "lo")
        command = [sys.executable, "-m", "skerry.cli.main", "dns", "keys", "generate", "example.com", "--keys"]
        made = subprocess.run([*command, str(directory / "keys")], capture_output=True, text=True, check=True)
        ds = made.stdout.partition(" DS ")[2].strip()
        zones = {"mine": {"example.com": ZONE}, "above": {"root": f"$ORIGIN .\n{ROOT}", "com": COM}}
        zones["above"]["com"] += f"example DS {ds}\n"
        logs: list[Path] = []
        for name, listen in (("mine", f"{ONE},{OTHER}"), ("above", ABOVE)):
            (directory / name / "zones").mkdir(parents=True)
            for origin, text in zones[name].items():
                (directory / name / "zones" / f"{origin}.zone").write_text(text)
            if name == "mine":
                (directory / name / "zones" / "example.com.services.yaml").write_text(SERVICES)
            logs.append(directory / name / "log")
            with logs[-1].open("wb") as log:
                flags = ["--zones", directory / name / "zones", "--listen", listen, "--port", "53", "--workers", "1"]
                flags += ["--control", directory / name / "control", "--state", directory / name / "state"]
                flags += ["--dnssec-keys", directory / "keys"] if name == "mine" else []
                server = [*place.prefix, sys.executable, "-m", "cloudcore.main", "dns", *map(str, flags)]
                process = subprocess.Popen(server, stderr=log)
            stack.callback(process.wait, timeout=20)
            stack.callback(process.send_signal, signal.SIGTERM)
        deadline = time.monotonic() + 60
        while not all(" port=" in log.read_text() for log in logs):
            assert time.monotonic() < deadline, [log.read_text() for log in logs]
            time.sleep(0.1)
        yield Court(place=place, ds=ds)


def test_zonemaster_finds_nothing_to_complain_of(court: Court) -> None:
    if shutil.which("zonemaster-cli") is None:
        pytest.skip("zonemaster-cli is not installed")
    command = ["zonemaster-cli", "--ns", f"ns1.example.com/{ONE}", "--ns", f"ns2.example.com/{OTHER}"]
    command += ["--ds", ",".join(court.ds.split()), "--no-ipv6", "--level", "NOTICE", "--no-progress", "example.com"]
    shown = court.judge(*command)
    assert "Level" in shown, shown
    found = [line for line in shown.splitlines() if line.strip() and line.lstrip()[0].isdigit()]
    assert [line for line in found if not any(word in line for word in ACCEPTED)] == [], shown


def test_dnsviz_finds_every_proof_good(court: Court) -> None:
    if shutil.which("dnsviz") is None:
        pytest.skip("dnsviz is not installed")
    servers = f"ns1.example.com={ONE},ns2.example.com={OTHER}"
    names = ["example.com", "www.example.com", "geo.example.com", "nobody.example.com", "x.w.example.com"]
    names += ["ent.example.com", "_sip._tcp.example.com"]
    command = ["dnsviz", "probe", "-4", "-A", "-x", f"example.com+:{servers}", "-N", f"example.com:{servers}"]
    probed = court.judge(*command, "-D", f"example.com:{court.ds}", *names)
    asked = probed[probed.index("{") : probed.rindex("}") + 1]
    told = court.judge("dnsviz", "grok", "-l", "warning", given=asked)
    assert '"code"' not in told, told[:3000]
    assert "nobody.example.com" in court.judge("dnsviz", "print", given=asked)
