"""Admission: what the control plane itself adds to, or holds against, an object that is about to be written.

An ordered list of pure steps; each is given the request and the objects as cached, and returns the object to go
on with or raises. Keeps no data. The rules and texts are those of Kubernetes' admission plugins of the same
names (k8s.io/kubernetes `plugin/pkg/admission`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal, Protocol

from cloudcore.registry.custom import RESOURCE as DEFINITIONS
from cloudcore.registry.leasing import lending_row, lent_s
from cloudcore.registry.node_pods import node_pod_refusal
from cloudcore.registry.port import SYSTEM, Subresource
from cloudcore.registry.refusals import forbidden, invalid
from cloudcore.registry.volumes import default_class
from cloudcore.store.port import Stored
from skerry.authz.attributes import Actor
from skerry.errors import Cause, InvalidError, NotFoundError
from skerry.frozen import Frozen, replace
from skerry.objects.bandwidth import BANDWIDTH, parse_bandwidth
from skerry.objects.device_desired import stamp_desired
from skerry.objects.device_owner import stamp_owner
from skerry.objects.enrolment import NODES_GROUP
from skerry.objects.federation import ROW
from skerry.objects.holds import stamp_hold
from skerry.objects.ingresses import CLASSES as INGRESS_CLASSES
from skerry.objects.ingresses import INGRESSES, OLD_CLASS, is_default_class
from skerry.objects.json import (
    Json,
    JsonObject,
    bool_at,
    dig,
    int_at,
    list_at,
    map_at,
    maps_at,
    str_at,
    str_map_at,
)
from skerry.objects.meta import Key, annotations_of, name_of, with_annotations
from skerry.objects.mirror_pods import CONFIG_MIRROR, api_references
from skerry.objects.pod_defaults import TOKEN_VOLUME
from skerry.objects.pod_leases import LEASE, MARKS, without_marks
from skerry.objects.scheme import Kind
from skerry.objects.traffic import BUDGET, parse_budget
from skerry.objects.volumes import (
    CLAIM_PROTECTION,
    CLAIMS,
    CLASSES,
    VOLUME_PROTECTION,
    VOLUMES,
    class_of,
    request_of,
    says_class,
)
from skerry.validation import faults

TOKEN_MOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path that every client knows
_TOKEN_LIFE_S: Final = 3607
"""Kubernetes' own odd number: an hour, told apart from an hour that somebody asked for."""
_TOLERATED_S: Final = 300
_UNDELETABLE: Final = ("default", "kube-system", "kube-public")
_LOST_NODE_TAINTS: Final = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_SIGNING_REQUESTS: Final = "certificatesigningrequests.certificates.k8s.io"
_REQUESTER: Final = ("username", "uid", "groups", "extra")


class Reader(Protocol):
    """Objects as cached, for steps to look things up (the watch cache is one)."""

    def read(self, key: Key) -> Stored | None: ...

    def select(self, resource: str, *, namespace: str = "") -> Sequence[Stored]: ...

    def obj(self, stored: Stored) -> JsonObject:
        """Parsed and shared: never changed by a step."""
        ...


class Request(Frozen):
    """One write, as admission sees it."""

    kind: Kind
    operation: Literal["CREATE", "UPDATE", "DELETE"]
    key: Key
    obj: JsonObject
    """What is to be written; for a DELETE what is there. Never changed: a step returns a new one."""
    old: JsonObject | None
    subresource: Subresource
    actor: Actor
    suffix: str
    """Chance, as an argument: five characters for names that are generated in a pod; "" for every other kind."""
    now_ms: int
    """Time, as an argument: milliseconds since the epoch."""
    life: str = ""
    """The store's, where it was restored from a backup (`cloudcore.store.port.life_of`)."""


Step = Callable[[Request, Reader], JsonObject]


def admitted(steps: Iterable[Step], request: Request, reader: Reader) -> JsonObject:
    """The object after all steps, in their order. Raises what the first refusing step raises."""
    for step in steps:
        obj = step(request, reader)
        if obj is not request.obj:  # most steps are of one kind, and pass all others on
            request = replace(request, obj=obj)
    return request.obj


