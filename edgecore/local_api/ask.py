"""One question to a running agent over its socket: for `edgecore status` and scripts. Keeps nothing."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Final

from skerry.errors import UnavailableError

ANSWER_S_MAX: Final = 10.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_S_MAX)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ANSWER_S_MAX)
        self.sock.connect(str(self._path))


def ask(path: Path, question: str) -> str:
    """The answer's JSON, indented. Raises `UnavailableError` when no agent answers there."""
    connection = _UnixConnection(path)
    try:
        connection.request("GET", question)
        with connection.getresponse() as response:
            body = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise UnavailableError(f"no agent answers at {path}: {error}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise UnavailableError(f"the agent at {path} answers {response.status}: {body.decode(errors='replace')}")
    return json.dumps(json.loads(body), indent=2) + "\n"
