"""Has the cloud sign a certificate for the local API, early and again, whenever there is a link.

Keeps nothing itself (`edgecore.local_api.served` does). What can't be had now changes nothing: the gateway's own
certificate is shown, and the cloud is asked again ever more slowly, and at the next session. A cloud that is too old
says that it knows no such thing, which is no fault.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from edgecore.local_api.served import TRUST, ServedCertificates
from edgecore.store.port import EdgeBatch
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import SkerryError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.cloud_calls import CallHead, CloudAnswer
from skerry.objects.enrolment import EnrolRequest, request_body
from skerry.objects.gateway_serving import SERVING_PATH, read_served
from skerry.objects.json import read_json, str_at
from skerry.waits import longer_s, until_set

log = logging.getLogger(__name__)

LOOK_S: Final = 60.0
"""A clock that steps tells nobody."""
AGAIN_S_MIN: Final = 60.0
AGAIN_S_MAX: Final = 3600.0
_TOO_OLD: Final = 404


class Calls(Protocol):
    """See `edgecore.link.calls.CloudCalls`."""

    async def ask(self, head: CallHead, body: bytes = b"") -> CloudAnswer: ...


class IssuingParts(Frozen):
    """What it works with."""

    served: ServedCertificates
    calls: Calls
    store: AsyncEdgeStore
    hosts: Sequence[str]
    """At which the API is served."""
    connected: Callable[[], bool]
    """There is a session with the cloud."""
    changed: Callable[[], None]
    """Told when pods are to know the API by other authorities."""


class Issuing:
    """Run `run` in a task group."""

    def __init__(self, parts: IssuingParts) -> None:
        self._parts = parts
        self._look = asyncio.Event()
        self._again_s = 0.0
        """From when on the cloud may be asked again, by the loop's clock."""
        self._delay_s = 0.0
        self._said = ""

    def poke(self) -> None:
        """There is a link again, or something to ask with."""
        self._again_s = self._delay_s = 0.0
        self._look.set()

    async def run(self) -> None:
        """Until cancelled."""
        told = self._authorities()
        stop = self._parts.store.listen(self._committed)
        try:
            while True:
                self._look.clear()
                await self._round()
                if (now := self._authorities()) != told:
                    told = now
                    self._parts.changed()
                await until_set(self._look, within_s=LOOK_S)
        finally:
            stop()

    def _authorities(self) -> list[str]:
        return [self._parts.served.authority(host) for host in self._parts.hosts]

    def _committed(self, batch: EdgeBatch) -> None:
        if any(put.key == TRUST for put in batch.puts):
            self.poke()

    async def _round(self) -> None:
        loop_s = asyncio.get_running_loop().time()
        if not self._parts.connected() or loop_s < self._again_s or not self._parts.served.is_due:
            return
        # Before the question: a poke while it is open is to be heard.
        self._delay_s = longer_s(self._delay_s, least_s=AGAIN_S_MIN, most_s=AGAIN_S_MAX)
        self._again_s = loop_s + self._delay_s
        why = await self._ask()
        if why and why != self._said:
            log.warning("the cloud gives no certificate for the local API reason=%s", why)
        self._said = why

    async def _ask(self) -> str:
        """Why there is none; "" where there is."""
        request = self._parts.served.request()
        if request is None:
            return ""  # it is being made, and that ends with a poke
        body = request_body(EnrolRequest(token="", csr_pem=request.csr_pem))
        head = CallHead(method="POST", path=SERVING_PATH, body_bytes=len(body), own=True)
        try:
            answer = await self._parts.calls.ask(head, body)
            if answer.code == _TOO_OLD:
                log.info("the cloud is too old to sign for the local API: the gateway's own authority stays")
                return ""
            said = read_json(answer.body, "the cloud's answer")
            if not isinstance(said, dict):
                raise UnavailableError("the cloud's answer is no object")
            if not 200 <= answer.code < 300:
                raise UnavailableError(str_at(said, "message", default=f"code {answer.code}"))
            self._parts.served.keep(request, read_served(said))
        except (SkerryError, ValueError) as error:
            return str(error)
        log.info("the cloud signed a certificate for the local API")
        return ""
