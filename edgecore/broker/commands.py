"""`edgecore mqtt-user`: who may use the embedded broker. Changes the file of users; a running broker sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from edgecore.broker.embedded import new_password
from edgecore.broker.users import add_user, read_users, remove_user
from skerry.errors import InvalidError, UnavailableError
from skerry.files import unavailable, write_private


class Asked(Protocol):
    """See `edgecore.config.MqttUserSettings`."""

    @property
    def users_file(self) -> Path: ...
    @property
    def add(self) -> str: ...
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
    if asked.add and asked.remove:
        raise InvalidError("--add and --remove: one of them at a time")
    if not asked.add and (asked.publish or asked.subscribe or asked.password_file):
        raise InvalidError("--publish, --subscribe and --password-file go with --add NAME")
    if asked.add:
        return _add(asked)
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


def _add(asked: Asked) -> str:
    file = Path(asked.password_file) if asked.password_file else asked.users_file.parent / f"{asked.add}.password"
    try:
        password, new = file.read_bytes().rstrip(b"\r\n"), False
    except FileNotFoundError:
        password, new = new_password(), True
    except OSError as error:
        raise unavailable(file, error) from error
    add_user(asked.users_file, asked.add, password, publish=asked.publish, subscribe=asked.subscribe)
    if new:
        try:
            write_private(file, password + b"\n")
        except UnavailableError:
            remove_user(asked.users_file, asked.add)
            raise
    return f"user {asked.add}; its password {'was written to' if new else 'is that of'} {file}\n"
