"""Requests by which a technician does something at the gateway: over its unix socket alone, whose peer is known.

Keeps nothing. Who it was is the name of the peer's user here, and the number that the kernel said.
"""

from __future__ import annotations

import pwd

from edgecore.local_api.answers import Answer, json_answer
from edgecore.local_api.ports import Acts
from skerry.errors import BadRequestError, UnavailableError
from skerry.forms.status import MethodNotAllowedError
from skerry.frozen import Frozen
from skerry.objects.desired_log import log_limit
from skerry.objects.json import JsonObject, str_at
from skerry.objects.local_changes import WORDS_MAX, changes_list
from skerry.objects.times import ms_at, parse_time

POD_ACTS = ("restart", "stop", "start")
_FIELDS = {"restart": ("container",), "stop": ("reason",), "start": ()}


class Asked(Frozen):
    """One request, and who makes it."""

    method: str
    body: JsonObject
    uid: int


def who(uid: int) -> str:
    """For people: the name that the user has on this gateway, and the number."""
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


async def act_on_pod(acts: Acts | None, asked: Asked, namespace: str, name: str, act: str) -> Answer:
    """POST .../pods/NAME/{restart,stop,start}."""
    if acts is None:
        raise UnavailableError("this agent runs no pods")
    if asked.method != "POST":
        raise MethodNotAllowedError(f"a pod is asked to {act} with POST")
    _check_fields(asked.body, _FIELDS[act])
    by = who(asked.uid)
    match act:
        case "restart":
            return json_answer(await acts.restart(by, namespace, name, str_at(asked.body, "container")))
        case "stop":
            return json_answer(await acts.stop(by, namespace, name, str_at(asked.body, "reason")[:WORDS_MAX]))
        case _:
            return json_answer(await acts.start(by, namespace, name))


async def upgrade_hold(acts: Acts | None, asked: Asked) -> Answer:
    """/skerry/upgrade-hold."""
    if acts is None:
        raise UnavailableError("this agent runs no pods")
    match asked.method:
        case "GET":
            hold = acts.hold()
            return json_answer({"hold": None if hold is None else hold.shown()})
        case "PUT":
            _check_fields(asked.body, ("until", "reason"))
            until, reason = str_at(asked.body, "until"), str_at(asked.body, "reason")[:WORDS_MAX]
            made = await acts.hold_upgrades(who(asked.uid), reason, parse_time(until) if until else None)
            return json_answer(made.shown())
        case "DELETE":
            await acts.release_upgrades(who(asked.uid))
            return json_answer({"hold": None})
        case _:
            raise MethodNotAllowedError(
                "upgrades are held with PUT, released with DELETE, and GET says whether they are"
            )


def local_changes(acts: Acts | None, node: str, *, limit: str, since: str) -> Answer:
    """/skerry/local-changes: the newest first."""
    since_ms = parse_time(since) if since else 0
    found = acts.changes() if acts is not None else []
    rows = [row for row in found if ms_at(str_at(row, "time")) >= since_ms]
    return json_answer(changes_list(node, rows[: log_limit(limit)]))


def _check_fields(body: JsonObject, fields: tuple[str, ...]) -> None:
    for name, value in body.items():
        if name not in fields:
            raise BadRequestError(
                f"{name}: there is no such field" + (f"; use {', '.join(fields)}" if fields else "")
            )
        if not isinstance(value, str):
            raise BadRequestError(f"{name}: text is wanted")
