"""`skerry device model`: DeviceModels that there are, and what is wrong with them before a gateway has them.

Files are judged without a server; names are looked up in the cloud or on the gateway. It is judged by the parsers
that the drivers use (`devices.commands.preview`) and by `devices.lint`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import click

from devices.budget import WARN
from devices.commands.bus import line_plan
from devices.commands.importing import import_model
from devices.commands.manifests import ModelledDevice
from devices.commands.preview import judged
from devices.lint import Finding, modbus_findings, model_findings
from devices.modbus.driver import line_name
from devices.protocols import driver_of
from skerry.cli.apply import read_manifests
from skerry.cli.client import Client, path_of
from skerry.cli.device_objects import DEVICES, MODELS, fields_option, output_option
from skerry.cli.device_show import model_listed
from skerry.cli.listing import Listing, Row, check_listed, fields_of, print_listing
from skerry.cli.options import namespace_option
from skerry.cli.output import joined, print_data, resource_name, say, styled
from skerry.cli.target import RefusedError, Target, with_target
from skerry.errors import BadRequestError, InvalidError, NotFoundError
from skerry.frozen import Frozen
from skerry.objects.device_manifests import bare
from skerry.objects.device_models import is_writable, properties_in
from skerry.objects.json import JsonObject, ensure_map, map_at, maps_at, str_at
from skerry.objects.meta import name_of, namespace_of

_COLOURS: Final = {"fault": "red", "warning": "yellow", "hint": "cyan"}
_LEVELS: Final = ("fault", "warning", "hint")
_ANYWHERE: Final[JsonObject] = {"ip": "127.0.0.1"}
"""Where a model without a device is taken to be: it is not dialled."""


class Judged(Frozen):
    """One finding, and of which object."""

    title: str
    finding: Finding


@click.group("model")
def model() -> None:
    """DeviceModels: list, show, validate, lint, import."""


model.add_command(import_model)


@model.command("list")
@namespace_option
@click.option("-A", "--all-namespaces", is_flag=True, help="In every namespace.")
@click.option("-l", "--selector", default="", help="Label selector, as kubectl's.")
@output_option()
@fields_option
@with_target
def list_models(target: Target, namespace: str, all_namespaces: bool, selector: str, form: str, fields: str) -> None:
    """List DeviceModels, and how many devices use each."""
    check_listed(form)
    client = target.client()
    place = "" if all_namespaces else namespace or client.namespace
    query = {"labelSelector": selector} if selector else {}
    models = maps_at(client.request("GET", path_of(MODELS, place), query=query).obj, "items")
    devices = maps_at(client.request("GET", path_of(DEVICES, place)).obj, "items")
    listing = models_listed(models, devices)
    listing = listing if all_namespaces else listing.without("NAMESPACE")
    print_listing(listing, form, fields_of(fields), empty="No models found.")


def models_listed(models: Sequence[JsonObject], devices: Sequence[JsonObject]) -> Listing:
    """One row a model."""
    rows: list[Row] = []
    for obj in models:
        props = [*properties_in(obj).values()]
        users = [one for one in devices if _model_key(one) == (namespace_of(obj), name_of(obj))]
        cells = (
            namespace_of(obj),
            name_of(obj),
            str_at(obj, "spec", "protocol") or "<none>",
            str(len(props)),
            str(sum(is_writable(prop) for prop in props)),
            str(len(users)),
            " ".join(name_of(one) for one in users) or "<none>",
        )
        rows.append(Row(cells=cells, obj=obj, name=resource_name(MODELS, name_of(obj))))
    titles = ("NAMESPACE", "NAME", "PROTOCOL", "PROPERTIES", "WRITABLE", "DEVICES", "USED BY")
    return Listing(titles=titles, rows=tuple(rows), wide=frozenset({"USED BY"}))


def _model_key(device: JsonObject) -> tuple[str, str]:
    return namespace_of(device), str_at(device, "spec", "deviceModelRef", "name")


@model.command("show")
@click.argument("name")
@namespace_option
@output_option()
@fields_option
@with_target
def show(target: Target, name: str, namespace: str, form: str, fields: str) -> None:
    """Show the properties of a model: type, access, unit, range and where they are. YAML and JSON apply again."""
    check_listed(form)
    client = target.client()
    try:
        obj = client.request("GET", path_of(MODELS, namespace or client.namespace, name)).obj
    except NotFoundError as error:
        raise NotFoundError(f"{error}; `skerry device model list` shows what there is") from error
    if form in ("json", "yaml") and not fields:
        print_data(bare(obj), form)
    else:
        print_listing(model_listed(obj), form, fields_of(fields), empty=f"{name} has no properties.")


# --- judging ----------------------------------------------------------------------------------------------

_files = click.option("-f", "--filename", "files", multiple=True, help="File, directory or - for standard input.")


@model.command("validate")
@click.argument("names", nargs=-1)
@_files
@namespace_option
@output_option("text", "text, table, json, yaml, jsonl or csv")
@with_target
def validate(target: Target, names: Sequence[str], files: Sequence[str], namespace: str, form: str) -> None:
    """Say whether a gateway would serve these models and the devices that use them. Exit code 5: not all of them.

    With -f nobody is asked; NAMEs are of models in the cloud, or on the gateway.
    """
    found = [one for one in _findings(target, names, files, namespace) if one.finding.level == "fault"]
    _report(found, form, "valid")


@model.command("lint")
@click.argument("names", nargs=-1)
@_files
@namespace_option
@click.option("--strict", is_flag=True, help="Exit code 5 for warnings, too.")
@click.option("--level", type=click.Choice(_LEVELS), default="hint", help="Nothing lighter than this.")
@output_option("text", "text, table, json, yaml, jsonl or csv")
@with_target
def lint(
    target: Target,
    names: Sequence[str],
    files: Sequence[str],
    namespace: str,
    strict: bool,
    level: str,
    form: str,
) -> None:
    """As validate, and what likely is not meant: registers of two properties, ranges that can't be written, numbers
    without unit, order or sentinel, lines that can't carry their polls. Exit code 5: there is a fault."""
    shown = _LEVELS[: _LEVELS.index(level) + 1]
    found = [one for one in _findings(target, names, files, namespace) if one.finding.level in shown]
    _report(found, form, "clean", grave=("fault", "warning") if strict else ("fault",))


