"""Keeps HAProxy in step with the Ingresses that this gateway was given, and tells the cloud which it serves.

All of it is made from the edge store: a gateway that comes up without a link serves what it served before. Below its
directory are generations of files (`g1`, `g2` ...), of which the one that `haproxy.cfg` leads to is HAProxy's; a
crash leaves one that nobody reads, and it goes with the next. HAProxy goes on while the agent is away, and an agent
that begins takes it over; where nothing is to be served, none runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import hashlib
import logging
import os
import pwd
import resource
import shutil
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from edgecore.network.directory import Directory
from edgecore.network.ingress.haproxy import CONFIG, MASTER_SOCKET, Door, Files, Slots, changes, files_of, slots_of
from edgecore.network.ingress.plan import NO_PLAN, Note, Plan, plan_of
from edgecore.network.ingress.process import Proxy
from edgecore.network.ingress.settings import IngressSettings
from edgecore.store.port import META_EPOCH, EdgeBatch, NewReport
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import UnavailableError
from skerry.files import write_private
from skerry.frozen import Frozen
from skerry.objects.events import event_object
from skerry.objects.functions import NodeFunction
from skerry.objects.ingresses import CLASSES, INGRESS_REPORT, INGRESSES, NOTHING_SERVED, IngressReport
from skerry.objects.json import JsonObject, decode_object, encode_object
from skerry.objects.meta import Key
from skerry.ports import Clock
from skerry.waits import longer_s, until_set

LOG: Final = logging.getLogger(__name__)

TOGETHER_S: Final = 0.1
"""Changes within this time are one: a rollout is many."""
AGAIN_S: Final = 2.0
AGAIN_S_MAX: Final = 60.0
DEFAULT_PEM: Final = "default.pem"
SIGNATURE: Final = "signature"
_MINDED: Final = frozenset((INGRESSES, CLASSES, "secrets", "configmaps"))
_NOTES_MAX: Final = 512
"""Events that are told of Ingresses in one life of the agent and remembered, so that none is told twice."""
_CONNECTIONS_MAX: Final = 4096
_THREADS_MAX: Final = 4
_SPARE_HANDLES: Final = 256
_USERS: Final = ("haproxy", "nobody")


class IngressParts(Frozen):
    """What it works with."""

    node: str
    store: AsyncEdgeStore
    clock: Clock
    directory: Path
    """Its own, below the agent's data."""
    addresses: Callable[[], Sequence[str]]
    """Where others reach this gateway."""


