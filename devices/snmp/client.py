"""SNMP as a client: what devices say of objects, in plain values.

The protocol is pysnmp's (an extra, imported with the first device). One engine, with its UDP socket and what it
learned of its peers' clocks, for all devices to which we are the same; a megabyte each. A device that has to begin
anew leaves the engine to the others, whose requests are under way in it. Keeps engines in memory.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeAlias

from devices.snmp.config import Access, Target, Written
from skerry.errors import UnavailableError
from skerry.frozen import Frozen


class Bound(Frozen):
    """An object and what the device says of it."""

    oid: str
    syntax: str
    """`Counter64`, `OctetString` ..."""
    value: int | float | bytes | str | None
    """None: it has none; the syntax says why (`NoSuchInstance`)."""


class Refused(Frozen):
    """The device's own error."""

    status: str
    """`notWritable`, `tooBig` ... (RFC 3416, 3)."""
    index: int
    """Which object it is about, counted from 1; 0: none."""


class Session(Protocol):
    """Requests to one device; raises `UnavailableError` when there is no answer that counts."""

    async def get(self, oids: Sequence[str]) -> Sequence[Bound] | Refused: ...

    async def set(self, oid: str, value: Written, *, once: bool) -> Refused | None:
        """With `once` it is not sent again when there is no answer."""
        ...

    async def close(self) -> None:
        """It may be used again."""
        ...


Connect: TypeAlias = "Callable[[Access, Target], Session]"


_MISSING: Final = frozenset({"NoSuchObject", "NoSuchInstance", "EndOfMibView", "Null"})
_NAMED: Final = {"Integer": "Integer32"}
"""What pysnmp calls otherwise, by version."""
_OPAQUE_FLOAT: Final = b"\x9f\x78\x04"
_OPAQUE_DOUBLE: Final = b"\x9f\x79\x08"
"""How net-snmp puts numbers with a point into an Opaque."""


RESOLVE_S_MAX: Final = 5.0
"""A name that was not found by then is not found."""
EXCHANGES: Final = 3
"""SNMP 3 asks a peer it does not know for its name and for its clock first (RFC 3414, 4), each as patiently."""
TICK_S: Final = 1.0
"""pysnmp looks at its clock twice a second: for each request that goes unanswered."""


class _Engine(Frozen, eq=False):
    engine: Any
    users: set[PysnmpSession]


class Engines:
    """Makes sessions that share engines. One without a session ends."""

    def __init__(self) -> None:
        self._shared: dict[Access, _Engine] = {}
        self._used: dict[PysnmpSession, _Engine] = {}

    def session(self, access: Access, target: Target) -> Session:
        """Nothing is opened yet."""
        return PysnmpSession(self, access, target)

    def engine(self, access: Access, user: PysnmpSession) -> Any:
        """Of these credentials. Raises `UnavailableError` where pysnmp is not installed."""
        if user not in self._used:
            if access not in self._shared:
                self._shared[access] = _Engine(engine=_pysnmp().SnmpEngine(), users=set())
            self._use(self._shared[access], user)
        return self._used[user].engine

    def _use(self, engine: _Engine, user: PysnmpSession) -> None:
        engine.users.add(user)
        self._used[user] = engine

    def leave(self, access: Access, user: PysnmpSession) -> None:
        """The session does not need its engine any more."""
        used = self._used.pop(user, None)
        if used is None:
            return
        used.users.discard(user)
        if not used.users:
            if self._shared.get(access) is used:
                del self._shared[access]
            used.engine.close_dispatcher()

    def renew(self, access: Access, user: PysnmpSession) -> None:
        """Let the session forget what was learned of its device, which may have been exchanged: the keys, say. Where
        others use its engine it gets one of its own."""
        self.leave(access, user)
        if access in self._shared:
            self._use(_Engine(engine=_pysnmp().SnmpEngine(), users=set()), user)


