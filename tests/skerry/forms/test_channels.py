"""Channels of every subprotocol, and a Status as a kubelet makes it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import BadRequestError
from skerry.forms.channels import (
    REMOTE_COMMAND,
    agreed,
    internal_error,
    offered_in,
    resize_of,
    shown_status,
    status_of,
)
from skerry.objects.pod_streams import Exited, Resized


@given(st.sampled_from(sorted(REMOTE_COMMAND)), st.integers(0, 4), st.binary(max_size=50))
def test_what_is_said_is_heard(name: str, channel: int, data: bytes) -> None:
    channels = REMOTE_COMMAND[name]
    message = channels.encode(channel, data)
    assert isinstance(message, str) is ("base64" in name)
    assert channels.decode(message) == (channel, data)
    assert channels.decode(b"") is None


def test_what_is_no_base64_is_refused() -> None:
    with pytest.raises(BadRequestError, match="base64"):
        REMOTE_COMMAND["base64.channel.k8s.io"].decode("0?")


def test_only_v5_closes_channels() -> None:
    assert REMOTE_COMMAND["v5.channel.k8s.io"].closed(255, b"\0") == 0
    assert REMOTE_COMMAND["v5.channel.k8s.io"].closed(255, b"") is None
    assert REMOTE_COMMAND["v5.channel.k8s.io"].closed(0, b"\0") is None
    assert REMOTE_COMMAND["v4.channel.k8s.io"].closed(255, b"\0") is None


def test_the_clients_order_of_names_counts() -> None:
    assert agreed(["x", "v4.channel.k8s.io", "v5.channel.k8s.io"], REMOTE_COMMAND) == "v4.channel.k8s.io"
    assert agreed(["x"], REMOTE_COMMAND) is None
    assert offered_in(["a, b", "c", ""]) == ["a", "b", "c"]


def test_sizes_that_make_no_sense_are_passed_over() -> None:
    assert resize_of(b'{"Width":80,"Height":24}') == Resized(width=80, height=24)
    for nonsense in (b"", b"{", b'{"Width":0,"Height":24}', b'{"Width":80}', b'{"Width":65536,"Height":1}', b"[]"):
        assert resize_of(nonsense) is None


def test_an_exit_code_is_a_cause_and_a_failure_an_internal_error() -> None:
    assert status_of(Exited(exit_code=0), ("ls",)) == {"metadata": {}, "status": "Success"}
    failed = status_of(Exited(exit_code=3), ("sh", "-c", "exit 3"))
    assert failed["reason"] == "NonZeroExitCode"
    assert failed["details"] == {"causes": [{"reason": "ExitCode", "message": "3"}]}
    ended = "error executing command [sh -c exit 3], exit code 3"
    assert failed["message"] == f"command terminated with non-zero exit code: {ended}"
    missing = status_of(Exited(exit_code=0, failure="no such command"), ("ls",))
    assert missing == internal_error("error executing command in container: no such command")
    assert "attaching to container: x" in str(status_of(Exited(exit_code=0, failure="x"), ()))
    assert shown_status(failed, has_status=False).endswith(b"exit code 3")
    assert shown_status(status_of(Exited(exit_code=0), ()), has_status=False) == b""
