"""Tokens of pods: asked for while there is a link, kept while there is none, and renewed early."""

from __future__ import annotations

import asyncio
import base64
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from edgecore.tokens.keeper import TokenKeeper, TokenParts
from edgecore.tokens.plan import (
    AGE_MS_MAX,
    Token,
    Wanted,
    decode_tokens,
    encode_tokens,
    renewed_at_ms,
    token_from,
    wanted_by,
)
from skerry.clocks import ManualClock, SeededIds
from skerry.errors import BadRequestError, UnavailableError
from skerry.objects.cloud_calls import CallHead, CloudAnswer
from skerry.objects.json import Json, JsonObject, decode_object, encode_object, str_at, strs_at
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.times import time_text

API = Wanted(audience="", seconds=3607)


def a_pod(uid: str = "u1", *audiences: str, phase: str = "Running") -> JsonObject:
    sources: list[Json] = [
        {"serviceAccountToken": {"path": f"t{n}", "audience": audience, "expirationSeconds": 3607}}
        for n, audience in enumerate(audiences or ("",))
    ]
    return {
        "metadata": {"name": uid, "namespace": "ns", "uid": uid},
        "spec": {"serviceAccountName": "app", "volumes": [{"name": "v", "projected": {"sources": sources}}]},
        "status": {"phase": phase},
    }


