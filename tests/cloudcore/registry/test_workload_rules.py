"""What DaemonSets, StatefulSets and ReplicationControllers may say, in Kubernetes' words."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from cloudcore.registry.validation.workloads import (
    validate_daemonset,
    validate_replication_controller,
    validate_statefulset,
)

POD: Any = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {
        "restartPolicy": "Always",
        "dnsPolicy": "ClusterFirst",
        "containers": [
            {"name": "c", "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"},
        ],
    },
}
SELECTOR: Any = {"matchLabels": {"a": "b"}}


def spec(base: Any, fields: Any) -> Any:
    return {"spec": {**deepcopy(base), **{name: value for name, value in fields.items() if value is not None}}}


def daemon(**fields: Any) -> Any:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}
    return spec({"selector": SELECTOR, "template": POD, "updateStrategy": rolling}, fields)


def rolling(**fields: Any) -> Any:
    return {"type": "RollingUpdate", "rollingUpdate": fields}


def words(causes: Any) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in causes]


PERCENT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%', or '93%', regex used for "
    "validation is '[0-9]+%')"
)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, []),
        ({"updateStrategy": {"type": "OnDelete"}}, []),
        ({"updateStrategy": rolling(maxUnavailable="0%", maxSurge="20%")}, []),
        ({"updateStrategy": {"type": "RollingUpdate"}}, ["spec.updateStrategy.rollingUpdate: Required value"]),
        (
            {"updateStrategy": {"type": "Never"}},
            [
                (
                    'spec.updateStrategy: Unsupported value: {"type":"Never"}: supported values: '
                    '"RollingUpdate", "OnDelete"'
                )
            ],
        ),
        (
            {"updateStrategy": rolling(maxUnavailable=0, maxSurge="0%")},
            ["spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"],
        ),
        (
            {"updateStrategy": rolling(maxUnavailable=1, maxSurge=1)},
            [
                (
                    "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: "
                    "may not be set when maxUnavailable is non-zero"
                )
            ],
        ),
        (
            {"updateStrategy": rolling(maxUnavailable="a", maxSurge=0)},
            [f'spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: "a": {PERCENT}'],
        ),
        (
            {"updateStrategy": rolling(maxUnavailable=0, maxSurge="101%")},
            ['spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: "101%": must not be greater than 100%'],
        ),
        (
            {"minReadySeconds": -1},
            ["spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            {"revisionHistoryLimit": -1},
            ["spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0"],
        ),
        ({"selector": {}}, ["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"]),
        (
            {"selector": {"matchLabels": {"a": "c"}}},
            ['spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`'],
        ),
        (
            {"template": {**POD, "spec": {**POD["spec"], "restartPolicy": "Never"}}},
            ['spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"'],
        ),
        (
            {"template": {**POD, "spec": {**POD["spec"], "activeDeadlineSeconds": 1}}},
            [
                (
                    "spec.template.spec.activeDeadlineSeconds: Forbidden: "
                    "activeDeadlineSeconds in DaemonSet is not Supported"
                )
            ],
        ),
    ],
)
def test_a_daemon_set_is_refused_in_kubernetes_words(fields: Any, said: list[str]):
    assert words(validate_daemonset(daemon(**fields), None)) == said


def test_a_daemon_sets_selector_stays():
    labels = {"matchExpressions": [{"key": "a", "operator": "Exists"}]}
    assert len(words(validate_daemonset(daemon(selector=labels), daemon()))) == 1
    assert words(validate_daemonset(daemon(minReadySeconds=3), daemon())) == []


def stateful(**fields: Any) -> Any:
    base = {
        "selector": SELECTOR,
        "template": POD,
        "serviceName": "s",
        "podManagementPolicy": "OrderedReady",
        "updateStrategy": rolling(partition=0),
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
    }
    return spec(base, fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, []),
        ({"updateStrategy": {"type": "OnDelete"}}, []),
        ({"updateStrategy": rolling(partition=2, maxUnavailable="30%")}, []),
        ({"podManagementPolicy": ""}, ["spec.podManagementPolicy: Required value"]),
        (
            {"podManagementPolicy": "Any"},
            ["spec.podManagementPolicy: Invalid value: \"Any\": must be 'OrderedReady' or 'Parallel'"],
        ),
        ({"updateStrategy": {}}, ["spec.updateStrategy.type: Required value"]),
        (
            {"updateStrategy": {"type": "Recreate"}},
            ["spec.updateStrategy: Invalid value: {\"type\":\"Recreate\"}: must be 'RollingUpdate' or 'OnDelete'"],
        ),
        (
            {"updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}},
            [
                (
                    'spec.updateStrategy.rollingUpdate: Invalid value: {"partition":1}: '
                    "only allowed for updateStrategy 'RollingUpdate'"
                )
            ],
        ),
        (
            {"updateStrategy": rolling(partition=-1)},
            ["spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            {"updateStrategy": rolling(maxUnavailable=0)},
            ["spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0"],
        ),
        (
            {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Drop"}},
            [
                (
                    'spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: "Drop": '
                    'supported values: "Retain", "Delete"'
                )
            ],
        ),
        ({"replicas": -1}, ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
        (
            {"ordinals": {"start": -1}},
            ["spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0"],
        ),
        ({"selector": {}}, ["spec.selector: Invalid value: {}: empty selector is invalid for statefulset"]),
    ],
)
def test_a_stateful_set_is_refused_in_kubernetes_words(fields: Any, said: list[str]):
    assert words(validate_statefulset(stateful(**fields), None)) == said


def test_most_of_a_stateful_set_stays_as_it_was_made():
    assert words(validate_statefulset(stateful(replicas=2, ordinals={"start": 5}), stateful())) == []
    [said] = words(validate_statefulset(stateful(serviceName="other"), stateful()))
    assert said == (
        "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
        "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' "
        "are forbidden"
    )


def test_a_replication_controller_is_refused_in_kubernetes_words():
    def said(**fields: Any) -> list[str]:
        return words(validate_replication_controller(spec({"selector": {"a": "b"}, "template": POD}, fields), None))

    assert said() == []
    assert said(selector={}) == ["spec.selector: Required value"]
    assert said(replicas=-1, minReadySeconds=-2) == [
        "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        "spec.minReadySeconds: Invalid value: -2: must be greater than or equal to 0",
    ]


def test_containers_of_a_stateful_set_may_mount_what_it_claims():
    container = {**POD["spec"]["containers"][0], "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    template = {**POD, "spec": {**POD["spec"], "containers": [container]}}
    claims = [{"metadata": {"name": "data"}, "spec": {}}]
    assert words(validate_statefulset(stateful(template=template, volumeClaimTemplates=claims), None)) == []
    assert words(validate_statefulset(stateful(template=template), None)) == [
        'spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data"'
    ]
