"""Nobody hands out more than they hold: the check on writes of roles and bindings. Pure.

Kubernetes' rule: to write a role one must hold all that it allows, or the verb `escalate` on it; to write a
binding one must hold all that the bound role allows, or the verb `bind` on that role. Texts as kube-apiserver's.
"""

from __future__ import annotations

from cloudcore.api.authz.authorizer import RBAC_GROUP, Authorizer
from cloudcore.registry.admission import Reader, Request, Step
from skerry.authz.attributes import Actor, Attributes
from skerry.authz.policy import MASTERS
from skerry.authz.rules import Rule, rule_text, rules_of, uncovered
from skerry.errors import ForbiddenError, NotFoundError
from skerry.objects.json import JsonObject, dig, str_at
from skerry.objects.meta import Key, name_of, namespace_of
from skerry.objects.scheme import Kind


def escalation_step(authorizer: Authorizer) -> Step:
    """The check as a step of admission."""

    def step(request: Request, _reader: Reader) -> JsonObject:
        if request.operation != "DELETE":
            check_escalation(authorizer, request.kind, request.obj, request.old, request.actor)
        return request.obj

    return step


def check_escalation(
    authorizer: Authorizer, kind: Kind, obj: JsonObject, old: JsonObject | None, actor: Actor
) -> None:
    """Raises `ForbiddenError` when the actor may not write this role or binding; other kinds pass."""
    if kind.group != RBAC_GROUP or MASTERS in actor.groups:
        return
    if kind.kind in ("Role", "ClusterRole"):
        _check_role(authorizer, kind, obj, old, actor)
    else:
        _check_binding(authorizer, kind, obj, old, actor)


def _check_role(authorizer: Authorizer, kind: Kind, obj: JsonObject, old: JsonObject | None, actor: Actor) -> None:
    same_rules = old is not None and dig(old, "rules") == dig(obj, "rules")
    if same_rules and dig(old, "aggregationRule") == dig(obj, "aggregationRule"):
        return
    if _may(authorizer, actor, "escalate", kind.plural, obj):
        return
    wanted = rules_of(obj)
    if dig(obj, "aggregationRule") is not None:
        # Whoever aggregates gets all that anybody may label later, so only who holds everything may.
        everything = Rule(verbs=frozenset("*"), groups=frozenset("*"), resources=frozenset("*"))
        wanted = (*wanted, everything, Rule(verbs=frozenset("*"), urls=frozenset("*")))
    _check_held(authorizer, kind, obj, wanted, actor)


def _check_binding(authorizer: Authorizer, kind: Kind, obj: JsonObject, old: JsonObject | None, actor: Actor) -> None:
    same_role = old is not None and dig(old, "roleRef") == dig(obj, "roleRef")
    if same_role and dig(old, "subjects") == dig(obj, "subjects"):
        return
    plural = "clusterroles" if str_at(obj, "roleRef", "kind") == "ClusterRole" else "roles"
    role_name = str_at(obj, "roleRef", "name")
    asked = Attributes(
        actor=actor,
        verb="bind",
        group=RBAC_GROUP,
        resource=plural,
        namespace=namespace_of(obj),
        name=role_name,
    )
    if authorizer.decide(asked).allowed:
        return
    key = Key(f"{plural}.{RBAC_GROUP}", namespace_of(obj) if plural == "roles" else "", role_name)
    wanted = authorizer.rules_in(key)
    if wanted is None:
        raise NotFoundError(f'{plural}.{RBAC_GROUP} "{role_name}" not found')
    _check_held(authorizer, kind, obj, wanted, actor)


def _may(authorizer: Authorizer, actor: Actor, verb: str, plural: str, obj: JsonObject) -> bool:
    asked = Attributes(
        actor=actor,
        verb=verb,
        group=RBAC_GROUP,
        resource=plural,
        namespace=namespace_of(obj),
        name=name_of(obj),
    )
    return authorizer.decide(asked).allowed


def _check_held(authorizer: Authorizer, kind: Kind, obj: JsonObject, wanted: tuple[Rule, ...], actor: Actor) -> None:
    missing = uncovered(authorizer.rules(actor, namespace_of(obj)), wanted)
    if missing:
        groups = " ".join(f'"{group}"' for group in actor.groups)
        lines = "\n".join(sorted(rule_text(rule) for rule in missing))
        raise ForbiddenError(
            f'{kind.resource} "{name_of(obj)}" is forbidden: user "{actor.name}" (groups=[{groups}]) '
            f"is attempting to grant RBAC permissions not currently held:\n{lines}"
        )
