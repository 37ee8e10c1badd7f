"""A gateway's certificate is renewed long before it ends, over the hub's port, with the certificate itself as proof.

Where it has ended all the same (a spare in a store room, a clock that stood still), the cloud gives a new one for the
same key: see `cloudcore.pki.enrolment`. The agent starts this module as a process of its own (`python -m
edgecore.link.renewal DIR`), which happens about once in eight months: making a request needs a crypto library that is
worth 10 MB of memory, which the agent never loads. It asks directly or through the HTTP proxy, as links do; they read
the files when they dial, so the next one uses the new certificate. A crash leaves the old certificate or the new one;
the attempt is repeated.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from edgecore.link.membership import Membership, load_membership, save_renewed
from edgecore.store.port import META_WAY, EdgeBatch
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import SystemClock
from skerry.errors import SkerryError, UnavailableError
from skerry.objects.enrolment import (
    NODE_USER_PREFIX,
    TRUST_FIELD,
    TRUST_NAME,
    TRUST_NAMESPACE,
    certificates_in,
)
from skerry.objects.json import decode_object, str_at
from skerry.objects.meta import Key
from skerry.sync.ages import clock_is_wrong
from skerry.transport.proxy import Proxy, proxy_of
from skerry.waits import longer_s, until_set

LOG: Final = logging.getLogger(__name__)
CHECK_INTERVAL_S: Final = 3600.0
AGAIN_S_MIN: Final = 60.0
"""After an attempt that failed; doubled with each, up to the interval between checks."""
ASK_S_MAX: Final = 60.0
"""One cloud, one way."""
SAID_MAX: Final = 600
"""Characters of what a failed attempt said; the end counts."""
PROXY_VARIABLE: Final = "SKERRY_PROXY"
"""Tells the process that renews of the proxy, or `none`: others on the machine may see its arguments."""
_TRUST: Final = Key("configmaps", TRUST_NAMESPACE, TRUST_NAME)


class CertificateKeeper:
    """Sees that there is a certificate the cloud takes. Run `run` in a task group."""

    def __init__(
        self, data: Path, store: AsyncEdgeStore, now_ms: Callable[[], int], proxy: Proxy | None = None
    ) -> None:
        """`now_ms`: the newest time this gateway knows, milliseconds since the epoch. Not its wall clock: one in 2040
        would have it renew for ever, and no cloud's certificate would be good enough. `proxy`: where the cloud is
        asked through when it does not answer directly, or first of all where the link goes that way."""
        self._data = data
        self._store = store
        self._now_ms = now_ms
        self._proxy = proxy
        self._doubted = False
        self._news = asyncio.Event()

    def doubt(self) -> None:
        """The cloud seems not to take the certificate, whatever this gateway's clock says of it."""
        self._doubted = True
        self._news.set()

    async def run(self) -> None:
        """For ever. An attempt that failed, or did not help, is repeated ever more slowly; of a certificate that is
        renewed in time a third of its life is left for that."""
        stop = self._store.listen(self._committed)
        try:
            await self._keep()
        finally:
            stop()

    def _committed(self, batch: EdgeBatch) -> None:
        if any(put.key == _TRUST for put in batch.puts):
            self._news.set()

    def _due(self) -> bool:
        membership = load_membership(self._data)
        return self._now_ms() >= membership.renew_after_ms or self._authorities_changed(membership)

    def _authorities_changed(self, membership: Membership) -> bool:
        """The cloud told of other authorities than the ones that are trusted here."""
        held = self._store.get(_TRUST)
        told = certificates_in(str_at(decode_object(held.body), "data", TRUST_FIELD)) if held is not None else ()
        return bool(told) and told != certificates_in(membership.identity.ca_file.read_text(encoding="ascii"))

    async def _keep(self) -> None:
        again_s = 0.0
        said = False
        while True:
            self._news.clear()
            tried, fault = await self._see_to_it()
            if fault and not said:
                LOG.warning("certificate not renewed error=%s", fault)
            elif tried and not fault:
                LOG.info("certificate renewed")
            said = bool(fault)
            if tried or fault:
                again_s = longer_s(again_s, least_s=AGAIN_S_MIN, most_s=CHECK_INTERVAL_S)
                await asyncio.sleep(again_s)
            elif not await until_set(self._news, within_s=CHECK_INTERVAL_S):
                again_s = 0.0

    async def _see_to_it(self) -> tuple[bool, str]:
        """Renew if that is due: whether it was tried, and what is wrong. Files that are damaged or gone, or a machine
        without room for one more process, are no reason to end an agent that has devices and pods to look after."""
        try:
            if not self._doubted and not self._due():
                return False, ""
            self._doubted = False
            return True, await _attempt(self._data, self._now_ms(), self._proxy, self._ways())
        except (OSError, ValueError, SkerryError) as error:
            return False, str(error)

    def _ways(self) -> tuple[str, ...]:
        """How to ask, in order: what the link remembers comes first."""
        if self._proxy is None:
            return ("websocket",)
        return ("proxy", "websocket") if self._store.meta(META_WAY) == "proxy" else ("websocket", "proxy")


