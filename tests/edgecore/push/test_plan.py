"""When a push is tried again, and when it is given up."""

from __future__ import annotations

from edgecore.push.plan import REFUSALS_MAX, Progress, PushSettings


def test_a_place_that_fails_is_tried_ever_less_often() -> None:
    settings, progress, waits = PushSettings(), Progress(), list[float]()
    for _ in range(20):
        progress = progress.failed("away", refused=False)
        waits.append(progress.wait_s(settings, 1.0))
    assert waits[:4] == [1, 2, 4, 8] and waits[-1] == settings.retry_s_max
    assert progress.wait_s(settings, 0.0) == settings.retry_s_max / 2 and not progress.gives_up
    assert [Progress(failures=number).failing for number in (2, 3)] == [False, True]


def test_a_push_that_is_refused_for_what_it_is_is_given_up_after_some_tries_and_no_other_with_it() -> None:
    progress = Progress()
    for number in range(REFUSALS_MAX):
        assert not progress.gives_up
        progress = progress.failed("it answers 422", refused=number != 0)
    assert not progress.gives_up, "the first time it was away"
    progress = progress.failed("it answers 422", refused=True)
    assert progress.gives_up
    assert not progress.passed_over().gives_up and progress.passed_over().failing