def namespace_lifecycle(request: Request, reader: Reader) -> JsonObject:
    """NamespaceLifecycle: nothing new in a namespace that is missing or going; some namespaces stay."""
    key = request.key
    if request.operation == "DELETE" and request.kind.resource == "namespaces" and key.name in _UNDELETABLE:
        raise forbidden(request.kind, key.name, "this namespace may not be deleted")
    if request.operation != "CREATE" or not request.kind.namespaced:
        return request.obj
    stored = reader.read(Key("namespaces", "", key.namespace))
    if stored is None:
        raise NotFoundError(f'namespaces "{key.namespace}" not found')
    if str_at(reader.obj(stored), "metadata", "deletionTimestamp"):
        why = f"unable to create new content in namespace {key.namespace} because it is being terminated"
        message = f"namespace {key.namespace} is being terminated"
        cause = Cause(field="metadata.namespace", reason="NamespaceTerminating", message=message)
        raise forbidden(request.kind, key.name, why, [cause])
    return request.obj


def definition_lifecycle(request: Request, reader: Reader) -> JsonObject:
    """Nothing new of a custom kind whose definition is being deleted (apiextensions-apiserver,
    `customresource_handler.go`): its objects are being counted down."""
    kind = request.kind
    if request.operation != "CREATE" or not kind.custom:
        return request.obj
    stored = reader.read(Key(DEFINITIONS, "", kind.stored_as))
    if stored is None or str_at(reader.obj(stored), "metadata", "deletionTimestamp"):
        why = "create not allowed while custom resource definition is terminating"
        raise forbidden(kind, request.key.name, why)
    return request.obj


def service_account(request: Request, reader: Reader) -> JsonObject:
    """ServiceAccount: every pod runs as one that exists, and finds its token mounted unless it declines."""
    if not _new_pod(request):
        return request.obj
    if CONFIG_MIRROR in annotations_of(request.obj):
        for _, noun in api_references(request.obj):
            if noun in ("secrets", "service accounts"):
                raise forbidden(request.kind, request.key.name, f"a mirror pod may not reference {noun}")
        return request.obj
    pod, namespace = request.obj, request.key.namespace
    name = str_at(pod, "spec", "serviceAccountName") or "default"
    stored = reader.read(Key("serviceaccounts", namespace, name))
    if stored is None:
        why = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
        raise forbidden(request.kind, request.key.name, why)
    account = reader.obj(stored)
    spec: JsonObject = {**map_at(pod, "spec"), "serviceAccountName": name, "serviceAccount": name}
    if not maps_at(spec, "imagePullSecrets") and maps_at(account, "imagePullSecrets"):
        spec["imagePullSecrets"] = [dict(ref) for ref in maps_at(account, "imagePullSecrets")]
    mounts = bool_at(account, "automountServiceAccountToken", default=True)
    if bool_at(spec, "automountServiceAccountToken", default=mounts):
        spec = _with_token(spec, request.suffix)
    return {**pod, "spec": spec}


def priority(request: Request, reader: Reader) -> JsonObject:
    """Priority: a pod's number comes from its PriorityClass, from the default one, or is 0."""
    if not _new_pod(request):
        return request.obj
    pod, name = request.obj, str_at(request.obj, "spec", "priorityClassName")
    found = _priority_class(name, reader)
    if name and found is None:
        raise forbidden(request.kind, request.key.name, f"no PriorityClass with name {name} was found")
    value = int_at(found or {}, "value")
    given = dig(pod, "spec", "priority")
    if given is not None and given != value:
        why = (
            f"the integer value of priority ({given}) must not be provided in pod spec; priority admission "
            f"controller computed {value} from the given PriorityClass name"
        )
        raise forbidden(request.kind, request.key.name, why)
    policy = str_at(found or {}, "preemptionPolicy", default="PreemptLowerPriority")
    spec: JsonObject = {**map_at(pod, "spec"), "priority": value}
    spec.setdefault("preemptionPolicy", policy)
    if found is not None:
        spec["priorityClassName"] = str_at(found, "metadata", "name")
    return {**pod, "spec": spec}


