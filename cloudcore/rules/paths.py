"""Which rule a request's path means, and what of the path goes on to its target. Pure.

KubeEdge's form is `/{node}/{namespace}/{path of the rule}`, with whatever follows the rule's path handed on. Where
several rules fit, the one that says most wins. A `{name}` in a rule's path stands for any text without a slash.
KubeEdge takes a rule's path for a pattern that may begin and end anywhere, so that `/ccc` answered for `/cccfoo` as
well; here a path ends where a slash is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

from skerry.frozen import Frozen
from skerry.objects.rules import Rule

_PARAMETER = re.compile(r"\{[^{}/]+\}")


class Asked(Frozen):
    """A request's path in its parts, as it was written."""

    node: str
    namespace: str
    path: str
    """Without its first slash."""


def asked_of(raw_path: str) -> Asked | None:
    """None where it is of another form."""
    parts = raw_path.split("/", 3)
    if len(parts) < 4 or parts[0] or not all(parts[1:]):
        return None
    return Asked(node=unquote(parts[1]), namespace=unquote(parts[2]), path=parts[3])


def rule_for(asked: Asked, rules: Iterable[Rule]) -> tuple[Rule, str] | None:
    """The rule that is meant, and what follows its path. `rules`: of the namespace, from rest."""
    found: tuple[tuple[int, int, str], Rule, str] | None = None
    for rule in rules:
        own = [segment for segment in rule.source_resource.get("path", "").split("/") if segment]
        rest = _rest(own, asked.path)
        if rest is None:
            continue
        literal = sum(1 for segment in own if not _PARAMETER.search(segment))
        rank = (len(own), literal, rule.name)
        if found is None or rank > found[0]:
            found = rank, rule, rest
    return None if found is None else (found[1], found[2])


def _rest(own: list[str], path: str) -> str | None:
    """What follows; of a path with parameters all of it, as in KubeEdge. None where the rule is not meant."""
    segments = path.split("/")
    if not own or len(segments) < len(own):
        return None
    if not all(_fits(mine, unquote(segment)) for mine, segment in zip(own, segments, strict=False)):
        return None
    if any(_PARAMETER.search(mine) for mine in own):
        return path
    return "/".join(segments[len(own) :])


def _fits(mine: str, segment: str) -> bool:
    if not _PARAMETER.search(mine):
        return mine == segment or unquote(mine) == segment
    pattern = ".+".join(re.escape(part) for part in _PARAMETER.split(mine))
    return re.fullmatch(pattern, segment, re.DOTALL) is not None
