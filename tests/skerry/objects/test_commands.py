"""What a command asks, and how its status moves: forward only."""

from __future__ import annotations

import pytest

from skerry.errors import ProtocolError
from skerry.objects.commands import (
    CommandReport,
    DeviceMethod,
    OtherAction,
    Phase,
    PodRestart,
    action_of,
    command_spec,
    ended,
    is_open_to,
    with_report,
)
from skerry.objects.conditions import is_true
from skerry.objects.json import JsonObject, decode_object, str_at
from skerry.objects.times import micro_time_text

T0_MS = 1_790_000_000_000


def command(**status: str) -> JsonObject:
    return {
        "metadata": {"namespace": "ns", "name": "c", "uid": "u"},
        "spec": {
            "nodeName": "eu-1",
            "action": {"podRestart": {"pod": "web"}},
            "expiresAfterSeconds": 60,
            "issued": {"time": micro_time_text(T0_MS)},
        },
        "status": {"phase": "Pending", **status},
    }


def told(
    phase: Phase, *, reason: str = "", started_ago_ms: int | None = None, finished_ago_ms: int | None = None
) -> CommandReport:
    return CommandReport(
        namespace="ns",
        name="c",
        uid="u",
        incarnation="one",
        phase=phase,
        reason=reason,
        message="",
        result={},
        delivered_ago_ms=0,
        started_ago_ms=started_ago_ms,
        finished_ago_ms=finished_ago_ms,
    )


def test_an_action_is_read_and_what_nobody_knows_is_named() -> None:
    call: JsonObject = {"deviceMethod": {"device": "d", "method": "m", "parameters": {"b": "1", "a": "2"}}}
    assert action_of(call) == DeviceMethod(device="d", method="m", parameters=(("b", "1"), ("a", "2")))
    assert action_of({"podRestart": {"pod": "web"}}) == PodRestart(pod="web", container="")
    assert action_of({"fly": {}}) == OtherAction(name="fly")
    assert action_of({"fly": {}, "podRestart": {}}) == OtherAction(name="fly,podRestart")
    assert action_of({}) == OtherAction(name="")


def test_the_deadline_counts_from_when_it_was_given() -> None:
    assert command_spec(command()).expires_ms == T0_MS + 60_000


def test_a_report_moves_it_forward_and_dates_its_steps_by_age() -> None:
    obj = with_report(command(), told("Running", started_ago_ms=2000), at_ms=T0_MS + 10_000)
    assert str_at(obj, "status", "phase") == "Running"
    assert str_at(obj, "status", "startedTime") == micro_time_text(T0_MS + 8000)
    assert with_report(obj, told("Delivered"), at_ms=T0_MS + 11_000) is obj
    done = with_report(obj, told("Succeeded", finished_ago_ms=0), at_ms=T0_MS + 12_000)
    assert is_true(done, "Complete") and is_true(done, "Finished") and not is_true(done, "Failed")
    assert with_report(done, told("Failed"), at_ms=T0_MS + 13_000) is done, "the first end stands"


@pytest.mark.parametrize("phase", ["Failed", "Expired", "Rejected", "Cancelled", "Unknown"])
def test_any_other_end_is_a_failure(phase: Phase) -> None:
    done = with_report(command(), told(phase, reason="Why"), at_ms=T0_MS)
    assert is_true(done, "Failed") and is_true(done, "Finished") and not is_true(done, "Complete")


def test_an_end_for_want_of_news_gives_way_to_news() -> None:
    silent = ended(command(), phase="Unknown", reason="GatewaySilent", message="m", now_ms=T0_MS)
    assert is_true(silent, "Failed")
    late = with_report(silent, told("Succeeded", finished_ago_ms=5000), at_ms=T0_MS + 90_000)
    assert is_true(late, "Complete") and not is_true(late, "Failed")
    assert str_at(late, "status", "finishedTime") == micro_time_text(T0_MS + 85_000)
    running = with_report(silent, told("Running", started_ago_ms=1), at_ms=T0_MS)
    assert not is_true(running, "Finished") and "finishedTime" not in running["status"]  # type: ignore[operator]


def test_it_is_open_to_its_node_from_its_offer_until_the_gateway_had_the_last_word() -> None:
    assert is_open_to(command()) == ""
    offered = command(offeredTime="2026-09-21T14:13:20Z")
    assert is_open_to(offered) == "eu-1"
    assert is_open_to(ended(offered, phase="Unknown", reason="GatewaySilent", message="", now_ms=0)) == "eu-1"
    assert is_open_to(ended(offered, phase="Unknown", reason="Interrupted", message="", now_ms=0)) == ""
    assert is_open_to(ended(offered, phase="Succeeded", reason="", message="", now_ms=0)) == ""
    assert is_open_to({**offered, "metadata": {"deletionTimestamp": "2026-09-21T14:13:20Z"}}) == ""


def test_a_report_is_checked_when_it_is_read() -> None:
    assert CommandReport.decode(decode_object(told("Failed").encode())) == told("Failed")
    for bad in ({"phase": "Perhaps"}, {"uid": ""}, {"result": {"x": "y" * 17_000}}):
        with pytest.raises(ProtocolError):
            CommandReport.decode({**decode_object(told("Failed").encode()), **bad})  # type: ignore[dict-item]
