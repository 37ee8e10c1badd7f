"""A region's side of a federation: joins with the token that it is given, dials the global cloud, keeps its rows.

What it is a member of is in one Secret, so that whichever replica leads can go on: address and token at first, then
name, key and certificate, and the epoch of the global cloud's store. Rows that were received are RegionObjects, which
are written before they are acknowledged. Nothing that runs in the region waits for this; a crash at any point leaves
rows that the next session compares.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from cloudcore.federation.apply import is_ours, release
from cloudcore.federation.joining import Credentials, Files, enrol, floor_ms, renew
from cloudcore.federation.outbox import StateOutbox
from cloudcore.federation.own_state import Requests, own_state
from cloudcore.federation.region_controller import STAMP
from cloudcore.registry.port import DeleteOptions
from cloudcore.runtime.manager import Tools
from skerry import VERSION
from skerry.errors import AlreadyExistsError, CallerError, NotFoundError, SkerryError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.enrolment import TRUST_FIELD, TRUST_NAME, TRUST_NAMESPACE, certificates_in
from skerry.objects.federation import (
    MEMBER_OBJECTS,
    MEMBERSHIP,
    NAMESPACE,
    REGION_OBJECTS,
    REGION_STATE,
    ROW,
    SESSION_PREFIX,
    MemberObject,
    read_member_object,
)
from skerry.objects.json import JsonObject, decode_object, encode_object, int_at, map_at, str_at, str_map_at
from skerry.objects.meta import Key, Revision, Stamp, annotations_of, uid_of, with_annotations
from skerry.objects.scheme import split_api_version
from skerry.objects.strays import STRAY, is_stray
from skerry.sync.dial import DialPolicy
from skerry.sync.edge import EdgeIdentity, EdgeSession, EdgeState
from skerry.sync.effects import BeginLife, CloseLink, EdgeEffect, Prune, Welcomed, Write
from skerry.transport.dialled import dial
from skerry.transport.driver import Driver, now_of
from skerry.transport.identity import client_context
from skerry.transport.joining import new_key
from skerry.transport.session_shell import Attempt, DialledRun
from skerry.waits import until_set
from skerry.wire.frames import CloseCode, ObjectState

log = logging.getLogger(__name__)

_SELF_S: Final = 60.0
"""Between looks at what the region says of itself."""
_SETTLE_S: Final = 2.0
"""After news, until what the region says of itself is looked at."""
_LEAVES_S_MAX: Final = 2.0
"""Until it ends the link of a federation that it leaves."""
_TRY_AGAIN_S: Final = 10.0
"""After a join that failed."""
_RENEW_AGAIN_S_MAX: Final = 3600.0
"""After a renewal that failed, at most."""
_TRUST_PEM: Final = "authorities"
_TRUST_STAMP: Final = "authorities-stamp"
_OF_WHAT_IS_HERE: Final = frozenset({"leaseSeconds", "manifest", "retain"})
"""Of a row's `spec`: what says how to stop what it put here."""
TRUST: Final = Key("configmaps", TRUST_NAMESPACE, TRUST_NAME)
"""The authorities of the global cloud, in a region's view."""


@dataclass
class _Renewal:
    """How far the renewal of a certificate is."""

    at_s: float = 0.0
    """Not before, monotonic."""
    failures: int = 0
    said: str = ""
    """Why it failed last, as it was logged."""


class Membership(Frozen):
    """What the Secret says."""

    uid: str
    clouds: tuple[str, ...]
    token: str
    epoch: str
    credentials: Credentials | None
    authorities: str
    """What the global cloud said last that is to be trusted, in PEM; "" where it never did."""

    def renewal_due(self, now_ms: int) -> bool:
        """Two thirds of the certificate's life are over, or the global cloud has other authorities by now."""
        credentials = self.credentials
        if credentials is None:
            return False
        told = certificates_in(self.authorities)
        return now_ms >= credentials.renew_after_ms or bool(told and told != certificates_in(credentials.ca_pem))


