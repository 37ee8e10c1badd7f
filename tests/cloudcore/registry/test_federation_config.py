"""What a KubeFedConfig may not say: each fault is told with its field."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcore.registry.validation.federation_config import validate_config
from skerry.objects.federation_config import default_config


def config(**spec: Any) -> Any:
    obj: Any = {"metadata": {"name": "kubefed"}, "spec": {"scope": "Cluster", **spec}}
    default_config(obj)
    return obj


def faults(**spec: Any) -> list[tuple[str, str]]:
    return [(cause.field, cause.message) for cause in validate_config(config(**spec), None)]


def test_one_that_says_no_more_than_its_scope_is_good() -> None:
    assert faults() == []
    assert faults(scope="Namespaced") == []
    old = [
        {"name": name, "configuration": "Enabled"} for name in ("CrossClusterServiceDiscovery", "FederatedIngress")
    ]
    assert faults(featureGates=old) == [], "of KubeFed before v0.7"


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({"scope": ""}, "scope", "Required"),
        ({"scope": "Everything"}, "scope", "Unsupported"),
        ({"controllerDuration": {"availableDelay": "0s"}}, "controllerDuration.availableDelay", "greater than 0"),
        ({"controllerDuration": {"unavailableDelay": "-1s"}}, "controllerDuration.unavailableDelay", "greater than"),
        ({"controllerDuration": {"cacheSyncTimeout": "5"}}, "controllerDuration.cacheSyncTimeout", "a duration"),
        ({"leaderElect": {"leaseDuration": "10s"}}, "leaderElect.leaseDuration", "greater than renewDeadline"),
        ({"leaderElect": {"retryPeriod": "9s"}}, "leaderElect.renewDeadline", "JitterFactor(1.2)"),
        ({"leaderElect": {"resourceLock": "leases"}}, "leaderElect.resourceLock", "Unsupported"),
        ({"clusterHealthCheck": {"period": "0"}}, "clusterHealthCheck.period", "greater than 0"),
        ({"clusterHealthCheck": {"failureThreshold": 0}}, "clusterHealthCheck.failureThreshold", "greater than 0"),
        ({"clusterHealthCheck": {"successThreshold": -1}}, "clusterHealthCheck.successThreshold", "greater than 0"),
        ({"syncController": {"adoptResources": "Maybe"}}, "syncController.adoptResources", "Unsupported"),
        ({"syncController": {"maxConcurrentReconciles": 0}}, "syncController.maxConcurrentReconciles", "than 0"),
        ({"statusController": {"maxConcurrentReconciles": 0}}, "statusController.maxConcurrentReconciles", "than 0"),
        ({"featureGates": [{"name": "Magic", "configuration": "Enabled"}]}, "featureGates[0].name", "Unsupported"),
        (
            {"featureGates": [{"name": "PushReconciler", "configuration": "On"}]},
            "featureGates[0].configuration",
            "Unsupported",
        ),
        (
            {"featureGates": [{"name": "PushReconciler", "configuration": "Enabled"}] * 2},
            "featureGates[1].name",
            "Duplicate",
        ),
    ],
)
def test_what_kubefeds_webhook_refuses_is_refused(spec: Any, field: str, message: str) -> None:
    [(found, said)] = faults(**spec)
    assert found == f"spec.{field}" and message in said, said


def test_its_scope_can_t_be_changed() -> None:
    [cause] = validate_config(config(scope="Namespaced"), config())
    assert cause.field == "spec.scope" and "immutable" in cause.message
