"""Answers of the local API in Kubernetes' forms. Pure."""

from __future__ import annotations

import json
from http import HTTPStatus

from skerry.errors import SkerryError, StorageFullError, UnauthenticatedError, UnavailableError
from skerry.forms.negotiation import MEDIA_TYPES, Form
from skerry.forms.status import answer_for
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, encode_object


class Answer(Frozen):
    """A whole answer."""

    code: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


def json_answer(obj: JsonObject, code: int = 200) -> Answer:
    return Answer(code=code, body=encode_object(obj) + b"\n")


def formed(obj: JsonObject, form: Form, code: int = 200) -> Answer:
    """One document as the client asked for it."""
    return Answer(code=code, body=_written(obj, form), content_type=MEDIA_TYPES[form.encoding])


def _written(obj: JsonObject, form: Form) -> bytes:
    if form.encoding == "yaml":
        # A heavy import for the few who want YAML.
        import yaml

        return yaml.safe_dump(obj, sort_keys=False, allow_unicode=True).encode()
    if form.pretty:
        return json.dumps(obj, indent=2, ensure_ascii=False).encode() + b"\n"
    return encode_object(obj) + b"\n"


def error_answer(error: SkerryError) -> Answer:
    """A Status, with the reason also where the cloud keeps it to itself: who gets no answer from a gateway has nobody
    else to ask."""
    answer = answer_for(error)
    code, status = answer.code, answer.status
    if isinstance(error, StorageFullError):
        code, status = 507, {**status, "code": 507, "reason": "InsufficientStorage"}
    if isinstance(error, UnauthenticatedError):
        status = {**status, "message": str(error)}
    # A link that is away is away for minutes or days: client-go would try ten times before it tells anybody.
    again_s = 0 if isinstance(error, UnavailableError) else answer.retry_after_s
    retry = (("Retry-After", str(again_s)),) if again_s else ()
    return Answer(code=code, body=encode_object(status) + b"\n", headers=retry)


def phrase(code: int) -> bytes:
    """The reason phrase of a status line."""
    return HTTPStatus(code).phrase.encode()
