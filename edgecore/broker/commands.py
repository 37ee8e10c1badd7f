"""`edgecore mqtt-user`: who may use the embedded broker. Changes the file of users; a running broker sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from edgecore.broker.embedded import new_password
from edgecore.broker.users import add_user, change_user, read_users, remove_user
from skerry.errors import InvalidError, NotFoundError, UnavailableError
from skerry.files import unavailable, write_private


class Asked(Protocol):
    """See `edgecore.config.commands.MqttUserSettings`."""

    @property
    def users_file(self) -> Path: ...
    @property
    def add(self) -> str: ...
    @property
    def change(self) -> str: ...
    @property
    def remove(self) -> str: ...
    @property
    def publish(self) -> tuple[str, ...]: ...
    @property
    def subscribe(self) -> tuple[str, ...]: ...
    @property
    def password_file(self) -> str: ...


def change_users(asked: Asked) -> str:
    """What to tell. Raises `InvalidError`, `AlreadyExistsError`, `NotFoundError`, `UnavailableError`."""
    if sum(bool(each) for each in (asked.add, asked.change, asked.remove)) > 1:
        raise InvalidError("--add, --change and --remove: one of them at a time")
    said = asked.publish or asked.subscribe or asked.password_file
    if not asked.add and not asked.change and said:
        raise InvalidError("--publish, --subscribe and --password-file go with --add NAME or --change NAME")
    if asked.add:
        return _add(asked)
    if asked.change:
        if not said:
            raise InvalidError(f"--change {asked.change}: say what, with --publish, --subscribe or --password-file")
        return _change(asked)
    if asked.remove:
        remove_user(asked.users_file, asked.remove)
        return f"user {asked.remove} is removed; its clients are disconnected within a second\n"
    users = read_users(asked.users_file)
    if not users:
        return "no users; add one with: edgecore mqtt-user --add NAME\n"
    lines = [("USER", "MAY PUBLISH ON", "MAY HEAR")]
    lines += [
        (name, ", ".join(user.publish) or "nothing", ", ".join(user.subscribe) or "nothing")
        for name, user in users.items()
    ]
    first, second = (max(len(line[at]) for line in lines) for at in (0, 1))
    return "".join(f"{name:{first}}  {publish:{second}}  {hear}\n" for name, publish, hear in lines)


def _change(asked: Asked) -> str:
    name, words, password = asked.change, "", None
    if name not in read_users(asked.users_file):
        raise NotFoundError(f"there is no user {name}")
    if asked.password_file:
        file = Path(asked.password_file)
        password, new = _password(file)
        if new:
            # First where its program finds it: the other way round nobody would know it after a crash.
            write_private(file, password + b"\n")
        words = f"; its password {'was written to' if new else 'is that of'} {file}, and its clients log in anew"
    change_user(
        asked.users_file,
        name,
        password,
        publish=asked.publish,
        subscribe=asked.subscribe,
    )
    return f"user {name} is changed{words}\n"


def _password(file: Path) -> tuple[bytes, bool]:
    """What is in the file; where there is none, a new one, and that it is new. Raises `UnavailableError`."""
    try:
        return file.read_bytes().rstrip(b"\r\n"), False
    except FileNotFoundError:
        return new_password(), True
    except OSError as error:
        raise unavailable(file, error) from error


def _add(asked: Asked) -> str:
    file = Path(asked.password_file) if asked.password_file else asked.users_file.parent / f"{asked.add}.password"
    password, new = _password(file)
    add_user(asked.users_file, asked.add, password, publish=asked.publish, subscribe=asked.subscribe)
    if new:
        try:
            write_private(file, password + b"\n")
        except UnavailableError:
            remove_user(asked.users_file, asked.add)
            raise
    return f"user {asked.add}; its password {'was written to' if new else 'is that of'} {file}\n"
