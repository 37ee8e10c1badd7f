"""What is wrong with an object, in Kubernetes' sentences, a room of functions by kind.

Structure was checked when the object was decoded; here is what the types do not say: names, ranges, references,
what may not change. Pure; keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeAlias

from cloudcore.registry.validation import (
    applications,
    certificates,
    cluster,
    commands,
    cron_jobs,
    definitions,
    device_rules,
    devices,
    federation,
    federation_config,
    gslb,
    job_status,
    jobs,
    multicluster_dns,
    rules,
    services,
    sinks,
    storage,
    workloads,
)
from skerry.errors import Cause
from skerry.objects.json import JsonObject
from skerry.objects.multicluster_dns import GROUP as _KUBEFED_DNS

Check: TypeAlias = "Callable[[JsonObject, JsonObject | None], Iterator[Cause]]"
"""(object, the one before or None) -> faults."""

_RBAC: Final = "rbac.authorization.k8s.io"

CHECKS: Final[Mapping[tuple[str, str], Check]] = {
    ("", "ConfigMap"): cluster.validate_config_map,
    ("", "Secret"): cluster.validate_secret,
    ("", "Namespace"): cluster.validate_namespace,
    ("", "Node"): cluster.validate_node,
    ("", "Event"): cluster.validate_event,
    ("events.k8s.io", "Event"): cluster.validate_event,
    ("", "PersistentVolumeClaim"): storage.validate_claim,
    ("", "PersistentVolume"): storage.validate_volume,
    ("", "Service"): services.validate_service,
    ("", "ReplicationController"): workloads.validate_replication_controller,
    ("apps", "Deployment"): workloads.validate_deployment,
    ("apps", "ReplicaSet"): workloads.validate_replicaset,
    ("apps", "StatefulSet"): workloads.validate_statefulset,
    ("apps", "DaemonSet"): workloads.validate_daemonset,
    ("batch", "Job"): jobs.validate_job,
    ("batch", "CronJob"): cron_jobs.validate_cron_job,
    ("discovery.k8s.io", "EndpointSlice"): services.validate_endpoint_slice,
    ("networking.k8s.io", "Ingress"): services.validate_ingress,
    (_RBAC, "Role"): cluster.validate_role,
    (_RBAC, "ClusterRole"): cluster.validate_role,
    (_RBAC, "RoleBinding"): cluster.validate_binding,
    (_RBAC, "ClusterRoleBinding"): cluster.validate_binding,
    ("coordination.k8s.io", "Lease"): cluster.validate_lease,
    ("certificates.k8s.io", "CertificateSigningRequest"): certificates.validate_signing_request,
    ("certificates.k8s.io", "ClusterTrustBundle"): certificates.validate_trust_bundle,
    ("scheduling.k8s.io", "PriorityClass"): cluster.validate_priority_class,
    ("node.k8s.io", "RuntimeClass"): cluster.validate_runtime_class,
    ("policy", "PodDisruptionBudget"): cluster.validate_disruption_budget,
    ("storage.k8s.io", "StorageClass"): storage.validate_storage_class,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): definitions.validate_definition,
    ("devices.kubeedge.io", "Device"): devices.validate_device,
    ("devices.kubeedge.io", "DeviceModel"): devices.validate_device_model,
    ("rules.kubeedge.io", "Rule"): rules.validate_rule,
    ("rules.kubeedge.io", "RuleEndpoint"): rules.validate_endpoint,
    ("apps.kubeedge.io", "NodeGroup"): applications.validate_node_group,
    ("apps.kubeedge.io", "EdgeApplication"): applications.validate_edge_application,
    ("core.kubefed.io", "KubeFedCluster"): federation.validate_member,
    ("core.kubefed.io", "FederatedTypeConfig"): federation.validate_type,
    ("core.kubefed.io", "KubeFedConfig"): federation_config.validate_config,
    ("scheduling.kubefed.io", "ReplicaSchedulingPreference"): federation.validate_preference,
    ("skerry.dev", "PlacementPolicy"): federation.validate_policy,
    ("skerry.dev", "RolloutPolicy"): federation.validate_rollout_policy,
    ("skerry.dev", "FederatedRevision"): federation.validate_revision,
    ("skerry.dev", "Command"): commands.validate_command,
    ("skerry.dev", "RuleMessage"): rules.validate_message,
    ("skerry.dev", "Sink"): sinks.validate_sink,
    ("skerry.dev", "DeviceRule"): device_rules.validate_device_rule,
    ("k8gb.io", "Gslb"): gslb.validate_gslb,
    ("k8gb.absa.oss", "Gslb"): gslb.validate_gslb,
    ("externaldns.k8s.io", "DNSEndpoint"): gslb.validate_dns_endpoint,
    (_KUBEFED_DNS, "DNSEndpoint"): gslb.validate_dns_endpoint,
    (_KUBEFED_DNS, "Domain"): multicluster_dns.validate_domain,
    (_KUBEFED_DNS, "ServiceDNSRecord"): multicluster_dns.validate_service_record,
    (_KUBEFED_DNS, "IngressDNSRecord"): multicluster_dns.validate_ingress_record,
    ("skerry.dev", "GlobalService"): gslb.validate_global_service,
    ("skerry.dev", "DnsZone"): gslb.validate_dns_zone,
}
"""(group, kind) -> faults, beyond those of metadata. Pods have their own, which knows of binding."""

STATUS_DECIDES: Final = frozenset({"certificatesigningrequests.certificates.k8s.io"})
"""Resources whose status is checked as well: it grants something."""

STATUS_CHECKS: Final[Mapping[tuple[str, str], Callable[[JsonObject, JsonObject], Iterator[Cause]]]] = {
    ("batch", "Job"): job_status.validate_job_status,
}
"""(group, kind) -> faults of a status that is written over another, where clients rely on it."""
