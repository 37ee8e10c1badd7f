"""What a rule would do with given values, and how rules are told of."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from skerry.cli.main import main
from skerry.cli.rule import (
    DEVICE_RULES,
    RULES,
    _count_lines,
    _message_lines,
    _place,
    _row,
    _said,
    _why_lines,
    complete_rules,
    why,
)
from skerry.cli.rule_trial import given_of, trial_lines
from skerry.cli.target import Target
from skerry.errors import BadRequestError, UnavailableError
from skerry.objects.device_rules import read_rule
from skerry.objects.json import JsonObject

EXAMPLES = Path(__file__).parents[3] / "examples" / "07-local-rules"
OVERHEAT = EXAMPLES / "overheat.yaml"


def tried(*args: str) -> Result:
    return CliRunner().invoke(main, ["rule", "test", "-f", str(OVERHEAT), *args])


def lines(*args: str) -> list[str]:
    result = tried(*args)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def test_a_rule_is_tried_with_given_values_and_nobody_is_asked() -> None:
    assert lines("--given", "temp=85.5", "--given", "pump=false") == [
        "temp = 85.5 (good)",
        "pump = false (good)",
        "when: temp > 80.0 is true; !pump is true",
        "it fires when that has held for 30 s",
        "  set boiler/pump = true",
        "  alarm Critical = the boiler is at 85.5",
    ]
    assert lines("--given", "temp=85", "--given", "pump=true")[-1] == "nothing happens"
    assert lines("--given", "temp=70", "--active")[-2:] == ["it ends", "  set boiler/pump = false"]
    assert lines("--given", "temp=78", "--active")[-1] == "nothing happens"


def test_what_is_missing_or_not_good_is_said() -> None:
    told = lines("--given", "temp=85", "--given", "temp.quality=stale", "--given", "pump=false")
    assert told[0] == "temp = 85 (stale)"
    assert told[-1] == "it can't be worked out, so it neither fires nor ends: temp has no value now"


def test_a_trial_is_told_to_programs() -> None:
    told: Any = yaml.safe_load(tried("--given", "temp=85", "--given", "pump=false", "-o", "yaml").output)
    assert (told["result"], told["outcome"]) == ("True", "fires")
    assert told["actions"][0] == {"form": "set", "target": "boiler/pump", "said": "true"}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--given", "temp"), "NAME=VALUE"),
        (("--given", "level=1"), "its values are temp, pump"),
        (("--given", "temp.color=1"), ".quality, .previous, .age"),
        (("--given", "temp.quality=fine"), "good, uncertain"),
        (("--given", "temp.age=old"), "seconds"),
        (("--given", "temp=9223372036854775808"), "64 bits"),
        (("--given", "temp=" + "9" * 5000), "64 bits"),
        (("overheat",), "a file with -f"),
    ],
)
def test_what_can_not_be_tried_is_said_with_the_mend(args: tuple[str, ...], words: str) -> None:
    result = tried(*args)
    assert result.exit_code == 2
    assert words in result.output


def test_a_file_that_has_no_rule_or_a_wrong_one_is_said(tmp_path: Path) -> None:
    wrong = tmp_path / "rule.yaml"
    for text, words in (("a: [", "rule.yaml"), ("kind: Pod", "0 DeviceRules")):
        wrong.write_text(text)
        result = CliRunner().invoke(main, ["rule", "test", "-f", str(wrong)])
        assert result.exit_code != 0
        assert words in result.output
    wrong.write_text(OVERHEAT.read_text().replace("temp > 80.0", "temp >"))
    result = CliRunner().invoke(main, ["rule", "test", "-f", str(wrong)])
    assert result.exit_code != 0
    assert "spec.when" in result.output


@pytest.mark.parametrize("name", ["rules.yaml", "overheat.yaml"])
def test_the_examples_are_rules(name: str) -> None:
    for obj in yaml.safe_load_all((EXAMPLES / name).read_text()):
        assert read_rule(obj).actions


def test_values_are_of_the_types_that_the_model_says() -> None:
    rule = read_rule(yaml.safe_load(OVERHEAT.read_text()))
    types: dict[tuple[str, str], JsonObject] = {
        ("boiler", "temperature"): {"type": "DOUBLE"},
        ("boiler", "pump"): {"type": "BOOLEAN"},
    }
    given = given_of(rule, types, [("temp", "85"), ("temp.previous", "70"), ("temp.age", "3"), ("pump", "off")])
    seen = given["boiler", "temperature"]
    assert (seen.value, seen.previous, seen.at_s) == (85.0, 70.0, -3.0)
    assert type(seen.value) is float
    assert given["boiler", "pump"].value is False
    with pytest.raises(BadRequestError, match="not a number"):
        given_of(rule, types, [("temp", "hot")])
    for text, value in (("1.5", 1.5), ("x", "x"), ("1_0", "1_0"), ("-7", -7), (".5e1", 5.0), ("true", True)):
        guessed = given_of(rule, {}, [("temp", text)])["boiler", "temperature"].value
        assert (guessed, type(guessed)) == (value, type(value))


def test_modes_and_schedules_are_told() -> None:
    obj: Any = yaml.safe_load(OVERHEAT.read_text())
    for mode, words in (("Shadow", "in shadow"), ("Off", "it is off")):
        rule = read_rule({**obj, "spec": {**obj["spec"], "mode": mode}})
        given = given_of(rule, {}, [("temp", "85"), ("pump", "false")])
        assert any(words in line for line in trial_lines(rule, given, active=False)[1])
    daily: Any = {"nodeName": "n", "schedule": "@daily", "actions": [{"alarm": {"message": "m"}}]}
    rule = read_rule({"metadata": {"name": "x"}, "spec": daily})
    assert "it fires at '@daily'" in trial_lines(rule, given_of(rule, {}, []), active=False)[1]


def status(**more: Any) -> JsonObject:
    return {
        "metadata": {"name": "overheat", "namespace": "d"},
        "spec": {"nodeName": "gw-1", "when": "temp > 80.0", **more.pop("spec", {})},
        "status": {
            "active": True,
            "firings": 2,
            "unknownActions": 1,
            "lastFiredTime": "2026-01-01T00:00:00Z",
            "conditions": [{"type": "Ready", "status": "False", "message": "device boiler is not on this gateway"}],
            "last": {
                "result": "Unknown",
                "reason": "temp has no value now",
                "heldUp": "it rests",
                "values": [{"name": "temp", "value": "", "quality": "bad"}],
            },
            "recent": [
                {
                    "number": 1,
                    "what": "fired",
                    "time": "2026-01-01T00:00:00Z",
                    "condition": "temp > 80.0 is true",
                    "values": [{"name": "temp", "value": "85", "quality": "good"}],
                    "actions": [
                        {
                            "form": "set",
                            "target": "boiler/pump",
                            "said": "true",
                            "state": "done",
                            "answer": "verified",
                        },
                        {
                            "form": "call",
                            "target": "POST :80/",
                            "said": "",
                            "state": "unknown",
                            "reason": "broke off",
                        },
                    ],
                }
            ],
            "alarms": [{"time": "2026-01-01T00:00:00Z", "severity": "Critical", "message": "hot"}],
            "errors": ["2026-01-01T00:00:00Z: call POST :80/: broke off"],
            **more,
        },
    }


def test_why_tells_values_condition_deeds_and_answers() -> None:
    told = [*_why_lines(status())]
    assert told[0] == "condition: Unknown (temp has no value now), held up: it rests"
    assert told[1] == "  temp = <none> (bad)"
    assert "in force: yes" in told
    assert "  condition: temp > 80.0 is true" in told
    assert "  set boiler/pump = true  done (verified)" in told
    assert "  call POST :80/  unknown: broke off" in told
    assert any("Critical: hot" in line for line in told)
    assert told[-1].startswith("error 2026")
    (silent,) = _why_lines({"metadata": {}})
    assert "older release" in silent


def test_lists_have_both_kinds() -> None:
    row = _row(DEVICE_RULES, status(), wide=True)
    assert row[:3] == ["devicerule/overheat", "gw-1", "False"]
    assert row[3:6] == ["active", "2", "1"]
    assert row[-2:] == ["temp > 80.0", "device boiler is not on this gateway"]
    shadow = _row(DEVICE_RULES, status(spec={"mode": "Shadow"}), wide=False)
    assert shadow[3] == "active (shadow)"
    message: JsonObject = {
        "metadata": {"name": "up"},
        "spec": {
            "source": "e",
            "sourceResource": {"topic": "t", "node_name": "gw-1"},
            "target": "r",
            "targetResource": {"resource": "http://a"},
        },
        "status": {"successMessages": 3, "failMessages": 1, "waitingMessages": 2, "errors": ["late"]},
    }
    assert _row(RULES, message, wide=True) == [
        "rule/up", "gw-1", "Unknown", "2 wait", "3", "1", "<none>", "e:t > r:http://a", "late",
    ]  # fmt: skip
    assert [*_said(RULES, message)] == ["  from e:t", "  to   r:http://a"]
    assert [*_count_lines(message)] == ["counts: successMessages 3, failMessages 1, waitingMessages 2"]
    dead: JsonObject = {
        "metadata": {"name": "m"},
        "spec": {"topic": "t"},
        "status": {"phase": "Dead", "attempts": 2, "message": "the target answers 400"},
    }
    told = [*_message_lines(message, [dead])]
    assert told[1:] == ["message m on t: Dead, tried 2 times", "  the target answers 400", "error late"]


class _Answers:
    """Implements what completion asks of a `Client`."""

    namespace = "d"

    def request(self, method: str, path: str) -> Any:
        if self.namespace == "away":
            raise UnavailableError("nobody there")
        if "rules.kubeedge.io" in path:
            return SimpleNamespace(obj={"items": [{"metadata": {"name": "up"}}]})
        return SimpleNamespace(obj={"items": [status(), {"metadata": {"name": "other"}}]})


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("o", ["overheat", "other"]),
        ("", ["overheat", "other", "up"]),
        ("devicerule/ov", ["devicerule/overheat"]),
        ("rule/", ["rule/up"]),
        ("pod/", []),
    ],
)
def test_names_of_rules_are_completed(monkeypatch: pytest.MonkeyPatch, typed: str, offered: list[str]) -> None:
    answers: Any = _Answers()
    monkeypatch.setattr(Target, "client", lambda _: answers)
    context, (name, *_) = click.Context(why), why.params
    assert [item.value for item in name.shell_complete(context, typed)] == offered
    answers.namespace = "away"
    assert complete_rules(context, name, typed) == []


def test_where_a_rule_is_is_said_with_what_it_follows() -> None:
    follows: JsonObject = {
        "spec": {"values": [{"name": "t", "device": "boiler", "property": "p"}]},
        "status": {"nodeName": "eu-1"},
    }
    assert _place(DEVICE_RULES, follows) == "eu-1, with device boiler"
    assert _place(DEVICE_RULES, {**follows, "status": {}}) == "no gateway, with device boiler"
    assert _place(DEVICE_RULES, {"spec": {"nodeName": "eu-1"}}) == "eu-1"


def test_what_a_rule_says_is_told_with_its_values_and_actions() -> None:
    told = [*_said(DEVICE_RULES, yaml.safe_load(OVERHEAT.read_text()))]
    assert "  temp is boiler/temperature" in told
    assert "  when: temp > 80.0 && !pump" in told
    assert "  actions: set device=boiler property=pump value=true" in told
    assert any(line.startswith("  otherwise: set") for line in told)


def test_of_forms_of_output_those_are_named_that_there_are() -> None:
    result = tried("--given", "temp=85", "-o", "name")
    assert result.exit_code == 2
    assert result.output.strip() == "error: -o name: use one of text, json, yaml"
