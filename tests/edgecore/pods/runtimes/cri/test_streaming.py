"""How the end of a command is read. The frames' other side is a real containerd's, in tests/system."""

from __future__ import annotations

import asyncio
import json
from typing import cast

import pytest

from edgecore.pods.port import Streamed
from edgecore.pods.runtimes.cri.streaming import RemoteStream, exit_code, open_stream
from skerry.errors import InvalidError, NotFoundError, UnavailableError
from skerry.wire import spdy


def status(**fields: object) -> bytes:
    return json.dumps({"metadata": {}, **fields}).encode()


def test_success_is_zero_and_a_code_is_told() -> None:
    assert exit_code(status(status="Success")) == 0
    causes = [{"reason": "ExitCode", "message": "42"}]
    failed = status(status="Failure", reason="NonZeroExitCode", details={"causes": causes})
    assert exit_code(failed) == 42


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (status(status="Failure", message="exec failed: no such file"), InvalidError),
        (status(status="Failure", code=404, message="container not found"), NotFoundError),
        (b"nonsense", UnavailableError),
        (b"[1]", UnavailableError),
    ],
)
def test_what_is_no_code_is_an_error(said: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        exit_code(said)


def test_what_the_runtime_puts_before_its_words_is_left_to_who_tells_the_client() -> None:
    """Who ran a program that is not there read the same words twice."""
    said = 'failed to exec in container: OCI runtime exec failed: exec: "nope": executable file not found in $PATH'
    whole = f"Internal error occurred: error executing command in container: {said}"
    with pytest.raises(InvalidError) as caught:
        exit_code(status(status="Failure", reason="InternalError", code=500, message=whole))
    assert str(caught.value) == said


async def test_streams_over_anything_but_http_are_refused() -> None:
    with pytest.raises(InvalidError, match="over http"):
        await open_stream("https://127.0.0.1:1/exec/x", Streamed())


def fed(*frames: bytes) -> RemoteStream:
    """A stream whose other side has said this, and is gone."""
    reader = asyncio.StreamReader()
    for frame in frames:
        reader.feed_data(frame)
    reader.feed_eof()
    return RemoteStream(reader, cast("asyncio.StreamWriter", None), Streamed())


def reply(stream: int) -> bytes:
    return spdy.control_frame(spdy.SYN_REPLY, stream.to_bytes(4, "big") + b"headers")


async def test_a_stream_is_open_when_each_of_its_parts_was_answered() -> None:
    opened = fed(reply(1), reply(5), reply(3), spdy.data_frame(3, b"hello"))
    await opened.accepted()
    assert await anext(opened.output()) == (1, b"hello")


async def test_a_stream_of_which_a_part_was_not_answered_is_not_open() -> None:
    with pytest.raises(asyncio.IncompleteReadError):
        await fed(reply(1), reply(5)).accepted()
    with pytest.raises(UnavailableError, match="refused"):
        await fed(reply(1), spdy.control_frame(spdy.RST_STREAM, bytes(8))).accepted()
    with pytest.raises(UnavailableError, match="before it was opened"):
        await fed(reply(1), spdy.data_frame(3, b"hello")).accepted()
