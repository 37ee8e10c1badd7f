"""A renewed certificate is read when it is whole, and until then the one before it is shown."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

import pytest

from cloudcore.pki.certificates import issue_server, new_authority
from edgecore.broker.handshakes import Handshakes
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


def test_files_that_are_of_no_use_at_the_start_are_named_and_read_when_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    serving = ServingFiles(str(tmp_path / "c.pem"), str(tmp_path / "k.pem"))
    assert "--mqtt-listen-cert-file" in caplog.text
    with pytest.raises(InvalidError, match="--mqtt-listen-cert-file"):
        serving.context()
    write(tmp_path)
    assert serving.context() is serving.context()


async def test_who_comes_before_there_is_a_certificate_is_sent_away_and_the_broker_goes_on(tmp_path: Path) -> None:
    serving = ServingFiles(str(tmp_path / "c.pem"), str(tmp_path / "k.pem"))
    handshakes = Handshakes(serving.context, asyncio.Protocol)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(handshakes.protocol, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(host, port)
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""
    assert server.is_serving() and not handshakes.count
    writer.close()
    server.close()
