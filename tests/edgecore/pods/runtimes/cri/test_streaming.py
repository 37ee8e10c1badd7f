"""How the end of a command is read. The frames' other side is a real containerd's, in tests/system."""

from __future__ import annotations

import json

import pytest

from edgecore.pods.port import Streamed
from edgecore.pods.runtimes.cri.streaming import exit_code, open_stream
from skerry.errors import InvalidError, NotFoundError, UnavailableError


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


async def test_streams_over_anything_but_http_are_refused() -> None:
    with pytest.raises(InvalidError, match="over http"):
        await open_stream("https://127.0.0.1:1/exec/x", Streamed())
