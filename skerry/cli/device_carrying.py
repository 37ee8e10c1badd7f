"""Carrying out a plan of `device apply`: all of it, or nothing, and where that can't be had an account of what is.

Objects are written one after the other. Where one is refused, or somebody asks to stop, those before it are made
again as they were. An answer that is lost is looked for: what is there tells whether the write came through, compared
by what it means, as servers keep times in words of their own. One that did not is sent once more, under the revision
of which the plan was made; where what is there is neither what was nor what was to be, nobody can say. Nobody is
interrupted in the middle of a request that changes something, unless they insist. A process that is killed leaves
some objects written: applied again, these stay as they are and the rest follows.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from skerry.cli.client import Client, path_of
from skerry.cli.device_objects import DEVICES
from skerry.cli.device_plan import MANAGER, Planned, entries_of, is_as_planned
from skerry.cli.output import print_warnings, say
from skerry.errors import AlreadyExistsError, ConflictError, NotFoundError, SkerryError, UnavailableError
from skerry.objects.desired import Desired
from skerry.objects.device_desired import REVISION, desired_of, ms_of
from skerry.objects.device_manifests import bare, wanted_changes
from skerry.objects.json import Json, JsonObject, ensure_map, map_at, maps_at, str_at
from skerry.objects.meta import annotations_of, uid_of
from skerry.objects.patches import merge_patch
from skerry.objects.times import time_text

TRIES: Final = 5
STOPPING: Final = "stopping when the request that is under way has ended; Ctrl-C once more stops at once"
AGAIN: Final = "apply the same files again: what is applied stays as it is, and the rest follows"


class UnsureError(UnavailableError):
    """Nobody can say now whether a write came through; `why`: for an account."""

    def __init__(self, message: str, why: str) -> None:
        super().__init__(message)
        self.why = why


@dataclass(slots=True, kw_only=True)
class _Account:
    """What became of each object of a plan."""

    plan: Sequence[Planned]
    written: list[tuple[Planned, JsonObject]] = field(default_factory=list["tuple[Planned, JsonObject]"])
    """With the object as the server has it."""
    unsure: Planned | None = None
    unsure_why: str = "nobody answered"
    stays: dict[str, str] = field(default_factory=dict[str, str])
    """By title, why it could not be undone."""

    def lines(self, reason: str) -> list[str]:
        """For people."""
        if not self.written and self.unsure is None:
            return [f"{reason}; nothing is applied"]
        if not self.stays and self.unsure is None:
            return [f"{reason}; what was applied before it is undone: nothing is applied", *self._reached()]
        out = [f"{reason}:"]
        for one in self.plan:
            if one is self.unsure:
                out.append(f"  {one.title} may be applied: {self.unsure_why}")
            elif one.title in self.stays:
                out.append(f"  {one.title} is applied{self.stays[one.title]}")
            else:
                out.append(f"  {one.title} is not applied")
        return [*out, *self._reached(), f"  {AGAIN}"]

    def _reached(self) -> list[str]:
        """Devices are fast: what is undone may have been done."""
        return [
            f"  {value} may have reached {prop} of {one.title} before it was undone"
            for one, _ in self.written
            if one.title not in self.stays and self.unsure is None
            for prop, value in one.wanted.items()
            if value is not None
        ]


def carry_out(client: Client, plan: Sequence[Planned]) -> None:
    """Write it all. Where that can't be, its error, or `KeyboardInterrupt`, comes after an account on stderr."""
    account = _Account(plan=plan)
    with _asked_to_stop() as stop:
        for one in plan:
            if stop.is_set():
                stop.clear()
                _take_back(client, account, stop)
                _say(account.lines("stopped"))
                raise KeyboardInterrupt
            try:
                account.written.append((one, _write(client, one)))
            except (KeyboardInterrupt, UnsureError) as error:
                account.unsure = one
                if isinstance(error, UnsureError):
                    account.unsure_why = error.why
                account.stays = {held.title: "" for held, _ in account.written}
                _say(account.lines(f"stopped at {one.title}"))
                raise
            except SkerryError:
                _take_back(client, account, stop)
                _say(account.lines(f"{one.title} was not written"))
                raise
        if stop.is_set():
            _say(["all of it was applied before it could be stopped"])
            raise KeyboardInterrupt


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        say(line, err=True)


@contextmanager
def _asked_to_stop() -> Generator[threading.Event]:
    """Set by Ctrl-C, or who ends this process; who asks twice gets `KeyboardInterrupt` at once. What was ignored when
    it began (nohup, a script's `&`) stays ignored."""
    asked = threading.Event()

    def ask(_number: int, _frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        with suppress(RuntimeError):  # it came while another line was being written
            say(STOPPING, err=True)

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    heard = [each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) != signal.SIG_IGN]
    before = {number: signal.signal(number, ask) for number in heard}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


# --- writing ----------------------------------------------------------------------------------------------


def _write(client: Client, one: Planned) -> JsonObject:
    """Write it; the object as it is then. Raises `UnsureError` where nobody can say whether it is."""
    try:
        return _send(client, one)
    except UnavailableError as error:
        if (made := _looked(client, one, error)) is not None:
            return made
    try:
        return _send(client, one)
    except (UnavailableError, AlreadyExistsError, ConflictError) as error:
        # It may be there by now: this one's answer was lost too, or the first came through meanwhile.
        if (made := _looked(client, one, error)) is None:
            raise
        return made


