"""A kubelet's own endpoints, and what the agent counts about itself."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE
from shutil import which

import pytest

from edgecore.local_api.answers import Answer
from edgecore.store.port import EdgeBatch, NewReport
from skerry.errors import NotFoundError
from skerry.forms.status import MethodNotAllowedError
from skerry.objects.json import encode_object
from skerry.objects.meta import Key
from tests.edgecore.local_api.stage import Api, pod


async def get(api: Api, target: str) -> Answer:
    answer = await api.routes.answer(api.request("GET", target))
    assert isinstance(answer, Answer)
    return answer


async def page(api: Api, target: str = "/metrics") -> list[str]:
    answer = await get(api, target)
    assert answer.content_type.startswith("text/plain; version=0.0.4")
    return answer.body.decode().splitlines()


async def runs(api: Api, name: str, phase: str = "Running") -> None:
    record = encode_object({"namespace": "default", "name": name, "status": {"phase": phase}})
    await api.store.apply(EdgeBatch(pods=((name, record),)))


async def test_pods_are_listed_with_their_status(api: Api) -> None:
    await api.put("pods", pod("web"))
    await api.put("pods", pod("other"))
    await runs(api, "web")
    listed = json.loads((await get(api, "/pods")).body)
    assert (listed["kind"], len(listed["items"])) == ("PodList", 2)
    running = json.loads((await get(api, "/runningpods")).body)
    assert [each["metadata"]["name"] for each in running["items"]] == ["web"]


async def test_each_path_tells_its_own(api: Api) -> None:
    assert json.loads((await get(api, "/stats/summary")).body)["node"] == {"nodeName": "gate-1"}
    assert "of_resources 1" in await page(api, "/metrics/resource")
    assert "of_containers 1" in await page(api, "/metrics/cadvisor")
    assert "of_agent 1" in await page(api)
    with pytest.raises(NotFoundError):
        await get(api, "/stats/other")
    with pytest.raises(MethodNotAllowedError):
        await api.routes.answer(api.request("POST", "/metrics"))


async def test_the_link_and_what_waits_for_it_are_told(api: Api) -> None:
    await api.store.apply(EdgeBatch(reports=(NewReport(report_class="event", kind="event", key="", body=b"{}"),) * 2))
    lines = await page(api)
    assert "skerry_link_connected 0" in lines
    assert 'skerry_outbox_class_reports{class="event"} 2' in lines
    assert "skerry_link_reconnects_total 0" in lines
    for _ in range(3):
        for told in api.link.welcomes:
            told()
    api.link.connected = True
    lines = await page(api)
    assert {"skerry_link_connected 1", "skerry_link_sessions_total 3", "skerry_link_reconnects_total 2"} <= set(lines)


async def test_how_long_pods_took_to_run_is_counted_once_each(api: Api) -> None:
    api.routes.meters.listen()
    await api.put("pods", pod("web"))
    await api.put("pods", pod("gone"))
    await api.store.apply(EdgeBatch(deletes=(Key("pods", "default", "gone"),)))
    await runs(api, "web", "Pending")
    api.clock.advance(3.0)
    await runs(api, "web")
    await runs(api, "web")
    await api.put("pods", pod("web", more="1"))
    await get(api, "/healthz")
    lines = await page(api)
    name = "kubelet_pod_start_duration_seconds"
    for line in (f'{name}_bucket{{le="2"}} 0', f'{name}_bucket{{le="5"}} 1', f"{name}_sum 3", f"{name}_count 1"):
        assert line in lines
    for line in ('skerry_pods{phase="Running"} 1', "kubelet_running_pods 1", 'skerry_devices{state="online"} 1'):
        assert line in lines


async def test_prometheus_own_linter_finds_nothing(api: Api) -> None:
    promtool = which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    await api.put("pods", pod("web"))
    await runs(api, "web")
    answer = await get(api, "/metrics")
    linter = await asyncio.create_subprocess_exec(promtool, "check", "metrics", stdin=PIPE, stdout=PIPE, stderr=PIPE)
    said = await linter.communicate(answer.body)
    assert (linter.returncode, *said) == (0, b"", b"")
