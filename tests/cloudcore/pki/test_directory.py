import datetime
import ipaddress
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from cloudcore.pki.certificates import served_names, subject_of
from cloudcore.pki.directory import (
    admin_identity,
    keep_pki,
    new_material,
    open_pki,
    refresh_server,
    reset_key,
    retire,
    rotate,
)
from cloudcore.pki.serving import addresses_in, local_names
from skerry.errors import NotFoundError, UnavailableError
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
    pki.server_file(pki.authority).write_text("x")
    assert refresh_server(pki, names=["b"], now=NOW)
    assert mode(pki.server_file(pki.authority)) == 0o600


def test_the_key_of_stateless_resets_is_the_hubs_own_and_stays(tmp_path: Path):
    pki = open_pki(tmp_path, now=NOW)
    key = reset_key(pki)
    assert len(key) == 32
    assert reset_key(rotate(tmp_path, now=NOW + DAY)) == key
    assert mode(tmp_path / "pki" / "quic-reset.key") == 0o600
    (tmp_path / "pki" / "quic-reset.key").write_bytes(b"torn")
    assert reset_key(pki) not in {key, b"torn"}
    assert reset_key(keep_pki(tmp_path / "replica", new_material(now=NOW))) != key


@pytest.mark.parametrize("kind", ["none", "empty", "garbage", "anothers"])
def test_what_is_no_certificate_of_ours_is_made_anew(tmp_path: Path, kind: str):
    pki = open_pki(tmp_path / "one", now=NOW)
    path = pki.directory / "admin.pem"
    admin_identity(pki, now=NOW)
    if kind == "anothers":
        admin_identity(open_pki(tmp_path / "two", now=NOW), now=NOW)
        path.write_bytes((tmp_path / "two" / "pki" / "admin.pem").read_bytes())
    elif kind == "none":
        path.unlink()
    else:
        path.write_bytes(
            b"" if kind == "empty" else b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
        )
    before = path.read_bytes() if path.exists() else b""
    made = admin_identity(pki, now=NOW)
    assert made.certificate_pem.encode() not in before
    assert admin_identity(pki, now=NOW) == made, "and kept"


def test_a_new_authority_signs_and_the_old_one_stays_good_until_it_is_retired(tmp_path: Path):
    first = open_pki(tmp_path, now=NOW)
    admin = admin_identity(first, now=NOW)
    second = rotate(tmp_path, now=NOW + DAY)
    assert second.bundle_pem == open_pki(tmp_path, now=NOW).bundle_pem
    assert [each.id for each in second.authorities] == [second.authority.id, first.authority.id]
    assert second.authority.id != first.authority.id
    assert second.token_keys.pem == first.token_keys.pem
    assert second.bundle_pem == second.authority.pem + first.authority.pem
    assert admin_identity(second, now=NOW) != admin, "signed anew"
    third = rotate(tmp_path, now=NOW + 2 * DAY)
    assert [each.id for each in third.former] == [second.authority.id, first.authority.id]
    assert [each.id for each in retire(tmp_path, first.authority.id).former] == [second.authority.id]
    with pytest.raises(NotFoundError, match="no former authority"):
        retire(tmp_path, third.authority.id)
    keys = [*(tmp_path / "pki" / "former").iterdir(), tmp_path / "pki" / "ca.key"]
    assert {mode(path) for path in keys} == {0o600}


def test_each_authority_signs_a_server_certificate_with_its_own_name(tmp_path: Path):
    open_pki(tmp_path, now=NOW)
    pki = rotate(tmp_path, now=NOW)
    assert refresh_server(pki, names=["a"], now=NOW)
    assert not refresh_server(pki, names=["a"], now=NOW)
    for authority in pki.authorities:
        certificate = x509.load_pem_x509_certificate(pki.server_file(authority).read_bytes())
        certificate.verify_directly_issued_by(authority.certificate)
        assert served_names(certificate) == {"a", f"ca-{authority.id}.hub.skerry.internal"}


@pytest.mark.parametrize("step", ["nothing", "the former one", "the intent", "the key", "the certificate"])
def test_a_rotation_that_was_cut_off_is_finished_or_forgotten(tmp_path: Path, step: str):
    before = open_pki(tmp_path, now=NOW)
    done = ["nothing", "the former one", "the intent", "the key", "the certificate"].index(step)
    shutil.copytree(tmp_path / "pki", tmp_path / "whole" / "pki")
    whole = rotate(tmp_path / "whole", now=NOW)
    pki = tmp_path / "pki"
    if done >= 1:
        shutil.copytree(tmp_path / "whole" / "pki" / "former", pki / "former")
    if done >= 2:
        key = (tmp_path / "whole" / "pki" / "ca.key").read_text()
        (pki / "rotation.pem").write_text(key + whole.authority.pem)
    if done >= 3:
        shutil.copy(tmp_path / "whole" / "pki" / "ca.key", pki / "ca.key")
    if done >= 4:
        shutil.copy(tmp_path / "whole" / "pki" / "ca.crt", pki / "ca.crt")
    found = open_pki(tmp_path, now=NOW)
    wanted = whole if done >= 2 else before
    assert [each.id for each in found.authorities] == [each.id for each in wanted.authorities]
    assert not (pki / "rotation.pem").exists()


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

    assert verify(pki.server_file(pki.authority).name, "sslserver", "-verify_hostname", "cloud.example")
    assert verify(pki.server_file(pki.authority).name, "sslserver", "-verify_ip", "10.0.0.1")
    assert not verify(pki.server_file(pki.authority).name, "sslserver", "-verify_hostname", "other.example")
    assert not verify(pki.server_file(pki.authority).name, "sslclient")
    assert verify("admin.pem", "sslclient")
    assert not verify("admin.pem", "sslserver")
    certificate = x509.load_pem_x509_certificate(pki.server_file(pki.authority).read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("10.0.0.1")]


def test_the_kernels_tables_give_this_machines_addresses():
    fib = "  |-- 10.1.2.0\n     /24 link UNICAST\n  |-- 10.1.2.3\n     /32 host LOCAL\n"
    six = "fd000000000000000000000000000001 02 40 00 80 eth0\nfe800000000000000000000000000001 02 40 20 80 eth0\n"
    assert addresses_in(fib_trie=fib, if_inet6=six) == {"10.1.2.3", "fd00::1"}
    assert {"localhost", "127.0.0.1", "::1"} <= local_names()
