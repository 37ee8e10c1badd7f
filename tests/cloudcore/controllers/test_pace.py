"""How often an owner of thousands is looked at."""

from __future__ import annotations

from cloudcore.controllers.pace import Pace
from skerry.objects.meta import Key


def test_a_look_at_thousands_is_not_taken_for_each_of_them():
    pace, key = Pace(), Key("daemonsets.apps", "d", "x")
    assert pace.wait_s(key, now_s=5) == 0
    pace.looked(key, size=5000, began_s=5, now_s=5.5)
    assert pace.wait_s(key, now_s=5.5) == 2
    assert pace.wait_s(key, now_s=7.5) == 0
    pace.looked(key, size=5000, began_s=10, now_s=40)
    assert pace.wait_s(key, now_s=40) == 10
    pace.forget(key)
    pace.looked(key, size=10, began_s=10, now_s=40)
    assert pace.wait_s(key, now_s=40) == 0
