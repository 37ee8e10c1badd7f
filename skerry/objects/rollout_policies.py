"""What a RolloutPolicy says, taken apart: waves, budgets, time limits. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal

from skerry.errors import BadRequestError, InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, bool_at, map_at, maps_at, str_at
from skerry.objects.names import label_1123_faults
from skerry.objects.select import LabelSelector, label_selector

OnFailure = Literal["Halt", "Rollback"]
Rollback = Literal["AtOnce", "InWaves"]
ON_FAILURES: Final = ("Halt", "Rollback")
ROLLBACKS: Final = ("AtOnce", "InWaves")
REST: Final = "rest"
"""The wave of all that no wave of the policy has."""
WAVES_MAX: Final = 100
NO_FREEZE: Final = 100
"""`freezeAbovePercent` by which silence holds nobody up."""
_SECONDS_MAX: Final = 31 * 86_400
_NUMBER_MAX: Final = 1_000_000


class Amount(Frozen, kw_only=False):
    """So many, or so many of a hundred."""

    value: int
    percent: bool = False

    def up(self, total: int) -> int:
        """Rounded up: of some, at least one."""
        return -(-self.value * total // 100) if self.percent else self.value

    def down(self, total: int) -> int:
        return self.value * total // 100 if self.percent else self.value

    def __str__(self) -> str:
        return f"{self.value}%" if self.percent else str(self.value)


class Wave(Frozen):
    name: str
    clusters: tuple[str, ...] | None = None
    selector: LabelSelector | None = None
    members: Amount | None = None
    """No more than so many of those; a percentage is of all members that have the object. None: all of them."""
    approval: bool = False
    """It begins when somebody says so."""
    soak_s: int = 0
    """How long its members are in order, beyond what is asked of every member, until the next wave begins."""
    min_succeeded: Amount = Amount(0)
    """Of its members, in order, before the next wave begins."""
    max_unavailable: Amount | None = None

    def matches(self, name: str, labels: Mapping[str, str]) -> bool:
        if self.clusters is not None and name not in self.clusters:
            return False
        return self.selector is None or self.selector.matches(labels)


class RolloutPolicy(Frozen):
    waves: tuple[Wave, ...]
    """With that of the rest, in the end."""
    max_unavailable: Amount = Amount(25, True)
    max_failed: Amount = Amount(0)
    min_ready_s: int = 10
    deadline_s: int = 600
    on_failure: OnFailure = "Halt"
    rollback: Rollback = "AtOnce"
    freeze_above_percent: int = 50
    """Of a wave: are more of its members silent, without having shown that the version works, nothing follows."""
    paused: bool = False
    history_limit: int = 10
    dry_run: bool = False


def waves_of(
    policy: RolloutPolicy,
    members: Mapping[str, Mapping[str, str]],
    order: Sequence[str],
    has: Collection[str],
    last: Collection[str] = (),
) -> dict[str, int]:
    """The wave of each member, by its place: the first that it matches and that has room. `members`: labels by name;
    `order`: of all of them, by which a wave of so many takes them; `has`: who was given the version already comes
    first, so that a member that joins takes nobody's place; `last`: whom it can't be tried with, as it changes
    nothing there, or can't be there."""
    found: dict[str, int] = {}
    left = sorted(order, key=lambda name: (name not in has, name in last))
    for at, wave in enumerate(policy.waves):
        room = len(left) if wave.members is None else wave.members.up(len(members))
        taken = [name for name in left if wave.matches(name, members[name])][:room]
        found.update(dict.fromkeys(taken, at))
        gone = frozenset(taken)
        left = [name for name in left if name not in gone]
    return found


