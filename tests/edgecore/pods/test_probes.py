"""When containers are asked how they are, and what follows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgecore.pods.probes import (
    HEALTHY,
    Health,
    Kind,
    Probe,
    Progress,
    first_progress,
    health_of,
    is_asked,
    probes_of,
)
from skerry.objects.json import Json, JsonObject
from tests.edgecore.pods.pods_of import container


def probe_of(kind: Kind, **fields: Json) -> Probe:
    source: JsonObject = {"exec": {"command": ["x"]}, **fields}
    (probe,) = probes_of(container(**{f"{kind}Probe": source}))
    return probe


def after(probe: Probe, *answers: bool) -> Progress:
    progress = first_progress(probe)
    for answer in answers:
        progress = progress.after(probe, good=answer, message="" if answer else "no")
    return progress


def test_a_probe_has_the_defaults_of_the_api() -> None:
    probe = probe_of("liveness")
    assert (probe.period_s, probe.timeout_s, probe.success_threshold, probe.failure_threshold) == (10, 1, 1, 3)
    assert (probe.initial_delay_s, probe.grace_s) == (0, None)
    assert probes_of(container()) == ()


def test_before_any_answer_a_container_lives_and_is_neither_ready_nor_known_to_have_started() -> None:
    assert [first_progress(probe_of(kind)).good for kind in ("liveness", "readiness", "startup")] == [
        True,
        False,
        None,
    ]


def test_failures_count_in_a_row_up_to_their_threshold() -> None:
    probe = probe_of("liveness", failureThreshold=3)
    assert after(probe, False, False).good is True
    assert after(probe, False, False, True, False, False).good is True
    failed = after(probe, False, False, False)
    assert (failed.good, failed.message) == (False, "no")


def test_successes_count_in_a_row_too() -> None:
    probe = probe_of("readiness", successThreshold=2, failureThreshold=1)
    assert after(probe, True).good is False
    assert after(probe, True, True).good is True
    assert after(probe, True, True, False).good is False


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 5), st.integers(1, 5))
def test_the_state_is_that_of_the_last_row_which_was_long_enough(answers: list[bool], good: int, bad: int) -> None:
    probe = probe_of("readiness", successThreshold=good, failureThreshold=bad)
    wanted, row, last = False, 0, None
    for answer in answers:
        row = row + 1 if answer == last else 1
        last = answer
        if row >= (good if answer else bad):
            wanted = answer
    assert after(probe, *answers).good is wanted


def test_what_is_not_probed_is_well() -> None:
    assert health_of((), started=False) == HEALTHY


def test_a_startup_probe_holds_back_the_rest() -> None:
    startup, readiness = probe_of("startup"), probe_of("readiness")
    ready = after(readiness, True)
    assert health_of(((startup, after(startup)), (readiness, ready)), started=False) == Health(
        started=False, ready=False
    )
    assert health_of(((startup, after(startup, True)), (readiness, ready)), started=True) == HEALTHY
    failed = health_of(((startup, after(startup, False, False, False)),), started=False)
    assert (failed.failed, failed.started) == ("startup", False)


def test_the_probe_that_failed_says_how_long_the_end_may_take() -> None:
    probe = probe_of("liveness", failureThreshold=1, terminationGracePeriodSeconds=4)
    health = health_of(((probe, after(probe, False)),), started=True)
    assert (health.failed, health.grace_s, health.ready) == ("liveness", 4, False)


def asked(kind: Kind, *answers: bool, started: bool = True, running_s: float = 60.0, ending: bool = False) -> bool:
    fields: JsonObject = {"initialDelaySeconds": 5, "failureThreshold": 1}
    probe = probe_of(kind, **fields)
    return is_asked(probe, after(probe, *answers), started=started, running_s=running_s, ending=ending)


def test_who_is_asked() -> None:
    assert asked("liveness") and asked("readiness") and asked("startup", started=False)
    assert not asked("liveness", running_s=4.9), "not before its initial delay"
    assert not asked("liveness", started=False) and not asked("readiness", started=False)
    assert not asked("startup", started=True)
    assert not asked("liveness", False) and not asked("startup", False, started=False), "it will be ended"
    assert not asked("liveness", ending=True) and asked("readiness", ending=True)
