"""Zones to Knot and NSD as secondaries: with a key, after a NOTIFY, whole and as changes; and to nobody else."""

from __future__ import annotations

import base64
import shutil
import time
from pathlib import Path

import dns.query
import dns.tsigkeyring
import dns.xfr
import dns.zone
import pytest

from tests.cloudcore.dns.conftest import ZONE
from tests.system.dns_peers import free_dns_port, knot, nsd
from tests.system.dns_process import dns_server, told

pytestmark = pytest.mark.system

SECRET = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
KEYS = f"xfr. hmac-sha256 {SECRET}\n"
KNOT = """
key:
  - id: xfr.
    algorithm: hmac-sha256
    secret: {secret}
remote:
  - id: ours
    address: 127.0.0.1@{port}
    key: xfr.
acl:
  - id: told
    key: xfr.
    action: notify
zone:
  - domain: example.com
    storage: {directory}
    master: ours
    acl: told
"""
NSD = """
key:
  name: "xfr."
  algorithm: hmac-sha256
  secret: "{secret}"
zone:
  name: "example.com"
  zonefile: "{directory}/got.zone"
  allow-notify: 127.0.0.1 xfr.
  request-xfr: 127.0.0.1@{port} xfr.
"""


def zone_with(serial: int) -> str:
    extra = "\n".join(f"r{number} A 192.0.2.{number % 250}" for number in range(3000))
    return ZONE.replace("host 7 ", f"host {serial} ") + extra + f"\nchanged TXT {serial}\n"


def within(seconds: float, port: int, wanted: str) -> str:
    deadline = time.monotonic() + seconds
    while True:
        shown = told(
            "kdig", "@127.0.0.1", "-p", str(port), "+short", "+time=2", "+retry=0", "TXT", "changed.example.com"
        )
        if wanted in shown or time.monotonic() > deadline:
            return shown
        time.sleep(0.1)


@pytest.fixture(autouse=True)
def programs() -> None:
    if any(shutil.which(program) is None for program in ("knotd", "nsd", "kdig")):
        pytest.skip("Knot and NSD are not installed")


def test_knot_and_nsd_follow_us(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(KEYS)
    ours, knots, nsds = free_dns_port(), free_dns_port(), free_dns_port()
    flags = ["--port", str(ours), "--transfer-keys", str(keys), "--notify", f"127.0.0.1@{knots},127.0.0.1@{nsds}"]
    fill = {"secret": SECRET, "port": ours}
    with (
        dns_server(tmp_path / "ours", *flags, zones={"example.com": zone_with(10)}) as server,
        knot(tmp_path / "knot", {}, port=knots, head=KNOT.format(directory=tmp_path / "knot", **fill)),
        nsd(tmp_path / "nsd", {}, port=nsds, head=NSD.format(directory=tmp_path / "nsd", **fill)),
    ):
        for port in (knots, nsds):
            assert '"10"' in within(30, port, '"10"')
        (server.zones / "example.com.zone").write_text(zone_with(11))
        assert "changed" in server.skerry("reload")
        for port in (knots, nsds):
            assert '"11"' in within(20, port, '"11"')
        log = (tmp_path / "knot" / "peer.log").read_text()
        assert "AXFR, incoming" in log and "IXFR, incoming" in log, log
        # Every record arrived as it is.
        for name, kind in (("example.com", "HTTPS"), ("own.example.com", "TYPE65280"), ("r2999.example.com", "A")):
            answers = {
                told("kdig", "@127.0.0.1", "-p", str(port), "+short", kind, name) for port in (ours, knots, nsds)
            }
            assert len(answers) == 1 and answers != {""}


def test_whole_zones_are_for_those_who_may_have_them(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(KEYS)
    with dns_server(tmp_path / "a", "--transfer-keys", str(keys), zones={"example.com": zone_with(10)}) as server:
        assert "REFUSED" in server.said("AXFR", "example.com")
        assert "BADKEY" in server.said("-y", f"hmac-sha256:other:{SECRET}", "SOA", "example.com").upper()
        wrong = base64.b64encode(b"x" * 32).decode()
        assert "BADSIG" in server.said("-y", f"hmac-sha256:xfr:{wrong}", "SOA", "example.com").upper()
        shown = server.said("-y", f"hmac-sha256:xfr:{SECRET}", "AXFR", "example.com")
        assert "r2999.example.com." in shown and "WARNING" not in shown and ";; ERROR" not in shown
        shown = server.said("-y", f"hmac-sha256:xfr:{SECRET}", "MX", "example.com")
        assert "mail.example.com." in shown and "WARNING" not in shown, "kdig has checked the signature"
        got = dns.zone.Zone("example.com", relativize=False)
        keyring = dns.tsigkeyring.from_text({"xfr.": ("hmac-sha256", SECRET)})
        query, _ = dns.xfr.make_query(got, keyring=keyring)
        dns.query.inbound_xfr("127.0.0.1", got, query, port=server.port)
        assert len(list(got.iterate_rdatas())) > 3000
    with dns_server(
        tmp_path / "b", "--allow-transfer", "127.0.0.0/8", zones={"example.com": zone_with(10)}
    ) as server:
        assert "r2999.example.com." in server.said("AXFR", "example.com")
        assert "NOTAUTH" in server.said("AXFR", "sub.example.com").upper()
        assert "SOA" in server.said("+notcp", "IXFR=10", "example.com")
        (server.zones / "example.com.zone").write_text(zone_with(12))
        server.skerry("reload")
        shown = server.said("+tcp", "IXFR=10", "example.com")
        assert '"10"' in shown and '"12"' in shown and "r2999" not in shown
        assert "r2999" in server.said("+tcp", "IXFR=5", "example.com"), "nobody knows what was in 5"
