"""Sends a message to a URL and says what was answered. Keeps one pool of connections; nothing to lose in a crash.

The request is KubeEdge's: a POST of the message as it was heard, without a type of its content, which nobody knows.
Certificates are checked, where KubeEdge checks none. Redirects are not followed: they make a GET of a POST.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import quote

import aiohttp

from cloudcore.rules.plan import Answer, Answered, Unreached
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, str_at
from skerry.objects.meta import uid_of
from skerry.objects.rules import Rule

CONNECT_S_MAX: Final = 10.0
ANSWER_S_MAX: Final = 30.0
"""For the whole of a request; KubeEdge's `restTimeout` is for requests that come in."""
ANSWER_BYTES_MAX: Final = 256 * 1024
"""Of an answer, as much as is kept of it; the rest is not read."""
WORDS_LENGTH_MAX: Final = 512
"""Of an answer that is told to people."""
CONNECTIONS_MAX: Final = 64


class Target(Frozen):
    """Where to, and by what it is known."""

    url: str
    ca_pem: str = ""
    """In place of the authorities that this machine trusts; "" for those."""
    unverified: bool = False


class Post(Protocol):
    async def __call__(self, target: Target, body: bytes, headers: Mapping[str, str], /) -> Answer: ...


@dataclass(slots=True)
class Poster:
    """See the module. Implements `Post`."""

    session: aiohttp.ClientSession
    contexts: dict[tuple[str, bool], ssl.SSLContext] = field(
        default_factory=dict[tuple[str, bool], ssl.SSLContext], init=False
    )

    async def __call__(self, target: Target, body: bytes, headers: Mapping[str, str], /) -> Answer:
        try:
            async with self.session.post(
                target.url,
                data=body,
                headers=headers,
                ssl=self._tls(target),
                allow_redirects=False,
                skip_auto_headers=("Content-Type", "User-Agent"),
            ) as response:
                said = await _first(response.content)
                words = said[:WORDS_LENGTH_MAX].decode(errors="replace")
                return Answered(status=response.status, words=words, body=said)
        except TimeoutError:
            return Unreached(why=f"no answer within {ANSWER_S_MAX:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Unreached(why=str(error) or type(error).__name__)

    def _tls(self, target: Target) -> ssl.SSLContext:
        """Raises `ValueError` for certificates that can't be read."""
        known = self.contexts.get((target.ca_pem, target.unverified))
        if known is None:
            try:
                known = ssl.create_default_context(cadata=target.ca_pem or None)
            except ssl.SSLError as error:
                raise ValueError("the endpoint's property ca has no certificate that can be read") from error
            if target.unverified:
                known.check_hostname = False
                known.verify_mode = ssl.CERT_NONE
            if len(self.contexts) >= CONNECTIONS_MAX:
                self.contexts.clear()
            self.contexts[target.ca_pem, target.unverified] = known
        return known


async def _first(content: aiohttp.StreamReader) -> bytes:
    said = bytearray()
    while len(said) < ANSWER_BYTES_MAX and (piece := await content.readany()):
        said += piece
    return bytes(said[:ANSWER_BYTES_MAX])


def target_of(rule: Rule, properties: Mapping[str, str]) -> Target:
    """Of a rule to rest, with the properties of its target's endpoint."""
    return Target(
        url=rule.target_resource["resource"],
        ca_pem=properties.get("ca", ""),
        unverified=properties.get("insecure_skip_verify") == "true",
    )


def headers_of(message: JsonObject) -> Mapping[str, str]:
    """What is said beside a message."""
    return {
        "NodeName": str_at(message, "spec", "nodeName"),
        "Skerry-Topic": quote(str_at(message, "spec", "topic"), safe="/$+#:"),
        "Idempotency-Key": uid_of(message),
    }


@asynccontextmanager
async def posting() -> AsyncGenerator[Poster]:
    """A pool of connections, closed at the end."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_S_MAX, sock_connect=CONNECT_S_MAX)
    connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX)
    async with aiohttp.ClientSession(
        timeout=timeout, connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield Poster(session)
