"""`skerry rollout`: how far the newest version of a federated object is, and to hold, approve, stop or undo it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import click
from click.shell_completion import CompletionItem

from skerry.cli import kinds
from skerry.cli.client import Client, path_of
from skerry.cli.device_objects import completing_client
from skerry.cli.output import print_data, print_table, say
from skerry.cli.target import DeadlineError, Target, with_target
from skerry.cli.waiting import wait_until
from skerry.errors import BadRequestError, ConflictError, ForbiddenError, NotFoundError, SkerryError
from skerry.frozen import Frozen
from skerry.objects.federated_versions import at_version, base_of, data_of, same_data, version_of, without_secrets
from skerry.objects.federation import ROLLOUT_PAUSED
from skerry.objects.json import Json, JsonObject, bool_at, int_at, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import annotations_of, generation_of, name_of, namespace_of
from skerry.objects.patches import difference
from skerry.objects.placement_policies import targets_of
from skerry.objects.scheme import Kind
from skerry.objects.sealed_versions import is_sealed, opened
from skerry.objects.times import human_duration, ms_at, time_text

REVISIONS: Final = Kind(
    group="skerry.dev", version="v1", kind="FederatedRevision", plural="federatedrevisions", namespaced=True
)
SECRETS: Final = Kind(group="", version="v1", kind="Secret", plural="secrets", namespaced=True)
POLICIES: Final = Kind(
    group="skerry.dev", version="v1", kind="RolloutPolicy", plural="rolloutpolicies", namespaced=True
)
_MERGE_PATCH: Final = "application/merge-patch+json"
_ENDED_BADLY: Final = ("Halted", "Aborted", "RolledBack")
_COUNTS: Final = ("members", "updated", "updating", "failed", "pending", "waiting")
_CHANGES_MAX: Final = 3


class Rolled(Frozen):
    """An object, and its versions, the newest last."""

    kind: Kind
    obj: JsonObject
    revisions: tuple[JsonObject, ...]

    @property
    def word(self) -> str:
        return f"{self.kind.singular or self.kind.kind.lower()}/{name_of(self.obj)}"

    @property
    def newest(self) -> JsonObject:
        if not self.revisions:
            raise NotFoundError(f"no RolloutPolicy is about {self.word}: its members get every version at once")
        return self.revisions[-1]

    def numbered(self, number: int) -> JsonObject:
        for each in self.revisions:
            if int_at(each, "spec", "revision") == number:
                return each
        known = ", ".join(str(int_at(each, "spec", "revision")) for each in self.revisions) or "none"
        raise NotFoundError(f"{self.word} has no revision {number}: there are {known}")


def complete_objects(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """`TYPE/NAME` of what has versions."""
    try:
        client, place = completing_client(ctx)
        found = maps_at(client.request("GET", path_of(REVISIONS, place)).obj, "items")
    except (SkerryError, OSError):
        return []
    words = {
        f"{str_at(each, 'spec', 'source', 'kind').lower()}/{str_at(each, 'spec', 'source', 'name')}" for each in found
    }
    return [CompletionItem(word) for word in sorted(words) if word.startswith(incomplete)]


_object = click.argument(
    "object_words", metavar="TYPE/NAME", nargs=-1, required=True, shell_complete=complete_objects
)
_namespace = click.option("-n", "--namespace", default="", help="Where it is; that of the context without.")
_revision = click.option("--revision", type=int, default=None, help="Only where this is the newest version.")


@click.group("rollout")
def rollout() -> None:
    """New versions of federated objects, wave by wave (RolloutPolicy)."""


@rollout.command("status")
@_object
@_namespace
@click.option("--members", "with_members", is_flag=True, help="Every member, and why it has to wait.")
@click.option("--wait", "wait_s", type=float, default=0, help="Seconds to wait until it is everywhere.")
@click.option("-o", "--output", "form", type=click.Choice(["table", "json", "yaml"]), default="table")
@with_target
def status(
    target: Target, object_words: Sequence[str], namespace: str, *, with_members: bool, wait_s: float, form: str
) -> None:
    """How far the newest version is: `skerry rollout status federateddeployment/web`.

    With --wait it ends when the version is everywhere that is heard; with exit code 1 where it was stopped or taken
    back, and with 6 where it takes longer.
    """
    client = target.client()

    def look() -> Rolled | None:
        found = _read(client, object_words, namespace)
        done = _is_told(found) and str_at(found.newest, "status", "phase") in ("Complete", *_ENDED_BADLY)
        return found if done else None

    found = wait_until(look, wait_s=wait_s, between_s=0.5) if wait_s > 0 else _read(client, object_words, namespace)
    shown = found or _read(client, object_words, namespace)
    if form != "table":
        print_data(_shown(shown.newest), form)
    else:
        _show(client, shown, with_members=with_members)
    if found is None:
        raise DeadlineError(f"{shown.word} is not everywhere after {wait_s:g} s")
    phase = str_at(shown.newest, "status", "phase")
    if wait_s > 0 and phase in _ENDED_BADLY:
        raise SkerryError(f"{shown.word}: {phase}: {str_at(shown.newest, 'status', 'message')}")


def _is_told(found: Rolled) -> bool:
    """What is shown is of what is declared now."""
    seen = int_at(found.obj, "status", "observedGeneration") >= generation_of(found.obj)
    return bool(found.revisions) and seen and _is_declared(found, found.revisions[-1])


def _is_declared(found: Rolled, revision: JsonObject) -> bool:
    """Whether it is what the object says; of one whose content may not be read what the object's status says."""
    version = version_of(revision)
    if version.lost:
        return int_at(found.obj, "status", "rollout", "revision") == version.number
    return same_data(version.data, data_of(found.obj))


