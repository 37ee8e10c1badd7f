"""What applying manifests of Devices and DeviceModels would change: found out before anything is written.

The same plan is shown by `device diff` and carried out by `device apply`. It is made of what is there and what the
files say; the server checks each object without storing it, and the drivers that are installed here say whether a
gateway would serve the device and which registers it would write. Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

from skerry.cli import threeway
from skerry.cli.apply import V1ALPHA2_HINT
from skerry.cli.client import Client, Server, path_of
from skerry.cli.device_objects import DEVICES, MODELS
from skerry.cli.plugged import previewed
from skerry.errors import BadRequestError, Cause, ForbiddenError, InvalidError, NotFoundError, UnavailableError
from skerry.frozen import Frozen, replace
from skerry.objects.device_desired import ms_of
from skerry.objects.device_manifests import (
    GROUP,
    FieldChange,
    applied,
    bare,
    changes_between,
    wanted_changes,
)
from skerry.objects.device_models import properties_in
from skerry.objects.json import JsonObject, clone, ensure_map, map_at, maps_at, str_at
from skerry.objects.meta import name_of, namespace_of
from skerry.objects.patches import difference
from skerry.objects.scheme import Kind
from skerry.objects.times import time_text

MANAGER: Final = "skerry-apply"
_KINDS: Final = {kind.kind: kind for kind in (MODELS, DEVICES)}
"""Models first: a device is checked against its model."""

_SAID_HERE: Final = ("", ".value", ".metadata", ".metadata.expires", ".metadata.onReconnect")
"""Fields of a desired value that a gateway keeps; a reason is kept in the cloud."""


class Planned(Frozen):
    """One object of the manifests, as it is and as it would be."""

    kind: Kind
    namespace: str
    name: str
    source: str
    """Where in the files it stands."""
    before: JsonObject
    """As it is there; {} where it is not."""
    after: JsonObject
    """As it would be written."""
    changes: tuple[FieldChange, ...]
    wanted: Mapping[str, str | None]
    """What would be wanted afresh of the device, by property; None: nothing any more."""
    writes: JsonObject
    """By property, what a gateway would send, as far as that can be told here."""

    @property
    def action(self) -> Literal["create", "change", "nothing"]:
        if not self.before:
            return "create"
        return "change" if self.changes else "nothing"

    @property
    def path(self) -> str:
        return path_of(self.kind, self.namespace, self.name)

    @property
    def title(self) -> str:
        return f"{self.kind.kind} {self.namespace}/{self.name}"

    @property
    def patch(self) -> JsonObject:
        """From what is there to what would be, as a JSON merge patch."""
        return difference(self.before, self.after)


def planned(
    client: Client, manifests: Sequence[tuple[str, JsonObject]], namespace: str, *, whole: bool = False
) -> list[Planned]:
    """The plan, models first. `whole`: the manifests are all that their objects shall be, as after an editor, and
    what they don't name goes. Raises `BadRequestError` and `InvalidError` that name each object and field at fault:
    then nothing of it may be applied."""
    found = [_one(client, source, obj, namespace, whole=whole) for source, obj in manifests]
    _refuse_twice(found)
    found.sort(key=lambda one: list(_KINDS).index(one.kind.kind))
    causes: list[Cause] = []
    plan: list[Planned] = []
    for one in found:
        model = _model_of(client, one, found)
        checked, problems = _previewed(one, model)
        problems = problems or (_elsewhere(checked) if client.local else _refused(client, checked, found))
        causes += [Cause(field=f"{one.source}: {one.title}", reason="", message=text) for text in problems]
        plan.append(checked)
    if causes:
        raise _error(causes, local=client.local and all("cloud" in cause.message for cause in causes))
    return plan


def _error(causes: Sequence[Cause], *, local: bool) -> InvalidError | UnavailableError:
    if local:
        return UnavailableError("; ".join(f"{cause.field}: {cause.message}" for cause in causes))
    first = f"{causes[0].field}: {causes[0].message}"
    text = first if len(causes) == 1 else f"{len(causes)} faults, so nothing is applied"
    return InvalidError(text, causes)


def _one(client: Client, source: str, obj: JsonObject, namespace: str, *, whole: bool) -> Planned:
    api_version, word = str_at(obj, "apiVersion"), str_at(obj, "kind")
    kind = _KINDS.get(word)
    if api_version == f"{GROUP}/v1alpha2":
        raise BadRequestError(f"{source}: {V1ALPHA2_HINT}")
    if kind is None or kind.api_version != api_version:
        raise BadRequestError(
            f"{source}: {word or 'an object without a kind'} in apiVersion {api_version or '(none)'} is no Device or "
            f"DeviceModel of {DEVICES.api_version}; `skerry apply -f` takes all kinds"
        )
    if not name_of(obj):
        raise BadRequestError(f"{source}: metadata.name is required")
    place = namespace_of(obj) or namespace or client.namespace
    manifest = clone(obj)
    manifest.pop("status", None)
    ensure_map(manifest, "metadata")["namespace"] = place
    return _compared(client, kind, source, manifest, whole=whole)


def _compared(client: Client, kind: Kind, source: str, manifest: JsonObject, *, whole: bool) -> Planned:
    place, name = namespace_of(manifest), name_of(manifest)
    try:
        before = client.request("GET", path_of(kind, place, name)).obj
    except NotFoundError:
        before = {}
    # An editor's file is remembered by nobody; nor does a gateway, which has of manifests what came with the object.
    wanted = manifest if client.local or whole else threeway.annotated(manifest)
    last = bare(before) if whole and before else threeway.last_applied(before)
    after = applied(before, wanted, last) if before else wanted
    after = {"apiVersion": kind.api_version, "kind": kind.kind, **after}
    return Planned(
        kind=kind,
        namespace=place,
        name=name,
        source=source,
        before=before,
        after=after,
        changes=changes_between(before, after),
        wanted=wanted_changes(before, after) if kind is DEVICES else {},
        writes={},
    )


def _refuse_twice(found: Sequence[Planned]) -> None:
    seen: dict[str, str] = {}
    for one in found:
        if one.path in seen:
            raise BadRequestError(f"{one.title} is in {seen[one.path]} and again in {one.source}: keep one of them")
        seen[one.path] = one.source


# --- checks -----------------------------------------------------------------------------------------------


def _model_of(client: Server, one: Planned, found: Sequence[Planned]) -> JsonObject | None:
    """The device's model as it would be; None where there is none (yet), and for a model."""
    name = str_at(one.after, "spec", "deviceModelRef", "name")
    if one.kind is not DEVICES or not name:
        return None
    for other in found:
        if (other.kind, other.namespace, other.name) == (MODELS, one.namespace, name):
            return other.after
    try:
        return client.request("GET", path_of(MODELS, one.namespace, name)).obj
    except NotFoundError:
        return None


