"""Why nobody could be reached."""

from __future__ import annotations

import errno
import socket

import pytest

from edgecore.pods.dialing import dial_fault, place_of


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.1', 80)"), "connection refused"),
        (OSError(errno.EHOSTUNREACH, "x"), "no route to host"),
        (OSError(errno.ENETUNREACH, "x"), "network is unreachable"),
    ],
)
def test_the_kernels_words_stand_and_asyncios_do_not(error: OSError, words: str) -> None:
    assert dial_fault("10.0.0.1", 80, error) == f"dial tcp 10.0.0.1:80: connect: {words}"
    assert dial_fault("::1", 80, error, network="tcp6") == f"dial tcp6 [::1]:80: connect: {words}"


def test_a_name_that_nobody_knows_is_said_as_one() -> None:
    """Its number is of another table than the kernel's."""
    error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert dial_fault("nope.example", 80, error) == "dial tcp: lookup nope.example: no such host"


def test_who_did_not_answer_in_time_did_not() -> None:
    for error in (TimeoutError(), TimeoutError(errno.ETIMEDOUT, "x"), OSError()):
        assert dial_fault("10.0.0.1", 80, error) == "dial tcp 10.0.0.1:80: i/o timeout"


def test_what_makes_no_sense_is_told_as_it_is() -> None:
    assert dial_fault("a\0b", 80, ValueError("embedded null byte")) == "dial tcp a\0b:80: embedded null byte"
    assert place_of("fe80::1", 443) == "[fe80::1]:443"
