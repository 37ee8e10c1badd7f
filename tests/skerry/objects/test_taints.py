from __future__ import annotations

import pytest

from skerry.objects.json import Json, JsonObject
from skerry.objects.taints import Taint, are_borne, borne_s, taints_of, tolerations_of

HOT = Taint("state", "hot", "NoExecute")
WET = Taint("weather", "", "NoExecute")


def pod(*tolerations: Json) -> JsonObject:
    return {"spec": {"tolerations": [*tolerations]}}


EXISTS: JsonObject = {"key": "state", "operator": "Exists"}
FIVE: JsonObject = {"key": "state", "value": "hot", "effect": "NoExecute", "tolerationSeconds": 5}
ANY: JsonObject = {"operator": "Exists", "tolerationSeconds": 9}
NEVER: JsonObject = {"key": "weather", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": -1}


@pytest.mark.parametrize(
    ("taints", "tolerations", "seconds"),
    [
        ((), (), None),
        ((HOT,), (), 0),
        ((HOT,), (EXISTS,), None),
        ((HOT,), (FIVE,), 5),
        ((HOT,), ({**FIVE, "value": "cold"},), 0),
        ((HOT,), ({**FIVE, "effect": "NoSchedule"},), 0),
        ((HOT,), (EXISTS, FIVE), None),
        ((HOT,), (FIVE, EXISTS), 5),
        ((HOT, WET), (FIVE, ANY), 5),
        ((HOT, WET), ({"operator": "Exists"}, FIVE, NEVER), None),
        ((HOT, WET), (EXISTS,), 0),
        ((HOT, WET), (EXISTS, ANY), 9),
        ((HOT, WET), (EXISTS, NEVER), 0),
        ((HOT,), (FIVE, NEVER), 5),
    ],
)
def test_the_least_while_counts_that_the_first_toleration_of_each_taint_says(
    taints: tuple[Taint, ...], tolerations: tuple[JsonObject, ...], seconds: int | None
) -> None:
    assert borne_s(taints, tolerations_of(pod(*tolerations))) == seconds


def test_without_a_key_only_existing_will_do() -> None:
    assert not are_borne([HOT], tolerations_of(pod({"operator": "Equal", "value": "hot"})))
    assert are_borne([HOT, WET], tolerations_of(pod({"operator": "Exists"})))


def test_taints_are_read_as_they_are_written() -> None:
    written: list[Json] = [{"key": "state", "value": "hot", "effect": "NoExecute"}]
    node: JsonObject = {"spec": {"taints": written}}
    assert taints_of(node) == (HOT,) and taints_of({}) == ()
