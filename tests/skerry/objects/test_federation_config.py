"""What a KubeFedConfig that says little has, and what of it counts."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from skerry.objects.federation_config import HealthCheck, default_config, health_check, seconds_of


def test_what_was_left_out_is_filled_in_and_what_was_written_stays() -> None:
    spec: Any = {
        "scope": "Cluster",
        "controllerDuration": {"availableDelay": "45s"},
        "featureGates": [{"name": "PushReconciler", "configuration": "Disabled"}],
        "clusterHealthCheck": {"period": "25s"},
    }
    obj: Any = {"spec": copy.deepcopy(spec)}
    default_config(obj)
    assert obj["spec"] == {
        "scope": "Cluster",
        "controllerDuration": {"availableDelay": "45s", "unavailableDelay": "1m0s", "cacheSyncTimeout": "5m0s"},
        "leaderElect": {
            "leaseDuration": "15s",
            "renewDeadline": "10s",
            "retryPeriod": "5s",
            "resourceLock": "configmaps",
        },
        "featureGates": [
            {"name": "PushReconciler", "configuration": "Disabled"},
            {"name": "RawResourceStatusCollection", "configuration": "Disabled"},
            {"name": "SchedulerPreferences", "configuration": "Enabled"},
        ],
        "clusterHealthCheck": {"period": "25s", "timeout": "3s", "failureThreshold": 3, "successThreshold": 1},
        "syncController": {"adoptResources": "Enabled", "maxConcurrentReconciles": 1},
        "statusController": {"maxConcurrentReconciles": 1},
    }
    again = copy.deepcopy(obj)
    default_config(again)
    assert again == obj


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20s", 20.0), ("1m0s", 60.0), ("1500ms", 1.5), ("1h1.5m", 3690.0), ("0", 0.0), ("-3s", -3.0), (".5s", 0.5)],
)
def test_durations_are_read_as_go_writes_them(text: str, seconds: float) -> None:
    assert seconds_of(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "10", "s", "10 s", "1d", "ten", "1m30", "--1s", "1.2.3s"])
def test_what_is_no_duration_is_none(text: str) -> None:
    assert seconds_of(text) is None


def test_the_health_check_is_as_said_or_as_usual() -> None:
    assert health_check({}) == HealthCheck(period_s=10.0, failures=3, successes=1)
    said: Any = {"period": "2s", "failureThreshold": 5, "successThreshold": 2}
    assert health_check({"spec": {"clusterHealthCheck": said}}) == HealthCheck(period_s=2.0, failures=5, successes=2)


def test_nobody_is_looked_at_without_a_pause() -> None:
    assert health_check({"spec": {"clusterHealthCheck": {"period": "1ns"}}}).period_s == 1.0
