"""What is said of a pod that takes more disk than it may, and how it is measured."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgecore.pods.memory_volumes import memory_bytes_of
from edgecore.pods.runtimes.fake import FakeRuntime
from edgecore.pods.status import Ending
from edgecore.pods.storage_limits import Taken, excess, is_limited
from edgecore.pods.storage_watch import Limited, StorageWatch
from skerry.clocks import ManualClock
from skerry.objects.json import Json, JsonObject
from tests.edgecore.pods.pods_of import container, pod

MIB = 1 << 20


def volume(name: str = "v", **fields: str) -> JsonObject:
    return {"name": name, "emptyDir": dict(fields)}


def limited(*limits: str, volumes: Json = None) -> JsonObject:
    containers = [
        container(f"c{index}", resources={"limits": {"ephemeral-storage": limit}} if limit else {})
        for index, limit in enumerate(limits)
    ]
    return pod(*containers, volumes=volumes or [])


def taken(volumes: dict[str, int] | None = None, **containers: int) -> Taken:
    return Taken(volumes=volumes or {}, containers=containers)


@pytest.mark.parametrize(
    ("the_pod", "used", "text"),
    [
        (limited("", volumes=[volume(sizeLimit="1Mi")]), taken({"v": MIB}), ""),
        (
            limited("", volumes=[volume(sizeLimit="1Mi")]),
            taken({"v": MIB + 1}),
            'Usage of EmptyDir volume "v" exceeds the limit "1Mi". ',
        ),
        (limited("", volumes=[volume()]), taken({"v": 1 << 40}, c0=1 << 40), ""),
        (
            limited("1Mi", "2Mi"),
            taken(c0=MIB + 1, c1=0),
            'Container c0 exceeded its local ephemeral storage limit "1Mi". ',
        ),
        (
            limited("1Mi", "", volumes=[volume()]),
            taken({"v": MIB}, c1=1),
            "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ",
        ),
        (limited("1Mi", volumes=[volume(medium="Memory")]), taken({"v": 5 * MIB}), ""),
    ],
)
def test_who_takes_more_than_it_may_is_told_in_a_kubelets_words(the_pod: JsonObject, used: Taken, text: str) -> None:
    assert excess(the_pod, used) == text


def test_only_limits_make_somebody_look() -> None:
    assert not is_limited(limited("", volumes=[volume(), volume("m", medium="Memory")]))
    assert is_limited(limited("1Mi"))
    assert is_limited(limited("", volumes=[volume(sizeLimit="1Mi")]))


def test_a_volume_in_memory_is_as_large_as_the_pod_may_be() -> None:
    def size(limit: str, *memory: str) -> int:
        containers = [
            container(str(index), resources={"limits": {"memory": each}}) for index, each in enumerate(memory)
        ]
        return memory_bytes_of(volume(medium="Memory", sizeLimit=limit), pod(*containers), gateway_bytes=100 * MIB)

    assert size("") == 100 * MIB
    assert (size("1Mi"), size("1Gi")) == (MIB, 100 * MIB)
    assert (size("", "10Mi", "20Mi"), size("5Mi", "10Mi")) == (30 * MIB, 5 * MIB)


async def test_a_pod_is_ended_for_what_it_wrote(tmp_path: Path) -> None:
    (tmp_path / "volumes" / "v").mkdir(parents=True)
    (tmp_path / "volumes" / "v" / "f").write_bytes(os.urandom(2 * MIB))
    (tmp_path / "logs" / "app").mkdir(parents=True)
    ended: list[tuple[str, Ending, float]] = []
    one = Limited(pod=limited("", volumes=[volume(sizeLimit="1Mi")]), directory=tmp_path, logs=tmp_path / "logs")
    other = Limited(pod=pod(uid="other"), directory=tmp_path, logs=tmp_path / "logs")

    def end(uid: str, ending: Ending, grace_s: float) -> None:
        ended.append((uid, ending, grace_s))

    await StorageWatch(FakeRuntime(ManualClock()), lambda: [one, other], end).look()
    message = 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '
    assert ended == [("uid-1", Ending(reason="Evicted", message=message), 1.0)]
