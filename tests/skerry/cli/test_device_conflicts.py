"""Conflicts of desired values, listed and settled."""

from __future__ import annotations

import pytest

from skerry.cli.device_conflicts import chosen_of, conflicts_listed
from skerry.cli.device_objects import Twin
from skerry.errors import BadRequestError
from skerry.frozen import replace
from skerry.objects.desired import Desired, Hlc, Vector
from skerry.objects.device_desired import with_desired
from skerry.objects.json import JsonObject

LOST = Desired(value="50", ver=Vector(edge=1), hlc=Hlc(1000, 0), side="edge", origin="local:uid 0")
WON = Desired(value="64", ver=Vector(cloud=1, edge=1), hlc=Hlc(2000, 0), side="cloud", origin="ann", rivals=(LOST,))
DEVICE: JsonObject = {"metadata": {"name": "boiler", "namespace": "ns"}, "spec": {"properties": [{"name": "t"}]}}


def twins(desired: Desired) -> list[Twin]:
    return [Twin(device=with_desired(DEVICE, "t", desired), status={})]


def test_a_conflict_shows_both_values_and_who_wanted_them() -> None:
    (row,) = conflicts_listed(twins(WON)).rows
    assert row.cells == ("ns", "boiler", "t", "settled", "64", "ann", "cloud", "50", "local:uid 0", "edge")
    assert row.obj["lost"] == {
        "value": "50",
        "by": "local:uid 0",
        "side": "edge",
        "time": "1970-01-01T00:00:01.000000Z",
    }
    assert conflicts_listed(twins(WON), waiting=True).rows == ()
    (waiting,) = conflicts_listed(twins(replace(WON, waiting=True)), waiting=True).rows
    assert waiting.cells[3] == "waiting"
    assert conflicts_listed(twins(replace(WON, rivals=()))).rows == ()


def test_a_choice_is_of_one_side_or_of_what_is_wanted_now() -> None:
    assert [chosen_of(WON, take) for take in ("cloud", "edge", "desired")] == ["64", "50", "64"]
    with pytest.raises(BadRequestError, match="skerry device unset"):
        chosen_of(replace(WON, rivals=(replace(LOST, removed=True),)), "edge")
    with pytest.raises(BadRequestError, match="wanted nothing of its own"):
        chosen_of(replace(WON, side="edge"), "cloud")