def default_tolerations(request: Request, _reader: Reader) -> JsonObject:
    """DefaultTolerationSeconds: a pod that says nothing tolerates a lost node for five minutes."""
    if request.kind.resource != "pods" or request.subresource or request.operation == "DELETE":
        return request.obj
    tolerations = maps_at(request.obj, "spec", "tolerations")
    missing: list[Json] = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _TOLERATED_S}
        for key in _LOST_NODE_TAINTS
        if not any(_tolerates(toleration, key) for toleration in tolerations)
    ]
    if not missing:
        return request.obj
    spec: JsonObject = {**map_at(request.obj, "spec"), "tolerations": [*tolerations, *missing]}
    return {**request.obj, "spec": spec}


def lease_mark(request: Request, reader: Reader) -> JsonObject:
    """A pod of what must never run twice in a federation says by which row it is lent: never anybody else's words."""

    def read(key: Key) -> JsonObject | None:
        stored = reader.read(key)
        return None if stored is None else reader.obj(stored)

    if request.operation == "UPDATE" and request.old is not None and request.actor != SYSTEM:
        _refuse_other_marks(request, request.old, read)
    if not _new_pod(request):
        return request.obj
    row = lending_row(read, request.obj)
    if row:
        return with_annotations(request.obj, {LEASE: row})
    if not {*MARKS} & annotations_of(request.obj).keys():
        return request.obj
    metadata = dict(map_at(request.obj, "metadata"))
    metadata["annotations"] = without_marks(request.obj)
    return {**request.obj, "metadata": metadata}


def _refuse_other_marks(request: Request, old: JsonObject, read: Callable[[Key], JsonObject | None]) -> None:
    """Whoever takes its mark from what is lent would have it run twice. Raises `ForbiddenError`."""
    before, after = annotations_of(old), annotations_of(request.obj)
    marks = [*MARKS] if request.kind.resource == "pods" else []
    if lent_s(read, before.get(ROW, "")):
        marks.append(ROW)
    for name in marks:
        if before.get(name) != after.get(name):
            why = (
                f"metadata.annotations[{name}] says who lends what must never run twice, and is written by the"
                f" control plane alone: leave it {'out' if name not in before else 'as it is'}"
            )
            raise forbidden(request.kind, request.key.name, why)


def runtime_class(request: Request, reader: Reader) -> JsonObject:
    """RuntimeClass: the class named exists; its overhead, node selector and tolerations are the pod's too."""
    name = str_at(request.obj, "spec", "runtimeClassName")
    if not _new_pod(request) or not name:
        return request.obj
    stored = reader.read(Key("runtimeclasses.node.k8s.io", "", name))
    if stored is None:
        raise _rejected(request, f'RuntimeClass "{name}" not found')
    found = reader.obj(stored)
    spec = dict(map_at(request.obj, "spec"))
    overhead = map_at(found, "overhead", "podFixed")
    if "overhead" in spec and spec["overhead"] != overhead:
        raise _rejected(request, "Pod's Overhead doesn't match RuntimeClass's defined Overhead")
    if overhead:
        spec["overhead"] = dict(overhead)
    selector = str_map_at(spec, "nodeSelector")
    for label, value in str_map_at(found, "scheduling", "nodeSelector").items():
        if selector.setdefault(label, value) != value:
            why = f"runtimeClass.scheduling.nodeSelector[{label}] = {value}; pod.spec.nodeSelector[{label}] = "
            raise _rejected(request, f"conflict: {why}{selector[label]}")
    if selector:
        spec["nodeSelector"] = dict(selector)
    own = list_at(spec, "tolerations")
    more = [toleration for toleration in list_at(found, "scheduling", "tolerations") if toleration not in own]
    if more:
        spec["tolerations"] = [*own, *more]
    return {**request.obj, "spec": spec}


def desired_versions(request: Request, _reader: Reader) -> JsonObject:
    """Number the wanted values of a Device that this write changes, so that its gateway can tell which of two is
    later without trusting clocks (`skerry.objects.device_desired`), say who holds it (`skerry.objects.holds`), and
    count its moves (`skerry.objects.device_owner`)."""
    if request.kind.resource != "devices.devices.kubeedge.io" or request.subresource or request.operation == "DELETE":
        return request.obj
    moved = stamp_owner(request.old, request.obj)
    held = stamp_hold(request.old, moved, now_ms=request.now_ms, origin=request.actor.name)
    return stamp_desired(
        request.old,
        held,
        now_ms=request.now_ms,
        origin=request.actor.name,
        life=request.life,
        merging=request.actor == SYSTEM,
    )


