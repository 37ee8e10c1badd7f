"""The user that a ServiceAccount's token speaks for. Pure."""

from __future__ import annotations

from typing import Final

from skerry.authz.attributes import Actor
from skerry.objects.account_tokens import Claims

AUTHENTICATED: Final = "system:authenticated"


def account_actor(claims: Claims) -> Actor:
    """As kube-apiserver shows it to admission and reviews."""
    extra = [("authentication.kubernetes.io/credential-id", (f"JTI={claims.id}",))] if claims.id else []
    for bound in (claims.bound, claims.node):
        if bound is not None and bound.kind in ("Pod", "Node"):
            place = bound.kind.lower()
            extra.append((f"authentication.kubernetes.io/{place}-name", (bound.name,)))
            extra.append((f"authentication.kubernetes.io/{place}-uid", (bound.uid,)))
    return Actor(
        name=claims.user,
        groups=(*claims.groups, AUTHENTICATED),
        uid=claims.account_uid,
        extra=tuple(extra),
    )
