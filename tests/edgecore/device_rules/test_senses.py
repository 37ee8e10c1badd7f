"""Every change waits for its turn, in its order, within bounds, and none is lost where it could not be stored."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgecore.device_rules.senses import CHANGES_MAX, Senses
from skerry.objects.device_rule_values import Seen

TEMP, PUMP = ("d", "boiler", "temp"), ("d", "boiler", "pump")


def good(value: float | bool, at_s: float = 0.0) -> Seen:
    return Seen(value=value, quality="good", at_s=at_s)


def taken(senses: Senses) -> list[tuple[str, object, object]]:
    """All that waits, as rules see it one after the other: property, value and the value before."""
    found: list[tuple[str, object, object]] = []
    while (place := senses.next()) is not None:
        senses.take_in()
        seen = senses.view("d")[place[1:]]
        found.append((place[2], seen.value, seen.previous))
    return found


def test_changes_are_seen_one_after_the_other() -> None:
    senses = Senses()
    assert [senses.hear(TEMP, good(value)) for value in (1.0, 1.0, 2.0)] == [True, False, True]
    assert senses.hear(PUMP, good(True))
    assert senses.hear(TEMP, Seen(value=2.0, quality="stale", at_s=0.0))
    assert not senses.view("d")
    assert taken(senses) == [("temp", 1.0, None), ("temp", 2.0, 1.0), ("pump", True, None), ("temp", 2.0, 1.0)]


def test_what_is_read_again_is_no_change_and_is_fresh() -> None:
    senses = Senses()
    senses.hear(TEMP, good(1.0))
    assert not senses.hear(TEMP, good(1.0, 5.0))
    assert len(taken(senses)) == 1
    assert senses.view("d")[TEMP[1:]].at_s == 5.0
    assert not senses.hear(TEMP, good(1.0, 9.0))
    assert senses.view("d")[TEMP[1:]].at_s == 9.0


def test_of_too_many_changes_the_first_ones_and_the_last_stay() -> None:
    senses = Senses()
    for value in range(100):
        senses.hear(TEMP, good(float(value)))
    values = [value for _, value, _ in taken(senses)]
    assert values == [float(value) for value in (*range(CHANGES_MAX - 1), 99)]
    senses.hear(TEMP, good(7.0))
    assert taken(senses) == [("temp", 7.0, 99.0)]


def test_what_is_not_named_any_more_is_forgotten() -> None:
    senses = Senses()
    senses.hear(TEMP, good(1.0))
    senses.hear(PUMP, good(True))
    taken(senses)
    senses.hear(TEMP, good(2.0))
    senses.hear(PUMP, good(False))
    senses.forget([PUMP])
    assert senses.newest(TEMP) is None
    assert taken(senses) == [("pump", False, True)]


@given(st.lists(st.tuples(st.sampled_from(["temp", "pump", "take", "settle", "put back"]), st.integers(0, 3))))
def test_what_could_not_be_stored_is_seen_again_in_its_order(events: list[tuple[str, int]]) -> None:
    senses, waiting, held, before = Senses(), list[tuple[str, int]](), dict[str, int](), dict[str, int]()
    since: list[tuple[str, int]] = []
    for what, number in events:
        if what == "take":
            if waiting:
                assert senses.next() == ("d", "boiler", waiting[0][0])
                senses.take_in()
                name, value = waiting.pop(0)
                since.append((name, value))
                held[name] = value
                assert senses.view("d")["boiler", name].value == value
        elif what == "settle":
            senses.settle()
            before, since = dict(held), []
        elif what == "put back":
            senses.put_back()
            waiting, held, since = [*since, *waiting], dict(before), []
        else:
            newest = next((value for name, value in reversed(waiting) if name == what), held.get(what))
            assert senses.hear(("d", "boiler", what), good(float(number))) == (newest != number)
            if newest == number:
                continue
            if sum(name == what for name, _ in waiting) >= CHANGES_MAX:
                last = max(at for at, (name, _) in enumerate(waiting) if name == what)
                waiting[last] = (what, number)
            else:
                waiting.append((what, number))
        assert {name: seen.value for (_, name), seen in senses.view("d").items()} == held
    assert [(name, value) for name, value, _ in taken(senses)] == waiting
