"""What the HTTP layer asks of its neighbours: identity, permission, shapes, documents, reviews, gateways.

The verbs know nothing of certificates, roles, OpenAPI or gateways; whoever composes the process hands them one
`Parts`. Ports keep no data here; what each one keeps, and loses in a crash, is said by its implementation.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from cloudcore.registry.port import Objects
from cloudcore.store.cache import WatchCache
from skerry.authz.attributes import Actor, Attributes
from skerry.forms.discovery import Document
from skerry.forms.tables.custom import PrinterColumn
from skerry.frozen import Frozen, field
from skerry.objects.device_questions import Question
from skerry.objects.json import JsonObject
from skerry.objects.logs import LogRequest
from skerry.objects.patches import MergeRules
from skerry.objects.scheme import Kind, Scheme
from skerry.objects.traffic import TrafficBook
from skerry.objects.usage import NodeUsed
from skerry.ports import Clock, Ids, Pipe


class Presented(Frozen):
    """What a client shows of itself, before anything of it is believed."""

    certificate: bytes | None = None
    """DER of the client certificate that TLS verified against our CA; None: none was shown."""
    token: str = ""
    """Bearer token of the Authorization header (or of a WebSocket subprotocol); "" for none."""
    impersonate_user: str = ""
    """`Impersonate-User`; "" for none."""
    impersonate_uid: str = ""
    impersonate_groups: tuple[str, ...] = ()
    impersonate_extra: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """`Impersonate-Extra-<name>` headers, names in lower case and unescaped."""


class Authenticator(Protocol):
    async def authenticate(self, presented: Presented) -> Actor:
        """Who this is (after impersonation, which it checks). With nothing presented: system:anonymous.

        Raises `UnauthenticatedError` for credentials that prove nobody, `ForbiddenError` for an impersonation
        that is not allowed.
        """
        ...


class Gate(Protocol):
    """Permission. `cloudcore.api.authz` has the real one."""

    def require(self, attributes: Attributes) -> None:
        """Raises `ForbiddenError` in Kubernetes' words when the act is not allowed."""
        ...


class Decoded(Protocol):
    """An object as its kind's shape understands it."""

    @property
    def obj(self) -> JsonObject: ...

    @property
    def unknown(self) -> tuple[str, ...]:
        """Paths of the fields that the shape does not have: `spec.template.spec.containers[0].imagee`."""
        ...


class ScalePaths(Frozen):
    """Where the scale subresource finds its numbers in an object; paths as steps."""

    replicas: tuple[str, ...] = ("spec", "replicas")
    status_replicas: tuple[str, ...] = ("status", "replicas")
    selector: tuple[str, ...] = ()
    """A string in serialised form; () for none. Built-in kinds have a LabelSelector or a map in spec.selector."""


class Shapes(Protocol):
    """What schemas know, as far as reading requests and printing need it."""

    def decode(self, kind: Kind, obj: JsonObject) -> Decoded:
        """Drop and name unknown fields, bring values into their canonical form.

        Raises `BadRequestError`: `Deployment in version "v1" cannot be handled as a Deployment: json: cannot
        unmarshal string into Go struct field ...`.
        """
        ...

    def merge_rules(self, kind: Kind) -> MergeRules:
        """How strategic merge patches merge into this kind."""
        ...

    def scale_paths(self, kind: Kind) -> ScalePaths:
        """Asked of kinds with a `scale` subresource only."""
        ...

    def columns(self, kind: Kind) -> tuple[PrinterColumn, ...]:
        """Of a custom kind, as its definition says; () where it says nothing, and for built-in kinds."""
        ...


class ProtobufReader(Protocol):
    def decode(self, body: bytes) -> JsonObject:
        """A request body in Kubernetes' protobuf envelope as JSON. Raises `BadRequestError`."""
        ...


class OpenApi(Protocol):
    """The published schemas. Documents are those of the kinds served now."""

    def index(self) -> Document:
        """/openapi/v3: which group versions there are and where."""
        ...

    def group_version(self, path: str) -> Document | None:
        """/openapi/v3/PATH, where PATH is `api/v1` or `apis/apps/v1`; None where there is none."""
        ...

    def v2(self, *, protobuf: bool) -> Document: ...


