"""Acts of a technician over the unix socket: who it was, what is taken, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from edgecore.local_api.acts import who
from edgecore.local_api.objects import LocalObjects
from edgecore.local_api.routes import Routes
from skerry.frozen import replace
from skerry.objects.json import JsonObject
from skerry.objects.local_changes import Entry, LocalChange, UpgradeHold
from tests.edgecore.local_api.test_routes import PODS, Api


@dataclass
class RecordingActs:
    done: list[tuple[Any, ...]] = field(default_factory=list)
    held: UpgradeHold | None = None

    async def restart(self, by: str, namespace: str, name: str, container: str) -> JsonObject:
        self.done.append(("restart", by, namespace, name, container))
        return {"pod": name, "ends": {"app": 0}}

    async def stop(self, by: str, namespace: str, name: str, reason: str) -> JsonObject:
        self.done.append(("stop", by, namespace, name, reason))
        return {"pod": name}

    async def start(self, by: str, namespace: str, name: str) -> JsonObject:
        self.done.append(("start", by, namespace, name))
        return {"pod": name}

    async def enter(self, by: str, entry: Entry, namespace: str, name: str, where: str) -> None:
        self.done.append((entry, by, namespace, name, where))

    def hold(self) -> UpgradeHold | None:
        return self.held

    async def hold_upgrades(self, by: str, reason: str, until_ms: int | None) -> UpgradeHold:
        self.held = UpgradeHold(by=by, since_ms=0, until_ms=until_ms, reason=reason)
        return self.held

    async def release_upgrades(self, by: str) -> None:
        self.done.append(("release", by))
        self.held = None

    def changes(self) -> list[JsonObject]:
        return [LocalChange(act="hold", by="b", at_ms=at_ms).shown() for at_ms in (2000, 1000)]


@pytest.fixture
def api() -> ActApi:
    return ActApi()


class ActApi(Api):
    def __init__(self) -> None:
        super().__init__()
        self.acts = RecordingActs()
        parts = replace(self.routes._parts, acts=self.acts)
        self.routes = Routes(parts, LocalObjects(parts))


BY = who(1000)


def test_who_it_was_is_a_name_and_a_number() -> None:
    assert who(0) == "root (uid 0)"
    assert who(4_000_000_000) == "uid 4000000000"


async def test_a_pod_is_restarted_stopped_and_started_by_whoever_asks(api: ActApi) -> None:
    assert await api.ask("POST", f"{PODS}/web/restart", {"container": "app"}) == (
        200,
        {"pod": "web", "ends": {"app": 0}},
    )
    assert (await api.ask("POST", f"{PODS}/web/stop", {"reason": "x" * 999}))[0] == 200
    assert (await api.ask("POST", f"{PODS}/web/start"))[0] == 200
    assert api.acts.done == [
        ("restart", BY, "default", "web", "app"),
        ("stop", BY, "default", "web", "x" * 256),
        ("start", BY, "default", "web"),
    ]


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "said"),
    [
        ("GET", f"{PODS}/web/stop", None, 405, "POST"),
        ("POST", f"{PODS}/web/stop", {"why": "x"}, 400, "why: there is no such field; use reason"),
        ("POST", f"{PODS}/web/restart", {"container": 7}, 400, "container: text is wanted"),
        ("PUT", "/skerry/upgrade-hold", {"until": "tomorrow"}, 400, "tomorrow"),
        ("PATCH", "/skerry/upgrade-hold", None, 405, "PUT"),
        ("GET", "/skerry/local-changes", None, 200, "LocalChangeList"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_the_field(
    api: ActApi, method: str, path: str, body: object, code: int, said: str
) -> None:
    answered, told = await api.ask(method, path, body)
    assert (answered, said in str(told)) == (code, True), told
    assert api.acts.done == []


async def test_upgrades_are_held_and_released(api: ActApi) -> None:
    assert await api.ask("GET", "/skerry/upgrade-hold") == (200, {"hold": None})
    asked = {"until": "2030-01-01T00:00:00Z", "reason": "harvest"}
    _, held = await api.ask("PUT", "/skerry/upgrade-hold", asked)
    assert held == {"by": BY, "since": "1970-01-01T00:00:00Z", **asked}
    assert (await api.ask("GET", "/skerry/upgrade-hold"))[1]["hold"] == held
    assert (await api.ask("DELETE", "/skerry/upgrade-hold"))[0] == 200
    assert api.acts.done == [("release", BY)]


async def test_what_was_done_is_listed_since_a_time(api: ActApi) -> None:
    _, all_of_it = await api.ask("GET", "/skerry/local-changes")
    assert [each["time"] for each in all_of_it["items"]] == ["1970-01-01T00:00:02Z", "1970-01-01T00:00:01Z"]
    _, late = await api.ask("GET", "/skerry/local-changes", sinceTime="1970-01-01T00:00:02Z")
    assert len(late["items"]) == 1
    assert len((await api.ask("GET", "/skerry/local-changes", limit="1"))[1]["items"]) == 1


async def test_an_agent_without_pods_says_so() -> None:
    assert (await Api().ask("POST", f"{PODS}/web/stop"))[0] == 503
