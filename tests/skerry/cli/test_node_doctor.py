"""What `skerry node doctor` makes of a Node."""

from __future__ import annotations

from skerry.cli.node_doctor import findings_of
from skerry.objects.json import Json, JsonObject


def node(*conditions: tuple[str, str, str]) -> JsonObject:
    rows: list[Json] = [
        {"type": kind, "status": status, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"}
        for kind, status, message in conditions
    ]
    return {"metadata": {"name": "n1"}, "status": {"conditions": rows}}


def told(*conditions: tuple[str, str, str]) -> list[tuple[bool, str, str]]:
    return [(each.well, each.about, each.text) for each in findings_of(node(*conditions))]


def test_what_works_is_said_with_what_carries_it_and_what_does_not_with_what_to_do() -> None:
    found = [
        *findings_of(
            node(
                ("Ready", "True", "edgecore is ready"),
                ("Ingress", "False", "haproxy 2.2.9 is too old: install 2.4 or newer"),
                ("ServiceAddresses", "True", "addresses of services are led by nftables"),
                ("DiskPressure", "False", "edgecore has sufficient disk space available"),
            )
        )
    ]
    assert [(each.well, each.about) for each in found] == [
        (True, "Ready"),
        (True, "ServiceAddresses"),
        (False, "Ingress"),
    ]
    assert "apt install haproxy" in found[2].next and not found[1].next


def test_a_node_that_is_not_heard_says_since_when() -> None:
    ((well, about, text),) = told(("Ready", "Unknown", ""))
    assert (well, about) == (False, "Ready") and "not heard since 2026-01-01T00:00:00Z" in text
    assert told() == [(False, "Ready", "it was never heard")]


def test_what_a_node_is_short_of_is_amiss() -> None:
    assert told(("Ready", "True", "x"), ("DiskPressure", "True", "too little"))[1] == (
        False,
        "DiskPressure",
        "too little",
    )
