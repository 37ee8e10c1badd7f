"""`skerry device doctor`: devices checked from their declaration to the wire, each finding with what to do next.

The same in the cloud and on a gateway, link or no link: the objects and the drivers here, then the gateway's own word
(`devices/NAME/checkup`). Nothing is changed, and without `--live` no device is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import click

from skerry.cli.backlog import NODES
from skerry.cli.client import Client, path_of
from skerry.cli.device_objects import DEVICES, MODELS, complete_devices, find_twin, output_option
from skerry.cli.diagnosis import (
    LEVELS,
    Evidence,
    Finding,
    diagnosed,
    error_of,
    gateway_findings,
    worst,
)
from skerry.cli.listing import LISTED, Listing, Row, print_listing
from skerry.cli.options import namespace_option
from skerry.cli.output import one_line, print_data, resource_name, say
from skerry.cli.plugged import previewed
from skerry.cli.target import Target, with_target
from skerry.errors import BadRequestError, ForbiddenError, NotFoundError, SkerryError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, maps_at, str_at
from skerry.objects.meta import name_of, namespace_of

_COLOURS: Final = {"ok": "green", "note": "cyan", "warning": "yellow", "fault": "red"}
_LIVE_S: Final = 20


class Patient(Frozen):
    """A device, or a gateway, and what was found."""

    kind: str
    """Device or Node."""
    namespace: str
    name: str
    node: str
    findings: tuple[Finding, ...]

    @property
    def title(self) -> str:
        return f"gateway {self.name}" if self.kind == "Node" else f"{self.namespace}/{self.name}"


@dataclass(slots=True)
class _Rounds:
    """What is asked once, however many devices there are."""

    client: Client
    live: bool
    nodes: dict[str, tuple[JsonObject | None, bool]] = field(
        default_factory=dict[str, "tuple[JsonObject | None, bool]"]
    )
    models: dict[tuple[str, str], JsonObject | None] = field(
        default_factory=dict[tuple[str, str], "JsonObject | None"]
    )
    away: dict[str, UnavailableError] = field(default_factory=dict[str, UnavailableError])
    """Gateways that did not answer: the next device on it need not wait for that."""
    status: JsonObject | None = None

    def evidence(self, device: JsonObject) -> Evidence:
        node = str_at(device, "spec", "nodeName")
        model = self._model(namespace_of(device), str_at(device, "spec", "deviceModelRef", "name"))
        found, known = self._node(node)
        told = self._told(device, node)
        return Evidence(
            device=device,
            model=model,
            problem=_problem(device, model),
            local=self.client.local,
            node=found,
            node_known=known,
            link=self._link(),
            told=told,
            live=self._asked(device) if self.live and not isinstance(told, SkerryError) else None,
        )

    def _link(self) -> JsonObject:
        if self.client.local and self.status is None:
            self.status = self.client.request("GET", "/skerry/link").obj
        return self.status or {}

    def _model(self, namespace: str, name: str) -> JsonObject | None:
        if (namespace, name) not in self.models:
            try:
                found = self.client.request("GET", path_of(MODELS, namespace, name)).obj if name else None
            except NotFoundError:
                found = None
            self.models[namespace, name] = found
        return self.models[namespace, name]

    def _node(self, name: str) -> tuple[JsonObject | None, bool]:
        """The Node, and whether it is known if there is one: not everybody may read Nodes."""
        if self.client.local or not name:
            return None, False
        if name not in self.nodes:
            try:
                self.nodes[name] = self.client.request("GET", path_of(NODES, "", name)).obj, True
            except NotFoundError:
                self.nodes[name] = None, True
            except ForbiddenError:
                self.nodes[name] = None, False
        return self.nodes[name]

    def _told(self, device: JsonObject, node: str) -> JsonObject | SkerryError:
        if not node and not self.client.local:
            return NotFoundError("it is on no gateway")
        if node in self.away:
            return self.away[node]
        try:
            return self.client.request("GET", path_of(DEVICES, namespace_of(device), name_of(device), "checkup")).obj
        except UnavailableError as error:
            self.away[node] = error
            return error
        except (NotFoundError, BadRequestError, ForbiddenError) as error:
            return error

    def _asked(self, device: JsonObject) -> JsonObject | SkerryError:
        path = path_of(DEVICES, namespace_of(device), name_of(device), "read")
        try:
            return self.client.request("POST", path, body={"timeoutSeconds": _LIVE_S}).obj
        except (UnavailableError, NotFoundError, BadRequestError, ForbiddenError) as error:
            return error


def _problem(device: JsonObject, model: JsonObject | None) -> str | None:
    """As the drivers here judge it; None where there are none."""
    told = previewed(device, model, {}) if model is not None else None
    return None if told is None else str_at(told, "problem")


@click.command("doctor")
@click.argument("names", nargs=-1, shell_complete=complete_devices)
@namespace_option
@click.option("-A", "--all-namespaces", is_flag=True, help="Devices of all namespaces.")
@click.option("-l", "--selector", default="", help="Labels of the devices, as kubectl takes them.")
@click.option("--node", default="", help="All devices of this gateway.")
@click.option("--live", is_flag=True, help="Ask each device now as well.")
@click.option("--strict", is_flag=True, help="Warnings count as faults.")
@click.option("-q", "--quiet", is_flag=True, help="Only what is not well.")
@output_option("text", "text, table, wide, json, yaml, jsonl, csv or name")
@with_target
def doctor(
    target: Target,
    names: Sequence[str],
    namespace: str,
    all_namespaces: bool,
    selector: str,
    node: str,
    live: bool,
    strict: bool,
    quiet: bool,
    form: str,
) -> None:
    """Check devices from their declaration to the wire, and say what to do about what is wrong.

    Without NAMES all devices of the namespace; on a gateway all that it has. The exit code is that of the first
    fault: 3 something is missing, 4 a conflict waits, 5 refused, 6 not in time, 7 out of reach; 0 for none.
    """
    if form not in ("text", *LISTED):
        raise BadRequestError(f"-o {form}: use one of {', '.join(('text', *LISTED))}")
    if names and (all_namespaces or selector or node):
        raise BadRequestError("give either names, or -A, -l and --node")
    client = target.client()
    everywhere = all_namespaces or bool(node) or (client.local and not namespace)
    place = "" if everywhere and not names else namespace or client.namespace
    patients = examined(client, _devices(client, place, names, selector, node), live=live)
    print_patients(patients, form, quiet=quiet)
    end(patients, strict=strict)


def _devices(client: Client, place: str, names: Sequence[str], selector: str, node: str) -> list[JsonObject]:
    if names:
        return [find_twin(client, place, name).device for name in names]
    query = {"labelSelector": selector} if selector else {}
    found = maps_at(client.request("GET", path_of(DEVICES, place), query=query).obj, "items")
    found = [each for each in found if node in ("", str_at(each, "spec", "nodeName"))]
    if not found:
        raise NotFoundError("there are no such devices; `skerry device list -A` shows what there is")
    return found


def examined(client: Client, devices: Sequence[JsonObject], *, live: bool) -> list[Patient]:
    """Gateways first, each followed by its devices."""
    rounds = _Rounds(client, live)
    by_node: dict[str, list[Evidence]] = {}
    for device in devices:
        by_node.setdefault(str_at(device, "spec", "nodeName"), []).append(rounds.evidence(device))
    patients: list[Patient] = []
    for node, evidence in sorted(by_node.items()):
        # Who answered knows of the gateway; where none did, one of them says why.
        best = min(evidence, key=lambda each: isinstance(each.told, SkerryError))
        if node:
            patients.append(
                Patient(kind="Node", namespace="", name=node, node=node, findings=tuple(gateway_findings(best)))
            )
        patients += [
            Patient(
                kind="Device",
                namespace=namespace_of(each.device),
                name=name_of(each.device),
                node=node,
                findings=tuple(diagnosed(each)),
            )
            for each in evidence
        ]
    return patients


def end(patients: Sequence[Patient], *, strict: bool) -> None:
    """Raises the error of the first fault."""
    counted = ("warning", "fault") if strict else ("fault",)
    found = [(patient, each) for patient in patients for each in patient.findings if each.level in counted]
    if not found:
        return
    patient, first = next((one for one in found if one[1].level == "fault"), found[0])
    more = f"; and {len(found) - 1} more" if len(found) > 1 else ""
    where = f"{patient.title}{f'/{first.prop}' if first.prop else ''}"
    raise error_of(first, f"{where}: {first.check}: {first.says}{more}")


# --- showing ----------------------------------------------------------------------------------------------


def print_patients(patients: Sequence[Patient], form: str, *, quiet: bool) -> None:
    """In that form; `quiet`: what is not well alone."""
    shown = ("warning", "fault") if quiet else LEVELS
    if form == "text":
        for patient in patients:
            found = [each for each in patient.findings if each.level in shown]
            if found or not quiet:
                _print_patient(patient, found)
    elif form in ("json", "yaml"):
        items: list[Json] = [_document(patient, shown) for patient in patients]
        print_data({"kind": "DeviceDiagnosisList", "apiVersion": "skerry.dev/v1", "items": items}, form)
    else:
        print_listing(_listing(patients, shown), form, empty="All is well.")


def _print_patient(patient: Patient, found: Sequence[Finding]) -> None:
    level = worst(patient.findings)
    at = f" at {patient.node}" if patient.kind == "Device" and patient.node else ""
    verdict = "well" if level in ("ok", "note") else f"{_count(patient, 'fault')}, {_count(patient, 'warning')}"
    say(f"{patient.title}{at}: {verdict}", bold=True, fg=_COLOURS[level])
    for each in found:
        say("  ", nl=False)
        say(f"{each.level:<8}", fg=_COLOURS[each.level], nl=False)
        about = f"{each.check} {each.prop}".strip()
        say(one_line(f"{about:<16} {each.says}"))
        if each.next:
            say(one_line(f"  {'':<8}{'':<16} -> {each.next}"))


def _count(patient: Patient, level: str) -> str:
    number = sum(each.level == level for each in patient.findings)
    return f"{number} {level}{'' if number == 1 else 's'}"


def _document(patient: Patient, shown: Sequence[str]) -> JsonObject:
    return {
        "kind": patient.kind,
        "namespace": patient.namespace,
        "name": patient.name,
        "node": patient.node,
        "level": worst(patient.findings),
        "findings": [_shown(each) for each in patient.findings if each.level in shown],
    }


def _shown(finding: Finding) -> JsonObject:
    out: JsonObject = {"level": finding.level, "check": finding.check, "says": finding.says}
    out |= {"property": finding.prop} if finding.prop else {}
    return out | ({"next": finding.next} if finding.next else {})


def _listing(patients: Sequence[Patient], shown: Sequence[str]) -> Listing:
    """One row a finding."""
    rows = tuple(
        Row(
            cells=(patient.name, patient.node, each.level, each.check, each.prop, each.says, each.next),
            obj={"kind": patient.kind, "namespace": patient.namespace, "name": patient.name, **_shown(each)},
            name=f"node/{patient.name}" if patient.kind == "Node" else resource_name(DEVICES, patient.name),
        )
        for patient in patients
        for each in patient.findings
        if each.level in shown
    )
    titles = ("NAME", "NODE", "LEVEL", "CHECK", "PROPERTY", "SAYS", "NEXT")
    return Listing(titles=titles, rows=rows, wide=frozenset({"NODE", "NEXT"}))
