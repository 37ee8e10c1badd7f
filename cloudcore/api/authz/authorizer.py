"""The authorizer: administrators, then a node's own right, then roles; the first to say yes decides.

Keeps the compiled policy of the newest state of the four RBAC kinds, and each role and binding in compiled form.
All of it is made again from the watch cache after a crash. A decision is made without waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

from cloudcore.api.authz.nodes import Bound, decide_for_node
from cloudcore.store.port import Stored
from skerry.authz.attributes import Actor, Attributes, Decision, refusal
from skerry.authz.delegation import RBAC_GROUP
from skerry.authz.policy import (
    MASTERS,
    ParsedBinding,
    ParsedRole,
    Policy,
    compile_policy,
    parse_binding,
    parse_role,
    resolve_aggregation,
)
from skerry.authz.rules import ALL, Rule
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key, Revision

T = TypeVar("T")

ROLES: Final = (f"roles.{RBAC_GROUP}", f"clusterroles.{RBAC_GROUP}")
BINDINGS: Final = (f"rolebindings.{RBAC_GROUP}", f"clusterrolebindings.{RBAC_GROUP}")
EVERYTHING: Final = (
    Rule(verbs=frozenset({ALL}), groups=frozenset({ALL}), resources=frozenset({ALL})),
    Rule(verbs=frozenset({ALL}), urls=frozenset({ALL})),
)
"""What system:masters holds, whatever the roles say: nobody can lock the owner of the CA out."""


class RoleSource(Protocol):
    """The part of the watch cache that is used."""

    def changed(self, resource: str) -> Revision:
        """Grows with every change of an object of the resource."""
        ...

    def select(self, resource: str, *, namespace: str = "") -> Sequence[Stored]: ...

    def obj(self, stored: Stored) -> JsonObject: ...


class Authorizer:
    """Decides, and says why not."""

    def __init__(self, source: RoleSource, bound: Bound) -> None:
        self._source = source
        self._bound = bound
        self._made_at: tuple[Revision, ...] = ()
        self._policy = Policy()
        self._roles: dict[Key, tuple[Revision, ParsedRole]] = {}
        self._bindings: dict[Key, tuple[Revision, ParsedBinding]] = {}

    def decide(self, attributes: Attributes) -> Decision:
        if MASTERS in attributes.actor.groups:
            return Decision(allowed=True, reason="a member of system:masters may do everything")
        decision = decide_for_node(attributes, self._bound)
        return decision if decision.allowed else self._current().decide(attributes)

    def require(self, attributes: Attributes) -> None:
        """Raises `ForbiddenError` in kube-apiserver's words unless it is allowed."""
        decision = self.decide(attributes)
        if not decision.allowed:
            raise refusal(attributes, decision.reason)

    def rules(self, actor: Actor, namespace: str) -> tuple[Rule, ...]:
        """What an actor holds by roles in a namespace ("": at the cluster scope)."""
        return EVERYTHING if MASTERS in actor.groups else self._current().rules(actor, namespace)

    def rules_in(self, role: Key) -> tuple[Rule, ...] | None:
        """The rules of a Role or ClusterRole, aggregation resolved; None: there is none of that name."""
        self._current()
        found = self._roles.get(role)
        if found is None:
            return None
        if role.namespace:
            return found[1].rules
        return resolve_aggregation(parsed for _, parsed in self._roles.values() if not parsed.namespace)[role.name]

    def _current(self) -> Policy:
        at = tuple(self._source.changed(resource) for resource in (*ROLES, *BINDINGS))
        if at != self._made_at:
            self._roles = self._parsed(ROLES, self._roles, parse_role)
            self._bindings = self._parsed(BINDINGS, self._bindings, parse_binding)
            self._policy = compile_policy(
                (role for _, role in self._roles.values()), (binding for _, binding in self._bindings.values())
            )
            self._made_at = at
        return self._policy

    def _parsed(
        self, resources: Sequence[str], known: dict[Key, tuple[Revision, T]], parse: Callable[[JsonObject], T]
    ) -> dict[Key, tuple[Revision, T]]:
        """The objects of these resources compiled, those that did not change taken over."""
        parsed: dict[Key, tuple[Revision, T]] = {}
        for resource in resources:
            for stored in self._source.select(resource):
                old = known.get(stored.key)
                if old is None or old[0] != stored.revision:
                    old = (stored.revision, parse(self._source.obj(stored)))
                parsed[stored.key] = old
        return parsed
