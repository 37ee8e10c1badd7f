"""A RolloutPolicy carried out: versions are written down, rows change wave by wave, and a crash changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest

from cloudcore.federation.controller import FederationController
from skerry.errors import InvalidError
from skerry.objects.federated_versions import same_data, version_name
from skerry.objects.federation import (
    MEMBER_OBJECTS,
    MEMBERS,
    NAMESPACE,
    REVISIONS,
    ROLLOUT_POLICIES,
    VERSIONS,
)
from skerry.objects.times import time_text
from tests.cloudcore.federation.test_policy_controller import FEDERATED, Stage, stage
from tests.cloudcore.worlds import World

__all__ = ["stage"]


class Rolling:
    """Members that take what their rows say when they are told to."""

    def __init__(self, found: Stage) -> None:
        self.world: World = found.world
        self.heard = found.heard
        self.plans = FederationController(found.world.tools)

    async def settle(self) -> None:
        await self.world.settle(self.plans)

    async def policy(self, *waves: Any, name: str = "p", **spec: Any) -> None:
        targets = [{"kind": "FederatedConfigMap", "name": "a"}]
        body = {"targets": targets, "waves": list(waves), "minReadySeconds": 0, "maxUnavailable": "100%", **spec}
        await self.world.create(ROLLOUT_POLICIES, {"metadata": {"name": name}, "spec": body})

    async def declare(self, value: str, **spec: Any) -> None:
        body = {"template": {"data": {"k": value}}, "placement": {"clusterSelector": {}}, **spec}
        if self.world.get(FEDERATED, "a") is None:
            await self.world.create(FEDERATED, {"metadata": {"name": "a"}, "spec": body})
        else:
            await self.world.set_spec(FEDERATED, "a", **body)
        await self.settle()

    async def takes(self, *names: str, code: str = "", seconds: int = 1) -> None:
        """What their rows say."""
        self.world.clock.advance(seconds)
        for row in self.world.all(MEMBER_OBJECTS):
            if row["spec"]["member"] in names and row["spec"]["object"]["name"] == "a":
                told = {"revision": row["spec"]["revision"], "observedAt": time_text(self.world.clock.wall_ms())}
                if code:
                    told["code"] = code
                await self.world.update(
                    MEMBER_OBJECTS,
                    row["metadata"]["name"],
                    lambda obj, told=told: {**obj, "status": told},
                    subresource="status",
                )
        await self.settle()

    async def look(self, *, seconds: int = 0) -> None:
        self.world.clock.advance(seconds)
        await self.plans.reconcile(self.world.key(FEDERATED, "a"))
        await self.settle()

    def has(self) -> dict[str, str]:
        rows = [each["spec"] for each in self.world.all(MEMBER_OBJECTS)]
        rows = [row for row in rows if row["object"]["name"] == "a" and "remove" not in row]
        return {row["member"]: row["manifest"]["data"]["k"] for row in rows}

    def newest(self) -> Any:
        return max(self.world.all(REVISIONS), key=lambda each: each["spec"]["revision"])

    def status(self) -> Any:
        return self.world.get(FEDERATED, "a")["status"]

    async def change(self, revision: Any, **spec: Any) -> None:
        await self.world.set_spec(REVISIONS, revision["metadata"]["name"], **spec)
        await self.settle()


@pytest.fixture
async def rolling(stage: Stage) -> AsyncIterator[Rolling]:
    found = Rolling(stage)
    await found.declare("1")
    await found.takes("north", "south", "west")
    yield found


CANARY = {"name": "canary", "clusters": [{"name": "north"}]}
ALL = {"name": "all", "clusterSelector": {}, "requiresApproval": True}


async def start(rolling: Rolling, *waves: Any, **spec: Any) -> None:
    await rolling.policy(*waves, **spec)
    await rolling.settle()
    assert rolling.newest()["status"]["outcome"] == "Complete", "what is there is the first version"


async def test_a_new_version_goes_wave_by_wave(rolling: Rolling) -> None:
    await start(rolling, CANARY)
    await rolling.declare("2")
    assert rolling.has() == {"north": "2", "south": "1", "west": "1"}
    assert rolling.status()["rollout"]["phase"] == "Progressing"
    await rolling.takes("north")
    assert rolling.has() == {"north": "2", "south": "2", "west": "2"}
    await rolling.takes("south", "west")
    told = rolling.status()
    assert told["rollout"] == {
        "policy": "p",
        "revision": 2,
        "phase": "Complete",
        "updated": 3,
        "members": 3,
        "wave": "rest",
    }
    assert [(each["type"], each["status"]) for each in told["conditions"]] == [
        ("Propagation", "True"),
        ("RolledOut", "True"),
    ]
    reasons = {event["reason"] for event in rolling.world.all("events")}
    assert reasons == {"RolloutStarted", "WaveStarted", "RolloutComplete"}


async def test_another_process_goes_on_where_one_ended(rolling: Rolling) -> None:
    await start(rolling, CANARY, ALL)
    await rolling.declare("2")
    await rolling.takes("north")
    assert rolling.status()["rollout"]["phase"] == "WaitingForApproval"
    rolling.plans = FederationController(rolling.world.tools)
    await rolling.look()
    assert rolling.has() == {"north": "2", "south": "1", "west": "1"}
    await rolling.change(rolling.newest(), approved=["all"])
    assert rolling.has() == {"north": "2", "south": "2", "west": "2"}


async def test_what_fails_stops_and_is_undone_at_once_by_declaring_what_was_there(rolling: Rolling) -> None:
    await start(rolling, CANARY, progressDeadlineSeconds=30)
    await rolling.declare("2")
    await rolling.takes("north", code="UpdateFailed")
    await rolling.look(seconds=31)
    assert rolling.status()["rollout"]["phase"] == "Halted"
    assert rolling.has() == {"north": "2", "south": "1", "west": "1"}
    await rolling.declare("1")
    assert rolling.has() == {"north": "1", "south": "1", "west": "1"}
    await rolling.takes("north", "south", "west")
    assert rolling.newest()["spec"]["revision"] == 3
    assert rolling.status()["rollout"]["phase"] == "Complete"
    assert len(rolling.world.all(REVISIONS)) == 2, "the same version again is the same revision, renumbered"


async def test_what_fails_is_taken_back_where_that_is_said_and_stays_so(rolling: Rolling) -> None:
    await start(rolling, CANARY, progressDeadlineSeconds=30, onFailure="Rollback")
    await rolling.declare("2")
    await rolling.takes("north", code="UpdateFailed")
    await rolling.look(seconds=31)
    assert rolling.has() == {"north": "1", "south": "1", "west": "1"}
    await rolling.takes("north", "south", "west")
    rolling.plans = FederationController(rolling.world.tools)
    await rolling.look(seconds=100)
    assert rolling.status()["rollout"]["phase"] == "RolledBack"
    assert rolling.has() == {"north": "1", "south": "1", "west": "1"}
    await rolling.declare("3")
    assert rolling.has() == {"north": "3", "south": "1", "west": "1"}, "another version is another matter"


async def test_what_somebody_stopped_can_t_go_on(rolling: Rolling) -> None:
    await start(rolling, CANARY)
    await rolling.declare("2")
    await rolling.change(rolling.newest(), aborted=True)
    await rolling.takes("north")
    assert rolling.has() == {"north": "2", "south": "1", "west": "1"}
    with pytest.raises(InvalidError, match="what was stopped stays so"):
        await rolling.change(rolling.newest(), aborted=False)
    with pytest.raises(InvalidError, match="is what was declared"):
        await rolling.change(rolling.newest(), data={})


async def test_the_newest_version_wins_and_members_on_an_abandoned_one_go_on_to_it(rolling: Rolling) -> None:
    await start(rolling, CANARY)
    await rolling.declare("2")
    await rolling.takes("north")
    await rolling.takes("south")
    await rolling.declare("3")
    assert rolling.has() == {"north": "3", "south": "2", "west": "2"}
    await rolling.takes("north")
    assert rolling.has() == {"north": "3", "south": "3", "west": "3"}


async def test_of_a_version_that_is_not_the_newest_any_more_what_became_of_it_stays(rolling: Rolling) -> None:
    await start(rolling, CANARY)
    await rolling.declare("2")
    first, second = sorted(rolling.world.all(REVISIONS), key=lambda each: each["spec"]["revision"])
    assert (first["status"]["phase"], "members" in first["status"]) == ("Complete", False)
    await rolling.declare("3")
    second = rolling.world.get(REVISIONS, second["metadata"]["name"])
    assert (second["status"]["phase"], "begun" in second["status"]) == ("Abandoned", False)
    await rolling.change(rolling.newest(), aborted=True)
    third = rolling.newest()["metadata"]["name"]
    await rolling.declare("4")
    assert rolling.world.get(REVISIONS, third)["status"]["phase"] == "Aborted"


async def test_a_silent_canary_freezes_it_and_what_it_does_on_return_counts(rolling: Rolling) -> None:
    await start(rolling, CANARY)
    await rolling.heard("north", ready=False)
    await rolling.declare("2")
    assert rolling.has() == {"north": "1", "south": "1", "west": "1"}
    told = rolling.status()["rollout"]
    assert told["phase"] == "Frozen"
    assert "1 of 1 members of canary are not heard (north)" in told["message"]
    assert rolling.world.events("RolloutFrozen")
    await rolling.heard("north")
    await rolling.settle()
    assert rolling.has() == {"north": "2", "south": "1", "west": "1"}
    await rolling.takes("north")
    assert rolling.has() == {"north": "2", "south": "2", "west": "2"}


async def test_a_silent_member_holds_nobody_up_where_that_is_said_and_gets_it_on_return(rolling: Rolling) -> None:
    await start(rolling, CANARY, freezeAbovePercent=100)
    await rolling.heard("north", ready=False)
    await rolling.declare("2")
    assert rolling.has() == {"north": "1", "south": "2", "west": "2"}
    await rolling.takes("south", "west")
    assert rolling.status()["rollout"]["phase"] == "Complete"
    await rolling.heard("north")
    await rolling.settle()
    assert rolling.has()["north"] == "2"


async def test_what_a_silent_member_has_not_taken_is_taken_back(rolling: Rolling) -> None:
    await start(rolling, CANARY)
    await rolling.declare("2")
    await rolling.heard("north", ready=False)
    await rolling.settle()
    assert rolling.has() == {"north": "1", "south": "1", "west": "1"}
    assert rolling.status()["rollout"]["phase"] == "Frozen"


async def test_what_was_seen_long_before_the_change_is_not_of_it(rolling: Rolling) -> None:
    await start(rolling, CANARY)
    rolling.world.clock.advance(3600)
    await rolling.declare("2")
    row = next(each for each in rolling.world.all(MEMBER_OBJECTS) if each["spec"]["member"] == "north")
    lies = {"revision": row["spec"]["revision"], "observedAt": time_text(rolling.world.clock.wall_ms() - 3_000_000)}
    await rolling.world.set_status(MEMBER_OBJECTS, row["metadata"]["name"], **lies)
    await rolling.settle()
    assert rolling.has() == {"north": "2", "south": "1", "west": "1"}


async def test_who_joins_in_the_midst_has_what_was_there_before(rolling: Rolling) -> None:
    await start(rolling, CANARY, ALL)
    await rolling.declare("2")
    east = {"metadata": {"name": "east"}, "spec": {"syncMode": "Pull"}}
    await rolling.world.create(MEMBERS, east, NAMESPACE)
    await rolling.heard("east")
    await rolling.settle()
    assert rolling.has()["east"] == "1"


async def test_an_override_of_one_member_changes_that_one_alone(rolling: Rolling) -> None:
    await start(rolling, CANARY)
    step = {"clusterName": "west", "clusterOverrides": [{"path": "/data/k", "value": "w"}]}
    await rolling.declare("1", overrides=[step])
    assert rolling.has() == {"north": "1", "south": "1", "west": "w"}
    await rolling.takes("west")
    assert rolling.status()["rollout"]["phase"] == "Complete"


async def test_it_waits_while_it_is_paused_by_its_annotation_or_its_policy(rolling: Rolling) -> None:
    await start(rolling, CANARY)
    key = "skerry.dev/rollout-paused"
    await rolling.world.update(
        FEDERATED, "a", lambda obj: {**obj, "metadata": {**obj["metadata"], "annotations": {key: "true"}}}
    )
    await rolling.declare("2")
    assert (rolling.status()["rollout"]["phase"], set(rolling.has().values())) == ("Paused", {"1"})
    await rolling.world.update(
        FEDERATED, "a", lambda obj: {**obj, "metadata": {**obj["metadata"], "annotations": {}}}
    )
    await rolling.settle()
    assert rolling.has()["north"] == "2"


async def test_no_more_old_versions_are_kept_than_is_said(rolling: Rolling) -> None:
    await start(rolling, revisionHistoryLimit=1)
    for value in "2345":
        await rolling.declare(value)
        await rolling.takes("north", "south", "west")
    numbers = sorted(each["spec"]["revision"] for each in rolling.world.all(REVISIONS))
    assert numbers == [3, 4, 5], "the newest, the one before, and one more"


async def test_without_the_policy_everybody_has_the_newest_at_once(rolling: Rolling) -> None:
    await start(rolling, CANARY)
    await rolling.declare("2")
    await rolling.world.delete(ROLLOUT_POLICIES, "p")
    await rolling.settle()
    assert set(rolling.has().values()) == {"2"}
    assert "rollout" not in rolling.status()


async def test_what_was_stopped_stays_so_without_the_policy(rolling: Rolling) -> None:
    await start(rolling, CANARY)
    await rolling.declare("2")
    await rolling.change(rolling.newest(), aborted=True)
    await rolling.world.delete(ROLLOUT_POLICIES, "p")
    await rolling.settle()
    assert rolling.has() == {"north": "2", "south": "1", "west": "1"}
    assert rolling.status()["rollout"]["phase"] == "Aborted"
    await rolling.declare("3")
    assert set(rolling.has().values()) == {"3"}


async def test_the_version_before_is_what_was_declared_while_there_was_no_policy(rolling: Rolling) -> None:
    await start(rolling, CANARY, ALL)
    await rolling.world.delete(ROLLOUT_POLICIES, "p")
    await rolling.settle()
    await rolling.declare("2")
    await rolling.takes("north", "south", "west")
    await start(rolling, CANARY, ALL)
    assert rolling.newest()["spec"]["data"]["template"]["data"]["k"] == "2"
    await rolling.declare("3")
    assert rolling.has() == {"north": "3", "south": "2", "west": "2"}
    await rolling.world.create(MEMBERS, {"metadata": {"name": "east"}, "spec": {"syncMode": "Pull"}}, NAMESPACE)
    await rolling.heard("east")
    await rolling.heard("north", ready=False)
    await rolling.settle()
    assert rolling.has() == {"north": "2", "south": "2", "west": "2", "east": "2"}


async def test_a_version_is_known_by_what_it_says_and_not_by_its_name_alone(rolling: Rolling) -> None:
    await start(rolling, CANARY)
    name = version_name("FederatedConfigMap", rolling.world.get(FEDERATED, "a"), version_data("2"))
    assert len(name.rpartition("-")[2]) >= 32
    source = {**rolling.newest()["spec"]["source"]}
    await rolling.world.create(
        REVISIONS, {"metadata": {"name": name}, "spec": {"source": source, "revision": 1, "data": version_data("x")}}
    )
    await rolling.declare("2")
    assert set(rolling.has().values()) == {"1"}
    (told,) = {each["message"] for each in rolling.status()["clusters"]}
    assert told == f"the FederatedRevision {name} is of something else: delete it"
    await rolling.world.delete(REVISIONS, name)
    await rolling.look()
    assert rolling.has()["north"] == "2"


def version_data(value: str) -> Any:
    return {"template": {"data": {"k": value}}, "overrides": []}


async def test_a_version_that_was_written_down_under_a_shorter_name_is_the_same(rolling: Rolling) -> None:
    await start(rolling, CANARY)
    first = rolling.newest()
    await rolling.world.delete(REVISIONS, first["metadata"]["name"])
    metadata = {"name": "short-0123456789", "ownerReferences": first["metadata"]["ownerReferences"]}
    await rolling.world.create(REVISIONS, {"metadata": metadata, "spec": first["spec"]})
    await rolling.settle()
    assert rolling.world.names(REVISIONS) == ["short-0123456789"]


def test_numbers_and_truth_are_not_the_same() -> None:
    assert not same_data({"template": {"a": True}}, {"template": {"a": 1}})
    assert same_data({"template": {"a": 1, "b": 2}}, {"template": {"b": 2, "a": 1}, "overrides": []})


async def test_of_what_is_everywhere_trouble_is_written_once_a_minute(rolling: Rolling) -> None:
    await start(rolling, CANARY)
    written = []
    for at in range(6):
        await rolling.takes("west", code="" if at % 2 else "UpdateFailed", seconds=5)
        written.append(rolling.newest()["metadata"]["resourceVersion"])
        assert rolling.status()["rollout"]["phase"] == "Complete"
    assert len(set(written)) == 1
    await rolling.takes("west", code="UpdateFailed")
    await rolling.look(seconds=60)
    assert rolling.newest()["metadata"]["resourceVersion"] not in written
    assert not rolling.world.events("RolloutProgressing")


async def test_versions_that_members_have_are_written_when_nothing_is_under_way(rolling: Rolling) -> None:
    await start(rolling, {"name": "canary", "clusters": [{"name": "north"}, {"name": "south"}]})
    before = rolling.world.all(VERSIONS)
    await rolling.declare("2")
    await rolling.takes("north")
    assert rolling.world.all(VERSIONS) == before
    await rolling.takes("south", "west")
    await rolling.takes("west")
    assert rolling.world.all(VERSIONS) != before


async def test_a_policy_that_only_tells_changes_nothing_and_can_t_be_made_of_one_that_acts(rolling: Rolling) -> None:
    await rolling.policy(CANARY, dryRun=True)
    await rolling.declare("2")
    assert set(rolling.has().values()) == {"2"}
    await rolling.policy(CANARY, name="q")
    with pytest.raises(InvalidError, match="policy of its own"):
        await rolling.world.set_spec(ROLLOUT_POLICIES, "q", dryRun=True)


async def test_a_policy_that_makes_no_sense_is_refused(rolling: Rolling) -> None:
    with pytest.raises(InvalidError, match=r"spec.waves\[0\].members: .*0% is not from 1%"):
        await rolling.policy({"name": "none", "members": "0%"})


class Chaos:
    """Members that come and go and take their time, and a cloud that is begun anew at any moment."""

    def __init__(self, rolling: Rolling, seed: int) -> None:
        self.rolling = rolling
        self.chance = Random(seed)
        names: list[str] = ["north", "south", "west", "east", "mid"]
        self.up = dict.fromkeys(names, True)
        self.version = 1

    def told(self, row: Any) -> bool:
        return row.get("status", {}).get("revision") == row["spec"]["revision"]

    def rows(self) -> dict[str, Any]:
        rows = self.rolling.world.all(MEMBER_OBJECTS)
        return {row["spec"]["member"]: row for row in rows if row["spec"]["object"]["name"] == "a"}

    async def settle(self) -> None:
        """With what never happens looked at, change by change of a member's row."""
        before = {name: (row["spec"]["manifest"], self.told(row)) for name, row in self.rows().items()}
        await self.rolling.settle()
        newest = str(self.version)
        for name, row in self.rows().items():
            manifest, told = before.get(name, (None, False))
            if manifest is not None and row["spec"]["manifest"] != manifest and not self.up[name]:
                assert not told, "what a silent member has taken is left as it is"
                assert row["spec"]["manifest"]["data"]["k"] != newest, "and it gets nothing new"
        changing = [
            name
            for name, row in self.rows().items()
            if self.up[name] and row["spec"]["manifest"]["data"]["k"] == newest and not self.told(row)
        ]
        fresh = [name for name in changing if before.get(name, ({}, False))[1]]
        assert not fresh or len(changing) <= 2, "never more at a time than the budget"

    async def step(self) -> None:
        name = self.chance.choice([*self.up])
        match self.chance.randrange(10):
            case 0 | 1:
                self.up[name] = not self.up[name]
                await self.rolling.heard(name, ready=self.up[name])
            case 2:
                self.rolling.plans = FederationController(self.rolling.world.tools)
            case 3 if self.version < 6:
                self.version += 1
                await self.rolling.world.set_spec(FEDERATED, "a", template={"data": {"k": str(self.version)}})
            case 4:
                self.rolling.world.clock.advance(self.chance.randint(0, 4))
            case _ if self.up[name]:
                await self.take(name)
            case _:
                pass
        await self.settle()

    async def take(self, name: str) -> None:
        row = self.rows().get(name)
        if row is not None:
            now = time_text(self.rolling.world.clock.wall_ms())
            told = {"revision": row["spec"]["revision"], "observedAt": now}
            await self.rolling.world.set_status(MEMBER_OBJECTS, row["metadata"]["name"], **told)


