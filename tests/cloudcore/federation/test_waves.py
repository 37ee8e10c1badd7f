"""Waves, budgets, approval, failure; and through simulated rollouts with partitions what never happens."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcore.federation.waves import Member, MemberState, Past, Verdict, decide_rollout
from skerry.errors import InvalidError
from skerry.frozen import replace
from skerry.objects.rollout_policies import Amount, RolloutPolicy, read_rollout_policy, waves_of

NOW = 10_000_000
LONG = NOW - 3_600_000


def policy(*waves: Any, **spec: Any) -> RolloutPolicy:
    return read_rollout_policy({"spec": {"waves": list(waves), "minReadySeconds": 0, **spec}})


def named(name: str, *members: str, **more: Any) -> Any:
    return {"name": name, "clusters": [{"name": each} for each in members], **more}


def old(name: str, **more: Any) -> Member:
    return replace(
        Member(name=name, labels={}, heard=True, heard_since_ms=LONG, holds="base", known=True, health="ready"),
        since_ms=LONG,
        **more,
    )


def new(name: str, **more: Any) -> Member:
    return replace(old(name), holds="target", **more)


def decide(rules: RolloutPolicy, *members: Member, past: Past | None = None, now_ms: int = NOW) -> Verdict:
    return decide_rollout(rules, members, past or Past(has_base=True), now_ms=now_ms, key="d/web")


def given_to(verdict: Verdict) -> set[str]:
    return {name for name, give in verdict.gives.items() if give == "target"}


CANARY = policy(named("canary", "a"), maxUnavailable="100%")


def test_the_first_wave_gets_it_and_the_others_wait_for_it() -> None:
    verdict = decide(CANARY, old("a"), old("b"), old("c"))
    assert given_to(verdict) == {"a"}
    assert verdict.begun == ("canary",)
    assert verdict.states["b"].why == "wave rest has not begun: a of canary is not in order for long enough"


def test_the_next_wave_begins_when_the_one_before_is_in_order() -> None:
    verdict = decide(CANARY, new("a"), old("b"), old("c"), past=Past(begun=("canary",), has_base=True))
    assert given_to(verdict) == {"b", "c"}
    assert verdict.phase == "Progressing"
    done = decide(CANARY, new("a"), new("b"), new("c"), past=Past(begun=("canary", "rest"), has_base=True))
    assert done.phase == "Complete"


def test_no_more_are_changed_at_a_time_than_the_budget_has_room_for() -> None:
    rules = policy(maxUnavailable=2)
    verdict = decide(rules, *(old(name) for name in "abcdef"))
    assert len(given_to(verdict)) == 2
    busy = decide(rules, replace(new("a", health="progressing"), since_ms=NOW), *(old(name) for name in "bcdef"))
    assert len(given_to(busy)) == 1


def test_a_percentage_that_gives_none_gives_one() -> None:
    assert len(given_to(decide(policy(maxUnavailable="1%"), old("a"), old("b")))) == 1
    few = policy({"name": "few", "members": "1%"})
    assert len(given_to(decide(few, old("a"), old("b")))) == 1


def test_a_wave_has_its_own_budget_as_well() -> None:
    rules = policy(named("canary", "a", "b", "c", maxUnavailable=1), maxUnavailable="100%")
    assert len(given_to(decide(rules, old("a"), old("b"), old("c")))) == 1


NEVER = policy(named("canary", "a"), maxUnavailable="100%", freezeAbovePercent=100)
"""Silence holds nobody up."""


def test_who_is_not_heard_holds_nobody_up_where_that_is_said_and_gets_it_on_return() -> None:
    away = old("a", heard=False)
    verdict = decide(NEVER, away, old("b"))
    assert given_to(verdict) == {"b"}
    assert (verdict.states["a"].state, verdict.gives["a"]) == ("Pending", "keep")
    done = decide(NEVER, away, new("b"), past=Past(begun=verdict.begun, has_base=True))
    assert (done.phase, done.message) == ("Complete", "a: not heard, and to get it on return")
    back = decide(CANARY, old("a"), new("b"), past=Past(begun=("rest",), has_base=True, complete=True))
    assert given_to(back) == {"a"}


def test_a_canary_that_is_silent_proves_nothing_and_freezes_it() -> None:
    verdict = decide(CANARY, old("a", heard=False), old("b"), old("c"))
    assert (verdict.phase, given_to(verdict), verdict.begun) == ("Frozen", set(), ())
    assert verdict.message == (
        "wave rest has not begun: 1 of 1 members of canary are not heard (a), "
        "and freezeAbovePercent of the RolloutPolicy is 50"
    )
    assert verdict.states["b"].why == verdict.message


BIG = policy(named("eu", *"abcdefghij", soakSeconds=60), maxUnavailable="100%")


def test_an_outage_in_the_midst_of_a_wave_does_not_end_it_by_those_who_are_heard() -> None:
    past = Past(begun=("eu",), has_base=True)
    away = [old(name, heard=False) for name in "cdefghij"]
    verdict = decide(BIG, new("a"), new("b"), *away, old("z"), past=past)
    assert (verdict.phase, given_to(verdict), verdict.begun) == ("Frozen", set(), ("eu",))
    assert "8 of 10 members of eu are not heard (c, d, e, f, g and 3 more)" in verdict.message
    half = [new(name) for name in "abcde"] + [old(name, heard=False) for name in "fghij"]
    assert given_to(decide(BIG, *half, old("z"), past=past)) == {"z"}, "half of them are enough"


def test_an_outage_in_the_last_wave_makes_nothing_complete() -> None:
    past = Past(begun=("eu", "rest"), has_base=True)
    members = [new("a"), new("b"), *(old(name, heard=False) for name in "cdefghij"), new("z")]
    verdict = decide(BIG, *members, past=past)
    assert verdict.phase == "Frozen"
    assert verdict.message.startswith("everybody who is heard has it, which proves too little: 8 of 10")
    assert decide(BIG, *members, past=replace(past, complete=True)).phase == "Complete", "what was so stays so"
    assert decide(BIG, *members, past=replace(past, proven=True)).phase == "Complete", "it was proven before"


def test_who_went_silent_after_it_was_in_order_for_long_enough_has_proven_it() -> None:
    past = Past(begun=("canary",), has_base=True)
    rules = policy(named("canary", "a", soakSeconds=60, minSucceeded=1))
    proven = new("a", heard=False, since_ms=NOW - 500_000, heard_since_ms=NOW - 400_000)
    assert given_to(decide(rules, proven, old("b"), past=past)) == {"b"}
    killed = replace(proven, heard_since_ms=NOW - 495_000)
    verdict = decide(rules, killed, old("b"), past=past)
    assert (verdict.phase, given_to(verdict)) == ("Frozen", set()), "it may be silent by the version"
    short = policy(named("canary", "a", minSucceeded=1), minReadySeconds=10)
    lost = decide(short, killed, old("b"), past=past)
    assert "0 of 1 members of canary are in order" in lost.message
    assert lost.states["a"] == MemberState(
        "canary", "Pending", "it is not heard, and was not in order for long enough before"
    )


def test_a_wave_that_only_silence_and_failures_completed_does_not_go_on_to_the_next() -> None:
    rules = policy(named("canary", "a", "b"), maxFailed=1, maxUnavailable="100%")
    past = Past(begun=("canary",), has_base=True)
    verdict = decide(rules, new("a", health="failed"), old("b", heard=False), old("c"), past=past)
    assert (verdict.phase, given_to(verdict)) == ("Frozen", set())
    assert "none of the others has shown that it works" in verdict.message


def test_a_version_that_silences_one_after_the_other_stops_in_its_wave() -> None:
    names = "abcdefgh"
    past = Past(begun=("rest",), has_base=True, started_ms=NOW - 60_000)
    gone = [old(name, heard=False, heard_since_ms=NOW - 30_000) for name in names[:5]]
    rest = [old(name) for name in names[5:]]
    verdict = decide(policy(maxUnavailable=1), *gone, *rest, past=past)
    assert (verdict.phase, given_to(verdict)) == ("Frozen", set())
    assert "a, b, c, d, e of rest went silent since this version began" in verdict.message
    before = [replace(each, heard_since_ms=LONG) for each in gone]
    assert len(given_to(decide(policy(maxUnavailable=1), *before, *rest, past=past))) == 1, "they were silent before"


def test_nothing_begins_while_nobody_is_heard() -> None:
    verdict = decide(CANARY, old("a", heard=False), old("b", heard=False))
    assert (verdict.begun, given_to(verdict)) == ((), set())


def test_what_a_silent_member_has_not_taken_is_taken_back() -> None:
    verdict = decide(
        CANARY, new("a", heard=False, known=False), old("b"), past=Past(begun=("canary",), has_base=True)
    )
    assert verdict.gives["a"] == "base"


def test_a_wave_that_asks_for_successes_waits_for_them_even_of_who_is_silent() -> None:
    rules = policy(named("canary", "a", minSucceeded=1))
    verdict = decide(rules, old("a", heard=False), old("b"))
    assert given_to(verdict) == set()
    assert verdict.states["b"].why == "wave rest has not begun: 0 of 1 members of canary are in order"


def test_a_wave_begins_when_somebody_approves_it() -> None:
    rules = policy(named("canary", "a"), {"name": "all", "clusterSelector": {}, "requiresApproval": True})
    waits = decide(rules, new("a"), old("b"), past=Past(begun=("canary",), has_base=True))
    assert (waits.phase, waits.message) == ("WaitingForApproval", "wave all waits for approval")
    assert given_to(waits) == {"a"} - {"a"}
    goes = decide(rules, new("a"), old("b"), past=Past(begun=("canary",), approved={"all"}, has_base=True))
    assert given_to(goes) == {"b"}


def test_it_soaks_before_the_next_wave_and_says_when_to_look_again() -> None:
    rules = policy(named("canary", "a", soakSeconds=60), minReadySeconds=10)
    past = Past(begun=("canary",), has_base=True)
    early = decide(rules, new("a", since_ms=NOW - 40_000), old("b"), past=past)
    assert (given_to(early), early.again_s) == (set(), 30.0)
    assert given_to(decide(rules, new("a", since_ms=NOW - 70_000), old("b"), past=past)) == {"b"}


def test_who_is_not_in_order_in_time_has_failed_and_stops_it() -> None:
    past = Past(begun=("canary",), has_base=True)
    late = new("a", health="progressing", since_ms=NOW - 700_000, why="0 of 1")
    verdict = decide(CANARY, late, old("b"), past=past)
    assert verdict.phase == "Halted"
    assert verdict.message == "a failed, of which there may be 0: nobody else gets it (0 of 1)"
    assert given_to(verdict) == set()
    assert decide(CANARY, new("a"), old("b"), past=past).phase == "Progressing", "once it is in order it goes on"
    back = replace(late, heard_since_ms=NOW - 5000)
    assert decide(CANARY, back, old("b"), past=past).phase == "Progressing", "who just returned has its time"


def test_some_may_fail() -> None:
    rules = policy(named("canary", "a", "b"), maxFailed=1)
    verdict = decide(
        rules, new("a", health="failed"), new("b"), old("c"), past=Past(begun=("canary",), has_base=True)
    )
    assert given_to(verdict) == {"c"}


def test_all_go_back_when_it_fails_where_that_is_said() -> None:
    rules = policy(named("canary", "a"), onFailure="Rollback", maxUnavailable=1)
    bad, past = new("a", health="failed"), Past(begun=("canary",), has_base=True)
    verdict = decide(rules, bad, old("b"), past=past)
    assert (verdict.phase, verdict.gives) == ("RollingBack", {"a": "base", "b": "keep"})
    over = decide(rules, old("a"), old("b"), past=replace(past, rolled_back=True))
    assert over.phase == "RolledBack"
    first = decide(rules, bad, replace(old("b"), holds="nothing"), past=replace(past, has_base=False))
    assert first.phase == "Halted", "there is nothing to go back to"


def test_of_those_in_order_no_more_go_back_at_a_time_than_the_budget_allows() -> None:
    rules = policy(onFailure="Rollback", maxUnavailable=1)
    members = [new(name) for name in "abcd"] + [new("e", health="failed")]
    verdict = decide(rules, *members, past=Past(begun=("rest",), has_base=True))
    assert list(verdict.gives.values()).count("base") == 2, "the failed one, and one other"


def test_what_somebody_stopped_stays_so() -> None:
    past = Past(begun=("canary", "rest"), has_base=True, aborted=True, approved={"rest"})
    verdict = decide(CANARY, new("a"), old("b"), replace(old("c"), holds="nothing"), past=past)
    assert (verdict.phase, verdict.gives) == ("Aborted", {"a": "keep", "b": "keep", "c": "base"})


@pytest.mark.parametrize("where", ["policy", "object"])
def test_nobody_else_gets_it_while_it_is_paused(where: str) -> None:
    rules, past = policy(paused=where == "policy"), Past(has_base=True, paused=where == "object")
    verdict = decide(rules, old("a"), old("b"), past=past)
    assert (verdict.phase, given_to(verdict), verdict.begun) == ("Paused", set(), ())


def test_a_version_that_was_everywhere_needs_neither_waves_nor_approval() -> None:
    rules = policy(named("canary", "a", requiresApproval=True), maxUnavailable=1)
    broken = replace(old("c"), holds="other", health="progressing")
    verdict = decide(rules, old("a"), old("b"), broken, past=Past(proven=True))
    assert len(given_to(verdict)) == 2
    assert "c" in given_to(verdict), "it is not in order as it is"
    slow = decide(replace(rules, rollback="InWaves"), old("a"), old("b"), past=Past(proven=True))
    assert slow.phase == "WaitingForApproval"


def test_who_joins_in_the_midst_has_the_version_before_until_its_turn() -> None:
    joins = replace(old("z"), holds="nothing", known=False)
    verdict = decide(CANARY, old("a"), old("b"), joins)
    assert verdict.gives["z"] == "base"
    first = decide(CANARY, old("a"), joins, past=Past())
    assert first.gives["z"] == "nothing"
    after = decide(CANARY, new("a"), new("b"), joins, past=Past(begun=("canary", "rest"), complete=True))
    assert after.gives["z"] == "target"


def test_who_can_t_have_it_keeps_what_it_has_and_has_failed_when_its_wave_begins() -> None:
    can_t = old("a", fault="replace /x: no such place")
    verdict = decide(CANARY, can_t, old("b"))
    assert (verdict.gives["a"], verdict.states["a"].state, given_to(verdict)) == ("keep", "Failed", set())
    assert (verdict.phase, verdict.begun) == ("Halted", ("canary",)), "a canary that can't have it proves nothing"
    some = decide(replace(CANARY, max_failed=Amount(1)), can_t, old("b"))
    assert (some.gives["a"], given_to(some)) == ("keep", {"b"})


def test_an_outage_of_all_but_the_canary_makes_nothing_complete() -> None:
    rules = policy(named("canary", "a"), {"name": "all", "clusterSelector": {}, "requiresApproval": True})
    away = [old(name, heard=False) for name in "bcd"]
    for tried in (rules, CANARY):
        verdict = decide(tried, new("a"), *away, past=Past(begun=("canary",), has_base=True))
        assert verdict.phase != "Complete"
        assert verdict.begun == ("canary",)
    assert verdict.message == "wave rest has not begun: none of its members is heard"
    back = decide(rules, new("a"), *(old(name) for name in "bcd"), past=Past(begun=("canary",), has_base=True))
    assert (back.phase, given_to(back)) == ("WaitingForApproval", set())


def test_a_wave_waits_for_all_before_it_and_not_for_the_nearest_alone() -> None:
    rules = policy(named("canary", "a"), named("pinned", "b"), maxUnavailable="100%")
    verdict = decide(rules, old("a"), new("b", unchanged=True), old("c"))
    assert (verdict.begun, given_to(verdict)) == (("canary",), {"a"})
    faulty = decide(replace(rules, max_failed=Amount(1)), old("a"), old("b", fault="x"), old("c"))
    assert given_to(faulty) == {"a"}


def test_who_has_it_as_it_changes_nothing_there_is_the_canary_only_where_nobody_else_is() -> None:
    rules = policy({"name": "canary", "members": 1, "minSucceeded": 1}, maxUnavailable="100%")
    for pinned in "abc":
        others = [old(name) for name in "abc" if name != pinned]
        verdict = decide(rules, new(pinned, unchanged=True), *others)
        assert verdict.states[pinned].wave == "rest"
        assert len(given_to(verdict)) == 1
    for faulty in "abc":
        verdict = decide(rules, *(old(name, fault="x" if name == faulty else "") for name in "abc"))
        assert verdict.states[faulty].wave == "rest"
    both = policy(named("canary", "a", "b", minSucceeded=1))
    verdict = decide(both, new("a", unchanged=True), old("b", heard=False), old("c"))
    assert given_to(verdict) == set(), "what was so before is no success"
    alone = decide(policy(named("canary", "a", minSucceeded=1)), new("a", unchanged=True), old("b"))
    assert given_to(alone) == {"b"}, "a wave of those alone holds nobody up for ever"


def test_a_gate_holds_though_nobody_behind_it_is_heard() -> None:
    rules = policy(named("canary", "a"), named("gate", "b", requiresApproval=True), maxUnavailable="100%")
    members = [new("a"), old("b", heard=False), old("c")]
    verdict = decide(rules, *members, past=Past(begun=("canary",), has_base=True))
    assert (verdict.phase, given_to(verdict)) == ("WaitingForApproval", set())
    past = Past(begun=("canary",), approved={"gate"}, has_base=True)
    assert decide(rules, *members, past=past).phase == "Frozen"
    goes = decide(replace(rules, freeze_above_percent=100), *members, past=past)
    assert (goes.begun, given_to(goes)) == (("canary", "gate", "rest"), {"c"})


def test_no_more_successes_are_asked_for_than_a_wave_has_members() -> None:
    rules = policy(named("canary", "a", minSucceeded=5))
    assert given_to(decide(rules, new("a"), old("b"), past=Past(begun=("canary",)))) == {"b"}


def test_who_has_it_otherwise_on_purpose_has_not_failed_and_holds_nobody_up() -> None:
    alone = new("a", health="alone", since_ms=NOW - 700_000, why="ManagedLabelFalse: it is left alone")
    past = Past(begun=("canary",), has_base=True)
    verdict = decide(CANARY, alone, old("b"), past=past)
    assert (verdict.phase, given_to(verdict)) == ("Progressing", {"b"})
    assert verdict.states["a"] == MemberState("canary", "Updated", "ManagedLabelFalse: it is left alone")
    done = decide(CANARY, alone, new("b"), past=replace(past, begun=("canary", "rest")))
    assert done.phase == "Complete"
    back = decide(CANARY, replace(alone, holds="base"), old("b"), past=replace(past, rolled_back=True))
    assert back.phase == "RolledBack"
    asked = policy(named("canary", "a", minSucceeded=1))
    assert given_to(decide(asked, alone, old("b"), past=past)) == set(), "it is no success either"


def test_what_is_complete_stays_so_though_somebody_is_not_in_order_again() -> None:
    past = Past(begun=("canary", "rest"), complete=True, proven=True)
    verdict = decide(CANARY, new("a"), new("b", health="progressing", since_ms=NOW), past=past)
    assert verdict.phase == "Complete"


def test_each_member_is_in_the_first_wave_that_has_room_for_it() -> None:
    rules = policy(
        named("canary", "a"), {"name": "two", "clusterSelector": {"matchLabels": {"r": "eu"}}, "members": 2}
    )
    members = {name: {"r": "eu"} if name in "abcd" else {} for name in "abcdef"}
    found = waves_of(rules, members, list("fedcba"), set())
    assert found == {"a": 0, "d": 1, "c": 1, "b": 2, "e": 2, "f": 2}
    stays = waves_of(rules, members, list("fedcba"), {"b"})
    assert (stays["b"], stays["d"], stays["c"]) == (1, 1, 2), "who has it already is in it first"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"waves": [{"clusters": []}]}, "spec.waves[0].name: is needed"),
        ({"waves": [{"name": "a", "clusters": []}]}, "spec.waves[0].clusters: is empty"),
        ({"waves": [{"name": "rest"}]}, 'spec.waves[0].name: "rest" is the wave of all others'),
        ({"waves": [{"name": "A b"}]}, 'spec.waves[0].name: "A b":'),
        ({"waves": [{"name": "a", "members": 1}, {"name": "a"}]}, 'spec.waves[1].name: "a" is there already'),
        ({"waves": [{"name": "a"}, {"name": "b"}]}, 'spec.waves[1]: has nobody: "a" before it has all'),
        ({"waves": [{"name": "a", "members": "0%"}]}, "spec.waves[0].members: 0% is not from 1% to 100%"),
        ({"waves": [{"name": "a", "members": 0}]}, "spec.waves[0].members: 0 is not from 1"),
        ({"waves": [{"name": "a", "members": "many"}]}, 'spec.waves[0].members: "many" is neither'),
        (
            {"waves": [{"name": "a", "clusterSelector": {"matchExpressions": [{"key": "x", "operator": "No"}]}}]},
            "clus",
        ),
        ({"maxUnavailable": 0}, "spec.maxUnavailable: 0 is not from 1"),
        ({"maxUnavailable": "101%"}, "spec.maxUnavailable: 101% is not from 1% to 100%"),
        ({"maxFailed": -1}, "spec.maxFailed: -1 is not from 0"),
        ({"minReadySeconds": -1}, "spec.minReadySeconds: a number from 0"),
        ({"progressDeadlineSeconds": 0}, "spec.progressDeadlineSeconds: a number from 1"),
        ({"revisionHistoryLimit": 1000}, "spec.revisionHistoryLimit: a number from 0 to 100"),
        ({"freezeAbovePercent": 101}, "spec.freezeAbovePercent: a number from 0 to 100"),
        ({"onFailure": "Cry"}, 'spec.onFailure: "Cry" is none of Halt, Rollback'),
        ({"waves": [{"name": f"w{at}", "members": 1} for at in range(101)]}, "spec.waves: at most 100"),
    ],
)
def test_what_is_wrong_with_a_policy_is_said(spec: Any, said: str) -> None:
    with pytest.raises(InvalidError) as caught:
        read_rollout_policy({"spec": spec})
    assert said in str(caught.value)


# --- simulated rollouts ---


class Site:
    """A member: what it has, and how it is. It takes its row when it is heard, and is in order a while later."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.up = True
        self.row = "v0"
        self.has = "v0"
        self.taken_s = -1000
        self.heard_since_s = -1000


