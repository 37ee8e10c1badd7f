from __future__ import annotations

import pytest

from skerry.testkit.real.lines import netem_arguments
from skerry.testkit.real.pipe import Direction


@pytest.mark.parametrize(
    ("direction", "arguments"),
    [
        (Direction(), "netem limit 1000"),
        (Direction(blocked=True, kbit=64, delay_ms=9), "netem limit 50 loss random 100%"),
        (Direction(loss=0.05), "netem limit 1000 loss random 5%"),
        (Direction(delay_ms=12.5), "netem limit 1000 delay 12.5ms"),
        (Direction(kbit=64, loss=0.001), "netem limit 50 loss random 0.1% rate 64000bit"),
    ],
)
def test_a_direction_in_the_words_of_tc(direction: Direction, arguments: str) -> None:
    assert " ".join(netem_arguments(direction)) == arguments
