"""What `skerry node backlog` says of what was dropped."""

from __future__ import annotations

import pytest

from skerry.cli.backlog import dropped_shown
from skerry.objects.json import JsonObject


@pytest.mark.parametrize(
    ("gap", "shown"),
    [
        (None, "0"),
        ({"total": 7}, "7"),
        ({"total": 7, "unknown": False}, "7"),
        ({"total": 7, "unknown": True}, "at least 7"),
        ({"total": 0, "unknown": True}, "unknown"),
    ],
)
def test_a_number_that_nobody_knows_is_not_shown_as_one(gap: JsonObject | None, shown: str) -> None:
    assert dropped_shown(gap) == shown
