"""A gateway without its cloud for long: what it read is there in order, and what it had to drop is counted exactly.

`make week` makes it seven days of a hundred points a second.
"""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import pytest

from edgecore.store.port import OutboxBudgets
from tests.sim.week import START_MS, Plan, Week

DAYS = float(os.environ.get("SKERRY_WEEK_DAYS", "0"))
POINTS = int(os.environ.get("SKERRY_WEEK_POINTS", "100"))


async def lived(plan: Plan) -> Week:
    week = Week(plan)
    await week.run()
    return week


async def in_order(week: Week, series: str, *, limit: int = 10_000) -> list[int]:
    """Numbers of the readings that the cloud has, in order of time, each at about the time at which it was taken."""
    assert week.cloud is not None
    found: list[int] = []
    for row in await week.cloud.records(series, limit=limit):
        body = json.loads(row.body)
        if "gap" not in body:
            assert abs(row.at_ms - START_MS - body["seq"] * 1000) < 1500, (series, body)
            found.append(body["seq"])
    return found


async def test_what_was_read_without_a_link_arrives_once_and_in_order_and_what_is_read_now_does_not_wait(
    tmp_path: Path,
) -> None:
    week = await lived(Plan(directory=tmp_path, devices=4, properties=5, offline_s=1200, cuts_s=(1,), bytes_s=16_000))
    try:
        for series, account in week.account().items():
            assert (account.made - account.arrived, account.twice, account.dropped) == (0, 0, 0), series
            assert await in_order(week, series) == list(range(1, account.made + 1))
        assert week.total_dropped == 0
        assert week.backlog_s > 2, "there was something to overtake"
        assert 0 < week.live_s_max < 1
    finally:
        await week.close()


async def test_beyond_its_room_the_oldest_go_and_every_series_says_how_many(tmp_path: Path) -> None:
    plan = Plan(
        directory=tmp_path,
        devices=4,
        properties=5,
        offline_s=1200,
        cuts_s=(1, 4),
        bytes_s=8_000,
        budgets=OutboxBudgets(telemetry=12_000),
    )
    week = await lived(plan)
    try:
        accounts = week.account()
        for series, account in accounts.items():
            assert account.twice == 0
            assert account.made == account.arrived + account.dropped, series
            assert account.dropped > 0, series
            seqs = await in_order(week, series)
            assert seqs == sorted(seqs)
            assert len(seqs) == account.arrived
            assert seqs[-1] == account.made, "the newest are kept"
        assert week.total_dropped == sum(account.dropped for account in accounts.values())
        assert week.live_s_max < 1
    finally:
        await week.close()


async def test_where_it_thins_the_whole_time_stays_and_what_went_is_counted(tmp_path: Path) -> None:
    budgets = OutboxBudgets(telemetry=10_000, telemetry_full="thin")
    plan = Plan(directory=tmp_path, devices=4, properties=5, offline_s=900, cuts_s=(1,), budgets=budgets)
    week = await lived(plan)
    try:
        accounts = week.account()
        for series, account in accounts.items():
            assert account.twice == 0
            assert account.made == account.arrived + account.dropped, series
            seqs = await in_order(week, series)
            assert seqs == sorted(seqs)
            assert max(after - before for before, after in pairwise(seqs)) <= 600, "of every ten minutes, at least"
            assert seqs[0] == 1, "nothing went as the oldest"
        assert week.total_dropped == sum(account.dropped for account in accounts.values()) > 0
    finally:
        await week.close()


@pytest.mark.skipif(not DAYS, reason="make week")
@pytest.mark.timeout(6 * 3600)
async def test_a_week(tmp_path: Path) -> None:
    plan = Plan(
        directory=tmp_path,
        devices=max(1, POINTS // 10),
        properties=min(10, POINTS),
        offline_s=round(DAYS * 86_400),
        kept=20_000,
    )
    week = await lived(plan)
    try:
        accounts = week.account().values()
        made, arrived = sum(each.made for each in accounts), sum(each.arrived for each in accounts)
        print(
            f"made {made}, arrived {arrived}, dropped {week.total_dropped}; the backlog took {week.backlog_s:.0f} s, "
            f"live readings meanwhile {week.live_s_max * 1000:.0f} ms at most"
        )
        assert sum(each.twice for each in accounts) == 0
        assert all(each.made == each.arrived + each.dropped for each in accounts)
        assert made == arrived, "half a GiB is room for a week"
        assert week.live_s_max < 1
    finally:
        await week.close()
