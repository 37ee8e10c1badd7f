"""What is asked of authorization and what it answers, in Kubernetes' terms (authorization.k8s.io/v1). Pure."""

from __future__ import annotations

from skerry.errors import ForbiddenError
from skerry.frozen import Frozen

READ_VERBS = frozenset({"get", "list", "watch"})


class Actor(Frozen):
    """Who is asking, as proved by authentication: what admission and authorization look at."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Attributes(Frozen):
    """One act of one actor: on a resource, or (`path` set) on a URL that is none."""

    actor: Actor
    verb: str
    """get, list, watch, create, update, patch, delete, deletecollection, or a special one: bind, impersonate ..."""
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    """"" for cluster-scoped resources, and for all namespaces at once."""
    name: str = ""
    path: str = ""

    @property
    def full_resource(self) -> str:
        """As rules name it: `pods`, `pods/log`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


class Decision(Frozen):
    """Yes, or no; and why, as far as there is something to say."""

    allowed: bool
    reason: str = ""


def refusal(attributes: Attributes, reason: str) -> ForbiddenError:
    """The 403 that kube-apiserver answers, word by word (clients match it)."""
    user = f'User "{attributes.actor.name}" cannot {attributes.verb}'
    tail = f": {reason}" if reason else ""
    if attributes.path:
        return ForbiddenError(f'forbidden: {user} path "{attributes.path}"{tail}')
    subject = f"{attributes.resource}.{attributes.group}" if attributes.group else attributes.resource
    if attributes.name:
        subject = f'{subject} "{attributes.name}"'
    where = f'in the namespace "{attributes.namespace}"' if attributes.namespace else "at the cluster scope"
    what = f'resource "{attributes.full_resource}" in API group "{attributes.group}" {where}'
    return ForbiddenError(f"{subject} is forbidden: {user} {what}{tail}")
