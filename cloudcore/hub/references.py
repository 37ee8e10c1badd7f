"""What an object needs beside itself on a node: pure readings of pods, claims, devices and commands. Keeps nothing.

Source of the fields: Kubernetes core/v1 PodSpec; KubeEdge devices.kubeedge.io/v1beta1 DeviceSpec.
"""

from __future__ import annotations

from typing import Final

from cloudcore.registry.references import references_of as needed_by_pod
from skerry.authz.accounts import AUTHENTICATED
from skerry.objects.account_tokens import ACCOUNT_PREFIX, ACCOUNTS_GROUP
from skerry.objects.commands import is_open_to
from skerry.objects.device_rule_reports import DEVICE_RULES
from skerry.objects.device_rules import node_of_rule
from skerry.objects.enrolment import TOKEN_KEYS_NAME, TRUST_NAME, TRUST_NAMESPACE
from skerry.objects.ingresses import CLASSES as INGRESS_CLASSES
from skerry.objects.ingresses import INGRESSES
from skerry.objects.json import JsonObject, maps_at, str_at
from skerry.objects.meta import Key
from skerry.objects.rules import ENDPOINTS, MESSAGES, RULES, answered_node, rule_of
from skerry.objects.trust_bundles import BUNDLES, signer_of, signers_of
from skerry.objects.volumes import CLAIMS, VOLUMES, gateway_of

NODES: Final = "nodes"
PODS: Final = "pods"
COMMANDS: Final = "commands.skerry.dev"
SERVICES: Final = "services"
SLICES: Final = "endpointslices.discovery.k8s.io"
DEVICES: Final = "devices.devices.kubeedge.io"
MODELS: Final = "devicemodels.devices.kubeedge.io"
_CONFIG_MAPS: Final = "configmaps"
SECRETS: Final = "secrets"
_ACCOUNTS: Final = "serviceaccounts"
ROLES: Final = "roles.rbac.authorization.k8s.io"
ROLE_BINDINGS: Final = "rolebindings.rbac.authorization.k8s.io"
_CLUSTER_ROLES: Final = "clusterroles.rbac.authorization.k8s.io"
CLUSTER_ROLE_BINDINGS: Final = "clusterrolebindings.rbac.authorization.k8s.io"
EVERYWHERE: Final = ""
"""The scope of what concerns pods of all namespaces."""

BOOTSTRAPPING: Final = "kubernetes.io/bootstrapping"
"""Label of the roles and bindings that every cloud has."""

_TRUST: Final = Key(_CONFIG_MAPS, TRUST_NAMESPACE, TRUST_NAME)
"""The authorities that gateways are to trust."""
_TOKEN_KEYS: Final = Key(_CONFIG_MAPS, TRUST_NAMESPACE, TOKEN_KEYS_NAME)
"""The keys by which gateways know the tokens of their pods."""

ARRIVAL: Final = (
    NODES,
    _ACCOUNTS,
    _CONFIG_MAPS,
    SECRETS,
    BUNDLES,
    VOLUMES,
    CLAIMS,
    SERVICES,
    SLICES,
    INGRESS_CLASSES,
    INGRESSES,
    ROLES,
    _CLUSTER_ROLES,
    ROLE_BINDINGS,
    CLUSTER_ROLE_BINDINGS,
    MODELS,
    DEVICES,
    ENDPOINTS,
    RULES,
    DEVICE_RULES,
    PODS,
    COMMANDS,
    MESSAGES,
)
"""The resources of a view, what is referred to before what refers: the order in which they are sent."""
PROMPT: Final = frozenset((NODES, DEVICES, COMMANDS, MESSAGES))
"""The resources whose objects go before all others that wait, with what they refer to: desired values of devices,
commands, answers that applications wait for, and the node itself, which says what its link may carry."""


def node_of(key: Key, obj: JsonObject) -> str:
    """The node that an object is for by itself; "" for none."""
    if key.resource == NODES:
        return key.name
    if key.resource == COMMANDS:
        return is_open_to(obj)
    if key.resource == RULES:
        return rule_of(obj).node
    if key.resource == DEVICE_RULES:
        return node_of_rule(obj)
    if key.resource == MESSAGES:
        return answered_node(obj)
    return str_at(obj, "spec", "nodeName") if key.resource in (PODS, DEVICES) else ""


