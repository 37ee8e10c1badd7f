"""Enrolment over the hub's port, where it is one message each way on a link. Keeps nothing.

A gateway behind a firewall may reach the hub and nothing else; so what the API answers over HTTPS
(`cloudcore.api.enrolment`) the hub answers as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from cloudcore.pki.enrolment import Enroller
from skerry.errors import CallerError, ForbiddenError, TooManyRequestsError, UnauthenticatedError, UnavailableError
from skerry.objects.enrolment import Enrolled, enrolled_body, read_recover, read_request, refused_body
from skerry.ports import Link

ANSWER_S_MAX: Final = 20.0


class AddressedLink(Link, Protocol):
    """A link that knows where its peer is."""

    @property
    def peer_address(self) -> str: ...


def enrolling(enroller: Enroller) -> Callable[[AddressedLink], Awaitable[None]]:
    """Serves a link without a certificate: a token and a CSR, then a certificate or a refusal."""

    async def serve(link: AddressedLink) -> None:
        async def answer() -> Enrolled:
            return await enroller.enrol(read_request(await link.receive()), peer=link.peer_address)

        await _answered(link, answer)

    return serve


def renewing(enroller: Enroller) -> Callable[[AddressedLink], Awaitable[None]]:
    """Serves a link with a certificate: a CSR, then a new certificate or a refusal."""

    async def serve(link: AddressedLink) -> None:
        async def answer() -> Enrolled:
            request = read_request(await link.receive(), with_token=False)
            return await enroller.renew(link.peer_name, link.peer_key, request.csr_pem)

        await _answered(link, answer)

    return serve


def recovering(enroller: Enroller) -> Callable[[AddressedLink], Awaitable[None]]:
    """Serves a link without a certificate: an ended one and a CSR as text, then a new certificate or a refusal."""

    async def serve(link: AddressedLink) -> None:
        async def answer() -> Enrolled:
            return await enroller.recover(read_recover(await link.receive()), peer=link.peer_address)

        await _answered(link, answer)

    return serve


async def _answered(link: AddressedLink, answer: Callable[[], Awaitable[Enrolled]]) -> None:
    """One answer, whatever it is; a peer that is silent or gone is let go."""
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            try:
                body = enrolled_body(await answer())
            except CallerError as error:
                body = refused_body(str(error), code=_code(error))
            await link.send(body)
            await link.close(code=1000, reason="")
    except (TimeoutError, UnavailableError):
        await link.close(code=1011, reason="try again")


def _code(error: CallerError) -> int:
    match error:
        case UnauthenticatedError():
            return 401
        case ForbiddenError():
            return 403
        case TooManyRequestsError():
            return 429
        case _:
            return 400
