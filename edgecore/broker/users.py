"""Who may use the gateway's broker, and on which topics: a file of users, and what is asked of it at every turn.

The file (mode 0600) holds a scrypt hash of each password and patterns of topics; it is read anew when it changes.
The agent's own user is in no file: it gets a new password with every start. In memory: the file, and a keyed digest
of each password that was right once, so that a client that reconnects costs no scrypt.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from skerry.errors import AlreadyExistsError, InvalidError, NotFoundError, UnavailableError
from skerry.files import unavailable, write_private
from skerry.frozen import Frozen, replace
from skerry.mqtt.topics import covers, is_filter, matches

LOG = logging.getLogger(__name__)

AGENT: Final = "edgecore"
"""The agent itself."""
ALL: Final = ("#", "$hw/#")
"""Every topic of applications, KubeEdge's among them: a leading wildcard matches nothing that begins with $."""
FIGURES: Final = "$SYS/#"
"""What the broker says of itself, which everyone may hear."""
USERS_MAX: Final = 1000
PASSWORD_BYTES_MAX: Final = 1024
ATTEMPTS_MAX: Final = 8
"""To log in as one user at a time, where the password is not known to be right; more are refused."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_N, _R, _P = 1 << 13, 8, 2
"""scrypt's costs: 8 MiB and some 50 ms of a small gateway, for passwords that a person may have chosen."""


class User(Frozen):
    salt: bytes
    hash: bytes
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def hashed(password: bytes, salt: bytes) -> bytes:
    return hashlib.scrypt(password, salt=salt, n=_N, r=_R, p=_P, maxmem=64 << 20, dklen=32)


