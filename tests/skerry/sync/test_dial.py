"""When and where an edge dials next."""

from __future__ import annotations

from skerry.sync.dial import AGAIN_S, BROKEN_MAX, WAYS, DialPolicy, Ended


def failed(at_s: float) -> Ended:
    return Ended(at_s=at_s)


def lived(at_s: float, *, clean: bool = False, seconds: float = 100, retry_after_s: float = 0) -> Ended:
    return Ended(at_s=at_s, welcomed=True, lived_s=seconds, clean=clean, retry_after_s=retry_after_s)


def test_failures_wait_longer_and_longer_up_to_a_minute_with_full_jitter() -> None:
    policy = DialPolicy(("a",))
    assert policy.due_s == 0
    delays: list[float] = []
    for _ in range(9):
        policy.ended(failed(100), 0.5)
        delays.append(policy.due_s - 100)
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    policy.ended(failed(100), 0.0)
    assert policy.due_s == 100


def test_a_round_begins_at_the_address_that_was_lost_and_leaves_none_out() -> None:
    policy = DialPolicy(("a", "b", "c"), ("quic", "websocket"))
    policy.ended(Ended(at_s=1, answered=False), unit=0.5)
    assert policy.address == "b"
    policy.welcomed(2)
    policy.ended(Ended(at_s=100, welcomed=True, lived_s=98), unit=0.5)
    seen: list[tuple[str, str]] = []
    for _ in range(6):
        seen.append((policy.way, policy.address))
        policy.ended(Ended(at_s=policy.due_s, answered=False), unit=0.5)
    assert seen == [(way, address) for way in ("quic", "websocket") for address in ("b", "c", "a")]
    assert policy.due_s > 101


def test_several_addresses_are_tried_at_once_then_the_waiting_starts() -> None:
    policy = DialPolicy(("a", "b", "c"))
    seen: list[tuple[str, float]] = []
    for _ in range(6):
        seen.append((policy.address, policy.due_s))
        policy.ended(failed(10), 0.5)
    assert seen == [("a", 0), ("b", 10), ("c", 10), ("a", 10.5), ("b", 10), ("c", 10)]
    assert policy.due_s == 11


def test_where_nobody_answers_the_way_is_tried_again_within_seconds_however_long_it_lasts() -> None:
    policy = DialPolicy(("a",))
    delays: list[float] = []
    for _ in range(9):
        policy.ended(Ended(at_s=100, answered=False), 0.5)
        delays.append(policy.due_s - 100)
    assert delays == [0.5, 1, 2, 2, 2, 2, 2, 2, 2]
    policy.ended(failed(100), 0.5)
    assert policy.due_s == 130, "a cloud that is there again and refuses is not stormed"


def test_a_clean_end_dials_at_once_and_a_lost_link_almost() -> None:
    policy = DialPolicy(("a",))
    for _ in range(5):
        policy.ended(failed(0), 0.5)
    policy.ended(lived(50, clean=True), 0.5)
    assert policy.due_s == 50
    policy.ended(lived(60), 0.5)
    assert policy.due_s == 60.5


def test_a_session_that_ends_at_once_is_a_failure_however_clean() -> None:
    policy = DialPolicy(("a", "b"))
    for _ in range(4):
        policy.ended(lived(0, clean=True, seconds=1), 0.5)
    assert policy.due_s == 4
    assert policy.address == "a", "the address works"


def test_the_cloud_may_ask_for_patience() -> None:
    policy = DialPolicy(("a",))
    policy.ended(lived(10, clean=True, retry_after_s=20), 0.5)
    assert policy.due_s == 10 + 20 * 1.125


def test_healing_dials_at_once() -> None:
    policy = DialPolicy(("a",))
    for _ in range(9):
        policy.ended(failed(100), 0.9)
    policy.now()
    assert policy.due_s == 0
    policy.ended(failed(100), 0.5)
    assert policy.due_s == 100.5


def attempts(policy: DialPolicy, count: int, *, at_s: float = 0.0) -> list[str]:
    """What is dialled next if all of it fails."""
    seen: list[str] = []
    for _ in range(count):
        seen.append(f"{policy.way} {policy.address}")
        policy.ended(failed(at_s), 0.5)
    return seen


def test_ways_are_tried_in_order_at_every_address_before_any_waiting() -> None:
    policy = DialPolicy(("a", "b"), WAYS)
    seen: list[tuple[str, str, float]] = []
    for _ in range(7):
        seen.append((policy.way, policy.address, policy.due_s))
        policy.ended(failed(10), 0.5)
    assert seen == [
        ("quic", "a", 0),
        ("quic", "b", 10),
        ("websocket", "a", 10),
        ("websocket", "b", 10),
        ("proxy", "a", 10),
        ("proxy", "b", 10),
        ("quic", "a", 10.5),
    ]


def test_what_was_welcomed_is_tried_first_from_then_on() -> None:
    policy = DialPolicy(("a",), WAYS)
    policy.ended(failed(0), 0.5)
    assert policy.way == "websocket"
    policy.welcomed(1)
    assert policy.preferred == "websocket"
    policy.ended(lived(101), 0.5)
    assert attempts(policy, 4, at_s=102) == ["websocket a", "quic a", "proxy a", "websocket a"]


def test_what_is_remembered_over_a_restart_is_tried_first() -> None:
    assert attempts(DialPolicy(("a",), WAYS, remembered="proxy"), 3) == ["proxy a", "quic a", "websocket a"]
    assert attempts(DialPolicy(("a",), ("websocket",), remembered="quic"), 2) == ["websocket a", "websocket a"]


