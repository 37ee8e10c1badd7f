"""Lines of logs that are read again, and containers that are over."""

from __future__ import annotations

from skerry.cli.log_streams import Resumed, is_over, lines_of, moment_of, running
from skerry.objects.json import Json, JsonObject


def test_lines_are_whole_however_they_come() -> None:
    assert list(lines_of(iter([b"a\nb", b"", b"c\n", b"d"]))) == [b"a\n", b"bc\n", b"d"]


def test_times_sort_whatever_their_fractions() -> None:
    assert moment_of(b"2026-01-01T00:00:00.5Z x") == "2026-01-01T00:00:00.500000000"
    assert moment_of(b"2026-01-01T00:00:00Z x") < moment_of(b"2026-01-01T00:00:00.000000001Z x")
    assert moment_of(b"no time") == "" and moment_of(b"") == ""


def test_a_log_is_read_again_from_its_last_line_on_and_what_was_seen_is_not_shown() -> None:
    seen = Resumed()
    assert seen.query({"tailLines": "5"}) == {"tailLines": "5"}
    lines = [f"2026-01-01T00:00:0{number}.5Z x\n".encode() for number in (1, 2, 3)]
    assert [seen.new(line) for line in lines[:2]] == [True, True]
    assert seen.query({"tailLines": "5", "follow": "true"}) == {"follow": "true", "sinceTime": "2026-01-01T00:00:02Z"}
    assert [seen.new(line) for line in lines] == [False, False, True]
    assert seen.new(b"without a time\n")


def pod(policy: str, state: JsonObject, *, init: bool = False) -> JsonObject:
    status: list[Json] = [{"name": "a", "containerID": "x", "state": state}]
    return {
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {
            "restartPolicy": policy,
            "containers": [{"name": "a"}],
            "initContainers": [{"name": "a"}] if init else [],
        },
        "status": {"initContainerStatuses" if init else "containerStatuses": status},
    }


def test_a_container_is_over_when_it_will_not_run_again() -> None:
    well: JsonObject = {"terminated": {"exitCode": 0}}
    badly: JsonObject = {"terminated": {"exitCode": 1}}
    assert is_over(pod("Never", badly), "a") and is_over(pod("OnFailure", well), "a")
    assert not is_over(pod("OnFailure", badly), "a") and not is_over(pod("Always", well), "a")
    assert is_over(pod("Always", well, init=True), "a") and not is_over(pod("Always", {"running": {}}), "a")
    assert not is_over(pod("Never", well), "b")


def test_containers_that_have_begun_have_logs() -> None:
    assert [source.prefix for source in running(pod("Always", {}), lambda _: ["a", "b"])] == ["[pod/p/a] "]
