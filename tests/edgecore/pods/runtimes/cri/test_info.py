"""What a runtime says of a container beyond CRI."""

from __future__ import annotations

import json

import pytest

from edgecore.pods.port import User
from edgecore.pods.runtimes.cri.info import Begun, begun_in


def test_the_first_process_and_who_it_is_are_read() -> None:
    user = {"uid": 1234, "gid": 2345, "additionalGids": [2345, 4000]}
    said = {
        "sandboxID": "s",
        "pid": 42,
        "runtimeSpec": {"ociVersion": "1.0.2", "process": {"user": user, "cwd": "/"}},
    }
    assert begun_in({"info": json.dumps(said)}) == Begun(pid=42, user=User(uid=1234, gid=2345, groups=(2345, 4000)))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}'])
def test_what_says_nothing_is_no_process(text: str) -> None:
    assert begun_in({"info": text} if text else {}) == Begun()


def test_a_process_without_a_user_is_one() -> None:
    assert begun_in({"info": '{"pid": 7, "runtimeSpec": {"process": {}}}'}) == Begun(pid=7)
    assert begun_in({"info": '{"pid": 7, "runtimeSpec": null}'}) == Begun(pid=7)
