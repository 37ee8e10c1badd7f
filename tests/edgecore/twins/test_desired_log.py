"""The gateway's own log of what was wanted: bounded, in order, and there after a power cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecore.store.port import EdgeBatch, TwinRow
from edgecore.twins.desired_log import SLOTS, DesiredLog, log_entries
from edgecore.twins.stage import Place
from skerry.errors import StorageFullError
from skerry.frozen import replace
from skerry.objects.desired import Desired, Hlc, Vector
from skerry.objects.desired_log import shown
from skerry.objects.json import JsonObject, dig
from skerry.objects.twins import AckState, TwinState, ack
from tests.edgecore.twins.gateway import DEVICE, Gateway, device

SETPOINT: Place = (DEVICE, "setpoint")


def wanted(value: str, edge: int, *, removed: bool = False) -> Desired:
    ver, hlc = Vector(edge=edge), Hlc(edge, 0)
    return Desired(value=value, ver=ver, hlc=hlc, side="edge", origin="bob", removed=removed)


class Kept:
    """A log over rows that are kept as a store keeps them."""

    def __init__(self) -> None:
        self.rows: dict[str, TwinRow] = {}
        self.twins: dict[Place, TwinState] = {}
        self.begin_anew()

    def begin_anew(self) -> None:
        self.log = DesiredLog(self.rows.values(), self.twins, lambda _device, states: f"rev {len(states)}")

    def commit(
        self, states: Mapping[Place, TwinState], now_ms: int = 1, answers: Sequence[tuple[Place, TwinState]] = ()
    ) -> None:
        noted = self.log.note(states, answers, now_ms=now_ms)
        self.rows |= {row.prop: row for row in noted.rows}
        self.twins |= states
        self.log.keep(noted)

    def items(self) -> list[JsonObject]:
        return shown(log_entries(self.rows.values()))


def answered(desired: Desired, state: AckState, reason: str = "") -> TwinState:
    return TwinState(uid="u", desired=desired, ack=ack(state, for_ver=desired.ver, at_ms=1, reason=reason))


def test_a_change_and_its_last_answer_are_one_item() -> None:
    kept, one, two = Kept(), wanted("20", 1), wanted("21", 2)
    kept.commit({SETPOINT: answered(one, "pending")})
    kept.commit({SETPOINT: answered(one, "failed", "silent for 1 s")}, 2)
    kept.commit({SETPOINT: answered(one, "failed", "silent for 2 s")}, 3)
    kept.commit({SETPOINT: answered(one, "verified")}, 4)
    kept.commit({SETPOINT: answered(two, "refused", "no")}, 5)
    kept.commit({SETPOINT: answered(wanted("", 3, removed=True), "verified")}, 6)
    assert [(dig(item, "before"), dig(item, "value"), dig(item, "answer", "state")) for item in kept.items()] == [
        ("21", None, "verified"), ("20", "21", "refused"), (None, "20", "verified"),
    ]  # fmt: skip
    assert len(kept.rows) == 6, "answers to one version take each other's place"
    assert [dig(item, "revision") for item in kept.items()] == ["rev 1"] * 3


def test_an_answer_is_logged_though_another_value_is_wanted_before_it_is_committed() -> None:
    kept, one, two = Kept(), wanted("20", 1), wanted("21", 2)
    kept.commit({SETPOINT: answered(one, "pending")})
    said = [(SETPOINT, answered(one, "failed", "silent")), (SETPOINT, answered(one, "verified"))]
    kept.commit({SETPOINT: answered(two, "pending")}, 2, answers=said)
    late = [(SETPOINT, answered(one, "verified"))]
    kept.commit({SETPOINT: answered(two, "refused", "no")}, 3, answers=late)
    assert [(dig(item, "before"), dig(item, "value"), dig(item, "answer", "state")) for item in kept.items()] == [
        ("20", "21", "refused"), (None, "20", "verified"),
    ]  # fmt: skip
    assert len(kept.rows) == 4, "an answer to what nobody wants any more, which came late, has no say"


def test_readings_and_what_is_known_already_write_nothing() -> None:
    kept, state = Kept(), answered(wanted("20", 1), "verified")
    kept.commit({SETPOINT: state})
    held = dict(kept.rows)
    kept.commit({SETPOINT: replace(state, seq=7), (DEVICE, "level"): TwinState(uid="u", seq=3)})
    kept.begin_anew()
    kept.commit({SETPOINT: replace(state, seq=8)})
    assert kept.rows == held


def test_another_life_of_the_device_begins_with_nothing_wanted() -> None:
    kept = Kept()
    kept.commit({SETPOINT: answered(wanted("20", 1), "verified")})
    kept.commit({SETPOINT: replace(answered(wanted("20", 1), "verified"), uid="v")})
    assert [(dig(item, "uid"), dig(item, "before")) for item in kept.items()] == [("v", None), ("u", None)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(("want", "answer", "restart"))), max_size=400))
def test_however_much_is_wanted_the_newest_is_there_in_order_and_the_log_does_not_grow(
    steps: list[tuple[str, str]],
) -> None:
    kept, written = Kept(), list[tuple[str, str]]()
    for at, (prop, what) in enumerate(steps, start=1):
        held = kept.twins.get((DEVICE, prop))
        if what == "restart":
            kept.begin_anew()
        elif what == "want":
            kept.commit({(DEVICE, prop): TwinState(uid="u", desired=wanted(str(at), at))}, at)
            written.append((prop, str(at)))
        elif held is not None and held.desired is not None:
            kept.commit({(DEVICE, prop): answered(held.desired, "failed", str(at))}, at)
    assert len(kept.rows) <= SLOTS
    told = [(str(dig(item, "property")), str(dig(item, "value"))) for item in kept.items()]
    assert told == written[::-1][: len(told)] and len(told) >= min(len(written), SLOTS // 2)


async def test_both_sides_writes_are_there_after_a_power_cut_with_their_answers() -> None:
    gateway = Gateway()
    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.until(lambda: gateway.quality() == "good")
        await gateway.want_in_cloud("64")
        await gateway.until(lambda: gateway.ack() == "verified")
        await gateway.keeper.set_desired(DEVICE, "setpoint", "65", origin="bob")
        await gateway.until(lambda: gateway.ack() == "verified")
        revision = gateway.keeper._wishes._ledger.revision(DEVICE)
    gateway.start_over()
    async with gateway.alive():
        items = shown([*gateway.keeper.desired_log(DEVICE)])
        assert [(dig(item, "before"), dig(item, "value"), dig(item, "by")) for item in items] == [
            ("64", "65", "bob"),
            (None, "64", "ann"),
        ]
        assert [dig(item, "answer", "state") for item in items] == ["verified", "verified"]
        assert dig(items[0], "revision") == revision
        await gateway.until(lambda: gateway.keeper.config_of(DEVICE, "setpoint") is not None)
        await gateway.keeper.set_desired(DEVICE, "setpoint", "66", origin="eve")
        newest = shown([*gateway.keeper.desired_log(DEVICE)])[0]
        assert (dig(newest, "before"), dig(newest, "value")) == ("65", "66")


async def test_what_could_not_be_committed_is_not_in_the_log() -> None:
    gateway = Gateway()
    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.until(lambda: gateway.quality() == "good")
        gateway.failing.fail_writes_with = StorageFullError("the disk is full")
        with pytest.raises(StorageFullError):
            await gateway.keeper.set_desired(DEVICE, "setpoint", "65", origin="bob")
        gateway.failing.fail_writes_with = None
        await gateway.keeper.set_desired(DEVICE, "setpoint", "66", origin="bob")
        assert [dig(item, "value") for item in shown([*gateway.keeper.desired_log(DEVICE)])] == ["66"]


async def test_the_log_goes_with_its_device() -> None:
    gateway = Gateway()
    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.until(lambda: gateway.quality() == "good")
        await gateway.keeper.set_desired(DEVICE, "setpoint", "66", origin="bob")
        assert gateway.keeper.desired_log(DEVICE)
        await gateway.store.apply(EdgeBatch(deletes=(DEVICE,)))
        await gateway.until(lambda: not gateway.keeper.desired_log(DEVICE))