def _show(client: Client, found: Rolled, *, with_members: bool) -> None:
    newest = found.newest
    told = map_at(newest, "status")
    number, policy = int_at(newest, "spec", "revision"), str_at(told, "policy")
    phase = str_at(told, "phase") if _is_told(found) else "has not begun yet"
    say(f"{found.word}: revision {number}: {phase} (RolloutPolicy {policy or '-'})", bold=True)
    if message := str_at(told, "message"):
        say(f"  {message}")
    if hint := _hint(client, found):
        say(f"  {hint}")
    rows = [
        [
            str_at(wave, "name"),
            "yes" if bool_at(wave, "begun") else "no",
            *(str(int_at(wave, each)) for each in _COUNTS),
        ]
        for wave in maps_at(told, "waves")
    ]
    print_table(["WAVE", "BEGUN", *(each.upper() for each in _COUNTS)], rows)
    if with_members:
        say()
        members = [
            [str_at(each, field) for field in ("name", "wave", "state", "message")]
            for each in maps_at(told, "members")
        ]
        print_table(["MEMBER", "WAVE", "STATE", "BECAUSE"], members)


def _hint(client: Client, found: Rolled) -> str:
    """What would change it."""
    match str_at(found.newest, "status", "phase"):
        case "WaitingForApproval":
            return f"skerry rollout approve {found.word} {_next_gate(client, found)}"
        case "Paused" if annotations_of(found.obj).get(ROLLOUT_PAUSED) == "true":
            return f"skerry rollout resume {found.word}"
        case "Paused":
            return f"spec.paused of the RolloutPolicy {str_at(found.newest, 'status', 'policy')}"
        case "Halted":
            return f"it goes on when they are in order; or: skerry rollout undo {found.word}"
        case "Frozen":
            policy = str_at(found.newest, "status", "policy")
            return f"it goes on when they are heard; or raise spec.freezeAbovePercent of the RolloutPolicy {policy}"
        case "RolledBack" | "RollingBack" | "Aborted":
            return "another version begins a rollout of its own"
        case _:
            return ""


@rollout.command("history")
@_object
@_namespace
@click.option("--revision", "number", type=int, default=None, help="Show this one.")
@click.option("-o", "--output", "form", type=click.Choice(["table", "json", "yaml"]), default="table")
@with_target
def history(target: Target, object_words: Sequence[str], namespace: str, number: int | None, form: str) -> None:
    """The versions that are kept, what became of them, and what changed in each."""
    found = _read(target.client(), object_words, namespace)
    if number is not None:
        one = _shown(found.numbered(number))
        print_data(one if form != "table" else map_at(one, "spec", "data"), form if form != "table" else "yaml")
        return
    if form != "table":
        print_data([_shown(each) for each in found.revisions], form)
        return
    newest = found.newest
    rows: list[list[str]] = []
    before: JsonObject = {}
    for each in found.revisions:
        data = map_at(each, "spec", "data")
        outcome = str_at(each, "status", "outcome") or str_at(each, "status", "phase")
        if bool_at(each, "spec", "aborted"):
            outcome = "Aborted"
        if each is not newest and outcome not in ("Complete", "RolledBack", "Aborted"):
            outcome = "Abandoned"
        age = _age(str_at(each, "status", "startedAt"))
        changed = _changes(before, data) if "data" in map_at(each, "spec") else _why_not(each)
        rows.append([str(int_at(each, "spec", "revision")), outcome or "-", age, changed])
        before = data
    print_table(["REVISION", "OUTCOME", "AGE", "CHANGED"], rows)


