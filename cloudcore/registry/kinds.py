"""The built-in kinds: one row each, and nothing else that knows their names.

The API serves a kind because it has a row here. A row says how the kind is addressed, which verbs and
subresources it has, and how Kubernetes' own strategy for it answers updates (`pkg/registry/*/strategy.go` of
Kubernetes 1.36: unconditional update, create on update, generation). Kinds that only make sense with something
that acts on them say so (`acted_on`), so that a writer is warned instead of waiting for ever.

Keeps no data; nothing to lose in a crash.
"""

from __future__ import annotations

from typing import Final

from skerry.frozen import replace
from skerry.objects.scheme import Kind, Scheme

_CREATE_ONLY: Final = ("create",)
_NO_DELETECOLLECTION: Final = ("create", "delete", "get", "list", "patch", "update", "watch")
_STATUS: Final = frozenset({"status"})
_STATUS_SCALE: Final = frozenset({"status", "scale"})
_ALL: Final = ("all",)

_EVENT_FIELDS: Final = (
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
)

_NEW_EVENT_FIELDS: Final = (
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
    "regarding.resourceVersion",
    "regarding.fieldPath",
    "reason",
    "reportingController",
    "type",
)

_POD_SUBRESOURCES: Final = frozenset(
    {
        "status",
        "binding",
        "eviction",
        "log",
        "exec",
        "attach",
        "portforward",
        "proxy",
        "ephemeralcontainers",
        "resize",
    }
)
_POD_FIELDS: Final = (
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
)


def _kind(group: str, version: str, kind: str, plural: str, *, namespaced: bool) -> Kind:
    return Kind(group=group, version=version, kind=kind, plural=plural, namespaced=namespaced, singular=kind.lower())


def _in(group: str, version: str, kind: str, plural: str) -> Kind:
    """A kind that lives in namespaces."""
    return _kind(group, version, kind, plural, namespaced=True)


def _over(group: str, version: str, kind: str, plural: str) -> Kind:
    """A kind of the whole cluster."""
    return _kind(group, version, kind, plural, namespaced=False)


def _core() -> list[Kind]:
    return [*_core_objects(), *_core_workloads()]


