"""What both daemons do alike around their work: how they log, and what crashes and missing libraries are told as.

Keeps nothing.
"""

from __future__ import annotations

import logging
import sys
from typing import Final, cast

MESSAGE_MAX: Final = 4096
"""Characters of one line of the log."""
_OURS: Final = frozenset({"skerry", "cloudcore", "edgecore", "devices"})
_CONTROL: Final = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    code: f"\\u{code:04x}" for code in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


class LineFormatter(logging.Formatter):
    """One record is one line, whatever a peer put into what is told of it: line ends, terminal commands and changes
    of direction are written as escapes, and what is too long is cut."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        text = record.message.encode(errors="backslashreplace").decode().translate(_CONTROL)
        record.message = text if len(text) <= MESSAGE_MAX else text[:MESSAGE_MAX] + "..."
        return super().formatMessage(record)


def start_logging(level: str) -> None:
    """One line a record, to stderr: time, level, where from, what."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        LineFormatter("%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s", datefmt="%Y-%m-%dT%H:%M:%S")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # Its news of each connection are told by the hub and by the link.
    logging.getLogger("websockets").setLevel(logging.WARNING)
    # At `debug` it tells of every header of every call to a container runtime, twenty lines each.
    logging.getLogger("hpack").setLevel(logging.INFO)


def missing_library(error: BaseException, program: str, extra: str) -> str:
    """What to say of an error that means that the program was installed without its libraries; "" for any other."""
    name = (error.name or "") if isinstance(error, ModuleNotFoundError) else ""
    root = name.partition(".")[0]
    if not root or root in _OURS:
        return ""
    return f"{program} needs {root}, which is not installed: pip install 'skerry[{extra}]'"


def leaves(error: BaseException) -> list[BaseException]:
    """The errors inside an exception group, however deep; an error that is no group is alone."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    group = cast("BaseExceptionGroup[BaseException]", error)
    return [leaf for inner in group.exceptions for leaf in leaves(inner)]
