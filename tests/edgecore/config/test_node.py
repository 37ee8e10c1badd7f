from __future__ import annotations

import re

import pytest

from edgecore.config.node import cgroup_root_of, labels_of, reserved_of
from skerry.errors import InvalidError


def test_labels_are_pairs() -> None:
    assert labels_of(("site=north", "topology.kubernetes.io/region=eu")) == {
        "site": "north",
        "topology.kubernetes.io/region": "eu",
    }
    with pytest.raises(InvalidError, match="NAME=VALUE"):
        labels_of(("site",))


@pytest.mark.parametrize("text", ["a=b=c", "-a=b", "a/b/c=d", f"a={'b' * 64}"])
def test_a_label_that_the_cloud_would_refuse_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(InvalidError, match=re.escape(f"--label {text!r}: ")):
        labels_of((text,))


def test_a_label_that_only_the_cloud_gives_is_refused_with_the_way_to_give_it() -> None:
    with pytest.raises(InvalidError, match=r"node-restriction.kubernetes.io/vault: .*skerry token create --label"):
        labels_of(("node-restriction.kubernetes.io/vault=yes",))


def test_what_is_reserved_for_the_system_is_named_by_resource() -> None:
    assert reserved_of(("cpu=100m", "memory=256Mi")) == {"cpu": "100m", "memory": "256Mi"}
    for text in ("cpu", "gpu=1", "memory=much", "cpu=-1"):
        with pytest.raises(InvalidError, match="--system-reserved"):
            reserved_of((text,))


def test_a_root_of_cgroups_is_a_path() -> None:
    assert (cgroup_root_of("/"), cgroup_root_of("/site/two")) == ("/", "/site/two")
    for text in ("", "site", "/site/../other", "//"):
        with pytest.raises(InvalidError, match="--cgroup-root"):
            cgroup_root_of(text)