def _findings(target: Target, names: Sequence[str], files: Sequence[str], namespace: str) -> list[Judged]:
    if bool(names) == bool(files):
        raise BadRequestError("name models, or give files with -f")
    if files:
        objects = [obj for file in files for _, obj in read_manifests(file)]
    else:
        client = target.client()
        objects = _named(client, namespace or client.namespace, names)
    models = [obj for obj in objects if str_at(obj, "kind") == MODELS.kind]
    devices = [obj for obj in objects if str_at(obj, "kind") == DEVICES.kind]
    if not models and not devices:
        raise BadRequestError(f"there is no DeviceModel and no Device in {', '.join(files)}")
    return [*judgements(models, devices)]


def _named(client: Client, place: str, names: Sequence[str]) -> list[JsonObject]:
    models = [client.request("GET", path_of(MODELS, place, name)).obj for name in names]
    devices = maps_at(client.request("GET", path_of(DEVICES, place)).obj, "items")
    return [*models, *(one for one in devices if str_at(one, "spec", "deviceModelRef", "name") in names)]


def judgements(models: Sequence[JsonObject], devices: Sequence[JsonObject]) -> Iterator[Judged]:
    """Everything that is found, models first. A model that no device uses is taken for a device of its own."""
    by_name: dict[tuple[str, str], JsonObject] = {}
    for obj in (*models, *devices):
        ensure_map(obj, "metadata").setdefault("namespace", "default")
    for obj in models:
        by_name[namespace_of(obj), name_of(obj)] = obj
        yield from (Judged(title=f"DeviceModel {name_of(obj)}", finding=one) for one in model_findings(obj))
    lines: dict[str, list[ModelledDevice]] = {}
    for device in devices:
        found = by_name.get(_model_key(device))
        title = f"Device {name_of(device)}"
        if found is None:
            name = str_at(device, "spec", "deviceModelRef", "name")
            says = f"its DeviceModel {name or '(none)'} is not among the files"
            yield Judged(title=title, finding=_model_missing(says))
            continue
        yield from _device_judgements(title, device, found, lines)
    used = {_model_key(device) for device in devices}
    for key, obj in by_name.items():
        if key not in used and driver_of(str_at(obj, "spec", "protocol")) == "modbus":
            yield from _device_judgements(f"DeviceModel {name_of(obj)}", _taken_for_device(obj), obj, {})
    yield from _line_judgements(lines)


