"""Writes that wait at a gateway: what may wait, what is in conflict, and what no gateway may write."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from skerry.errors import BadRequestError, InvalidError, ProtocolError
from skerry.objects.json import JsonObject, decode_object, dig, encode_object, str_at
from skerry.objects.kept_writes import WRITTEN_BY, PodAnnotations, annotations_in, event_in
from skerry.objects.meta import annotations_of

NOW_MS = 1_790_000_000_000


def pod(**annotations: str) -> JsonObject:
    return {"metadata": {"namespace": "ns", "name": "p", "uid": "u", "annotations": {**annotations}}}


def told(wanted: Mapping[str, str | None], before: Mapping[str, str | None]) -> PodAnnotations:
    return PodAnnotations(by="app", at_ms=NOW_MS, namespace="ns", pod="p", uid="u", wanted=wanted, before=before)


def test_what_nobody_changed_meanwhile_is_set_and_removed() -> None:
    write = told({"a": "2", "b": None, "c": "new"}, {"a": "1", "b": "x", "c": None})
    assert write.conflicts(pod(a="1", b="x")) == []
    assert annotations_of(write.applied(pod(a="1", b="x", d="stays"))) == {"a": "2", "c": "new", "d": "stays"}


def test_what_was_changed_in_the_cloud_meanwhile_is_left_and_the_rest_is_set() -> None:
    write = told({"a": "2", "b": "2"}, {"a": "1", "b": "1"})
    here = pod(a="other", b="1")
    assert write.conflicts(here) == ["a"]
    assert annotations_of(write.applied(here)) == {"a": "other", "b": "2"}
    assert "app wrote annotations" in write.sentence(["a"])


def test_what_is_there_already_is_no_conflict() -> None:
    assert told({"a": "2"}, {"a": "1"}).conflicts(pod(a="2")) == []


def test_a_write_is_read_as_it_was_written_and_nonsense_is_not() -> None:
    write = told({"a": "2", "b": None}, {"a": None, "b": "x"})
    assert PodAnnotations.decode(decode_object(write.encode())) == write
    for field, value in (("uid", ""), ("wanted", {}), ("wanted", {"a": 1}), ("wanted", {"kubernetes.io/x": "y"})):
        with pytest.raises(ProtocolError):
            PodAnnotations.decode({**decode_object(write.encode()), field: value})  # type: ignore[dict-item]


def test_a_patch_of_annotations_alone_may_wait() -> None:
    assert annotations_in({"metadata": {"annotations": {"a": "1", "b": None}}}) == {"a": "1", "b": None}
    others: list[JsonObject] = [
        {},
        {"spec": {}},
        {"metadata": {"labels": {}}},
        {"metadata": {"annotations": {"a": "1"}, "resourceVersion": "5"}},
        {"metadata": {"annotations": {"a": "1"}}, "spec": {}},
    ]
    assert [annotations_in(each) for each in others] == [None] * len(others)


@pytest.mark.parametrize(
    "wanted",
    [
        {"a": 1},
        {"not a name": "x"},
        {"kubernetes.io/config.mirror": "x"},
        {"node.alpha.kubernetes.io/ttl": "0"},
        {"skerry.dev/site": "x"},
        {"a": "x" * 9000},
        {f"n{number}": "x" for number in range(33)},
        {"a": "\0"},
    ],
)
def test_what_no_gateway_may_write_is_said(wanted: JsonObject) -> None:
    with pytest.raises(InvalidError, match=r"metadata.annotations"):
        annotations_in({"metadata": {"annotations": wanted}})


@pytest.mark.parametrize(
    ("group", "about", "text"), [("", "involvedObject", "message"), ("events.k8s.io", "regarding", "note")]
)
def test_an_event_of_either_group_is_one_of_the_first(group: str, about: str, text: str) -> None:
    body: JsonObject = {
        "metadata": {"generateName": "e-"},
        about: {"kind": "Pod", "name": "p"},
        text: "hello",
        "reason": "Greeting",
    }
    event = event_in(body, group=group, namespace="ns", by="app", suffix="1", now_ms=NOW_MS)
    assert str_at(event, "metadata", "name") == "e-1" and str_at(event, "message") == "hello"
    assert dig(event, "involvedObject") == {"kind": "Pod", "name": "p", "namespace": "ns"}
    assert dig(event, "metadata", "annotations") == {WRITTEN_BY: "app"}
    assert encode_object(event)


def test_an_event_without_a_name_or_of_another_namespace_is_refused() -> None:
    for body in ({"involvedObject": {"kind": "Pod", "name": "p"}}, {"metadata": {"name": "e", "namespace": "other"}}):
        with pytest.raises(BadRequestError):
            event_in(body, group="", namespace="ns", by="app", suffix="1", now_ms=NOW_MS)  # type: ignore[arg-type]
