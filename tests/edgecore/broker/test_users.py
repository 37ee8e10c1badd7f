from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edgecore.broker.commands import change_users
from edgecore.broker.users import AGENT, ATTEMPTS_MAX, UserBook, add_user, may, read_users, remove_user
from edgecore.config.commands import MqttUserSettings
from skerry.errors import AlreadyExistsError, InvalidError, NotFoundError, UnavailableError


def book(path: Path) -> UserBook:
    made = UserBook(path, b"agent's")
    made.refresh()
    return made


async def test_who_has_the_password_comes_in_and_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    add_user(path, "ann", b"right")
    held = book(path)
    for _ in range(2):  # the second time without scrypt
        assert await held.admit("ann", b"right") == "ann"
        assert await held.admit("ann", b"wrong") is None
    assert await held.admit("bob", b"right") is None
    assert await held.admit(None, None) is None
    assert await held.admit("ann", None) is None
    assert await held.admit(AGENT, b"agent's") == AGENT
    assert await held.admit(AGENT, b"right") is None
    assert b"right" not in path.read_bytes() and path.stat().st_mode & 0o77 == 0


async def test_who_tries_passwords_in_one_name_delays_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    for name in ("ann", "bob"):
        add_user(path, name, b"right")
    held = book(path)
    tries = [asyncio.create_task(held.admit("ann", b"%d" % number)) for number in range(40)]
    await asyncio.sleep(0)
    assert await held.admit("bob", b"right") == "bob"
    refused = 40 - ATTEMPTS_MAX
    assert refused <= sum(each.done() for each in tries) <= refused + 2  # one was before it, and all over the bound
    assert set(await asyncio.gather(*tries)) == {None}
    assert await held.admit("ann", b"right") == "ann" and not held._waiting and not held._turns