def read_rollout_policy(obj: JsonObject) -> RolloutPolicy:
    """Raises `InvalidError` that names the field."""
    spec = map_at(obj, "spec")
    said = maps_at(spec, "waves")
    if len(said) > WAVES_MAX:
        raise InvalidError(f"spec.waves: at most {WAVES_MAX}")
    waves = [_wave(each, at) for at, each in enumerate(said)]
    for at, wave in enumerate(waves):
        if wave.name == REST:
            raise InvalidError(f'spec.waves[{at}].name: "{REST}" is the wave of all others, after these')
        if wave.name in [each.name for each in waves[:at]]:
            raise InvalidError(f'spec.waves[{at}].name: "{wave.name}" is there already')
        if at and takes_all(waves[at - 1]):
            raise InvalidError(
                f'spec.waves[{at}]: has nobody: "{waves[at - 1].name}" before it has all that are left'
            )
    if not waves or not takes_all(waves[-1]):
        waves.append(Wave(name=REST))
    on_failure = _one_of(spec, "onFailure", ON_FAILURES)
    rollback = _one_of(spec, "rollback", ROLLBACKS)
    most = _amount(spec, "maxUnavailable", "spec", least=1)
    failed = _amount(spec, "maxFailed", "spec")
    return RolloutPolicy(
        waves=tuple(waves),
        max_unavailable=most or RolloutPolicy(waves=()).max_unavailable,
        max_failed=failed or Amount(0),
        min_ready_s=_seconds(spec, "minReadySeconds", "spec", default=10),
        deadline_s=_seconds(spec, "progressDeadlineSeconds", "spec", default=600, least=1),
        on_failure="Rollback" if on_failure == "Rollback" else "Halt",
        rollback="InWaves" if rollback == "InWaves" else "AtOnce",
        freeze_above_percent=_number(spec, "freezeAbovePercent", "spec", default=50, most=NO_FREEZE),
        paused=bool_at(spec, "paused"),
        history_limit=_number(spec, "revisionHistoryLimit", "spec", default=10, most=100),
        dry_run=bool_at(spec, "dryRun"),
    )


def takes_all(wave: Wave) -> bool:
    every = wave.selector is None or wave.selector.everything
    return wave.clusters is None and every and wave.members is None


def _wave(said: JsonObject, at: int) -> Wave:
    where = f"spec.waves[{at}]"
    name = str_at(said, "name")
    if not name:
        raise InvalidError(f"{where}.name: is needed: waves are approved by it")
    for fault in label_1123_faults(name):
        raise InvalidError(f'{where}.name: "{name}": {fault}')
    try:
        selector = label_selector(said["clusterSelector"]) if said.get("clusterSelector") is not None else None
    except BadRequestError as error:
        raise InvalidError(f"{where}.clusterSelector.{error}") from error
    names = None
    if said.get("clusters") is not None:
        names = tuple(str_at(each, "name") for each in maps_at(said, "clusters"))
        if not names:
            raise InvalidError(f"{where}.clusters: is empty, so that nobody is in this wave")
        if "" in names:
            raise InvalidError(f"{where}.clusters[{names.index('')}].name: is needed")
    return Wave(
        name=name,
        clusters=names,
        selector=selector,
        members=_amount(said, "members", where, least=1),
        approval=bool_at(said, "requiresApproval"),
        soak_s=_seconds(said, "soakSeconds", where, default=0),
        min_succeeded=_amount(said, "minSucceeded", where) or Amount(0),
        max_unavailable=_amount(said, "maxUnavailable", where, least=1),
    )


def _amount(said: JsonObject, field: str, where: str, *, least: int = 0) -> Amount | None:
    """A number, or a percentage in a string, as Kubernetes has them."""
    value = said.get(field)
    if value is None:
        return None
    text = value[:-1] if isinstance(value, str) and value.endswith("%") else None
    if text is not None and text.isascii() and text.isdigit() and len(text) <= 3:
        number, most, percent = int(text), 100, True
    elif isinstance(value, int) and not isinstance(value, bool):
        number, most, percent = value, _NUMBER_MAX, False
    else:
        raise InvalidError(f'{where}.{field}: "{value}" is neither a number nor a percentage such as 25%')
    if not least <= number <= most:
        unit = "%" if percent else ""
        raise InvalidError(f"{where}.{field}: {value} is not from {least}{unit} to {most}{unit}")
    return Amount(number, percent)


def _number(said: JsonObject, field: str, where: str, *, default: int, least: int = 0, most: int) -> int:
    value = said.get(field, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidError(f"{where}.{field}: a number from {least} to {most}")
    return value


def _seconds(said: JsonObject, field: str, where: str, *, default: int, least: int = 0) -> int:
    return _number(said, field, where, default=default, least=least, most=_SECONDS_MAX)


def _one_of(spec: JsonObject, field: str, words: tuple[str, ...]) -> str:
    said = str_at(spec, field) or words[0]
    if said not in words:
        raise InvalidError(f'spec.{field}: "{said}" is none of {", ".join(words)}')
    return said
