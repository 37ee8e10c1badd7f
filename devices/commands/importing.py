"""`skerry device model import`: what another tool knows of a device, as manifests, with all that could not be kept.

Nothing is sent anywhere: the manifests are printed, the report goes to stderr. What comes out was judged as a gateway
would, and a draft that it would refuse is an error.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from devices.commands.preview import judged
from devices.importers.draft import Draft, name_of_text
from devices.importers.edgex import import_edgex
from devices.importers.homeassistant import import_home_assistant
from devices.importers.sunspec import import_sunspec
from devices.importers.table import import_csv
from devices.importers.telegraf import import_telegraf
from devices.importers.v1alpha2 import convert, is_v1alpha2
from devices.plan import parse_address
from skerry.cli.device_export import manifest_text
from skerry.cli.output import print_data, say
from skerry.cli.target import fail
from skerry.errors import BadRequestError, InvalidError, NotFoundError, SkerryError
from skerry.objects.json import Json, JsonObject

_FORMS: Final[Mapping[str, Callable[[str], list[Draft]]]] = {
    "telegraf": import_telegraf,
    "homeassistant": import_home_assistant,
    "edgex": import_edgex,
    "csv": import_csv,
}
_SUFFIXES: Final = {".toml": "telegraf", ".conf": "telegraf", ".csv": "csv", ".tsv": "csv", ".json": "sunspec"}


@click.command("import")
@click.argument("file", metavar="FILE")
@click.option(
    "--from",
    "form",
    type=click.Choice([*_FORMS, "sunspec", "v1alpha2"]),
    default=None,
    help="Which tool wrote it; else by FILE's name and contents.",
)
@click.option("--name", default="", help="Of the model, and of the device; else as FILE has it.")
@click.option("--node", default="", help="On which gateway the device hangs.")
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option("--base", default="", help="SunSpec: where the model begins in the device, such as hr:40002 or 40003.")
@click.option("--factor", "factors", multiple=True, help="SunSpec: a scale factor, such as A_SF=-2.")
@click.option("-o", "--output", "output", type=click.Choice(["yaml", "json"]), default="yaml")
def import_model(
    file: str, form: str | None, name: str, node: str, namespace: str, base: str, factors: Sequence[str], output: str
) -> None:
    """Make manifests of FILE, which Telegraf, Home Assistant, EdgeX, SunSpec or KubeEdge before 1.15 wrote, or of a
    table (CSV): `skerry device model import telegraf.conf > boiler.yaml`. What could not be carried over is told on
    stderr.
    """
    try:
        text = _read(file)
        chosen = form or guessed(file, text)
        if chosen == "v1alpha2":
            objects, notes = convert(text, node=node, namespace=namespace)
        else:
            drafts = _drafts(chosen, text, base, factors)
            objects = manifests(drafts, name=name, node=node, namespace=namespace)
            notes = [f"{draft.name}: {note}" for draft in drafts for note in draft.notes]
    except InvalidError as error:
        fail(InvalidError(f"{file}: {error}"))
    except SkerryError as error:
        fail(error)
    for note in notes:
        say(note, err=True)
    told = f"{len(objects)} objects from {chosen}, {len(notes)} notes"
    say(f"{told}; `skerry device model lint` says more", err=True)
    if output == "json":
        items: list[Json] = [*objects]
        print_data({"kind": "List", "apiVersion": "v1", "items": items}, "json")
    else:
        say(manifest_text(objects), nl=False)


def _drafts(form: str, text: str, base: str, factors: Sequence[str]) -> list[Draft]:
    if form != "sunspec":
        return _FORMS[form](text)
    if not base:
        raise BadRequestError("--base: say where the model begins in the device, such as --base hr:40002")
    return import_sunspec(text, base=parse_address(base).offset, factors=_factors(factors))


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise NotFoundError(f"can't read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadRequestError(f"{file} is not UTF-8 text") from error


def guessed(file: str, text: str) -> str:
    """By the file's name, then by words that only one of them has. Raises `BadRequestError`."""
    suffix = Path(file).suffix.lower()
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    if is_v1alpha2(text):
        return "v1alpha2"
    if "deviceResources" in text:
        return "edgex"
    if any(word in text for word in ("modbus:", "sensors:", "binary_sensors:", "switches:")):
        return "homeassistant"
    raise BadRequestError(f"{file}: say which tool wrote it, with --from")


def _factors(given: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for text in given:
        name, sign, power = text.partition("=")
        try:
            found[name] = int(power)
        except ValueError as error:
            raise BadRequestError(f"--factor {text!r}: write A_SF=-2") from error
        if not sign or not -10 <= found[name] <= 10:
            raise BadRequestError(f"--factor {text!r}: factors are from -10 to 10")
    return found


def manifests(drafts: Sequence[Draft], *, name: str, node: str, namespace: str) -> list[JsonObject]:
    """Of all drafts, a model each. Raises `InvalidError` where nothing came of it, or a gateway would refuse it."""
    if not any(draft.properties for draft in drafts):
        notes = "; ".join(note for draft in drafts for note in draft.notes)
        raise InvalidError(f"nothing could be carried over{f': {notes}' if notes else ''}")
    out: list[JsonObject] = []
    taken: set[str] = set()
    for draft in drafts:
        if not draft.properties:
            continue
        wanted = name_of_text(name if name and len(drafts) == 1 else f"{name}-{draft.name}" if name else draft.name)
        unique = next(
            each for each in (wanted, *(f"{wanted}-{n}" for n in range(2, len(drafts) + 2))) if each not in taken
        )
        taken.add(unique)
        draft.name = unique
        made = draft.objects(model=unique, node=node, namespace=namespace)
        judged(made[1] if len(made) > 1 else _tried(made[0], unique, namespace), made[0])
        out += made
    return out


def _tried(model: JsonObject, name: str, namespace: str) -> JsonObject:
    """A device of a model that comes without one; it is not printed."""
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "deviceModelRef": {"name": name},
            "protocol": {"protocolName": "modbus", "configData": {"ip": "127.0.0.1"}},
        },
    }
