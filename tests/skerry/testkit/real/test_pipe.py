from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import InvalidError
from skerry.testkit.real.pipe import CLEAR, DELAY_MS_MAX, QUEUE_PACKETS_MAX, Direction, Pipe, Shape


def never() -> float:
    """Chance that loses nothing."""
    return 1.0


def test_a_clear_direction_carries_at_once() -> None:
    assert Pipe(never).offer(1500, 7.0) == 7.0


def test_a_blocked_direction_carries_nothing() -> None:
    assert Pipe(never, Direction(blocked=True)).offer(1, 0.0) is None


def test_delay_is_added_to_each_packet() -> None:
    pipe = Pipe(never, Direction(delay_ms=250))
    assert [pipe.offer(100, 0.0), pipe.offer(100, 1.0)] == [0.25, 1.25]


def test_packets_take_turns_at_the_rate() -> None:
    pipe = Pipe(never, Direction(kbit=64, delay_ms=100))
    assert [pipe.offer(800, 0.0), pipe.offer(800, 0.0)] == pytest.approx([0.2, 0.3])
    assert pipe.offer(800, 5.0) == pytest.approx(5.2), "an idle line owes nothing"


def test_a_full_queue_drops_and_room_comes_back_with_time() -> None:
    pipe = Pipe(never, Direction(kbit=64))
    taken = [pipe.offer(800, 0.0) for _ in range(QUEUE_PACKETS_MAX + 1)]
    assert taken[-1] is None and None not in taken[:-1]
    assert pipe.offer(800, 0.11) is not None


def test_loss_follows_chance() -> None:
    draws = iter([0.04, 0.05, 0.9])
    pipe = Pipe(lambda: next(draws), Direction(loss=0.05))
    assert [pipe.offer(1, 0.0) is None for _ in range(3)] == [True, False, False]


def test_a_direction_that_clears_forgets_its_queue() -> None:
    pipe = Pipe(never, Direction(kbit=1))
    pipe.offer(1000, 0.0)
    pipe.direction = CLEAR
    assert pipe.offer(1000, 0.0) == 0.0
    pipe.direction = Direction(kbit=1)
    assert pipe.offer(125, 0.0) == pytest.approx(1.0)


@given(
    st.lists(st.tuples(st.integers(1, 1500), st.floats(0, 2)), max_size=80), st.floats(1, 1000), st.floats(0, 1000)
)
def test_nothing_arrives_early_or_overtakes_or_beats_the_rate(
    offered: list[tuple[int, float]], kbit: float, delay_ms: float
) -> None:
    pipe = Pipe(never, Direction(kbit=kbit, delay_ms=delay_ms))
    now, last, carried, first = 0.0, 0.0, 0, None
    for size, pause in offered:
        now += pause
        at = pipe.offer(size, now)
        if at is None:
            continue
        first = now if first is None else first
        carried += size
        assert at >= now + delay_ms / 1000 and at >= last
        assert (at - delay_ms / 1000 - first) * kbit * 1000 >= carried * 8 - 1e-3
        last = at


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"kbit": 0}, "kbit"),
        ({"kbit": -1}, "kbit"),
        ({"delay_ms": -1}, "delay_ms"),
        ({"delay_ms": DELAY_MS_MAX + 1}, "delay_ms"),
        ({"loss": 1}, "loss"),
        ({"loss": -0.1}, "loss"),
        ({"loss": float("nan")}, "loss"),
        ({"kbit": float("nan")}, "kbit"),
    ],
)
def test_a_direction_that_makes_no_sense_is_refused_by_its_field(wrong: dict[str, float], names: str) -> None:
    with pytest.raises(InvalidError, match=f"^{names}: "):
        Direction(**wrong)  # type: ignore[arg-type]


def test_blocking_keeps_the_rest_of_the_shape() -> None:
    slow = Direction(kbit=64)
    shape = Shape(up=slow, down=slow).blocked(up=True, down=False)
    assert shape == Shape(up=Direction(kbit=64, blocked=True), down=slow)
