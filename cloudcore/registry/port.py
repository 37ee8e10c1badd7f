"""What it means to read and write objects, as everybody above the store sees it.

The registry is the one place that knows the rules of writing: defaults, validation, admission, names,
generations, finalizers, graceful deletion. The HTTP verbs, the controllers, the scheduler and the hub all go
through this port, so that a controller's write obeys the same rules as a user's, and so that a `kubernetes`
form (an existing cluster's API server) can stand in its place.

Reads come from the watch cache: JSON bytes, no parsing until somebody looks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Protocol

from cloudcore.store.port import Advance, Place, Record, Stored, StoredRecord
from skerry.authz.attributes import Actor
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key, Revision
from skerry.objects.scheme import Kind

Subresource = Literal[
    "", "status", "scale", "binding", "finalize", "approval", "ephemeralcontainers", "resize", "token"
]
Propagation = Literal["", "Background", "Foreground", "Orphan"]
FieldValidation = Literal["Ignore", "Warn", "Strict"]


SYSTEM = Actor(name="system:apiserver", groups=("system:masters",))
"""The control plane itself."""


class WriteOptions(Frozen):
    """What a writer may ask beside the object (metav1.CreateOptions, UpdateOptions)."""

    actor: Actor = SYSTEM
    dry_run: bool = False
    field_manager: str = ""
    field_validation: FieldValidation = "Warn"


class DeleteOptions(Frozen):
    """metav1.DeleteOptions, parsed."""

    actor: Actor = SYSTEM
    dry_run: bool = False
    grace_s: int | None = None
    propagation: Propagation = ""
    uid: str = ""
    """Precondition; "" for none."""
    revision: Revision | None = None
    """Precondition."""


class Written(Frozen):
    """The outcome of a write."""

    obj: JsonObject
    created: bool = False
    deleted: bool = False
    """The object is gone (a delete, or an update that removed the last finalizer)."""
    warnings: tuple[str, ...] = ()


Pause = Callable[[], Awaitable[None]]
"""Awaited between pieces of long work; comes back when the work may go on."""
Transform = Callable[[JsonObject], JsonObject]
"""Current object (a copy of its own) -> wanted object; called again when somebody else wrote in between."""


class Objects(Protocol):
    """Read and write objects under the rules. Errors are those of `skerry.errors`."""

    def read(self, key: Key) -> Stored | None:
        """The object as cached: at least as new as every write this process has seen committed."""
        ...

    def select(self, resource: str, *, namespace: str = "") -> Sequence[Stored]:
        """Cached objects of a resource, ordered by (namespace, name)."""
        ...

    async def create(
        self, kind: Kind, namespace: str, obj: JsonObject, options: WriteOptions = ..., /
    ) -> Written: ...

    async def update(
        self,
        kind: Kind,
        key: Key,
        transform: Transform,
        options: WriteOptions = ...,
        /,
        *,
        subresource: Subresource = "",
        create_absent: bool = False,
    ) -> Written:
        """Read, transform, write; again on a conflict unless the transform's result names a resourceVersion
        other than the current one (then `ConflictError`). A no-op takes no revision.

        With `create_absent` (a PUT), an object that is not there is created from `transform({})` where its kind
        allows that; else, and for other kinds, `NotFoundError`."""
        ...

    async def delete(self, kind: Kind, key: Key, options: DeleteOptions = ..., /) -> Written: ...

    async def records(
        self,
        series: str,
        *,
        after: Place | None = None,
        since_ms: int = 0,
        limit: int = 1000,
        newest_first: bool = False,
    ) -> Sequence[StoredRecord]:
        """What reports have appended to a series, in order of time: see `Store.records`."""
        ...

    async def arrivals(
        self, series: str, *, after: int = 0, since_ms: int = 0, limit: int = 1000
    ) -> Sequence[StoredRecord]:
        """The same in the order in which it was committed: see `Store.arrivals`."""
        ...

    async def report(
        self, advance: Advance, effects: Sequence[Effect], records: Sequence[Record], *, pause: Pause | None = None
    ) -> None:
        """Apply what a node told: status updates, events and records, and the advance of its outbox, in ONE commit.

        `pause` is awaited after each effect that was worked out: a place to let others have their turn.
        Effects on objects that are gone, or whose uid is another's, are dropped: the node will learn of it.
        Raises `FencedError` when a newer session of the node has entered, or the advance took effect before.
        """
        ...


class Effect(Frozen):
    """One change that a node's report asks for."""

    kind: Kind
    key: Key
    uid: str
    """The life of the object that is meant; "" to create it when it is absent."""
    subresource: Subresource
    transform: Transform
    """Given {} when the object is to be created."""
    gone: bool = False
    """Nothing of the object is left on the node: if its deletion was asked for, it leaves the store now, with the
    transformed object as its last state (unless finalizers hold it)."""


Handler = Callable[[Key], Awaitable[None]]
"""A controller's reconcile: called for a key, again and again until it returns without an error."""
