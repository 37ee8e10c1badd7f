"""Frozen: what a value that is made once promises."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest

from skerry.frozen import Frozen, as_dict, field, replace


class Point(Frozen):
    x: int
    names: dict[str, int] = field(default_factory=dict[str, int])


class Placed(Frozen, kw_only=False, order=True):
    row: int
    column: int = 0


class Login(Frozen, hidden=("password",)):
    user: str
    password: str


class Account(Login, hidden=("token",)):
    token: str


class Renamed(Login):
    nick: str = ""


class Squared(Frozen, caches=True):
    side: int

    @cached_property
    def area(self) -> int:
        return self.side * self.side


@dataclass(slots=True)
class Counted:
    n: int


def test_it_is_never_changed() -> None:
    point = Point(x=1)
    with pytest.raises(AttributeError):
        point.x = 2  # pyright: ignore[reportAttributeAccessIssue]
    assert point == Point(x=1)


def test_it_is_equal_and_hashed_by_its_fields_and_ordered_where_asked() -> None:
    assert {Placed(1), Placed(1, 0)} == {Placed(1)}
    assert sorted([Placed(2), Placed(1, 5), Placed(1)]) == [Placed(1), Placed(1, 5), Placed(2)]


def test_fields_are_given_by_name_unless_said_otherwise() -> None:
    with pytest.raises(TypeError):
        Point(1)  # pyright: ignore[reportCallIssue]


def test_no_two_share_a_default_that_can_change() -> None:
    assert Point(x=1).names is not Point(x=1).names


def test_hidden_fields_are_not_told_and_all_else_counts() -> None:
    login = Login(user="ada", password="secret")
    assert repr(login) == "Login(user='ada')"
    assert login != Login(user="ada", password="other")


def test_what_a_base_hides_stays_hidden_in_every_form_of_telling() -> None:
    account = Account(user="ada", password="SECRET", token="t")
    renamed = Renamed(user="ada", password="SECRET")
    assert repr(account) == "Account(user='ada')"
    assert repr(renamed) == "Renamed(user='ada', nick='')"
    assert [*_rich(account)] == [("user", "ada")]
    assert [*_rich(renamed)] == [("user", "ada"), ("nick", "")]


def _rich(value: Any) -> Any:
    return value.__rich_repr__()


def test_what_was_worked_out_is_kept_where_there_is_room() -> None:
    one = Squared(side=3)
    assert one.area is one.area == 9


def test_a_copy_with_changes_of_either_kind() -> None:
    assert replace(Point(x=1), x=2) == Point(x=2)
    assert replace(Counted(1), n=2) == Counted(2)
    with pytest.raises(TypeError):
        replace(Point(x=1), y=2)


def test_its_fields_by_name() -> None:
    assert as_dict(Placed(1, 2)) == {"row": 1, "column": 2}
