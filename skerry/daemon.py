"""What both daemons do alike around their work: how they log, and what a crashed task group is told as.

Keeps nothing.
"""

from __future__ import annotations

import logging
import sys
from typing import cast


def start_logging(level: str) -> None:
    """One line a record, to stderr: time, level, where from, what."""
    logging.basicConfig(
        level=level.upper(),
        stream=sys.stderr,
        format="%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    # Its news of each connection are told by the hub and by the link.
    logging.getLogger("websockets").setLevel(logging.WARNING)


def leaves(error: BaseException) -> list[BaseException]:
    """The errors inside an exception group, however deep; an error that is no group is alone."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    group = cast("BaseExceptionGroup[BaseException]", error)
    return [leaf for inner in group.exceptions for leaf in leaves(inner)]
