"""What pure code and shells ask of the world: time, identity and a link.

Each port has a real, an in-memory and (where failure matters) a failing form; pure modules take the values
these give, never the ports themselves.
"""

from __future__ import annotations

from typing import Protocol

from skerry.errors import SkerryError


class Clock(Protocol):
    """Two clocks, because a gateway without a battery wakes up in 1970."""

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch, as far as this machine knows. May step."""
        ...

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary start, those of a suspended machine among them. Never goes back; meaningless on
        another machine, or after a boot.
        """
        ...


class Ids(Protocol):
    """Chance, as an argument."""

    def uid(self) -> str:
        """A new random UUID in its 36 character form."""
        ...

    def token_hex(self, n_bytes: int) -> str:
        """Unguessable lower-case hex of `n_bytes` bytes."""
        ...

    def suffix(self, length: int) -> str:
        """`length` characters of Kubernetes' generateName alphabet (bcdfghjklmnpqrstvwxz2456789)."""
        ...

    def unit(self) -> float:
        """Uniform in [0, 1): jitter."""
        ...


class Link(Protocol):
    """One live connection that carries whole frames, whatever transports them.

    Frames of one stream arrive in order. `stream` 0 is the session; any other number is a stream of its own, which
    a transport may carry apart, so that it neither blocks the session nor waits for it, or in one order with
    everything else. The first frame of the session is received before any of another stream. `last` says that
    nothing more is sent on that stream by either side. `send` returns when the transport is ready to be given more.

    `receive` raises `UnavailableError` when the link has ended, for whatever reason; `send` the same.
    Both are safe to cancel. A link has no idea what its bytes mean.
    """

    async def send(self, data: bytes, *, stream: int = 0, last: bool = False) -> None: ...

    async def receive(self) -> bytes: ...

    async def close(self, *, code: int, reason: str) -> None:
        """End it in good order: what was sent on the session arrives, if the peer is there."""
        ...

    def abort(self) -> None:
        """End it without a word: for a peer that is silent, whose answer to `close` would be waited for in vain."""
        ...

    @property
    def apart(self) -> bool:
        """Streams are carried apart from the session: a `send` on one may wait while others go on."""
        ...

    @property
    def heard_s(self) -> float:
        """When bytes of the peer arrived last, by this machine's monotonic clock, whole frames or not; 0 before the
        first, and for ever on a link that carries whole frames alone."""
        ...

    @property
    def peer_name(self) -> str:
        """Who the transport proved the peer to be (the certificate's common name), or ''."""
        ...

    @property
    def peer_key(self) -> str:
        """`skerry.objects.enrolment.pin_of` the key that the peer proved to have, or '' on a link within one process,
        where none is proved. A name is given anew with every certificate; a key is one machine's."""
        ...

    @property
    def peer_issuer(self) -> str:
        """Key identifier (hex) of the authority that signed the certificate which the peer proved to have, or ''."""
        ...


class Pipe(Protocol):
    """Bytes both ways between this process and something on a node, whatever lies between. Bounded: neither side is
    read ahead by more than a window, and each way may end before the other."""

    async def read(self) -> bytes:
        """The next bytes; empty when the other side sends nothing more. What it was given before is used up.

        Raises what the other side ended with, and `UncertainError` where the way to it is lost.
        """
        ...

    async def write(self, data: bytes) -> None:
        """Waits for room. Raises as `read`, and `UnavailableError` where the other side takes nothing more."""
        ...

    async def end(self) -> None:
        """Nothing more is written; what the other side writes is still read."""
        ...

    async def close(self, error: SkerryError | None = None) -> None:
        """Hang up, after what was written; `error` is what the other side is told. Twice is nothing."""
        ...