def _model_missing(says: str) -> Finding:
    fix = "give the file that it is in, too"
    return Finding(level="warning", code="model", field="spec.deviceModelRef.name", says=says, fix=fix)


def _device_judgements(
    title: str, device: JsonObject, of_model: JsonObject, lines: dict[str, list[ModelledDevice]]
) -> Iterator[Judged]:
    try:
        parsed = judged(device, of_model)
    except InvalidError as error:
        field, _, says = str(error).partition(": ")
        fault = Finding(level="fault", code="invalid", field=field, says=says or str(error), fix="")
        yield Judged(title=title, finding=fault)
        return
    if parsed is None:
        return
    lines.setdefault(line_name(parsed.endpoint), []).append(
        ModelledDevice(name=name_of(device), parsed=parsed, of_model=False)
    )
    yield from (Judged(title=title, finding=one) for one in modbus_findings(parsed, _visitors(device, of_model)))


def _visitors(device: JsonObject, of_model: JsonObject) -> Mapping[str, JsonObject]:
    placed = properties_in(device)
    return {
        name: {
            **map_at(prop, "visitors", "configData"),
            **map_at(placed.get(name), "visitors", "configData"),
        }
        for name, prop in properties_in(of_model).items()
    }


def _taken_for_device(of_model: JsonObject) -> JsonObject:
    data: JsonObject = {**map_at(of_model, "spec", "protocolConfigData")}
    if not any(name in data for name in ("tcp", "ip", "host", "serialPort", "rtu", "com")):
        data |= _ANYWHERE
    return {
        "metadata": {"name": name_of(of_model), "namespace": namespace_of(of_model)},
        "spec": {
            "deviceModelRef": {"name": name_of(of_model)},
            "protocol": {"protocolName": "modbus", "configData": data},
        },
    }


def _line_judgements(lines: Mapping[str, Sequence[ModelledDevice]]) -> Iterator[Judged]:
    for devices in lines.values():
        _, need, _ = line_plan(devices, None)
        name = str(devices[0].parsed.endpoint)
        if need.needs > WARN:
            finding = Finding(
                level="fault" if need.needs > 1 else "warning",
                code="budget",
                field="spec.properties[].collectCycle",
                says=need.warning(name),
                fix="`skerry device bus plan` shows the share of each device",
            )
            yield Judged(title=f"Line {name}", finding=finding)


def _report(found: Sequence[Judged], form: str, good: str, *, grave: Sequence[str] = ("fault",)) -> None:
    if form == "text":
        for one in found:
            level = styled(f"{one.finding.level:<8}", fg=_COLOURS[one.finding.level])
            say(joined([level, f" {one.title}: {one.finding.field}: {one.finding.says}"]))
            if one.finding.fix:
                say(f"         {one.finding.fix}")
        counts = [(level, sum(one.finding.level == level for one in found)) for level in _LEVELS]
        told = ", ".join(f"{count} {level}{'' if count == 1 else 's'}" for level, count in counts if count)
        say(told or good)
    else:
        check_listed(form)
        print_listing(findings_listed(found), form, empty=good)
    bad = [one for one in found if one.finding.level in grave]
    if bad:
        raise RefusedError(f"{len(bad)} of what was found must be mended first")


def findings_listed(found: Sequence[Judged]) -> Listing:
    """One row a finding."""
    rows = tuple(
        Row(
            cells=(one.finding.level, one.title, one.finding.code, one.finding.field, one.finding.says),
            obj={
                "level": one.finding.level,
                "object": one.title,
                "code": one.finding.code,
                "field": one.finding.field,
                "says": one.finding.says,
                "fix": one.finding.fix,
            },
            name=one.title,
        )
        for one in found
    )
    return Listing(titles=("LEVEL", "OBJECT", "CODE", "FIELD", "SAYS"), rows=rows)