def _shown(revision: JsonObject) -> JsonObject:
    """Without what is in a Secret: a screen is seen by others than who may read it."""
    spec = map_at(revision, "spec")
    secret = is_sealed(revision) or "secret" in str_at(spec, "source", "kind").lower()
    if not secret or "data" not in spec:
        return revision
    return {**revision, "spec": {**spec, "data": without_secrets(map_at(spec, "data"))}}


def _age(text: str) -> str:
    return human_duration(max(0.0, time.time() - ms_at(text) / 1000)) if text else "-"


def _changes(before: JsonObject, data: JsonObject) -> str:
    """The first fields that are otherwise."""
    if not before:
        return "-"
    paths = [*_paths(difference(before, data), "")]
    more = f" and {len(paths) - _CHANGES_MAX} more" if len(paths) > _CHANGES_MAX else ""
    return ", ".join(paths[:_CHANGES_MAX]) + more or "nothing"


def _paths(patch: Json, path: str) -> Sequence[str]:
    if not isinstance(patch, dict) or not patch:
        return [path]
    return [each for name, value in patch.items() for each in _paths(value, f"{path}/{name}")]


@rollout.command("pause")
@_object
@_namespace
@with_target
def pause(target: Target, object_words: Sequence[str], namespace: str) -> None:
    """Give the newest version to nobody else until `skerry rollout resume`."""
    _annotate(target.client(), object_words, namespace, "true")
    say("paused")


@rollout.command("resume")
@_object
@_namespace
@with_target
def resume(target: Target, object_words: Sequence[str], namespace: str) -> None:
    """Go on with what was paused."""
    found = _annotate(target.client(), object_words, namespace, None)
    policy = _policy_of(target.client(), found)
    also = policy is not None and bool_at(policy, "spec", "paused")
    say(f"resumed; the RolloutPolicy {name_of(policy or {})} is paused yet (spec.paused)" if also else "resumed")


def _annotate(client: Client, words: Sequence[str], namespace: str, value: str | None) -> Rolled:
    found = _read(client, words, namespace)
    if _policy_of(client, found) is None:
        raise NotFoundError(f"no RolloutPolicy is about {found.word}: its members get every version at once")
    patch: JsonObject = {"metadata": {"annotations": {ROLLOUT_PAUSED: value}}}
    path = path_of(found.kind, namespace_of(found.obj), name_of(found.obj))
    client.request("PATCH", path, body=patch, content_type=_MERGE_PATCH)
    return found


@rollout.command("approve")
@_object
@_namespace
@_revision
@click.option("--wave", "waves", multiple=True, help="Which; without it the next one that waits for approval.")
@with_target
def approve(
    target: Target, object_words: Sequence[str], namespace: str, revision: int | None, waves: Sequence[str]
) -> None:
    """Let a wave of the newest version begin: `skerry rollout approve federateddeployment/web --wave eu`.

    The wave may also be said at the end: `skerry rollout approve federateddeployment/web eu`.
    """
    client = target.client()
    words, named = _split(object_words)
    found = _read(client, words, namespace)
    newest = _current(found, revision)
    wanted = [*named, *waves] or [_next_gate(client, found)]
    policy = _policy_of(client, found)
    known = [str_at(each, "name") for each in maps_at(policy or {}, "spec", "waves")]
    for wave in wanted:
        if wave not in known:
            raise BadRequestError(f"no wave is called {wave!r}: there are {', '.join(known) or 'none'}")
    approved: list[Json] = [*dict.fromkeys([*strs_at(map_at(newest, "spec"), "approved"), *wanted])]
    _patch(client, newest, {"approved": approved})
    say(f"revision {int_at(newest, 'spec', 'revision')}: approved {', '.join(wanted)}")


