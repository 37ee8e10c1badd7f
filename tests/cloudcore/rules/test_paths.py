"""Which rule a request means, and what of its path goes on."""

from __future__ import annotations

import pytest

from cloudcore.rules.paths import Asked, asked_of, rule_for
from skerry.objects.rules import Rule


def rule(path: str) -> Rule:
    return Rule(
        namespace="d",
        name=path,
        source="r",
        source_resource={"path": path},
        target="e",
        target_resource={"topic": "t"},
    )


def meant(path: str, *rules: str) -> tuple[str, str] | None:
    asked = Asked(node="eu-1", namespace="d", path=path)
    found = rule_for(asked, [rule(each) for each in rules])
    return None if found is None else (found[0].name, found[1])


@pytest.mark.parametrize(
    ("raw", "asked"),
    [
        ("/eu-1/default/ccc", Asked(node="eu-1", namespace="default", path="ccc")),
        ("/eu-1/default/a/b%20c/", Asked(node="eu-1", namespace="default", path="a/b%20c/")),
        ("/eu%2D1/default/a", Asked(node="eu-1", namespace="default", path="a")),
        ("/", None),
        ("/eu-1/default", None),
        ("/eu-1/default/", None),
        ("//default/a", None),
        ("*", None),
    ],
)
def test_a_path_names_node_namespace_and_the_rules_path(raw: str, asked: Asked | None) -> None:
    assert asked_of(raw) == asked


@pytest.mark.parametrize(
    ("path", "of_rule", "rest"),
    [
        ("ccc", "/ccc", ""),
        ("ccc/", "/ccc", ""),
        ("ccc", "ccc/", ""),
        ("ccc/x/y", "/ccc", "x/y"),
        ("a/b", "/a/b", ""),
        ("a%20b/x", "/a b", "x"),
        ("a%20b", "/a%20b", ""),
        ("orders/7/lines", "/orders/{id}", "orders/7/lines"),
        ("v1-beta/x", "/v{n}-{stage}", "v1-beta/x"),
    ],
)
def test_a_rule_is_meant_by_its_path_and_what_is_below_it(path: str, of_rule: str, rest: str) -> None:
    assert meant(path, of_rule) == (of_rule, rest)


@pytest.mark.parametrize(
    ("path", "of_rule"),
    [
        ("cccfoo", "/ccc"),
        ("x/ccc", "/ccc"),
        ("cc", "/ccc"),
        ("a", "/a/b"),
        ("orders", "/orders/{id}"),
        ("a.c", "/a*c"),
    ],
)
def test_other_paths_do_not_mean_it(path: str, of_rule: str) -> None:
    assert meant(path, of_rule) is None


def test_the_rule_that_says_most_is_meant() -> None:
    assert meant("a/b/c", "/a", "/a/b", "/a/{x}") == ("/a/b", "c")
    assert meant("a/z/c", "/a", "/a/b", "/a/{x}") == ("/a/{x}", "a/z/c")
    assert meant("a", "/a", "/a/b") == ("/a", "")
