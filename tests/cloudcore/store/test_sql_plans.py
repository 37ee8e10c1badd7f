"""No statement that is asked again and again reads a whole table: a fleet's has hundreds of thousands of rows."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import Delete, Select, Update, create_engine, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.pool import StaticPool

from cloudcore.store import sql_tables as t

STATEMENTS: dict[str, Any] = {
    name: value for name, value in vars(t).items() if isinstance(value, Select | Update | Delete) and name[0] != "_"
}
LISTS = {"b_names": ["a", "b"], "b_nodes": ["a", "b"]}
WHOLE = {
    "select_resources": "every name of a resource, once, when a reader starts",
    "select_meta": "a table of one row",
    "lock_meta": "a table of one row",
    "newest_record": "a table of one row",
    "update_numbers": "a table of one row",
    "update_compacted": "a table of one row",
    "update_schema": "a table of one row",
    "update_epoch": "a table of one row",
}


def plan_of(statement: Any) -> list[str]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    t.tables.create_all(engine)
    names = statement.compile().params.keys()
    values = {name: LISTS.get(name, "") for name in names} if names & LISTS.keys() else {}
    asked = statement.params(**values) if values else statement
    compiled = asked.compile(dialect=sqlite.dialect(paramstyle="named"), compile_kwargs={"render_postcompile": True})
    with engine.connect() as connection:
        values = dict.fromkeys(re.findall(r":(\w+)", str(compiled)))
        rows = connection.execute(text(f"EXPLAIN QUERY PLAN {compiled}"), values).all()
    return [str(row[3]) for row in rows]


@pytest.mark.parametrize("name", sorted(STATEMENTS.keys() - WHOLE.keys()))
def test_a_statement_finds_its_rows_by_an_index(name: str) -> None:
    steps = plan_of(STATEMENTS[name])
    whole = [step for step in steps if re.match(r"SCAN (?!CONSTANT|.* USING)", step)]
    assert not whole, steps
