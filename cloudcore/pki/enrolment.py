"""How a gateway becomes a node: a one-time token and a CSR go in, a certificate comes out.

Keeps nothing of its own but a count of recent failures per peer. A token is a Secret in kube-system (see
`skerry.objects.enrolment`); its use is one optimistic commit on that Secret, so of any number of attempts on any
replica one wins. The commit records which key it was used for: a gateway whose link broke before the answer came
asks again with the same token and key, and gets its certificate; any other key is refused. A crash between that
commit and the answer is healed in the same way.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Final

from cloudcore.pki.certificates import (
    Authority,
    ClientCertificate,
    client_certificate,
    key_fingerprint,
    requested_key,
    requested_names,
    sign_request,
    sign_serving,
)
from cloudcore.pki.serving import now_of
from cloudcore.registry.port import Objects
from skerry.errors import (
    AlreadyExistsError,
    BadRequestError,
    ForbiddenError,
    NotFoundError,
    TooManyRequestsError,
    UnauthenticatedError,
)
from skerry.frozen import Frozen
from skerry.objects.enrolment import (
    NODE_KEY_ANNOTATION,
    NODE_USER_PREFIX,
    NODES_GROUP,
    REGION_USER_PREFIX,
    REGIONS_GROUP,
    TOKEN_NAMESPACE,
    Discovery,
    Enrolled,
    EnrolRequest,
    Grant,
    JoinToken,
    RecoverRequest,
    Transport,
    grant_of,
    hash_secret,
    hub_server_name,
    key_refusal,
    node_of_user,
    parse_token,
    region_of_user,
    region_refusal,
    token_secret_name,
    used_secret,
    with_authority,
)
from skerry.objects.federation import NAMESPACE as FEDERATION_NAMESPACE
from skerry.objects.federation import PULL
from skerry.objects.gateway_serving import NAMES_MAX, Served, refused_names
from skerry.objects.json import JsonObject, decode_object, ensure_map, map_at, str_map_at, to_json
from skerry.objects.scheme import Kind
from skerry.objects.times import time_text
from skerry.ports import Clock

RECOVER_WITHIN: Final = timedelta(days=365)
"""As long again as the certificate was good for: a spare in a store room, a plant that is closed for a season."""
FAILURES_MAX: Final = 20
"""Of one peer in a row; then it waits for them to be forgotten, one each FAILURE_FORGOTTEN_S."""
FAILURE_FORGOTTEN_S: Final = 3.0
PEERS_MAX: Final = 4096
"""Peers remembered; beyond that the longest unseen is forgotten."""

_UNKNOWN: Final = (
    "this token is not valid here: it was withdrawn, belongs to another cloud, or was not issued at all; "
    "make a new one with `skerry token create NODE`"
)


class Limiter:
    """A leaky bucket of failures for each peer."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._peers: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, peer: str) -> None:
        """Raises `TooManyRequestsError` while a peer has failed too often."""
        level = self._level(peer)
        if level > FAILURES_MAX - 1:
            wait_s = int((level - FAILURES_MAX + 1) * FAILURE_FORGOTTEN_S) + 1
            raise TooManyRequestsError(f"too many failed attempts; try again in {wait_s} s", retry_after_s=wait_s)

    def failed(self, peer: str) -> None:
        self._peers[peer] = (self._level(peer) + 1, self._clock.monotonic_s())
        self._peers.move_to_end(peer)
        if len(self._peers) > PEERS_MAX:
            self._peers.popitem(last=False)

    def _level(self, peer: str) -> float:
        level, at = self._peers.get(peer, (0.0, 0.0))
        return max(0.0, level - (self._clock.monotonic_s() - at) / FAILURE_FORGOTTEN_S)


