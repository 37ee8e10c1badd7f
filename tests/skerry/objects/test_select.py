"""Selectors: Kubernetes' syntax, meaning and words."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import BadRequestError
from skerry.objects.select import (
    label_selector,
    map_selector,
    node_selector,
    parse_fields,
    parse_labels,
    taken_node_selector,
)

LABELS = {"app": "web", "tier": "front", "cores": "4"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("app=web", True),
        ("app==web", True),
        ("app = web , tier=front", True),
        ("app!=web", False),
        ("zone!=eu", True),
        ("app in (db, web)", True),
        ("app in (db)", False),
        ("zone in ()", False),
        ("app notin (db,web)", False),
        ("zone notin (eu)", True),
        ("app", True),
        ("!app", False),
        ("!zone,app", True),
        ("zone", False),
        ("cores>3", True),
        ("cores<4", False),
        ("app>3", False),
        ("app=", False),
        ("in in (in)", False),
        ("app in (,web)", True),
    ],
)
def test_a_label_selector_reads_as_in_kubernetes(text, expected):
    assert parse_labels(text).matches(LABELS) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("app in web", "unable to parse requirement: found 'web' expected: '('"),
        ("app,", "found '', expected: identifier after ','"),
        ("=web", "found '=', expected: !, identifier, or 'end of string'"),
        ("app web", "unable to parse requirement: found 'web', expected: in, notin, =, ==, !=, gt, lt"),
        ("app=web tier", "found 'tier', expected: ',' or 'end of string'"),
        ("!=web", "found '!=', expected: !, identifier, or 'end of string'"),
    ],
)
def test_a_broken_label_selector_is_refused_in_apimachinerys_words(text, message):
    with pytest.raises(BadRequestError) as refused:
        parse_labels(text)
    assert str(refused.value) == message


@pytest.mark.parametrize("text", ["-app=web", "app=we b!", "a/b/c", "app=" + "x" * 64, "app in (a", "n>x"])
def test_bad_keys_and_values_are_refused(text):
    with pytest.raises(BadRequestError):
        parse_labels(text)


@given(st.text(alphabet="ab=!,() <>inot.\t", max_size=24))
def test_any_text_parses_or_is_refused(text):
    with contextlib.suppress(BadRequestError):
        parse_labels(text).matches(LABELS)


def test_an_absent_selector_object_matches_nothing_and_an_empty_one_everything():
    assert not label_selector(None).matches(LABELS)
    assert label_selector({}).matches(LABELS)
    assert label_selector({}).everything


def test_a_selector_object_needs_all_its_parts():
    selector = label_selector(
        {
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["back"]}],
        }
    )
    assert selector.matches(LABELS)
    assert not selector.matches(LABELS | {"tier": "back"})


@pytest.mark.parametrize(
    "expression",
    [
        {"key": "a", "operator": "In"},
        {"key": "a", "operator": "Exists", "values": ["x"]},
        {"key": "a", "operator": "Gt", "values": ["1"]},
        {"key": "a", "operator": "Near"},
    ],
)
def test_a_selector_object_with_an_expression_that_makes_no_sense_is_refused(expression):
    with pytest.raises(BadRequestError):
        label_selector({"matchExpressions": [expression]})


def test_the_old_form_of_selectors_is_a_map():
    assert map_selector({"app": "web"}).matches(LABELS)
    assert not map_selector({"app": "db"}).matches(LABELS)


def test_one_node_term_is_enough_and_an_empty_term_is_no_term():
    def matches(*terms: Any):
        return node_selector({"nodeSelectorTerms": list(terms)}).matches(LABELS, "eu-1")

    wrong = {"matchExpressions": [{"key": "app", "operator": "In", "values": ["db"]}]}
    right = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["eu-1"]}]}
    assert matches(wrong, right)
    assert not matches(wrong)
    assert not matches({})
    assert not matches()
    assert matches({"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["3"]}]})
    assert not matches({**right, "matchExpressions": wrong["matchExpressions"]})


def test_of_a_node_selector_that_was_taken_a_term_that_makes_no_sense_matches_no_node_and_the_others_hold():
    wrong: Any = {"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["x"]}]}
    right: Any = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["eu-1"]}]}
    assert not taken_node_selector({"nodeSelectorTerms": [wrong]}).matches(LABELS, "eu-1")
    assert taken_node_selector({"nodeSelectorTerms": [wrong, right]}).matches(LABELS, "eu-1")
    with pytest.raises(BadRequestError):
        node_selector({"nodeSelectorTerms": [wrong, right]})


POD: Any = {
    "metadata": {"name": "p", "namespace": "d"},
    "spec": {"nodeName": "eu-1", "hostNetwork": True},
    "status": {"phase": "a,b"},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("metadata.name=p,metadata.name==p", True),
        ("spec.nodeName!=eu-1", False),
        ("spec.unschedulable=false", True),
        ("spec.unschedulable=true", False),
        ("spec.hostNetwork=true", True),
        ("status.phase=a\\,b", True),
        ("spec.nodeName=", False),
    ],
)
def test_a_field_selector_compares_text_and_an_absent_boolean_is_false(text, expected):
    allowed = ("spec.nodeName", "spec.unschedulable", "spec.hostNetwork", "status.phase")
    assert parse_fields(text, allowed).selects(POD) is expected


def test_a_field_that_is_not_selectable_is_named_in_the_refusal():
    with pytest.raises(BadRequestError, match=r"^field label not supported: spec\.foo$"):
        parse_fields("spec.foo=x")


@pytest.mark.parametrize("text", ["metadata.name", "metadata.name=a=b", "metadata.name=a\\x"])
def test_a_broken_field_selector_is_refused(text):
    with pytest.raises(BadRequestError, match=r"^invalid "):
        parse_fields(text)


def test_a_watch_on_one_object_is_recognised():
    assert parse_fields("metadata.name=p").exactly("metadata.name") == "p"
    assert parse_fields("metadata.name!=p").exactly("metadata.name") is None


def test_an_events_source_is_whoever_reported_it():
    assert parse_fields("source=kubelet", ("source",)).selects({"source": {"component": "kubelet"}})
    assert parse_fields("source=x", ("source",)).selects({"reportingComponent": "x"})
