"""How a region's cloud joins a global one: as a gateway joins (`skerry.transport.joining`), by the hub's port.

Credentials are values here, not files: they live in a Secret, for whichever replica leads. Keeps nothing.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from skerry.errors import InvalidError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.enrolment import (
    HUB_SERVER_NAME,
    REGION_USER_PREFIX,
    Enrolled,
    EnrolRequest,
    parse_token,
    split_address,
)
from skerry.transport import joining
from skerry.transport.identity import Identity

HUB_PORT: Final = 10443
RENEW_S_MAX: Final = 60.0


class Credentials(Frozen):
    """What joining gives, in PEM."""

    name: str
    """Of this region in the federation."""
    key_pem: str
    certificate_pem: str
    ca_pem: str
    server_name: str
    renew_after_ms: int


async def enrol(cloud: str, token_text: str, key_pem: str) -> Credentials:
    """Raises `InvalidError` with the cloud's words when it refuses, or it is another one than the token's;
    `BadRequestError` for a token or address that makes no sense; `UnavailableError` when it can't be reached."""
    token = parse_token(token_text)
    peer = joining.Peer(*split_address(cloud, default_port=HUB_PORT))
    route = joining.Route(peer)
    discovery = await joining.discovered(route)
    pinned = joining.pinned(discovery.ca_pem, token, peer)
    if discovery.transport != "websocket":
        raise InvalidError(f"{cloud} is the API's port: give the hub's, which is {HUB_PORT} unless set otherwise")
    csr = joining.signing_request(key_pem.encode(), REGION_USER_PREFIX + token.node)
    request = EnrolRequest(token=token_text.strip(), csr_pem=csr)
    return _credentials(await joining.enrolled(route, discovery, pinned, request), key_pem, token.node)


def floor_ms(credentials: Credentials, wall_ms: int) -> int:
    """The time by which the global cloud's certificate is judged where this machine's clock is behind what has
    certainly been, as before a time server answers. 0: the clock may be right, and does it. Raises `ValueError`."""
    since_ms = joining.valid_from_ms(credentials.certificate_pem)
    return since_ms if wall_ms < since_ms else 0


async def renew(clouds: Sequence[str], credentials: Credentials, *, wall_ms: int) -> Credentials:
    """A new certificate of the same key, by the first of these addresses that answers. Raises `CallerError` with a
    refusal, `UnavailableError` when nobody could be asked."""
    try:
        known_ms = floor_ms(credentials, wall_ms)
    except ValueError as error:
        raise UnavailableError(f"this region's certificate can't be used: {error}") from error
    user = REGION_USER_PREFIX + credentials.name
    csr = joining.signing_request(credentials.key_pem.encode(), user)
    faults: list[str] = []
    with Files(credentials) as identity:
        for cloud in clouds:
            address = str(joining.Peer(*split_address(cloud, default_port=HUB_PORT)))
            try:
                async with asyncio.timeout(RENEW_S_MAX):
                    asking = joining.Renewing(
                        identity=identity,
                        csr_pem=csr,
                        address=address,
                        trust_clock=not known_ms,
                        known_ms=known_ms,
                    )
                    answer = await joining.renewed(asking)
            except (UnavailableError, TimeoutError) as error:
                faults.append(str(error) or f"{address}: no answer in time")
                continue
            return _credentials(answer, credentials.key_pem, credentials.name)
    raise UnavailableError("; ".join(faults))


class Files:
    """Credentials as files, which `ssl` wants, for as long as the block lasts."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._directory = tempfile.TemporaryDirectory(prefix="skerry-region-")

    def __enter__(self) -> Identity:
        place = Path(self._directory.name)
        for name, text in (
            ("ca.crt", self._credentials.ca_pem),
            ("region.crt", self._credentials.certificate_pem),
            ("region.key", self._credentials.key_pem),
        ):
            (place / name).touch(mode=0o600)
            (place / name).write_text(text)
        return Identity(
            ca_file=place / "ca.crt",
            certificate_file=place / "region.crt",
            key_file=place / "region.key",
            server_name=self._credentials.server_name,
        )

    def __exit__(self, *_: object) -> None:
        self._directory.cleanup()


def _credentials(answer: Enrolled, key_pem: str, name: str) -> Credentials:
    try:
        joining.check_certificate(answer, key_pem.encode(), REGION_USER_PREFIX + name)
    except UnavailableError as error:
        raise InvalidError(
            f"{error}: is it a region's token (`skerry region token`), and not a gateway's?"
        ) from error
    return Credentials(
        name=name,
        key_pem=key_pem,
        certificate_pem=answer.certificate_pem,
        ca_pem=answer.ca_pem,
        server_name=answer.server_name or HUB_SERVER_NAME,
        renew_after_ms=joining.renew_after_ms(answer.certificate_pem),
    )
