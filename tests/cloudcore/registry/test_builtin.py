"""Rules of built-in kinds: defaults, required fields, validation, in Kubernetes' words."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from cloudcore.api.protobuf import protobuf_decoder
from cloudcore.pki.certificates import issue_server, key_pem, new_authority
from cloudcore.registry.builtin import KindRules
from cloudcore.registry.custom import CustomKinds
from cloudcore.registry.kinds import builtin_kinds, builtin_scheme
from skerry.objects.json import Json, JsonObject, clone, dig, map_at, maps_at
from skerry.objects.scheme import Kind

SCHEME = builtin_scheme()
RULES = KindRules(CustomKinds(SCHEME))
KINDS = {kind.kind: kind for kind in reversed(builtin_kinds())}
RECORDED = Path(__file__).parent.parent / "api" / "fixtures" / "kubectl_1.33_bodies.json"


def meta(name: str = "x", **more: Json) -> JsonObject:
    return {"name": name, "namespace": "ns", **more}


def pod(**spec: Json) -> JsonObject:
    containers: list[Json] = [{"name": "c", "image": "nginx:1.27"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta(), "spec": {"containers": containers, **spec}}


def deployment(**spec: Json) -> JsonObject:
    template: JsonObject = {"metadata": {"labels": {"app": "web"}}, "spec": map_at(pod(), "spec")}
    whole: JsonObject = {"selector": {"matchLabels": {"app": "web"}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("web"), "spec": whole}


def faults(obj: JsonObject, old: JsonObject | None = None, subresource: str = "") -> list[str]:
    kind = KINDS[cast(str, obj["kind"])]
    done = RULES.filled(kind, RULES.defaulted(kind, obj))
    before = RULES.filled(kind, RULES.defaulted(kind, old)) if old is not None else None
    causes = RULES.validate(kind, done, before, cast(None, subresource) or "")
    return [f"{cause.field}: {cause.message}" for cause in causes]


def test_a_pod_gets_the_defaults_people_know() -> None:
    spec = map_at(RULES.defaulted(KINDS["Pod"], pod(volumes=[{"name": "v", "configMap": {"name": "c"}}])), "spec")
    assert {name: spec[name] for name in spec if name not in ("containers", "volumes")} == {
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
        "enableServiceLinks": True,
    }
    assert maps_at(spec, "containers") == [
        {
            "name": "c",
            "image": "nginx:1.27",
            "imagePullPolicy": "IfNotPresent",
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
        }
    ]
    assert dig(maps_at(spec, "volumes")[0], "configMap", "defaultMode") == 420


def test_a_deployment_gets_its_rollout() -> None:
    spec = map_at(RULES.defaulted(KINDS["Deployment"], deployment()), "spec")
    assert spec["replicas"] == 1
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
    }
    assert (spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (10, 600)


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("host:5000/nginx", "Always"),
        ("host:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:" + "0" * 64, "IfNotPresent"),
    ],
)
def test_an_image_that_may_change_is_always_pulled(image: str, policy: str) -> None:
    obj = pod(containers=[{"name": "c", "image": image}])
    done = RULES.defaulted(KINDS["Pod"], obj)
    assert maps_at(done, "spec", "containers")[0]["imagePullPolicy"] == policy


@pytest.mark.parametrize(
    ("resources", "qos"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
    ],
)
def test_a_pod_says_its_quality_of_service(resources: Json, qos: str) -> None:
    obj = pod(containers=[{"name": "c", "image": "i", "resources": resources}])
    assert map_at(RULES.defaulted(KINDS["Pod"], obj), "status")["qosClass"] == qos


def test_secrets_take_text_and_keep_base64() -> None:
    obj: JsonObject = {"kind": "Secret", "metadata": meta(), "stringData": {"a": "text"}, "data": {"b": "Yg=="}}
    done = RULES.defaulted(KINDS["Secret"], obj)
    assert done["data"] == {"a": base64.b64encode(b"text").decode(), "b": "Yg=="}
    assert done["type"] == "Opaque"
    assert "stringData" not in done


def test_a_service_targets_its_own_port() -> None:
    spec: JsonObject = {"ports": [{"port": 80}], "selector": {"a": "b"}}
    done = RULES.defaulted(KINDS["Service"], {"kind": "Service", "metadata": meta(), "spec": spec})
    assert maps_at(done, "spec", "ports") == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert map_at(done, "spec")["type"] == "ClusterIP"


@pytest.mark.parametrize("kind", builtin_kinds(), ids=lambda kind: f"{kind.kind}.{kind.group}.{kind.version}")
def test_defaulting_twice_changes_nothing(kind: Kind) -> None:
    once = RULES.filled(kind, RULES.defaulted(kind, {"metadata": {"name": "x"}, "spec": {}}))
    assert RULES.filled(kind, RULES.defaulted(kind, once)) == once


def test_defaulting_what_kubectl_sends_twice_changes_nothing() -> None:
    for recorded in json.loads(RECORDED.read_text()).values():
        obj = protobuf_decoder().decode(base64.b64decode(recorded["body"]))
        kind = KINDS.get(cast(str, obj["kind"]))
        if kind is not None:
            before = clone(obj)
            once = RULES.filled(kind, RULES.defaulted(kind, obj))
            assert RULES.filled(kind, RULES.defaulted(kind, once)) == once
            assert obj == before


def test_good_objects_have_no_faults() -> None:
    assert faults(pod()) == []
    assert faults(deployment()) == []
    for recorded in json.loads(RECORDED.read_text()).values():
        obj = protobuf_decoder().decode(base64.b64decode(recorded["body"]))
        if obj["kind"] in KINDS and "create" not in KINDS[obj["kind"]].verbs[:1]:
            assert faults(obj) == []


CONTAINER: JsonObject = {"name": "c", "image": "i"}
REFUSED: list[tuple[JsonObject, str]] = [
    (pod(containers=[]), "spec.containers: Required value"),
    (pod(containers=[{"name": "c"}]), "spec.containers[0].image: Required value"),
    (pod(containers=[CONTAINER, CONTAINER]), 'spec.containers[1].name: Duplicate value: "c"'),
    (
        pod(containers=[{**CONTAINER, "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]),
        'spec.containers[0].volumeMounts[0].name: Not found: "v"',
    ),
    (
        pod(containers=[{**CONTAINER, "ports": [{"containerPort": 70000}]}]),
        "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
    ),
    (
        pod(containers=[{**CONTAINER, "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}]),
        'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
    ),
    (
        pod(containers=[{**CONTAINER, "livenessProbe": {"periodSeconds": 5}}]),
        "spec.containers[0].livenessProbe: Required value: must specify a handler type",
    ),
    (
        pod(restartPolicy="Sometimes"),
        'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"',
    ),
    (
        pod(tolerations=[{"operator": "Equal"}]),
        (
            'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, '
            'which means "match all values and all keys"'
        ),
    ),
    (
        pod(securityContext={"sysctls": [{"name": "foo-", "value": "1"}]}),
        (
            'spec.securityContext.sysctls[0].name: Invalid value: "foo-": must have at most 253 characters and match '
            "regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
        ),
    ),
    (pod(volumes=[{"name": "v", "hostPath": {}}]), "spec.volumes[0].hostPath.path: Required value"),
    (deployment(replicas=-1), "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
    (
        deployment(selector={"matchLabels": {"app": "db"}}),
        'spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`',
    ),
    (
        deployment(strategy={"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}}),
        "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
    ),
    (
        {"kind": "ConfigMap", "metadata": meta("A_b")},
        'metadata.name: Invalid value: "A_b": a lowercase RFC 1123 subdomain must consist of lower case',
    ),
    (
        {"kind": "ConfigMap", "metadata": meta(), "data": {"a b": ""}},
        'data[a b]: Invalid value: "a b": a valid config key must consist of alphanumeric characters',
    ),
    (
        {"kind": "Secret", "metadata": meta(), "data": {"": "YQ=="}},
        'data[]: Invalid value: "": a valid config key must consist of alphanumeric characters',
    ),
    ({"kind": "Secret", "metadata": meta(), "type": "kubernetes.io/tls"}, "data[tls.crt]: Required value"),
    (
        {"kind": "ConfigMap", "metadata": meta(labels={"a/b/c": "x"})},
        'metadata.labels: Invalid value: "a/b/c": a valid label key',
    ),
    (
        {"kind": "ConfigMap", "metadata": meta(finalizers=["mine"])},
        'metadata.finalizers: Invalid value: "mine": name is neither a standard finalizer name nor is it fully',
    ),
    (
        {"kind": "Service", "metadata": meta("1x"), "spec": {"ports": [{"port": 1}]}},
        'metadata.name: Invalid value: "1x": a DNS-1035 label must consist of',
    ),
    (
        {"kind": "Role", "metadata": meta(), "rules": [{"verbs": ["get"], "resources": ["pods"]}]},
        "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
    ),
    (
        {"kind": "Lease", "metadata": meta(), "spec": {"leaseDurationSeconds": 0}},
        "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
    ),
    (
        {"kind": "CronJob", "metadata": meta(), "spec": {"schedule": "* *"}},
        'spec.schedule: Invalid value: "* *": expected exactly 5 fields, found 2: [* *]',
    ),
]


def signing_request(pem: bytes = b"", status: JsonObject | None = None, **spec: Json) -> JsonObject:
    framed = b"-----BEGIN CERTIFICATE REQUEST-----\nTUlJ\n-----END CERTIFICATE REQUEST-----\n"
    whole: JsonObject = {
        "request": base64.b64encode(pem or framed).decode(),
        "signerName": "example.com/signer",
        "usages": ["client auth"],
        **spec,
    }
    return {"kind": "CertificateSigningRequest", "metadata": {"name": "r"}, "spec": whole, "status": status or {}}


def test_a_signing_request_is_one_and_names_its_signer() -> None:
    assert faults(signing_request()) == []
    key = b"-----BEGIN PRIVATE KEY-----\nTUlJ\n-----END PRIVATE KEY-----\n"
    (fault,) = faults(signing_request(key))
    assert fault.endswith("PEM block type must be CERTIFICATE REQUEST") and fault.startswith("spec.request: ")
    assert faults(signing_request(usages=[])) == ["spec.usages: Required value: usages must be specified"]
    assert faults(signing_request(expirationSeconds=599)) == [
        "spec.expirationSeconds: Invalid value: 599: must be greater than or equal to 600"
    ]
    for name in ("signer", "example.com/", "com/signer", "Example.com/signer"):
        (fault,) = faults(signing_request(signerName=name))
        assert fault.startswith(f'spec.signerName: Invalid value: "{name}"')
    assert faults(signing_request(usages=["client auth", "fun", "client auth"]))[1:] == [
        'spec.usages[2]: Duplicate value: "client auth"'
    ]


def test_a_signing_request_is_either_approved_or_denied_and_issued_in_pem() -> None:
    def told(*conditions: JsonObject, certificate: bytes = b"") -> list[str]:
        status: JsonObject = {"conditions": [*conditions], "certificate": base64.b64encode(certificate).decode()}
        return faults(signing_request(status=status), signing_request(), "approval")

    approved: JsonObject = {"type": "Approved", "status": "True"}
    block = b"-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n"
    assert told(approved, certificate=block * 2) == []
    assert told(approved, {"type": "Denied", "status": "True"}) == [
        'status.conditions[1].type: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive'
    ]
    assert told(approved, approved) == ['status.conditions[1].type: Duplicate value: "Approved"']
    assert told({**approved, "status": "False"})[0].startswith(
        'status.conditions[0].status: Unsupported value: "False"'
    )
    assert told({"type": "Other"}) == ["status.conditions[0].status: Required value"]
    assert told(approved, certificate=b"\n" + block + b"\n\n" + block) == []
    for wrong in (block.replace(b"CERTIFICATE", b"PRIVATE KEY"), b" " * 1_000_000 + b"x"):
        (fault,) = told(approved, certificate=block + wrong)
        assert fault.startswith("status.certificate: Invalid value")


@pytest.mark.parametrize(("obj", "text"), REFUSED, ids=[text.partition(":")[0] for _, text in REFUSED])
def test_a_faulty_object_is_refused_in_the_words_of_kubernetes(obj: JsonObject, text: str) -> None:
    found = faults(obj)
    assert any(fault.startswith(text) for fault in found), found


def test_a_pods_spec_stays_but_for_what_may_change() -> None:
    old = pod()
    image = pod(containers=[{"name": "c", "image": "nginx:1.28"}], activeDeadlineSeconds=5)
    assert faults(image, old) == []
    assert faults(pod(tolerations=[{"operator": "Exists"}]), old) == []
    assert faults(pod(containers=[{"name": "c", "image": ""}]), old)[0] == "spec.containers[0].image: Required value"
    moved = faults(pod(nodeName="n"), old)
    assert moved[0].startswith(
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
    )
    assert faults(pod(nodeName="n"), old, "binding") == []


def test_what_was_chosen_once_stays() -> None:
    def sealed(**data: Json) -> JsonObject:
        return {"kind": "ConfigMap", "metadata": meta(), "immutable": True, "data": data}

    assert faults(sealed(a="2"), sealed(a="1")) == ["data: Forbidden: field is immutable when `immutable` is set"]
    other = deployment(selector={"matchLabels": {"app": "web", "b": "c"}})
    assert any(text.endswith("field is immutable") for text in faults(other, deployment()))
    high: JsonObject = {"kind": "PriorityClass", "metadata": {"name": "p"}, "value": 1}
    assert faults({**high, "value": 2}, high) == ["value: Forbidden: may not be changed in an update."]


def test_a_config_map_over_a_mebibyte_is_too_long() -> None:
    obj: JsonObject = {"kind": "ConfigMap", "metadata": meta(), "data": {"a": "x" * (1024 * 1024 + 1)}}
    assert faults(obj) == [": Too long: may not be more than 1048576 bytes"]


def device(config: JsonObject, **spec: Json) -> JsonObject:
    prop: JsonObject = {"name": "t", "visitors": {"protocolName": "modbus", "configData": config}}
    whole: JsonObject = {"deviceModelRef": {"name": "m"}, "nodeName": "n", "properties": [prop], **spec}
    return {"kind": "Device", "metadata": meta(), "spec": whole}


def test_a_devices_registers_are_checked_and_the_fix_is_named() -> None:
    good: JsonObject = {"register": "HoldingRegister", "offset": 2, "limit": 1, "scale": 0.1, "isSwap": True}
    assert faults(device(good)) == []
    here = "spec.properties[0].visitors.configData"
    assert faults(device({**good, "register": "Holding"})) == [
        (
            f'{here}.register: Invalid value: "Holding": must be one of CoilRegister, DiscreteInputRegister, '
            "InputRegister, HoldingRegister; its number goes to offset"
        )
    ]
    assert faults(device({**good, "offset": 70000})) == [
        f"{here}.offset: Invalid value: 70000: must be a whole number from 0 to 65535"
    ]
    assert faults(device({**good, "scale": 0}))[0].startswith(f"{here}.scale: Invalid value: 0")
    twice = device(good)
    maps_at(twice, "spec", "properties")
    properties = cast(list[Json], map_at(twice, "spec")["properties"])
    properties.append(clone(cast(JsonObject, properties[0])))
    assert faults(twice) == ['spec.properties[1].name: Duplicate value: "t"']


def test_a_device_model_that_writes_an_input_register_is_refused() -> None:
    prop: JsonObject = {
        "name": "t",
        "type": "INT",
        "accessMode": "ReadWrite",
        "minimum": "5",
        "maximum": "1",
        "visitors": {"protocolName": "modbus", "configData": {"register": "InputRegister"}},
    }
    obj: JsonObject = {
        "kind": "DeviceModel",
        "metadata": meta(),
        "spec": {"properties": [prop], "protocol": "modbus"},
    }
    assert faults(obj) == [
        'spec.properties[0].minimum: Invalid value: "5": must not be over maximum 1',
        (
            'spec.properties[0].accessMode: Invalid value: "ReadWrite": InputRegister can\'t be written: '
            "use HoldingRegister or CoilRegister, or accessMode ReadOnly"
        ),
    ]


def test_writers_of_kinds_that_nothing_acts_on_are_told() -> None:
    assert RULES.warnings(KINDS["ResourceQuota"], {}, None)
    assert not RULES.warnings(KINDS["ResourceQuota"], {}, {})
    assert not RULES.warnings(KINDS["Deployment"], {}, None)


def with_spec(obj: JsonObject, **fields: Json) -> JsonObject:
    return {**obj, "spec": {**map_at(obj, "spec"), **fields}}


def debugger(**fields: Json) -> JsonObject:
    return {"name": "debugger", "image": "busybox", "stdin": True, "tty": True, **fields}


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"name": "c"}, 'spec.ephemeralContainers[0].name: Duplicate value: "c"'),
        ({"targetContainerName": "x"}, 'spec.ephemeralContainers[0].targetContainerName: Not found: "x"'),
        ({"ports": [{"containerPort": 1}]}, "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an"),
        ({"resources": {"limits": {"cpu": "1"}}}, "spec.ephemeralContainers[0].resources: Forbidden: cannot be"),
        ({"livenessProbe": {"exec": {"command": ["x"]}}}, "spec.ephemeralContainers[0].livenessProbe: Forbidden:"),
        ({"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}, "spec.ephemeralContainers[0].lifecycle: Forbidden"),
        (
            {"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "a"}]},
            "spec.ephemeralContainers[0].volumeMounts[0].subPath: Forbidden: cannot be set for an",
        ),
    ],
)
def test_an_ephemeral_container_is_nothing_that_others_rely_on(fields: JsonObject, fault: str) -> None:
    old = pod(volumes=[{"name": "v", "emptyDir": {}}])
    found = faults(with_spec(old, ephemeralContainers=[debugger(**fields)]), old, "ephemeralcontainers")
    assert len(found) == 1
    assert found[0].startswith(fault)


def test_ephemeral_containers_are_added_to_a_pod_that_runs_and_stay_as_they_are() -> None:
    old = pod()
    one = with_spec(old, ephemeralContainers=[debugger(targetContainerName="c")])
    two = with_spec(old, ephemeralContainers=[debugger(name="second"), debugger(targetContainerName="c")])
    assert faults(one, old, "ephemeralcontainers") == faults(two, one, "ephemeralcontainers") == []
    assert faults(one) == ["spec.ephemeralContainers: Forbidden: cannot be set on create"]
    assert "spec.ephemeralContainers" in faults(one, old)[0]
    (removed,) = faults(with_spec(old), one, "ephemeralcontainers")
    assert 'existing ephemeral containers "debugger" may not be removed' in removed
    (changed,) = faults(with_spec(old, ephemeralContainers=[debugger(image="x")]), one, "ephemeralcontainers")
    assert 'existing ephemeral containers "debugger" may not be changed' in changed
    template: JsonObject = {"metadata": {"labels": {"app": "web"}}, "spec": map_at(one, "spec")}
    assert "ephemeral containers not allowed in pod template" in faults(deployment(template=template))[0]


def sized(**fields: Json) -> JsonObject:
    resources: JsonObject = {"requests": {"cpu": "1", "memory": "64Mi"}, "limits": {"cpu": "2"}}
    return pod(containers=[{"name": "c", "image": "nginx:1.27", "resources": resources, **fields}])


@pytest.mark.parametrize(
    ("resources", "fault"),
    [
        ({"requests": {"cpu": "2", "memory": "32Mi"}, "limits": {"cpu": "3", "memory": "64Mi"}}, ""),
        ({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}, "resource requests cannot be removed"),
        ({"requests": {"cpu": "1", "memory": "64Mi"}}, "resource limits cannot be removed"),
        ({"requests": {"cpu": "3", "memory": "64Mi"}, "limits": {"cpu": "2"}}, "must be less than or equal to cpu"),
        (
            {"requests": {"cpu": "2", "memory": "64Mi"}, "limits": {"cpu": "2", "memory": "64Mi"}},
            "Pod QOS Class may not change as a result of resizing",
        ),
        (
            {"requests": {"cpu": "1", "memory": "64Mi", "x.io/y": "1"}, "limits": {"cpu": "2", "x.io/y": "1"}},
            "only cpu and memory resources are mutable",
        ),
    ],
)
def test_a_resize_changes_cpu_and_memory_and_never_the_class(resources: JsonObject, fault: str) -> None:
    found = faults(sized(resources=resources), sized(), "resize")
    assert (fault in found[0]) if fault else not found


def test_a_resize_is_of_what_runs_on_and_changes_nothing_else() -> None:
    other: JsonObject = {"requests": {"cpu": "2"}}
    twice = pod(containers=[{"name": "c", "image": "x"}, {"name": "d", "image": "x"}])
    turned = pod(containers=[{"name": "d", "image": "x"}, {"name": "c", "image": "x"}])
    assert faults(turned, twice, "resize") == [
        "spec: Forbidden: containers may not be renamed or reordered on resize"
    ]
    init = pod(initContainers=[{"name": "i", "image": "x", "resources": {"requests": {"cpu": "1"}}}])
    resized = pod(initContainers=[{"name": "i", "image": "x", "resources": other}])
    assert "only cpu and memory resources for sidecar containers are mutable" in faults(resized, init, "resize")[0]
    policy: Json = [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]
    assert "only cpu and memory resources" in faults(sized(resizePolicy=policy), sized(), "resize")[0]
    assert faults(sized(resizePolicy=policy)) == []
    assert "pod updates may not change fields" in faults(sized(resources=other), sized())[0]


@pytest.mark.parametrize(
    ("policy", "fault"),
    [
        ([{"resourceName": "disk", "restartPolicy": "NotRequired"}], 'Unsupported value: "disk"'),
        ([{"resourceName": "cpu", "restartPolicy": "Sometimes"}], 'Unsupported value: "Sometimes"'),
        ([{"resourceName": "cpu", "restartPolicy": "NotRequired"}] * 2, 'Duplicate value: "cpu"'),
        (
            [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}],
            "must be 'NotRequired' when `restartPolicy`",
        ),
    ],
)
def test_a_resize_policy_is_checked(policy: Json, fault: str) -> None:
    asked = with_spec(sized(resizePolicy=policy), restartPolicy="Never")
    assert fault in faults(asked)[0]


def trust_bundle(name: str, text: str, signer: str = "") -> JsonObject:
    spec: JsonObject = {"trustBundle": text, **({"signerName": signer} if signer else {})}
    return {"kind": "ClusterTrustBundle", "metadata": {"name": name}, "spec": spec}


def test_a_trust_bundle_holds_authorities_each_once_under_the_name_of_its_signer() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    authority, other = (new_authority(name=name, now=now) for name in ("a", "b"))
    leaf = issue_server(authority, names=["x"], now=now).certificate_pem
    both = authority.pem + "a remark\n" + other.pem
    assert faults(trust_bundle("plain", both)) == []
    assert faults(trust_bundle("acme.example:root:live", both, "acme.example/root")) == []
    where = "spec.trustBundle: Invalid value: "
    for text, words in (
        ("", "at least one trust anchor must be provided"),
        (authority.pem * 2, "duplicate trust anchor (indices [0 1])"),
        (other.pem + leaf, "entry 1 does not have the CA bit set"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "entry 0 does not parse as X.509"),
        (key_pem(authority.key), "entry 0 has bad block type: PRIVATE KEY"),
    ):
        (fault,) = faults(trust_bundle("plain", text))
        assert fault.startswith(where) and fault.endswith(words), fault
    (fault,) = faults(trust_bundle("acme.example:other:live", both, "acme.example/root"))
    assert fault.endswith("must be named with prefix acme.example:root:")
    (fault,) = faults(trust_bundle("acme:x", both))
    assert fault.endswith('ClusterTrustBundle without signer name must not have ":" in its name')
    linked = trust_bundle("acme.example:root:live", both, "acme.example/root")
    assert any("field is immutable" in each for each in faults(trust_bundle("plain", both), linked))


def test_a_trust_bundle_of_blocks_without_an_end_is_looked_at_once() -> None:
    text = "-----BEGIN CERTIFICATE-----\n" * 36_000
    (fault,) = faults(trust_bundle("plain", text))
    assert fault.endswith("at least one trust anchor must be provided")
    block = "-----BEGIN X-----\n-----END X-----\n"
    (fault,) = faults(trust_bundle("plain", block * 3_000))
    assert fault.endswith("must have at most 2048 entries")


def test_a_trust_bundle_whose_extensions_cannot_be_read_is_refused() -> None:
    (fault,) = faults(trust_bundle("plain", twice_the_same_extension()))
    assert fault.endswith("entry 0 does not parse as X.509")


def twice_the_same_extension() -> str:
    """An authority that says its subjectKeyIdentifier's extension as a second basicConstraints."""
    lines = new_authority(name="a", now=datetime(2026, 1, 1, tzinfo=UTC)).pem.splitlines()
    der = base64.b64decode("".join(lines[1:-1]))
    usage, constraints = bytes.fromhex("0603551d0f"), bytes.fromhex("0603551d13")
    assert usage in der and constraints in der
    changed = base64.encodebytes(der.replace(usage, constraints)).decode()
    return f"{lines[0]}\n{changed}{lines[-1]}\n"


def test_a_template_that_an_older_release_took_is_judged_only_where_it_changes() -> None:
    odd: JsonObject = {"metadata": {"labels": {"app": "web"}}, "spec": map_at(pod(restartPolicy="Sometimes"), "spec")}
    old = deployment(template=odd)
    assert len(faults(old)) == 2
    assert faults(deployment(template=odd, replicas=3), old) == []
    other: JsonObject = {"metadata": {"labels": {"app": "web", "a": "b"}}, "spec": odd["spec"]}
    assert len(faults(deployment(template=other), old)) == 2
