"""The roles and bindings that every cloud has, and how they are kept. Data, and one pass over it at start.

Names and permissions are Kubernetes' own (rbac bootstrap policy), so that manifests which bind `view` or
`cluster-admin` mean here what they mean there; the kinds that Skerry serves beside them are added to `view` and
`edit`. The pass only adds what is missing: what a user granted on top stays, and an object annotated
`rbac.authorization.kubernetes.io/autoupdate: "false"` is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cloudcore.api.authz.authorizer import RBAC_GROUP
from cloudcore.registry.port import Objects
from cloudcore.runtime.replicas import GROUP as REPLICA_GROUP
from cloudcore.runtime.replicas import PREFIX as REPLICAS
from skerry.authz.rules import Rule, rule_object, rules_of, uncovered
from skerry.errors import AlreadyExistsError
from skerry.objects.account_tokens import ISSUER_PATH, KEYS_PATH
from skerry.objects.json import Json, JsonObject, dig, list_at, map_at, maps_at, str_at, str_map_at, to_json
from skerry.objects.meta import annotations_of, name_of
from skerry.objects.scheme import Kind, Scheme

AUTOUPDATE: Final = "rbac.authorization.kubernetes.io/autoupdate"
BOOTSTRAPPING: Final = "kubernetes.io/bootstrapping"

_READ: Final = "get list watch"
_WRITE: Final = "create delete deletecollection patch update"
_APPS: Final = (
    "daemonsets deployments deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale"
)
_DEVICES: Final = "devices devicemodels devicestatuses"


def _rule(groups: str, resources: str, verbs: str) -> Rule:
    """Space-separated; the core group is written `core`."""
    return Rule(
        groups=frozenset("" if group == "core" else group for group in groups.split()),
        resources=frozenset(resources.split()),
        verbs=frozenset(verbs.split()),
    )


def _urls(urls: str) -> Rule:
    return Rule(urls=frozenset(urls.split()), verbs=frozenset({"get"}))


_VIEW: Final = (
    _rule(
        "core",
        "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers "
        "replicationcontrollers/scale serviceaccounts services services/status",
        _READ,
    ),
    _rule(
        "core",
        "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status "
        "resourcequotas resourcequotas/status",
        _READ,
    ),
    _rule("core", "namespaces", _READ),
    _rule("discovery.k8s.io", "endpointslices", _READ),
    _rule("metrics.k8s.io", "nodes pods", _READ),
    _rule(
        "apps",
        f"controllerrevisions daemonsets/status deployments/status replicasets/status statefulsets/status {_APPS}",
        _READ,
    ),
    _rule("autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status", _READ),
    _rule("batch", "cronjobs cronjobs/status jobs jobs/status", _READ),
    _rule("policy", "poddisruptionbudgets poddisruptionbudgets/status", _READ),
    _rule("networking.k8s.io", "ingresses ingresses/status networkpolicies", _READ),
    _rule("devices.kubeedge.io", f"devices/checkup devices/explain devices/history devices/line {_DEVICES}", _READ),
    _rule("rules.kubeedge.io", "ruleendpoints rules rules/status", _READ),
    _rule("apps.kubeedge.io", "edgeapplications edgeapplications/status", _READ),
    _rule("skerry.dev", "commands commands/status rulemessages rulemessages/status sinks sinks/status", _READ),
    _rule("skerry.dev", "devicerules devicerules/status", _READ),
)

_EDIT: Final = (
    _rule("core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy", _READ),
    _rule("core", "serviceaccounts", "impersonate"),
    _rule("core", "pods pods/attach pods/exec pods/portforward pods/proxy", _WRITE),
    _rule("core", "pods/eviction", "create"),
    _rule(
        "core",
        "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets "
        "serviceaccounts services services/proxy",
        _WRITE,
    ),
    _rule("core", "serviceaccounts/token", "create"),
    _rule("apps", _APPS, _WRITE),
    _rule("autoscaling", "horizontalpodautoscalers", _WRITE),
    _rule("batch", "cronjobs jobs", _WRITE),
    _rule("policy", "poddisruptionbudgets", _WRITE),
    _rule("networking.k8s.io", "ingresses networkpolicies", _WRITE),
    _rule("coordination.k8s.io", "leases", f"{_READ} {_WRITE}"),
    _rule("devices.kubeedge.io", _DEVICES, _WRITE),
    _rule("devices.kubeedge.io", "devices/read", "create"),
    _rule("rules.kubeedge.io", "ruleendpoints rules", _WRITE),
    _rule("apps.kubeedge.io", "edgeapplications", _WRITE),
    _rule("rules.kubeedge.io", "rules/call", "create"),
    _rule("skerry.dev", "commands devicerules", _WRITE),
    _rule("skerry.dev", "rulemessages", "delete deletecollection patch update"),
)

_NODE: Final = (
    _rule("authentication.k8s.io", "tokenreviews", "create"),
    _rule("authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews", "create"),
    _rule("core", "services", _READ),
    _rule("core", "nodes", f"create {_READ}"),
    _rule("core", "nodes nodes/status", "patch update"),
    _rule("core", "events", "create patch update"),
    _rule("core", "pods", f"create delete {_READ}"),
    _rule("core", "pods/status", "patch update"),
    _rule("core", "pods/eviction serviceaccounts/token", "create"),
    _rule("core", "configmaps secrets", _READ),
    _rule("core", "endpoints persistentvolumeclaims persistentvolumes", "get"),
    _rule("coordination.k8s.io", "leases", "create delete get patch update"),
    _rule("node.k8s.io", "runtimeclasses", _READ),
)

_RULES: Final[dict[str, tuple[Rule, ...]]] = {
    "cluster-admin": (_rule("*", "*", "*"), Rule(urls=frozenset({"*"}), verbs=frozenset({"*"}))),
    "system:aggregate-to-view": _VIEW,
    "system:aggregate-to-edit": _EDIT,
    "system:aggregate-to-admin": (
        _rule("authorization.k8s.io", "localsubjectaccessreviews", "create"),
        _rule(RBAC_GROUP, "rolebindings roles", f"{_READ} {_WRITE}"),
        # As KubeFed's own role for administrators of namespaces.
        _rule("types.kubefed.io scheduling.kubefed.io", "*", f"{_READ} {_WRITE}"),
    ),
    "system:auth-delegator": (
        _rule("authentication.k8s.io", "tokenreviews", "create"),
        _rule("authorization.k8s.io", "subjectaccessreviews", "create"),
    ),
    "system:basic-user": (
        _rule("authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", "create"),
        _rule("authentication.k8s.io", "selfsubjectreviews", "create"),
    ),
    "system:discovery": (
        _urls("/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/"),
    ),
    "system:public-info-viewer": (_urls("/healthz /livez /readyz /version /version/"),),
    "system:service-account-issuer-discovery": (_urls(f"{ISSUER_PATH} {ISSUER_PATH}/ {KEYS_PATH} {KEYS_PATH}/"),),
    "system:monitoring": (_urls("/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*"),),
    "system:node": _NODE,
    "system:skerry:replica": (Rule(urls=frozenset({f"{REPLICAS}/*"}), verbs=frozenset({"post"})),),
    "system:node-problem-detector": (
        _rule("core", "nodes", "get"),
        _rule("core", "nodes/status", "patch"),
        _rule("core events.k8s.io", "events", "create patch update"),
    ),
}

_AGGREGATED: Final = {"admin": "aggregate-to-admin", "edit": "aggregate-to-edit", "view": "aggregate-to-view"}
_FEEDS: Final = {
    "edit": "aggregate-to-admin",
    "view": "aggregate-to-edit",
    "system:aggregate-to-admin": "aggregate-to-admin",
    "system:aggregate-to-edit": "aggregate-to-edit",
    "system:aggregate-to-view": "aggregate-to-view",
}
_BINDINGS: Final[dict[str, tuple[str, ...]]] = {
    "cluster-admin": ("system:masters",),
    "system:basic-user": ("system:authenticated",),
    "system:discovery": ("system:authenticated",),
    "system:monitoring": ("system:monitoring",),
    "system:public-info-viewer": ("system:authenticated", "system:unauthenticated"),
    "system:service-account-issuer-discovery": ("system:serviceaccounts",),
    "system:skerry:replica": (REPLICA_GROUP,),
}
"""ClusterRole, and the groups it is bound to under the same name."""


def default_roles() -> list[JsonObject]:
    """The ClusterRole objects."""
    roles = [_role(name, rules=[rule_object(rule) for rule in rules]) for name, rules in _RULES.items()]
    for name, label in _AGGREGATED.items():
        role = _role(name, rules=[])
        selector: JsonObject = {"matchLabels": {f"{RBAC_GROUP}/{label}": "true"}}
        role["aggregationRule"] = {"clusterRoleSelectors": [selector]}
        roles.append(role)
    return roles


def default_bindings() -> list[JsonObject]:
    """The ClusterRoleBinding objects."""
    return [
        {
            "apiVersion": f"{RBAC_GROUP}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": _metadata(name),
            "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": RBAC_GROUP, "kind": "Group", "name": group} for group in groups],
        }
        for name, groups in _BINDINGS.items()
    ]


async def keep_defaults(objects: Objects, scheme: Scheme) -> None:
    """Create the default roles and bindings, or add to them what they lack."""
    roles = _kind(scheme, "ClusterRole")
    bindings = _kind(scheme, "ClusterRoleBinding")
    for wanted in default_roles():
        await _keep(objects, roles, wanted)
    for wanted in default_bindings():
        await _keep(objects, bindings, wanted)


def completed(current: JsonObject, wanted: JsonObject) -> JsonObject:
    """`current` with what it lacks of `wanted`: labels, annotations, rules, aggregation, subjects. Pure."""
    if annotations_of(current).get(AUTOUPDATE) == "false":
        return current
    result: JsonObject = {**current, "metadata": _with_metadata(map_at(current, "metadata"), wanted)}
    missing = uncovered(rules_of(current), rules_of(wanted))
    if missing and dig(wanted, "aggregationRule") is None:
        result["rules"] = [*list_at(current, "rules"), *(rule_object(rule) for rule in missing)]
    if dig(wanted, "aggregationRule") is not None and dig(current, "aggregationRule") is None:
        result["aggregationRule"] = wanted["aggregationRule"]
    held = {(str_at(subject, "kind"), str_at(subject, "name")) for subject in maps_at(current, "subjects")}
    more: list[Json] = [
        subject
        for subject in maps_at(wanted, "subjects")
        if (str_at(subject, "kind"), str_at(subject, "name")) not in held
    ]
    if more:
        result["subjects"] = [*list_at(current, "subjects"), *more]
    return result


async def _keep(objects: Objects, kind: Kind, wanted: JsonObject) -> None:
    key = kind.key("", name_of(wanted))
    if objects.read(key) is None:
        try:
            await objects.create(kind, "", wanted)
        except AlreadyExistsError:
            pass  # another replica was first; then it is completed like any other
        else:
            return
    await objects.update(kind, key, lambda current: completed(current, wanted))


def _with_metadata(current: JsonObject, wanted: JsonObject) -> JsonObject:
    result: JsonObject = dict(current)
    for part in ("labels", "annotations"):
        lacking = {
            name: value
            for name, value in str_map_at(wanted, "metadata", part).items()
            if name not in map_at(current, part)
        }
        if lacking:
            result[part] = {**map_at(current, part), **lacking}
    return result


def _role(name: str, *, rules: Iterable[Json]) -> JsonObject:
    return {
        "apiVersion": f"{RBAC_GROUP}/v1",
        "kind": "ClusterRole",
        "metadata": _metadata(name),
        "rules": list(rules),
    }


def _metadata(name: str) -> JsonObject:
    labels = {BOOTSTRAPPING: "rbac-defaults"}
    if name in _FEEDS:
        labels[f"{RBAC_GROUP}/{_FEEDS[name]}"] = "true"
    return {"name": name, "labels": to_json(labels), "annotations": {AUTOUPDATE: "true"}}


def _kind(scheme: Scheme, name: str) -> Kind:
    kind = scheme.named(RBAC_GROUP, "v1", name)
    assert kind is not None, "the RBAC kinds are built in"
    return kind