class EnrollerParts(Frozen):
    """What enrolment works with."""

    authorities: Sequence[Authority]
    """The one that signs first."""
    objects: Objects
    secrets: Kind
    nodes: Kind
    clock: Clock
    hub_port: Callable[[], int]
    """Asked when needed: with port 0 it is known only after the hub listens."""
    members: Kind
    """KubeFedClusters: regions' clouds that have joined."""
    namespaces: Kind
    recover_within: timedelta = RECOVER_WITHIN
    """How long after its certificate has ended a gateway may still get a new one with its old key."""


class Enroller:
    """Answers enrolment for whichever port is asked."""

    def __init__(self, parts: EnrollerParts) -> None:
        self._parts = parts
        self._limiter = Limiter(parts.clock)

    def discovery(self, transport: Transport) -> Discovery:
        """What this cloud tells anybody."""
        return Discovery(ca_pem=self._bundle_pem, transport=transport, by_authority=True)

    async def enrol(self, request: EnrolRequest, *, peer: str) -> Enrolled:
        """Use the token and sign. `peer` is the asker's address, for the limit on failures.

        Raises `BadRequestError` (a damaged token, no CSR), `UnauthenticatedError` (no such token),
        `ForbiddenError` (expired, used, of another node), `TooManyRequestsError`.
        """
        self._limiter.check(peer)
        try:
            token = parse_token(request.token)
            fingerprint = key_fingerprint(requested_key(request.csr_pem))
            grant = await self._use(token, fingerprint)
        except (BadRequestError, UnauthenticatedError, ForbiddenError):
            self._limiter.failed(peer)
            raise
        if grant.of_region:
            await self._introduce_region(grant.node, grant.labels, fingerprint)
            return self._signed_region(grant.node, request.csr_pem)
        await self._introduce(grant.node, grant.labels, fingerprint)
        return self._signed(grant.node, request.csr_pem)

    async def renew(self, user: str, key: str, csr_pem: str) -> Enrolled:
        """A new certificate for the node that a current one speaks for; `user` is that one's common name, which TLS
        verified and which only `enrol` gives to anybody, and `key` the fingerprint of its key.

        Raises `ForbiddenError` when the user is no node, when its Node was deleted, which is how one is sent away, or
        when the node has joined again with another key since; also for a request by another key than `key`: only a
        token makes a node's key another one.
        """
        fingerprint = key_fingerprint(requested_key(csr_pem))
        if region := region_of_user(user):
            return self._renewed_region(region, key, fingerprint, csr_pem)
        node = self._known(user, key)
        if fingerprint != key:
            raise ForbiddenError("the signing request is by another key than the certificate's")
        await self._remember(node, fingerprint)
        return self._signed(node, csr_pem)

    async def recover(self, request: RecoverRequest, *, peer: str) -> Enrolled:
        """A new certificate for the node or region whose old one has ended, and that still has the key: a gateway
        that lay in a store room comes back without anybody's help. Nothing of the asker was verified by TLS.

        Raises `BadRequestError` (no certificate, no CSR), `UnauthenticatedError` (not signed by this cloud),
        `ForbiddenError` (another key, ended too long ago, a Node that was deleted or joined again with another key),
        `TooManyRequestsError`.
        """
        self._limiter.check(peer)
        try:
            old = client_certificate(request.certificate_pem, self._parts.authorities)
            fingerprint = key_fingerprint(requested_key(request.csr_pem))
            self._check_recoverable(old, fingerprint)
            if region := region_of_user(old.user):
                return self._renewed_region(region, fingerprint, fingerprint, request.csr_pem)
            node = self._known(old.user, fingerprint)
        except (BadRequestError, UnauthenticatedError, ForbiddenError):
            self._limiter.failed(peer)
            raise
        await self._remember(node, fingerprint)
        return self._signed(node, request.csr_pem)

    def serving(self, node: str, csr_pem: str) -> Served:
        """A server certificate for the node's own API; its session has proved the node. Raises `BadRequestError`,
        and `ForbiddenError` for a name that is more than the machine's own."""
        names = requested_names(csr_pem)
        if refused := refused_names(sorted(names)):
            raise ForbiddenError(f"a gateway's own API is known by names of its machine alone, not by {refused[0]!r}")
        if not names or len(names) > NAMES_MAX:
            raise BadRequestError(f"a certificate for {len(names)} names: 1 to {NAMES_MAX} are given")
        signing = self._signing
        certificate = sign_serving(
            signing, csr_pem, user=NODE_USER_PREFIX + node, groups=[NODES_GROUP], now=now_of(self._parts.clock)
        )
        return Served(certificate_pem=certificate, authority_pem=signing.pem)

    def _check_recoverable(self, old: ClientCertificate, fingerprint: str) -> None:
        if key_fingerprint(old.key) != fingerprint:
            raise ForbiddenError("the signing request is by another key than the certificate's")
        if now_of(self._parts.clock) > old.ended + self._parts.recover_within:
            raise ForbiddenError(
                f"this certificate ended at {old.ended:%Y-%m-%dT%H:%M:%SZ}, more than "
                f"{self._parts.recover_within.days} days ago; join again with a new token"
            )

    def _known(self, user: str, key: str) -> str:
        """The node that a certificate's user speaks for, if its Node is there and its key is this one. A certificate
        that was given before the node joined again must not renew itself for ever."""
        node = node_of_user(user)
        if not node:
            raise ForbiddenError("only a node can renew a node's certificate")
        stored = self._parts.objects.read(self._parts.nodes.key("", node))
        reason = key_refusal(node, None if stored is None else decode_object(stored.body), key)
        if reason:
            raise ForbiddenError(reason)
        return node

    async def _remember(self, node: str, fingerprint: str) -> None:
        nodes = self._parts.nodes
        remembered = partial(_remembering, fingerprint=fingerprint, authority=self._signing.id)
        await self._parts.objects.update(nodes, nodes.key("", node), remembered)

    async def _use(self, token: JoinToken, fingerprint: str) -> Grant:
        """Mark the token as used by this key, in one commit."""
        key = self._parts.secrets.key(TOKEN_NAMESPACE, token_secret_name(token.id))
        now = time_text(self._parts.clock.wall_ms())

        def use(secret: JsonObject) -> JsonObject:
            grant = _checked(token, grant_of(secret), fingerprint=fingerprint, now=now)
            return secret if grant.used_at else used_secret(secret, at=now, by=fingerprint)

        try:
            written = await self._parts.objects.update(self._parts.secrets, key, use)
        except NotFoundError as error:
            raise UnauthenticatedError(_UNKNOWN) from error
        grant = grant_of(written.obj)
        assert grant is not None, "a token's Secret was just written as one"
        return grant

    async def _introduce(self, node: str, labels: Mapping[str, str], fingerprint: str) -> None:
        """The Node with the token's labels: it is listed, not ready, before its gateway first connects."""
        nodes = self._parts.nodes
        wanted = {"kubernetes.io/hostname": node, **labels}

        def label(obj: JsonObject) -> JsonObject:
            keyed = _remembering(obj, fingerprint=fingerprint, authority=self._signing.id)
            if labels.items() <= str_map_at(obj, "metadata", "labels").items():
                return keyed
            metadata = map_at(keyed, "metadata")
            return {**keyed, "metadata": {**metadata, "labels": {**map_at(metadata, "labels"), **to_json(labels)}}}

        obj: JsonObject = {"apiVersion": "v1", "kind": "Node"}
        ensure_map(obj, "metadata").update({"name": node, "labels": to_json(wanted)})
        try:
            await self._parts.objects.create(nodes, "", label(obj))
        except AlreadyExistsError:
            await self._parts.objects.update(nodes, nodes.key("", node), label)

    async def _introduce_region(self, region: str, labels: Mapping[str, str], fingerprint: str) -> None:
        """Its KubeFedCluster, which pulls: it is listed, not ready, before the region first connects."""
        members, namespaces = self._parts.members, self._parts.namespaces

        def joined(obj: JsonObject) -> JsonObject:
            metadata = map_at(obj, "metadata")
            annotations: JsonObject = {**map_at(metadata, "annotations"), NODE_KEY_ANNOTATION: fingerprint}
            named: JsonObject = {**map_at(metadata, "labels"), **to_json(labels)}
            spec = {**map_at(obj, "spec"), "syncMode": PULL}
            return {**obj, "metadata": {**metadata, "annotations": annotations, "labels": named}, "spec": spec}

        namespace: JsonObject = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": FEDERATION_NAMESPACE}}
        if self._parts.objects.read(namespaces.key("", FEDERATION_NAMESPACE)) is None:
            with suppress(AlreadyExistsError):
                await self._parts.objects.create(namespaces, "", namespace)
        obj: JsonObject = {
            "apiVersion": members.api_version,
            "kind": members.kind,
            "metadata": {"name": region, "namespace": FEDERATION_NAMESPACE},
        }
        try:
            await self._parts.objects.create(members, FEDERATION_NAMESPACE, joined(obj))
        except AlreadyExistsError:
            await self._parts.objects.update(members, members.key(FEDERATION_NAMESPACE, region), joined)

    def _renewed_region(self, region: str, key: str, fingerprint: str, csr_pem: str) -> Enrolled:
        stored = self._parts.objects.read(self._parts.members.key(FEDERATION_NAMESPACE, region))
        reason = region_refusal(region, None if stored is None else decode_object(stored.body), key)
        if reason or fingerprint != key:
            raise ForbiddenError(reason or "the signing request is by another key than the certificate's")
        return self._signed_region(region, csr_pem)

    def _signed_region(self, region: str, csr_pem: str) -> Enrolled:
        return self._signed(region, csr_pem, user=REGION_USER_PREFIX + region, group=REGIONS_GROUP)

    def _signed(self, node: str, csr_pem: str, *, user: str = "", group: str = NODES_GROUP) -> Enrolled:
        parts = self._parts
        certificate = sign_request(
            self._signing,
            csr_pem,
            user=user or NODE_USER_PREFIX + node,
            groups=[group],
            now=now_of(parts.clock),
        )
        return Enrolled(
            node=node,
            certificate_pem=certificate,
            ca_pem=self._bundle_pem,
            hub_port=parts.hub_port(),
            server_name=hub_server_name(self._signing.id),
        )

    @property
    def _signing(self) -> Authority:
        return self._parts.authorities[0]

    @property
    def _bundle_pem(self) -> str:
        return "".join(authority.pem for authority in self._parts.authorities)


