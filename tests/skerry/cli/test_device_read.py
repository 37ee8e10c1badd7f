"""What a gateway read, as people and programs get it."""

from __future__ import annotations

import pytest

from skerry.cli.device_read import check_read, raw_text, readings_listed
from skerry.cli.target import EXIT_OFFLINE, EXIT_TIMEOUT, DeadlineError, exit_code
from skerry.errors import SkerryError, UnavailableError
from skerry.objects.json import JsonObject


def told(**properties: JsonObject) -> JsonObject:
    return {"metadata": {"name": "boiler", "namespace": "default"}, "properties": {**properties}}


def test_each_property_says_its_value_and_where_that_is_from() -> None:
    listing = readings_listed(
        told(
            t={
                "value": "23.4",
                "unit": "°C",
                "quality": "good",
                "ageMs": 300,
                "from": "device",
                "raw": {"words": [7, 255]},
            },
            u={"quality": "bad", "reason": "unit 3 is silent"},
        )
    )
    assert [row.cells for row in listing.rows] == [
        ("t", "23.4", "°C", "good", "0.3 s", "device", "0x0007 0x00FF", ""),
        ("u", "-", "-", "bad", "-", "-", "-", "unit 3 is silent"),
    ]
    assert listing.rows[0].obj["device"] == "boiler" and listing.rows[0].name == "device/boiler/t"


def test_raw_is_words_or_a_payload() -> None:
    assert raw_text({"payload": '{"t": 1}', "topic": "x"}) == '{"t": 1}'
    assert (raw_text({"value": "7"}), raw_text({})) == ("7", "-")


@pytest.mark.parametrize(
    ("readings", "error", "code"),
    [
        ({"t": {"value": "1"}}, None, 0),
        ({"t": {"value": "1"}, "u": {"quality": "bad", "reason": "silent"}}, UnavailableError, EXIT_OFFLINE),
        ({"t": {"reason": "not read within 1 s", "late": True}}, DeadlineError, EXIT_TIMEOUT),
        ({"t": {"late": True}, "u": {"reason": "silent"}}, UnavailableError, EXIT_OFFLINE),
    ],
)
def test_scripts_see_by_the_exit_code_that_a_value_is_missing(
    readings: dict[str, JsonObject], error: type[SkerryError] | None, code: int
) -> None:
    listing = readings_listed(told(**readings))
    if error is None:
        check_read("boiler", listing)
        return
    with pytest.raises(error, match="skerry device why boiler/") as raised:
        check_read("boiler", listing)
    assert exit_code(raised.value) == code
