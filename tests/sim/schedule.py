"""What happens in a world, written down before it happens: a list of actions that a seed stands for, or a file.

Because everything is drawn beforehand, an action can be taken out and the rest still means the same: so a failing
schedule can be shrunk (`tests.sim.shrink`), kept (`tests/sim/transcripts/*.json`) and stepped through
(`tests.sim.debug`). What an action meets when its time comes is the world's business: a cut of a link that is not
there is nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final, TypeAlias

from skerry.frozen import replace
from tests.sim.releases import NEWEST

FAULTS_S: Final = 300.0
"""How long things go wrong."""
QUIET_S_MAX: Final = 200.0
"""Within which a healed world must have become quiet (a full backoff, silence, a greeting and the work itself)."""

Value: TypeAlias = "str | int | float | bool | list[str]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing that somebody, or fate, does."""

    at_s: float
    verb: str
    args: dict[str, Value] = field(default_factory=dict[str, Value])

    def __str__(self) -> str:
        args = " ".join(f"{name}={_short(value)}" for name, value in self.args.items())
        return f"{self.at_s:8.3f} {self.verb} {args}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One world from its beginning to its final look."""

    seed: int
    """Of what is left to chance: latencies, disks, jitter."""
    edges: int = 2
    replicas: int = 1
    versions: tuple[int, ...] = ()
    """Of the edges' agents at first; the newest where there is none."""
    cloud_version: int = NEWEST
    small_outbox: bool = False
    faults_s: float = FAULTS_S
    actions: tuple[Action, ...] = ()

    def json(self) -> str:
        """One action a line, to be read and compared in review."""
        head = {name: value for name, value in asdict(self).items() if name != "actions"}
        lines = ",\n".join("  " + json.dumps(asdict(action)) for action in self.actions)
        return json.dumps(head)[:-1] + ', "actions": [\n' + lines + "\n]}\n"

    @classmethod
    def read(cls, text: str) -> Schedule:
        """Inverse of `json`. Raises `ValueError`, `KeyError` or `TypeError` where it is none."""
        data: dict[str, Any] = json.loads(text)
        data["actions"] = tuple(Action(**action) for action in data["actions"])
        data["versions"] = tuple(data["versions"])
        return cls(**data)

    def without(self, actions: tuple[Action, ...]) -> Schedule:
        return replace(self, actions=actions)


def schedule_of(name: str) -> Schedule:
    """A seed's number, or a file that a shrunk schedule was kept in."""
    return drawn(int(name)) if name.isdecimal() else Schedule.read(Path(name).read_text())


def _short(value: Value) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:20]}...({len(text)})"


def drawn(seed: int) -> Schedule:
    """What the seed stands for."""
    random = Random(seed * 2_654_435_761 % 2**32)
    cloud_version = 1 if seed % 10 == 7 else NEWEST
    replicas = 1 if cloud_version == 1 else (1, 2, 3)[seed % 3]
    edges = 2 if random.random() < 0.8 else 3
    versions = tuple(random.choice((1, NEWEST)) for _ in range(edges)) if seed % 4 == 1 else ()
    dice = _Dice(random, edges, replicas, skewed=bool(versions))
    actions = [*dice.people(), *dice.devices(), *dice.strikes()]
    if cloud_version == 1:
        actions.append(Action(at_s=random.uniform(60, 280), verb="upgrade_cloud", args={"off_s": 3.0}))
    if seed % 6 == 3:
        actions += dice.brownouts()
    if random.random() < 0.25:
        actions.append(Action(at_s=FAULTS_S, verb="restore", args={"off_s": 0.0}))
    if cloud_version == NEWEST and not versions:
        actions += dice.commands()
    if seed % 6 == 5 and not versions and cloud_version == NEWEST:
        actions = [action for action in actions if action.verb != "restore"] + dice.copies()
    return Schedule(
        seed=seed,
        edges=edges,
        replicas=replicas,
        versions=versions,
        cloud_version=cloud_version,
        small_outbox=seed % 5 == 0,
        actions=tuple(sorted(actions, key=lambda action: action.at_s)),
    )