class RegionMember:
    """See the module. Run `run` in a task group."""

    def __init__(self, tools: Tools, requests: Requests) -> None:
        self._tools = tools
        self._requests = requests
        self._secrets = tools.kind("secrets")
        self._began_ms = tools.clock.wall_ms() - round(tools.clock.monotonic_s() * 1000)
        """The wall clock when the monotonic one began, as far as it was right when this process did."""
        self._ahead_ms: int | None = None
        """The global cloud's clock, less this machine's monotonic one; None: it was not heard yet."""
        self._rows = tools.kind(REGION_OBJECTS)
        self.outbox = StateOutbox(tools.ids.token_hex(8), tools.clock)
        self._told: dict[tuple[str, str], bytes] = {}
        self._session: EdgeSession | None = None
        self._driver: Driver[EdgeEffect] | None = None
        self._writing = asyncio.Lock()
        """Given in the order in which it is asked for."""
        self._belongs_to = ""
        """Uid of the membership that the session is under."""
        self._news = asyncio.Event()
        """The membership may be another one."""
        self._all_told = asyncio.Event()
        """There is a receipt for all that was told."""

    def notice(self) -> None:
        """The membership may be another one."""
        self._news.set()

    @property
    def connected(self) -> bool:
        """The global cloud is heard, and all that it wants now is here."""
        session = self._session
        return session is not None and session.state is EdgeState.IN_STEP

    @property
    def confirmed_s(self) -> float | None:
        """When the global cloud was asked last what it has answered since, monotonic; None where that is not so in
        this session, or not all that it wants is here."""
        return self._session.confirmed_s if self._session is not None and self.connected else None

    def ask(self) -> None:
        """Whether it is there."""
        if self._session is not None and self._driver is not None:
            self._session.ask(self._driver.now())
            self._driver.kick()

    def tell(self, name: str, said: JsonObject) -> None:
        """What became of a row."""
        self._put("member_object", name, said)

    def _put(self, kind: str, key: str, said: JsonObject) -> None:
        body = encode_object(said)
        if self._told.get((kind, key)) == body:
            return
        self._told[kind, key] = body
        self.outbox.put(kind, key, body)
        if self._session is not None and self._driver is not None:
            self._session.appended(self._driver.now())
            self._driver.kick()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._news.clear()
            membership = self._membership()
            try:
                if membership is None:
                    await self._forget_rows()
                    await self._news.wait()
                elif membership.credentials is None:
                    await self._join(membership)
                else:
                    await self._belong(membership, membership.credentials)
            except Exception as error:
                # The root of this worker: what somebody wrote into the Secret must not stop the region's cloud.
                fault = None if isinstance(error, SkerryError) else error
                log.warning("the global cloud can't be joined error=%s", error, exc_info=fault)
                await self._say(f"not joined: {error}")
                await asyncio.sleep(_TRY_AGAIN_S)

    # --- membership ---

    def _membership(self) -> Membership | None:
        stored = self._tools.objects.read(self._secrets.key(NAMESPACE, MEMBERSHIP))
        return None if stored is None else _read(self._tools.cache.obj(stored))

    async def _join(self, membership: Membership) -> None:
        await self._forget_rows()
        key = self._tools.objects.read(self._secrets.key(NAMESPACE, MEMBERSHIP))
        assert key is not None, "it was just read"
        pending = _data(self._tools.cache.obj(key)).get("key") or new_key()
        # First: a join whose answer is lost is repeated with the same key.
        await self._keep(membership.uid, {"key": pending})
        credentials = await enrol(membership.clouds[0], membership.token, pending)
        await self._keep(membership.uid, _fields(credentials))
        log.info("joined a federation region=%s cloud=%s", credentials.name, membership.clouds[0])

    async def _keep(self, uid: str, fields: Mapping[str, str]) -> None:
        """In the Secret of this uid. Raises `NotFoundError` where there is another one by now: what was learned under
        one membership says nothing of the next."""
        coded: JsonObject = {name: base64.b64encode(text.encode()).decode() for name, text in fields.items()}

        def kept(secret: JsonObject) -> JsonObject:
            if uid_of(secret) != uid:
                raise NotFoundError("the membership is another one by now")
            return {**secret, "data": {**map_at(secret, "data"), **coded}}

        await self._tools.objects.update(self._secrets, self._secrets.key(NAMESPACE, MEMBERSHIP), kept)

    async def _say(self, state: str) -> None:
        """On the Secret, for people."""

        def said(secret: JsonObject) -> JsonObject:
            return with_annotations(secret, {REGION_STATE: state[:500]})

        try:
            await self._tools.objects.update(self._secrets, self._secrets.key(NAMESPACE, MEMBERSHIP), said)
        except SkerryError:
            return

    async def _belong(self, membership: Membership, credentials: Credentials) -> None:
        """Until the membership is another one."""
        work = asyncio.create_task(self._dial_always(membership, credentials))
        renewal = _Renewal()
        try:
            while not work.done():
                self._news.clear()  # first: what comes while it looks is news
                if not self._is_of(membership, credentials):
                    break
                await self._say_self()
                await self._renew_in_time(renewal)
                news = asyncio.create_task(self._news.wait())
                await asyncio.wait([work, news], timeout=_SELF_S, return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
                if not self._is_of(membership, credentials):
                    break
                if self._news.is_set():
                    await asyncio.wait([work], timeout=_SETTLE_S)  # more may follow, which is told with it
            if work.done():
                await work
            elif self._membership() is None:
                await self._say_left()
        finally:
            work.cancel()
            await asyncio.wait([work])
            self._session = self._driver = None

    def _is_of(self, membership: Membership, credentials: Credentials) -> bool:
        """Whether this is still what it is a member of."""
        now = self._membership()
        return now is not None and now.uid == membership.uid and now.credentials == credentials

    async def _own_state(self) -> JsonObject:
        steady_ms = self._began_ms + round(self._tools.clock.monotonic_s() * 1000)
        return await own_state(self._tools, self._requests, steady_ms=steady_ms)

    async def _say_self(self) -> None:
        self._put("member", "self", await self._own_state())

    async def _say_left(self) -> None:
        """While there is a link yet; who is cut off is found to be silent."""
        if self._session is None:
            return
        self._all_told.clear()
        self._put("member", "self", {"left": True})
        await until_set(self._all_told, within_s=_LEAVES_S_MAX)

    async def _forget_rows(self) -> None:
        """Of a federation that was left: what it put here stays, and is this region's own. So no row that comes
        later, of this federation or another, finds its mark there."""
        self._told.clear()
        for stored in self._tools.cache.select(REGION_OBJECTS):
            row = read_member_object(self._tools.cache.obj(stored))
            with suppress(NotFoundError):
                await self._tools.objects.delete(self._rows, stored.key, DeleteOptions(uid=stored.uid))
            await self._release(row)

    async def _release(self, row: MemberObject) -> None:
        """Take the mark from what a row put here."""
        kind = self._tools.scheme.named(*split_api_version(row.target.api_version), row.target.kind)
        if kind is None or kind.namespaced != bool(row.target.namespace):
            return

        def released(obj: JsonObject) -> JsonObject:
            if annotations_of(obj).get(ROW) != row.name:
                return obj
            return release(obj).obj or obj

        try:
            await self._tools.objects.update(kind, kind.key(row.target.namespace, row.target.name), released)
        except NotFoundError:
            return
        except CallerError as error:  # it keeps its mark, which a later row of the same name finds
            log.warning("what was federated keeps its mark object=%s error=%s", row.target, error)

    # --- the link ---

    async def _dial_always(self, membership: Membership, credentials: Credentials) -> None:
        policy = DialPolicy(membership.clouds)
        said = ""
        while True:
            await asyncio.sleep(max(0.0, policy.due_s - self._tools.clock.monotonic_s()))
            started_s = self._tools.clock.monotonic_s()
            try:
                how, welcomed = await self._once(policy, credentials)
            except UnavailableError as error:
                how, welcomed = CloseLink(code=CloseCode.FAILED, reason=str(error)), False
            if how.reason != said or welcomed:
                said = how.reason
                log.warning("link to the global cloud down cloud=%s reason=%s", policy.address, how.reason)
                await self._say(f"cut off: {how.reason}")
            attempt = Attempt(
                how=how, started_s=started_s, ended_s=self._tools.clock.monotonic_s(), welcomed=welcomed
            )
            policy.ended(attempt.ended, self._tools.ids.unit())

    async def _renew_in_time(self, renewal: _Renewal) -> None:
        """A new certificate where it is time for one: a session may last for months. Who belongs begins anew with it.
        What failed is tried again ever later; a third of the certificate's life is left for that."""
        membership, now_s = self._membership(), self._tools.clock.monotonic_s()
        if membership is None or membership.credentials is None or now_s < renewal.at_s:
            return
        wall_ms = self.issuer_ms()
        if not membership.renewal_due(wall_ms):
            return
        try:
            own_ms = self._tools.clock.wall_ms()
            renewed = await renew(membership.clouds, membership.credentials, wall_ms=own_ms)
            await self._keep(membership.uid, _fields(renewed))
        except SkerryError as error:
            if str(error) != renewal.said:
                log.warning("the region's certificate is not renewed yet error=%s", error)
            renewal.said = str(error)
            # Without a link there is nothing to go easy on: who was away for months comes back with the link.
            away = isinstance(error, UnavailableError) and self._session is None
            renewal.failures = 0 if away else renewal.failures + 1
        else:
            log.info("the region's certificate is renewed region=%s", renewed.name)
            renewal.failures = 0
            if wall_ms >= renewed.renew_after_ms:  # no clock but a wrong one finds a new certificate old
                log.warning("this machine's clock is months ahead of the global cloud's region=%s", renewed.name)
                renewal.at_s = now_s + _RENEW_AGAIN_S_MAX
                return
        renewal.at_s = now_s + min(_RENEW_AGAIN_S_MAX, _SELF_S * 2.0 ** min(renewal.failures, 10))

    async def _once(self, policy: DialPolicy, credentials: Credentials) -> tuple[CloseLink, bool]:
        with Files(credentials) as identity:
            try:
                known_ms = floor_ms(credentials, self._tools.clock.wall_ms())
                context = client_context(identity, trust_clock=not known_ms)
            except (OSError, ValueError, CallerError) as error:
                raise UnavailableError(f"this region's certificate can't be used: {error}") from error
            link = await dial(policy.address, context, server_name=credentials.server_name)
        if link.not_after_ms < known_ms:
            await link.close(code=1008, reason="certificate expired")
            raise UnavailableError(f"{policy.address}: its certificate expired before this region's was made")
        membership = self._membership()
        self._belongs_to = "" if membership is None else membership.uid
        stamps = self.stamps()
        own = EdgeIdentity(
            node=SESSION_PREFIX + credentials.name,
            agent_version=VERSION,
            incarnation=self.outbox.incarnation,
            boot_id=self.outbox.incarnation,
            epoch="" if membership is None else membership.epoch,
            revision=Revision(max((stamp.revision for stamp in stamps.values()), default=0)),
        )
        session = EdgeSession(own, stamps.items(), self.outbox, now_of(self._tools.clock))
        driver: Driver[EdgeEffect] = Driver(link, session, self._tools.clock)
        run = DialledRun(
            self, session, driver, lambda effect: self._welcomed(effect, policy, driver), whose="the region's"
        )
        self._session, self._driver = session, driver
        try:
            how = await driver.run(run.perform)
        finally:
            self._session = self._driver = None
        return how, session.session > 0

    def stamps(self) -> dict[Key, Stamp]:
        """Of the rows that are held."""
        found: dict[Key, Stamp] = {}
        for stored in self._tools.cache.select(REGION_OBJECTS):
            if STAMP not in annotations_of(self._tools.cache.obj(stored)):
                continue  # it strays
            uid, _, number = annotations_of(self._tools.cache.obj(stored)).get(STAMP, "").partition(" ")
            revision = int(number) if number.isdecimal() else 0
            found[Key(MEMBER_OBJECTS, "", stored.key.name)] = Stamp(uid, Revision(revision))
        secret = self._tools.objects.read(self._secrets.key(NAMESPACE, MEMBERSHIP))
        if secret is not None and (text := _data(self._tools.cache.obj(secret)).get(_TRUST_STAMP)):
            uid, _, number = text.partition(" ")
            found[TRUST] = Stamp(uid, Revision(int(number) if number.isdecimal() else 0))
        return found

    def _welcomed(self, effect: Welcomed, policy: DialPolicy, driver: Driver[EdgeEffect]) -> None:
        policy.welcomed(self._tools.clock.monotonic_s())
        self.hear_time(effect.server_ms)
        log.info("link to the global cloud up cloud=%s session=%d", policy.address, effect.session)
        driver.spawn(self._say("connected"))

    def hear_time(self, server_ms: int) -> None:
        """What the global cloud's clock says now."""
        self._ahead_ms = server_ms - round(self._tools.clock.monotonic_s() * 1000)

    def issuer_ms(self) -> int:
        """Now, by the clock of who issues this region's certificate, once it was heard: by one that is a year behind
        it would never be renewed, and by one that is ahead all the time."""
        if self._ahead_ms is None:
            return self._tools.clock.wall_ms()
        return self._ahead_ms + round(self._tools.clock.monotonic_s() * 1000)

    # --- what is kept: `skerry.transport.session_shell.Keeping` ---

    async def write(self, write: Write) -> None:
        """One after the other, each object by itself; what is done twice comes to the same."""
        async with self._writing:
            if write.void:
                await self._void()
            for put in write.puts:
                await self.hold(put)
            for key in write.deletes:
                await self.let_go(key)
            if write.epoch:
                await self._keep(self._belongs_to, {"epoch": write.epoch})

    async def begin_life(self, effect: BeginLife) -> None:
        """Everything is told again, under another name."""
        self.outbox = StateOutbox(self._tools.ids.token_hex(8), self._tools.clock)
        told, self._told = self._told, {}
        for (kind, key), body in told.items():
            self._put(kind, key, decode_object(body))

    async def prune(self, prune: Prune) -> None:
        self.outbox.prune(prune)
        if not self.outbox.outbox(after=0, limit=1):
            self._all_told.set()

    async def hold(self, put: ObjectState) -> None:
        """Write one row, as it is wanted now, or which authorities are to be trusted."""
        if put.key == TRUST:
            told = str_at(decode_object(put.body), "data", TRUST_FIELD)
            stamp = f"{put.stamp.uid} {put.stamp.revision}"
            await self._keep(self._belongs_to, {_TRUST_PEM: told, _TRUST_STAMP: stamp})
            return
        spec = map_at(decode_object(put.body), "spec")
        stamp = f"{put.stamp.uid} {put.stamp.revision}"
        key = self._rows.key("", put.key.name)

        def written(current: JsonObject) -> JsonObject:
            if _is_outlived(spec, current):
                return _outliving(current, spec, stamp)
            return {**_annotated(current, STAMP, stamp, without=STRAY), "spec": spec}

        before = self._tools.objects.read(key)
        if before is not None:
            if is_stray(self._tools.cache.obj(before)) or _is_outlived(spec, self._tools.cache.obj(before)):
                self._news.set()
            try:
                await self._tools.objects.update(self._rows, key, written)
            except NotFoundError:
                pass  # gone meanwhile: made anew
            else:
                return
        obj: JsonObject = {
            "apiVersion": self._rows.api_version,
            "kind": self._rows.kind,
            "metadata": {"name": put.key.name},
        }
        try:
            await self._tools.objects.create(self._rows, "", written(obj))
        except AlreadyExistsError:
            await self._tools.objects.update(self._rows, key, written)

    async def let_go(self, key: Key) -> None:
        """Forget one row. What it put here stays; it is remembered that it strays."""
        if key == TRUST:
            await self._keep(self._belongs_to, {_TRUST_PEM: "", _TRUST_STAMP: ""})
            return
        self._told.pop(("member_object", key.name), None)
        own = self._rows.key("", key.name)
        stored = self._tools.objects.read(own)
        if stored is None:
            return
        obj = self._tools.cache.obj(stored)
        try:
            if not self._is_here(read_member_object(obj)):
                await self._tools.objects.delete(self._rows, own, DeleteOptions())
                return
            await self._tools.objects.update(self._rows, own, partial(_strayed, epoch=self._epoch_of(obj)))
        except NotFoundError:
            return
        self._news.set()

    def _epoch_of(self, row: JsonObject) -> str:
        """Of the global cloud in which it was seen last; "" where that is over."""
        if is_stray(row):
            return annotations_of(row)[STRAY]
        membership = self._membership()
        is_void = annotations_of(row).get(STAMP, "").endswith(" 0")
        return "" if membership is None or is_void else membership.epoch

    def _is_here(self, row: MemberObject) -> bool:
        """Whether there is something here that a row put here, and nobody took out of the federation's hands."""
        kind = self._tools.scheme.named(*split_api_version(row.target.api_version), row.target.kind)
        if kind is None or kind.namespaced != bool(row.target.namespace):
            return False
        stored = self._tools.objects.read(kind.key(row.target.namespace, row.target.name))
        return stored is not None and is_ours(row, self._tools.cache.obj(stored))

    async def _void(self) -> None:
        """Another epoch of the global cloud: revisions held mean nothing in it."""
        for key, stamp in self.stamps().items():
            if key == TRUST:
                await self._keep(self._belongs_to, {_TRUST_STAMP: f"{stamp.uid} 0"})
                continue

            def voided(current: JsonObject, uid: str = stamp.uid) -> JsonObject:
                return with_annotations(current, {STAMP: f"{uid} 0"})

            try:
                await self._tools.objects.update(self._rows, self._rows.key("", key.name), voided)
            except NotFoundError:
                continue


def _annotated(obj: JsonObject, name: str, text: str, *, without: str) -> JsonObject:
    metadata = map_at(obj, "metadata")
    kept = {key: value for key, value in map_at(metadata, "annotations").items() if key != without}
    return {**obj, "metadata": {**metadata, "annotations": {**kept, name: text}}}


def _is_outlived(wanted: JsonObject, row: JsonObject) -> bool:
    """Of a tombstone: the region has it of a later time, from a global cloud that was set back since. It means what
    was here before that, and that is gone."""
    held = map_at(row, "spec")
    if not wanted.get("remove"):
        return False
    if held.get("remove"):  # noted before, and sent again
        return is_stray(row) and int_at(wanted, "revision") <= int_at(held, "revision")
    return int_at(wanted, "revision") < int_at(held, "revision")


def _outliving(row: JsonObject, wanted: JsonObject, stamp: str) -> JsonObject:
    """The tombstone, noted and not carried out: what is here strays. How it is stays known, as what was lent is
    stopped."""
    kept = {name: value for name, value in map_at(row, "spec").items() if name in _OF_WHAT_IS_HERE}
    told = {name: value for name, value in wanted.items() if name not in _OF_WHAT_IS_HERE}
    noted = _annotated(_annotated(row, STAMP, stamp, without=STRAY), STRAY, "", without=STRAY)
    return {**noted, "spec": {**told, **kept}}


def _strayed(row: JsonObject, *, epoch: str) -> JsonObject:
    """A RegionObject whose row is gone: nothing is wanted of what it put here. That it had a lease is kept: it has
    none now, and may run elsewhere."""
    spec: JsonObject = {name: value for name, value in map_at(row, "spec").items() if name != "remove"}
    return {**_annotated(row, STRAY, epoch, without=STAMP), "spec": spec}


def _data(secret: JsonObject) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, text in str_map_at(secret, "data").items():
        try:
            found[name] = base64.b64decode(text).decode()
        except ValueError:
            continue
    return found


def _read(secret: JsonObject) -> Membership | None:
    data = _data(secret)
    clouds = tuple(each.strip() for each in data.get("cloud", "").split(",") if each.strip())
    if not clouds:
        return None
    credentials = None
    if data.get("certificate"):
        renew_after = data.get("renew-after-ms", "")
        credentials = Credentials(
            name=data.get("name", ""),
            key_pem=data.get("key", ""),
            certificate_pem=data["certificate"],
            ca_pem=data.get("ca", ""),
            server_name=data.get("server-name", ""),
            renew_after_ms=int(renew_after) if renew_after.isdecimal() else 0,
        )
    return Membership(
        uid=uid_of(secret),
        clouds=clouds,
        token=data.get("token", ""),
        epoch=data.get("epoch", ""),
        credentials=credentials,
        authorities=data.get(_TRUST_PEM, ""),
    )


def _fields(credentials: Credentials) -> dict[str, str]:
    return {
        "name": credentials.name,
        "key": credentials.key_pem,
        "certificate": credentials.certificate_pem,
        "ca": credentials.ca_pem,
        "server-name": credentials.server_name,
        "renew-after-ms": str(credentials.renew_after_ms),
    }
