"""`skerry device export|edit|delete`: devices as files and back, by hand, and away with them.

What is exported has nothing of the server's in it, so it applies again, here without any change and elsewhere as the
same devices. What is edited is checked before it is written, and kept in a file where it could not be.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from skerry.cli.apply import documents
from skerry.cli.client import Client, path_of
from skerry.cli.device_apply import print_plan
from skerry.cli.device_carrying import carry_out
from skerry.cli.device_objects import (
    DEVICES,
    MODELS,
    Twin,
    complete_devices,
    find_model,
    find_twin,
    find_twins,
)
from skerry.cli.device_plan import Planned, planned
from skerry.cli.options import namespace_option
from skerry.cli.output import print_data, resource_name, say
from skerry.cli.target import Target, with_target
from skerry.errors import BadRequestError, InvalidError, NotFoundError, SkerryError, UnavailableError
from skerry.objects.device_manifests import bare
from skerry.objects.json import Json, JsonObject, maps_at, str_at
from skerry.objects.meta import name_of, namespace_of, uid_of

_EDITOR: Final = "vi"
_COMMENT: Final = "# "


@click.command("export")
@click.argument("names", nargs=-1, shell_complete=complete_devices)
@namespace_option
@click.option("-A", "--all-namespaces", is_flag=True, help="Of every namespace.")
@click.option("-l", "--selector", default="", help="Label selector, as kubectl's.")
@click.option("--models/--no-models", default=True, help="With the DeviceModels that they use.  [default: with]")
@click.option("--values/--no-values", default=True, help="With what is wanted of them.  [default: with]")
@click.option("-o", "--output", "form", type=click.Choice(["yaml", "json"]), default="yaml")
@with_target
def export(
    target: Target,
    names: Sequence[str],
    namespace: str,
    all_namespaces: bool,
    selector: str,
    models: bool,
    values: bool,
    form: str,
) -> None:
    """Print devices as manifests that apply again: `skerry device export > devices.yaml`.

    Without status and whatever else the server writes; `skerry device apply -f` of it changes nothing.
    """
    client = target.client()
    place = namespace or client.namespace
    if names and (all_namespaces or selector):
        raise BadRequestError("give names, or -A and -l")
    found = (
        [find_twin(client, place, name) for name in names]
        if names
        else find_twins(client, "" if all_namespaces else place, selector)
    )
    if not found:
        raise NotFoundError("no devices found; `skerry device list -A` shows what there is")
    objects = exported(client, found, models=models, values=values)
    if form == "json":
        items: list[Json] = [*objects]
        print_data({"kind": "List", "apiVersion": "v1", "items": items}, form)
    else:
        say(manifest_text(objects), nl=False)


def exported(client: Client, found: Sequence[Twin], *, models: bool, values: bool) -> list[JsonObject]:
    """The manifests: each model once, before its devices."""
    out: dict[str, JsonObject] = {}
    for twin in found:
        model = find_model(client, namespace_of(twin.device), twin.device) if models else {}
        if model:
            out.setdefault(path_of(MODELS, namespace_of(model), name_of(model)), bare(model))
    for twin in found:
        made = bare(twin.device)
        if not values:
            for entry in maps_at(made, "spec", "properties"):
                entry.pop("desired", None)
        out[path_of(DEVICES, namespace_of(made), name_of(made))] = made
    return [*out.values()]


def manifest_text(objects: Sequence[JsonObject]) -> str:
    """As YAML, an object a document, names before settings as people write them."""
    import yaml

    return "---\n".join(
        yaml.safe_dump(_ordered(obj), sort_keys=False, allow_unicode=True, default_flow_style=False, width=110)
        for obj in objects
    )


def _ordered(obj: JsonObject) -> JsonObject:
    """`name` first within lists and metadata."""
    out: JsonObject = {"name": obj["name"]} if "name" in obj else {}
    for name, value in obj.items():
        if isinstance(value, dict):
            out[name] = _ordered(value)
        elif isinstance(value, list):
            out[name] = [_ordered(item) if isinstance(item, dict) else item for item in value]
        else:
            out[name] = value
    return out


# --- editing ----------------------------------------------------------------------------------------------


@click.command("edit")
@click.argument("name", shell_complete=complete_devices)
@namespace_option
@click.option("--model", "of_model", is_flag=True, help="NAME is that of a DeviceModel.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask before it is written.")
@with_target
def edit(target: Target, name: str, namespace: str, of_model: bool, yes: bool) -> None:
    """Change a device in an editor ($VISUAL, $EDITOR, vi); it is checked, and shown, before it is written.

    What is wrong is said in the editor, until it is right or the file is left as it was; then it is kept, and its
    place is told. On a gateway itself only desired values can be changed.
    """
    client = target.client()
    place = namespace or client.namespace
    try:
        obj = client.request("GET", path_of(MODELS if of_model else DEVICES, place, name)).obj
    except NotFoundError as error:
        raise NotFoundError(f"{error}; `skerry device list -A` shows what there is") from error
    plan = _edited(client, place, manifest_text([bare(obj)]))
    changed = [one for one in plan if one.action != "nothing"]
    if not changed:
        say(f"{name} is as it was.", err=True)
        return
    if sys.stdin.isatty() and not yes:
        print_plan(plan, "text")
        if not click.confirm("Write this?", err=True):
            raise SkerryError("nothing is written")
    carry_out(client, changed)
    for one in changed:
        say(f"{resource_name(one.kind, one.name)} edited")


def _edited(client: Client, place: str, text: str) -> list[Planned]:
    """What its author made of it, once it is right. Raises `InvalidError` that names the file where it is kept."""
    said = "Empty, or left as it is, it changes nothing."
    before = text
    with tempfile.NamedTemporaryFile("w+", suffix=".yaml", prefix="skerry-", delete=False) as made:
        file = Path(made.name)
    while True:
        file.write_text(_commented(said) + text, encoding="utf-8")
        _run_editor(file)
        now = _without_comment(file.read_text(encoding="utf-8"))
        if not now.strip() or now == before:
            if said.startswith("Empty"):
                file.unlink()
                return []
            raise InvalidError(f"{said}; nothing is written, and what you wrote is kept in {file}")
        try:
            plan = planned(client, list(documents(file.name, now)), place, whole=True)
        except (BadRequestError, InvalidError, UnavailableError, NotFoundError) as error:
            causes = error.causes if isinstance(error, InvalidError) else ()
            said = "\n".join([str(error), *(f"  {cause.field}: {cause.message}" for cause in causes)])
            if not sys.stdin.isatty():
                text = f"{error}; nothing is written, and what you wrote is kept in {file}"
                raise InvalidError(text, causes) from error
            text = before = now
            continue
        file.unlink()
        return plan


def _commented(said: str) -> str:
    return "".join(f"{_COMMENT}{line}\n" for line in said.splitlines()) + "#\n"


def _without_comment(text: str) -> str:
    """Without the lines at the top, which are ours."""
    lines = text.splitlines(keepends=True)
    first = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "".join(lines[first:])


def _run_editor(file: Path) -> None:
    words = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or _EDITOR)
    try:
        code = subprocess.run([*words, str(file)], check=False).returncode
    except OSError as error:
        raise BadRequestError(
            f"the editor {words[0]!r} can't be started ({error.strerror}): set EDITOR; your file is {file}"
        ) from error
    if code:
        raise SkerryError(f"the editor ended with {code}; nothing is written, and your file is {file}")


# --- deleting ---------------------------------------------------------------------------------------------


@click.command("delete")
@click.argument("names", nargs=-1, required=True, shell_complete=complete_devices)
@namespace_option
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@click.option("--with-model", is_flag=True, help="And their DeviceModels, where no other device uses them.")
@with_target
def delete(target: Target, names: Sequence[str], namespace: str, yes: bool, with_model: bool) -> None:
    """Delete devices, after a question: `skerry device delete boiler-1`. Their history stays until its time is over.

    The devices themselves keep what they hold; nothing is written to them. Without a terminal, give --yes.
    """
    client = target.client()
    if client.local:
        raise UnavailableError(
            "the cloud owns devices: delete it there, with --kubeconfig; here, `skerry device hold` leaves it alone"
        )
    place = namespace or client.namespace
    found = [find_twin(client, place, name).device for name in dict.fromkeys(names)]
    models = _models_alone(client, place, found) if with_model else []
    if not yes:
        for obj in found:
            node = str_at(obj, "spec", "nodeName") or "no node"
            say(f"  {name_of(obj)}, on {node}, of model {str_at(obj, 'spec', 'deviceModelRef', 'name')}", err=True)
        for obj in models:
            say(f"  DeviceModel {name_of(obj)}", err=True)
        if not sys.stdin.isatty():
            raise BadRequestError("there is no terminal to ask on: give --yes to delete them")
        if not click.confirm("Delete this?", err=True):
            raise SkerryError("nothing is deleted")
    for kind, objects in ((DEVICES, found), (MODELS, models)):
        for obj in objects:
            # Not one of the same name that somebody made meanwhile.
            body: JsonObject = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid_of(obj)}}
            client.request("DELETE", path_of(kind, place, name_of(obj)), body=body)
            say(f"{resource_name(kind, name_of(obj))} deleted")


def _models_alone(client: Client, place: str, going: Sequence[JsonObject]) -> list[JsonObject]:
    """Models that nobody uses once these devices are gone."""
    gone = {name_of(obj) for obj in going}
    others = {
        str_at(twin.device, "spec", "deviceModelRef", "name")
        for twin in find_twins(client, place)
        if name_of(twin.device) not in gone
    }
    models = {name_of(model): model for obj in going if (model := find_model(client, place, obj))}
    return [model for name, model in models.items() if name not in others]
