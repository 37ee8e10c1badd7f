"""Refusals in the words of Kubernetes' API server, which clients and their tests match on.

Pure. Texts: k8s.io/apimachinery `pkg/api/errors/errors.go` and `pkg/util/validation/field/errors.go`.
"""

from __future__ import annotations

from collections.abc import Sequence

from skerry.errors import AlreadyExistsError, Cause, ConflictError, ForbiddenError, InvalidError, NotFoundError
from skerry.objects.scheme import Kind

CHANGED = "the object has been modified; please apply your changes to the latest version and try again"


def not_found(kind: Kind, name: str) -> NotFoundError:
    return NotFoundError(f'{kind.resource} "{name}" not found')


def already_exists(kind: Kind, name: str) -> AlreadyExistsError:
    return AlreadyExistsError(f'{kind.resource} "{name}" already exists')


def conflict(kind: Kind, name: str, why: str = CHANGED) -> ConflictError:
    return ConflictError(f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}')


def forbidden(kind: Kind, name: str, why: str, causes: Sequence[Cause] = ()) -> ForbiddenError:
    return ForbiddenError(f'{kind.resource} "{name}" is forbidden: {why}', causes)


def invalid(kind: Kind, name: str, causes: Sequence[Cause]) -> InvalidError:
    """One error for all that is wrong: `ConfigMap "A" is invalid: metadata.name: Invalid value: ...`."""
    assert causes, "an object is invalid for a cause"
    group_kind = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    texts = [f"{cause.field}: {cause.message}" for cause in causes]
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    return InvalidError(f'{group_kind} "{name}" is invalid: {listed}', causes)
