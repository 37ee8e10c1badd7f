"""Files that Devices name: which, and how they are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devices.credentials import (
    SECRET_BYTES_MAX,
    read_file,
    read_secret,
    refuse_elsewhere,
    refuse_files_elsewhere,
    tls_context,
)
from skerry.errors import InvalidError, UnavailableError


def test_what_is_no_file_with_an_end_is_not_read(tmp_path: Path) -> None:
    pipe, large, text, link = (tmp_path / name for name in ("pipe", "large", "text", "link"))
    os.mkfifo(pipe)
    large.write_bytes(b"x" * (SECRET_BYTES_MAX + 1))
    text.write_bytes(b"hush\n")
    link.symlink_to(pipe)
    for path, why in (
        (pipe, "no file with content"),
        (link, "no file with content"),
        (tmp_path, "no file with content"),
        (Path("/dev/zero"), "no file with content"),
        (large, "more than 65536 bytes"),
        (tmp_path / "none", "No such file"),
        (tmp_path / "none\0", "can't be read: embedded null byte"),
    ):
        with pytest.raises(UnavailableError, match=f"can't be read: .*{why.partition(': ')[2] or why}"):
            read_file(str(path))
        with pytest.raises(UnavailableError, match="can't be read"):
            tls_context(ca_file=str(path)) if path != large else read_file(str(path))
    assert (read_file(str(text)), read_secret(str(text))) == (b"hush\n", "hush")
    text.write_bytes(b"h\xfcsh")
    with pytest.raises(UnavailableError, match="is not UTF-8 text"):
        read_secret(str(text))


def test_files_lie_in_the_directory_by_name_and_with_links_followed(tmp_path: Path) -> None:
    given, other = tmp_path / "devices", tmp_path / "token"
    given.mkdir()
    other.write_text("hush")
    (given / "token").write_text("hush")
    (given / "out").symlink_to(other)
    (tmp_path / "in").symlink_to(given / "token")
    refuse_elsewhere(str(given / "token"), given, "f")
    refuse_elsewhere(str(other), None, "f")
    # A link from elsewhere could be laid anew between being looked at and being read.
    for path in (other, given / "out", tmp_path / "in", given / ".." / "devices" / "token", Path("token")):
        with pytest.raises(InvalidError, match=rf"^f: {path} is not in {given}"):
            refuse_elsewhere(str(path), given, "f")
    with pytest.raises(InvalidError, match=r"^spec\.tls\.keyFile: "):
        refuse_files_elsewhere({"tls": {"certFile": str(given / "token"), "keyFile": str(other)}}, given, "spec")


def test_tls_says_which_file_is_of_no_use(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("none")
    with pytest.raises(UnavailableError, match=f"{nothing} has no certificates"):
        tls_context(ca_file=str(nothing))
    with pytest.raises(UnavailableError, match=f"{nothing}: no certificate with its key"):
        tls_context(cert_file=str(nothing), key_file=str(nothing))
    with pytest.raises(UnavailableError, match=r"ca\.crt of the Secret has no"):
        tls_context(ca_pem="none")
    with pytest.raises(UnavailableError, match=r"tls\.crt and tls\.key of the Secret: no"):
        tls_context(chain_pem="none")
