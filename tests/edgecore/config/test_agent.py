from __future__ import annotations

from pathlib import Path

import pytest

from edgecore.config.agent import MIB, EdgeSettings
from edgecore.store.port import DAY_MS, OutboxBudgets
from skerry.errors import InvalidError
from skerry.settings import resolve
from skerry.sync.ports import SyncSettings


def test_the_defaults_are_those_of_the_store() -> None:
    assert EdgeSettings().budgets() == OutboxBudgets()


def test_each_class_has_its_room_and_time() -> None:
    environ = {
        "SKERRY_TELEMETRY_MIB": "1",
        "SKERRY_TELEMETRY_DAYS": "0.5",
        "SKERRY_EVENT_MIB": "2",
        "SKERRY_EVENT_DAYS": "2",
        "SKERRY_ALARM_MIB": "3",
        "SKERRY_ALARM_DAYS": "3",
        "SKERRY_MESSAGE_MIB": "4",
        "SKERRY_MESSAGE_DAYS": "4",
        "SKERRY_FREE_FLOOR_MIB": "6",
        "SKERRY_PUSH_MIB": "5",
    }
    budgets = resolve(EdgeSettings, {}, environ).budgets()
    assert budgets == OutboxBudgets(
        telemetry=MIB,
        telemetry_ttl_ms=DAY_MS // 2,
        event=2 * MIB,
        event_ttl_ms=2 * DAY_MS,
        alarm=3 * MIB,
        alarm_ttl_ms=3 * DAY_MS,
        message=4 * MIB,
        message_ttl_ms=4 * DAY_MS,
        free_floor=6 * MIB,
        push=5 * MIB,
    )
    assert budgets.times() == {
        "telemetry": DAY_MS // 2,
        "event": 2 * DAY_MS,
        "alarm": 3 * DAY_MS,
        "message": 4 * DAY_MS,
    }


@pytest.mark.parametrize("name", ["SKERRY_TELEMETRY_DAYS", "SKERRY_ALARM_MIB", "SKERRY_FREE_FLOOR_MIB"])
@pytest.mark.parametrize("value", ["-1", "much"])
def test_a_budget_that_is_none_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(InvalidError, match=name):
        resolve(EdgeSettings, {}, {name: value})


def test_the_backlogs_rate_is_a_setting_and_none_is_refused_by_its_name(tmp_path: Path) -> None:
    assert EdgeSettings().sync() == SyncSettings()
    given = tmp_path / "edge.yaml"
    given.write_text("backlog_bytes_s: 4096\n")
    assert resolve(EdgeSettings, {"config": str(given)}, {}).sync() == SyncSettings(backlog_bytes_s=4096)
    assert resolve(EdgeSettings, {"backlog_bytes_s": "2048"}, {}).sync().backlog_bytes_s == 2048
    with pytest.raises(InvalidError, match="SKERRY_BACKLOG_BYTES_S: 0 is below 1024"):
        resolve(EdgeSettings, {}, {"SKERRY_BACKLOG_BYTES_S": "0"})