def scopes_of(key: Key, obj: JsonObject) -> frozenset[str]:
    """The namespaces whose pods an object concerns that is on a node because pods are there: `EVERYWHERE` for those
    of all. Services are resolved, and roles held, by the pods of their namespace; a ClusterRoleBinding is held by the
    ServiceAccounts that it names. Bundles of a signer have a scope of their own, of the pods that project them."""
    if key.resource == ROLE_BINDINGS and not any(_is_of_accounts(each) for each in maps_at(obj, "subjects")):
        return frozenset()
    if key.resource == BUNDLES:
        signer = signer_of(obj)
        return frozenset((_of_signer(signer),)) if signer else frozenset()
    if key.resource != CLUSTER_ROLE_BINDINGS:
        return frozenset((key.namespace,))
    if str_at(obj, "metadata", "labels", BOOTSTRAPPING):
        return frozenset()  # what everybody may: gateways know it themselves
    found: set[str] = set()
    for subject in maps_at(obj, "subjects"):
        name = str_at(subject, "name")
        if str_at(subject, "kind") == "ServiceAccount":
            found.add(str_at(subject, "namespace"))
        elif name.startswith(ACCOUNT_PREFIX):
            found.add(name.removeprefix(ACCOUNT_PREFIX).partition(":")[0])
        elif name.startswith(f"{ACCOUNTS_GROUP}:"):
            found.add(name.removeprefix(f"{ACCOUNTS_GROUP}:"))
        elif name in (ACCOUNTS_GROUP, AUTHENTICATED):
            found.add(EVERYWHERE)
    return frozenset(found)


def signers_wanted(key: Key, obj: JsonObject) -> tuple[str, ...]:
    """The scopes of the bundles that a pod projects by their signer, whatever labels it asks for: those change."""
    return tuple(sorted(_of_signer(each) for each in signers_of(obj))) if key.resource == PODS else ()


def _of_signer(signer: str) -> str:
    """A scope that is no namespace."""
    return f"signer {signer}"


def _is_of_accounts(subject: JsonObject) -> bool:
    """Whether a binding's subject may be a ServiceAccount's user or group."""
    name = str_at(subject, "name")
    return (
        str_at(subject, "kind") == "ServiceAccount"
        or name.startswith("system:serviceaccount")
        or (name == AUTHENTICATED)
    )


def references_of(key: Key, obj: JsonObject) -> tuple[Key, ...]:
    """What the object refers to, each once, in the order in which it must arrive."""
    if key.resource == NODES:
        return (_TRUST, _TOKEN_KEYS)
    if key.resource == PODS:
        return tuple(sorted(needed_by_pod(obj), key=lambda ref: (ARRIVAL.index(ref.resource), ref.name)))
    if key.resource == DEVICES:
        secret = str_at(obj, "spec", "protocol", "configData", "secretRef", "name")
        model = str_at(obj, "spec", "deviceModelRef", "name")
        named = ((SECRETS, secret), (MODELS, model))
        return tuple(Key(resource, key.namespace, name) for resource, name in named if name)
    if key.resource in (ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS) and str_at(obj, "roleRef", "kind") == "ClusterRole":
        return (Key(_CLUSTER_ROLES, "", str_at(obj, "roleRef", "name")),)
    if key.resource == RULES:
        rule = rule_of(obj)
        names = dict.fromkeys(name for name in (rule.source, rule.target) if name)
        return tuple(Key(ENDPOINTS, key.namespace, name) for name in names)
    return ()


def brought_by(key: Key, obj: JsonObject) -> Key | None:
    """What an object that others refer to needs in turn: a claim its volume. None for nothing."""
    name = str_at(obj, "spec", "volumeName") if key.resource == CLAIMS else ""
    return Key(VOLUMES, "", name) if name else None


def home_of(key: Key, obj: JsonObject) -> str:
    """The node that has an object though nothing there refers to it: a volume that is its directory. "" for none."""
    return gateway_of(obj) if key.resource == VOLUMES else ""
