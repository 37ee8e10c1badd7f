"""Manifests that nobody here understands, and what their writers are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from skerry.cli.apply import kind_of
from skerry.errors import NotFoundError

HOWTO = Path(__file__).parents[3] / "docs" / "howto" / "devices-of-v1alpha2.md"


def example() -> list[dict[str, Any]]:
    """The page's device, before and after."""
    text = HOWTO.read_text()
    return list(yaml.safe_load_all(text[text.index("```yaml") + 7 : text.rindex("```")]))


def test_a_device_of_v1alpha2_is_told_how_to_become_one_of_v1beta1() -> None:
    before, _ = example()
    with pytest.raises(NotFoundError, match=r"dryer\.yaml: .*v1alpha2.*propertyVisitors\[\] become properties\[\]"):
        kind_of([], "dryer.yaml", before)


def test_another_kind_that_nobody_knows_is_told_no_more_than_that() -> None:
    with pytest.raises(NotFoundError, match=r"knows no kind 'Gadget' in apiVersion 'a/v1'$"):
        kind_of([], "x", {"apiVersion": "a/v1", "kind": "Gadget", "metadata": {"name": "g"}})
