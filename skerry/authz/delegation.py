"""What somebody must be allowed who has an object made for him by one that may make anything. Pure.

Roles and bindings give rights away: nobody writes those that give more than he has, unless he may `escalate` or
`bind` (Kubernetes: "Privilege escalation prevention and bootstrapping"). Who has them written by a controller could
not be held to what he has himself where it is carried out, so he needs these verbs.
"""

from __future__ import annotations

from typing import Final

RBAC_GROUP: Final = "rbac.authorization.k8s.io"
_WRITES: Final = ("create", "update", "delete")


def needed(group: str, plural: str) -> tuple[tuple[str, str], ...]:
    """Verbs, each with the resource of that group that it is about."""
    own = tuple((verb, plural) for verb in _WRITES)
    if group != RBAC_GROUP:
        return own
    if plural in ("roles", "clusterroles"):
        return (*own, ("escalate", plural))
    return (*own, ("bind", "roles"), ("bind", "clusterroles"))
