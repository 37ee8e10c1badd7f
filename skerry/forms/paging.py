"""Pages of a list: continue tokens, and what resourceVersion and resourceVersionMatch mean together. Pure.

Source: Kubernetes "API concepts", semantics of resourceVersion parameters; tokens are those of apiserver
`pkg/storage/continue.go`, so that nobody has to guess what they are.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Final, Literal

from skerry.errors import BadRequestError, Cause, InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import Json, int_at, str_at
from skerry.objects.meta import Revision

INCONSISTENT: Final = Revision(-1)
"""In a token: go on with what there is now, not with the list that was begun."""
NOW: Final = Revision(0)
_LIMIT_MAX: Final = 2**31
_TOKEN_LENGTH_MAX: Final = 4096


class Token(Frozen):
    """Where a list goes on."""

    revision: Revision
    after: tuple[str, str]
    """(namespace, name) of the last item given."""


class ListOptions(Frozen):
    """What a list asks for, checked."""

    match: Literal["now", "not_older", "exact"]
    revision: Revision = NOW
    limit: int = 0
    """0: all."""
    token: Token | None = None


def encode_token(token: Token) -> str:
    namespace, name = token.after
    start = f"{namespace}/{name}\0" if namespace else f"{name}\0"
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": token.revision, "start": start}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def decode_token(text: str) -> Token:
    """Raises `BadRequestError` for what no server gave."""
    try:
        if len(text) > _TOKEN_LENGTH_MAX:
            raise ValueError("too long")
        found: Json = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise BadRequestError(f"invalid continue token: continue key is not valid: {error}") from error
    start, revision = str_at(found, "start"), int_at(found, "rv", default=-2)
    if str_at(found, "v") != "meta.k8s.io/v1":
        raise BadRequestError(
            "invalid continue token: continue key is not valid: server does not recognize this "
            f'encoded version "{str_at(found, "v")}"'
        )
    if not start.endswith("\0") or (revision <= 0 and revision != INCONSISTENT):
        raise BadRequestError("invalid continue token: continue key is not valid: encoded start key empty or broken")
    namespace, slash, name = start[:-1].partition("/")
    return Token(revision=Revision(revision), after=(namespace, name) if slash else ("", namespace))


def list_options(*, version: str, match: str, limit: str, token: str) -> ListOptions:
    """The four parameters together. Raises `InvalidError`, `BadRequestError` in Kubernetes' words."""
    count = _limit(limit)
    if match:
        _check_match(version=version, match=match, token=token)
    if token:
        if version not in ("", "0"):
            raise BadRequestError("specifying resource version is not allowed when using continue")
        return ListOptions(match="now", limit=count, token=decode_token(token))
    if version in ("", "0"):
        return ListOptions(match="now", limit=count)
    revision = revision_in(version)
    if match == "Exact" or (not match and count):
        return ListOptions(match="exact", revision=revision, limit=count)
    return ListOptions(match="not_older", revision=revision, limit=count)


def revision_in(text: str) -> Revision:
    """A resourceVersion of ours. Raises `InvalidError`."""
    if not text.isdecimal() or len(text) > 19:
        message = f'Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        raise InvalidError(
            f"resourceVersion: {message}",
            [Cause(field="resourceVersion", reason="FieldValueInvalid", message=message)],
        )
    return Revision(int(text))


def _limit(text: str) -> int:
    if not text:
        return 0
    if not text.isdecimal() or int(text) > _LIMIT_MAX:
        raise BadRequestError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def _check_match(*, version: str, match: str, token: str) -> None:
    if not version:
        raise refused("resourceVersionMatch is forbidden unless resourceVersion is provided")
    if token:
        raise refused("resourceVersionMatch is forbidden when continue is provided")
    if match not in ("Exact", "NotOlderThan"):
        message = f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan"'
        raise _invalid(message, reason="FieldValueNotSupported")
    if match == "Exact" and version == "0":
        raise refused('resourceVersionMatch "Exact" is forbidden for resourceVersion "0"')


def refused(message: str, *, field: str = "resourceVersionMatch") -> InvalidError:
    """ListOptions that contradict each other."""
    return _invalid(f"Forbidden: {message}", reason="FieldValueForbidden", field=field)


def _invalid(message: str, *, reason: str, field: str = "resourceVersionMatch") -> InvalidError:
    return InvalidError(
        f'ListOptions.meta.k8s.io "" is invalid: {field}: {message}',
        [Cause(field=field, reason=reason, message=message)],
    )
