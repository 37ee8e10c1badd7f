"""What a DeviceModel lets be wanted of a device, for both ends: the properties that are served, and their values.

The gateway decides by what it holds of a model; the cloud says the same when a value is written, so that nobody waits
for a gateway to be told of a misspelt name. Pure; keeps nothing.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final

from skerry.errors import InvalidError
from skerry.objects.json import JsonObject, maps_at, str_at
from skerry.objects.twins import Value, parse_value

DEVICES: Final = "devices.devices.kubeedge.io"
MODELS: Final = "devicemodels.devices.kubeedge.io"


def properties_in(holder: JsonObject) -> dict[str, JsonObject]:
    """`spec.properties` of a Device or a DeviceModel, by name."""
    return {str_at(prop, "name"): prop for prop in maps_at(holder, "spec", "properties")}


def served_properties(device: JsonObject, model: JsonObject) -> dict[str, JsonObject]:
    """The model's properties that a gateway serves for the device, by name: what the instance names, and what the
    model says by itself where it is."""
    placed = properties_in(device)
    return {name: prop for name, prop in properties_in(model).items() if name in placed or "visitors" in prop}


def is_writable(prop: JsonObject) -> bool:
    """Whether the model's property may be wanted; KubeEdge's default is that it may."""
    return str_at(prop, "accessMode", default="ReadWrite") == "ReadWrite"


def wanted_value(prop: JsonObject, text: str) -> Value:
    """The value that a text means for the model's property. Raises `InvalidError` where it does not take that."""
    bounds = {name: _bound(prop, name) for name in ("minimum", "maximum")}
    return checked_value(
        str_at(prop, "type").upper(),
        text,
        refusal="" if is_writable(prop) else f"{str_at(prop, 'name')} is read-only",
        minimum=bounds["minimum"],
        maximum=bounds["maximum"],
    )


def checked_value(type: str, text: str, *, refusal: str, minimum: float | None, maximum: float | None) -> Value:
    """The same of what is known of a property; `refusal`: why it takes none at all. Raises `InvalidError`."""
    if refusal:
        raise InvalidError(refusal)
    value = parse_value(type, text)
    if isinstance(value, int | float) and not isinstance(value, bool):
        if minimum is not None and value < minimum:
            raise InvalidError(f"{text} is below the minimum of {minimum:g}")
        if maximum is not None and value > maximum:
            raise InvalidError(f"{text} is above the maximum of {maximum:g}")
    return value


def _bound(prop: JsonObject, name: str) -> float | None:
    """KubeEdge has the range of a property as text; "" is none. One that makes no sense is the model's own fault."""
    value = prop.get(name)
    try:
        number = Decimal(str(value)) if isinstance(value, int | float | str) and value != "" else None
    except InvalidOperation:
        return None
    return None if number is None or not number.is_finite() else float(number)
