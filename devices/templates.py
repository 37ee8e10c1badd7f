"""Texts with places for values, that are sent to devices: `{"set": ${json}}`.

Pure. `${value}` is a value as text, `${json}` the same as JSON; which other names there are, each protocol says. A
name that nobody knows is an error when the manifest is read, and not a hole in what a device is sent.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from string import Template

from devices.fields import text_in
from skerry.errors import InvalidError
from skerry.objects.json import JsonObject, read_json
from skerry.objects.twins import Value

VALUE_NAMES = frozenset({"value", "json"})
"""A command has at least one of them."""


def template_in(data: JsonObject, name: str, where: str, known: Collection[str], *, default: str) -> Template:
    """The template in this field. Raises `InvalidError` for a name that is not one of the `known`."""
    template = Template(text_in(data, name, where=where, default=default))
    if not template.is_valid():
        raise InvalidError(f"{where}.{name}: a $ that begins no ${{name}} is written $$")
    for unknown in set(template.get_identifiers()) - set(known):
        listed = ", ".join(f"${{{each}}}" for each in known)
        raise InvalidError(f"{where}.{name}: ${{{unknown}}} is unknown; there are {listed}, and no other")
    return template


def command_in(data: JsonObject, name: str, where: str, known: Collection[str]) -> Template:
    """The same, of what has to tell a value; the value alone where none is given."""
    template = template_in(data, name, where, known, default="${value}")
    if not VALUE_NAMES & set(template.get_identifiers()):
        raise InvalidError(f"{where}.{name}: must contain ${{value}} or ${{json}}")
    return template


def fill(template: Template, values: Mapping[str, str]) -> str:
    """The text with its values in place; "" for a name that has none."""
    return template.substitute(dict.fromkeys(template.get_identifiers(), "") | dict(values))


def as_json(value: Value, text: str) -> str:
    """The text of a value as JSON has it: a number or truth value where it is one, else quoted."""
    if isinstance(value, str | bytes):
        return json.dumps(text)
    try:
        read = read_json(text)
    except InvalidError:
        return json.dumps(text)
    return text if isinstance(read, bool | int | float) else json.dumps(text)