def certificate_requester(request: Request, _reader: Reader) -> JsonObject:
    """A CertificateSigningRequest says who asked, in the server's words and for good (apiserver strategy of
    `certificates.k8s.io`): signers decide by it."""
    if request.kind.resource != _SIGNING_REQUESTS or request.operation == "DELETE":
        return request.obj
    if request.old is not None:
        return {**request.obj, "spec": map_at(request.old, "spec")}
    actor = request.actor
    said = {name: value for name, value in map_at(request.obj, "spec").items() if name not in _REQUESTER}
    spec: JsonObject = {**said, "username": actor.name, "groups": list[Json](actor.groups)}
    if actor.uid:
        spec["uid"] = actor.uid
    if actor.extra:
        spec["extra"] = {name: list[Json](values) for name, values in actor.extra}
    return {**request.obj, "spec": spec}


def node_restriction(request: Request, reader: Reader) -> JsonObject:
    """A gateway tells its status, and nothing else of its Node: labels and annotations decide what is sent to it, and
    whose it is (Kubernetes' NodeRestriction, which lets kubelets have some labels; ours are told in the session). Of
    pods it makes mirrors of its static ones, and lets go of those that are its own."""
    by_node = NODES_GROUP in request.actor.groups
    if by_node and request.kind.resource == "pods" and not request.subresource:
        why = node_pod_refusal(request, reader)
        if why:
            raise forbidden(request.kind, request.key.name, why)
    if by_node and request.kind.resource == "nodes" and request.operation == "UPDATE":
        for field in ("labels", "annotations", "finalizers"):
            if dig(request.obj, "metadata", field) != dig(request.old, "metadata", field):
                raise forbidden(request.kind, request.key.name, f"a node may not change its own metadata.{field}")
    return request.obj


def link_annotations(request: Request, _reader: Reader) -> JsonObject:
    """What is said of a node's link, its plan and its budget, makes sense when it is written. What stands there since
    before is passed over: it must not hold up what else is said of the node; the hub says so in an Event."""
    if request.kind.resource != "nodes" or request.operation == "DELETE":
        return request.obj
    wrong: list[Cause] = []
    for name, parse in ((BANDWIDTH, parse_bandwidth), (BUDGET, parse_budget)):
        text = annotations_of(request.obj).get(name, "")
        if text and text != annotations_of(request.old or {}).get(name, ""):
            field = f"metadata.annotations[{name}]"
            try:
                parse(text, source=field)
            except InvalidError as error:
                wrong.append(faults.invalid(field, text, str(error).removeprefix(field).lstrip(":, ")))
    if wrong:
        raise invalid(request.kind, request.key.name, wrong)
    return request.obj


def default_storage_class(request: Request, reader: Reader) -> JsonObject:
    """DefaultStorageClass: a claim that says nothing of its class has the default one, where there is one."""
    claim = request.obj
    if request.kind.resource != CLAIMS or request.operation != "CREATE" or says_class(claim):
        return claim
    found = default_class(reader.obj(stored) for stored in reader.select(CLASSES))
    if found is None:
        return claim
    return {**claim, "spec": {**map_at(claim, "spec"), "storageClassName": str_at(found, "metadata", "name")}}


def default_ingress_class(request: Request, reader: Reader) -> JsonObject:
    """DefaultIngressClass: an Ingress that says nothing of its class has the default one; of several the newest."""
    ingress = request.obj
    if request.kind.resource != INGRESSES or request.operation != "CREATE" or request.subresource:
        return ingress
    if "ingressClassName" in map_at(ingress, "spec") or OLD_CLASS in annotations_of(ingress):
        return ingress
    classes = (reader.obj(stored) for stored in reader.select(INGRESS_CLASSES))
    defaults = sorted((each for each in classes if is_default_class(each)), key=name_of)
    found = max(defaults, key=lambda each: str_at(each, "metadata", "creationTimestamp"), default=None)
    if found is None:
        return ingress
    return {**ingress, "spec": {**map_at(ingress, "spec"), "ingressClassName": name_of(found)}}


