from __future__ import annotations

import pytest

from skerry.objects.json import Json, JsonObject
from skerry.validation.pods import validate_pod, validate_pod_spec

ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
BOX: JsonObject = {
    "name": "c",
    "image": "i",
    "imagePullPolicy": "Always",
    "terminationMessagePolicy": "File",
}


def faults(**spec: Json) -> list[str]:
    whole: JsonObject = {"containers": [BOX], "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", **spec}
    return [f"{cause.field.removeprefix('spec.')}: {cause.message}" for cause in validate_pod_spec("spec", whole)]


def boxed(**more: Json) -> list[Json]:
    return [{**BOX, **more}]


def mounted(**more: Json) -> dict[str, Json]:
    mount: JsonObject = {"name": "v", "mountPath": "/v", **more}
    return {"containers": boxed(volumeMounts=[mount]), "volumes": [{"name": "v", "emptyDir": {}}]}


def projected(*sources: JsonObject) -> dict[str, Json]:
    return {"volumes": [{"name": "v", "projected": {"sources": [*sources]}}]}


def items(*found: JsonObject) -> dict[str, Json]:
    return {"volumes": [{"name": "v", "downwardAPI": {"items": [*found]}}]}


AGAIN: JsonObject = {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
SLEEPS: JsonObject = {"preStop": {"sleep": {"seconds": 31}}}
ASKS: JsonObject = {"exec": {"command": ["true"]}, "terminationGracePeriodSeconds": 1}
HEADED: JsonObject = {"httpGet": {"port": 80, "scheme": "HTTP", "httpHeaders": [{"name": "a b", "value": "x"}]}}
TERMS = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"


def bound_for(**field: Json) -> dict[str, Json]:
    term: JsonObject = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["gw-1"], **field}]}
    needed: JsonObject = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"affinity": {"nodeAffinity": needed}}


