"""The table of built-in kinds."""

from __future__ import annotations

import pytest

from cloudcore.registry.kinds import builtin_kinds, builtin_scheme
from skerry.objects.scheme import Kind
from tests.cloudcore.registry.kinds_page import PAGE, page

KINDS = builtin_kinds()


def test_no_two_rows_share_an_address() -> None:
    assert len({(kind.group, kind.version, kind.plural) for kind in KINDS}) == len(KINDS)
    assert len({(kind.group, kind.version, kind.kind) for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.resource}.{kind.version}")
def test_a_kind_stored_in_another_version_has_that_version(kind: Kind) -> None:
    if kind.stored_version:
        assert builtin_scheme().at(kind.group, kind.stored_version, kind.plural) is not None


def test_both_kinds_of_event_are_one_storage() -> None:
    scheme = builtin_scheme()
    new, old = scheme.at("events.k8s.io", "v1", "events"), scheme.at("", "v1", "events")
    assert new is not None
    assert old is not None
    assert new.stored_as == old.stored_as == "events"


def test_the_preferred_version_of_a_group_comes_first() -> None:
    versions = [kind.version for kind in KINDS if kind.group == "autoscaling"]
    assert versions == ["v2", "v1"]


def test_custom_resources_of_others_take_no_strategic_patch() -> None:
    assert not any(kind.strategic_patch for kind in KINDS if kind.group.endswith("kubeedge.io"))


def test_the_page_of_kinds_is_in_step_with_the_table() -> None:
    assert PAGE.read_text() == page(), "run docs/tools/make_kinds_page.py"
