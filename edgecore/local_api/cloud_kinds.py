"""Discovery of the cloud's kinds beside the gateway's own, for as long as there is a link.

What a gateway does not hold it asks the cloud for, so while that works clients are told of those kinds: `kubectl get`
of a Deployment, or of a kind that somebody defined, knows its name. Without a link the gateway's own kinds are told
alone: `kubectl get all` then shows what is here, and fails for nothing that is not.

Keeps each document with the cloud's tag, in memory: asked again it costs a hundred bytes. Watches are not carried to
the cloud, so kinds that are not held here are told without.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final, Protocol

from edgecore.local_api.answers import Answer
from edgecore.local_api.kinds import SCHEME
from edgecore.local_api.paths import is_discovery
from edgecore.local_api.requests import Request
from skerry.errors import SkerryError
from skerry.forms.negotiation import discovery_version
from skerry.frozen import Frozen
from skerry.objects.cloud_calls import CallHead, CloudAnswer
from skerry.objects.json import Json, JsonObject, encode_object, maps_at, read_json, str_at, strs_at

FRESH_S: Final = 10.0
"""One run of a client asks several times."""
ASK_S_MAX: Final = 5.0
"""A link that is half open must not hold up who asks for pods."""
DOCUMENTS_MAX: Final = 64
DOCUMENTS_BYTES_MAX: Final = 2 << 20


class Calls(Protocol):
    """See `edgecore.link.calls.CloudCalls`."""

    async def ask(self, head: CallHead, body: bytes = b"") -> CloudAnswer: ...


class _Held(Frozen):
    asked_s: float
    tag: str
    """The cloud's."""
    answer: Answer


class CloudKinds:
    """See the module."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._held: dict[tuple[str, str], _Held] = {}
        self._asking = asyncio.Lock()
        self._ask_from_s = 0.0
        """After a question without an answer, those behind it don't wait as long again."""

    async def answer(self, request: Request) -> Answer | None:
        """None for what is no discovery, and where the cloud can't be asked now."""
        if request.method not in ("GET", "HEAD") or request.parts[:1] not in (("api",), ("apis",)):
            return None
        if not is_discovery(request.parts):
            return None
        path, form = "/" + "/".join(request.parts), discovery_version(request.header("accept"))
        async with self._asking:
            found = await self._document(path, form)
        if found is None:
            return None
        tag = dict(found.headers).get("ETag", "")
        if tag and tag in [each.strip().removeprefix("W/") for each in request.if_none_match.split(",")]:
            return Answer(code=304, content_type=found.content_type, headers=found.headers)
        return found

    async def _document(self, path: str, form: str) -> Answer | None:
        now_s = asyncio.get_running_loop().time()
        held = self._held.get((path, form))
        if held is not None and now_s - held.asked_s < FRESH_S:
            return held.answer
        if now_s < self._ask_from_s:
            return None
        accept = f"application/json;g=apidiscovery.k8s.io;v={form};as=APIGroupDiscoveryList" if form else ""
        headers = (("accept", f"{accept},application/json".lstrip(",")),)
        if held is not None and held.tag:
            headers += (("if-none-match", held.tag),)
        try:
            async with asyncio.timeout(ASK_S_MAX):
                told = await self._calls.ask(CallHead(method="GET", path=path, headers=headers, own=True))
            answer = _read(told, held)
        except TimeoutError:
            self._ask_from_s = asyncio.get_running_loop().time() + FRESH_S
            return None
        except (SkerryError, ValueError):
            return None
        if answer is None:
            return None
        if len(answer.body) > DOCUMENTS_BYTES_MAX:
            return answer
        there = sum(len(each.answer.body) for each in self._held.values())
        if len(self._held) >= DOCUMENTS_MAX or there + len(answer.body) > DOCUMENTS_BYTES_MAX:
            self._held.clear()
        tag = next((value for name, value in told.headers if name == "etag"), held.tag if held is not None else "")
        self._held[path, form] = _Held(asked_s=now_s, tag=tag, answer=answer)
        return answer


def _read(told: CloudAnswer, held: _Held | None) -> Answer | None:
    """Raises `ValueError` for what is no document."""
    if told.code == 304 and held is not None:
        return held.answer
    if told.code != 200:
        return None
    document = read_json(told.body, "the cloud's answer")
    if not isinstance(document, dict):
        raise ValueError("the cloud's answer is no object")
    body = encode_object(without_watches(document)) + b"\n"
    headers = (("ETag", f'"{hashlib.sha256(body).hexdigest().upper()}"'), ("Vary", "Accept"))
    return Answer(body=body, content_type=told.content_type, headers=headers)


def without_watches(document: JsonObject) -> JsonObject:
    """A document of discovery in any form, of what the gateway can do with it."""
    match str_at(document, "kind"):
        case "APIResourceList":
            group, _, version = f"/{str_at(document, 'groupVersion')}".rpartition("/")
            rows = maps_at(document, "resources")
            return {**document, "resources": [_row(each, group.strip("/"), version, "name") for each in rows]}
        case "APIGroupDiscoveryList":
            return {**document, "items": [_group(each) for each in maps_at(document, "items")]}
        case _:
            return document


def _group(item: JsonObject) -> JsonObject:
    group = str_at(item, "metadata", "name")
    versions: list[Json] = []
    for each in maps_at(item, "versions"):
        version = str_at(each, "version")
        rows: list[Json] = [_row(row, group, version, "resource") for row in maps_at(each, "resources")]
        versions.append({**each, "resources": rows})
    return {**item, "versions": versions}


def _row(row: JsonObject, group: str, version: str, plural: str) -> JsonObject:
    if SCHEME.at(group, version, str_at(row, plural).partition("/")[0]) is not None:
        return row
    verbs: list[Json] = [verb for verb in strs_at(row, "verbs") if verb != "watch"]
    return {**row, "verbs": verbs}
