"""What a node's word makes of a pod."""

import pytest

from cloudcore.hub.node_writes import with_pod_status
from skerry.objects.json import JsonObject, dig

POD: JsonObject = {"metadata": {"name": "p"}, "spec": {"nodeName": "eu-1"}, "status": {"phase": "Pending"}}


@pytest.mark.parametrize(
    ("told", "gone", "phase"),
    [
        ("Pending", False, "Pending"),
        ("Pending", True, "Failed"),
        ("Running", True, "Failed"),
        ("Succeeded", True, "Succeeded"),
        ("Failed", True, "Failed"),
    ],
)
def test_a_pod_of_which_nothing_is_left_is_over(told: str, phase: str, *, gone: bool) -> None:
    assert dig(with_pod_status(POD, node="eu-1", status={"phase": told}, gone=gone), "status", "phase") == phase


def test_nobody_speaks_for_the_pod_of_another_node() -> None:
    assert with_pod_status(POD, node="eu-2", status={"phase": "Failed"}, gone=True) is POD
