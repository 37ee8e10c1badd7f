"""What the local API does for each request: reads from the edge store, twin writes, logs, and the agent's own state.

Writes that the cloud owns are refused with 503 and the reason, whether there is a link or not: an object written here
alone would be overwritten by the next difference. Keeps nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edgecore.local_api.acts import POD_ACTS, Asked, act_on_pod, local_changes, upgrade_hold
from edgecore.local_api.answers import Answer, json_answer
from edgecore.local_api.collections import Collections
from edgecore.local_api.entries import CONVERSATIONS, Entries, default_container
from edgecore.local_api.keeping import shown, waiting
from edgecore.local_api.kinds import DEVICE, POD, SHOWN
from edgecore.local_api.kubelet import KubeletPaths, is_kubelets
from edgecore.local_api.meters import Meters
from edgecore.local_api.objects import LocalObjects
from edgecore.local_api.paths import is_discovery
from edgecore.local_api.ports import LocalParts
from edgecore.local_api.requests import Request, Stream, Talk, Target
from edgecore.store.backlog import Now, backlog_shown
from skerry.errors import BadRequestError, InvalidError, NotFoundError, SkerryError, UnavailableError
from skerry.forms.status import MethodNotAllowedError
from skerry.objects.bandwidth import bandwidth_text
from skerry.objects.desired import ON_RECONNECT, Wish, on_reconnect_of
from skerry.objects.desired_log import desired_log, log_limit
from skerry.objects.device_questions import Checkup, OfLine, discover_of, explain_of, read_of
from skerry.objects.history import question_of
from skerry.objects.json import Json, JsonObject, maps_at, read_json, str_at
from skerry.objects.logs import LogRequest
from skerry.objects.meta import Key
from skerry.objects.mirror_pods import mirrored_uid
from skerry.objects.times import parse_time, time_text

_WISH_FIELDS: Final = ("name", "value", "take", "expires", "onReconnect", "ifMatch")


class Routes:
    """One instance serves all connections."""

    def __init__(self, parts: LocalParts, objects: LocalObjects) -> None:
        self._parts = parts
        self._objects = objects
        self._collections = Collections(objects, parts.clock)
        self._paths = parts.paths
        self.meters = Meters(parts, objects)
        parts.link.on_welcome(self.meters.welcomed)
        self._entries = Entries(parts, objects)
        self._kubelet = KubeletPaths(objects, self.meters, parts.figures)

    async def answer(self, request: Request) -> Answer | Stream | Talk:
        """Raises the errors of `skerry.errors`."""
        match request.parts:
            case ("skerry", *rest):
                return await self._own(request, tuple(rest))
            case ("api" | "apis", *_) if not is_discovery(request.parts):
                return await self._api(request)
            case _ if is_kubelets(request.parts):
                return await self._kubelet.answer(request)
            case _:
                return await self._paths.answer(request)

    # --- the agent itself ---

    async def _own(self, request: Request, rest: tuple[str, ...]) -> Answer:
        match (request.method, rest):
            case ("GET", ("link",)):
                return json_answer(self._link())
            case ("POST", ("link", "cut")):
                await self._parts.link.cut()
                return json_answer(self._link())
            case ("POST", ("link", "heal")):
                await self._parts.link.heal()
                return json_answer(self._link())
            case ("GET", ("traffic",)):
                return json_answer(
                    {
                        "kind": "NodeTraffic",
                        "apiVersion": "skerry.dev/v1",
                        "metadata": {"name": self._parts.node},
                        **self._parts.link.traffic(),
                    }
                )
            case ("GET", ("discovery",)):
                query: JsonObject = {
                    name: request.query[name] for name in ("namespace", "seconds") if name in request.query
                }
                asked = discover_of(query)
                return json_answer(await self._parts.questions.answer(asked))
            case ("GET", ("status",)):
                return json_answer(self._status())
            case (_, ("upgrade-hold",)):
                return await upgrade_hold(self._parts.acts, _asked(request))
            case ("GET", ("local-changes",)):
                limit, since = request.query.get("limit", ""), request.query.get("sinceTime", "")
                return local_changes(self._parts.acts, self._parts.node, limit=limit, since=since)
            case ("GET", ("kept-writes",)):
                kept: list[Json] = [shown(report) for report in waiting(self._parts.store)]
                return json_answer({"kind": "List", "apiVersion": "v1", "items": kept})
            case ("GET", ("static-pods",)):
                return json_answer(self._static_pods())
            case _:
                raise NotFoundError("the server could not find the requested resource")

    def _link(self) -> JsonObject:
        link, status = self._parts.link, self._parts.link.status
        return {
            "state": "connected" if link.connected else status.state,
            "cut": link.is_cut,
            "session": status.session,
            "sessionState": status.state,
            "cloud": status.address,
            "transport": status.transport,
            "since": time_text(status.since_ms),
            "lastError": status.last_error,
            "bandwidth": bandwidth_text(link.bandwidth()),
        }

    def _now(self) -> Now:
        clock = self._parts.clock
        return Now(wall_ms=clock.wall_ms(), monotonic_ms=round(clock.monotonic_s() * 1000))

    def _status(self) -> JsonObject:
        stats = self._parts.store.stats()
        devices = self._parts.twins.devices()
        states: JsonObject = {}
        for device in devices:
            before = states.get(device.state)
            states[device.state] = (before if isinstance(before, int) else 0) + 1
        return {
            "node": self._parts.node,
            "link": self._link(),
            "incarnation": self._parts.store.incarnation,
            "outbox": {
                "head": self._parts.store.outbox_head(),
                "reports": stats.outbox_reports,
                "bytes": stats.outbox_bytes,
                "waiting": [*backlog_shown(stats, self._parts.store.boots(), self._now())],
                "gaps": [
                    {
                        "class": gap.report_class,
                        "dropped": gap.dropped,
                        "total": gap.total,
                        "from": time_text(gap.first_wall_ms),
                        "to": time_text(gap.last_wall_ms),
                        "expired": gap.expired,
                        "forRoom": gap.for_room,
                        "damaged": gap.damaged,
                        "thinned": gap.thinned,
                        "unknown": gap.unknown,
                    }
                    for gap in stats.gaps
                ],
            },
            "pushes": [
                {
                    "namespace": each.device.namespace,
                    "device": each.device.name,
                    "property": each.prop,
                    "method": each.method,
                    "place": each.place,
                    "waiting": each.queue.waiting,
                    "bytes": each.queue.size_bytes,
                    "dropped": each.queue.dropped,
                    "reason": each.reason,
                }
                for each in self._parts.pushes()
            ],
            "objects": stats.objects,
            "pods": self._parts.pods.count,
            "devices": states,
            "memoryBytes": resident_bytes(),
        }

    def _static_pods(self) -> JsonObject:
        """What files on the gateway say, and what is wrong with them."""
        static, refusals = self._parts.static, self._parts.unmirrored()
        rows: list[Json] = []
        for key, found in sorted(static.pods.items()):
            shown = self._objects.get(POD, key.namespace, key.name) or found.pod
            rows.append(
                {
                    "file": found.file,
                    "namespace": key.namespace,
                    "name": key.name,
                    "uid": found.uid,
                    "phase": str_at(shown, "status", "phase"),
                    "mirrored": mirrored_uid(shown) == found.uid,
                    "refusal": refusals.get(key, ""),
                }
            )
        faults: list[Json] = [{"file": fault.file, "reason": fault.why} for fault in static.faults]
        return {"kind": "StaticPods", "apiVersion": "skerry.dev/v1", "items": rows, "faults": faults}

    # --- objects ---

    async def _api(self, request: Request) -> Answer | Stream | Talk:
        target = target_of(request.parts)
        if target.rest[:1] == ("log",) and target.kind is POD and len(target.rest) == 1 and request.method == "GET":
            return await self._log(request, target)
        if target.kind is POD and len(target.rest) == 1 and target.rest[0] in CONVERSATIONS:
            return await self._entries.answer(request, target)
        if target.kind is POD and len(target.rest) == 1 and target.rest[0] in POD_ACTS:
            acts, act = self._parts.acts, target.rest[0]
            return await act_on_pod(acts, _asked(request), target.namespace, target.name, act)
        if target.rest[:1] == ("twins",) and target.kind is DEVICE and len(target.rest) <= 2:
            return await self._set_twins(request, target, target.rest[1:])
        if target.rest in (("checkup",), ("explain",), ("line",), ("read",)) and target.kind is DEVICE:
            return await self._asked(request, target)
        if target.rest == ("desiredlog",) and target.kind is DEVICE:
            return self._desired_log(request, target)
        if target.rest == ("hold",) and target.kind is DEVICE:
            return await self._hold(request, target)
        if target.rest == ("history",) and target.kind is DEVICE:
            return await self._history(request, target)
        if target.rest not in ((), ("status",)):
            raise NotFoundError("the server could not find the requested resource")
        if request.method != "GET":
            raise self._refusal(request)
        return self._collections.get(request, target) if target.name else self._collections.answer(request, target)

    def _refusal(self, request: Request) -> SkerryError:
        if request.method not in ("POST", "PUT", "PATCH", "DELETE"):
            return MethodNotAllowedError("the server does not allow this method on the requested resource")
        link = self._parts.link
        why = "is connected: write there" if link.connected else f"can't be reached now ({link.status.state})"
        return UnavailableError(
            f"the cloud owns this object and {why}; on the gateway itself, only desired values of devices are written"
        )

    # --- twins and logs ---

    async def _set_twins(self, request: Request, target: Target, prop: tuple[str, ...]) -> Answer:
        """One property, or several at once. If-Match is the version of the one, or the revision of all."""
        several = not prop
        if request.method not in (("PUT",) if several else ("PUT", "DELETE")):
            raise MethodNotAllowedError(
                "a twin is written with PUT, taken away with DELETE, and read with its device"
            )
        body = _object(request.body) if request.method == "PUT" else {}
        if several:
            wishes = [
                _wish(entry, f"properties[{index}].") for index, entry in enumerate(maps_at(body, "properties"))
            ]
            revision = request.if_match or str_at(body, "ifMatch")
        else:
            wish = _wish(
                {"ifMatch": request.if_match, **body, "name": prop[0]}, "", removing=request.method == "DELETE"
            )
            wishes, revision = [wish], ""
        versions = await self._parts.twins.write(
            Key(DEVICE.resource, target.namespace, target.name),
            wishes,
            origin=f"local:uid {request.uid}",
            if_match=revision,
        )
        told: JsonObject = {wish.prop: str(version) for wish, version in zip(wishes, versions, strict=True)}
        if several:
            return json_answer({"device": target.name, "versions": told})
        (wish,) = wishes
        shown: JsonObject = {} if wish.value is None else {"value": wish.value}
        return json_answer({"device": target.name, "property": wish.prop, **shown, "version": told[wish.prop]})

    async def _asked(self, request: Request, target: Target) -> Answer:
        """What the cloud answers at the same paths by asking here."""
        asked = (request.method, target.rest[0])
        if asked not in (("GET", "checkup"), ("GET", "explain"), ("GET", "line"), ("POST", "read")):
            raise MethodNotAllowedError("checkup, explain and line take GET, and read takes POST")
        about = {"namespace": target.namespace, "device": target.name, "uid": ""}
        if target.rest[0] == "explain":
            query: JsonObject = {name: request.query[name] for name in ("property", "value") if name in request.query}
            return json_answer(await self._parts.questions.answer(explain_of(query, **about)))
        if target.rest[0] == "line":
            return json_answer(await self._parts.questions.answer(OfLine(**about)))
        if target.rest[0] == "checkup":
            return json_answer(await self._parts.questions.answer(Checkup(**about)))
        body = _object(request.body) if request.body else {}
        return json_answer(await self._parts.questions.answer(read_of(body, **about)), 201)

    def _desired_log(self, request: Request, target: Target) -> Answer:
        """As the cloud tells it, from what this gateway knows."""
        if request.method != "GET":
            raise MethodNotAllowedError("the log is read with GET")
        limit, since = log_limit(request.query.get("limit", "")), request.query.get("sinceTime", "")
        device = Key(DEVICE.resource, target.namespace, target.name)
        rows = self._parts.twins.desired_log(device, since_ms=parse_time(since) if since else 0)
        prop = request.query.get("property", "")
        return json_answer(desired_log(target.namespace, target.name, [*rows], prop=prop, limit=limit))

    async def _hold(self, request: Request, target: Target) -> Answer:
        device = Key(DEVICE.resource, target.namespace, target.name)
        match request.method:
            case "PUT":
                body = _object(request.body)
                until = str_at(body, "until")
                holding = await self._parts.twins.hold(
                    device,
                    reason=str_at(body, "reason"),
                    by=f"local:uid {request.uid}",
                    until_ms=parse_time(until) if until else None,
                )
                return json_answer({"device": target.name, "hold": str(holding)})
            case "DELETE":
                await self._parts.twins.release(device)
                return json_answer({"device": target.name, "hold": ""})
            case _:
                raise MethodNotAllowedError("a device is held with PUT and released with DELETE")

    async def _history(self, request: Request, target: Target) -> Answer:
        """Of devices that are gone as well."""
        if request.method != "GET":
            raise MethodNotAllowedError("a history takes GET")
        if self._parts.history is None:
            raise UnavailableError("this gateway keeps no history of its own (--history-mib 0): ask the cloud")
        question = question_of(lambda name: request.query.get(name, ""))
        return json_answer(await self._parts.history.answer(target.namespace, target.name, question))

    async def _log(self, request: Request, target: Target) -> Stream:
        pod = self._objects.get(POD, target.namespace, target.name)
        if pod is None:
            raise NotFoundError(f'pods "{target.name}" not found')
        asked = LogRequest(
            namespace=target.namespace,
            pod=target.name,
            uid="",
            container=request.query.get("container") or default_container(pod),
            follow=request.flag("follow"),
            previous=request.flag("previous"),
            timestamps=request.flag("timestamps"),
            tail_lines=request.number("tailLines"),
            since_s=request.number("sinceSeconds"),
            since_time=request.query.get("sinceTime", ""),
            limit_bytes=request.number("limitBytes"),
        )
        return Stream(chunks=self._parts.logs(asked.params()), content_type="text/plain")


def _asked(request: Request) -> Asked:
    body = _object(request.body) if request.body else {}
    return Asked(method=request.method, body=body, uid=request.uid)


def _wish(body: JsonObject, where: str, *, removing: bool = False) -> Wish:
    """What a body wants of one property. `value: null` wants nothing any more."""
    for name in body:
        if name not in _WISH_FIELDS:
            raise BadRequestError(f"{where}{name}: there is no such field; use {', '.join(_WISH_FIELDS)}")
    value, take, expires = body.get("value"), str_at(body, "take"), str_at(body, "expires")
    if not str_at(body, "name"):
        raise BadRequestError(f"{where}name: the name of a property is required")
    on_reconnect = on_reconnect_of(str_at(body, "onReconnect"))
    if on_reconnect is None and body.get("onReconnect"):
        raise BadRequestError(f"{where}onReconnect: use one of {', '.join(ON_RECONNECT)}")
    if not (isinstance(value, str) or take or removing or ("value" in body and value is None)):
        raise BadRequestError(f"{where}value: a string is required")
    return Wish(
        prop=str_at(body, "name"),
        value=value if isinstance(value, str) else None,
        take=take,
        expires_ms=parse_time(expires) if expires else None,
        on_reconnect=on_reconnect,
        if_match=str_at(body, "ifMatch"),
    )


def target_of(parts: tuple[str, ...]) -> Target:
    """What an API path names. Raises `NotFoundError` for a kind that is not served here."""
    if parts[0] == "api":
        group, version, rest = "", parts[1] if len(parts) > 1 else "", parts[2:]
    else:
        group, version = (*parts[1:3], "", "")[:2]
        rest = parts[3:]
    namespace = ""
    if rest[:1] == ("namespaces",) and len(rest) >= 3:
        namespace, rest = rest[1], rest[2:]
    kind = SHOWN.at(group, version, rest[0]) if rest else None
    if (
        kind is None
        or (bool(namespace) and not kind.namespaced)
        or (len(rest) > 1 and kind.namespaced > bool(namespace))
    ):
        raise NotFoundError("the server could not find the requested resource")
    return Target(kind=kind, namespace=namespace, name=rest[1] if len(rest) > 1 else "", rest=rest[2:])


def resident_bytes() -> int:
    """What this process holds in memory now (proc(5), statm)."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096


def _object(body: bytes) -> JsonObject:
    try:
        value = read_json(body, "the body")
    except InvalidError as error:
        raise BadRequestError(str(error)) from error
    if not isinstance(value, dict):
        raise BadRequestError("the body is not a JSON object")
    return value