@rollout.command("abort")
@_object
@_namespace
@_revision
@with_target
def abort(target: Target, object_words: Sequence[str], namespace: str, revision: int | None) -> None:
    """Stop here, for ever: who has the newest version keeps it, and nobody else gets it. See `undo` to go back."""
    client = target.client()
    found = _read(client, object_words, namespace)
    newest = _current(found, revision)
    if str_at(newest, "status", "outcome") == "Complete":
        raise ConflictError(f"{found.word} is everywhere already: skerry rollout undo {found.word}")
    _patch(client, newest, {"aborted": True})
    say(f"revision {int_at(newest, 'spec', 'revision')}: aborted")


@rollout.command("undo")
@_object
@_namespace
@click.option("--to-revision", "number", type=int, default=None, help="Without it the last that was everywhere.")
@with_target
def undo(target: Target, object_words: Sequence[str], namespace: str, number: int | None) -> None:
    """Declare an earlier version again. One that was everywhere needs no waves (`rollback` of the RolloutPolicy)."""
    client = target.client()
    found = _read(client, object_words, namespace)
    if annotations_of(found.obj).get(ROLLOUT_PAUSED) == "true":
        raise ConflictError(f"{found.word} is paused: skerry rollout resume {found.word}")
    wanted = found.numbered(number) if number is not None else _version_before(found)
    if version_of(wanted).lost:
        raise NotFoundError(f"revision {int_at(wanted, 'spec', 'revision')} of {found.word}: {_why_not(wanted)}")
    data, was = map_at(wanted, "spec", "data"), int_at(wanted, "spec", "revision")
    if same_data(data, data_of(found.obj)):
        say(f"{found.word} is as in revision {was} already")
        return
    spec = map_at(at_version(found.obj, data), "spec")
    path = path_of(found.kind, namespace_of(found.obj), name_of(found.obj))
    client.request("PUT", path, body={**found.obj, "spec": spec})  # refused where somebody wrote it meanwhile
    say(f"{found.word} is declared as in revision {was} again")


def _version_before(found: Rolled) -> JsonObject:
    """The last that was everywhere, other than what is declared."""
    versions = [version_of(each) for each in found.revisions]
    present = next((each for each in versions if _is_declared(found, each.obj)), None)
    before = base_of(versions, "" if present is None else present.name)
    if before is None:
        unread = next((each for each in versions if each.lost and each is not present), None)
        if unread is not None:
            raise NotFoundError(f"revision {unread.number} of {found.word}: {_why_not(unread.obj)}")
        raise NotFoundError(f"no other version of {found.word} was everywhere: say which, with --to-revision")
    return before.obj


@rollout.command("restart")
@_object
@_namespace
@with_target
def restart(target: Target, object_words: Sequence[str], namespace: str) -> None:
    """Declare a version that is the same but for new pods, which begins in the first wave: also to try again what
    was aborted or taken back."""
    client = target.client()
    found = _read(client, object_words, namespace)
    template = map_at(found.obj, "spec", "template")
    if not map_at(template, "spec", "template"):
        raise BadRequestError(f"{found.word} has no pods of its own: declare another version of it")
    patch = restarting(time_text(round(time.time() * 1000)))
    path = path_of(found.kind, namespace_of(found.obj), name_of(found.obj))
    client.request("PATCH", path, body=patch, content_type=_MERGE_PATCH)
    say(f"{found.word} is declared with new pods")


def restarting(now: str) -> JsonObject:
    """A merge patch of a federated workload, by the annotation that kubectl restarts with."""
    annotated: JsonObject = {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}
    return {"spec": {"template": {"spec": {"template": annotated}}}}


@rollout.command("plan")
@_object
@_namespace
@click.option("-o", "--output", "form", type=click.Choice(["table", "json", "yaml"]), default="table")
@with_target
def plan(target: Target, object_words: Sequence[str], namespace: str, form: str) -> None:
    """Who is in which wave of each RolloutPolicy that is about it, also of one that only tries (`dryRun: true`)."""
    client = target.client()
    found = _read(client, object_words, namespace)
    told: list[Json] = []
    rows: list[list[str]] = []
    for policy in _policies_of(client, found):
        mine = [
            each
            for each in maps_at(policy, "status", "targets")
            if (str_at(each, "kind"), str_at(each, "name")) == (found.kind.kind, name_of(found.obj))
        ]
        for entry in mine:
            told.append({"policy": name_of(policy), "dryRun": bool_at(policy, "spec", "dryRun"), **entry})
            for wave in maps_at(entry, "waves"):
                names, count = strs_at(wave, "members"), int_at(wave, "count")
                more = f" and {count - len(names)} more" if count > len(names) else ""
                tries = " (dryRun)" if bool_at(policy, "spec", "dryRun") else ""
                shown = ", ".join(names) + more or "nobody"
                rows.append([f"{name_of(policy)}{tries}", str_at(wave, "name"), str(count), shown])
    if form != "table":
        print_data(told, form)
        return
    print_table(["POLICY", "WAVE", "MEMBERS", "WHO"], rows)


