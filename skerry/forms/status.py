"""Errors as Kubernetes' Status objects: the one table from our error tree to HTTP.

Clients act on `reason` and `details`, not on prose, and `details` repeats what the message names; so it is read
back from the message, whose forms are apimachinery's (`pkg/api/errors`) and part of the API. Pure; keeps nothing.
"""

from __future__ import annotations

import re
from typing import Final

from skerry import errors
from skerry.errors import Cause
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject

UNKNOWN_RESOURCE: Final = "the server could not find the requested resource"


class MethodNotAllowedError(errors.CallerError):
    """The path exists, but not for this verb (HTTP 405)."""


class NotAcceptableError(errors.CallerError):
    """No form that the client accepts can be made (HTTP 406)."""


class UnsupportedMediaTypeError(errors.CallerError):
    """The body's form is not understood (HTTP 415)."""


class InconsistentListError(errors.GoneError):
    """A continue token whose revision is compacted. `token` continues with what there is now (HTTP 410)."""

    def __init__(self, message: str, *, compacted: int, token: str) -> None:
        super().__init__(message, compacted=compacted)
        self.token = token


class TooNewError(errors.UnavailableError):
    """A revision that this server has not reached (HTTP 504, Timeout)."""

    def __init__(self, *, wanted: int, current: int) -> None:
        super().__init__(f"Too large resource version: {wanted}, current: {current}")


class DeadlineError(errors.UnavailableError):
    """The request took longer than its deadline (HTTP 504, Timeout)."""


class Answer(Frozen):
    """An error, ready to be sent."""

    code: int
    status: JsonObject
    retry_after_s: int = 0
    """`Retry-After`; 0: no such header."""


_TABLE: Final[tuple[tuple[type[errors.SkerryError], int, str], ...]] = (
    (errors.BadRequestError, 400, "BadRequest"),
    (errors.ProtocolError, 400, "BadRequest"),
    (errors.UnauthenticatedError, 401, "Unauthorized"),
    (errors.ForbiddenError, 403, "Forbidden"),
    (errors.NotFoundError, 404, "NotFound"),
    (MethodNotAllowedError, 405, "MethodNotAllowed"),
    (NotAcceptableError, 406, "NotAcceptable"),
    (errors.AlreadyExistsError, 409, "AlreadyExists"),
    (errors.ConflictError, 409, "Conflict"),
    (errors.GoneError, 410, "Expired"),
    (errors.TooLargeError, 413, "RequestEntityTooLarge"),
    (UnsupportedMediaTypeError, 415, "UnsupportedMediaType"),
    (errors.InvalidError, 422, "Invalid"),
    (errors.TooManyRequestsError, 429, "TooManyRequests"),
    (TooNewError, 504, "Timeout"),
    (DeadlineError, 504, "Timeout"),
    (errors.UncertainError, 504, "Timeout"),
    (errors.UnavailableError, 503, "ServiceUnavailable"),
)

_NAMED: Final = (
    re.compile(r'(?P<kind>[^\s"]+) "(?P<name>[^"]*)" (?:not found|already exists)\Z'),
    re.compile(r'Operation cannot be fulfilled on (?P<kind>[^\s"]+) "(?P<name>[^"]*)": '),
    re.compile(r'(?P<kind>[^\s"]+) "(?P<name>[^"]*)" is (?:invalid|forbidden): '),
    re.compile(r"(?P<kind>[^\s\"]+) is forbidden: "),
)


def answer_for(error: errors.SkerryError) -> Answer:
    """The Status of an error, with the HTTP code that goes with it."""
    code, reason = next(
        ((code, reason) for kind, code, reason in _TABLE if isinstance(error, kind)), (500, "InternalError")
    )
    message = str(error)
    details = _named(message)
    causes = _causes(error)
    if causes:
        details["causes"] = causes
    retry_after_s = _retry_after_s(error)
    metadata: JsonObject = {}
    match error:
        case TooNewError():
            message = f"Timeout: {message}"
        case InconsistentListError():
            metadata["continue"] = error.token
        case errors.UnauthenticatedError():
            message = "Unauthorized"
        case _:
            pass
    if retry_after_s:
        details["retryAfterSeconds"] = retry_after_s
    status = failure(code=code, reason=reason, message=message, details=details)
    status["metadata"] = metadata
    return Answer(code=code, status=status, retry_after_s=retry_after_s)


def failure(*, code: int, reason: str, message: str, details: JsonObject | None = None) -> JsonObject:
    """metav1.Status of a request that failed."""
    status: JsonObject = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "details": details or {},
        "code": code,
    }
    if code in (401, 406, 415) and not details:
        del status["details"]
    return status


def success(*, name: str, group: str, plural: str, uid: str) -> JsonObject:
    """metav1.Status of a deletion that is complete."""
    details: JsonObject = {"name": name}
    if group:
        details["group"] = group
    details["kind"] = plural
    details["uid"] = uid
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def internal(message: str) -> Answer:
    """Our own fault. What went wrong is in the log, not in the answer."""
    text = f"Internal error occurred: {message}"
    details: JsonObject = {"causes": [{"message": message}]}
    return Answer(code=500, status=failure(code=500, reason="InternalError", message=text, details=details))


def _named(message: str) -> JsonObject:
    for form in _NAMED:
        if found := form.match(message):
            groups = found.groupdict()
            kind, _, group = groups["kind"].partition(".")
            details: JsonObject = {"name": groups["name"]} if groups.get("name") else {}
            if group:
                details["group"] = group
            details["kind"] = kind
            return details
    return {}


def _causes(error: errors.SkerryError) -> list[Json]:
    match error:
        case errors.InvalidError(causes=causes) | errors.ForbiddenError(causes=causes):
            return [_cause(cause) for cause in causes]
        case TooNewError():
            return [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
        case _:
            return []


def _cause(cause: Cause) -> JsonObject:
    shown: JsonObject = {"reason": cause.reason, "message": cause.message}
    if cause.field:
        shown["field"] = cause.field
    return shown


def _retry_after_s(error: errors.SkerryError) -> int:
    match error:
        case errors.TooManyRequestsError():
            return error.retry_after_s
        case errors.UncertainError():
            return 0  # clients ask again by themselves where they are told when
        case errors.UnavailableError():
            return 1
        case _:
            return 0
