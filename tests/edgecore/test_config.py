"""Settings of the agent that are refused before anything starts."""

from __future__ import annotations

import pytest

from edgecore.config import labels_of
from skerry.errors import InvalidError


def test_labels_are_pairs() -> None:
    assert labels_of(("site=north", "topology.kubernetes.io/region=eu")) == {
        "site": "north",
        "topology.kubernetes.io/region": "eu",
    }
    with pytest.raises(InvalidError, match="NAME=VALUE"):
        labels_of(("site",))


def test_a_label_that_only_the_cloud_gives_is_refused_with_the_way_to_give_it() -> None:
    with pytest.raises(InvalidError, match=r"node-restriction.kubernetes.io/vault: .*skerry token create --label"):
        labels_of(("node-restriction.kubernetes.io/vault=yes",))
