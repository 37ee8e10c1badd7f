"""The laws of merging, values as text, and report bodies."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.errors import InvalidError
from skerry.frozen import replace
from skerry.objects.desired import (
    CLOCK_LEAD_MS_MAX,
    POLICIES,
    Desired,
    Hlc,
    Policy,
    Side,
    Vector,
    merge,
    next_hlc,
    policy_of,
    vector_of,
    write_desired,
)
from skerry.objects.twins import (
    DeviceName,
    DeviceState,
    Reported,
    Telemetry,
    TwinDesired,
    TwinReported,
    TwinState,
    ack,
    decode_device_state,
    decode_state,
    decode_telemetry,
    decode_twin_desired,
    decode_twin_reported,
    encode_device_state,
    encode_state,
    encode_telemetry,
    encode_twin_desired,
    encode_twin_reported,
    format_value,
    parse_value,
    same_value,
)

DEVICE = DeviceName(namespace="default", name="boiler", uid="u1")


def wanted(value: str, *, cloud: int, edge: int, side: Side = "cloud", hlc: int = 0, synced: bool = True) -> Desired:
    return Desired(
        value=value, ver=Vector(cloud=cloud, edge=edge), hlc=Hlc(hlc, 0), side=side, origin=side, synced=synced
    )


desireds = st.builds(
    wanted,
    st.sampled_from(["1", "2", "10", "on"]),
    cloud=st.integers(0, 3),
    edge=st.integers(0, 3),
    side=st.sampled_from(get_args(Side)),
    hlc=st.integers(0, 4),
    synced=st.booleans(),
)
policies = st.sampled_from(POLICIES)


@given(desireds, desireds, policies)
def test_merging_is_commutative_and_idempotent(left: Desired, right: Desired, policy: Policy) -> None:
    merged = merge(left, right, policy)
    assert merged is not None
    assert merge(right, left, policy) == merged
    assert merge(merged, left, policy) == merged
    assert merge(left, left, policy) == left


# One step of a history: (what, which side, step of its clock in ms, value).
steps = st.lists(
    st.tuples(
        st.sampled_from(["write", "tell", "tell_old"]),
        st.sampled_from(get_args(Side)),
        st.integers(-10_000_000, 10_000_000),
        st.integers(0, 9),
    ),
    max_size=30,
)


@given(steps, policies)
@settings(max_examples=300)
def test_both_sides_converge_after_any_history_and_no_uncontested_write_is_lost(
    history: list[tuple[str, Side, int, int]], policy: Policy
) -> None:
    held: dict[Side, Desired | None] = {"cloud": None, "edge": None}
    clock: dict[Side, int] = {"cloud": 1_000_000_000, "edge": 1_000_000_000}
    sent: list[Desired] = []
    writes: list[Desired] = []
    for what, side, clock_step, number in history:
        other: Side = "edge" if side == "cloud" else "cloud"
        mine = held[side]
        if what == "write":
            clock[side] = max(0, clock[side] + clock_step)
            new = write_desired(
                mine, value=str(number), side=side, origin=side, now_ms=clock[side], synced=True, expires_ms=None
            )
            writes.append(new)
            held[side] = new
        elif mine is not None and what == "tell":
            sent.append(mine)
            held[other] = merge(held[other], mine, policy)
        elif sent:
            held[side] = merge(held[side], sent[number % len(sent)], policy)
    for _ in range(2):
        held["cloud"] = merge(held["cloud"], held["edge"], policy)
        held["edge"] = merge(held["edge"], held["cloud"], policy)
    final = held["cloud"]
    assert final == held["edge"]
    if writes and all(writes[-1].ver.covers(write.ver) for write in writes):
        assert final is not None and final.value == writes[-1].value


def test_a_later_write_stands_even_when_its_clock_is_years_behind() -> None:
    first = write_desired(None, value="1", side="cloud", origin="a", now_ms=10**12, synced=True, expires_ms=None)
    later = write_desired(first, value="2", side="edge", origin="b", now_ms=0, synced=False, expires_ms=None)
    assert merge(first, later, "cloud") == later


def test_a_true_conflict_goes_to_the_newer_write_and_keeps_the_loser() -> None:
    cloud = wanted("1", cloud=1, edge=0, hlc=5)
    edge = wanted("2", cloud=0, edge=1, side="edge", hlc=9)
    merged = merge(cloud, edge, "newest")
    assert merged is not None
    assert (merged.value, merged.ver) == ("2", Vector(cloud=1, edge=1))
    assert merged.conflict is not None
    assert (merged.conflict.value, merged.conflict.side) == ("1", "cloud")


def test_a_write_under_a_wrong_clock_loses_a_true_conflict_to_one_under_a_right_clock() -> None:
    cloud = wanted("1", cloud=1, edge=0, hlc=5)
    edge = wanted("2", cloud=0, edge=1, side="edge", hlc=10**15, synced=False)
    merged = merge(cloud, edge, "newest")
    assert merged is not None and merged.value == "1"


@pytest.mark.parametrize(
    ("policy", "winner"), [("cloud", "20"), ("edge", "3"), ("min", "3"), ("max", "20"), ("newest", "3")]
)
def test_the_policy_decides_a_true_conflict(policy: Policy, winner: str) -> None:
    merged = merge(wanted("20", cloud=1, edge=0, hlc=1), wanted("3", cloud=0, edge=1, side="edge", hlc=2), policy)
    assert merged is not None and merged.value == winner


@pytest.mark.parametrize(
    ("policy", "cloud", "edge", "winner"),
    [
        ("off", "true", "false", "false"),
        ("off", "-3", "2", "2"),
        ("off", "on", "1.5", "on"),
        ("min", "x", "7", "7"),
        ("manual", "1", "2", "2"),
    ],
)
def test_the_safe_one_wins_and_with_manual_what_the_device_was_told_last(
    policy: Policy, cloud: str, edge: str, winner: str
) -> None:
    merged = merge(wanted(cloud, cloud=1, edge=0), wanted(edge, cloud=0, edge=1, side="edge"), policy)
    assert merged is not None and merged.value == winner
    assert merged.waiting == (policy == "manual")


def test_a_value_that_its_own_author_has_overwritten_since_wins_nothing() -> None:
    cloud = wanted("3", cloud=1, edge=0)
    first = wanted("1", cloud=0, edge=1, side="edge")
    second = wanted("20", cloud=0, edge=2, side="edge")
    met = merge(cloud, first, "min")
    assert met is not None and met.value == "1"
    now = merge(met, second, "min")
    assert now is not None and now.value == "3" and now.conflict == second
    assert merge(merge(cloud, second, "min"), first, "min") == now


def test_what_a_restored_cloud_writes_has_not_seen_what_was_lost_whatever_the_numbers() -> None:
    lost = wanted("1", cloud=5, edge=0, hlc=9)
    since = replace(wanted("2", cloud=3, edge=0, hlc=5), ver=Vector(cloud=3).advanced("cloud", life="b"))
    merged = merge(lost, since, "newest")
    assert merged is not None and merged.value == "1"
    assert merged.conflict is not None and merged.conflict.value == "2"
    assert vector_of(str(merged.ver)) == merged.ver == Vector(cloud=5, lives=(("b", 1),))


def test_what_a_gateway_did_by_itself_never_wins_against_anybodys_wish() -> None:
    by_itself = replace(wanted("0", cloud=0, edge=1, side="edge", hlc=9), fallback=True)
    for policy in POLICIES:
        merged = merge(wanted("20", cloud=1, edge=0), by_itself, policy)
        assert merged is not None and (merged.value, merged.waiting) == ("20", False)


@pytest.mark.parametrize("text", ["", "1", "1.2.3", "x.y", "1.2+b", "1.2+b:x", "9" * 30 + ".0"])
def test_a_version_that_does_not_parse_is_the_beginning(text: str) -> None:
    assert vector_of(text) == Vector()


@pytest.mark.parametrize(("text", "policy"), [("safe(min)", "min"), ("safe", "off"), ("manual", "manual")])
def test_policies_have_other_names(text: str, policy: Policy) -> None:
    assert policy_of(text) == policy
    assert policy_of("whatever") is None


def test_two_sides_that_wanted_the_same_have_no_conflict() -> None:
    merged = merge(wanted("20", cloud=1, edge=0), wanted("20", cloud=0, edge=1, side="edge"), "newest")
    assert merged is not None and merged.conflict is None


def test_a_hybrid_clock_never_goes_back_and_follows_a_fast_one_five_minutes_at_most() -> None:
    assert next_hlc(Hlc(100, 3), 50) == Hlc(100, 4)
    assert next_hlc(Hlc(100, 3), 101) == Hlc(101, 0)
    assert next_hlc(Hlc(10**15, 0), 50) == Hlc(50 + CLOCK_LEAD_MS_MAX, 0)


@pytest.mark.parametrize(
    ("type", "text", "value"),
    [
        ("INT", "21", 21),
        ("INT", "21.0", 21),
        ("FLOAT", "-2.5e1", -25.0),
        ("BOOLEAN", "on", True),
        ("BOOLEAN", "False", False),
        ("STRING", "ä b", "ä b"),
        ("BYTES", "AAE=", b"\x00\x01"),
    ],
)
def test_text_is_read_as_its_declared_type_and_written_back(type: str, text: str, value: object) -> None:
    read = parse_value(type, text)
    assert read == value and isinstance(read, value.__class__)
    assert parse_value(type, format_value(read)) == read


WRONG = [("INT", "2.5"), ("INT", "1e99"), ("INT", "x"), ("FLOAT", "nan"), ("FLOAT", "x"), ("BOOLEAN", "2")]


@pytest.mark.parametrize(("type", "text"), [*WRONG, ("BYTES", "%"), ("STREAM", "x"), ("STRING", "x" * 5000)])
def test_text_that_is_not_of_the_type_is_refused(type: str, text: str) -> None:
    with pytest.raises(InvalidError):
        parse_value(type, text)


def test_numbers_within_the_tolerance_are_the_same() -> None:
    assert same_value("FLOAT", "20.0", "20.1", 0.1)
    assert not same_value("FLOAT", "20.0", "20.2", 0.1)
    assert not same_value("BOOLEAN", "true", "false", 5)
    assert same_value("INT", "20", "20", 0)


def test_everything_that_is_stored_or_sent_reads_back_as_it_was() -> None:
    one = wanted("1", cloud=1, edge=0, hlc=5)
    both = merge(one, wanted("2", cloud=0, edge=1, side="edge", hlc=9, synced=False), "newest")
    assert both is not None
    desired = replace(both, expires_ms=77, on_reconnect="confirm", waiting=True)
    reported = Reported(
        value="1", type="INT", unit="C", quality="stale", reason="old", source_ms=1, gateway_ms=2, synced=False
    )
    answer = ack("refused", for_ver=desired.ver, at_ms=9, reason="out of range")
    state = TwinState(
        uid="u1",
        desired=desired,
        reported=reported,
        ack=answer,
        seen=desired.ver,
        seq=7,
        source_seq=70,
        source_holes=((1, 3), (60, 69)),
    )
    assert decode_state(encode_state(state)) == state
    told = TwinReported(device=DEVICE, prop="t", reported=reported, observed=desired, ack=answer)
    assert decode_twin_reported(encode_twin_reported(told)) == told
    bare = TwinReported(device=DEVICE, prop="t", reported=None, observed=None, ack=None)
    assert decode_twin_reported(encode_twin_reported(bare)) == bare
    wish = TwinDesired(device=DEVICE, prop="t", desired=desired, policy="min")
    assert decode_twin_desired(encode_twin_desired(wish)) == wish
    online = DeviceState(device=DEVICE, state="invalid", reason="port: x", last_online_ms=3)
    assert decode_device_state(encode_device_state(online)) == online
    row = Telemetry(
        device=DEVICE, prop="t", seq=3, value=None, type="INT", quality="bad", reason="r", source_ms=4, source_seq=8
    )
    assert decode_telemetry(encode_telemetry(row)) == row


def test_a_report_that_names_no_device_is_refused() -> None:
    with pytest.raises(InvalidError):
        decode_telemetry(b"{}")
