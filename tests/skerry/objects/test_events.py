"""Events as a gateway's rooms tell them."""

from __future__ import annotations

from skerry.objects.events import event_object
from skerry.objects.json import JsonObject, map_at, str_at
from skerry.objects.names import subdomain_faults


def test_the_name_of_an_event_about_a_long_name_is_one_that_an_object_may_have() -> None:
    name = "x" * 199 + "." + "y" * 53
    about: JsonObject = {"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "d", "name": name, "uid": "u"}}
    event = event_object(about, "Why", "words", node="n", suffix="push-01020304", now_ms=0, warning=False)
    assert not subdomain_faults(str_at(event, "metadata", "name"))
    assert str_at(map_at(event, "involvedObject"), "name") == name
