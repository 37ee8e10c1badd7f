"""The OpenAPI documents of what a gateway serves: the cloud's, kept from when somebody asked for them.

The gateway has no schemas of its own: what makes the documents takes more memory than the whole agent. They come
through the session when they are first asked for, and are asked for again when the cloud's index tells of others.
Keeps `DATA/local-api/openapi`: the index, and each document beside it. Whoever deletes them gets new ones; a crash
leaves whole files.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Final, Protocol

from edgecore.local_api.answers import Answer
from skerry.errors import NotFoundError, UnavailableError
from skerry.files import write_private
from skerry.objects.cloud_calls import CallHead, CloudAnswer
from skerry.objects.json import JsonObject, decode_object, encode_object, map_at, str_at

V2_PROTOBUF: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
INDEX_FRESH_S: Final = 60.0
"""One run of kubectl asks several times."""
_JSON: Final = "application/json"
_INDEX: Final = "v3.json"


class Calls(Protocol):
    """See `edgecore.link.calls.CloudCalls`."""

    async def ask(self, head: CallHead, body: bytes = b"") -> CloudAnswer: ...


class OpenApi:
    """See the module. `served`: `api/v1`, `apis/GROUP/VERSION` of what is served here."""

    def __init__(self, directory: Path, calls: Calls, served: Collection[str]) -> None:
        self._directory = directory
        self._calls = calls
        self._served = served
        self._asked_s = float("-inf")
        self._asking = asyncio.Lock()

    async def index(self) -> Answer:
        """`/openapi/v3`. Raises `UnavailableError` where it was never had and can't be had now."""
        paths = map_at(await self._index(), "paths")
        shown: JsonObject = {path: paths[path] for path in self._served if path in paths}
        return Answer(body=encode_object({"paths": shown}) + b"\n")

    async def group_version(self, path: str) -> Answer:
        """`/openapi/v3/PATH`. Raises `NotFoundError`, `UnavailableError`."""
        paths = map_at(await self._index(), "paths")
        if path not in self._served or path not in paths:
            raise NotFoundError("the server could not find the requested resource")
        where = str_at(paths, path, "serverRelativeURL")
        body = await self._document(where, _JSON)
        return Answer(body=body, headers=(("ETag", f'"{where.rpartition("hash=")[2]}"'),))

    async def v2(self, *, protobuf: bool) -> Answer:
        """`/openapi/v2`, of all that the cloud serves. Raises `UnavailableError`."""
        index = encode_object(await self._index())
        media = V2_PROTOBUF if protobuf else _JSON
        # Which kinds there are is in the index; when they change, so does the document.
        body = await self._document("/openapi/v2", media, state=hashlib.sha256(index).hexdigest())
        return Answer(body=body, content_type=media)

    async def _index(self) -> JsonObject:
        """The newest that can be had. Raises `UnavailableError`."""
        async with self._asking:
            kept = await asyncio.to_thread(_read, self._directory / _INDEX)
            now_s = asyncio.get_running_loop().time()
            if kept is not None and now_s - self._asked_s < INDEX_FRESH_S:
                return decode_object(kept)
            try:
                body = await self._asked("/openapi/v3", _JSON)
            except UnavailableError:
                if kept is None:
                    raise
                return decode_object(kept)
            self._asked_s = now_s
            if body != kept:
                await asyncio.to_thread(self._write, _INDEX, body)
            return decode_object(body)

    async def _document(self, where: str, media: str, *, state: str = "") -> bytes:
        """Of one state: its file's name tells which. Older ones of the same place go."""
        place = hashlib.sha256(f"{where.partition('?')[0]} {media}".encode()).hexdigest()[:16]
        name = f"{place}-{hashlib.sha256(f'{where} {state}'.encode()).hexdigest()[:16]}"
        async with self._asking:
            kept = await asyncio.to_thread(_read, self._directory / name)
            if kept is None:
                kept = await self._asked(where, media)
                await asyncio.to_thread(self._write, name, kept)
        return kept

    async def _asked(self, path: str, media: str) -> bytes:
        head = CallHead(method="GET", path=path, headers=(("accept", media),), own=True)
        try:
            answer = await self._calls.ask(head)
        except UnavailableError as error:
            raise UnavailableError(
                f"this gateway has not had the schemas from the cloud yet ({path}), and {error}"
            ) from error
        if answer.code != 200:
            raise UnavailableError(f"the cloud answers {answer.code} to {path}")
        return answer.body

    def _write(self, name: str, body: bytes) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for old in self._directory.glob(f"{name.partition('-')[0]}-*"):
            old.unlink(missing_ok=True)
        write_private(self._directory / name, body)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