def _looked(client: Client, one: Planned, error: SkerryError) -> JsonObject | None:
    """The object where the write came through; None where all is as before. Raises `UnsureError` for all else."""
    try:
        now = client.request("GET", one.path).obj
    except NotFoundError:
        return None
    except UnavailableError as silence:
        raise UnsureError(f"{error}; and then: {silence}", "nobody answered") from error
    if is_done(one, now, local=client.local):
        return now
    if is_as_planned(one, now):
        return None
    why = "its answer was lost, and what is there is neither what was nor what was to be"
    raise UnsureError(f"{one.title}: {why} ({error}): look at `skerry device diff`", why) from error


def is_done(one: Planned, now: JsonObject, *, local: bool) -> bool:
    """Whether what is there means what the plan makes of it; what a server adds to it is no matter. `local`: a
    gateway, which is told values and their terms alone."""
    if not now:
        return False
    if local:
        return all(_terms(desired_of(now, prop)) == _terms(desired_of(one.after, prop)) for prop in one.wanted)
    return _meant(merge_patch(now, one.patch)) == _meant(now) and not wanted_changes(now, one.after)


def _terms(desired: Desired | None) -> tuple[str, int | None, str | None]:
    if desired is None or not desired.value:
        return "", None, None
    return desired.value, desired.expires_ms, desired.on_reconnect


def _meant(obj: JsonObject) -> JsonObject:
    """What its author wrote, times in one form, and without the conditions of the write, which are not kept."""
    meant = bare(obj)
    for entry in maps_at(meant, "spec", "properties"):
        metadata = map_at(entry, "desired", "metadata")
        metadata.pop("ifMatch", None)
        if (expires_ms := ms_of(str_at(metadata, "expires"))) is not None:
            metadata["expires"] = time_text(expires_ms)
        if not metadata:
            map_at(entry, "desired").pop("metadata", None)
    return meant


def _send(client: Client, one: Planned) -> JsonObject:
    if client.local:
        body: JsonObject = {"properties": [*entries_of(one.after, one.wanted)]}
        if revision := annotations_of(one.before).get(REVISION, ""):
            body["ifMatch"] = revision
        return client.request("PUT", path_of(DEVICES, one.namespace, one.name, "twins"), body=body).obj
    query = {"fieldManager": MANAGER, "fieldValidation": "Strict"}
    if not one.before:
        answer = client.request("POST", path_of(one.kind, one.namespace), query=query, body=one.after)
        print_warnings(answer.warnings)
        return answer.obj
    revision, attempt = str_at(one.before, "metadata", "resourceVersion"), 0
    while True:
        patch: JsonObject = {**one.patch}
        ensure_map(patch, "metadata")["resourceVersion"] = revision
        try:
            answer = client.request(
                "PATCH", one.path, query=query, body=patch, content_type="application/merge-patch+json"
            )
        except ConflictError as error:
            attempt += 1
            now = client.request("GET", one.path).obj
            if not is_as_planned(one, now) or attempt == TRIES:
                raise ConflictError("somebody changed it meanwhile: look at `skerry device diff` again") from error
            revision = str_at(now, "metadata", "resourceVersion")  # a device told something, no more
            continue
        print_warnings(answer.warnings)
        return answer.obj


# --- taking back ------------------------------------------------------------------------------------------


def _take_back(client: Client, account: _Account, stop: threading.Event) -> None:
    """Make it all again as it was, the last first, until somebody asks to stop or nobody answers."""
    over = ""
    for one, made in reversed(account.written):
        over = over or (", as you stopped before it was undone" if stop.is_set() else "")
        if over:
            account.stays[one.title] = over
            continue
        try:
            if told := _undo(client, one, made):
                account.stays[one.title] = f", as {told}"
        except KeyboardInterrupt:
            account.stays[one.title] = ", unless its undoing came through when you stopped"
            over = ", as you stopped before it was undone"
        except UnavailableError as error:
            account.stays[one.title] = f", unless its undoing came through: {error}"
            over = ", as nobody answers"
        except SkerryError as error:
            account.stays[one.title] = f", as it could not be undone: {error}"


def _undo(client: Client, one: Planned, made: JsonObject) -> str:
    """Make it again as it was; "" or why it is left."""
    if client.local:
        return _undo_here(client, one)
    if not one.before:
        body: JsonObject = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid_of(made)}}
        client.request("DELETE", one.path, body=body)
    else:
        now = client.request("GET", one.path).obj
        if now.get("spec") != made.get("spec"):
            return "somebody changed it since"
        body = {**now, "spec": one.before.get("spec")}
        metadata = {**map_at(now, "metadata")}
        for name in ("labels", "annotations"):
            metadata[name] = map_at(one.before, "metadata", name)
        client.request("PUT", one.path, query={"fieldManager": MANAGER}, body={**body, "metadata": metadata})
    return ""


def _undo_here(client: Client, one: Planned) -> str:
    """With the terms on which each value was wanted; a reason is the cloud's, and a gateway leaves it as it is."""
    now = client.request("GET", one.path).obj
    if not is_done(one, now, local=True):
        return "somebody wanted something else of it since"
    entries: list[Json] = [*entries_of(one.before, one.wanted)]
    body: JsonObject = {"properties": entries}
    if revision := annotations_of(now).get(REVISION, ""):
        body["ifMatch"] = revision
    client.request("PUT", path_of(DEVICES, one.namespace, one.name, "twins"), body=body)
    return ""
