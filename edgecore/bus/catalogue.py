"""The devices of this node as the event bus sees them: their properties, and nothing of how they are reached.

Pure. Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from skerry.frozen import Frozen
from skerry.objects.device_models import DEVICES, properties_in, served_properties
from skerry.objects.json import JsonObject, map_at, str_at
from skerry.objects.meta import Key, labels_of, name_of, namespace_of


class Property(Frozen):
    type: str
    tolerance: float


class KnownDevice(Frozen):
    description: str
    properties: Mapping[str, Property]


def catalogue(devices: Iterable[JsonObject], models: Mapping[tuple[str, str], JsonObject]) -> dict[Key, KnownDevice]:
    """Every Device with its served properties; none of one whose model is not here."""
    out: dict[Key, KnownDevice] = {}
    for device in devices:
        namespace, name = namespace_of(device), name_of(device)
        model = models.get((namespace, str_at(device, "spec", "deviceModelRef", "name")), {})
        placed = properties_in(device)
        out[Key(DEVICES, namespace, name)] = KnownDevice(
            description=labels_of(device).get("description", ""),
            properties={
                prop: Property(
                    type=str_at(of_model, "type").upper(),
                    tolerance=_tolerance(of_model, placed.get(prop, {})),
                )
                for prop, of_model in served_properties(device, model).items()
            },
        )
    return out


def _tolerance(model: JsonObject, instance: JsonObject) -> float:
    """As the keeper of twins reads it; what it refuses is none."""
    visitor = {**map_at(model, "visitors", "configData"), **map_at(instance, "visitors", "configData")}
    said = map_at(visitor, "twin").get("tolerance")
    try:
        return max(0.0, float(said)) if isinstance(said, int | float | str) and not isinstance(said, bool) else 0.0
    except ValueError:
        return 0.0