class Simulation:
    """Versions are named v0, v1, ...; those in `bad` never come to be in order."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.sites = [Site(f"m{at}") for at in range(self.chance.randint(3, 14))]
        waves: list[Any] = [named("canary", "m0", "m1", requiresApproval=self.chance.random() < 0.3)]
        if self.chance.random() < 0.5:
            waves.append({"name": "some", "members": "40%", "requiresApproval": self.chance.random() < 0.3})
        self.rules = policy(
            *waves,
            maxUnavailable=self.chance.randint(1, 3),
            minReadySeconds=5,
            progressDeadlineSeconds=60,
            onFailure=self.chance.choice(["Halt", "Rollback"]),
        )
        self.bad: set[str] = set()
        self.severs: set[str] = set()
        """Who takes one of these is silent from then on."""
        self.versions = 1
        self.target, self.base = "v0", ""
        self.past = Past(complete=True, proven=True)
        self.now_s = 0
        self.allowed: set[tuple[str, str]] = {(site.name, "v0") for site in self.sites}
        self.stopped_rows: dict[str, str] | None = None

    def declare(self, *, bad: bool) -> None:
        if self.past.complete:
            self.base = self.target
        self.target = f"v{self.versions}"
        self.versions += 1
        if bad:
            self.bad.add(self.target)
        self.past, self.stopped_rows = Past(has_base=bool(self.base)), None

    def ready(self, site: Site) -> bool:
        return site.has == site.row and site.has not in self.bad and self.now_s - site.taken_s >= 3

    def member(self, site: Site) -> Member:
        holds: Any = "target" if site.row == self.target else "base" if site.row == self.base else "other"
        return Member(
            name=site.name,
            labels={},
            heard=site.up,
            heard_since_ms=site.heard_since_s * 1000,
            holds=holds if site.row else "nothing",
            known=bool(site.row) and site.has == site.row,
            health="ready" if self.ready(site) else "progressing",
            since_ms=(site.taken_s + (3 if self.ready(site) else 0)) * 1000,
        )

    def unavailable(self) -> int:
        return sum(site.up and not self.ready(site) and site.row not in self.bad for site in self.sites)

    def decide(self) -> Verdict:
        members = [self.member(site) for site in self.sites]
        return decide_rollout(self.rules, members, self.past, now_ms=self.now_s * 1000, key="k")

    def step(self) -> Verdict:
        self.now_s += 1
        for site in self.sites:
            if site.up and site.has != site.row:
                site.has, site.taken_s = site.row, self.now_s
                if site.has in self.severs:
                    site.up, site.heard_since_s = False, self.now_s
        verdict = self.decide()
        self.check(verdict)
        rolled_back = self.past.rolled_back or verdict.rolls_back
        complete = self.past.complete or verdict.phase == "Complete"
        self.past = replace(
            self.past,
            begun=verdict.begun,
            rolled_back=rolled_back,
            complete=complete,
            proven=complete,
        )
        for site in self.sites:
            give = verdict.gives[site.name]
            row = {"target": self.target, "base": self.base, "keep": site.row, "nothing": site.row}[give]
            if row != site.row:
                site.taken_s = self.now_s
            site.row = row
        return verdict

    def check(self, verdict: Verdict) -> None:
        wave_of = {name: state.wave for name, state in verdict.states.items()}
        approvals = {wave.name for wave in self.rules.waves if wave.approval}
        changing = [site for site in self.sites if site.up and site.row == self.target and not self.ready(site)]
        begins = [
            site
            for site in self.sites
            if site.up
            and site.row not in ("", self.target)
            and self.ready(site)
            and verdict.gives[site.name] == "target"
        ]
        if begins:
            busy = [site for site in changing if self.now_s - site.taken_s < 60]
            assert len(busy) + len(begins) <= self.rules.max_unavailable.value, "never more than the budget"
        for site in self.sites:
            if verdict.gives[site.name] != "target" or site.row == self.target:
                continue
            assert site.up, "who is silent is left as it is"
            wave = wave_of[site.name]
            assert wave not in approvals or wave in self.past.approved or self.past.proven, "nobody said yes"
        if self.past.aborted or self.past.rolled_back:
            assert all(verdict.gives[site.name] != "target" or site.row == self.target for site in self.sites), (
                "it is final"
            )

    def disturb(self) -> None:
        site = self.chance.choice(self.sites)
        match self.chance.randrange(8):
            case 0 | 1 if site.up:
                site.up, site.heard_since_s = False, self.now_s
            case 2 | 3:
                self.heal(site)
            case 4:
                self.past = replace(self.past, paused=not self.past.paused)
            case 5 if self.chance.random() < 0.2:
                self.past = replace(self.past, aborted=not self.past.complete)
            case 6 if len(self.sites) < 20:
                joins = Site(f"m{len(self.sites)}")
                joins.row = joins.has = ""
                joins.heard_since_s = self.now_s
                self.sites.append(joins)
            case _:
                self.approve()

    def heal(self, site: Site) -> None:
        if not site.up:
            site.up, site.heard_since_s = True, self.now_s

    def approve(self) -> None:
        if self.past.approved or self.chance.random() < 0.5:
            self.past = replace(self.past, approved={wave.name for wave in self.rules.waves})


@pytest.mark.parametrize("seed", range(60))
def test_through_partitions_nothing_goes_wrong_and_in_the_end_all_have_it(seed: int) -> None:
    world = Simulation(seed)
    for _ in range(world.chance.randint(1, 4)):
        world.declare(bad=world.chance.random() < 0.3)
        for _ in range(world.chance.randint(5, 120)):
            if world.chance.random() < 0.2:
                world.disturb()
            world.step()
    for site in world.sites:
        world.heal(site)
    if world.target in world.bad or world.past.aborted or world.past.rolled_back:
        world.declare(bad=False)
    world.past = replace(world.past, paused=False, approved={wave.name for wave in world.rules.waves})
    for _ in range(60 + 40 * len(world.sites)):
        world.step()
    verdict = world.step()
    assert verdict.phase == "Complete", verdict
    assert {site.row for site in world.sites} == {world.target}


@pytest.mark.parametrize("seed", range(20))
def test_a_bad_version_goes_no_further_than_its_budget_and_is_taken_back_where_that_is_said(seed: int) -> None:
    world = Simulation(seed)
    world.declare(bad=True)
    world.past = replace(world.past, approved={wave.name for wave in world.rules.waves})
    worst = 0
    for _ in range(400):
        world.step()
        worst = max(worst, sum(site.has in world.bad for site in world.sites))
        if world.chance.random() < 0.1:
            site = world.chance.choice(world.sites[2:] or world.sites)
            site.up = not site.up
            site.heard_since_s = world.now_s
    assert worst <= world.rules.max_unavailable.value + sum(not site.up for site in world.sites) + 2
    if world.rules.on_failure == "Rollback":
        assert all(site.row != world.target for site in world.sites if site.up)


@pytest.mark.parametrize("seed", range(20))
def test_a_version_that_severs_links_goes_no_further_than_the_canary(seed: int) -> None:
    world = Simulation(seed)
    world.declare(bad=False)
    world.severs.add(world.target)
    world.past = replace(world.past, approved={wave.name for wave in world.rules.waves}, started_ms=0)
    for _ in range(200):
        world.step()
        assert {site.name for site in world.sites if site.has == world.target} <= {"m0", "m1"}
    verdict = world.step()
    assert (verdict.phase, verdict.begun) == ("Frozen", ("canary",))


def too_silent(verdict: Verdict, members: list[Member], wave: str) -> bool:
    """Reckoned as the documents say it."""
    tried = [
        each
        for each in members
        if verdict.states[each.name].wave == wave
        and not (each.unchanged or each.fault or (each.known and each.health == "alone"))
    ]
    works = [each for each in tried if each.holds == "target" and each.known and each.health == "ready"]
    if any(each.since_ms > each.heard_since_ms and not each.heard for each in works):
        return False  # of these nothing is said here
    silent = [each for each in tried if not each.heard and each not in works]
    return len(silent) * 2 > len(tried)


members_of = st.lists(
    st.builds(
        Member,
        name=st.sampled_from([f"m{at}" for at in range(12)]),
        labels=st.just({}),
        heard=st.booleans(),
        heard_since_ms=st.integers(0, NOW),
        holds=st.sampled_from(["target", "base", "other", "nothing"]),
        known=st.booleans(),
        health=st.sampled_from(["ready", "progressing", "failed", "alone"]),
        since_ms=st.integers(0, NOW),
        fault=st.sampled_from(["", "", "", "x"]),
        base_fault=st.booleans(),
        unchanged=st.booleans(),
    ),
    unique_by=lambda each: each.name,
    max_size=12,
)
pasts = st.builds(
    Past,
    begun=st.lists(st.sampled_from(["canary", "some", "rest"]), unique=True).map(tuple),
    approved=st.frozensets(st.sampled_from(["canary", "some"])),
    aborted=st.booleans(),
    paused=st.booleans(),
    rolled_back=st.booleans(),
    complete=st.booleans(),
    proven=st.booleans(),
    has_base=st.booleans(),
)
rules_of = st.builds(
    lambda most, failed, approval, fails: policy(
        named("canary", "m0", "m1", requiresApproval=approval),
        {"name": "some", "members": "30%", "requiresApproval": not approval},
        maxUnavailable=most,
        maxFailed=failed,
        onFailure=fails,
    ),
    st.integers(1, 4),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from(["Halt", "Rollback"]),
)


@given(rules=rules_of, members=members_of, past=pasts)
def test_of_any_state_the_decision_keeps_to_its_bounds(
    rules: RolloutPolicy, members: list[Member], past: Past
) -> None:
    verdict = decide_rollout(rules, members, past, now_ms=NOW, key="k")
    assert verdict.gives.keys() == verdict.states.keys() == {each.name for each in members}
    assert set(past.begun) <= set(verdict.begun), "a wave that has begun never ends"
    assert decide_rollout(rules, members[::-1], past, now_ms=NOW, key="k") == verdict, "order does not matter"
    fresh = [
        each
        for each in members
        if verdict.gives[each.name] == "target" and each.holds not in ("target", "nothing") and each.ready
    ]
    assert len(fresh) <= rules.max_unavailable.value
    assert all(each.heard for each in fresh)
    if past.rolled_back or (past.aborted and not past.complete):
        gets = [each for each in members if verdict.gives[each.name] == "target" and each.holds != "target"]
        assert not gets, "it is final"
    gated = {wave.name for wave in rules.waves if wave.approval} - set(past.approved) - set(past.begun)
    if not past.proven and not past.complete:
        for each in members:
            if each.holds != "target" and verdict.states[each.name].wave in gated:
                assert verdict.gives[each.name] != "target", "nobody said yes"
    if verdict.phase == "Complete" and not past.complete:
        begun = [each for each in members if verdict.states[each.name].wave in verdict.begun]
        assert all(each.holds == "target" or each in begun for each in members), "no wave is left out"
    if not past.proven and not past.complete and not verdict.rolls_back:
        order = [wave.name for wave in rules.waves]
        for wave in set(verdict.begun) - set(past.begun):
            earlier = order[: order.index(wave)]
            silent = [name for name in earlier if too_silent(verdict, members, name)]
            assert not silent, "of a wave that is silent nothing follows"
        if verdict.phase == "Complete":
            assert not any(too_silent(verdict, members, name) for name in order)
    for each in members:
        if verdict.gives[each.name] == "nothing":
            assert each.holds == "nothing"