class Cloud:
    """Answers requests for tokens, or does not."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.asked: list[tuple[str, JsonObject]] = []
        self.connected = True
        self.refusal = ""

    async def ask(self, head: CallHead, body: bytes = b"") -> CloudAnswer:
        if not self.connected:
            raise UnavailableError("no session")
        assert head.method == "POST"
        assert head.own, "the gateway asks in its own name"
        request = decode_object(body)
        self.asked.append((head.path, request))
        if self.refusal:
            return CloudAnswer(code=404, body=encode_object({"message": self.refusal}))
        until = time_text(self.clock.wall_ms() + 3_607_000)
        status: JsonObject = {"token": f"token-{len(self.asked)}", "expirationTimestamp": until}
        return CloudAnswer(code=201, body=encode_object({**request, "status": status}))


class Stage:
    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.cloud = Cloud(self.clock)
        self.store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=self.clock))
        self.directory = directory
        self.in_step = True
        self.changed: list[str] = []
        self.keeper = self.made()

    def made(self) -> TokenKeeper:
        return TokenKeeper(
            TokenParts(
                store=self.store,
                calls=self.cloud,
                clock=self.clock,
                ids=SeededIds(1),
                directory=self.directory,
                connected=lambda: self.cloud.connected,
                in_step=lambda: self.in_step,
                changed=self.changed.append,
            )
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        running = asyncio.create_task(self.keeper.run())
        await asyncio.sleep(0)
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def put(self, pod: JsonObject) -> None:
        uid = str_at(pod, "metadata", "uid")
        held = Held(key=Key("pods", "ns", uid), stamp=Stamp(uid, Revision(1)), body=encode_object(pod))
        await self.store.apply(EdgeBatch(puts=(held,)))

    async def until(self, what: str, *, pod: JsonObject | None = None) -> None:
        async with asyncio.timeout(10):
            while self.text(pod) != what:
                await asyncio.sleep(0.005)

    def text(self, pod: JsonObject | None = None) -> str:
        try:
            return self.keeper.token(pod or a_pod(), "", 3607)
        except UnavailableError as error:
            return str(error)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def test_a_pods_token_is_asked_for_bound_to_it_and_kept_for_the_agents_eyes(stage: Stage) -> None:
    async with stage.running():
        await stage.put(a_pod())
        await stage.until("token-1")
    assert stage.changed == ["u1"]
    path, request = stage.cloud.asked[0]
    assert path == "/api/v1/namespaces/ns/serviceaccounts/app/token"
    assert str_at(request, "spec", "boundObjectRef", "uid") == "u1"
    assert strs_at(request, "spec", "audiences") == []
    file = stage.directory / "tokens" / "u1.json"
    assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)


async def test_each_audience_has_a_token_of_its_own(stage: Stage) -> None:
    pod = a_pod("u1", "", "vault", "")
    assert [each.audience for each in wanted_by(pod)] == ["", "vault"]
    async with stage.running():
        await stage.put(pod)
        async with asyncio.timeout(10):
            while len(stage.cloud.asked) < 2 or len(stage.changed) < 2:
                await asyncio.sleep(0.005)
    assert stage.keeper.token(pod, "vault", 3607) != stage.keeper.token(pod, "", 3607)


async def test_it_is_renewed_early_and_an_old_one_is_kept_where_nobody_gives_another(stage: Stage) -> None:
    async with stage.running():
        await stage.put(a_pod())
        await stage.until("token-1")
        stage.clock.advance(2_800)
        stage.keeper.poke()
        await asyncio.sleep(0.02)
        assert stage.text() == "token-1", "not four fifths of its time"
        stage.cloud.connected = False
        stage.clock.advance(7 * 86_400)
        stage.keeper.poke()
        await asyncio.sleep(0.02)
        assert stage.text() == "token-1", "an old one is better than none"
        stage.cloud.connected = True
        stage.keeper.poke()
        await stage.until("token-2")


async def test_a_gateway_that_boots_alone_has_what_it_had(stage: Stage) -> None:
    async with stage.running():
        await stage.put(a_pod())
        await stage.until("token-1")
    stage.cloud.connected = False
    stage.clock.advance(7 * 86_400)
    stage.keeper = stage.made()
    assert stage.text() == "token-1"
    async with stage.running():
        await stage.put(a_pod())
        await asyncio.sleep(0.02)
        assert stage.text() == "token-1"


async def test_without_one_it_is_said_why(stage: Stage) -> None:
    stage.cloud.connected = False
    assert stage.text() == "failed to fetch token: the cloud was not reached since the pod came here"
    stage.cloud.connected = True
    stage.cloud.refusal = 'serviceaccounts "app" not found'
    async with stage.running():
        await stage.put(a_pod())
        await stage.until('failed to fetch token: serviceaccounts "app" not found')
        assert stage.changed == ["u1"], "whoever waits is told once"
        stage.cloud.refusal = ""
        stage.clock.advance(3)
        stage.keeper.poke()
        await stage.until("token-2")


async def test_tokens_go_with_their_pods_where_the_store_knows_who_is_there(stage: Stage) -> None:
    async with stage.running():
        await stage.put(a_pod())
        await stage.until("token-1")
        stage.in_step = False
        await stage.store.apply(EdgeBatch(deletes=(Key("pods", "ns", "u1"),)))
        await asyncio.sleep(0.02)
        assert stage.text() == "token-1", "a store that was made anew knows nothing yet"
        stage.in_step = True
        stage.keeper.poke()
        async with asyncio.timeout(10):
            while (stage.directory / "tokens" / "u1.json").exists():
                await asyncio.sleep(0.005)
    assert stage.text().startswith("failed to fetch token")


async def test_a_damaged_file_is_as_none(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    for name, body in (("a", b"{"), ("b", b"[]"), ("c", b'{"tokens": 3}')):
        (stage.directory / "tokens" / f"{name}.json").write_bytes(body)
    stage.keeper = stage.made()
    assert len(caplog.records) == 2
    assert stage.text().startswith("failed to fetch token")


def test_nothing_is_asked_for_a_pod_that_is_over() -> None:
    assert wanted_by(a_pod(phase="Succeeded")) == ()
    assert wanted_by({"spec": {"volumes": [{"name": "x", "emptyDir": {}}]}}) == ()


@given(st.integers(0, 1 << 41), st.integers(0, 1 << 36), st.floats(0, 1))
def test_a_renewal_is_due_within_the_life_of_a_token_and_a_day(issued_ms: int, life_ms: int, chance: float) -> None:
    token = Token(wanted=API, text="t", issued_ms=issued_ms, ends_ms=issued_ms + life_ms)
    due_ms = renewed_at_ms(token, chance)
    assert issued_ms <= due_ms <= issued_ms + min(0.8 * life_ms + 1, AGE_MS_MAX)


@given(
    st.lists(
        st.builds(
            Token,
            wanted=st.builds(Wanted, audience=st.text(), seconds=st.integers(600, 1 << 32)),
            text=st.text(min_size=1),
            issued_ms=st.integers(0, 1 << 42),
            ends_ms=st.integers(0, 1 << 42),
        )
    )
)
def test_what_is_kept_is_read_back(tokens: list[Token]) -> None:
    assert decode_tokens(encode_tokens(tokens)) == tokens


def token_that_says(payload: JsonObject) -> str:
    return f"e30.{base64.urlsafe_b64encode(encode_object(payload)).decode().rstrip('=')}.x"


def test_the_life_of_a_token_is_what_it_says_itself() -> None:
    """The one that every pod finds mounted lives for a year, though its holder is told an hour."""
    status: JsonObject = {"expirationTimestamp": time_text(3_600_000), "token": token_that_says({"exp": 31_536_000})}
    answer = CloudAnswer(code=201, body=encode_object({"status": status}))
    token = token_from(answer, API, now_ms=0)
    assert token.ends_ms == 31_536_000_000
    assert renewed_at_ms(token, 0.0) == AGE_MS_MAX
    for text in ("opaque", "a.!.c", token_that_says({})):
        answer = CloudAnswer(code=201, body=encode_object({"status": {**status, "token": text}}))
        assert token_from(answer, API, now_ms=0).ends_ms == 3_600_000


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"status": {"token": "x"}}'])
def test_an_answer_without_a_token_is_said(body: bytes) -> None:
    with pytest.raises(BadRequestError, match="no token in it"):
        token_from(CloudAnswer(code=201, body=body), API, now_ms=0)
