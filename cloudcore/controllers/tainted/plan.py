"""Which pods a node's taints send away, and when. Pure.

The rules are those of Kubernetes' taint eviction (`pkg/controller/tainteviction`): a pod that lacks a toleration for
a taint of the effect NoExecute goes at once, one that bears it for a while goes after the least while that it says,
where the first toleration counts that bears a taint.
The two keys that only tell of a node's silence send nobody away, whoever wrote them: SYNC.md, promise 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from skerry.objects.json import JsonObject
from skerry.objects.meta import annotations_of, being_deleted
from skerry.objects.mirror_pods import CONFIG_MIRROR
from skerry.objects.taints import NO_EXECUTE, Taint, borne_s, taints_of, tolerations_of

SILENCE: Final = frozenset({"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"})


def ousting(node: JsonObject) -> tuple[Taint, ...]:
    """Those of a node's taints that send pods away."""
    return tuple(each for each in taints_of(node) if each.effect == NO_EXECUTE and each.key not in SILENCE)


def leaves_ms(pod: JsonObject, taints: Sequence[Taint], since_ms: int) -> int | None:
    """When the pod has to go, where it has been with such taints since then; None: it stays. What a gateway runs from
    a file of its own is shown here, not kept: deleting the mirror would end nothing."""
    if not taints or being_deleted(pod) or CONFIG_MIRROR in annotations_of(pod):
        return None
    seconds = borne_s(taints, tolerations_of(pod))
    return None if seconds is None else since_ms + seconds * 1000