def _previewed(one: Planned, model: JsonObject | None) -> tuple[Planned, list[str]]:
    """With what would be written, and what is wrong with it. A device whose model comes later waits for it."""
    if one.kind is not DEVICES or one.action == "nothing" or model is None:
        return one, []
    told = previewed(one.after, model, {prop: value for prop, value in one.wanted.items() if value is not None})
    if told is None:
        return one, []
    problems = [str_at(told, "problem")] if str_at(told, "problem") else []
    writes = map_at(told, "writes")
    for prop in writes:
        refusal = str_at(writes, prop, "refusal")
        problems += [f"spec.properties[{prop}].desired.value: {refusal}"] if refusal else []
    return replace(one, writes=writes), problems


def _elsewhere(one: Planned) -> list[str]:
    """What can't be done on a gateway: all but values that are wanted."""
    here = {f"spec.properties[{prop}].desired{part}" for prop in one.wanted for part in _SAID_HERE}
    gone = {f"spec.properties[{prop}].desired.metadata.reason" for prop in one.wanted}
    other = [
        change.field
        for change in one.changes
        if change.field not in here and not (change.field in gone and change.sign == "-")
    ]
    if not one.before:
        return ["is not on this gateway; make it in the cloud, with --kubeconfig"]
    if not other:
        return []
    more = f" and {len(other) - 3} more" if len(other) > 3 else ""
    why = "on a gateway only desired values are written: apply it with --kubeconfig"
    return [f"only the cloud changes {', '.join(other[:3])}{more}; {why}"]


def _refused(client: Server, one: Planned, found: Sequence[Planned]) -> list[str]:
    """What the server says of it without storing it."""
    if one.action == "nothing":
        return []
    asked = _asked(one, found)
    query = {"fieldManager": MANAGER, "fieldValidation": "Strict", "dryRun": "All"}
    try:
        if one.before:
            patch = difference(one.before, asked)
            client.request("PATCH", one.path, query=query, body=patch, content_type="application/merge-patch+json")
        else:
            client.request("POST", path_of(one.kind, one.namespace), query=query, body=asked)
    except InvalidError as error:
        return [f"{cause.field}: {cause.message}" for cause in error.causes] or [str(error)]
    except (BadRequestError, ForbiddenError, NotFoundError) as error:
        return [str(error)]
    return []


def _asked(one: Planned, found: Sequence[Planned]) -> JsonObject:
    """A device whose model changes too is asked about without its values: the server would check them against the
    model as it is now. The preview has checked them against what it becomes."""
    name = str_at(one.after, "spec", "deviceModelRef", "name")
    changing = [other for other in found if other.kind is MODELS and other.name == name and other.action == "change"]
    if one.kind is not DEVICES or not changing:
        return one.after
    asked = clone(one.after)
    for entry in maps_at(asked, "spec", "properties"):
        entry.pop("desired", None)
    return asked


# --- carrying it out --------------------------------------------------------------------------------------


def is_as_planned(one: Planned, now: JsonObject) -> bool:
    """Whether what is there is still what the plan was made of; what devices told meanwhile is no matter."""
    return _authored(now) == _authored(one.before)


def _authored(obj: JsonObject) -> JsonObject:
    return {"spec": obj.get("spec"), **map_at(bare(obj), "metadata")} if obj else {}


def entries_of(device: JsonObject, props: Iterable[str]) -> Iterator[JsonObject]:
    """What a gateway is told, so that it wants of these properties what the Device has, on the same terms."""
    held = properties_in(device)
    for prop in props:
        desired = map_at(held.get(prop), "desired")
        value, terms = str_at(desired, "value"), map_at(desired, "metadata")
        entry: JsonObject = {"name": prop, "value": value or None}
        if value and (expires := str_at(terms, "expires")):
            expires_ms = ms_of(expires)
            entry["expires"] = expires if expires_ms is None else time_text(expires_ms)
        if value and (on_reconnect := str_at(terms, "onReconnect")):
            entry["onReconnect"] = on_reconnect
        yield entry


# --- showing it -------------------------------------------------------------------------------------------


def sent_lines(write: JsonObject) -> list[str]:
    """What a gateway would send for a value, a line a request: registers, or where a payload goes and what it is."""
    lines: list[str] = []
    payload = ""
    for step in maps_at(write, "steps"):
        says = str_at(step, "says")
        if str_at(step, "name") == "payload":
            payload = says
        elif str_at(step, "name") == "sent":
            lines.append(f"{says}: {payload}" if payload else says)
    return lines
