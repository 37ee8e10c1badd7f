"""What a Command may ask. What it asks of is looked up at admission (`cloudcore.registry.commands`). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from skerry.errors import Cause
from skerry.objects.commands import (
    ACTIONS,
    EXPIRES_S_MAX,
    PARAMETERS_MAX,
    TIMEOUT_S_MAX,
    VALUE_LENGTH_MAX,
)
from skerry.objects.json import JsonObject, bool_at, int_at, map_at, str_at, str_map_at, strs_at
from skerry.objects.names import label_1123_faults, subdomain_faults
from skerry.validation.faults import forbidden, invalid, named, required, too_many

_TTL_S_MAX: Final = 365 * 86_400
_NAME_LENGTH_MAX: Final = 253
_IMAGE_LENGTH_MAX: Final = 1024


def validate_command(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    if old is not None:
        yield from _validate_change(map_at(obj, "spec"), map_at(old, "spec"))
        return
    spec = map_at(obj, "spec")
    yield from named("spec.nodeName", str_at(spec, "nodeName"), subdomain_faults)
    yield from _within(spec, "expiresAfterSeconds", 1, EXPIRES_S_MAX)
    yield from _within(spec, "timeoutSeconds", 1, TIMEOUT_S_MAX)
    yield from _within(spec, "ttlSecondsAfterFinished", 0, _TTL_S_MAX)
    if bool_at(spec, "cancel"):
        yield forbidden("spec.cancel", "a command is given before it is cancelled")
    yield from validate_action(map_at(spec, "action"))


def validate_action(action: JsonObject) -> Iterator[Cause]:
    """`spec.action`."""
    given = [name for name in ACTIONS if name in action]
    if len(given) != 1:
        words = ", ".join(ACTIONS)
        text = f"must have exactly one of {words}" + (f"; it has {', '.join(given)}" if given else "")
        yield required("spec.action", text) if not given else invalid("spec.action", [*given], text)
        return
    (name,) = given
    here, body = f"spec.action.{name}", map_at(action, name)
    match name:
        case "deviceMethod":
            yield from named(f"{here}.device", str_at(body, "device"), subdomain_faults)
            yield from _validate_text(f"{here}.method", str_at(body, "method"), _NAME_LENGTH_MAX)
            yield from _validate_parameters(f"{here}.parameters", str_map_at(body, "parameters"))
        case "deviceRefresh":
            yield from named(f"{here}.device", str_at(body, "device"), subdomain_faults)
            if len(strs_at(body, "properties")) > PARAMETERS_MAX:
                yield too_many(f"{here}.properties", len(strs_at(body, "properties")), PARAMETERS_MAX)
        case "podRestart":
            yield from named(f"{here}.pod", str_at(body, "pod"), subdomain_faults)
            yield from named(f"{here}.container", str_at(body, "container"), label_1123_faults, needed=False)
        case _:
            yield from _validate_text(f"{here}.image", str_at(body, "image"), _IMAGE_LENGTH_MAX)


def _validate_parameters(field: str, parameters: dict[str, str]) -> Iterator[Cause]:
    if len(parameters) > PARAMETERS_MAX:
        yield too_many(field, len(parameters), PARAMETERS_MAX)
    for name, value in parameters.items():
        if len(value) > VALUE_LENGTH_MAX:
            yield invalid(f"{field}[{name}]", value[:32], f"must be no more than {VALUE_LENGTH_MAX} characters")


def _validate_text(field: str, text: str, length_max: int) -> Iterator[Cause]:
    if not text:
        yield required(field)
    elif len(text) > length_max:
        yield invalid(field, text[:32], f"must be no more than {length_max} characters")


def _within(spec: JsonObject, name: str, least: int, most: int) -> Iterator[Cause]:
    value = int_at(spec, name)
    if not least <= value <= most:
        yield invalid(f"spec.{name}", value, f"must be from {least} to {most} seconds")


def _validate_change(new: JsonObject, old: JsonObject) -> Iterator[Cause]:
    """A command is what it was when it was given: a gateway may have begun it already."""
    for name in sorted((new.keys() | old.keys()) - {"cancel"}):
        if new.get(name) != old.get(name):
            yield forbidden(f"spec.{name}", "a command can't be changed but for spec.cancel; give another one")
    if bool_at(old, "cancel") and not bool_at(new, "cancel"):
        yield forbidden("spec.cancel", "a cancelled command can't be taken up again; give another one")
