"""The one error tree, divided by whose fault it is.

The caller's errors say what to change and are never retried; the world's error is retried by whoever owns
the work; our own faults are assertions and crash. Only the edges of the system turn errors into something
else: `skerry.forms.status` into HTTP, `skerry.wire` into close codes, `skerry.cli` into exit codes.
"""

from __future__ import annotations

from collections.abc import Sequence

from skerry.frozen import Frozen


class Cause(Frozen):
    """One reason for a refusal: which field, why, in Kubernetes' words (metav1.StatusCause)."""

    field: str
    reason: str
    """FieldValueRequired, FieldValueInvalid, FieldValueNotSupported, FieldValueForbidden, FieldValueDuplicate ..."""
    message: str


class SkerryError(Exception):
    """Root of every error that is raised on purpose."""


class CallerError(SkerryError):
    """The request is at fault; the same request will fail again."""


class BadRequestError(CallerError):
    """The request can't be understood (HTTP 400)."""


class InvalidError(CallerError):
    """Understood, and refused because of what some fields say (HTTP 422)."""

    def __init__(self, message: str, causes: Sequence[Cause] = ()) -> None:
        super().__init__(message)
        self.causes = tuple(causes)


class UnauthenticatedError(CallerError):
    """Nobody we know is asking (HTTP 401)."""


class ForbiddenError(CallerError):
    """Known, but not allowed (HTTP 403)."""

    def __init__(self, message: str, causes: Sequence[Cause] = ()) -> None:
        super().__init__(message)
        self.causes = tuple(causes)


class NotFoundError(CallerError):
    """The named thing does not exist (HTTP 404)."""


class AlreadyExistsError(CallerError):
    """A thing of that name exists (HTTP 409, AlreadyExists)."""


class ConflictError(CallerError):
    """Someone else wrote in between, or a precondition does not hold (HTTP 409, Conflict)."""


class FencedError(ConflictError):
    """A session has no say: a newer one of the node (or a newer leader) took over, or it tells what took effect
    before."""


class GoneError(CallerError):
    """History below the compacted revision was asked for (HTTP 410, Expired)."""

    def __init__(self, message: str, *, compacted: int) -> None:
        super().__init__(message)
        self.compacted = compacted


class TooLargeError(CallerError):
    """The request is over a stated size limit (HTTP 413)."""


class TooManyRequestsError(CallerError):
    """Refused by a limit; later it may pass (HTTP 429)."""

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ProtocolError(CallerError):
    """The peer of a link broke the protocol; the link is closed."""


class UnavailableError(SkerryError):
    """The world's fault: a disk, a database, a link or a peer that is not there now. Retried by its owner."""


class IdentityRefusedError(UnavailableError):
    """The peer hung up when it had seen our certificate and before it answered: perhaps it does not take that one any
    more."""


class UnansweredError(UnavailableError):
    """Nobody answered at all: no route, or silence. So there is nobody whom asking again soon could burden."""


class AwaitedError(UnavailableError):
    """It was asked for, and the answer is on its way: no news to anybody yet."""


class UncertainError(UnavailableError):
    """It was asked for and nothing came back: it may have been done, or may still be (HTTP 504). Whether doing it
    twice matters is for who asked to know, so nobody else asks again."""


class StorageFullError(UnavailableError):
    """No room to write; nothing was half-written."""


class DamagedError(UnavailableError):
    """What was kept can't be read any more: not retried, but set aside by whoever starts next."""
