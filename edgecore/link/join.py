"""`edgecore join`: how a gateway becomes known to a cloud, once (`skerry.transport.joining` says in which steps).

Where an address does not answer directly and there is an HTTP proxy, all of it goes through that. The key waits in
DIR/.join-key until the certificate for it is in place, so that a join whose answer was lost can be repeated with the
same token. Runs as a command of its own: heavy imports are no burden on the agent. Not to be called from a coroutine:
it runs an event loop of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgecore.link.membership import Credentials, Membership, load_membership, save_membership
from skerry.errors import BadRequestError, InvalidError, NotFoundError, UnavailableError
from skerry.files import write_private
from skerry.frozen import Frozen
from skerry.objects.enrolment import (
    HUB_SERVER_NAME,
    NODE_USER_PREFIX,
    Discovery,
    EnrolRequest,
    JoinToken,
    parse_token,
    split_address,
)
from skerry.transport import joining
from skerry.transport.joining import Peer, Route
from skerry.transport.proxy import Proxy

DEFAULT_PORT: Final = 6443


class JoinRequest(Frozen):
    """What the operator gives."""

    data: Path
    clouds: tuple[str, ...]
    """HOST or HOST:PORT, of the API or of the hub: of each replica of one cloud. The first one enrols."""
    token: str
    force: bool = False
    """Forget the cloud that was joined before."""
    proxy_for: Callable[[str], Proxy | None] = lambda _: None
    """The HTTP proxy for a host that does not answer directly; see `proxy_of`."""


def _peer(cloud: str) -> Peer:
    try:
        return Peer(*split_address(cloud, default_port=DEFAULT_PORT))
    except BadRequestError as error:
        raise BadRequestError(f"--cloud: {error}") from error


def join(request: JoinRequest) -> Membership:
    """Join, and write what `edgecore run` needs.

    Raises `InvalidError` with the cloud's words when it refuses, `BadRequestError` for a token or address that
    makes no sense, `UnavailableError` when the cloud can't be reached or the disk can't be written.
    """
    token = parse_token(request.token)
    if not request.clouds:
        raise BadRequestError("--cloud: give at least one HOST:PORT")
    peer, *others = [_peer(each) for each in request.clouds]
    _check_not_joined(request)
    try:
        request.data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnavailableError(f"{request.data}: {error.strerror}") from error
    discovery, route = _discover(peer, request.proxy_for(peer.host))
    pinned = joining.pinned(discovery.ca_pem, token, peer)
    # Before the token is used: an address that is wrong would be found out when it is needed.
    apis = {other for other in others if _checked_replica(other, request, token).transport == "https"}
    key, user = _pending_key(request.data), NODE_USER_PREFIX + token.node
    enrol_request = EnrolRequest(token=request.token.strip(), csr_pem=joining.signing_request(key, user))
    enrolled = asyncio.run(joining.enrolled(route, discovery, pinned, enrol_request))
    # Of a hub, the port that worked, which a firewall may have renamed.
    hub = Peer(peer.host, enrolled.hub_port) if discovery.transport == "https" else peer
    hubs = [hub, *(Peer(other.host, enrolled.hub_port) if other in apis else other for other in others)]
    joining.check_certificate(enrolled, key, user)
    credentials = Credentials(
        key_pem=key.decode(),
        certificate_pem=enrolled.certificate_pem,
        ca_pem=enrolled.ca_pem,
        server_name=enrolled.server_name or HUB_SERVER_NAME,
    )
    membership = save_membership(
        request.data,
        credentials,
        node=token.node,
        clouds=tuple(dict.fromkeys(map(str, hubs))),
        renew_after_ms=joining.renew_after_ms(enrolled.certificate_pem),
    )
    _pending_path(request.data).unlink(missing_ok=True)
    return membership


def _check_not_joined(request: JoinRequest) -> None:
    if request.force:
        return
    try:
        known = load_membership(request.data)
    except (NotFoundError, InvalidError):
        return
    raise InvalidError(
        f"{request.data} has joined {', '.join(known.clouds)} already, as {known.node}; "
        "to join anew and forget that, add --force"
    )


def _discover(peer: Peer, proxy: Proxy | None) -> tuple[Discovery, Route]:
    """What the address says it is, asked directly or else through the proxy, and which of both it was; nothing of it
    is believed yet."""
    directly = Route(peer, None)
    try:
        return asyncio.run(joining.discovered(directly)), directly
    except UnavailableError as error:
        if proxy is None:
            raise
        fault = error
    route = Route(peer, proxy)
    try:
        return asyncio.run(joining.discovered(route)), route
    except UnavailableError as error:
        raise UnavailableError(f"{fault}; through the proxy: {error}") from error


def _checked_replica(peer: Peer, request: JoinRequest, token: JoinToken) -> Discovery:
    """That a further address is of the same cloud, as far as it says; its certificate proves it at every dial."""
    discovery, _ = _discover(peer, request.proxy_for(peer.host))
    joining.pinned(discovery.ca_pem, token, peer)
    return discovery


def _pending_path(data: Path) -> Path:
    return data / ".join-key"


def _pending_key(data: Path) -> bytes:
    """The key of a join that did not end, or a new one, as PEM."""
    path = _pending_path(data)
    try:
        found = path.read_bytes()
        joining.read_key(found)
    except (OSError, InvalidError):
        found = joining.new_key().encode()
        write_private(path, found)
    return found
