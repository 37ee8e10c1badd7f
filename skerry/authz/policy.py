"""All roles and bindings, compiled for look-up by who asks. Pure; immutable once made.

A policy answers for one state of the four RBAC kinds. Aggregated ClusterRoles are resolved here, by their label
selectors, so that a decision never waits for a controller.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from skerry.authz.attributes import Actor, Attributes, Decision
from skerry.authz.rules import Rule, rules_of
from skerry.frozen import Frozen, field
from skerry.objects.json import JsonObject, dig, maps_at, str_at
from skerry.objects.meta import labels_of, name_of, namespace_of
from skerry.objects.select import LabelSelector, label_selector

MASTERS: Final = "system:masters"
SERVICE_ACCOUNT_PREFIX: Final = "system:serviceaccount:"

Subject = tuple[str, str]
"""("User", name) or ("Group", name); a service account is the user it acts as."""


class Grant(Frozen):
    """What one binding gives one subject."""

    rules: tuple[Rule, ...]
    binding: str
    """As a reason names it: `ClusterRoleBinding "x"`."""
    role: str
    missing: bool = False
    """The role that is bound does not exist."""


class Policy(Frozen):
    """Grants by scope and subject."""

    cluster: Mapping[Subject, tuple[Grant, ...]] = field(default_factory=dict[Subject, tuple[Grant, ...]])
    namespaced: Mapping[str, Mapping[Subject, tuple[Grant, ...]]] = field(
        default_factory=dict[str, Mapping[Subject, tuple[Grant, ...]]]
    )

    def grants(self, actor: Actor, namespace: str) -> Iterator[tuple[Grant, Subject]]:
        """What an actor was given in a namespace ("": at the cluster scope), cluster-wide grants first."""
        subjects: list[Subject] = [("User", actor.name), *(("Group", group) for group in actor.groups)]
        scopes = [self.cluster]
        if namespace and (here := self.namespaced.get(namespace)) is not None:
            scopes.append(here)
        for scope in scopes:
            for subject in subjects:
                for grant in scope.get(subject, ()):
                    yield grant, subject

    def rules(self, actor: Actor, namespace: str) -> tuple[Rule, ...]:
        """Every rule an actor holds in a namespace."""
        return tuple(rule for grant, _ in self.grants(actor, namespace) for rule in grant.rules)

    def decide(self, attributes: Attributes) -> Decision:
        """Whether some rule allows it."""
        missing: list[str] = []
        for grant, subject in self.grants(attributes.actor, attributes.namespace):
            if grant.missing and grant.role not in missing:
                missing.append(grant.role)
            if any(_allows(rule, attributes) for rule in grant.rules):
                given = f"{grant.binding} of {grant.role} to {_subject_text(subject)}"
                return Decision(allowed=True, reason=f"RBAC: allowed by {given}")
        if not missing:
            return Decision(allowed=False)
        faults = [f"{role} not found" for role in missing]
        return Decision(
            allowed=False, reason="RBAC: " + (faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]")
        )


class ParsedRole(Frozen):
    """A Role or ClusterRole, compiled once for as long as it stays as it is."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    rules: tuple[Rule, ...]
    selectors: tuple[LabelSelector, ...] | None
    """Of an aggregated ClusterRole; None: it has rules of its own."""


class ParsedBinding(Frozen):
    """A RoleBinding or ClusterRoleBinding, compiled."""

    namespace: str
    name: str
    role_kind: str
    role_name: str
    subjects: tuple[Subject, ...]


def parse_role(obj: JsonObject) -> ParsedRole:
    aggregation = dig(obj, "aggregationRule")
    selectors = None
    if isinstance(aggregation, dict):
        selectors = tuple(label_selector(selector) for selector in maps_at(aggregation, "clusterRoleSelectors"))
    return ParsedRole(
        namespace=namespace_of(obj),
        name=name_of(obj),
        labels=labels_of(obj),
        rules=rules_of(obj),
        selectors=selectors,
    )


