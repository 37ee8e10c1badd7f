"""What a gateway's applications wrote without a link, as the cloud takes it."""

from __future__ import annotations

from cloudcore.hub.effects import Reporter
from cloudcore.hub.outcomes import Outcome, kinds_in
from cloudcore.registry.kinds import builtin_scheme
from skerry.objects.json import JsonObject, dig, encode_object, map_at, str_at
from skerry.objects.kept_writes import POD_ANNOTATIONS, WRITTEN_BY, PodAnnotations
from skerry.objects.meta import Key, annotations_of
from skerry.sync.effects import DatedReport
from skerry.wire.frames import Report

AT_MS = 1_790_000_000_000
POD: JsonObject = {
    "metadata": {"namespace": "ns", "name": "p", "uid": "u1", "annotations": {"a": "1", "b": "cloud"}},
    "spec": {"nodeName": "eu-1"},
}


def outcome(kind: str, body: bytes, *, node: str = "eu-1") -> Outcome:
    def lookup(key: Key) -> JsonObject | None:
        return POD if key == Key("pods", "ns", "p") else None

    reporter = Reporter(node=node, kinds=kinds_in(builtin_scheme()), lookup=lookup)
    report = Report(seq=9, kind=kind, key="", body=body, wall_ms=0, age_ms=0)
    return reporter.outcome(DatedReport(report=report, at_ms=AT_MS))


def write(**before: str) -> bytes:
    wanted = {"a": "2", "b": "2"}
    return PodAnnotations(
        by="app", at_ms=AT_MS, namespace="ns", pod="p", uid="u1", wanted=wanted, before={**before}
    ).encode()


def test_annotations_are_set_and_what_the_cloud_changed_meanwhile_is_left_and_told_of() -> None:
    told = outcome(POD_ANNOTATIONS, write(a="1", b="1"))
    pod, event = told.effects
    assert (pod.uid, pod.subresource) == ("u1", "")
    assert annotations_of(pod.transform(POD)) == {"a": "2", "b": "cloud"}
    made = event.transform({})
    assert str_at(made, "reason") == "AnnotationsConflict" and str_at(made, "message").endswith("left as they are: b")
    assert str_at(made, "involvedObject", "uid") == "u1"
    assert told.event is not None and told.without_room == (pod,)


def test_without_a_conflict_nothing_is_told() -> None:
    told = outcome(POD_ANNOTATIONS, write(a="1", b="cloud"))
    (pod,) = told.effects
    assert annotations_of(pod.transform(POD)) == {"a": "2", "b": "2"} and told.event is None


def test_a_pod_of_another_node_or_another_life_stays_as_it_is() -> None:
    (effect,) = outcome(POD_ANNOTATIONS, write(a="1", b="1"), node="eu-2").effects
    assert effect.transform(POD) == POD
    (effect,) = outcome(POD_ANNOTATIONS, write(a="1", b="cloud")).effects
    later: JsonObject = {**POD, "metadata": {**map_at(POD, "metadata"), "uid": "u2"}}
    assert effect.transform(later) == later


def test_who_wrote_an_event_at_the_gateway_is_kept_with_it() -> None:
    event: JsonObject = {
        "metadata": {"namespace": "ns", "name": "e", "annotations": {WRITTEN_BY: "app", "other": "x"}},
        "involvedObject": {"kind": "Pod", "namespace": "ns", "name": "p", "uid": "u1"},
    }
    (effect,) = outcome("event", encode_object(event)).effects
    assert dig(effect.transform({}), "metadata", "annotations") == {WRITTEN_BY: "app"}
    another: JsonObject = {**effect.transform({}), "source": {"host": "eu-1"}}
    another["metadata"] = {"annotations": {WRITTEN_BY: "another"}}
    assert effect.transform(another) == another, "nobody changes what another wrote"