def storage_protection(request: Request, _reader: Reader) -> JsonObject:
    """StorageObjectInUseProtection: claims that pods use, and volumes that claims have, do not go."""
    finalizer = {CLAIMS: CLAIM_PROTECTION, VOLUMES: VOLUME_PROTECTION}.get(request.kind.resource)
    held = list_at(request.obj, "metadata", "finalizers")
    if finalizer is None or request.operation != "CREATE" or finalizer in held:
        return request.obj
    return {**request.obj, "metadata": {**map_at(request.obj, "metadata"), "finalizers": [*held, finalizer]}}


def claim_resize(request: Request, reader: Reader) -> JsonObject:
    """PersistentVolumeClaimResize: only bound claims grow, and only where their class lets them."""
    claim, old = request.obj, request.old
    if request.kind.resource != CLAIMS or request.subresource or old is None or request.operation != "UPDATE":
        return claim
    if request_of(claim) <= request_of(old):
        return claim
    if str_at(old, "status", "phase") != "Bound":
        raise forbidden(request.kind, request.key.name, "Only bound persistent volume claims can be expanded")
    name = class_of(old)
    stored = reader.read(Key(CLASSES, "", name)) if name else None
    if stored is None or not bool_at(reader.obj(stored), "allowVolumeExpansion"):
        why = (
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must "
            "support resize"
        )
        raise forbidden(request.kind, request.key.name, why)
    return claim


STEPS: Final[tuple[Step, ...]] = (
    node_restriction,
    namespace_lifecycle,
    definition_lifecycle,
    service_account,
    priority,
    default_tolerations,
    default_storage_class,
    default_ingress_class,
    storage_protection,
    claim_resize,
    runtime_class,
    lease_mark,
    desired_versions,
    link_annotations,
    certificate_requester,
)
"""In the order of kube-apiserver, then our own."""


def _new_pod(request: Request) -> bool:
    return request.kind.resource == "pods" and request.operation == "CREATE" and not request.subresource


def _rejected(request: Request, why: str) -> Exception:
    return forbidden(request.kind, request.key.name, f"pod rejected: {why}")


def _with_token(spec: JsonObject, suffix: str) -> JsonObject:
    """The pod's containers with the token mounted, and the volume it comes from; what is mounted there stays."""
    volumes = maps_at(spec, "volumes")
    own = next((str_at(volume, "name") for volume in volumes if str_at(volume, "name").startswith(TOKEN_VOLUME)), "")
    name = own or TOKEN_VOLUME + suffix
    spec, needed = dict(spec), False
    for which in ("initContainers", "containers"):
        containers: list[Json] = []
        for container in maps_at(spec, which):
            if not any(str_at(mount, "mountPath") == TOKEN_MOUNT for mount in maps_at(container, "volumeMounts")):
                needed = True
                mount: Json = {"name": name, "readOnly": True, "mountPath": TOKEN_MOUNT}
                mounts: list[Json] = [*list_at(container, "volumeMounts"), mount]
                container = dict(container)
                container["volumeMounts"] = mounts
            containers.append(container)
        if containers:
            spec[which] = containers
    if needed and not own:
        spec["volumes"] = [*volumes, _token_volume(name)]
    return spec


def _token_volume(name: str) -> JsonObject:
    namespace_field: JsonObject = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    sources: list[Json] = [
        {"serviceAccountToken": {"expirationSeconds": _TOKEN_LIFE_S, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": namespace_field}]}},
    ]
    return {"name": name, "projected": {"sources": sources, "defaultMode": 0o644}}


def _priority_class(name: str, reader: Reader) -> JsonObject | None:
    """The class of that name; without a name the global default, of several the lowest."""
    if name:
        stored = reader.read(Key("priorityclasses.scheduling.k8s.io", "", name))
        return None if stored is None else reader.obj(stored)
    classes = [reader.obj(stored) for stored in reader.select("priorityclasses.scheduling.k8s.io")]
    defaults = [found for found in classes if bool_at(found, "globalDefault")]
    return min(defaults, key=lambda found: int_at(found, "value"), default=None)


def _tolerates(toleration: JsonObject, taint: str) -> bool:
    return str_at(toleration, "key") in ("", taint) and str_at(toleration, "effect") in ("", "NoExecute")
