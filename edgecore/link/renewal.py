"""A gateway's certificate is renewed long before it ends, over the hub's port, with the certificate itself as proof.

The agent starts this module as a process of its own (`python -m edgecore.link.renewal DIR`), which happens about
once in eight months: making a request needs a crypto library that is worth 10 MB of memory, which the agent never
loads. Links read the files when they dial, so the next one uses the new certificate. A crash leaves the old
certificate or the new one; the attempt is repeated.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Final

from edgecore.link.membership import load_membership, save_renewed
from skerry.errors import SkerryError, UnavailableError
from skerry.objects.enrolment import HUB_RENEW_PATH, EnrolRequest, read_enrolled, request_body
from skerry.ports import Clock
from skerry.transport.websocket import client_context, dial

LOG: Final = logging.getLogger(__name__)
CHECK_INTERVAL_S: Final = 3600.0
ATTEMPT_S_MAX: Final = 120.0


async def keep_certificate(data: Path, clock: Clock) -> None:
    """Renew for ever, whenever it is due by this gateway's clock. A failed attempt is repeated at the next check; a
    third of the certificate's life is left for that."""
    failed = False
    while True:
        if clock.wall_ms() >= load_membership(data).renew_after_ms:
            fault = await _attempt(data)
            if fault and not failed:
                LOG.warning("certificate not renewed error=%s", fault)
            elif not fault:
                LOG.info("certificate renewed")
            failed = bool(fault)
        await asyncio.sleep(CHECK_INTERVAL_S)


async def renew(data: Path) -> None:
    """Renew now. Raises `UnavailableError` when no hub could be asked, or a `CallerError` with its refusal."""
    from cryptography import x509

    from edgecore.link.join import renew_after_ms, signing_request

    membership = load_membership(data)
    csr_pem = signing_request(membership.identity.key_file.read_bytes(), membership.node)
    context = client_context(membership.identity, trust_clock=True)
    faults: list[str] = []
    for address in membership.clouds:
        try:
            async with asyncio.timeout(ATTEMPT_S_MAX / 2):
                link = await dial(address, context, path=HUB_RENEW_PATH)
                await link.send(request_body(EnrolRequest(token="", csr_pem=csr_pem)))
                answer = await link.receive()
                await link.close(code=1000, reason="")
        except (UnavailableError, TimeoutError) as error:
            faults.append(f"{address}: {error or 'no answer in time'}")
            continue
        enrolled = read_enrolled(answer)
        certificate = x509.load_pem_x509_certificate(enrolled.certificate_pem.encode())
        save_renewed(
            data,
            membership,
            certificate_pem=enrolled.certificate_pem,
            renew_after_ms=renew_after_ms(certificate),
        )
        return
    raise UnavailableError("; ".join(faults))


async def _attempt(data: Path) -> str:
    """Renew in a process of its own; why that failed, or ""."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edgecore.link.renewal", str(data), stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(ATTEMPT_S_MAX):
            _, said = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return "no answer in time"
    if process.returncode == 0:
        return ""
    return said.decode(errors="replace").strip()[-300:] or f"exit code {process.returncode}"


def main() -> None:
    """One renewal, for the data directory given."""
    try:
        asyncio.run(renew(Path(sys.argv[1])))
    except SkerryError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