@pytest.mark.parametrize("seed", range(6))
async def test_through_partitions_and_restarts_the_newest_version_is_everywhere_in_the_end(
    rolling: Rolling, seed: int
) -> None:
    for name in ("east", "mid"):
        await rolling.world.create(MEMBERS, {"metadata": {"name": name}, "spec": {"syncMode": "Pull"}}, NAMESPACE)
        await rolling.heard(name)
    await rolling.settle()
    await rolling.takes("east", "mid")
    waves = (CANARY, {"name": "some", "members": "40%"})
    await start(rolling, *waves, maxUnavailable=2, progressDeadlineSeconds=3600)
    chaos = Chaos(rolling, seed)
    for _ in range(60):
        await chaos.step()
    for name, up in chaos.up.items():
        if not up:
            chaos.up[name] = True
            await rolling.heard(name)
    for _ in range(20):
        await chaos.settle()
        for name in chaos.up:
            await chaos.take(name)
        await rolling.look(seconds=1)
    assert set(rolling.has().values()) == {str(chaos.version)}
    assert rolling.status()["rollout"]["phase"] == "Complete"


def echoing(row: Any, at_ms: int) -> Any:
    """What a member of this release says of its row."""
    spec = row["spec"]
    return {"revision": spec["revision"], "plannedAt": spec["plannedAt"], "observedAt": time_text(at_ms)}