async def renew(data: Path, *, known_ms: int, proxies: Sequence[Proxy | None] = (None,)) -> None:
    """Renew now; `known_ms` is the newest time this gateway knows, milliseconds since the epoch, and `proxies` the
    ways to try, in order: through a proxy, or directly (None).

    Raises `UnavailableError` when no hub could be asked, or a `CallerError` with its refusal.
    """
    from skerry.transport import joining  # cryptography: in the process of its own alone

    membership = load_membership(data)
    user = NODE_USER_PREFIX + membership.node
    csr_pem = joining.signing_request(membership.identity.key_file.read_bytes(), user)
    faults: list[str] = []
    for proxy, address in ((proxy, address) for proxy in proxies for address in membership.clouds):
        wrong = clock_is_wrong(wall_ms=SystemClock().wall_ms(), floor_ms=known_ms)
        asking = joining.Renewing(
            identity=membership.identity,
            csr_pem=csr_pem,
            address=address,
            proxy=proxy,
            trust_clock=not wrong,
            known_ms=known_ms,
        )
        try:
            async with asyncio.timeout(ASK_S_MAX):
                enrolled = await joining.renewed(asking)
        except (UnavailableError, TimeoutError) as error:
            way = "" if proxy is None else f" through the proxy {proxy}"
            faults.append(str(error) or f"{address}{way}: no answer in time")
            continue
        save_renewed(data, membership, enrolled, renew_after_ms=joining.renew_after_ms(enrolled.certificate_pem))
        return
    raise UnavailableError("; ".join(faults))


async def _attempt(data: Path, known_ms: int, proxy: Proxy | None, ways: Sequence[str]) -> str:
    """Renew in a process of its own; why that failed, or ""."""
    asks = len(load_membership(data).clouds) * len(ways)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edgecore.link.renewal", str(data), str(known_ms), *ways),
        env={**os.environ, PROXY_VARIABLE: "none" if proxy is None else proxy.url},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(ASK_S_MAX * (asks + 1)):
            _, said = await process.communicate()
    except TimeoutError:
        return "no answer in time"
    finally:
        if process.returncode is None:  # too slow, or the agent stops
            process.kill()
            await process.communicate()
    if process.returncode == 0:
        return ""
    return said.decode(errors="replace").strip()[-SAID_MAX:] or f"exit code {process.returncode}"


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    """One renewal, for the data directory, the newest time known and the ways that are given."""
    data, known_ms, *ways = arguments
    proxy = proxy_of(environ.get(PROXY_VARIABLE, "none"), {}, host="")
    proxies = [proxy if way == "proxy" else None for way in ways or ("websocket",)]
    try:
        asyncio.run(renew(Path(data), known_ms=int(known_ms), proxies=proxies))
    except SkerryError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:], os.environ)
