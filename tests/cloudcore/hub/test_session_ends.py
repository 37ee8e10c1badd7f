"""What is said of a session that an error ended."""

from __future__ import annotations

from cloudcore.hub.sessions import told_of
from skerry.errors import ProtocolError, UnavailableError


def test_what_is_known_to_go_wrong_is_told_in_words_alone() -> None:
    error = ExceptionGroup("tasks", [UnavailableError("the store does not answer"), ProtocolError("a frame is cut")])
    assert told_of(error) == ("the store does not answer; a frame is cut", None)


def test_what_nobody_foresaw_has_its_traceback_and_words_nonetheless() -> None:
    error = ExceptionGroup("tasks", [KeyError()])
    assert told_of(error) == ("KeyError", error)
