"""A renewed certificate is read when it is whole, and until then the one before it is shown."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from cloudcore.pki.certificates import issue_server, new_authority
from edgecore.broker.serving import ServingFiles
from skerry.errors import InvalidError
from tests.system.certificates import NOW


def write(path: Path, *, key: bool = True) -> None:
    made = issue_server(new_authority(name="plant", now=NOW), names=["127.0.0.1"], now=NOW)
    (path / "c.pem").write_text(made.certificate_pem)
    if key:
        (path / "k.pem").write_text(made.key_pem)


def test_files_are_read_again_when_they_change_and_fit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path)
    serving = ServingFiles(str(tmp_path / "c.pem"), str(tmp_path / "k.pem"))
    first = serving.context()
    assert serving.context() is first
    write(tmp_path, key=False)
    with caplog.at_level(logging.ERROR):
        assert serving.context() is first
        assert serving.context() is first
    assert caplog.text.count("broker_certificate_unusable") == 1, "said once"
    (tmp_path / "c.pem").unlink()
    assert serving.context() is first
    write(tmp_path)
    assert serving.context() is not first


def test_files_that_can_not_be_used_at_the_start_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="--mqtt-listen-cert-file"):
        ServingFiles(str(tmp_path / "c.pem"), str(tmp_path / "k.pem"))
