"""Effects of many reports on one object, taken as one: checking an object costs more than changing it. Pure.

A device with twenty properties reports twenty values, each a change of the same status, which would be decoded,
defaulted and compared twenty times. Only changes of a status are taken together: of what is wanted every step is
told of (the log of wanted values). Where the whole is refused, each is tried alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce

from cloudcore.registry.port import Effect
from skerry.frozen import replace
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key


def together(effects: Iterable[Effect]) -> list[tuple[Effect, ...]]:
    """Runs of effects that may be one; those of an object stay in their order."""
    runs: list[list[Effect]] = []
    newest: dict[Key, list[Effect]] = {}
    for effect in effects:
        run = newest.get(effect.key)
        if run is not None and _follows(run[-1], effect):
            run.append(effect)
            continue
        newest[effect.key] = [effect]
        runs.append(newest[effect.key])
    return [tuple(run) for run in runs]


def _follows(before: Effect, effect: Effect) -> bool:
    return (
        before.subresource == effect.subresource == "status"
        and before.kind == effect.kind
        and before.uid == effect.uid
        and not before.gone
        and not effect.gone
    )


def as_one(run: Sequence[Effect]) -> Effect:
    """What does all that these do, one after the other."""
    if len(run) == 1:
        return run[0]

    def all_of(obj: JsonObject) -> JsonObject:
        return reduce(lambda changed, effect: effect.transform(changed), run, obj)

    return replace(run[-1], transform=all_of)