def _remembering(node: JsonObject, *, fingerprint: str, authority: str) -> JsonObject:
    """The Node with the key that its gateway has now, and who signed for it."""
    metadata = map_at(node, "metadata")
    annotations: JsonObject = {**map_at(metadata, "annotations"), NODE_KEY_ANNOTATION: fingerprint}
    return with_authority({**node, "metadata": {**metadata, "annotations": annotations}}, authority)


def _checked(token: JoinToken, grant: Grant | None, *, fingerprint: str, now: str) -> Grant:
    """The grant, if this token may be used by this key now. Only who has the secret learns more than "not valid"."""
    known = grant.secret_hash if grant is not None else hash_secret("")
    if not hmac.compare_digest(known.encode(), hash_secret(token.secret).encode()) or grant is None:
        raise UnauthenticatedError(_UNKNOWN)
    if grant.node != token.node:
        raise ForbiddenError(f"this token was made for the node {grant.node}, not for {token.node}")
    if grant.used_at and grant.used_by != fingerprint:
        raise ForbiddenError(
            f"this token was used at {grant.used_at}, and a token is good for one gateway once; "
            f"make a new one with `skerry token create {grant.node}`"
        )
    if grant.expires <= now:
        raise ForbiddenError(
            f"this token expired at {grant.expires}; make a new one with `skerry token create {grant.node}`"
        )
    return grant