class _Dice:
    """Draws actions without knowing what they will meet."""

    def __init__(self, random: Random, edges: int, replicas: int, *, skewed: bool) -> None:
        self.random = random
        self.edges = edges
        self.replicas = replicas
        self.skewed = skewed

    def _edge(self) -> str:
        return f"edge-{self.random.randrange(self.edges) + 1}"

    def _uniform(self, low: float, high: float) -> float:
        return round(self.random.uniform(low, high), 3)

    def people(self) -> list[Action]:
        """Somebody changes something in the cloud, for a while longer than things go wrong."""
        actions: list[Action] = []
        at_s = 0.0
        while at_s < FAULTS_S + 15:
            verb, args = self._change()
            actions.append(Action(at_s=at_s, verb=verb, args=args))
            if self.random.random() < 0.05:
                actions.append(Action(at_s=at_s, verb="backup"))
            at_s = round(at_s + self.random.uniform(0.05, 4.0), 3)
        return actions

    def _change(self) -> tuple[str, dict[str, Value]]:
        random = self.random
        name = str(random.randrange(6))
        match random.randrange(12):
            case 0 | 1 | 2 | 3:
                return "config", {"name": f"config-{name}", "text": "x" * random.randrange(200)}
            case 4 | 5 | 6:
                edge = self._edge()
                configs = sorted({f"config-{random.randrange(6)}" for _ in range(random.randrange(3))})
                text = str(random.randrange(10**6))
                return "pod", {"name": f"pod-{edge}-{name}", "edge": edge, "configs": configs, "text": text}
            case 7:
                return "delete", {"resource": "configmaps", "name": f"config-{name}"}
            case 8 | 9:
                return "delete", {"resource": "pods", "name": f"pod-{self._edge()}-{name}"}
            case 10:
                return "force_delete", {"name": f"pod-{self._edge()}-{name}"}
            case _:
                return "service", {"name": f"service-{name}"}

    def devices(self) -> list[Action]:
        actions: list[Action] = []
        for number in range(self.edges):
            at_s = 1.0
            while at_s < FAULTS_S:
                actions.append(Action(at_s=at_s, verb="sense", args={"edge": f"edge-{number + 1}"}))
                at_s = round(at_s + self.random.uniform(0.3, 4.0), 3)
        return actions

    def commands(self) -> list[Action]:
        """Each of its own name; some are given so late, or for so short, that they can't be begun in time."""
        actions: list[Action] = []
        at_s = self._uniform(5, 30)
        while at_s < FAULTS_S:
            args: dict[str, Value] = {"name": f"command-{len(actions)}", "edge": self._edge()}
            args["expires_s"] = self.random.choice((2, 10, 60))
            actions.append(Action(at_s=at_s, verb="command", args=args))
            at_s = round(at_s + self.random.uniform(0.5, 30), 3)
        return actions

    def strikes(self) -> list[Action]:
        actions: list[Action] = []
        at_s = self._uniform(1, 20)
        while at_s < FAULTS_S:
            verb, args = self._strike()
            actions.append(Action(at_s=at_s, verb=verb, args=args))
            actions.append(Action(at_s=at_s, verb="slow", args={"factor": self.random.choice((1.0, 1.0, 0.2, 5.0))}))
            at_s = round(at_s + self.random.uniform(0.2, 40), 3)
        return actions

    def brownouts(self) -> list[Action]:
        """Boots that never hear the cloud."""
        actions: list[Action] = []
        for number in range(self.edges):
            args: dict[str, Value] = {"edge": f"edge-{number + 1}"}
            args |= {"off_s": self._uniform(1, 10), "up_s": self._uniform(2, 30)}
            actions.append(Action(at_s=self._uniform(10, FAULTS_S), verb="brownout", args=args))
        return actions

    def copies(self) -> list[Action]:
        """Cards of which an image is taken and put back: of a gateway that is offline and was started so, and of any.
        No cloud is restored beside that: it knows no more what was told before."""
        actions: list[Action] = []
        for number in range(self.edges):
            args: dict[str, Value] = {"edge": f"edge-{number + 1}"}
            at_s, off_s = self._uniform(5, 180), self._uniform(12, 40)
            if self.random.random() < 0.7:
                actions.append(Action(at_s=at_s, verb="block", args={**args, "off_s": off_s}))
                actions.append(Action(at_s=at_s + 1, verb="crash_agent", args={**args, "off_s": 0.5}))
            actions.append(Action(at_s=at_s + 11, verb="copy_disk", args=args))
            back_s = at_s + off_s + self._uniform(5, 60)
            actions.append(Action(at_s=back_s, verb="set_back", args={**args, "off_s": self._uniform(0.5, 5)}))
        return actions

    def _strike(self) -> tuple[str, dict[str, Value]]:
        """One fault; those of a whole cloud and of disks are rarer."""
        random, edge = self.random, self._edge()
        replica = random.randrange(self.replicas)
        match random.randrange(18):
            case 0 | 1:
                return "cut", {"edge": edge}
            case 2:
                return "cut_at_frame", {"edge": edge, "frames": random.randrange(1, 12)}
            case 3 | 4:
                return "half_open", {"edge": edge, "up": random.random() < 0.6, "down": random.random() < 0.6}
            case 5:
                return "crash_agent", {"edge": edge, "off_s": self._uniform(0.01, 10)}
            case 6:
                return "last_words", {"edge": edge, "off_s": self._uniform(0.01, 0.3)}
            case 7:
                return "cut_power", {
                    "edge": edge,
                    "off_s": self._uniform(1, 30),
                    "battery": random.random() < 0.5,
                    "lands": random.random() < 0.5,
                }
            case 8 if random.random() < 0.3:
                return "new_disk", {"edge": edge, "off_s": self._uniform(1, 10)}
            case 9:
                return "crash_cloud", {"off_s": self._uniform(0.5, 20)}
            case 10:
                return "compact", {}
            case 11 if random.random() < 0.3:
                return "restore", {"off_s": self._uniform(0.5, 10)}
            case 12:
                return "step_clock", {"edge": edge, "ms": random.choice((-86_400_000, -3_600_000, 7_200_000))}
            case 13:
                return "crash_replica", {"replica": replica, "off_s": self._uniform(0.5, 30)}
            case 14 | 15:
                return "pause_replica", {"replica": replica, "off_s": self._uniform(0.5, 40)}
            case 16:
                return "lag", {"replica": replica, "factor": random.choice((1.0, 5.0, 40.0))}
            case 17 if self.skewed:
                return "change_agent", {"edge": edge, "version": random.choice((1, NEWEST)), "off_s": 2.0}
            case _:
                return "block", {"edge": edge, "off_s": self._uniform(5, 80)}
