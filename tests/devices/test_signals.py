"""Values over time."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.port import PropertyConfig
from devices.signals import Playing, Point, chance, signal_in
from skerry.errors import InvalidError
from skerry.objects.json import JsonObject


def prop(type: str = "DOUBLE", minimum: float | None = None, maximum: float | None = None) -> PropertyConfig:
    return PropertyConfig(
        name="level",
        type=type,
        writable=True,
        unit="",
        minimum=minimum,
        maximum=maximum,
        collect_ms=1000,
        visitor={},
    )


def playing(data: JsonObject, of: PropertyConfig | None = None, seed: int = 1) -> Playing:
    return Playing(signal_in(data, of or prop(), "signal"), seed=seed, name="level")


def values(data: JsonObject, *at: float, of: PropertyConfig | None = None) -> list[object]:
    played = playing(data, of)
    return [played.at(elapsed_s).value for elapsed_s in at]


def test_a_ramp_goes_from_one_number_to_the_other_and_then_as_it_says() -> None:
    ramp: JsonObject = {"kind": "ramp", "from": 10, "to": 20, "overS": 10}
    assert values(ramp, 0, 5, 9.9, 10, 12.5) == [10, 15, 19.9, 10, 12.5]
    assert values({**ramp, "then": "hold"}, 5, 10, 1000) == [15, 20, 20]
    assert values({**ramp, "then": "back"}, 5, 10, 15, 20, 25) == [15, 20, 15, 10, 15]


def test_a_sine_swings_around_its_mean() -> None:
    sine: JsonObject = {"kind": "sine", "mean": 50, "amplitude": 10, "periodS": 60}
    assert values(sine, 0, 15, 30, 45, 60) == [50, 60, 50, 40, 50]
    assert values({**sine, "phase": 0.25}, 0, 15) == [60, 50]
    assert values(sine, 5, of=prop("INT")) == [55]


def test_what_is_not_a_number_steps() -> None:
    square: JsonObject = {"kind": "square", "low": False, "high": True, "periodS": 10}
    assert values(square, 0, 4.9, 5, 9.9, 10, of=prop("BOOLEAN")) == [False, False, True, True, False]
    steps: JsonObject = {"kind": "steps", "steps": [{"value": "off", "forS": 5}, {"value": "heating", "forS": 10}]}
    assert values(steps, 0, 5, 14, 15, of=prop("STRING")) == ["off", "heating", "heating", "off"]
    assert values({**steps, "then": "hold"}, 15, 900, of=prop("STRING")) == ["heating", "heating"]
    assert values({"kind": "constant", "value": 7}, 0, 1e6, of=prop("INT")) == [7, 7]


def test_a_step_may_have_no_value() -> None:
    played = playing({"kind": "steps", "steps": [{"value": 1, "forS": 1}, {"forS": 1}]})
    assert played.at(0) == Point(value=1.0)
    assert played.at(1).value is None and played.at(1).quality == "bad"


@given(seed=st.integers(0, 2**32), looks=st.lists(st.floats(0, 500), max_size=20))
def test_a_walk_is_the_same_however_often_it_is_looked_at(seed: int, looks: list[float]) -> None:
    walk: JsonObject = {"kind": "walk", "start": 5, "step": 3, "everyS": 1, "minimum": 0, "maximum": 10}
    one, other = playing(walk, seed=seed), playing(walk, seed=seed)
    for at in looks:
        one.at(at)
    reached = one.at(500).value
    assert reached == other.at(500).value
    assert isinstance(reached, float) and 0 <= reached <= 10


def test_a_walk_moves_by_its_steps_at_most_and_each_seed_has_its_own() -> None:
    walk: JsonObject = {"kind": "walk", "start": 0, "step": 2, "decimals": 12}
    path = [float(str(value)) for value in values(walk, *range(200))]
    moves = [abs(later - earlier) for earlier, later in pairwise(path)]
    assert max(moves) <= 2 and len(set(path)) > 190
    assert playing(walk, seed=1).at(50) != playing(walk, seed=2).at(50)


def test_a_walk_keeps_to_the_range_of_its_property() -> None:
    walk: JsonObject = {"kind": "walk", "start": 1, "step": 50}
    path = [float(str(value)) for value in values(walk, *range(100), of=prop("DOUBLE", 0, 2))]
    assert all(0 <= value <= 2 for value in path)


def test_what_was_recorded_is_played_again() -> None:
    text = "TIME,VALUE,QUALITY,REASON\n2026-01-01T00:00:00Z,20.5,good,\n2026-01-01T00:00:10Z,-,bad,unit 3 silent\n"
    text += "2026-01-01T00:00:15Z,21,stale,\n2026-01-01T00:00:20Z,22,good,\n"
    played = playing({"kind": "series", "csv": text})
    assert played.at(9.9) == Point(value=20.5)
    assert played.at(12) == Point(value=None, quality="bad", reason="unit 3 silent")
    assert played.at(15).quality == "uncertain"
    assert [played.at(at).value for at in (24.9, 25, 35)] == [22, 20.5, None], "it begins anew without a seam"


def test_a_recording_without_titles_is_time_and_value() -> None:
    assert values({"kind": "series", "csv": "0,1\n\n2.5,2\n", "then": "hold"}, 0, 2.5, 99) == [1, 2, 2]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "signal.kind: required"),
        ({"kind": "sin"}, "signal.kind: 'sin' is not one of constant, ramp, sine"),
        ({"kind": "sine", "amplitude": 1, "period": 5}, "did you mean periodS"),
        ({"kind": "sine", "amplitude": 1}, "signal.periodS: required"),
        ({"kind": "sine", "amplitude": 1, "periodS": 0}, "signal.periodS: must be from 0.001"),
        ({"kind": "ramp", "from": 1, "overS": 1}, "signal.to: required, a number"),
        ({"kind": "ramp", "from": 1, "to": 2, "overS": 1, "then": "stop"}, "'stop' is not one of repeat, hold, back"),
        ({"kind": "constant", "value": "warm"}, "signal.value: 'warm'"),
        ({"kind": "steps", "steps": []}, "signal.steps: required"),
        ({"kind": "steps", "steps": [{"value": 1}]}, "signal.steps[0].forS: required"),
        ({"kind": "steps", "steps": [1]}, "signal.steps[0]: must be an object"),
        ({"kind": "walk", "start": 9, "step": 1, "maximum": 5}, "outside of its bounds"),
        ({"kind": "series", "csv": ""}, "signal.csv: "),
        ({"kind": "series", "csv": "5,1\n4,1\n"}, "not in order of time"),
        ({"kind": "series", "csv": "5,1\nsoon,1\n"}, "row 2: 'soon' is neither"),
        ({"kind": "series", "csv": "nan,1\n"}, "row 1: 'nan' is neither"),
        ({"kind": "series", "csv": "0,warm\n"}, "row 1: 'warm'"),
        ({"kind": "series", "csv": "VALUE\n1\n"}, "no column is titled time"),
    ],
)
def test_a_mistake_names_the_field(data: JsonObject, said: str) -> None:
    with pytest.raises(InvalidError) as caught:
        playing(data)
    assert said in str(caught.value)


def test_a_text_can_t_swing() -> None:
    with pytest.raises(InvalidError, match="a sine is of numbers, and level is of type STRING"):
        playing({"kind": "sine", "amplitude": 1, "periodS": 1}, prop("STRING"))


def test_chance_is_of_the_seed_and_the_place_alone() -> None:
    assert chance(1, "a", 2) == chance(1, "a", 2)
    assert len({chance(1, "a"), chance(2, "a"), chance(1, "b"), chance(1, "a", 0)}) == 4
    drawn = [chance(7, number) for number in range(2000)]
    assert min(drawn) >= 0 and max(drawn) < 1 and 0.47 < sum(drawn) / 2000 < 0.53
