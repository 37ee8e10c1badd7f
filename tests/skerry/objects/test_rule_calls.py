"""What the cloud asks of gateways for rules, in its form on the stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import BadRequestError, UnavailableError
from skerry.objects.json import JsonObject
from skerry.objects.rule_calls import Publish, ServiceReply, ServiceRequest, call_of, climbs, end_to_end, reply_of

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,8}", fullmatch=True)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=20)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=4).map(tuple)


@given(st.sampled_from(["GET", "POST", "PURGE"]), st.integers(1, 65_535), HEADERS)
def test_a_request_is_read_as_it_was_written(method: str, port: int, headers: tuple[tuple[str, str], ...]) -> None:
    asked = ServiceRequest(method=method, port=port, target="/a%20b?x=1", headers=headers)
    assert call_of(asked.params()) == asked


@given(st.integers(200, 599), HEADERS, st.binary(max_size=50))
def test_a_reply_is_read_as_it_was_written(status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> None:
    told = ServiceReply(status=status, headers=headers, body=body)
    assert reply_of(told.encode()) == told


def test_a_message_to_publish_is_read_as_it_was_written() -> None:
    assert call_of(Publish(topic="a/b").params()) == Publish(topic="a/b")


ASKED: JsonObject = {"ask": "request", "method": "GET", "port": 80, "target": "/", "headers": []}


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"ask": "fly"},
        {"ask": "publish"},
        {"ask": "publish", "topic": "a/#"},
        ASKED | {"method": "GET /x"},
        ASKED | {"port": 0},
        ASKED | {"port": 65_536},
        ASKED | {"target": "http://elsewhere/"},
        ASKED | {"target": "/a b"},
        ASKED | {"target": "/a/../admin"},
        ASKED | {"target": "/a/%2e%2E/admin?x"},
        ASKED | {"target": "/a/..;x/admin"},
        ASKED | {"target": "/a/..%2fadmin"},
        ASKED | {"target": "/a/..%5cadmin"},
        ASKED | {"target": "/a/."},
        ASKED | {"target": "/\r\nX: y"},
        ASKED | {"headers": [["a b", "c"]]},
        ASKED | {"headers": [["a", "b\r\nc: d"]]},
        ASKED | {"headers": [["a"]]},
        ASKED | {"headers": ["a"]},
    ],
)
def test_calls_that_make_no_sense_are_refused(wrong: JsonObject) -> None:
    with pytest.raises(BadRequestError):
        call_of(wrong)


@pytest.mark.parametrize("path", ["", "/", "/a/b", "/a..b/.c/d.", "/...", "/a//b", "/..a"])
def test_paths_that_go_down_do_not_climb(path: str) -> None:
    assert not climbs(path)


def test_a_query_may_have_dots() -> None:
    assert call_of(ASKED | {"target": "/a?b=../c"})


@pytest.mark.parametrize("wrong", [b"", b"{", b"[]", b"{}", b'{"status": 100}', b'{"status": 200, "headers": [[1]]}'])
def test_replies_that_make_no_sense_are_said_to(wrong: bytes) -> None:
    with pytest.raises(UnavailableError):
        reply_of(wrong)


def test_what_is_of_one_connection_does_not_go_on() -> None:
    headers = [
        ("Host", "a"), ("Connection", "close, X-Own"), ("X-Own", "1"), ("Content-Length", "3"), ("User", "ann"),
        ("Authorization", "Bearer x"), ("Transfer-Encoding", "chunked"),
    ]  # fmt: skip
    assert end_to_end(headers) == (("User", "ann"), ("Authorization", "Bearer x"))
    assert end_to_end(headers, without=["authorization"]) == (("User", "ann"),)
