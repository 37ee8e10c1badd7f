"""Policy rules of roles: what one allows, and whether some cover another. Pure.

Meaning and texts are those of rbac.authorization.k8s.io/v1 (PolicyRule).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Final

from skerry.errors import InvalidError
from skerry.frozen import Frozen, replace
from skerry.objects.json import Json, JsonObject, maps_at, strs_at

ALL: Final = "*"
PARTS_MAX: Final = 50_000
"""Single permissions that a role's rules may take apart into when they are checked against the writer's own."""


class Rule(Frozen):
    """rbac/v1 PolicyRule."""

    verbs: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    """Empty: any."""
    urls: frozenset[str] = frozenset()

    def allows(self, *, verb: str, group: str, resource: str, subresource: str, name: str) -> bool:
        """Whether this rule allows a verb on a resource."""
        return (
            (verb in self.verbs or ALL in self.verbs)
            and (group in self.groups or ALL in self.groups)
            and self._names_resource(resource, subresource)
            and (not self.names or name in self.names)
        )

    def allows_path(self, *, verb: str, path: str) -> bool:
        """Whether this rule allows a verb on a URL that is no resource."""
        return (verb in self.verbs or ALL in self.verbs) and any(_url_matches(url, path) for url in self.urls)

    def covers(self, part: Rule) -> bool:
        """Whether all of what `part` allows is allowed by this rule alone."""
        if not (ALL in self.verbs or part.verbs <= self.verbs):
            return False
        if part.urls:
            return all(any(_url_matches(mine, url) for mine in self.urls) for url in part.urls)
        return (
            (ALL in self.groups or part.groups <= self.groups)
            and all(self._covers_resource(resource) for resource in part.resources)
            and (not self.names or (bool(part.names) and part.names <= self.names))
        )

    def _names_resource(self, resource: str, subresource: str) -> bool:
        if ALL in self.resources:
            return True
        if not subresource:
            return resource in self.resources
        return f"{resource}/{subresource}" in self.resources or f"{ALL}/{subresource}" in self.resources

    def _covers_resource(self, resource: str) -> bool:
        if ALL in self.resources or resource in self.resources:
            return True
        _, slash, subresource = resource.partition("/")
        return bool(slash) and f"{ALL}/{subresource}" in self.resources


def rules_of(role: JsonObject) -> tuple[Rule, ...]:
    """The rules of a Role or ClusterRole object."""
    return tuple(rule_of(rule) for rule in maps_at(role, "rules"))


def rule_of(obj: JsonObject) -> Rule:
    return Rule(
        verbs=frozenset(strs_at(obj, "verbs")),
        groups=frozenset(strs_at(obj, "apiGroups")),
        resources=frozenset(strs_at(obj, "resources")),
        names=frozenset(strs_at(obj, "resourceNames")),
        urls=frozenset(strs_at(obj, "nonResourceURLs")),
    )


def rule_object(rule: Rule) -> JsonObject:
    """The same as JSON, for reviews."""
    fields = (
        ("verbs", rule.verbs),
        ("apiGroups", rule.groups),
        ("resources", rule.resources),
        ("resourceNames", rule.names),
        ("nonResourceURLs", rule.urls),
    )
    return {name: list[Json](sorted(values)) for name, values in fields if values}


def uncovered(owned: Sequence[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """What `wanted` allows and `owned` does not, in single permissions merged by verb.

    Raises `InvalidError` when the rules take apart into too many to check.
    """
    if any(ALL in rule.verbs and ALL in rule.groups and ALL in rule.resources and not rule.names for rule in owned):
        wanted = [rule for rule in wanted if rule.urls]
    missing: dict[Rule, set[str]] = {}
    budget = PARTS_MAX
    for rule in wanted:
        budget -= _parts_count(rule)
        if budget < 0:
            raise InvalidError(f"the rules take apart into more than {PARTS_MAX} permissions: name fewer in one role")
        for part in _parts(rule):
            if not any(mine.covers(part) for mine in owned):
                missing.setdefault(replace(part, verbs=frozenset()), set()).update(part.verbs)
    return [replace(rule, verbs=frozenset(verbs)) for rule, verbs in missing.items()]


def rule_text(rule: Rule) -> str:
    """As kube-apiserver prints a rule in a refusal: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`."""
    parts = (
        ("APIGroups", rule.groups),
        ("Resources", rule.resources),
        ("ResourceNames", rule.names),
        ("NonResourceURLs", rule.urls),
        ("Verbs", rule.verbs),
    )
    shown = (f"{name}:[{' '.join(_quoted(value) for value in sorted(values))}]" for name, values in parts if values)
    return "{" + ", ".join(shown) + "}"


def _parts_count(rule: Rule) -> int:
    verbs = len(rule.verbs)
    return verbs * (len(rule.urls) + len(rule.groups) * len(rule.resources) * max(1, len(rule.names)))


def _parts(rule: Rule) -> Iterable[Rule]:
    """Single permissions: one verb on one resource of one group (and name), or on one URL."""
    for url, verb in product(sorted(rule.urls), sorted(rule.verbs)):
        yield Rule(verbs=frozenset({verb}), urls=frozenset({url}))
    names = sorted(rule.names) or [None]
    for group, resource, name, verb in product(
        sorted(rule.groups), sorted(rule.resources), names, sorted(rule.verbs)
    ):
        yield Rule(
            verbs=frozenset({verb}),
            groups=frozenset({group}),
            resources=frozenset({resource}),
            names=frozenset() if name is None else frozenset({name}),
        )


def _url_matches(pattern: str, path: str) -> bool:
    if pattern in (ALL, path):
        return True
    return pattern.endswith(ALL) and path.startswith(pattern[:-1])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
