"""What is handed over at a start: told by three variables, for one process alone."""

from __future__ import annotations

import os
import socket

import pytest

from skerry.activation import Passed, socket_of, take_passed
from skerry.errors import InvalidError


def test_sockets_are_counted_from_the_third_and_named_in_order() -> None:
    environ = {"LISTEN_PID": "7", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "dns:tls", "HOME": "/"}
    assert take_passed(environ, 7) == [Passed(name="dns", number=3), Passed(name="tls", number=4)]
    assert environ == {"HOME": "/"}, "programs that are started from here were handed nothing"


def test_names_may_be_missing() -> None:
    assert take_passed({"LISTEN_PID": "7", "LISTEN_FDS": "1"}, 7) == [Passed(name="", number=3)]


def test_what_another_process_was_handed_is_not_ours() -> None:
    environ = {"LISTEN_PID": "8", "LISTEN_FDS": "1"}
    assert take_passed(environ, 7) == [] and environ == {}
    assert take_passed({}, 7) == []


@pytest.mark.parametrize(("fds", "names"), [("many", ""), ("-1", ""), ("99999", ""), ("2", "one"), ("1", "one:two")])
def test_what_makes_no_sense_is_named(fds: str, names: str) -> None:
    with pytest.raises(InvalidError, match="LISTEN_FD"):
        take_passed({"LISTEN_PID": "7", "LISTEN_FDS": fds, "LISTEN_FDNAMES": names}, 7)


def test_a_socket_is_known_by_its_descriptor_and_goes_to_no_child() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        copy = os.dup(held.fileno())
        os.set_inheritable(copy, True)
        with socket_of(Passed(name="", number=copy)) as known:
            assert known.getsockname() == held.getsockname() and known.type == socket.SOCK_DGRAM
            assert not os.get_inheritable(copy)


def test_a_descriptor_that_is_no_socket_is_named() -> None:
    reading, writing = os.pipe()
    try:
        with pytest.raises(InvalidError, match=f"descriptor {reading} is no socket"):
            socket_of(Passed(name="", number=reading))
    finally:
        os.close(reading)
        os.close(writing)
    with pytest.raises(InvalidError, match="is no socket"):
        socket_of(Passed(name="", number=reading))
