"""What a request is to the line, and how long it and its answer are: all that frames have to know.

Pure, and without the library that knows the fields of messages (`devices.modbus.pdu`): a gateway without Modbus
devices imports this and pays nothing for that.
"""

from __future__ import annotations

from typing import Final, Protocol, TypeVar

T_co = TypeVar("T_co", covariant=True)

PDU_BYTES_MAX: Final = 253
"""Of a request or an answer, whatever frames it (Modbus Application Protocol 1.1b3, 4.1)."""
ERROR_BIT: Final = 0x80

OBJECT_NAMES: Final[dict[int, str]] = {
    0: "vendor", 1: "product code", 2: "revision", 3: "vendor URL", 4: "product name", 5: "model name",
    6: "application",
}  # fmt: skip
"""Of device identification (6.21)."""


class Ask(Protocol[T_co]):
    """One request, and what its answer must be like."""

    @property
    def unit(self) -> int: ...

    @property
    def expected(self) -> int:
        """Bytes of the longest answer to it."""
        ...

    def encode(self) -> bytes:
        """Function code and data."""
        ...

    def size(self, head: bytes) -> int | None:
        """How long the answer is that begins with `head`; None: more of it is needed to know. Raises
        `WrongAnswerError` when it can't be the answer to this request."""
        ...

    def decode(self, pdu: bytes) -> T_co:
        """What a whole answer says. Raises `WrongAnswerError`, `ExceptionAnswerError`."""
        ...


def request_size(head: bytes) -> int | None:
    """How long the request is that begins with `head`, 0 when it is of a function that nobody knows, None when more
    of it is needed to tell."""
    if not head:
        return None
    match head[0]:
        case 1 | 2 | 3 | 4 | 5 | 6 | 8:
            return 5
        case 15 | 16:
            return 6 + head[5] if len(head) > 5 else None
        case 22:
            return 7
        case 23:
            return 10 + head[9] if len(head) > 9 else None
        case 43:
            return 4
        case _:
            return 0