def read_users(path: Path) -> dict[str, User]:
    """Of the file; none where there is none. Raises `InvalidError`, `UnavailableError`."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise unavailable(path, error) from error
    try:
        held = cast(dict[str, Any], json.loads(text))
        return {
            name: User(
                salt=base64.b64decode(user["salt"], validate=True),
                hash=base64.b64decode(user["hash"], validate=True),
                publish=tuple(check_pattern(each) for each in user["publish"]),
                subscribe=tuple(check_pattern(each) for each in user["subscribe"]),
            )
            for name, user in held.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidError(f"{path}: not a file of users: {error}") from error


def write_users(path: Path, users: Mapping[str, User]) -> None:
    """Raises `UnavailableError`."""
    held = {
        name: {
            "salt": base64.b64encode(user.salt).decode(),
            "hash": base64.b64encode(user.hash).decode(),
            "publish": list(user.publish),
            "subscribe": list(user.subscribe),
        }
        for name, user in sorted(users.items())
    }
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unavailable(path, error) from error
    write_private(path, (json.dumps(held, indent=1) + "\n").encode())


def check_pattern(pattern: object) -> str:
    """A filter, in which %u stands for the user and %c for the client id. Raises `InvalidError`."""
    if not isinstance(pattern, str) or not is_filter(pattern):
        raise InvalidError(f"{pattern!r}: write a topic filter, such as site/%u/# or site/+/state")
    return pattern


def _check_password(name: str, password: bytes) -> None:
    if not password or len(password) > PASSWORD_BYTES_MAX:
        raise InvalidError(f"the password of {name}: write 1 to {PASSWORD_BYTES_MAX} bytes")


def add_user(
    path: Path, name: str, password: bytes, *, publish: Sequence[str] = (), subscribe: Sequence[str] = ()
) -> None:
    """Without patterns, all of them. Raises `InvalidError`, `AlreadyExistsError`, `UnavailableError`."""
    if not _NAME.fullmatch(name):
        raise InvalidError(f"user {name!r}: write up to 63 letters, digits, dots, dashes and underscores")
    if name == AGENT:
        raise InvalidError(f"user {name}: that is the agent itself")
    _check_password(name, password)
    users = read_users(path)
    if name in users:
        raise AlreadyExistsError(f"user {name} exists; it is changed with --change {name}")
    if len(users) >= USERS_MAX:
        raise InvalidError(f"there are {USERS_MAX} users already")
    salt = secrets.token_bytes(16)
    every = not publish and not subscribe
    users[name] = User(
        salt=salt,
        hash=hashed(password, salt),
        publish=ALL if every else tuple(check_pattern(each) for each in publish),
        subscribe=ALL if every else tuple(check_pattern(each) for each in subscribe),
    )
    write_users(path, users)


def change_user(
    path: Path,
    name: str,
    password: bytes | None,
    *,
    publish: Sequence[str] = (),
    subscribe: Sequence[str] = (),
) -> None:
    """What is given is new, and all else stays. Raises `NotFoundError`, `InvalidError`, `UnavailableError`."""
    users = read_users(path)
    held = users.get(name)
    if held is None:
        raise NotFoundError(f"there is no user {name}")
    if password is not None:
        _check_password(name, password)
        salt = secrets.token_bytes(16)
        held = replace(held, salt=salt, hash=hashed(password, salt))
    if publish:
        held = replace(held, publish=tuple(check_pattern(each) for each in publish))
    if subscribe:
        held = replace(held, subscribe=tuple(check_pattern(each) for each in subscribe))
    write_users(path, users | {name: held})


def remove_user(path: Path, name: str) -> None:
    """Raises `NotFoundError`, `InvalidError`, `UnavailableError`."""
    users = read_users(path)
    if name not in users:
        raise NotFoundError(f"there is no user {name}")
    del users[name]
    write_users(path, users)


def may(patterns: Sequence[str], user: str, client: str, wanted: str, *, hears: bool) -> bool:
    """Whether a pattern allows a topic, or covers a filter."""
    allows = covers if hears else matches
    return any(allows(_filled(pattern, user, client), wanted) for pattern in patterns)


def _filled(pattern: str, user: str, client: str) -> str:
    """A name that would be a wildcard, or more than one level, stands for nothing."""
    for sign, name in (("%u", user), ("%c", client)):
        if sign in pattern:
            safe = name if name and not set(name) & set("+#/") else "\x00"
            pattern = pattern.replace(sign, safe)
    return pattern


@dataclass(slots=True)
class UserBook:
    """Implements `Authority` and `Guard` over the file."""

    path: Path
    agent_password: bytes
    own_clients: str = ""
    """How client ids begin that are the agent's alone; "": none."""
    _users: dict[str, User] = field(default_factory=dict[str, User])
    _seen: tuple[int, int] | None = None
    _changes: int = 0
    _right: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """Keyed digests of passwords, by user."""
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _turns: dict[str, asyncio.Lock] = field(default_factory=dict[str, asyncio.Lock])
    _waiting: dict[str, int] = field(default_factory=dict[str, int])
    """Attempts under way, by user."""

    def refresh(self) -> int:
        """Read the file if it changed; how many times it did. One that can't be read leaves what was known."""
        try:
            found = self.path.stat()
            seen = (found.st_mtime_ns, found.st_ino)
        except FileNotFoundError:
            seen = (0, 0)
        except OSError as error:
            LOG.warning("broker_users_unreadable reason=%r", str(unavailable(self.path, error)))
            return self._changes
        if seen == self._seen:
            return self._changes
        self._seen = seen
        try:
            before, self._users = self._users, read_users(self.path)
        except (InvalidError, UnavailableError) as error:
            LOG.error("broker_users_unreadable the users from before stay reason=%r", str(error))
            return self._changes
        for name in [name for name in self._right if before.get(name) != self._users.get(name)]:
            del self._right[name]
        self._changes += 1
        return self._changes

    def credential(self, user: str) -> bytes | None:
        """See `skerry.mqtt.broker.Guard`."""
        if user == AGENT:
            return b""
        held = self._users.get(user)
        return held.hash if held is not None else None

    async def admit(self, username: str | None, password: bytes | None) -> str | None:
        """The user, if it is one and this is its password."""
        self.refresh()
        if username is None or password is None or len(password) > PASSWORD_BYTES_MAX:
            return None
        if username == AGENT:
            return AGENT if hmac.compare_digest(password, self.agent_password) else None
        user = self._users.get(username)
        if user is None:
            return None
        digest = hmac.digest(self._key, password, "sha256")
        if hmac.compare_digest(self._right.get(username, b""), digest):
            return username
        found = await self._hashed(username, password, user.salt)
        if not hmac.compare_digest(found, user.hash) or self._users.get(username) is not user:
            return None
        self._right[username] = digest
        return username

    async def _hashed(self, username: str, password: bytes, salt: bytes) -> bytes:
        """One at a time: each takes 8 MiB. A user has one in the queue of all, so that whoever tries passwords in
        somebody's name delays that user alone; b"" for one too many of them."""
        waiting = self._waiting.get(username, 0)
        if waiting >= ATTEMPTS_MAX:
            return b""
        self._waiting[username] = waiting + 1
        try:
            async with self._turns.setdefault(username, asyncio.Lock()), self._turn:
                return await asyncio.to_thread(hashed, password, salt)
        finally:
            self._waiting[username] -= 1
            if not self._waiting[username]:
                del self._waiting[username], self._turns[username]

    def certified(self, name: str, username: str | None) -> str | None:
        """See `edgecore.broker.server.Authority`. The agent is nobody's common name: it has a password."""
        self.refresh()
        return name if name in self._users and name != AGENT and username in (None, "", name) else None

    def comes_first(self, user: str) -> bool:
        """See `skerry.mqtt.broker.Guard`: the gateway works on where a user's program takes what there is."""
        return user == AGENT

    def may_connect(self, user: str, client: str) -> bool:
        """See `skerry.mqtt.broker.Guard`."""
        return user == AGENT or not self.own_clients or not client.startswith(self.own_clients)

    def may_publish(self, user: str, client: str, topic: str) -> bool:
        """See `skerry.mqtt.broker.Guard`."""
        if user == AGENT:
            return True
        held = self._users.get(user)
        return held is not None and may(held.publish, user, client, topic, hears=False)

    def may_hear(self, user: str, client: str, filter: str) -> bool:
        """See `skerry.mqtt.broker.Guard`."""
        if user == AGENT or covers(FIGURES, filter):
            return True
        held = self._users.get(user)
        return held is not None and may(held.subscribe, user, client, filter, hears=True)
