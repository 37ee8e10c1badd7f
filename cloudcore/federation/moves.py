"""How many replicas members keep above their share, so that a move takes away none that is needed yet. Pure.

KubeFed moves replicas by two writes that know nothing of each other: what one member stops at once the other has to
pull and start first. Here a member gives up what runs no faster than as many are available elsewhere; what does not
run it gives up at once. So the whole is above what is asked meanwhile, and never below what there was.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cloudcore.federation.replicas import Division


def kept_back(
    division: Division, given: Mapping[str, int], available: Mapping[str, int], silent: Collection[str]
) -> dict[str, int]:
    """Members and what they keep in all, those alone that keep more than their share.

    `given`: what they were given, of those that gave theirs up for their silence as well (`silent`, of whom nothing
    counts); `available`: replicas that are, as they were told last.
    """
    wanted = sum(division.replicas.values()) - sum(division.parked.values())
    runs = {name: min(available.get(name, 0), count) for name, count in sorted(given.items()) if name not in silent}
    spare = sum(runs.values()) - wanted
    kept = {name: given[name] for name in sorted(silent) if given.get(name)} if spare < 0 else {}
    for name, running in runs.items():
        share = division.replicas.get(name, 0)
        gives = min(max(0, running - share), max(0, spare))
        spare -= gives
        if running - gives > share:
            kept[name] = running - gives
    return kept
