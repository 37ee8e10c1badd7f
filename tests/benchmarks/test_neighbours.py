"""Well-behaved members beside one that floods the hub and one that flaps: with real sessions, in one process."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from benchmarks.neighbours import Flapping, Hostile, Played, global_cloud
from skerry.clocks import SystemClock
from skerry.objects.federation import MEMBER_OBJECTS, MEMBERS, NAMESPACE, TYPES
from skerry.objects.json import JsonObject, str_at

ROLES = "federatedclusterroles.types.kubefed.io"


async def test_others_have_what_they_are_to_have_and_nothing_of_theirs_is_touched(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with global_cloud(tmp_path) as (tools, hub):
        clock = SystemClock()
        good = [Played(f"m{number}", hub, clock) for number in range(3)]
        hostile, flapping = Hostile("hostile", hub, clock), Flapping("flapping", hub, clock)
        for each in (*good, hostile, flapping):
            labels: JsonObject = {"good": "yes"} if each in good else {}
            member: JsonObject = {"metadata": {"name": each.name, "labels": labels}, "spec": {"syncMode": "Pull"}}
            await tools.objects.create(tools.kind(MEMBERS), NAMESPACE, member)
        tasks = [asyncio.create_task(each.run()) for each in (*good, hostile, flapping)]
        try:
            async with asyncio.timeout(60):
                while (kind := tools.scheme.of_resource(ROLES)) is None:
                    await asyncio.sleep(0.02)
                selector: JsonObject = {"clusterSelector": {"matchLabels": {"good": "yes"}}}
                spec: JsonObject = {"placement": selector, "template": {"rules": []}}
                await tools.objects.create(kind, "", {"metadata": {"name": "x"}, "spec": spec})
                while not (all(each.acknowledged_s for each in good) and flapping.times > 2 and hostile.said > 400):
                    await asyncio.sleep(0.02)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        rows = [tools.cache.obj(each) for each in tools.cache.select(MEMBER_OBJECTS)]
        assert {str_at(row, "spec", "member") for row in rows} == {"m0", "m1", "m2"}
        assert len(tools.cache.select(TYPES)) == 1
    passed_over = [each for each in caplog.records if each.message.startswith("report passed over")]
    assert len(passed_over) == 1, "a flood fills no log"