class PysnmpSession:
    """A `Session`. See the module."""

    def __init__(self, engines: Engines, access: Access, target: Target) -> None:
        self._engines = engines
        self._access = access
        self._target = target

    async def get(self, oids: Sequence[str]) -> Sequence[Bound] | Refused:
        """See `Session`."""
        snmp = _pysnmp()
        asked = [snmp.ObjectType(snmp.ObjectIdentity(oid)) for oid in oids]
        answer = await self._ask(snmp.get_cmd, asked, retries=self._target.retries)
        if isinstance(answer, Refused):
            return answer
        bound = [_bound(str(name), value) for name, value in answer]
        if [each.oid for each in bound] != list(oids):
            raise UnavailableError("the answer is about other objects than were asked for")
        return bound

    async def set(self, oid: str, value: Written, *, once: bool) -> Refused | None:
        """See `Session`."""
        snmp = _pysnmp()
        asked = [snmp.ObjectType(snmp.ObjectIdentity(oid), _syntax(snmp, value))]
        answer = await self._ask(snmp.set_cmd, asked, retries=0 if once else self._target.retries)
        return answer if isinstance(answer, Refused) else None

    async def _ask(self, command: Any, objects: Sequence[Any], *, retries: int) -> Any:
        snmp, target = _pysnmp(), self._target
        place = await self._place(retries)
        patience_s = (target.timeout_s + TICK_S) * (retries + 1) * EXCHANGES
        try:
            async with asyncio.timeout(patience_s):
                failure, status, index, bound = await command(
                    self._engines.engine(self._access, self),
                    _credentials(snmp, self._access),
                    place,
                    snmp.ContextData(contextName=target.context.encode()),
                    *objects,
                    lookupMib=False,
                )
        except TimeoutError as error:
            self._engines.renew(self._access, self)
            raise UnavailableError(f"no answer within {patience_s:g} s") from error
        except (snmp.PySnmpError, snmp.PyAsn1Error, OSError) as error:
            self._engines.renew(self._access, self)
            raise UnavailableError(f"can't be asked: {_short(error)}") from error
        if failure is not None:
            if not isinstance(failure, snmp.RequestTimedOut):
                self._engines.renew(self._access, self)
            raise UnavailableError(_failed(str(failure), target.timeout_s, retries + 1))
        if int(status):
            return Refused(status=str(status.prettyPrint()), index=int(index))
        return bound

    async def _place(self, retries: int) -> Any:
        """Where the device is now. Raises `UnavailableError` where its name leads nowhere."""
        snmp, target = _pysnmp(), self._target
        kind = snmp.Udp6TransportTarget if ":" in target.host else snmp.UdpTransportTarget
        try:
            async with asyncio.timeout(RESOLVE_S_MAX):
                return await kind.create((target.host, target.port), timeout=target.timeout_s, retries=retries)
        except TimeoutError as error:
            raise UnavailableError(f"can't be asked: {target.host} was not found in {RESOLVE_S_MAX:g} s") from error
        except (snmp.PySnmpError, OSError, UnicodeError) as error:
            raise UnavailableError(f"can't be asked: {_short(error)}") from error

    async def close(self) -> None:
        """See `Session`."""
        await asyncio.sleep(0)  # an answer that is being handed over finds its engine yet
        self._engines.leave(self._access, self)


def _failed(reason: str, timeout_s: float, tries: int) -> str:
    if "No SNMP response" in reason:
        return f"no answer within {timeout_s * tries:g} s" + (f", asked {tries} times" if tries > 1 else "")
    return f"the device does not know us: {reason[:1].lower()}{reason[1:]}"


def _short(error: BaseException) -> str:
    return str(error).partition("caused by")[0].strip(" :;,")[:200] or type(error).__name__