def _core_objects() -> list[Kind]:
    plain = {"has_generation": False}
    return [
        replace(_in("", "v1", "ConfigMap", "configmaps"), short_names=("cm",), **plain),
        replace(_in("", "v1", "Endpoints", "endpoints"), short_names=("ep",), create_on_update=True, **plain),
        replace(
            _in("", "v1", "Event", "events"),
            short_names=("ev",),
            create_on_update=True,
            selectable=_EVENT_FIELDS,
            **plain,
        ),
        replace(
            _in("", "v1", "LimitRange", "limitranges"),
            short_names=("limits",),
            create_on_update=True,
            acted_on=False,
            **plain,
        ),
        replace(
            _over("", "v1", "Namespace", "namespaces"),
            short_names=("ns",),
            verbs=_NO_DELETECOLLECTION,
            subresources=frozenset({"status", "finalize"}),
            selectable=("status.phase",),
            **plain,
        ),
        replace(
            _over("", "v1", "Node", "nodes"),
            short_names=("no",),
            subresources=_STATUS | {"discovery", "localchanges", "proxy", "traffic"},
            selectable=("spec.unschedulable",),
            **plain,
        ),
        replace(
            _in("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
            short_names=("pvc",),
            subresources=_STATUS,
            **plain,
        ),
        replace(
            _over("", "v1", "PersistentVolume", "persistentvolumes"),
            short_names=("pv",),
            subresources=_STATUS,
            **plain,
        ),
    ]


def _core_workloads() -> list[Kind]:
    """Pods, what makes and limits them, and how they are reached."""
    plain = {"has_generation": False}
    return [
        replace(
            _in("", "v1", "Pod", "pods"),
            short_names=("po",),
            categories=_ALL,
            subresources=_POD_SUBRESOURCES,
            selectable=_POD_FIELDS,
        ),
        _in("", "v1", "PodTemplate", "podtemplates"),
        replace(
            _in("", "v1", "ReplicationController", "replicationcontrollers"),
            short_names=("rc",),
            categories=_ALL,
            subresources=_STATUS_SCALE,
            selectable=("status.replicas",),
        ),
        replace(
            _in("", "v1", "ResourceQuota", "resourcequotas"),
            short_names=("quota",),
            subresources=_STATUS,
            acted_on=False,
            **plain,
        ),
        replace(_in("", "v1", "Secret", "secrets"), selectable=("type",), **plain),
        replace(
            _in("", "v1", "ServiceAccount", "serviceaccounts"),
            short_names=("sa",),
            subresources=frozenset({"token"}),
            **plain,
        ),
        replace(
            _in("", "v1", "Service", "services"),
            short_names=("svc",),
            categories=_ALL,
            subresources=_STATUS | {"proxy"},
            create_on_update=True,
            selectable=("spec.clusterIP", "spec.type"),
            **plain,
        ),
    ]


def _apps() -> list[Kind]:
    return [
        replace(_in("apps", "v1", "ControllerRevision", "controllerrevisions"), has_generation=False),
        replace(
            _in("apps", "v1", "DaemonSet", "daemonsets"),
            short_names=("ds",),
            categories=_ALL,
            subresources=_STATUS,
        ),
        replace(
            _in("apps", "v1", "Deployment", "deployments"),
            short_names=("deploy",),
            categories=_ALL,
            subresources=_STATUS_SCALE,
        ),
        replace(
            _in("apps", "v1", "ReplicaSet", "replicasets"),
            short_names=("rs",),
            categories=_ALL,
            subresources=_STATUS_SCALE,
            selectable=("status.replicas",),
        ),
        replace(
            _in("apps", "v1", "StatefulSet", "statefulsets"),
            short_names=("sts",),
            categories=_ALL,
            subresources=_STATUS_SCALE,
        ),
    ]


def _reviews() -> list[Kind]:
    """Questions: posted, answered, never stored."""
    asked = {"verbs": _CREATE_ONLY, "has_generation": False, "strategic_patch": False}
    access, identity = "authorization.k8s.io", "authentication.k8s.io"
    return [
        replace(_over(identity, "v1", "SelfSubjectReview", "selfsubjectreviews"), **asked),
        replace(_over(identity, "v1", "TokenReview", "tokenreviews"), **asked),
        replace(_in(access, "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews"), **asked),
        replace(_over(access, "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews"), **asked),
        replace(_over(access, "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews"), **asked),
        replace(_over(access, "v1", "SubjectAccessReview", "subjectaccessreviews"), **asked),
    ]


def _workloads() -> list[Kind]:
    hpa = replace(
        _in("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
        short_names=("hpa",),
        categories=_ALL,
        subresources=_STATUS,
        has_generation=False,
        acted_on=False,
    )
    bundle = replace(
        _over("certificates.k8s.io", "v1beta1", "ClusterTrustBundle", "clustertrustbundles"),
        selectable=("spec.signerName",),
        has_generation=False,
    )
    return [
        hpa,
        replace(hpa, version="v1", stored_version="v2"),
        replace(
            _in("batch", "v1", "CronJob", "cronjobs"),
            short_names=("cj",),
            categories=_ALL,
            subresources=_STATUS,
        ),
        replace(
            _in("batch", "v1", "Job", "jobs"),
            categories=_ALL,
            subresources=_STATUS,
            selectable=("status.successful",),
        ),
        replace(
            _in("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
            short_names=("pdb",),
            subresources=_STATUS,
            unconditional_update=False,
            acted_on=False,
        ),
        replace(
            _over("certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests"),
            short_names=("csr",),
            subresources=frozenset({"status", "approval"}),
            selectable=("spec.signerName",),
            has_generation=False,
            acted_on=False,
        ),
        bundle,
        replace(bundle, version="v1alpha1", stored_version="v1beta1"),
    ]


def _networking() -> list[Kind]:
    group = "networking.k8s.io"
    return [
        _over(group, "v1", "IngressClass", "ingressclasses"),
        replace(_in(group, "v1", "Ingress", "ingresses"), short_names=("ing",), subresources=_STATUS),
        replace(_over(group, "v1", "IPAddress", "ipaddresses"), short_names=("ip",)),
        replace(_in(group, "v1", "NetworkPolicy", "networkpolicies"), short_names=("netpol",), acted_on=False),
        replace(_over(group, "v1", "ServiceCIDR", "servicecidrs"), subresources=_STATUS),
        _in("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
    ]


def _rbac() -> list[Kind]:
    group = "rbac.authorization.k8s.io"
    flags = {"create_on_update": True, "has_generation": False}
    return [
        replace(_over(group, "v1", "ClusterRoleBinding", "clusterrolebindings"), **flags),
        replace(_over(group, "v1", "ClusterRole", "clusterroles"), **flags),
        replace(_in(group, "v1", "RoleBinding", "rolebindings"), **flags),
        replace(_in(group, "v1", "Role", "roles"), **flags),
    ]


def _storage() -> list[Kind]:
    group = "storage.k8s.io"
    stored = {"has_generation": False, "acted_on": False}
    strict = {**stored, "unconditional_update": False}
    return [
        replace(_over(group, "v1", "CSIDriver", "csidrivers"), **strict),
        replace(_over(group, "v1", "CSINode", "csinodes"), **strict),
        replace(_in(group, "v1", "CSIStorageCapacity", "csistoragecapacities"), **strict),
        replace(_over(group, "v1", "StorageClass", "storageclasses"), short_names=("sc",), has_generation=False),
        replace(_over(group, "v1", "VolumeAttachment", "volumeattachments"), subresources=_STATUS, **strict),
        replace(
            _over(group, "v1", "VolumeAttributesClass", "volumeattributesclasses"), short_names=("vac",), **stored
        ),
    ]


def _cluster() -> list[Kind]:
    return [
        replace(
            _over("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions"),
            short_names=("crd", "crds"),
            categories=("api-extensions",),
            subresources=_STATUS,
            unconditional_update=False,
        ),
        replace(_over("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses"), short_names=("pc",)),
        replace(
            _in("coordination.k8s.io", "v1", "Lease", "leases"),
            unconditional_update=False,
            create_on_update=True,
            has_generation=False,
        ),
        replace(
            _over("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses"),
            unconditional_update=False,
            create_on_update=True,
            has_generation=False,
        ),
        replace(
            _over("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema", "flowschemas"),
            subresources=_STATUS,
            acted_on=False,
        ),
        replace(
            _over("flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration", "prioritylevelconfigurations"),
            subresources=_STATUS,
            acted_on=False,
        ),
        replace(_over("resource.k8s.io", "v1", "DeviceClass", "deviceclasses"), acted_on=False),
        replace(
            _in("resource.k8s.io", "v1", "ResourceClaim", "resourceclaims"),
            subresources=_STATUS,
            has_generation=False,
            acted_on=False,
        ),
        replace(
            _in("resource.k8s.io", "v1", "ResourceClaimTemplate", "resourceclaimtemplates"),
            has_generation=False,
            acted_on=False,
        ),
        replace(
            _over("resource.k8s.io", "v1", "ResourceSlice", "resourceslices"),
            selectable=("spec.nodeName", "spec.driver"),
            acted_on=False,
        ),
    ]


def _devices() -> list[Kind]:
    """KubeEdge's kinds. Custom resources there, so clients send them merge patches here as well."""
    group = "devices.kubeedge.io"
    return [
        replace(
            _in(group, "v1beta1", "Device", "devices"),
            subresources=_STATUS | {"checkup", "desiredlog", "explain", "history", "line", "read"},
            strategic_patch=False,
            selectable=("spec.nodeName", "spec.deviceModelRef.name"),
        ),
        replace(_in(group, "v1beta1", "DeviceModel", "devicemodels"), strategic_patch=False),
        replace(_in(group, "v1beta1", "DeviceStatus", "devicestatuses"), subresources=_STATUS, strategic_patch=False),
    ]


def _rules() -> list[Kind]:
    """KubeEdge's kinds. Custom resources there, as devices are."""
    group = "rules.kubeedge.io"
    return [
        replace(_in(group, "v1", "Rule", "rules"), subresources=_STATUS, strategic_patch=False),
        replace(_in(group, "v1", "RuleEndpoint", "ruleendpoints"), short_names=("re",), strategic_patch=False),
    ]


def _applications() -> list[Kind]:
    """KubeEdge's kinds. Custom resources there, as devices are."""
    group = "apps.kubeedge.io"
    return [
        replace(
            _over(group, "v1alpha1", "NodeGroup", "nodegroups"),
            subresources=_STATUS,
            short_names=("ng",),
            strategic_patch=False,
        ),
        replace(
            _in(group, "v1alpha1", "EdgeApplication", "edgeapplications"),
            subresources=_STATUS,
            short_names=("eapp",),
            strategic_patch=False,
        ),
    ]


def _federation() -> list[Kind]:
    """KubeFed's kinds, custom resources there, and the ledger of its members. Federated* are made of types."""
    core, ours = "core.kubefed.io", "skerry.dev"
    custom = {"subresources": _STATUS, "strategic_patch": False}
    ledger = {**custom, "selectable": ("spec.member", "spec.remove")}
    return [
        replace(_in(core, "v1beta1", "KubeFedCluster", "kubefedclusters"), **custom),
        replace(_in(core, "v1beta1", "FederatedTypeConfig", "federatedtypeconfigs"), short_names=("ftc",), **custom),
        replace(_in(core, "v1beta1", "KubeFedConfig", "kubefedconfigs"), strategic_patch=False),
        replace(_in(core, "v1alpha1", "PropagatedVersion", "propagatedversions"), **custom),
        replace(_over(core, "v1alpha1", "ClusterPropagatedVersion", "clusterpropagatedversions"), **custom),
        replace(
            _in(
                "scheduling.kubefed.io",
                "v1alpha1",
                "ReplicaSchedulingPreference",
                "replicaschedulingpreferences",
            ),
            short_names=("rsp",),
            **custom,
        ),
        replace(_in(ours, "v1", "PlacementPolicy", "placementpolicies"), short_names=("pp",), **custom),
        replace(_in(ours, "v1", "RolloutPolicy", "rolloutpolicies"), short_names=("rop",), **custom),
        replace(_in(ours, "v1", "FederatedRevision", "federatedrevisions"), short_names=("frev",), **custom),
        replace(_over(ours, "v1", "MemberObject", "memberobjects"), short_names=("mobj",), **ledger),
        replace(_over(ours, "v1", "RegionObject", "regionobjects"), short_names=("robj",), **ledger),
    ]


def _skerry() -> list[Kind]:
    """What neither Kubernetes nor KubeEdge can say."""
    return [
        replace(
            _in("skerry.dev", "v1", "Command", "commands"),
            short_names=("cmd",),
            subresources=_STATUS,
            strategic_patch=False,
            selectable=("spec.nodeName", "status.phase"),
        ),
        replace(
            _in("skerry.dev", "v1", "RuleMessage", "rulemessages"),
            short_names=("rmsg",),
            subresources=_STATUS,
            strategic_patch=False,
            selectable=("spec.rule", "spec.nodeName", "status.phase"),
        ),
        replace(_in("skerry.dev", "v1", "Sink", "sinks"), subresources=_STATUS, strategic_patch=False),
        replace(
            _in("skerry.dev", "v1", "DeviceRule", "devicerules"),
            short_names=("drule",),
            subresources=_STATUS,
            strategic_patch=False,
            selectable=("spec.nodeName",),
        ),
    ]


def _names() -> list[Kind]:
    """What DNS is asked to answer: k8gb's, external-dns' and KubeFed's kinds, custom resources there, and ours."""
    kubefed = "multiclusterdns.kubefed.io"
    plain = {"subresources": _STATUS, "strategic_patch": False}
    return [
        replace(_in("k8gb.io", "v1beta1", "Gslb", "gslbs"), **plain),
        replace(_in("k8gb.absa.oss", "v1beta1", "Gslb", "gslbs"), **plain),
        replace(_in("externaldns.k8s.io", "v1alpha1", "DNSEndpoint", "dnsendpoints"), **plain),
        replace(_in(kubefed, "v1alpha1", "Domain", "domains"), strategic_patch=False),
        replace(_in(kubefed, "v1alpha1", "ServiceDNSRecord", "servicednsrecords"), **plain),
        replace(_in(kubefed, "v1alpha1", "IngressDNSRecord", "ingressdnsrecords"), **plain),
        replace(_in(kubefed, "v1alpha1", "DNSEndpoint", "dnsendpoints"), **plain),
        replace(_in("skerry.dev", "v1", "GlobalService", "globalservices"), short_names=("gsvc",), **plain),
        replace(_over("skerry.dev", "v1", "DnsZone", "dnszones"), short_names=("dzone",), **plain),
        replace(_over("skerry.dev", "v1", "DnsSnapshot", "dnssnapshots"), strategic_patch=False),
    ]


def _metrics() -> list[Kind]:
    """What is asked of gateways when somebody reads it, and never stored."""
    group, version = "metrics.k8s.io", "v1beta1"
    read = {"verbs": ("get", "list"), "has_generation": False, "strategic_patch": False}
    return [
        replace(_over(group, version, "NodeMetrics", "nodes"), **read),
        replace(_in(group, version, "PodMetrics", "pods"), **read),
    ]


def builtin_kinds() -> tuple[Kind, ...]:
    """Every built-in kind, in the order in which discovery lists groups and their versions (preferred first)."""
    events = replace(
        _in("events.k8s.io", "v1", "Event", "events"),
        short_names=("ev",),
        create_on_update=True,
        selectable=_NEW_EVENT_FIELDS,
        has_generation=False,
        storage="events",
    )
    return (
        *_core(),
        *_apps(),
        events,
        *_reviews(),
        *_workloads(),
        *_networking(),
        *_rbac(),
        *_storage(),
        *_cluster(),
        *_devices(),
        *_rules(),
        *_applications(),
        *_federation(),
        *_skerry(),
        *_names(),
        *_metrics(),
    )


def builtin_scheme() -> Scheme:
    """A scheme of the built-in kinds alone."""
    return Scheme(builtin_kinds())