async def test_a_change_of_the_file_counts_at_once(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    add_user(path, "ann", b"old")
    held = book(path)
    assert await held.admit("ann", b"old") == "ann"
    remove_user(path, "ann")
    add_user(path, "ann", b"new")
    assert await held.admit("ann", b"old") is None
    assert await held.admit("ann", b"new") == "ann"
    remove_user(path, "ann")
    before = held.refresh()
    assert held.refresh() == before > 2 and held.credential("ann") is None


async def test_a_file_that_makes_no_sense_leaves_who_was_known(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    add_user(path, "ann", b"right")
    held = book(path)
    for text in ("{", "[]", '{"ann": {}}', '{"ann": {"salt": "", "hash": "", "publish": ["a#"], "subscribe": []}}'):
        path.write_text(text)
        assert held.refresh() == 1
        assert await held.admit("ann", b"right") == "ann"
        with pytest.raises(InvalidError):
            read_users(path)


def test_who_has_proven_its_name_is_that_user_and_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    add_user(path, "ann", b"x")
    held = book(path)
    assert [held.certified("ann", username) for username in (None, "", "ann")] == ["ann"] * 3
    assert held.certified("ann", "bob") is None and held.certified("bob", None) is None
    assert held.certified(AGENT, None) is None and held.certified("", None) is None
    remove_user(path, "ann")
    assert held.certified("ann", None) is None


def test_rights_are_patterns(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    add_user(path, "ann", b"x", publish=["site/%u/#"], subscribe=["site/+/state", "to/%c"])
    add_user(path, "all", b"x")
    held = book(path)
    assert held.may_publish("ann", "c", "site/ann/a/b") and not held.may_publish("ann", "c", "site/bob/a")
    assert held.may_hear("ann", "c", "site/+/state") and held.may_hear("ann", "c", "site/x/state")
    assert not held.may_hear("ann", "c", "site/#") and not held.may_hear("ann", "c", "#")
    assert held.may_hear("ann", "c", "to/c") and not held.may_hear("ann", "d", "to/c")
    assert held.may_hear("ann", "c", "$SYS/broker/uptime")
    assert held.may_publish("all", "c", "$hw/events/upload/x") and held.may_hear("all", "c", "#")
    assert held.may_publish(AGENT, "c", "any") and held.may_hear(AGENT, "c", "$hw/#")
    assert not held.may_publish("gone", "c", "a") and not held.may_hear("gone", "c", "a")


def test_the_agents_client_ids_are_nobody_elses(tmp_path: Path) -> None:
    held = UserBook(tmp_path / "users.json", b"agent's", "skerry-gw-1-")
    assert held.may_connect(AGENT, "skerry-gw-1-rules") and not held.may_connect("ann", "skerry-gw-1-rules")
    assert held.may_connect("ann", "skerry-gw-10-rules") and held.may_connect("ann", "")
    assert book(tmp_path / "users.json").may_connect("ann", "skerry-gw-1-rules")
    assert held.comes_first(AGENT) and not held.comes_first("ann")


@pytest.mark.parametrize("client", ["#", "+", "a/b", ""])
def test_a_client_id_that_would_be_a_wildcard_opens_nothing(client: str) -> None:
    assert not may(["to/%c/#"], "ann", client, "to/other/x", hears=False)
    assert not may(["to/%c"], "ann", client, "to/#", hears=True)


def test_what_cannot_be_a_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    for name in ("", "a b", "a/b", AGENT, "x" * 64):
        with pytest.raises(InvalidError, match="user"):
            add_user(path, name, b"x")
    with pytest.raises(InvalidError, match="password"):
        add_user(path, "ann", b"")
    with pytest.raises(InvalidError, match="topic filter"):
        add_user(path, "ann", b"x", publish=["a#"])
    assert not path.exists()
    add_user(path, "ann", b"x")
    with pytest.raises(AlreadyExistsError):
        add_user(path, "ann", b"x")
    with pytest.raises(NotFoundError):
        remove_user(path, "bob")


def test_the_command_writes_a_password_where_there_is_none(tmp_path: Path) -> None:
    said = change_users(MqttUserSettings(data=tmp_path, add="ann", publish=("a/#",)))
    file = tmp_path / "mqtt" / "ann.password"
    assert said == f"user ann; its password was written to {file}\n"
    assert len(file.read_text().strip()) >= 32 and file.stat().st_mode & 0o77 == 0
    given = tmp_path / "given"
    given.write_text("secret\n")
    assert "is that of" in change_users(MqttUserSettings(data=tmp_path, add="bob", password_file=str(given)))
    listed = change_users(MqttUserSettings(data=tmp_path))
    assert [line.split() for line in listed.splitlines()[1:]] == [
        ["ann", "a/#", "nothing"],
        ["bob", "#,", "$hw/#", "#,", "$hw/#"],
    ]
    assert "removed" in change_users(MqttUserSettings(data=tmp_path, remove="ann"))
    assert "ann" not in change_users(MqttUserSettings(data=tmp_path))


def test_the_command_changes_what_it_is_given_and_leaves_the_rest(tmp_path: Path) -> None:
    change_users(MqttUserSettings(data=tmp_path, add="ann", publish=("a",), subscribe=("b",)))
    held = book(tmp_path / "mqtt" / "users.json")
    before = held.credential("ann")
    assert change_users(MqttUserSettings(data=tmp_path, change="ann", subscribe=("c",))) == "user ann is changed\n"
    held.refresh()
    assert held.credential("ann") == before and held.may_publish("ann", "", "a")
    assert held.may_hear("ann", "", "c") and not held.may_hear("ann", "", "b")
    said = change_users(MqttUserSettings(data=tmp_path, change="ann", password_file=str(tmp_path / "new")))
    assert "was written to" in said and (tmp_path / "new").stat().st_mode & 0o77 == 0
    held.refresh()
    assert held.credential("ann") not in (before, None) and held.may_hear("ann", "", "c")
    for wrong in ({"change": "ann"}, {"change": "ann", "remove": "ann"}, {"change": "ann", "publish": ("a#",)}):
        with pytest.raises(InvalidError):
            change_users(MqttUserSettings(data=tmp_path, **wrong))  # type: ignore[arg-type]
    with pytest.raises(NotFoundError):
        change_users(MqttUserSettings(data=tmp_path, change="bob", password_file=str(tmp_path / "bob")))
    assert not (tmp_path / "bob").exists()


def test_the_command_says_what_it_does_not_understand(tmp_path: Path) -> None:
    for wrong in ({"add": "a", "remove": "b"}, {"publish": ("a",)}, {"password_file": "x"}):
        with pytest.raises(InvalidError):
            change_users(MqttUserSettings(data=tmp_path, **wrong))  # type: ignore[arg-type]
    assert "no users" in change_users(MqttUserSettings(data=tmp_path))
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UnavailableError):
        change_users(MqttUserSettings(data=tmp_path, add="ann", password_file=str(blocked / "x")))
    assert "ann" not in change_users(MqttUserSettings(data=tmp_path))
