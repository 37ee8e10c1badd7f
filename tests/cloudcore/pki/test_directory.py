import datetime
import ipaddress
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from cloudcore.pki.certificates import subject_of
from cloudcore.pki.directory import admin_identity, open_pki, refresh_server
from cloudcore.pki.serving import addresses_in, local_names
from skerry.errors import UnavailableError
from skerry.objects.enrolment import der_of_pem

NOW = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_start_makes_a_ca_and_later_ones_keep_it(tmp_path: Path):
    first = open_pki(tmp_path, now=NOW)
    again = open_pki(tmp_path, now=NOW + DAY)
    assert first.authority.pem == again.authority.pem
    assert first.authority.pin == again.authority.pin
    assert [mode(tmp_path / "pki" / name) for name in ("ca.key", "sa.key", "ca.crt")] == [0o600, 0o600, 0o644]
    assert mode(tmp_path / "pki") == 0o700
    assert [path.name for path in tmp_path.iterdir()] == ["pki"]


def test_a_start_that_was_cut_off_leaves_nothing_that_counts(tmp_path: Path):
    (tmp_path / ".pki-new-x").mkdir()
    (tmp_path / ".pki-new-x" / "ca.key").write_text("half")
    open_pki(tmp_path, now=NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["pki"]


@pytest.mark.parametrize("name", ["ca.key", "ca.crt", "sa.key"])
@pytest.mark.parametrize("damage", ["gone", "garbage", "another"])
def test_a_damaged_ca_is_said_and_never_made_anew(tmp_path: Path, name: str, damage: str):
    open_pki(tmp_path, now=NOW)
    path = tmp_path / "pki" / name
    if damage == "gone":
        path.unlink()
    elif damage == "garbage":
        path.write_text("x")
    else:
        open_pki(tmp_path / "other", now=NOW)
        path.write_bytes((tmp_path / "other" / "pki" / name).read_bytes())
        if name == "sa.key":
            open_pki(tmp_path, now=NOW)  # another signing key is whole in itself
            return
    with pytest.raises(UnavailableError, match=str(tmp_path)):
        open_pki(tmp_path, now=NOW)


def test_the_server_certificate_follows_its_names_and_its_age(tmp_path: Path):
    pki = open_pki(tmp_path, now=NOW)
    assert refresh_server(pki, names=["a", "10.0.0.1", "0:0::1"], now=NOW)
    assert not refresh_server(pki, names=["a", "::1"], now=NOW + 50 * DAY), "fewer names are no reason"
    assert refresh_server(pki, names=["a", "b"], now=NOW)
    assert refresh_server(pki, names=["b"], now=NOW + 61 * DAY), "two thirds through"
    pki.server_file.write_text("x")
    assert refresh_server(pki, names=["b"], now=NOW)
    assert mode(pki.server_file) == 0o600


def test_the_administrators_certificate_is_kept_while_it_is_good(tmp_path: Path):
    pki = open_pki(tmp_path, now=NOW)
    issued = admin_identity(pki, now=NOW)
    assert admin_identity(pki, now=NOW + DAY) == issued
    subject = subject_of(der_of_pem(issued.certificate_pem))
    assert (subject.user, subject.groups) == ("skerry:admin", ("system:masters",))
    assert admin_identity(pki, now=NOW + 3000 * DAY) != issued


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_agrees_that_the_chain_holds_and_for_what(tmp_path: Path):
    pki = open_pki(tmp_path, now=NOW)
    refresh_server(pki, names=["cloud.example", "10.0.0.1"], now=NOW)
    admin_identity(pki, now=NOW)
    at = str(int(NOW.timestamp()))

    def verify(name: str, purpose: str, *more: str) -> bool:
        command = ["openssl", "verify", "-x509_strict", "-attime", at, "-CAfile", str(pki.ca_file)]
        done = subprocess.run([*command, "-purpose", purpose, *more, str(pki.directory / name)], capture_output=True)
        return done.returncode == 0

    assert verify("server.pem", "sslserver", "-verify_hostname", "cloud.example")
    assert verify("server.pem", "sslserver", "-verify_ip", "10.0.0.1")
    assert not verify("server.pem", "sslserver", "-verify_hostname", "other.example")
    assert not verify("server.pem", "sslclient")
    assert verify("admin.pem", "sslclient")
    assert not verify("admin.pem", "sslserver")
    certificate = x509.load_pem_x509_certificate(pki.server_file.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("10.0.0.1")]


def test_the_kernels_tables_give_this_machines_addresses():
    fib = "  |-- 10.1.2.0\n     /24 link UNICAST\n  |-- 10.1.2.3\n     /32 host LOCAL\n"
    six = "fd000000000000000000000000000001 02 40 00 80 eth0\nfe800000000000000000000000000001 02 40 20 80 eth0\n"
    assert addresses_in(fib_trie=fib, if_inet6=six) == {"10.1.2.3", "fd00::1"}
    assert {"localhost", "127.0.0.1", "::1"} <= local_names()
