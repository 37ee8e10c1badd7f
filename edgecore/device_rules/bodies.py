"""What devices and models say of properties, as the edge store has them now. Keeps what it read, for one pass."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from edgecore.store.shell import AsyncEdgeStore
from skerry.objects.device_models import DEVICES, MODELS, served_properties
from skerry.objects.json import JsonObject, decode_object, encode_object, str_at
from skerry.objects.meta import Key


class Bodies:
    """Each object is read once."""

    def __init__(self, store: AsyncEdgeStore) -> None:
        self._store = store
        self._read: dict[Key, JsonObject | None] = {}

    def _body(self, key: Key) -> JsonObject | None:
        if key not in self._read:
            held = self._store.get(key)
            self._read[key] = None if held is None else decode_object(held.body)
        return self._read[key]

    def prop(self, namespace: str, device: str, prop: str) -> JsonObject | str:
        """What the model says of a property; why there is none."""
        body = self._body(Key(DEVICES, namespace, device))
        if body is None:
            return f"device {device} is not on this gateway"
        model_name = str_at(body, "spec", "deviceModelRef", "name")
        model = self._body(Key(MODELS, namespace, model_name))
        if model is None:
            return f"model {model_name} of device {device} is not on this gateway"
        found = served_properties(body, model).get(prop)
        return found if found is not None else f"device {device} has no property {prop}"


def types_text(found: Mapping[tuple[str, str], JsonObject | str]) -> str:
    """By which it is seen that one of them changed."""
    return ",".join(
        f"{device}/{prop}={said if isinstance(said, str) else digest(said)}"
        for (device, prop), said in sorted(found.items(), key=lambda item: item[0])
    )


def digest(obj: JsonObject) -> str:
    return hashlib.blake2s(encode_object(obj), digest_size=8).hexdigest()