def parse_binding(obj: JsonObject) -> ParsedBinding:
    namespace = namespace_of(obj)
    return ParsedBinding(
        namespace=namespace,
        name=name_of(obj),
        role_kind=str_at(obj, "roleRef", "kind"),
        role_name=str_at(obj, "roleRef", "name"),
        subjects=tuple(_subject(subject, namespace) for subject in maps_at(obj, "subjects")),
    )


def compile_policy(roles: Iterable[ParsedRole], bindings: Iterable[ParsedBinding]) -> Policy:
    """One policy of all roles and bindings there are."""
    known = list(roles)
    cluster_rules = resolve_aggregation(role for role in known if not role.namespace)
    local_rules = {(role.namespace, role.name): role.rules for role in known if role.namespace}
    cluster: dict[Subject, list[Grant]] = defaultdict(list)
    namespaced: dict[str, dict[Subject, list[Grant]]] = {}
    for binding in bindings:
        grant = _grant(binding, cluster_rules, local_rules)
        scope = namespaced.setdefault(binding.namespace, defaultdict(list)) if binding.namespace else cluster
        for subject in binding.subjects:
            scope[subject].append(grant)
    return Policy(
        cluster={subject: tuple(grants) for subject, grants in cluster.items()},
        namespaced={
            namespace: {subject: tuple(grants) for subject, grants in scope.items()}
            for namespace, scope in namespaced.items()
        },
    )


def resolve_aggregation(roles: Iterable[ParsedRole]) -> dict[str, tuple[Rule, ...]]:
    """The rules of each ClusterRole by name, those of aggregated ones gathered through any number of steps."""
    by_name = {role.name: role for role in roles}

    def gathered(role: ParsedRole, above: frozenset[str]) -> dict[Rule, None]:
        if role.selectors is None:
            return dict.fromkeys(role.rules)
        rules: dict[Rule, None] = {}
        for other in by_name.values():
            if other.name in above or not any(selector.matches(other.labels) for selector in role.selectors):
                continue  # a circle adds nothing that is not gathered already
            rules.update(gathered(other, above | {other.name}))
        return rules

    return {name: tuple(gathered(role, frozenset({name}))) for name, role in by_name.items()}


def _grant(
    binding: ParsedBinding,
    cluster_rules: Mapping[str, tuple[Rule, ...]],
    local_rules: Mapping[tuple[str, str], tuple[Rule, ...]],
) -> Grant:
    if binding.namespace:
        text = f'RoleBinding "{binding.name}/{binding.namespace}"'
    else:
        text = f'ClusterRoleBinding "{binding.name}"'
    if binding.role_kind == "ClusterRole":
        rules = cluster_rules.get(binding.role_name)
    else:
        rules = local_rules.get((binding.namespace, binding.role_name))
    if rules is None:
        role = f'{binding.role_kind.lower()}.rbac.authorization.k8s.io "{binding.role_name}"'
        return Grant(rules=(), binding=text, role=role, missing=True)
    return Grant(rules=rules, binding=text, role=f'{binding.role_kind} "{binding.role_name}"')


def _subject(obj: JsonObject, namespace: str) -> Subject:
    name = str_at(obj, "name")
    kind = str_at(obj, "kind")
    if kind == "ServiceAccount":
        return ("User", f"{SERVICE_ACCOUNT_PREFIX}{str_at(obj, 'namespace') or namespace}:{name}")
    return (kind, name)


def _subject_text(subject: Subject) -> str:
    kind, name = subject
    if name.startswith(SERVICE_ACCOUNT_PREFIX):
        namespace, _, account = name.removeprefix(SERVICE_ACCOUNT_PREFIX).partition(":")
        return f'ServiceAccount "{account}/{namespace}"'
    return f'{kind} "{name}"'


def _allows(rule: Rule, attributes: Attributes) -> bool:
    if attributes.path:
        return rule.allows_path(verb=attributes.verb, path=attributes.path)
    return rule.allows(
        verb=attributes.verb,
        group=attributes.group,
        resource=attributes.resource,
        subresource=attributes.subresource,
        name=attributes.name,
    )