class IngressKeeper:
    """Run `run` in a task group; `poke` it when the directory of services changed."""

    def __init__(self, parts: IngressParts, settings: IngressSettings, services: Directory) -> None:
        self._parts = parts
        self._settings = settings
        self._services = services
        self._proxy = Proxy(parts.directory)
        self._changed = asyncio.Event()
        self._ingresses: dict[Key, JsonObject] = {}
        self._checked: dict[bytes, str] = {}
        """What is wrong with certificates, by their digest."""
        self._slots: Slots = {}
        self._signature = ""
        """Of what HAProxy has read, but for its servers; "": nobody knows."""
        self._generation = 0
        self._told: IngressReport | None = None
        self._noted: dict[Note, None] = {}
        self._turn = asyncio.Lock()
        self._fault = ""
        self._is_prepared = False
        self._version = ""
        self._node_uid = ""
        self.plan = NO_PLAN

    @property
    def fault(self) -> str:
        """Why nothing is served; "" where all is well."""
        return self._fault

    @property
    def function(self) -> NodeFunction:
        """What serves, and what is amiss."""
        if self._fault:
            return NodeFunction(kind="Ingress", works=False, reason="IngressFailed", message=self._fault)
        ports = f"ports {self._settings.http_port} and {self._settings.https_port}"
        what = f"served on {ports} by HAProxy {self._version}" if self.plan.served else "none is to be served"
        return NodeFunction(kind="Ingress", works=True, reason="HAProxy", message=f"Ingresses: {what}")

    def poke(self) -> None:
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled; HAProxy goes on."""
        stop_listening = self._parts.store.listen(self.committed)
        again_s = 0.0
        try:
            for held in self._parts.store.list(INGRESSES):
                self._ingresses[held.key] = decode_object(held.body)
            self.poke()
            while True:
                await self._rest()
                try:
                    await self.bring_up()
                except UnavailableError as error:
                    await self._tell_fault(str(error))
                    await self._tell(NOTHING_SERVED)
                    again_s = longer_s(again_s, least_s=AGAIN_S, most_s=AGAIN_S_MAX)
                    await until_set(self._changed, within_s=again_s)
                    self.poke()
                else:
                    again_s = 0.0
                    await self._tell_fault("")
        finally:
            stop_listening()
            self._proxy.close()

    async def _rest(self) -> None:
        """Until something changed, or HAProxy ended that was to go on."""
        changed = asyncio.ensure_future(self._changed.wait())
        ended = asyncio.ensure_future(self._proxy.ended())
        try:
            await asyncio.wait((changed, ended), return_when=asyncio.FIRST_COMPLETED)
            if changed.done():
                await asyncio.sleep(TOGETHER_S)
            else:
                LOG.warning("haproxy has ended; it is started again")
        finally:
            changed.cancel()
            ended.cancel()
        self._changed.clear()

    def committed(self, batch: EdgeBatch) -> None:
        """Take in what was just written."""
        minded = False
        for key in batch.deletes:
            minded |= key.resource in _MINDED
            self._ingresses.pop(key, None)
        for held in batch.puts:
            minded |= held.key.resource in _MINDED
            if held.key.resource == INGRESSES:
                self._ingresses[held.key] = decode_object(held.body)
            if held.key == Key("nodes", "", self._parts.node) and held.stamp.uid != self._node_uid:
                self._node_uid = held.stamp.uid
                self._told, minded = None, True  # another Node knows nothing
        if any(name == META_EPOCH for name, _ in batch.meta):
            self._told, minded = None, True
        if minded:
            self.poke()

    # --- the proxy ---

    async def bring_up(self) -> None:
        """Raises `UnavailableError`; then HAProxy does what it did."""
        async with self._turn:
            await self._bring_up()

    async def _bring_up(self) -> None:
        if not self._is_prepared:
            self._prepare()
            self._is_prepared = True
        plan = plan_of(self._ingresses.values(), self._services, self._object, self._certificate_fault)
        self.plan = plan
        await self._tell_notes(plan.notes)
        if not plan.served:
            await self._end()
            await self._tell(NOTHING_SERVED)
            return
        self._version = await self._proxy.version()
        if not self._proxy.is_watched:
            await self._find()
        if not await self._only_servers(plan):
            await self._renew(plan)
        await self._tell(IngressReport(addresses=tuple(self._parts.addresses()), served=plan.served))

    async def _find(self) -> None:
        """HAProxy as an earlier life left it."""
        self._signature, self._slots = "", {}
        if not await self._proxy.adopt():
            return
        with contextlib.suppress(UnavailableError, OSError):
            self._slots = await self._proxy.servers()
            self._signature = (self._parts.directory / CONFIG).resolve().with_name(SIGNATURE).read_text()
            LOG.info("haproxy is found running")

    async def _only_servers(self, plan: Plan) -> bool:
        """Whether it was enough to tell HAProxy of endpoints."""
        if not self._proxy.is_watched or not self._signature:
            return False
        slots = slots_of(plan, self._slots)
        if _signature(plan, slots, self._door()) != self._signature:
            return False
        commands = changes(self._named(plan, self._slots), slots)
        if commands is None:
            return False
        if commands:
            await self._proxy.tell(commands)
            there = await self._proxy.servers()
            if self._named(plan, there) != slots:
                LOG.warning("haproxy has not taken all endpoints; it reads them anew")
                return False
        place = (self._parts.directory / CONFIG).resolve().parent
        files = files_of(plan, slots, self._door(), place=place.name)
        write_private(place / CONFIG, files.config.encode())
        self._slots = slots
        return True

    def _named(self, plan: Plan, slots: Slots) -> Slots:
        """Of the plan's pools alone."""
        return {pool.name: slots[pool.name] for pool in plan.pools if pool.name in slots}

    async def _renew(self, plan: Plan) -> None:
        """A new generation of files, and a HAProxy that has read them."""
        slots, door = slots_of(plan, self._slots), self._door()
        self._generation += 1
        place = self._parts.directory / f"g{self._generation}"
        files = files_of(plan, slots, door, place=place.name)
        before = _target(self._parts.directory / CONFIG)
        try:
            await asyncio.to_thread(self._write, place, files, _signature(plan, slots, door))
            await self._proxy.check(f"{place.name}/{CONFIG}")
        except UnavailableError:
            self._clear(before)  # each try would leave its keys
            raise
        self._lead(f"{place.name}/{CONFIG}")
        try:
            if self._proxy.is_watched:
                await self._proxy.reload()
            else:
                await self._proxy.stop()
                await self._proxy.start()
        except UnavailableError:
            self._signature = ""
            if self._proxy.is_watched and before:
                self._lead(before)
                self._clear(before)
            raise
        self._signature, self._slots = _signature(plan, slots, door), slots
        self._clear(place.name)
        LOG.info("haproxy serves ingresses=%d hosts=%d pools=%d", len(plan.served), len(plan.hosts), len(plan.pools))

    async def _end(self) -> None:
        """Nothing is to be served. Keys go first: HAProxy has read them, and a crash from here on leaves none."""
        self._signature, self._slots = "", {}
        self._clear("")
        if self._proxy.is_watched or (self._parts.directory / MASTER_SOCKET).exists():
            await self._proxy.stop()
            LOG.info("haproxy is stopped: there is no Ingress")

    # --- its files ---

    def _prepare(self) -> None:
        """What a crash left goes, keys first of all. Raises `UnavailableError`."""
        directory = self._parts.directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # A worker that is somebody else finds its own socket by its name, and nothing else here.
            directory.chmod(0o711 if _drops_to()[0] else 0o700)
            found = [int(each.name[1:]) for each in directory.glob("g*") if each.name[1:].isdecimal()]
            for each in directory.glob(".*.pem*"):
                each.unlink()
            self._clear(_target(directory / CONFIG))
            if not (directory / DEFAULT_PEM).exists():
                write_private(directory / DEFAULT_PEM, default_pem())
        except OSError as error:
            raise UnavailableError(f"{directory}: {error.strerror}") from error
        self._generation = max(found, default=0)

    def _write(self, place: Path, files: Files, signature: str) -> None:
        """Raises `UnavailableError`."""
        try:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(mode=0o700)
            texts = {**files.maps, CONFIG: files.config, SIGNATURE: signature}
            contents = {name: text.encode() for name, text in texts.items()} | dict(files.private)
            for name, content in contents.items():
                handle = os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
        except OSError as error:
            raise UnavailableError(f"{place}: {error.strerror}") from error

    def _lead(self, target: str) -> None:
        """Raises `UnavailableError`."""
        made = self._parts.directory / f".{CONFIG}"
        try:
            made.unlink(missing_ok=True)
            made.symlink_to(target)
            made.replace(self._parts.directory / CONFIG)
        except OSError as error:
            raise UnavailableError(f"{made}: {error.strerror}") from error

    def _clear(self, kept: str) -> None:
        """Of generations all but one, which may be told by its configuration. Raises `UnavailableError`."""
        try:
            if not kept:
                (self._parts.directory / CONFIG).unlink(missing_ok=True)
            for each in self._parts.directory.glob("g*"):
                if each.name != kept.partition("/")[0]:
                    shutil.rmtree(each)
        except OSError as error:
            raise UnavailableError(f"{error.filename}: {error.strerror}; keys are left there") from error

    def _door(self) -> Door:
        settings = self._settings
        every = ("0.0.0.0", "::") if Path("/proc/net/if_inet6").exists() else ("0.0.0.0",)
        handles = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        room = (handles - _SPARE_HANDLES) // 2 if handles > 0 else _CONNECTIONS_MAX
        user, group = _drops_to()
        return Door(
            http_port=settings.http_port,
            https_port=settings.https_port,
            addresses=(settings.address,) if settings.address else every,
            connections_max=max(64, min(_CONNECTIONS_MAX, room)),
            threads=min(_THREADS_MAX, len(os.sched_getaffinity(0))),
            user=user,
            group=group,
        )

    # --- what it is made from ---

    def _object(self, key: Key) -> JsonObject | None:
        held = self._parts.store.get(key)
        return None if held is None else decode_object(held.body)

    def _certificate_fault(self, pem: bytes) -> str:
        """OpenSSL has to take them as HAProxy will: one that it refuses would cost everybody their change."""
        digest = hashlib.blake2s(pem).digest()
        if digest not in self._checked:
            if len(self._checked) > 4096:
                self._checked.clear()
            self._checked[digest] = certificate_fault(pem)
        return self._checked[digest]

    # --- what is told ---

    async def _tell(self, report: IngressReport) -> None:
        if report == self._told or (self._told is None and report == NOTHING_SERVED and not self._ingresses):
            return
        told = NewReport(report_class="state", kind=INGRESS_REPORT, key="", body=report.encode())
        await self._parts.store.apply(EdgeBatch(reports=(told,)))
        self._told = report

    async def _tell_notes(self, notes: Sequence[Note]) -> None:
        new = [note for note in notes if note not in self._noted][:_NOTES_MAX]
        if len(self._noted) + len(new) > _NOTES_MAX:
            self._noted.clear()
        for note in new:
            self._noted[note] = None
            LOG.warning(
                "ingress=%s/%s reason=%s %s", note.ingress.namespace, note.ingress.name, note.reason, note.message
            )
        await self._tell_events([(_about(note), note.reason, note.message) for note in new], warning=True)

    async def _tell_fault(self, fault: str) -> None:
        if fault == self._fault:
            return
        if fault:
            LOG.error("ingress is not brought up to date reason=%r", fault)
        else:
            LOG.info("ingress is up to date again")
        self._fault = fault
        about: JsonObject = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self._parts.node, "namespace": "default", "uid": self._parts.node},
        }
        reason = "IngressFailed" if fault else "IngressReady"
        await self._tell_events([(about, reason, fault or "haproxy serves again")], warning=bool(fault))

    async def _tell_events(self, events: Sequence[tuple[JsonObject, str, str]], *, warning: bool) -> None:
        now_ms = self._parts.clock.wall_ms()
        reports: list[NewReport] = []
        for about, reason, message in events:
            # The same thing is the same Event, whichever life of the agent tells it.
            what = "\0".join((self._parts.node, reason, message))
            suffix = f"ingress-{hashlib.blake2s(what.encode(), digest_size=8).hexdigest()}"
            event = event_object(
                about, reason, message, node=self._parts.node, suffix=suffix, now_ms=now_ms, warning=warning
            )
            reports.append(NewReport(report_class="event", kind="event", key="", body=encode_object(event)))
        if reports:
            await self._parts.store.apply(EdgeBatch(reports=tuple(reports)))


