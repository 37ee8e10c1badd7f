"""What errors become on the way to a client of the gateway."""

from __future__ import annotations

import pytest

from edgecore.local_api.answers import error_answer
from skerry.errors import SkerryError, StorageFullError, TooManyRequestsError, UnansweredError, UnavailableError


@pytest.mark.parametrize(
    ("error", "code", "again"),
    [
        (UnavailableError("only the cloud can do this, and it is away"), 503, ""),
        (UnansweredError("nobody is there"), 503, ""),
        (StorageFullError("no room"), 507, ""),
        (TooManyRequestsError("later", retry_after_s=5), 429, "5"),
    ],
)
def test_nobody_is_asked_to_try_again_at_once_what_a_lost_link_keeps_from_being_done(
    error: SkerryError, code: int, again: str
) -> None:
    answer = error_answer(error)
    assert (answer.code, dict(answer.headers).get("Retry-After", "")) == (code, again)
