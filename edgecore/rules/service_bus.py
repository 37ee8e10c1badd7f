"""KubeEdge's service bus: applications on the gateway ask applications in the cloud, over HTTP on 127.0.0.1:9060.

The form is KubeEdge's: whatever the path, a body `{"method", "targetURL", "payload"}`, and an answer of status 200
that says in `{"code", "msg", "body"}` how it went. The whole body is posted to the target of the Rule whose
`target_url` it names. It listens while such a Rule is held, and on the loopback address alone.

A call goes up as a message with a name, and its answer comes down as an object: a link that is lost in between costs
time, not the call. One that can't be answered in time is not kept: who asked has gone. Keeps who waits; a crash ends
their connections.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from typing import Final

import h11

from edgecore.rules.plan import Source, called_of
from edgecore.store.port import EdgeBatch, NewReport
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import BadRequestError, SkerryError, TooLargeError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, decode_object, encode_object, int_at, str_at
from skerry.objects.meta import name_of, namespace_of
from skerry.objects.rules import (
    ENDPOINTS,
    MESSAGE,
    MESSAGES,
    PAYLOAD_BYTES_MAX,
    RULES,
    RuleMessage,
    answer_of,
)
from skerry.ports import Ids
from skerry.waits import until_set

LOG = logging.getLogger(__name__)

HOST: Final = "127.0.0.1"
WITHIN_S: Final = 60.0
"""KubeEdge's `timeout`."""
HEAD_BYTES_MAX: Final = 16 * 1024
CONNECTIONS_MAX: Final = 64
ASK_S_MAX: Final = 30.0
"""For a request to be there, whole; and for an answer to be taken."""
SUCCESS: Final = "receive response from cloud successfully"
"""KubeEdge's words, as the other texts are."""
NO_PARAMS: Final = "invalid params"


class BusSettings(Frozen):
    """Where and how long."""

    port: int
    within_s: float = WITHIN_S


class ServiceBusParts(Frozen):
    """What it works with."""

    store: AsyncEdgeStore
    ids: Ids
    connected: Callable[[], bool]
    """Whether the cloud is heard."""
    node: str


class ServiceBus:
    """Run `run` in a task group."""

    def __init__(self, parts: ServiceBusParts, settings: BusSettings) -> None:
        self._parts = parts
        self._settings = settings
        self._waiting: dict[str, asyncio.Future[JsonObject]] = {}
        self._open = 0
        self._changed = asyncio.Event()
        self._sources: Sequence[Source] = ()

    async def run(self) -> None:
        """Until cancelled."""
        stop_listening = self._parts.store.listen(self.committed)
        server: asyncio.Server | None = None
        told = ""
        try:
            while True:
                self._changed.clear()
                self.take_rules()
                wanted = bool(self._sources)
                if wanted and server is None:
                    try:
                        server = await asyncio.start_server(
                            self._connected, HOST, self._settings.port, limit=HEAD_BYTES_MAX
                        )
                        LOG.info("service_bus listens address=%s:%d", HOST, self._settings.port)
                    except OSError as error:
                        if told != str(error):
                            LOG.warning("service_bus can't listen port=%d reason=%r", self._settings.port, str(error))
                        told = str(error)
                elif not wanted and server is not None:
                    server.close()
                    server = None
                    LOG.info("service_bus listens no more")
                # The port may be free by then.
                await until_set(self._changed, within_s=None if wanted == (server is not None) else ASK_S_MAX)
        finally:
            stop_listening()
            if server is not None:
                server.close()

    # --- what comes down ----------------------------------------------------------------------------------

    def take_rules(self) -> None:
        """Go by the rules that are held now."""
        store = self._parts.store
        endpoints = [decode_object(held.body) for held in store.list(ENDPOINTS)]
        self._sources = called_of(
            (decode_object(held.body) for held in store.list(RULES)),
            {(namespace_of(each), name_of(each)): each for each in endpoints},
            node=self._parts.node,
        )

    def committed(self, batch: EdgeBatch) -> None:
        """What the store tells."""
        touched = {held.key.resource for held in batch.puts} | {key.resource for key in batch.deletes}
        if touched & {RULES, ENDPOINTS}:
            self._changed.set()
        for held in batch.puts:
            if held.key.resource == MESSAGES:
                message = decode_object(held.body)
                waiting = self._waiting.get(str_at(message, "spec", "call"))
                if waiting is not None and not waiting.done():
                    waiting.set_result(message)

    async def call(self, body: bytes) -> JsonObject:
        """The answer for an application, in KubeEdge's form."""
        try:
            return await self._answered(body)
        except TooLargeError as error:
            return _said(413, str(error))
        except BadRequestError as error:
            return _said(400, str(error))
        except UnavailableError as error:
            return _said(503, str(error))
        except TimeoutError:
            return _said(504, f"no answer from the cloud within {self._settings.within_s:g} s")

    async def _answered(self, body: bytes) -> JsonObject:
        url = _target_of(body)
        source = next((each for each in self._sources if each.topic == url), None)
        if source is None:
            raise BadRequestError(f"url {url} is not allowed and please make a rule for this url in the cloud")
        if len(body) > PAYLOAD_BYTES_MAX:
            raise TooLargeError(f"a request is at most {PAYLOAD_BYTES_MAX} bytes")
        if not self._parts.connected():
            raise UnavailableError("the cloud is not connected")
        call = self._parts.ids.uid()
        told = RuleMessage(
            namespace=source.namespace,
            rule=source.rule,
            topic=url,
            payload=body,
            call=call,
            within_ms=round(1000 * self._settings.within_s),
        )
        waiting = self._waiting[call] = asyncio.get_running_loop().create_future()
        try:
            report = NewReport(report_class="message", kind=MESSAGE, key="", body=told.encode())
            await self._parts.store.apply(EdgeBatch(reports=(report,)))
            async with asyncio.timeout(self._settings.within_s):
                message = await waiting
        finally:
            del self._waiting[call]
        return _shown(message)

    # --- HTTP ---------------------------------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= CONNECTIONS_MAX:
                await _Connection(reader, writer, self).serve()
        except (ConnectionError, TimeoutError, h11.ProtocolError):
            return  # the client went away, or speaks something else
        except SkerryError as error:
            LOG.warning("service_bus request failed reason=%r", str(error))
        finally:
            self._open -= 1
            writer.close()


