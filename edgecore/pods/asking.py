"""Does what probes and hooks ask for: a command in the container, a request, a connection, a health check.

Answers are worded as a kubelet words them. Keeps nothing; what is under way ends with its time, or with the agent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final, Literal, Protocol, TypeAlias

from edgecore.pods.dialing import dial_fault
from edgecore.pods.handlers import ExecHandler, GrpcHandler, Handler, HttpHandler, SleepHandler, TcpHandler
from edgecore.pods.port import ExecResult
from edgecore.pods.web import Page, Url, get, redirected, target_of
from skerry.errors import InvalidError, SkerryError, UnavailableError
from skerry.frozen import Frozen, replace

REDIRECTS_MAX: Final = 10
PROBE_AGENT: Final = "kube-probe/1.36"
"""By which servers know who asks; the Kubernetes version is the one that the API speaks."""
HOOK_AGENT: Final = "kube-lifecycle/1.36"
TEXT_MAX: Final = 4096
"""Characters of what a container answered that an event repeats."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

Outcome: TypeAlias = Literal["success", "warning", "failure", "error"]
"""`error`: nobody knows, as the asking itself went wrong."""


class Answer(Frozen):
    outcome: Outcome
    text: str = ""


class Commands(Protocol):
    """Of a `Runtime`, what is needed here."""

    async def run_in(self, container_id: str, argv: Sequence[str], *, timeout_s: float) -> ExecResult: ...


class Whom(Frozen):
    """The container that is asked."""

    container_id: str
    address: str
    """Of its pod."""


class Asking(Protocol):
    """What a pod's worker asks with."""

    async def probe(self, handler: Handler, whom: Whom, *, timeout_s: float) -> Answer:
        """Once."""
        ...

    async def hook(self, handler: Handler, whom: Whom, *, timeout_s: float) -> str:
        """ "" or why it failed."""
        ...


class RealAsking:
    """Implements `Asking` with the runtime's commands, and the network."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def probe(self, handler: Handler, whom: Whom, *, timeout_s: float) -> Answer:
        return await ask(self._commands, handler, whom, timeout_s=timeout_s)

    async def hook(self, handler: Handler, whom: Whom, *, timeout_s: float) -> str:
        return await run_hook(self._commands, handler, whom, timeout_s=timeout_s)


async def ask(commands: Commands, handler: Handler, whom: Whom, *, timeout_s: float) -> Answer:
    """One probe."""
    match handler:
        case ExecHandler():
            return await _run(commands, handler, whom, timeout_s)
        case HttpHandler():
            return await _get(handler, whom, timeout_s)
        case TcpHandler():
            return await _connect(handler.host or whom.address, handler.port, timeout_s)
        case GrpcHandler():
            return await _check(whom.address, handler, timeout_s)
        case SleepHandler():
            return Answer(outcome="error", text="a probe can't sleep")


async def _run(commands: Commands, handler: ExecHandler, whom: Whom, timeout_s: float) -> Answer:
    try:
        done = await commands.run_in(whom.container_id, handler.argv, timeout_s=timeout_s)
    except TimeoutError:
        return Answer(outcome="failure", text=f"command timed out: {_shown(handler)} timed out after {timeout_s:g}s")
    except (SkerryError, OSError) as error:
        return Answer(outcome="error", text=str(error))
    text = done.output.decode(errors="replace")[:TEXT_MAX]
    return Answer(outcome="success" if done.exit_code == 0 else "failure", text=text)


def _shown(handler: ExecHandler) -> str:
    return '"' + " ".join(handler.argv) + '"'


async def _get(handler: HttpHandler, whom: Whom, timeout_s: float) -> Answer:
    url = url_of(handler, whom)
    first = url
    try:
        async with asyncio.timeout(timeout_s):
            page = await get(url, handler.headers, agent=PROBE_AGENT)
            for _ in range(REDIRECTS_MAX):
                if page.status not in _REDIRECTS or not page.location:
                    break
                there = redirected(url, page.location)
                if there.host != first.host:  # whether somebody else is well is not the question
                    return Answer(outcome="warning", text=f"Probe terminated redirects, Response body: {_text(page)}")
                url = there
                page = await get(url, handler.headers, agent=PROBE_AGENT)
            else:
                return Answer(outcome="failure", text=f'Get "{url}": stopped after {REDIRECTS_MAX} redirects')
    except TimeoutError:
        why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        return Answer(outcome="failure", text=f'Get "{url}": {why}')
    except (UnavailableError, InvalidError) as error:
        return Answer(outcome="failure", text=f'Get "{url}": {error}')
    if 200 <= page.status < 400:
        return Answer(outcome="success", text=_text(page))
    return Answer(outcome="failure", text=f"HTTP probe failed with statuscode: {page.status}")


def url_of(handler: HttpHandler, whom: Whom) -> Url:
    return Url(
        scheme=handler.scheme, host=handler.host or whom.address, port=handler.port, target=target_of(handler.path)
    )


def _text(page: Page) -> str:
    return page.body.decode(errors="replace")[:TEXT_MAX]


async def _connect(host: str, port: int, timeout_s: float) -> Answer:
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, ValueError) as error:  # a time-out among them
        return Answer(outcome="failure", text=dial_fault(host, port, error))
    writer.close()
    with contextlib.suppress(OSError):
        writer.transport.abort()
    return Answer(outcome="success")


async def _check(address: str, handler: GrpcHandler, timeout_s: float) -> Answer:
    if find_spec("grpclib") is None:
        return Answer(outcome="error", text="gRPC probes need grpclib, which is not installed")
    from edgecore.pods.health_check import check  # gRPC takes 2.5 MB: only who asks so pays

    try:
        status = await check(address, handler.port, handler.service, timeout_s=timeout_s)
    except (UnavailableError, InvalidError) as error:
        return Answer(outcome="failure", text=str(error))
    if status == "SERVING":
        return Answer(outcome="success")
    return Answer(outcome="failure", text=f'service unhealthy (responded with "{status}")')


async def run_hook(commands: Commands, handler: Handler, whom: Whom, *, timeout_s: float) -> str:
    """One lifecycle hook: "" or why it failed. Whatever an HTTP server answers is success, as with a kubelet."""
    match handler:
        case SleepHandler():
            await asyncio.sleep(min(handler.seconds, timeout_s))
            return ""
        case ExecHandler():
            answer = await _run(commands, handler, whom, timeout_s)
            return "" if answer.outcome == "success" else answer.text or "the command failed"
        case HttpHandler():
            return await _call(handler, whom, timeout_s)
        case TcpHandler() | GrpcHandler():
            return "only exec, httpGet and sleep are hooks"


async def _call(handler: HttpHandler, whom: Whom, timeout_s: float) -> str:
    url = url_of(handler, whom)
    try:
        async with asyncio.timeout(timeout_s):
            try:
                await get(url, handler.headers, agent=HOOK_AGENT)
            except UnavailableError as error:
                if url.scheme != "https" or not str(error).startswith("tls: "):
                    raise
                # As a kubelet: hooks were called without TLS for years, whatever their scheme said.
                await get(replace(url, scheme="http"), handler.headers, agent=HOOK_AGENT)
    except TimeoutError:
        return f'Get "{url}": no answer within {timeout_s:g}s'
    except UnavailableError as error:
        return f'Get "{url}": {error}'
    return ""
