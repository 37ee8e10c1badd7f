"""What a server reads beside its zones, and what stays when a file can't be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudcore.dns.equipment import Equipment
from cloudcore.dns.keys import generate
from cloudcore.dns.settings import DnsSettings
from skerry.dns.names import name_of
from skerry.errors import InvalidError, UnavailableError

LINE = "k1. hmac-sha256 c2VjcmV0c2VjcmV0c2VjcmV0"


def test_a_file_that_is_caught_half_written_leaves_what_was_read_before_and_all_else_is_read(tmp_path: Path) -> None:
    cookies, transfer, signing = tmp_path / "cookies", tmp_path / "transfer", tmp_path / "signing"
    cookies.write_text("00" * 16)
    transfer.write_text(LINE)
    generate(signing, "example.com")
    settings = DnsSettings(cookie_keys=str(cookies), transfer_keys=str(transfer), dnssec_keys=str(signing))
    equipment = Equipment(settings)
    assert not equipment.read(first=True)
    cookies.write_text("11" * 16)
    transfer.write_text(LINE[:-10])
    (signing / "example.com+1.active.pem").write_text("-----BEGIN")
    faults = equipment.read()
    assert len(faults) == 2 and all("what it said before holds" in each for each in faults)
    assert str(transfer) in faults[0] and str(signing) in faults[1]
    assert equipment.cookie_keys == [b"\x11" * 16]
    assert [*equipment.access.keys] == [name_of("k1.")] and [*equipment.signing] == [name_of("example.com.")]
    transfer.write_text(LINE.replace("k1", "k2"))
    (signing / "example.com+1.active.pem").unlink()
    assert not equipment.read() and [*equipment.access.keys] == [name_of("k2.")]


@pytest.mark.parametrize(("said", "error"), [("half", InvalidError), (None, UnavailableError)])
def test_a_server_does_not_start_without_what_it_was_told_to_have(
    tmp_path: Path, said: str | None, error: type[Exception]
) -> None:
    file = tmp_path / "transfer"
    if said is not None:
        file.write_text(said)
    with pytest.raises(error, match="--transfer-keys"):
        Equipment(DnsSettings(transfer_keys=str(file))).read(first=True)
