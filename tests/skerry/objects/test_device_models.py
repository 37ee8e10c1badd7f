"""What a model lets be wanted, as both ends say it."""

from __future__ import annotations

import pytest

from skerry.errors import InvalidError
from skerry.objects.device_models import properties_in, served_properties, wanted_value
from skerry.objects.json import JsonObject

MODEL: JsonObject = {
    "spec": {
        "properties": [
            {"name": "power", "type": "int", "minimum": "0", "maximum": "10"},
            {"name": "flame", "type": "BOOLEAN", "accessMode": "ReadOnly", "visitors": {}},
            {"name": "label", "type": "STRING", "minimum": "", "maximum": "much"},
        ]
    }
}


def test_served_is_what_the_instance_places_and_what_the_model_places_by_itself() -> None:
    device: JsonObject = {"spec": {"properties": [{"name": "power"}, {"name": "unknown"}]}}
    assert list(served_properties(device, MODEL)) == ["power", "flame"]
    assert list(served_properties({}, MODEL)) == ["flame"]


@pytest.mark.parametrize(("prop", "text", "value"), [("power", "0", 0), ("power", "10", 10), ("label", "x", "x")])
def test_a_value_within_its_range_is_taken(prop: str, text: str, value: object) -> None:
    assert wanted_value(properties_in(MODEL)[prop], text) == value


@pytest.mark.parametrize(
    ("prop", "text", "why"),
    [
        ("power", "-1", "-1 is below the minimum of 0"),
        ("power", "10.5", "is not an INT"),
        ("power", "11", "11 is above the maximum of 10"),
        ("flame", "true", "flame is read-only"),
    ],
)
def test_what_a_property_does_not_take_is_refused_with_the_reason(prop: str, text: str, why: str) -> None:
    with pytest.raises(InvalidError, match=why):
        wanted_value(properties_in(MODEL)[prop], text)
