"""KubeFed's table of lists and selectors."""

from __future__ import annotations

import pytest

from cloudcore.federation.placement import placed, read_placement
from skerry.errors import InvalidError
from skerry.objects.json import Json, JsonObject

MEMBERS = {"eu": {"region": "eu", "tier": "1"}, "us": {"region": "us"}, "ap": {}}


def where(placement: JsonObject, namespace: frozenset[str] | None = None) -> set[str]:
    found = placed(read_placement({"spec": {"placement": placement}}), MEMBERS, namespace=namespace)
    return set(found)


@pytest.mark.parametrize(
    ("placement", "found"),
    [
        ({}, set()),
        ({"clusterSelector": {}}, {"eu", "us", "ap"}),
        ({"clusterSelector": {"matchLabels": {"region": "eu"}}}, {"eu"}),
        ({"clusters": []}, set()),
        ({"clusters": [], "clusterSelector": {}}, set()),
        ({"clusters": [{"name": "us"}], "clusterSelector": {}}, {"us"}),
        ({"clusters": [{"name": "us"}, {"name": "moon"}]}, {"us"}),
        ({"clusters": None, "clusterSelector": None}, set()),
        ({"clusterSelector": {"matchExpressions": [{"key": "region", "operator": "Exists"}]}}, {"eu", "us"}),
    ],
)
def test_a_list_counts_even_when_it_is_empty_and_a_selector_where_there_is_none(
    placement: JsonObject, found: set[str]
) -> None:
    assert where(placement) == found


def test_an_object_goes_no_further_than_its_namespace() -> None:
    assert where({"clusterSelector": {}}, frozenset({"us"})) == {"us"}
    assert where({"clusters": [{"name": "eu"}]}, frozenset({"us"})) == set()
    assert where({"clusterSelector": {}}, frozenset()) == set()


@pytest.mark.parametrize(
    ("placement", "said"),
    [
        ({"clusters": [{"name": "eu"}, {}]}, r"spec\.placement\.clusters\[1\]\.name: Required"),
        (
            {"clusterSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}},
            r"spec\.placement\.clusterSelector\..*Near",
        ),
    ],
)
def test_what_can_not_be_read_is_refused_by_field(placement: Json, said: str) -> None:
    with pytest.raises(InvalidError, match=said):
        read_placement({"spec": {"placement": placement}})
