"""One request to a resource, as the verbs see it, and what they answer with.

Verbs get values and return values; bytes on sockets are `app`'s business. A call keeps what one request needs and
ends with it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Final

from cloudcore.api.ports import Parts
from cloudcore.api.reading import Body, parse_body
from cloudcore.api.routing import Query, Target
from cloudcore.registry.port import FieldValidation, WriteOptions
from skerry.authz.attributes import Actor
from skerry.errors import BadRequestError, Cause, InvalidError
from skerry.forms import negotiation
from skerry.forms.negotiation import Form
from skerry.frozen import Frozen
from skerry.objects.meta import Key
from skerry.objects.pod_streams import Session, Whose
from skerry.objects.scheme import Kind

FIELD_MANAGER_LENGTH_MAX: Final = 128


class Whole(Frozen):
    """An answer in one piece."""

    body: bytes
    media_type: str = "application/json"
    code: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    gzipped: bytes | None = None
    """The same, compressed beforehand."""


class Stream(Frozen):
    """An answer in pieces, each sent as soon as it is there. `framed`: a piece is one event (one WebSocket frame)."""

    pieces: AsyncGenerator[bytes, None]
    media_type: str = "application/json"
    framed: bool = True


class Command(Frozen):
    """An answer that is a conversation: an exec or attach."""

    node: str
    session: Session


class Ports(Frozen):
    """An answer that is a conversation: forwarded ports of a pod."""

    node: str
    whose: Whose
    ports: tuple[int, ...]
    """Those that the URL names."""


class Backend(Frozen):
    """Who answers what is proxied: a stream to a node, on which HTTP is spoken."""

    node: str
    kind: str
    params: bytes
    host: str
    """By which the answer may name it."""
    tls: bool = False
    """Nobody knows by what certificate it shows itself, so none is asked for."""


class Proxied(Frozen):
    """An answer that somebody else gives."""

    backends: tuple[Backend, ...]
    """The first that can be reached."""
    path: str
    """Behind the proxy, as it stands in the request line, without its query."""


Reply = Whole | Stream | Command | Ports | Proxied


@dataclass(slots=True, kw_only=True)
class Call:
    """A request to a resource that exists, by somebody who may."""

    parts: Parts
    kind: Kind
    target: Target
    verb: str
    query: Query
    actor: Actor
    accept: str
    content_type: str
    user_agent: str
    raw_body: bytes
    upgrade: str = ""
    """What the client asks to go on with on this connection: `websocket`, `spdy`, or "" for HTTP."""
    warnings: list[str] = field(default_factory=list[str])
    """Texts for Warning headers, in order."""

    @property
    def key(self) -> Key:
        """The object that the URL names."""
        return self.kind.key(self.target.namespace, self.target.name)

    @property
    def pretty(self) -> bool:
        if "pretty" in self.query.values:
            return self.query.flag("pretty")
        return self.user_agent.startswith(("curl/", "Wget/", "Mozilla/5.0"))

    def form(self, *, tables: bool = True) -> Form:
        """How the client wants the answer. Raises `NotAcceptableError`."""
        return negotiation.form_for(self.accept, tables=tables, pretty=self.pretty)

    def body(self) -> Body:
        """Raises `BadRequestError`, `UnsupportedMediaTypeError`."""
        try:
            return parse_body(self.raw_body, self.content_type, self.parts.protobuf)
        except BadRequestError as error:
            raise BadRequestError(
                f"the object provided is unrecognized (must be of type {self.kind.kind}): couldn't get version/kind; "
                f"{error}"
            ) from error

    def warn(self, *texts: str) -> None:
        self.warnings.extend(text for text in texts if text not in self.warnings)

    @property
    def dry_run(self) -> bool:
        """Raises `BadRequestError` for anything but `All`."""
        value = self.query.text("dryRun")
        return is_dry_run([value] if value else [])

    @property
    def field_validation(self) -> FieldValidation:
        match self.query.text("fieldValidation"):
            case "" | "Warn":
                return "Warn"
            case "Ignore":
                return "Ignore"
            case "Strict":
                return "Strict"
            case other:
                text = f'Unsupported value: {json.dumps(other)}: supported values: "Ignore", "Strict", "Warn"'
                raise InvalidError(
                    f'CreateOptions.meta.k8s.io "" is invalid: fieldValidation: {text}',
                    [Cause(field="fieldValidation", reason="FieldValueNotSupported", message=text)],
                )

    def write_options(self) -> WriteOptions:
        manager = self.query.text("fieldManager")
        if len(manager.encode()) > FIELD_MANAGER_LENGTH_MAX:
            text = f"Too long: may not be more than {FIELD_MANAGER_LENGTH_MAX} bytes"
            raise InvalidError(
                f'CreateOptions.meta.k8s.io "" is invalid: fieldManager: {text}',
                [Cause(field="fieldManager", reason="FieldValueTooLong", message=text)],
            )
        return WriteOptions(
            actor=self.actor,
            dry_run=self.dry_run,
            field_manager=manager or self.user_agent.partition("/")[0][:FIELD_MANAGER_LENGTH_MAX],
            field_validation=self.field_validation,
        )


def is_dry_run(values: list[str]) -> bool:
    """metav1's `dryRun`: nothing, or `All`. Raises `BadRequestError`."""
    for value in values:
        if value != "All":
            raise BadRequestError(f'invalid dryRun: Unsupported value: {json.dumps(value)}: supported values: "All"')
    return bool(values)
