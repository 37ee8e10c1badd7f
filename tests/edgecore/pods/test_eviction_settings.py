"""Thresholds as people write them."""

from __future__ import annotations

import pytest

from edgecore.pods.eviction import Amount, EvictionSettings, Threshold
from edgecore.pods.eviction_settings import HARD, eviction_settings
from skerry.errors import InvalidError


def read(
    hard: tuple[str, ...] = (),
    soft: tuple[str, ...] = (),
    soft_grace: tuple[str, ...] = (),
    minimum_reclaim: tuple[str, ...] = (),
) -> EvictionSettings:
    return eviction_settings(
        hard=hard,
        soft=soft,
        soft_grace=soft_grace,
        minimum_reclaim=minimum_reclaim,
        transition_s=300.0,
        grace_s_max=30,
    )


def test_the_defaults_are_read() -> None:
    found = {each.signal: each.amount for each in read(HARD).thresholds}
    assert found["memory.available"] == Amount(units=64 << 20)
    assert found["imagefs.available"] == Amount(share=0.15)
    assert len(found) == 6


def test_all_of_it_as_a_kubelet_writes_it() -> None:
    made = read(
        ("memory.available<100Mi", "nodefs.inodesFree=5%"),
        ("memory.available<1.5Gi",),
        ("memory.available=1m30s",),
        ("memory.available=0Mi", "nodefs.inodesFree=2%"),
    )
    assert made.thresholds == (
        Threshold(signal="memory.available", amount=Amount(units=100 << 20)),
        Threshold(signal="nodefs.inodesFree", amount=Amount(share=0.05), reclaim=Amount(share=0.02)),
        Threshold(signal="memory.available", amount=Amount(units=3 << 29), grace_s=90.0),
    )
    assert (made.transition_s, made.grace_s_max) == (300.0, 30)


@pytest.mark.parametrize("hard", [(), ("none",), ("memory.available<0%", "nodefs.available<100%")])
def test_no_threshold_is_one_as_well(hard: tuple[str, ...]) -> None:
    assert read(hard).thresholds == ()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"hard": ("memory.available",)}, "--eviction-hard 'memory.available': write SIGNAL<VALUE"),
        ({"hard": ("memory.free<1Mi",)}, "there is no signal memory.free, there are memory.available"),
        ({"hard": ("memory.available<many",)}, "'many' is neither a quantity, as 100Mi, nor a share, as 10%"),
        ({"hard": ("memory.available<-1Mi",)}, "is below 0"),
        ({"hard": ("memory.available<0",)}, "has to be more than 0"),
        ({"hard": ("memory.available<101%",)}, "no share from 0% to 100%"),
        ({"hard": ("memory.available<x%",)}, "no share from 0% to 100%"),
        ({"hard": ("memory.available<1Mi", "memory.available<2Mi")}, "--eviction-hard memory.available: given twice"),
        ({"soft": ("memory.available<1Mi",)}, "give its grace period too"),
        ({"soft_grace": ("memory.available=1s",)}, "of no use without --eviction-soft"),
        ({"soft": ("memory.available<1Mi",), "soft_grace": ("memory.available=soon",)}, "'soon' is no duration"),
        ({"soft": ("memory.available<1Mi",), "soft_grace": ("memory.available=0s",)}, "what --eviction-hard is for"),
        ({"minimum_reclaim": ("memory.available<1Mi",)}, "--eviction-minimum-reclaim 'memory.available<1Mi': write"),
    ],
)
def test_what_can_not_be_meant_is_named(given: dict[str, tuple[str, ...]], says: str) -> None:
    with pytest.raises(InvalidError, match="--eviction") as refused:
        read(**given)
    assert says in str(refused.value)