def _credentials(snmp: Any, access: Access) -> Any:
    if access.version != "3":
        return snmp.CommunityData(access.community, mpModel=0 if access.version == "1" else 1)
    auth = {
        "MD5": snmp.usmHMACMD5AuthProtocol,
        "SHA": snmp.usmHMACSHAAuthProtocol,
        "SHA224": snmp.usmHMAC128SHA224AuthProtocol,
        "SHA256": snmp.usmHMAC192SHA256AuthProtocol,
        "SHA384": snmp.usmHMAC256SHA384AuthProtocol,
        "SHA512": snmp.usmHMAC384SHA512AuthProtocol,
    }[access.auth]
    priv = {
        "DES": snmp.usmDESPrivProtocol,
        "AES": snmp.usmAesCfb128Protocol,
        "AES192": snmp.usmAesCfb192Protocol,
        "AES256": snmp.usmAesCfb256Protocol,
    }[access.priv]
    return snmp.UsmUserData(
        access.user,
        access.auth_password or None,
        access.priv_password or None,
        authProtocol=auth if access.level != "noAuthNoPriv" else snmp.usmNoAuthProtocol,
        privProtocol=priv if access.level == "authPriv" else snmp.usmNoPrivProtocol,
    )


def _syntax(snmp: Any, value: Written) -> Any:
    made = {
        "integer": snmp.Integer32,
        "unsigned": snmp.Unsigned32,
        "ticks": snmp.TimeTicks,
        "string": snmp.OctetString,
        "oid": snmp.ObjectIdentifier,
        "ip": snmp.IpAddress,
    }[value.kind]
    return made(value.value)


def _bound(oid: str, value: Any) -> Bound:
    syntax = _NAMED.get(type(value).__name__, type(value).__name__)
    if syntax in _MISSING:
        return Bound(oid=oid, syntax=syntax, value=None)
    if syntax in ("ObjectIdentifier", "ObjectIdentity", "IpAddress"):
        return Bound(oid=oid, syntax=syntax, value=str(value.prettyPrint()))
    if syntax == "Opaque":
        return Bound(oid=oid, syntax=syntax, value=_opaque(bytes(value)))
    if hasattr(value, "asOctets"):
        return Bound(oid=oid, syntax=syntax, value=bytes(value.asOctets()))
    return Bound(oid=oid, syntax=syntax, value=int(value))


def _opaque(data: bytes) -> bytes | float:
    if data.startswith(_OPAQUE_FLOAT) and len(data) == 7:
        return float(f"{struct.unpack('>f', data[3:])[0]:.9g}")
    if data.startswith(_OPAQUE_DOUBLE) and len(data) == 11:
        return float(struct.unpack(">d", data[3:])[0])
    return data


class _Names:
    """What is used of pysnmp, which gives it no types."""

    def __init__(self) -> None:
        try:
            import pysnmp.hlapi.v3arch.asyncio as snmp
            from pyasn1.error import PyAsn1Error
            from pysnmp.error import PySnmpError
            from pysnmp.proto.errind import RequestTimedOut
            from pysnmp.proto.rfc1902 import (
                Integer32,
                IpAddress,
                ObjectIdentifier,
                OctetString,
                TimeTicks,
                Unsigned32,
            )
        except ImportError as error:
            raise UnavailableError("SNMP is not installed on this gateway: pip install 'skerry[snmp]'") from error
        self._snmp: Any = snmp
        self.PyAsn1Error, self.PySnmpError, self.RequestTimedOut = PyAsn1Error, PySnmpError, RequestTimedOut
        self.Integer32, self.IpAddress, self.ObjectIdentifier = Integer32, IpAddress, ObjectIdentifier
        self.OctetString, self.TimeTicks, self.Unsigned32 = OctetString, TimeTicks, Unsigned32

    def __getattr__(self, name: str) -> Any:
        return getattr(self._snmp, name)


_NAMES: list[_Names] = []


def _pysnmp() -> Any:
    """Raises `UnavailableError` where it is not installed."""
    if not _NAMES:
        _NAMES.append(_Names())
    return _NAMES[0]