def test_the_best_way_is_tried_at_the_next_dial_where_another_was_the_first_to_come_back() -> None:
    policy = DialPolicy(("a",), WAYS, remembered="quic")
    policy.ended(failed(0), 0.5)
    assert policy.way == "websocket"
    policy.welcomed(0)
    policy.ended(lived(600), 0.5)
    assert policy.way == "quic"
    policy.ended(failed(600), 0.5)
    assert policy.way == "websocket", "what was welcomed last, before the rest"
    policy.welcomed(600)
    policy.ended(lived(1200), 0.5)
    assert policy.way == "websocket", "it was tried once, and failed: an hour counts from then"
    policy.ended(lived(600 + AGAIN_S), 0.5)
    assert policy.way == "quic"
    policy.welcomed(600 + AGAIN_S)
    policy.ended(failed(9000), 0.5)
    policy.welcomed(9000)
    policy.ended(lived(9600), 0.5)
    assert policy.way == "quic", "it carried in between"


def test_a_better_way_is_tried_again_once_when_an_hour_is_over() -> None:
    policy = DialPolicy(("a", "b"), WAYS)
    policy.ended(failed(0), 0.5)
    policy.ended(failed(0), 0.5)
    policy.welcomed(0)
    policy.ended(lived(AGAIN_S - 1), 0.5)
    assert policy.way == "websocket"
    policy.welcomed(AGAIN_S)
    policy.ended(lived(AGAIN_S), 0.5)
    assert (policy.way, policy.address) == ("quic", "a")
    policy.ended(failed(AGAIN_S + 1), 0.5)
    assert (policy.way, policy.address, policy.due_s) == ("websocket", "a", AGAIN_S + 1)
    policy.welcomed(AGAIN_S + 1)
    policy.ended(lived(AGAIN_S + 200), 0.5)
    assert policy.way == "websocket"
    policy.ended(lived(2 * AGAIN_S + 1), 0.5)
    assert policy.way == "quic"
    policy.welcomed(2 * AGAIN_S + 2)
    assert policy.preferred == "quic"
    policy.ended(lived(2 * AGAIN_S + 300), 0.5)
    assert policy.way == "quic"


def test_a_network_that_is_down_teaches_nothing_about_ways() -> None:
    policy = DialPolicy(("a",), WAYS)
    policy.welcomed(0)
    policy.ended(lived(100), 0.5)
    assert attempts(policy, 9, at_s=200)[-3:] == ["quic a", "websocket a", "proxy a"]
    assert policy.preferred == "quic"


def test_sessions_that_break_again_and_again_speak_against_their_way() -> None:
    policy = DialPolicy(("a",), WAYS)
    for number in range(BROKEN_MAX):
        assert policy.way == "quic"
        policy.welcomed(number)
        policy.ended(lived(number, seconds=20), 0.5)
    assert policy.way == "websocket"
    assert policy.preferred == "websocket"


def test_a_cloud_that_ends_the_session_itself_does_not_speak_against_the_way() -> None:
    """Another agent with this identity took over, again and again; the cloud is too busy to take anybody in."""
    policy = DialPolicy(("a", "b"), WAYS)
    for number in range(2 * BROKEN_MAX):
        policy.welcomed(number)
        policy.ended(Ended(at_s=number, welcomed=True, lived_s=1, carried=True), 0.5)
        assert policy.way == "quic"
    busy = Ended(at_s=100, carried=True, retry_after_s=10)
    for address in ("b", "a", "b"):
        policy.ended(busy, 0)
        assert (policy.way, policy.address, policy.due_s) == ("quic", address, 110)
    policy.ended(failed(200), 0.5)
    assert (policy.way, policy.address) == ("quic", "a"), "b was too busy in this round"
    assert attempts(policy, 4, at_s=300) == ["quic a", "quic b", "websocket a", "websocket b"]


def test_a_better_way_that_is_tried_again_and_found_busy_is_tried_at_every_address() -> None:
    policy = DialPolicy(("a", "b"), WAYS, remembered="websocket")
    policy.ended(failed(0), 0.5)
    policy.ended(failed(0), 0.5)
    policy.welcomed(0)
    policy.ended(lived(AGAIN_S * 2, seconds=AGAIN_S, clean=True), 0.5)
    while policy.way != "quic":
        policy.ended(failed(AGAIN_S * 2), 0.5)
    first = policy.address
    policy.ended(Ended(at_s=AGAIN_S * 2, carried=True), 0.5)
    assert policy.way == "quic"
    assert policy.address != first


def test_a_way_that_this_machine_has_not_is_not_tried_again() -> None:
    policy = DialPolicy(("a", "b"), WAYS)
    policy.ended(Ended(at_s=5, unusable=True), 0.5)
    assert policy.due_s == 5
    assert attempts(policy, 5) == ["websocket a", "websocket b", "proxy a", "proxy b", "websocket a"]
    remembered = DialPolicy(("a",), ("quic", "websocket"), remembered="websocket")
    remembered.ended(failed(0), 0.5)
    assert remembered.way == "quic"
    remembered.ended(Ended(at_s=0, unusable=True), 0.5)
    assert attempts(remembered, 2) == ["websocket a", "websocket a"]


def test_the_only_way_stays_even_if_it_is_none() -> None:
    policy = DialPolicy(("a",), ("quic",))
    policy.ended(Ended(at_s=0, unusable=True), 0.5)
    assert policy.way == "quic"
    assert policy.due_s == 0.5
