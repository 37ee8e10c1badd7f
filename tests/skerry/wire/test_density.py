"""What is deflated and what is not worth it."""

from __future__ import annotations

from skerry.wire.density import PIECES_PASSED, STREAMS_MAX, Density


def test_a_stream_that_gets_no_smaller_is_passed_for_a_while_and_tried_again() -> None:
    density = Density()
    assert density.deflate(1)
    density.saw(1, 8192, 8200)
    assert [density.deflate(1) for _ in range(PIECES_PASSED)] == [False] * PIECES_PASSED
    assert density.deflate(1) and density.deflate(3)


def test_one_that_gets_smaller_or_says_little_is_deflated_each_time() -> None:
    density = Density()
    for before, after in ((8192, 2000), (100, 120)):
        density.saw(1, before, after)
        assert density.deflate(1)


def test_only_so_many_streams_are_remembered() -> None:
    density = Density()
    for stream in range(STREAMS_MAX + 1):
        density.saw(stream, 8192, 8192)
    assert density.deflate(0) and not density.deflate(STREAMS_MAX)