class Reviews(Protocol):
    """Kinds that are posted, answered and never stored: access and token reviews."""

    async def answer(self, kind: Kind, namespace: str, obj: JsonObject, actor: Actor) -> JsonObject:
        """The object with its status. Raises `InvalidError`, `BadRequestError`."""
        ...

    async def issue_token(self, namespace: str, name: str, obj: JsonObject, actor: Actor) -> JsonObject:
        """A TokenRequest for a ServiceAccount, answered. Raises `NotFoundError`, `InvalidError`."""
        ...


class AccountKeys(Protocol):
    """How others check ServiceAccount tokens."""

    @property
    def key_set(self) -> JsonObject:
        """A JWK set."""
        ...

    @property
    def algorithms(self) -> Sequence[str]: ...


class PodLogs(Protocol):
    def read(self, node: str, request: LogRequest) -> AsyncGenerator[bytes, None]:
        """The log as the gateway has it, in pieces, until its end (with `follow`: until the container ends).

        The first step raises `UnavailableError` when the gateway can't be asked now, `NotFoundError` and
        `BadRequestError` with the gateway's reason. Closing the iterator ends the stream at the gateway.
        """
        ...


class Pipes(Protocol):
    def open(self, node: str, kind: str, params: bytes) -> AbstractAsyncContextManager[Pipe]:
        """A stream to the node's gateway, hung up at the end of the block. Raises `UnavailableError` when the gateway
        can't be asked now; what it refuses comes with the first read."""
        ...


class Usages(Protocol):
    async def used(self, node: str) -> NodeUsed:
        """What a gateway and its containers use, some seconds old at most. Raises `UnavailableError` when it can't be
        asked now or does not answer."""
        ...


class NodeDevices(Protocol):
    async def ask(self, node: str, question: Question) -> JsonObject:
        """The answer of the node's gateway. Raises `UnavailableError` when it can't be asked now or does not answer,
        `NotFoundError` and `BadRequestError` with the gateway's reason."""
        ...


class NodeTraffic(Protocol):
    @property
    def days_kept(self) -> int:
        """How far back books reach."""
        ...

    def bandwidth(self, node: str) -> JsonObject:
        """The caps in force on its link (`skerry.objects.bandwidth.shown_bandwidth`); empty for none."""
        ...

    async def book(self, node: str, since_ms: int) -> TrafficBook:
        """Bytes between the node's gateway and this cloud since then, where an hour or a day begins
        (`skerry.objects.traffic.whole_since`). Raises `UnavailableError`."""
        ...

    async def known(self, node: str) -> bool:
        """Whether anything was ever counted of a node of this name. Raises `UnavailableError`."""
        ...


class Posted(Frozen):
    """A request to an endpoint that is no Kubernetes API: whole, and bounded in size."""

    method: str
    path: str
    body: bytes
    peer: str
    """The client's address."""
    presented: Presented
    is_websocket: bool = False
    """The client asks to go on over a WebSocket."""


class Replied(Frozen):
    status: int
    body: bytes
    media_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    pieces: AsyncGenerator[bytes, None] | None = None
    """In place of the body: sent as they come; the first one's error is the answer's."""
    talk: Callable[[bytes, Pipe], Awaitable[None]] | None = None
    """In place of an answer: what is said over a WebSocket between replicas (`cloudcore.runtime.replica_pipes`), with
    what it was opened with. Its error is what the other side is told."""


Endpoint = Callable[[Posted], Awaitable[Replied]]
"""Answers requests under a path of its own, and decides itself who may ask (enrolment: whoever has a token).
Errors of `skerry.errors` become a Status."""


class Parts(Frozen):
    """Everything the API is made of."""

    objects: Objects
    cache: WatchCache
    scheme: Scheme
    shapes: Shapes
    protobuf: ProtobufReader
    openapi: OpenApi
    authenticator: Authenticator
    gate: Gate
    reviews: Reviews
    keys: AccountKeys
    logs: PodLogs
    pipes: Pipes
    usages: Usages
    devices: NodeDevices
    traffic: NodeTraffic
    clock: Clock
    ids: Ids
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict[str, Endpoint])
    """Further endpoints, by the path they begin with: `/enrol.skerry.dev/v1/nodes`."""
    refresh: Callable[[], None] = lambda: None
    """Brings the scheme in step with the definitions of custom kinds that the cache shows."""
    leading: Callable[[], bool] = lambda: True
    """Whether this process does what one of several alone does."""
    refusals: Callable[[], Mapping[str, int]] = dict[str, int]
    """How much of what gateways told was refused since the start, by the reason."""
    ready: Callable[[], Mapping[str, str]] = dict[str, str]
    """Parts that are not ready: name -> why. Empty: ready."""