REFUSED: list[tuple[dict[str, Json], str]] = [
    ({"hostAliases": [{"ip": "no", "hostnames": ["a"]}]}, f'hostAliases[0].ip: Invalid value: "no": {ADDRESS}'),
    (
        {"hostAliases": [{"ip": "::1", "hostnames": ["a_b"]}]},
        'hostAliases[0].hostnames[0]: Invalid value: "a_b": a low',
    ),
    ({"dnsConfig": {"nameservers": ["one.test"]}}, f'dnsConfig.nameservers[0]: Invalid value: "one.test": {ADDRESS}'),
    (
        {"dnsConfig": {"nameservers": ["::1", "::2", "::3", "::4"]}},
        'dnsConfig.nameservers: Invalid value: ["::1","::2","::3","::4"]: must not have more than 3 nameservers',
    ),
    ({"dnsConfig": {"searches": ["a", "b c"]}}, 'dnsConfig.searches[1]: Invalid value: "b c": a lowercase RFC 1123'),
    ({"dnsConfig": {"options": [{"value": "1"}]}}, "dnsConfig.options[0]: Required value: must not be empty"),
    (
        bound_for(operator="Exists"),
        f'{TERMS}[0].matchFields[0].operator: Invalid value: "Exists": not a valid selector operator',
    ),
    (
        bound_for(values=["a", "b"]),
        f"{TERMS}[0].matchFields[0].values: Required value: must be only one value when `operator` is",
    ),
    (
        bound_for(key="metadata.uid"),
        f'{TERMS}[0].matchFields[0].key: Invalid value: "metadata.uid": not a valid field selector key',
    ),
    (bound_for(values=["A"]), f'{TERMS}[0].matchFields[0].values[0]: Invalid value: "A": a lowercase RFC 1123'),
    ({"readinessGates": [{"conditionType": "a b"}]}, 'readinessGates[0].conditionType: Invalid value: "a b": name p'),
    ({"schedulingGates": [{"name": "a/b"}, {"name": "a/b"}]}, 'schedulingGates[1]: Duplicate value: "a/b"'),
    (
        {"containers": boxed(lifecycle=SLEEPS), "terminationGracePeriodSeconds": 30},
        (
            "containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than "
            "terminationGracePeriodSeconds (30)"
        ),
    ),
    (
        {"containers": boxed(readinessProbe=ASKS)},
        (
            "containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 1: must not be set for "
            "readinessProbes"
        ),
    ),
    (
        {"containers": boxed(startupProbe=HEADED)},
        'containers[0].startupProbe.httpGet.httpHeaders: Invalid value: "a b": a valid HTTP header must consist of',
    ),
    (
        {"containers": boxed(restartPolicyRules=[AGAIN])},
        "containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used",
    ),
    (
        {"containers": boxed(restartPolicy="Never", restartPolicyRules=[{**AGAIN, "action": "All"}])},
        'containers[0].restartPolicyRules[0].action: Unsupported value: "All": supported values: "Restart"',
    ),
    (
        {"containers": boxed(restartPolicy="Never", restartPolicyRules=[{"action": "Restart"}])},
        "containers[0].restartPolicyRules[0].exitCodes: Required value: must be specified",
    ),
    (
        {"hostAliases": [{"ip": "fe80::1%eth0", "hostnames": ["a"]}]},
        'hostAliases[0].ip: Invalid value: "fe80::1%eth0": must be a valid IP address',
    ),
    (
        {"dnsConfig": {"nameservers": ["10.0.0.256"]}},
        'dnsConfig.nameservers[0]: Invalid value: "10.0.0.256": must be a valid IP address',
    ),
    (
        {"containers": boxed(restartPolicy="Sometimes")},
        'containers[0].restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Nev',
    ),
    (
        mounted(mountPropagation="Bidirectional"),
        (
            "containers[0].volumeMounts[0].mountPropagation: Forbidden: Bidirectional mount propagation is available "
            "only to privileged containers"
        ),
    ),
    (
        mounted(recursiveReadOnly="Enabled"),
        "containers[0].volumeMounts[0].recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
    ),
    (
        {"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "-1"}}]},
        "volumes[0].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity",
    ),
    (
        items({"path": "x"}),
        "volumes[0].downwardAPI.items[0]: Required value: one of fieldRef and resourceFieldRef is",
    ),
    (
        items({"path": "x", "fieldRef": {"fieldPath": "status.podIP"}}),
        'volumes[0].downwardAPI.items[0].fieldRef.fieldPath: Unsupported value: "status.podIP": supported values:',
    ),
    (
        items({"path": "x", "resourceFieldRef": {"resource": "limits.cpu"}}),
        "volumes[0].downwardAPI.items[0].resourceFieldRef.containerName: Required value",
    ),
    (
        items({"path": "../x", "fieldRef": {"fieldPath": "metadata.name"}}),
        "volumes[0].downwardAPI.items[0].path: Invalid value: \"../x\": must not contain '..'",
    ),
    (
        projected(
            {"configMap": {"name": "a", "items": [{"key": "k", "path": "x"}]}},
            {"secret": {"name": "b", "items": [{"key": "k", "path": "x"}]}},
        ),
        'volumes[0].projected.sources[1].secret: Invalid value: "x": conflicting duplicate paths',
    ),
    (
        projected(
            {"secret": {"name": "b", "items": [{"key": "k", "path": "x"}]}},
            {"clusterTrustBundle": {"name": "a", "path": "x"}},
        ),
        'volumes[0].projected.sources[1].clusterTrustBundle: Invalid value: "x": conflicting duplicate paths',
    ),
    (
        projected({"serviceAccountToken": {"path": "t", "expirationSeconds": 5}}),
        (
            "volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 5: may not "
            "specify a duration less than 10 minutes"
        ),
    ),
]


@pytest.mark.parametrize(("spec", "fault"), REFUSED, ids=[fault.split(":")[0] for _, fault in REFUSED])
def test_what_makes_no_sense_is_refused_in_kubernetes_words(spec: dict[str, Json], fault: str) -> None:
    told = faults(**spec)
    assert len(told) == 1 and told[0].startswith(fault), told


GOOD: list[dict[str, Json]] = [
    {},
    {"hostAliases": [{"ip": "::1", "hostnames": ["a.b"]}]},
    {"dnsConfig": {"nameservers": ["10.0.0.1"], "searches": ["a_b.c.", "."], "options": [{"name": "ndots"}]}},
    {"dnsConfig": {"nameservers": ["10.000.0.01"]}, "hostAliases": [{"ip": "010.0.0.08", "hostnames": ["a"]}]},
    projected({"serviceAccountToken": {"path": "t"}}, {"serviceAccountToken": {"path": "t", "audience": "a"}}),
    {"initContainers": [{**BOX, "name": "i", "restartPolicy": "Always", "restartPolicyRules": [AGAIN]}]},
    {"readinessGates": [{"conditionType": "example.com/load"}]},
    {"containers": boxed(lifecycle=SLEEPS), "terminationGracePeriodSeconds": 31},
    {"containers": boxed(livenessProbe=ASKS)},
    {"containers": boxed(restartPolicy="Never", restartPolicyRules=[AGAIN])},
    {"initContainers": [{**BOX, "name": "i", "restartPolicy": "OnFailure"}]},
    mounted(mountPropagation="HostToContainer"),
    mounted(recursiveReadOnly="IfPossible", readOnly=True, mountPropagation="None"),
    items({"path": "x", "fieldRef": {"fieldPath": "metadata.labels['a']"}, "mode": 0o400}),
]


@pytest.mark.parametrize("spec", GOOD)
def test_what_makes_sense_is_taken(spec: dict[str, Json]) -> None:
    assert faults(**spec) == []


def test_who_is_held_by_a_gate_is_nowhere_yet() -> None:
    spec: JsonObject = {"nodeName": "n", "schedulingGates": [{"name": "a/b"}]}
    told = [f"{cause.field}: {cause.message}" for cause in validate_pod({"spec": spec}, new=True)]
    assert "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared" in told
    told = [cause.field for cause in validate_pod({"spec": spec}, new=False)]
    assert "spec.nodeName" not in told