def _about(note: Note) -> JsonObject:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": note.ingress.name, "namespace": note.ingress.namespace, "uid": note.uid},
    }


def _signature(plan: Plan, slots: Slots, door: Door) -> str:
    """Of all that takes a new process to change."""
    empty = {name: (None,) * len(each) for name, each in slots.items()}
    files = files_of(plan, empty, door, place="")
    digest = hashlib.blake2s(files.config.encode())
    for name, text in sorted(files.maps.items()):
        digest.update(f"\0{name}\0{text}".encode())
    for name, content in sorted(files.private.items()):
        digest.update(f"\0{name}\0".encode() + content)
    return digest.hexdigest()


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _drops_to() -> tuple[str, str]:
    """Whom the worker runs as: nobody in particular where the agent is root."""
    if os.geteuid() != 0:
        return "", ""
    for name in _USERS:
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return name, grp.getgrgid(user.pw_gid).gr_name
    return "", ""


def certificate_fault(pem: bytes) -> str:
    """What OpenSSL has against a certificate with its key; "" for nothing."""
    handle = os.memfd_create("checked.pem")  # it reads files only, and a key must not be on a disk for this
    try:
        with os.fdopen(handle, "wb", closefd=False) as file:
            file.write(pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"/proc/self/fd/{handle}", password=lambda: b"")
    except ssl.SSLError as error:
        reason = (error.reason or "unreadable").lower().replace("_", " ")
        return f"tls.crt and tls.key are no certificate with its key ({reason})"
    except ValueError:
        return "tls.key is encrypted"
    finally:
        os.close(handle)
    return ""


def default_pem() -> bytes:
    """A certificate of its own making for hosts that have none, as clients have to be shown something."""
    from datetime import UTC, datetime  # once in a gateway's life: what follows costs memory

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Skerry ingress, no certificate for this host")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(1970, 1, 1, tzinfo=UTC))  # whatever a gateway's clock says
        .not_valid_after(datetime(2099, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM) + private
