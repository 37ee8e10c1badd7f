"""What people, rules and mappers on site want of a device: checked, numbered, and durable before they hear of it.

Several properties of one device may be wanted at once: all are checked before any is written, they are committed
together, and carried out in the order in which they were named. Keeps nothing of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from devices.port import PropertyConfig
from edgecore.twins.ledger import Change, Ledger
from edgecore.twins.served import Served
from skerry.errors import ConflictError, InvalidError, NotFoundError
from skerry.objects.desired import Desired, Hlc, Vector, Wish, write_desired
from skerry.objects.device_desired import check_version, taken_value
from skerry.objects.device_models import checked_value
from skerry.objects.meta import Key
from skerry.objects.twins import Value
from skerry.ports import Clock

WISHES_MAX: Final = 256
"""In one write."""


class Wishes:
    """The face for whoever wants something on the gateway."""

    def __init__(self, served: Served, ledger: Ledger, *, clock: Clock, synced: Callable[[], bool]) -> None:
        self._served = served
        self._ledger = ledger
        self._clock = clock
        self._synced = synced

    async def write(
        self, device: Key, wishes: Sequence[Wish], *, origin: str, if_match: str = ""
    ) -> Sequence[Vector]:
        """See `edgecore.twins.port.Twins`."""
        if not 0 < len(wishes) <= WISHES_MAX:
            raise InvalidError(f"properties: between 1 and {WISHES_MAX} at once")
        if len({wish.prop for wish in wishes}) < len(wishes):
            raise InvalidError("properties: each is named once")
        several = len(wishes) > 1
        changes = [self._change(device, wish, origin, named=several) for wish in wishes]
        written = await self._ledger.want(changes, partial(self._check_revision, device, if_match))
        return [desired.ver for desired in written]

    def check_value(self, config: PropertyConfig, text: str) -> Value:
        """The value that the text means. Raises `InvalidError` where the property does not take it."""
        return checked_value(
            config.type,
            text,
            refusal="" if config.writable else f"{config.name} is read-only",
            minimum=config.minimum,
            maximum=config.maximum,
        )

    def _change(self, device: Key, wish: Wish, origin: str, *, named: bool) -> Change:
        """`named`: what is wrong is said with the name of the property."""
        config, known = self._served.configs.get((device, wish.prop)), self._served.known.get(device)
        if known is None or config is None:
            raise NotFoundError(
                f'property "{wish.prop}" of device "{device.namespace}/{device.name}" not found on this gateway'
            )
        if wish.value is not None and wish.take:
            raise InvalidError(f"{wish.prop}: a value, or which one to take, not both")
        try:
            if wish.value is not None:
                self.check_value(config, wish.value)
        except InvalidError as error:
            raise InvalidError(f"{config.name}: {error}" if named else str(error)) from error
        if not config.writable:
            raise InvalidError(f"{config.name} is read-only")
        if wish.expires_ms is not None and wish.expires_ms <= self._clock.wall_ms():
            raise InvalidError("it would have expired already")
        return Change(
            place=(device, wish.prop),
            uid=known.uid,
            policy=config.twin.policy,
            make=partial(self._made, wish, config, origin),
        )

    def _made(self, wish: Wish, config: PropertyConfig, origin: str, before: Desired | None, after: Hlc) -> Desired:
        """The write, by somebody who has seen `before`. Raises `ConflictError`, `InvalidError`."""
        if wish.if_match:
            check_version(wish.prop, wish.if_match, before)
        value = wish.value
        if wish.take:
            value = taken_value(wish.take, before)
            self.check_value(config, value)
        return write_desired(
            before,
            value=value or "",
            side="edge",
            origin=origin,
            now_ms=self._clock.wall_ms(),
            synced=self._synced(),
            expires_ms=wish.expires_ms,
            on_reconnect=wish.on_reconnect,
            removed=value is None,
            fallback=wish.fallback,
            after=after,
        )

    def _check_revision(self, device: Key, expected: str) -> None:
        if expected and expected.strip('"') != (now := self._ledger.revision(device)):
            raise ConflictError(
                f'what is wanted of device "{device.name}" is at revision {now}; the write expects {expected}'
            )