# --- what is read ---


def _split(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The object's words, and what stands after them."""
    length = 1 if "/" in words[0] else 2
    return words[:length], words[length:]


def _read(client: Client, words: Sequence[str], namespace: str) -> Rolled:
    mine, rest = _split(words)
    kind_word, _, name = mine[0].partition("/") if "/" in mine[0] else (mine[0], "", "".join(mine[1:]))
    if rest or not name:
        raise BadRequestError(f"which object? TYPE/NAME, or TYPE NAME, and not {' '.join(words)!r}")
    kind = kinds.resolve(client, kind_word)
    place = (namespace or client.namespace) if kind.namespaced else ""
    obj = client.request("GET", path_of(kind, place, name)).obj
    if not place:
        raise BadRequestError(f"{kind.kind} is in no namespace: versions of such are everywhere at once")
    listed = maps_at(client.request("GET", path_of(REVISIONS, place)).obj, "items")
    mine_of = [each for each in listed if str_at(each, "spec", "source", "uid") == str_at(obj, "metadata", "uid")]
    revisions = sorted((_opened(client, each) for each in mine_of), key=lambda each: int_at(each, "spec", "revision"))
    return Rolled(kind=kind, obj=obj, revisions=tuple(revisions))


def _opened(client: Client, revision: JsonObject) -> JsonObject:
    """With its content, where that is in a Secret that may be read."""
    if not is_sealed(revision):
        return revision
    path = path_of(SECRETS, namespace_of(revision), str_at(revision, "spec", "sealed", "secretName"))
    try:
        secret = client.request("GET", path).obj
    except (ForbiddenError, NotFoundError):
        return revision
    data = opened(str_at(revision, "spec", "sealed", "digest"), secret)
    return revision if data is None else {**revision, "spec": {**map_at(revision, "spec"), "data": data}}


def _why_not(revision: JsonObject) -> str:
    name = str_at(revision, "spec", "sealed", "secretName")
    return f"what is in it is in the Secret {name}, which is not there any more, or which you may not get"


def _policies_of(client: Client, found: Rolled) -> list[JsonObject]:
    """About it, the oldest first."""
    listed = maps_at(client.request("GET", path_of(POLICIES, namespace_of(found.obj))).obj, "items")
    kind, name = found.kind.kind, name_of(found.obj)
    mine = [each for each in listed if any(target.means(kind, name) for target in targets_of(each))]
    return sorted(mine, key=lambda each: (str_at(each, "metadata", "creationTimestamp"), name_of(each)))


def _policy_of(client: Client, found: Rolled) -> JsonObject | None:
    return next((each for each in _policies_of(client, found) if not bool_at(each, "spec", "dryRun")), None)


def _next_gate(client: Client, found: Rolled) -> str:
    """The first wave that asks for approval, and has not begun or been approved."""
    begun = strs_at(map_at(found.newest, "status"), "begun")
    past = {*begun, *strs_at(map_at(found.newest, "spec"), "approved")}
    policy = _policy_of(client, found)
    for wave in maps_at(policy or {}, "spec", "waves"):
        if bool_at(wave, "requiresApproval") and str_at(wave, "name") not in past:
            return str_at(wave, "name")
    raise ConflictError(f"no wave of {found.word} waits for approval")


def _current(found: Rolled, number: int | None) -> JsonObject:
    newest = found.newest
    there = int_at(newest, "spec", "revision")
    if number is not None and number != there:
        raise ConflictError(f"the newest version of {found.word} is {there}, not {number}")
    if not _is_declared(found, newest):
        raise ConflictError(f"{found.word} was changed just now: its newest version is not written down yet")
    return newest


def _patch(client: Client, revision: JsonObject, spec: JsonObject) -> None:
    """Where nobody else wrote it meanwhile."""
    version = str_at(revision, "metadata", "resourceVersion")
    body: JsonObject = {"metadata": {"resourceVersion": version}, "spec": spec}
    path = path_of(REVISIONS, namespace_of(revision), name_of(revision))
    client.request("PATCH", path, body=body, content_type=_MERGE_PATCH)