class _Connection:
    """One client: requests one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bus: ServiceBus) -> None:
        self._reader = reader
        self._writer = writer
        self._bus = bus
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)

    async def serve(self) -> None:
        while True:
            async with asyncio.timeout(ASK_S_MAX):
                body = await self._request()
            if body is None:
                return
            large = len(body) > PAYLOAD_BYTES_MAX
            said = (
                _said(413, f"a request is at most {PAYLOAD_BYTES_MAX} bytes") if large else await self._bus.call(body)
            )
            await self._answer(encode_object(said))
            if large or self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _request(self) -> bytes | None:
        """The body; no more of it than is allowed, and one byte. None at the end."""
        body = bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(HEAD_BYTES_MAX))
            elif isinstance(event, h11.Request):
                if self._http.they_are_waiting_for_100_continue:
                    await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > PAYLOAD_BYTES_MAX:
                    return bytes(body[: PAYLOAD_BYTES_MAX + 1])
            elif isinstance(event, h11.EndOfMessage):
                return bytes(body)
            else:
                return None

    async def _answer(self, body: bytes) -> None:
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        await self._send(h11.Response(status_code=200, headers=headers, reason=b"OK"))
        await self._send(h11.Data(data=body))
        await self._send(h11.EndOfMessage())

    async def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self._writer.write(data)
            async with asyncio.timeout(ASK_S_MAX):
                await self._writer.drain()


def _target_of(body: bytes) -> str:
    """Raises `BadRequestError`."""
    try:
        said: Json = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(NO_PARAMS) from error
    if not isinstance(said, dict):
        raise BadRequestError(NO_PARAMS)
    return str_at(said, "targetURL")


def _shown(message: JsonObject) -> JsonObject:
    """What came of a call: the target's answer, or why there is none."""
    status = int_at(message, "status", "answer", "status")
    if not status:
        return _said(504, str_at(message, "status", "message") or "the target did not answer")
    body = answer_of(message).decode(errors="replace")
    return _said(
        status if not 200 <= status < 300 else 200, SUCCESS if 200 <= status < 300 else _refused(status), body
    )


def _refused(status: int) -> str:
    return f"the target answers {status}"


def _said(code: int, text: str, body: str = "") -> JsonObject:
    return {"code": code, "msg": text, "body": body}
