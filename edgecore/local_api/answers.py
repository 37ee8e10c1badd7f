"""Answers of the local API in Kubernetes' forms. Pure."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from skerry.errors import (
    BadRequestError,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidError,
    NotFoundError,
    SkerryError,
    StorageFullError,
    TooLargeError,
    TooManyRequestsError,
    UnauthenticatedError,
    UnavailableError,
)
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, encode_object


class Answer(Frozen):
    """A whole answer."""

    code: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class MethodNotAllowedError(BadRequestError):
    """The path is served, the method is not (HTTP 405)."""


_TABLE: Final[tuple[tuple[type[SkerryError], int, str], ...]] = (
    (MethodNotAllowedError, 405, "MethodNotAllowed"),
    (UnauthenticatedError, 401, "Unauthorized"),
    (NotFoundError, 404, "NotFound"),
    (GoneError, 410, "Expired"),
    (InvalidError, 422, "Invalid"),
    (ForbiddenError, 403, "Forbidden"),
    (ConflictError, 409, "Conflict"),
    (TooLargeError, 413, "RequestEntityTooLarge"),
    (TooManyRequestsError, 429, "TooManyRequests"),
    (BadRequestError, 400, "BadRequest"),
    (StorageFullError, 507, "InsufficientStorage"),
    (UnavailableError, 503, "ServiceUnavailable"),
)


def json_answer(obj: JsonObject, code: int = 200) -> Answer:
    return Answer(code=code, body=encode_object(obj) + b"\n")


def error_status(error: SkerryError) -> JsonObject:
    """metav1.Status for an error."""
    code, reason = next(((code, reason) for kind, code, reason in _TABLE if isinstance(error, kind)), (500, ""))
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": str(error),
        "reason": reason or "InternalError",
        "code": code,
    }


def error_answer(error: SkerryError) -> Answer:
    status = error_status(error)
    code = status["code"]
    assert isinstance(code, int)
    return json_answer(status, code)


def phrase(code: int) -> bytes:
    """The reason phrase of a status line."""
    return HTTPStatus(code).phrase.encode()
