"""The broker for machines without mosquitto: amqtt on loopback, until it is told to stop.

    python broker.py PORT USER PASSWORD_FILE

One user, because amqtt keeps the session of a client that is away, and what it missed, only for one that has said
who it is. Sessions are in memory: they end with the broker.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from amqtt.broker import Broker
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher


def hashed(user: str, password_file: Path) -> Path:
    """The file of users that amqtt reads, beside the file with the one password."""
    users = password_file.with_name("passwords")
    users.write_text(f"{user}:{PasswordHash((Argon2Hasher(),)).hash(password_file.read_text().strip())}\n")
    return users


async def main(port: int, users: Path) -> None:
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}", "max_connections": 20}},
            "plugins": {"amqtt.plugins.authentication.FileAuthPlugin": {"password_file": str(users)}},
        }
    )
    await broker.start()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), hashed(sys.argv[2], Path(sys.argv[3]))))
