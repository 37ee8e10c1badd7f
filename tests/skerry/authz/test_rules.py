import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.authz.rules import PARTS_MAX, Rule, rule_object, rule_of, rule_text, uncovered
from skerry.errors import InvalidError

WORDS = st.sets(st.sampled_from(["a", "b", "*", "a/s", "*/s"]), min_size=1, max_size=3)


def rule(verbs: str, groups: str, resources: str, names: str = "") -> Rule:
    return Rule(
        verbs=frozenset(verbs.split()),
        groups=frozenset(groups.split()),
        resources=frozenset(resources.split()),
        names=frozenset(names.split()),
    )


@given(WORDS, WORDS, WORDS)
def test_every_rule_covers_itself_and_its_parts(verbs: set[str], groups: set[str], resources: set[str]):
    made = Rule(verbs=frozenset(verbs), groups=frozenset(groups), resources=frozenset(resources))
    assert uncovered([made], [made]) == []
    assert rule_of(rule_object(made)) == made
    halves = [Rule(verbs=frozenset({verb}), groups=made.groups, resources=made.resources) for verb in verbs]
    assert uncovered(halves, [made]) == []


@pytest.mark.parametrize(
    ("owned", "wanted", "covered"),
    [
        (rule("get", "g", "pods"), rule("get", "g", "pods", "x"), True),
        (rule("get", "g", "pods", "x"), rule("get", "g", "pods"), False),
        (rule("get", "g", "pods", "x"), rule("get", "g", "pods", "y"), False),
        (rule("get", "g", "*/scale"), rule("get", "g", "pods/scale"), True),
        (rule("get", "g", "pods"), rule("get", "g", "*"), False),
        (rule("get", "g", "pods"), rule("*", "g", "pods"), False),
        (rule("*", "*", "*"), rule("x", "y", "z"), True),
        (
            Rule(verbs=frozenset({"get"}), urls=frozenset({"/a*"})),
            Rule(verbs=frozenset({"get"}), urls=frozenset({"/a/b"})),
            True,
        ),
        (
            Rule(verbs=frozenset({"get"}), urls=frozenset({"/a"})),
            Rule(verbs=frozenset({"get"}), urls=frozenset({"/a/b"})),
            False,
        ),
        (rule("*", "*", "*"), Rule(verbs=frozenset({"get"}), urls=frozenset({"/a"})), False),
    ],
)
def test_what_one_rule_covers_of_another(owned: Rule, wanted: Rule, covered: bool):
    assert (not uncovered([owned], [wanted])) is covered


def test_what_is_missing_is_merged_by_verb_and_printed_as_go_does():
    missing = uncovered([rule("get", "apps", "deployments")], [rule("get list create", "apps", "deployments")])
    assert [rule_text(each) for each in missing] == [
        '{APIGroups:["apps"], Resources:["deployments"], Verbs:["create" "list"]}'
    ]


def test_a_rule_too_large_to_check_is_refused():
    many = " ".join(f"x{i}" for i in range(300))
    with pytest.raises(InvalidError, match=f"more than {PARTS_MAX} permissions"):
        uncovered([], [rule("a b", many, many)])
