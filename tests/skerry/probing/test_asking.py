"""What the cloud asks gateways to try, and what they answer."""

from __future__ import annotations

from typing import Any

import pytest

from skerry.errors import InvalidError
from skerry.probing.asking import Try, answer, question, tries_of

TCP: Any = {"type": "TCP", "port": 9, "intervalSeconds": 1, "timeoutSeconds": 0.5}


def test_a_question_is_read_as_it_was_asked() -> None:
    asked = [Try(address="192.0.2.1", host="www.example.com", given=TCP)]
    assert tries_of(question(asked)) == asked
    assert asked[0].probe.port == 9 and asked[0].probe.host == "www.example.com"
    assert answer(["", "x" * 500]) == {"reasons": ["", "x" * 200]}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"address": "nowhere", "host": "a", "probe": TCP}, "does not appear to be an IPv4"),
        *(
            ({"address": each, "host": "a", "probe": TCP}, "no single host's")
            for each in ("224.0.0.1", "ff02::1", "::ffff:239.1.1.1", "0.0.0.0", "255.255.255.255")
        ),
        ({"address": "192.0.2.1", "host": "a", "probe": {"type": "SMTP"}}, "probe.type"),
        ({"address": "192.0.2.1", "host": "a", "probe": {**TCP, "timeoutSeconds": 31}}, "timeoutSeconds"),
    ],
)
def test_what_can_not_be_tried_is_refused(row: Any, said: str) -> None:
    with pytest.raises(InvalidError, match=said):
        tries_of({"tries": [row]})
    with pytest.raises(InvalidError, match="too many"):
        tries_of({"tries": [row] * 101})