@pytest.mark.parametrize("step_ms", [3_600_000, -3_600_000, 31_536_000_000, -31_536_000_000])
@pytest.mark.parametrize("when", ["before", "while"])
async def test_a_clock_that_is_set_neither_hastens_nor_ends_a_rollout(
    rolling: Rolling, step_ms: int, when: str
) -> None:
    """While it soaks, or before it began: no wave comes early, none never, and nobody has failed for it."""
    soaking = {**CANARY, "soakSeconds": 300, "minSucceeded": 1}
    others = {"name": "others", "clusterSelector": {}}
    await start(rolling, soaking, others, progressDeadlineSeconds=600, onFailure="Rollback")
    clock = rolling.world.clock

    async def told(*names: str) -> None:
        for row in rolling.world.all(MEMBER_OBJECTS):
            if row["spec"]["member"] in names and row["spec"]["object"]["name"] == "a":
                status = echoing(row, clock.wall_ms())
                await rolling.world.set_status(MEMBER_OBJECTS, row["metadata"]["name"], **status)
        await rolling.settle()

    await told("north", "south", "west")
    await rolling.look(seconds=600)
    if when == "before":
        clock.step_wall(step_ms)
    await rolling.declare("2")
    if when == "while":
        clock.step_wall(step_ms)
        await rolling.look(seconds=1)
    await told("north")
    await rolling.look(seconds=298)
    assert rolling.has() == {"north": "2", "south": "1", "west": "1"}, "it soaks"
    assert rolling.status()["rollout"]["phase"] == "Progressing"
    await rolling.look(seconds=13)
    assert rolling.has() == {"north": "2", "south": "2", "west": "2"}
    await told("south", "west")
    await rolling.look(seconds=11)
    assert rolling.status()["rollout"]["phase"] == "Complete"
