"""The tables of the machines, and the diagrams drawn from them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from skerry.sync import cloud, edge
from skerry.sync.cloud import CloudState
from skerry.sync.edge import EdgeState
from skerry.sync.tables import check, mermaid

PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "session.md"


def test_the_diagrams_in_the_docs_are_drawn_from_the_tables() -> None:
    """SKERRY_REWRITE=1 draws them again."""
    text = PAGE.read_text()
    for name, diagram in (("edge", mermaid(edge.TABLE)), ("cloud", mermaid(cloud.TABLE))):
        block = re.compile(rf"(<!-- {name} -->\n```mermaid\n)(.*?)(```)", re.DOTALL)
        if os.environ.get("SKERRY_REWRITE"):
            text = block.sub(lambda found, diagram=diagram: found[1] + diagram + found[3], text)
            PAGE.write_text(text)
        found = block.search(text)
        assert found is not None
        assert found[2] == diagram


def test_a_move_that_is_not_in_the_table_is_our_fault() -> None:
    check(edge.TABLE, EdgeState.GREETING, "Welcome", EdgeState.IN_STEP)
    with pytest.raises(AssertionError, match="no way from greeting by Stamps to in_step"):
        check(edge.TABLE, EdgeState.GREETING, "Stamps", EdgeState.IN_STEP)
    with pytest.raises(AssertionError):
        check(cloud.TABLE, CloudState.CLOSED, "close", CloudState.CLOSED)
