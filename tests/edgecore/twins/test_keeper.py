"""The keeper over a memory store and a virtual device: readings, desired values, restarts, a full disk."""

from __future__ import annotations

import asyncio

import pytest

from skerry.errors import ConflictError, InvalidError, NotFoundError, StorageFullError, UnavailableError
from skerry.frozen import replace
from skerry.objects.desired import Vector, Wish, merge
from skerry.objects.device_owner import OWNER
from skerry.objects.json import JsonObject, clone, ensure_map, list_at, maps_at
from skerry.objects.meta import Key
from skerry.objects.twins import decode_device_state, decode_state, encode_state
from tests.edgecore.twins.gateway import DEVICE, FAST, Gateway, device, reading


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


async def test_a_desired_value_of_the_cloud_is_written_read_back_and_acknowledged(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.until(lambda: gateway.twin().reported is not None)
        await gateway.want_in_cloud("21.5")
        await gateway.until(lambda: gateway.ack() == "verified")
        await gateway.until(lambda: gateway.told().ack is not None and gateway.told().ack.state == "verified")  # pyright: ignore[reportOptionalMemberAccess]
        # Values that move are told in turn; the acknowledgement does not wait for that.
        await gateway.until(lambda: (held := gateway.told().reported) is not None and held.value == "21.5")
    assert gateway.driver.writes == [(DEVICE, "setpoint", 21.5)]
    told = gateway.told()
    assert told.observed is not None and told.observed.value == "21.5"


async def test_a_value_that_the_device_holds_already_is_not_written(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.want_in_cloud("20")
        await gateway.until(lambda: gateway.ack() == "verified")
    assert gateway.driver.writes == []


async def test_what_was_carried_out_is_not_written_again_after_a_restart(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.want_in_cloud("21.5")
        await gateway.until(lambda: gateway.ack() == "verified")
    gateway.start_over()  # the virtual device begins anew, at 20
    async with gateway.alive():
        await gateway.until(lambda: (found := gateway.twin().reported) is not None and found.value == "20.0")
        assert gateway.ack() == "verified"
    assert gateway.driver.writes == []


async def test_a_pending_value_survives_a_restart_and_is_then_carried_out(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.until(lambda: gateway.twin().reported is not None)
        gateway.driver.silence(DEVICE, silent=True)
        await gateway.want_in_cloud("21.5")
        await gateway.until(lambda: gateway.ack() == "failed")
        answer = gateway.twin().ack
        assert answer is not None and answer.reason == "the device is silent"
    gateway.start_over()
    async with gateway.alive():
        await gateway.until(lambda: gateway.ack() == "verified")
    assert gateway.driver.writes == [(DEVICE, "setpoint", 21.5)]


@pytest.mark.parametrize(
    ("value", "reason"),
    [("warm", "'warm' is not a number: use one such as 21.5"), ("33", "the device won't take 33.0")],
)
async def test_what_can_t_be_done_is_refused_with_the_reason(gateway: Gateway, value: str, reason: str) -> None:
    async with gateway.alive():
        await gateway.put_device(device({"initial": 20, "refuse": ["33.0"]}))
        await gateway.want_in_cloud(value)
        await gateway.until(lambda: gateway.ack() == "refused")
    answer = gateway.twin().ack
    assert answer is not None and (answer.reason, answer.code) == (reason, 400)


async def test_an_expired_value_is_not_carried_out(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.want_in_cloud("50", expires="2020-01-01T00:00:00Z")
        await gateway.until(lambda: gateway.ack() == "expired")
    assert gateway.driver.writes == []


async def test_a_value_with_an_expiry_waits_while_the_clock_is_not_known_to_be_right(gateway: Gateway) -> None:
    gateway.synced = False
    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.until(lambda: gateway.twin().reported is not None)
        await gateway.want_in_cloud("50", expires="2120-01-01T00:00:00Z")
        await gateway.until(lambda: gateway.ack() == "pending")
        before = gateway.twin().seq
        gateway.driver.play(reading(gateway.clock, 1))
        await gateway.until(lambda: gateway.twin("level").seq == 1)
        assert (gateway.ack(), gateway.twin().seq) == ("pending", before)
        assert gateway.driver.writes == []


async def test_a_value_set_on_the_gateway_is_carried_out_and_sent_up(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.until(lambda: bool(gateway.keeper.devices()))
        ver = await gateway.keeper.set_desired(DEVICE, "setpoint", "30", origin="local:uid 0")
        assert gateway.wanted_up()[0].desired.value == "30", "durable when it returned"
        state = await gateway.keeper.wait(
            DEVICE, "setpoint", for_ver=ver, states=frozenset({"verified"}), timeout_s=5
        )
        assert state.ack is not None and state.ack.state == "verified"
    assert gateway.driver.writes == [(DEVICE, "setpoint", 30.0)]


async def test_both_sides_wrote_while_apart_and_agree_afterwards(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.want_in_cloud("25")
        await gateway.until(lambda: gateway.ack() == "verified")
        await gateway.keeper.set_desired(DEVICE, "setpoint", "30", origin="op")  # the cloud does not hear of it yet
        await gateway.until(lambda: gateway.ack() == "verified")
        await gateway.want_in_cloud("35")  # later, and without having seen 30
        await gateway.until(lambda: gateway.twin().desired is not None and gateway.ack() == "verified")
        await gateway.until(lambda: gateway.driver.writes[-1][2] == 35.0)
        mine = gateway.twin().desired
        assert mine is not None
        assert (mine.value, mine.ver) == ("35", Vector(cloud=3, edge=1))
        assert mine.conflict is not None and mine.conflict.value == "30"
        # What waits for the cloud comes to the same there.
        await gateway.until(lambda: gateway.wanted_up()[0].desired == mine)
        assert merge(mine, gateway.wanted_up()[0].desired, "newest") == mine


async def test_what_can_t_be_wanted_is_refused_at_once(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.until(lambda: bool(gateway.keeper.devices()))
        with pytest.raises(InvalidError, match="above the maximum of 90"):
            await gateway.keeper.set_desired(DEVICE, "setpoint", "95", origin="op")
        with pytest.raises(InvalidError, match="read-only"):
            await gateway.keeper.set_desired(DEVICE, "level", "1", origin="op")
        with pytest.raises(InvalidError, match="expired already"):
            await gateway.keeper.set_desired(DEVICE, "setpoint", "50", origin="op", expires_ms=1)
        with pytest.raises(NotFoundError, match="default/other"):
            await gateway.keeper.set_desired(Key(DEVICE.resource, "default", "other"), "x", "1", origin="op")


async def test_a_wait_that_is_not_fulfilled_says_what_it_waits_for(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.until(lambda: gateway.twin().reported is not None)
        gateway.driver.silence(DEVICE, silent=True)
        ver = await gateway.keeper.set_desired(DEVICE, "setpoint", "30", origin="op")
        await gateway.until(lambda: gateway.ack() == "failed")
        with pytest.raises(UnavailableError, match="failed: the device is silent after"):
            await gateway.keeper.wait(DEVICE, "setpoint", for_ver=ver, states=frozenset({"verified"}), timeout_s=0.02)


async def test_every_reading_of_a_sensor_is_kept_in_order_once(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device(level={"twin": {"everyReading": True}}))
        await gateway.until(lambda: bool(gateway.driver.health()))
        for number in range(500):
            gateway.driver.play(reading(gateway.clock, number % 3, source_seq=number, receipt=number + 1))
        for number in (490, 495, 499):  # the broker sends again what it has no acknowledgement for
            gateway.driver.play(reading(gateway.clock, number % 3, source_seq=number, receipt=1000, redelivered=True))
        await gateway.until(lambda: len(gateway.driver.receipts) == 503)
    rows = gateway.telemetry("level")
    assert [row.seq for row in rows] == list(range(1, 501))
    assert [row.source_seq for row in rows] == list(range(500))
    assert gateway.keeper.repeated == 3


async def test_a_restarted_gateway_recognises_what_it_had_stored_but_not_acknowledged(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device(level={"twin": {"everyReading": True}}))
        await gateway.until(lambda: bool(gateway.driver.health()))
        gateway.driver.play(reading(gateway.clock, 1, source_seq=41))
        await gateway.until(lambda: len(gateway.telemetry("level")) == 1)
    gateway.start_over()
    async with gateway.alive():
        await gateway.until(lambda: bool(gateway.driver.health()))
        gateway.driver.play(reading(gateway.clock, 1, source_seq=41, redelivered=True, receipt=5))
        gateway.driver.play(reading(gateway.clock, 2, source_seq=42, receipt=6))
        await gateway.until(lambda: gateway.driver.receipts == [5, 6])
    assert [(row.seq, row.source_seq) for row in gateway.telemetry("level")] == [(1, 41), (2, 42)]


async def test_a_message_that_was_overtaken_while_the_gateway_was_down_is_kept_and_is_no_news(
    gateway: Gateway,
) -> None:
    async with gateway.alive():
        await gateway.put_device(device(level={"twin": {"everyReading": True}}))
        await gateway.until(lambda: bool(gateway.driver.health()))
        gateway.driver.play(reading(gateway.clock, 1, source_seq=41))
        await gateway.until(lambda: len(gateway.telemetry("level")) == 1)
    for _ in range(2):  # killed before it had acknowledged anything
        gateway.start_over()
        async with gateway.alive():
            await gateway.until(lambda: bool(gateway.driver.health()))
            gateway.driver.play(reading(gateway.clock, 3, source_seq=43, receipt=5))
            gateway.driver.play(reading(gateway.clock, 2, source_seq=42, redelivered=True, receipt=6))
            await gateway.until(lambda: gateway.driver.receipts == [5, 6])
            shown = gateway.twin("level").reported
            assert shown is not None
            assert shown.value == "3"
    assert [(row.seq, row.source_seq) for row in gateway.telemetry("level")] == [(1, 41), (2, 43), (3, 42)]


async def test_only_what_moved_beyond_the_deadband_is_told_and_a_slow_drift_adds_up(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device(level={"twin": {"deadband": 2}}))
        await gateway.until(lambda: bool(gateway.driver.health()))
        for value in (10, 11, 12, 13, 14, 10):
            gateway.driver.play(reading(gateway.clock, value, receipt=value))
        await gateway.until(lambda: len(gateway.driver.receipts) == 6)
    assert [row.value for row in gateway.telemetry("level")] == ["10", "13", "10"]


async def test_a_lost_value_is_said_to_be_stale_and_no_value_is_made_up(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.until(lambda: bool(gateway.driver.health()))
        gateway.driver.play(reading(gateway.clock, None))
        gateway.driver.play(reading(gateway.clock, 7))
        gateway.driver.play(reading(gateway.clock, None))
        await gateway.until(lambda: len(gateway.telemetry("level")) == 3)
    assert [(row.value, row.quality) for row in gateway.telemetry("level")] == [
        (None, "bad"),
        ("7", "good"),
        (None, "bad"),
    ]
    reported = gateway.told("level").reported
    assert reported is not None
    assert (reported.value, reported.quality, reported.reason) == ("7", "stale", "silent")


async def test_a_full_disk_loses_nothing_and_acknowledges_nothing(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device(level={"twin": {"everyReading": True}}))
        await gateway.until(lambda: bool(gateway.driver.health()))
        gateway.failing.fail_writes_with = StorageFullError("no space left on device")
        for number in range(5):
            gateway.driver.play(reading(gateway.clock, number, receipt=number + 1))
        await gateway.until(lambda: gateway.failing.attempts >= 3)
        with pytest.raises(StorageFullError):
            await gateway.keeper.set_desired(DEVICE, "setpoint", "30", origin="op")
        assert gateway.driver.receipts == [] and gateway.telemetry("level") == []
        desired = gateway.twin().desired
        assert desired is None, "a refused wish has no effect later"
        gateway.failing.fail_writes_with = None
        await gateway.until(lambda: len(gateway.driver.receipts) == 5)
    assert [row.value for row in gateway.telemetry("level")] == ["0", "1", "2", "3", "4"]


async def test_the_state_of_devices_is_told_when_it_changes(gateway: Gateway) -> None:
    def states() -> list[tuple[str, str]]:
        return [
            ((told := decode_device_state(report.body)).state, told.reason)
            for report in gateway.memory.outbox(after=0, limit=1000)
            if report.kind == "device_state"
        ]

    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.until(lambda: states() == [("online", "")])
        gateway.driver.silence(DEVICE, silent=True)
        await gateway.until(lambda: states() == [("offline", "the device is silent")])
        broken = device({"initial": 20, "skript": []})
        await gateway.put_device(broken)
        await gateway.until(lambda: states()[0][0] == "invalid")
        assert "skript: unknown field; did you mean script?" in states()[0][1]
        assert gateway.keeper.devices()[0].state == "invalid"


async def test_a_device_that_goes_takes_its_twins_along_and_a_new_one_of_the_name_starts_afresh(
    gateway: Gateway,
) -> None:
    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.want_in_cloud("21.5")
        await gateway.until(lambda: gateway.ack() == "verified")
        again = device(uid="u2")
        gateway.object = None
        await gateway.put_device(again)
        await gateway.until(lambda: gateway.twin().uid == "u2")
        assert gateway.twin().desired is None
        assert gateway.twin().seq > 0, "its history goes on counting"


async def test_a_desired_value_that_the_cloud_takes_away_is_forgotten(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.want_in_cloud("21.5")
        await gateway.until(lambda: gateway.ack() == "verified")
        assert gateway.object is not None
        without = clone(gateway.object)
        del maps_at(without, "spec", "properties")[0]["desired"]
        await gateway.put_device(without)
        await gateway.until(lambda: (held := gateway.twin().desired) is None or held.removed)


async def test_twins_are_committed_in_groups(gateway: Gateway) -> None:
    assert FAST.group_rows == 200
    async with gateway.alive():
        await gateway.put_device(device(level={"twin": {"everyReading": True}}))
        await gateway.until(lambda: bool(gateway.driver.health()))
        commits = 0

        def count(_: object) -> None:
            nonlocal commits
            commits += 1

        gateway.store.listen(count)
        for number in range(1000):
            gateway.driver.play(reading(gateway.clock, number, receipt=number + 1))
        await gateway.until(lambda: len(gateway.driver.receipts) == 1000)
        assert commits <= 100


async def test_a_device_whose_configuration_went_wrong_shows_old_values_and_recovers(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.until(lambda: gateway.quality() == "good")
        wrong = device()
        list_at(wrong, "spec", "properties").append({"name": "setpiont"})
        await gateway.put_device(wrong)
        await gateway.until(lambda: (found := gateway.told().reported) is not None and found.quality == "stale")
        told = gateway.told().reported
        assert told is not None and told.value == "20.0"
        assert "setpiont" in told.reason
        await gateway.put_device(device())
        await gateway.until(lambda: gateway.quality() == "good")


async def test_a_value_wanted_of_a_device_whose_configuration_is_wrong_fails_and_is_carried_out_later(
    gateway: Gateway,
) -> None:
    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.until(lambda: gateway.quality() == "good")
        gateway.driver.silence(DEVICE, silent=True)
        await gateway.want_in_cloud("21.5")
        await gateway.until(lambda: gateway.ack() == "failed")
        right = gateway.object
        assert right is not None
        wrong = clone(right)
        list_at(wrong, "spec", "properties").append({"name": "setpiont"})
        await gateway.put_device(wrong)
        await gateway.until(lambda: "setpiont" in gateway.ack_reason())
        await gateway.put_device(right)
        await gateway.until(lambda: gateway.ack() == "verified")
    assert gateway.driver.writes[-1] == (DEVICE, "setpoint", 21.5)


async def test_a_property_taken_from_a_device_is_not_shown_as_current(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.until(lambda: gateway.quality() == "good")
        less = device()
        del list_at(less, "spec", "properties")[0]
        await gateway.put_device(less)
        await gateway.until(lambda: gateway.quality() == "stale")


# --- how soon readings are durable ---


async def test_a_reading_after_a_silence_waits_for_no_company() -> None:
    gateway = Gateway(settings=replace(FAST, group_s=1000.0, group_credit=10**6))
    async with gateway.alive():
        await _level_moves(gateway, 1, 2, 3)


async def test_readings_that_never_end_share_commits() -> None:
    gateway = Gateway(settings=replace(FAST, group_s=1000.0, group_credit=1, group_rows=3))
    async with gateway.alive():
        await gateway.put_device(device(level={"twin": {"everyReading": True}}))
        await gateway.until(lambda: gateway.twin().reported is not None)
        for value in (1, 2):  # the first can't wait, the second is the credit
            gateway.driver.play(reading(gateway.clock, value))
            await gateway.until(lambda value=value: len(gateway.telemetry("level")) == value)
        gateway.driver.play(reading(gateway.clock, 3))
        await gateway.until(lambda: gateway.twin("level").seq == 3)
        assert [row.value for row in gateway.telemetry("level")] == ["1", "2"]
        for value in (4, 5):
            gateway.driver.play(reading(gateway.clock, value))
        await gateway.until(lambda: len(gateway.telemetry("level")) == 5)


# --- how often the cloud hears of a value that moves ---

SELDOM = replace(FAST, tell_s=1000.0, tell_credit=1)
"""Longer than any test. The first value is told because it is the first, the second is the device's credit, and what
is told after that is told for another reason than that its turn came."""


async def _level_moves(gateway: Gateway, *values: int) -> None:
    await gateway.put_device(device(level={"twin": {"everyReading": True}}))
    # The setpoint's first value is told at once, and would take the level along.
    await gateway.until(
        lambda: any(report.kind == "twin_reported" for report in gateway.store.outbox(after=0, limit=9))
    )
    for value in values:
        before = gateway.twin("level").seq
        gateway.driver.play(reading(gateway.clock, value))
        await gateway.until(lambda before=before: len(gateway.telemetry("level")) == before + 1)


def _level_told(gateway: Gateway) -> str | None:
    reported = gateway.told("level").reported
    return reported.value if reported else None


async def test_a_value_that_moves_is_told_at_first_and_then_in_turn_and_the_last_one_always() -> None:
    gateway = Gateway(settings=SELDOM)
    async with gateway.alive():
        await _level_moves(gateway, 1, 2, 3, 4, 5)
        assert _level_told(gateway) == "2"
        assert [row.value for row in gateway.telemetry("level")] == ["1", "2", "3", "4", "5"], "history has them all"
    assert _level_told(gateway) == "5", "the agent stopped"


async def test_a_devices_turn_comes_without_a_further_reading() -> None:
    gateway = Gateway(settings=replace(FAST, tell_s=0.05, tell_credit=1))
    async with gateway.alive():
        await _level_moves(gateway, 1, 2, 3)
        await gateway.until(lambda: _level_told(gateway) == "3")


async def test_quality_and_answers_are_told_at_once_with_what_was_pending() -> None:
    gateway = Gateway(settings=SELDOM)
    async with gateway.alive():
        await _level_moves(gateway, 1, 2, 3)
        gateway.driver.play(reading(gateway.clock, None))
        await gateway.until(lambda: _level_told(gateway) == "3")
        told = gateway.told("level").reported
        assert told is not None and told.quality == "stale"
        await gateway.want_in_cloud("30")
        await gateway.until(lambda: (found := gateway.told().ack) is not None and found.state == "verified")
        reported = gateway.told().reported
        assert reported is not None and reported.value == "30.0"


async def test_what_was_pending_at_a_power_cut_is_told_after_it() -> None:
    gateway = Gateway(settings=SELDOM)
    async with gateway.alive():
        await _level_moves(gateway, 1, 2, 3)
        disk = gateway.memory.snapshot()
    gateway.memory.restore(disk)
    assert _level_told(gateway) == "2"
    gateway.start_over()
    async with gateway.alive():
        await gateway.until(lambda: _level_told(gateway) == "3")
        assert not any(decode_state(row.body).untold for row in gateway.memory.twins())


async def test_several_values_are_all_checked_before_any_is_written(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device(level={"initial": 1}))
        await gateway.until(lambda: gateway.twin().reported is not None)
        two = [Wish(prop="setpoint", value="30"), Wish(prop="level", value="3")]
        with pytest.raises(InvalidError, match="level is read-only"):
            await gateway.keeper.write(DEVICE, two, origin="op")
        assert gateway.twin().desired is None and gateway.wanted_up() == []
        with pytest.raises(InvalidError, match="once"):
            await gateway.keeper.write(DEVICE, [two[0], two[0]], origin="op")
        with pytest.raises(InvalidError, match="between 1 and"):
            await gateway.keeper.write(DEVICE, [], origin="op")


async def test_a_write_on_the_gateway_is_refused_where_something_else_is_wanted_by_now(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.want_in_cloud("21.5")
        await gateway.until(lambda: gateway.ack() == "verified")
        for wish in (Wish(prop="setpoint", value="30", if_match="7.0"), Wish(prop="setpoint", take="cloud")):
            with pytest.raises((ConflictError, InvalidError)):
                await gateway.keeper.write(DEVICE, [wish], origin="op")
        held = gateway.twin().desired
        assert held is not None
        with pytest.raises(ConflictError, match="at revision"):
            await gateway.keeper.write(DEVICE, [Wish(prop="setpoint", value="30")], origin="op", if_match="0")
        wish = Wish(prop="setpoint", value="30", on_reconnect="drop", if_match=str(held.ver))
        await gateway.keeper.write(DEVICE, [wish], origin="op")
        assert (wanted := gateway.twin().desired) is not None and wanted.on_reconnect == "drop"
        await gateway.until(lambda: gateway.ack() == "verified" and gateway.driver.writes[-1][2] == 30.0)
        await gateway.keeper.write(DEVICE, [Wish(prop="setpoint")], origin="op")
        gone = gateway.twin().desired
        assert gone is not None and gone.removed and gateway.twin().ack is None


async def test_two_who_write_at_once_on_the_gateway_are_one_after_the_other(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.until(lambda: gateway.twin().reported is not None)
        first, second = await asyncio.gather(
            gateway.keeper.set_desired(DEVICE, "setpoint", "30", origin="op"),
            gateway.keeper.set_desired(DEVICE, "setpoint", "31", origin="op"),
        )
        held = gateway.twin().desired
    assert second.covers(first) and second != first
    assert held is not None and (held.value, held.rivals) == ("31", ())


async def test_what_the_cloud_sends_while_the_gateway_catches_up_waits_where_it_is_to_be_confirmed(
    gateway: Gateway,
) -> None:
    async with gateway.alive():
        await gateway.put_device(device(setpoint={"initial": 20, "twin": {"onReconnect": "confirm"}}))
        await gateway.until(lambda: gateway.twin().reported is not None)
        gateway.in_step = False
        await gateway.want_in_cloud("21.5")
        await gateway.until(lambda: "wanted once more" in gateway.ack_reason())
        assert gateway.ack() == "pending" and gateway.driver.writes == []
        gateway.in_step = True
        await gateway.want_in_cloud("21.5", requested="now")
        await gateway.until(lambda: gateway.ack() == "verified")
        assert gateway.driver.writes == [(DEVICE, "setpoint", 21.5)]


async def test_a_device_that_is_to_be_spared_is_written_the_newest_value_when_it_may_be(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device({"initial": 20, "twin": {"writeIntervalMs": 600_000}}))
        await gateway.until(lambda: gateway.quality() == "good")
        await gateway.want_in_cloud("64")
        await gateway.until(lambda: gateway.ack() == "verified")
        await gateway.want_in_cloud("65")
        await gateway.until(lambda: gateway.ack() == "pending")
        sight = gateway.keeper.sight(DEVICE, "setpoint")
        assert sight is not None and "is written at most every 600 s" in sight.waits
        assert sight.waits_s is not None and 0 < sight.waits_s <= 600
        once = await gateway.keeper.write_once(DEVICE, "setpoint", 70.0)
        assert once.state == "failed" and "is written at most every 600 s" in once.reason
        assert gateway.object is not None
        later = clone(gateway.object)
        entry = maps_at(later, "spec", "properties")[0]
        entry["desired"] = {"value": "66", "metadata": {}}
        ensure_map(entry, "visitors", "configData")["twin"] = {"writeIntervalMs": 1}
        await gateway.put_device(later)
        await gateway.until(lambda: gateway.ack() == "verified")
    assert [value for _, _, value in gateway.driver.writes] == [64.0, 66.0], "what was wanted in between is not"


async def test_a_device_that_came_back_from_another_gateway_is_told_anew_under_its_new_number(
    gateway: Gateway,
) -> None:
    def moved(owner: int) -> JsonObject:
        obj = device()
        ensure_map(obj, "metadata")["annotations"] = {OWNER: str(owner)}
        return obj

    def state_of(owner: int) -> bool:
        told = [report for report in gateway.memory.outbox(after=0, limit=1000) if report.kind == "device_state"]
        return bool(told) and decode_device_state(told[-1].body).device.owner == owner

    def told_of(owner: int) -> bool:
        told = [report for report in gateway.memory.outbox(after=0, limit=1000) if report.kind == "twin_reported"]
        return bool(told) and gateway.told().device.owner == owner

    async with gateway.alive():
        await gateway.put_device(moved(1))
        await gateway.until(lambda: gateway.quality() == "good" and state_of(1))
        await gateway.until(lambda: told_of(1))
    gateway.start_over()
    async with gateway.alive():
        await gateway.put_device(moved(3))
        await gateway.until(lambda: told_of(3) and state_of(3))
        reported = gateway.told().reported
        assert reported is not None and reported.value == "20.0"
        assert decode_state(encode_state(gateway.twin())).owner == 3
