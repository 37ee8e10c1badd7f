"""What a DeviceRule may say, as far as it can be told without its devices. Pure.

What its devices have to say of it is an admission step (`cloudcore.registry.local_rules`)."""

from __future__ import annotations

from collections.abc import Iterator

from skerry.errors import Cause, InvalidError
from skerry.objects.device_rules import read_rule
from skerry.objects.json import JsonObject


def validate_device_rule(obj: JsonObject, _old: JsonObject | None) -> Iterator[Cause]:
    try:
        read_rule(obj)
    except InvalidError as error:
        yield from error.causes
