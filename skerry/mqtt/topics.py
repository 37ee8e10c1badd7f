"""Topics and filters: which are allowed, which match, and a tree that finds what matches among thousands.

Pure. A tree keeps what it is given, and nothing of what was removed. Source: MQTT 5.0, sections 4.7 and 4.8.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from skerry.mqtt.packets import PacketError, Reason

T = TypeVar("T")

LEVELS_MAX: Final = 128
"""Of a topic or filter; deeper ones are nobody's, and make a tree expensive."""
SHARE: Final = "$share/"


def check_topic(topic: str) -> None:
    """Raises `PacketError` for what nobody can publish on."""
    if not topic or "+" in topic or "#" in topic:
        raise PacketError(Reason.BAD_TOPIC, f"nobody can publish on the topic {topic[:64]!r}")
    if topic.count("/") >= LEVELS_MAX:
        raise PacketError(Reason.BAD_TOPIC, f"a topic of more than {LEVELS_MAX} levels")


def is_filter(wanted: str) -> bool:
    """Whether wildcards stand where they may (4.7.1)."""
    if not wanted or wanted.count("/") >= LEVELS_MAX:
        return False
    levels = wanted.split("/")
    return all(
        level in ("+", "#") or ("+" not in level and "#" not in level) for level in levels
    ) and "#" not in levels[:-1]  # fmt: skip


def shared(wanted: str) -> tuple[str, str]:
    """The group and the filter of a shared subscription ($share/GROUP/FILTER); "" and the filter of any other."""
    if not wanted.startswith(SHARE):
        return "", wanted
    group, _, filter = wanted.removeprefix(SHARE).partition("/")
    return group, filter


def may_subscribe(wanted: str) -> bool:
    """Whether it is a filter, or a shared one whose group has a name (4.8.2)."""
    if not wanted.startswith(SHARE):
        return is_filter(wanted)
    group, filter = shared(wanted)
    return bool(group) and "+" not in group and "#" not in group and is_filter(filter)


def matches(wanted: str, topic: str) -> bool:
    """Section 4.7: `+` is one level, `#` the rest; topics that begin with $ match no leading wildcard."""
    if topic.startswith("$") and wanted[:1] in ("+", "#"):
        return False
    levels: Iterator[str] = iter(topic.split("/"))
    for part in wanted.split("/"):
        if part == "#":
            return True
        level = next(levels, None)
        if level is None or part not in ("+", level):
            return False
    return next(levels, None) is None


def covers(pattern: str, wanted: str) -> bool:
    """Whether the pattern matches every topic that the filter matches: who may hear the one may hear the other."""
    if wanted.startswith("$") and pattern[:1] in ("+", "#"):
        return False
    levels = wanted.split("/")
    parts = pattern.split("/")
    for at, part in enumerate(parts):
        if part == "#":
            return True
        if at >= len(levels):
            return False
        if levels[at] == "#" or part not in ("+", levels[at]):
            return False
    return len(levels) == len(parts)


@dataclass(slots=True)
class _Node(Generic[T]):
    children: dict[str, _Node[T]] = field(default_factory=dict[str, "_Node[T]"])
    values: dict[str, T] = field(default_factory=dict[str, T])


class FilterTree(Generic[T]):
    """Values under filters, found by the topics that match them. A filter has one value a name."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def put(self, filter: str, name: str, value: T) -> None:
        node = self._root
        for level in filter.split("/"):
            node = node.children.setdefault(level, _Node())
        node.values[name] = value

    def remove(self, filter: str, name: str) -> None:
        """What is not there is no fault."""
        path = [self._root]
        levels = filter.split("/")
        for level in levels:
            child = path[-1].children.get(level)
            if child is None:
                return
            path.append(child)
        path[-1].values.pop(name, None)
        for level, parent, node in zip(reversed(levels), path[-2::-1], reversed(path), strict=False):
            if node.children or node.values:
                return
            del parent.children[level]

    def find(self, topic: str) -> list[T]:
        """The values of all filters that match."""
        found: list[T] = []
        levels = topic.split("/")
        count = len(levels)
        pending: list[tuple[_Node[T], int]] = [(self._root, 0)]
        while pending:
            node, at = pending.pop()
            children = node.children
            wild = at or not topic.startswith("$")
            if wild and (rest := children.get("#")) is not None:
                found.extend(rest.values.values())  # `a/#` matches `a` as well (4.7.1.2)
            if at == count:
                found.extend(node.values.values())
                continue
            if wild and (one := children.get("+")) is not None:
                pending.append((one, at + 1))
            if (child := children.get(levels[at])) is not None:
                pending.append((child, at + 1))
        return found


class TopicTree(Generic[T]):
    """Values under topics, found by filters."""

    def __init__(self) -> None:
        self._values: dict[str, T] = {}
        self._root: _Node[None] = _Node()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, topic: str) -> T | None:
        return self._values.get(topic)

    def items(self) -> Iterator[tuple[str, T]]:
        return iter(self._values.items())

    def put(self, topic: str, value: T) -> None:
        if topic not in self._values:
            node = self._root
            for level in topic.split("/"):
                node = node.children.setdefault(level, _Node())
            node.values[topic] = None
        self._values[topic] = value

    def remove(self, topic: str) -> T | None:
        """The value that was there."""
        value = self._values.pop(topic, None)
        if value is None:
            return None
        levels = topic.split("/")
        path = [self._root]
        for level in levels:
            path.append(path[-1].children[level])
        del path[-1].values[topic]
        for level, parent, node in zip(reversed(levels), path[-2::-1], reversed(path), strict=False):
            if node.children or node.values:
                break
            del parent.children[level]
        return value

    def find(self, filter: str) -> list[T]:
        """The values of all topics that the filter matches."""
        if "+" not in filter and "#" not in filter:
            value = self._values.get(filter)
            return [] if value is None else [value]
        levels = filter.split("/")
        found: list[str] = []
        pending: list[tuple[_Node[None], int]] = [(self._root, 0)]
        while pending:
            node, at = pending.pop()
            if at == len(levels):
                found.extend(node.values)
            elif levels[at] == "#":
                found.extend(node.values)
                pending.extend((child, at) for child in self._beneath(node))
            elif levels[at] == "+":
                pending.extend((child, at + 1) for child in self._beneath(node))
            elif (child := node.children.get(levels[at])) is not None:
                pending.append((child, at + 1))
        return [self._values[topic] for topic in found]

    def _beneath(self, node: _Node[None]) -> Iterator[_Node[None]]:
        """What a wildcard stands for here: no first level that begins with $."""
        top = node is self._root
        return (child for level, child in node.children.items() if not (top and level.startswith("$")))
