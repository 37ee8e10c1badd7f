"""What is said to a gateway about a pod, and the messages of an exec."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import BadRequestError, ProtocolError
from skerry.objects.pod_streams import (
    PIECE_BYTES_MAX,
    Begun,
    Exited,
    Forward,
    Input,
    InputEnded,
    InputRead,
    Message,
    Messages,
    Output,
    Resized,
    Session,
    Whose,
    encode,
)

WHOSE = Whose(namespace="ns", pod="web", uid="u", by="jane")
SAID: list[Message] = [
    Begun(),
    Input(data=b"ls\n"),
    InputEnded(),
    InputRead(count=70_000),
    Output(channel=1, data=b"out"),
    Output(channel=2, data=b"err"),
    Resized(width=300, height=50),
    Exited(exit_code=3),
    Exited(exit_code=0, failure="no such command: ü"),
]


@given(st.lists(st.sampled_from(SAID), max_size=20), st.integers(1, 30))
def test_messages_arrive_as_they_were_in_whatever_pieces(said: list[Message], piece: int) -> None:
    data = b"".join(encode(message) for message in said)
    reader = Messages()
    heard: list[Message] = []
    for at in range(0, len(data), piece):
        heard += reader.receive(data[at : at + piece])
    assert heard == said


def test_the_bytes_of_messages_do_not_change() -> None:
    assert b"".join(encode(message) for message in SAID[:8]).hex() == (
        "00000000" + "010000036c730a" + "06000000" + "0700000400011170" + "020000036f7574" + "03000003657272"
        "05000004012c0032" + "0400001b" + b'{"exitCode":3,"failure":""}'.hex()
    )


def test_what_only_newer_ones_know_is_passed_over_and_nonsense_refused() -> None:
    assert Messages().receive(b"\x63\0\0\1x" + encode(Begun())) == [Begun()]
    for nonsense in (b"\1" + (PIECE_BYTES_MAX + 1).to_bytes(3, "big"), b"\4\0\0\1x", b"\4\0\0\2[]"):
        with pytest.raises(ProtocolError):
            Messages().receive(nonsense)


def test_what_is_asked_travels() -> None:
    session = Session(whose=WHOSE, container="c", command=("sh", "-c", "x"), stdin=True, stdout=True, tty=True)
    assert Session.of(session.params()) == session
    assert (session.kind, Session(whose=WHOSE, container="c").kind) == ("exec", "attach")
    forward = Forward(whose=WHOSE, port=80)
    assert Forward.of(forward.params()) == forward


@pytest.mark.parametrize("change", [{"pod": ""}, {"namespace": ""}])
def test_what_names_no_pod_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(BadRequestError, match="required"):
        Session.of({**Session(whose=WHOSE, container="c").params(), **change})
    with pytest.raises(BadRequestError, match="required"):
        Forward.of({**Forward(whose=WHOSE, port=80).params(), **change})
    with pytest.raises(BadRequestError, match="container"):
        Session.of(Session(whose=WHOSE, container="").params())
    with pytest.raises(BadRequestError, match="port 0"):
        Forward.of(Forward(whose=WHOSE, port=0).params())
