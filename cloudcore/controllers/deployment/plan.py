"""The next step of a Deployment: which ReplicaSets to make, scale or delete now, and what its status says. Pure.

One pass takes one step (up, or down, or clean up), and the changes it causes wake the next pass; so a plan depends on
nothing but the present state. Rules, order and words are those of Kubernetes' deployment controller
(`pkg/controller/deployment`). Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cloudcore.controllers.deployment.model import (
    REVISION,
    Deployment,
    Set,
    find_new,
    scaled_annotations,
    with_revision,
)
from skerry.frozen import Frozen, replace


class MakeSet(Frozen):
    """Create the ReplicaSet of the present template."""

    replicas: int
    revision: int


class ChangeSet(Frozen):
    """Write a ReplicaSet's size, annotations and minReadySeconds."""

    target: Set
    """As it was."""
    replicas: int
    annotations: Mapping[str, str]
    min_ready_s: int


class DropSet(Frozen):
    """Delete a ReplicaSet that is beyond the history limit."""

    target: Set


class NoteRevision(Frozen):
    """Write the deployment's own revision annotation."""

    revision: str


Action = MakeSet | ChangeSet | DropSet | NoteRevision


class Plan(Frozen):
    """`sets` and `new` are as they will be once the actions are done, for the status."""

    actions: tuple[Action, ...]
    sets: tuple[Set, ...]
    new: Set | None
    progress: bool
    """The status tells of progress (a paused or scaling deployment does not)."""


class Observed(Frozen):
    """`old_pods_run`: some pod of an old set isn't over yet; asked only of deployments that recreate."""

    sets: Sequence[Set]
    old_pods_run: bool = False


def plan(owner: Deployment, observed: Observed) -> Plan:
    """One step. See the module."""
    step = _Step(owner, observed)
    if owner.leaving:
        return step.result(progress=False)
    if owner.paused or _is_scaling(owner, observed.sets):
        step.renew(create=False)
        step.scale()
        if owner.paused:
            step.clean_up()
        return step.result(progress=False)
    if owner.recreate:
        return _recreate(step, observed)
    return _roll(step)


def _roll(step: _Step) -> Plan:
    step.renew(create=True)
    if not step.grow() and not step.shrink() and step.complete():
        step.clean_up()
    return step.result(progress=True)


def _recreate(step: _Step, observed: Observed) -> Plan:
    step.renew(create=False)
    stopping = step.stop_old()
    if not stopping and not observed.old_pods_run and not any(each.actual for each in step.old()):
        step.renew(create=True)
        step.grow()
        if step.complete():
            step.clean_up()
    return step.result(progress=True)


def _is_scaling(owner: Deployment, sets: Sequence[Set]) -> bool:
    """The deployment's size changed since it last scaled its sets (one that recreates has nothing to share out)."""
    return not owner.recreate and any(
        each.desired is not None and each.desired != owner.replicas for each in sets if each.replicas > 0
    )


class _Step:
    """The sets as they become while the step is put together."""

    def __init__(self, owner: Deployment, observed: Observed) -> None:
        self._owner = owner
        self._before = {each.uid: each for each in observed.sets}
        self._sets = dict(self._before)
        found = find_new(owner, observed.sets)
        self._new_uid = None if found is None else found.uid
        self._made: MakeSet | None = None
        self._drops: list[DropSet] = []
        self._note: NoteRevision | None = None

    @property
    def new(self) -> Set | None:
        return None if self._new_uid is None else self._sets[self._new_uid]

    def old(self) -> list[Set]:
        """Oldest first."""
        found = [each for uid, each in self._sets.items() if uid != self._new_uid]
        return sorted(found, key=lambda each: each.age)

    def result(self, *, progress: bool) -> Plan:
        changes = [
            ChangeSet(
                target=self._before[uid],
                replicas=each.replicas,
                annotations=each.annotations,
                min_ready_s=self._owner.min_ready_s if uid == self._new_uid else _min_ready_s(each),
            )
            for uid, each in self._sets.items()
            if self._differs(uid, each)
        ]
        actions: list[Action] = [*changes, *self._drops]
        if self._made is not None:
            actions.insert(0, self._made)
        if self._note is not None:
            actions.append(self._note)
        return Plan(actions=tuple(actions), sets=tuple(self._sets.values()), new=self.new, progress=progress)

    def _differs(self, uid: str, each: Set) -> bool:
        before = self._before[uid]
        stale = uid == self._new_uid and not self._owner.leaving and _min_ready_s(each) != self._owner.min_ready_s
        return stale or before.replicas != each.replicas or dict(before.annotations) != dict(each.annotations)

    def renew(self, *, create: bool) -> None:
        """The newest set carries the newest revision; where there is none, one is made."""
        revision = max((each.revision for each in self.old()), default=0) + 1
        new = self.new
        if new is not None:
            annotations = with_revision(self._owner, new.annotations, revision)
            self._sets[new.uid] = replace(new, annotations=annotations)
            noted = annotations[REVISION]
        elif create:
            self._made = MakeSet(replicas=self._room_for_new(0), revision=revision)
            noted = str(revision)
        else:
            return
        if self._owner.annotations.get(REVISION) != noted:
            self._note = NoteRevision(revision=noted)

    def grow(self) -> bool:
        """Bring the new set up (or down) as far as it may go now. True when that is this pass's step."""
        new = self.new
        if new is None:
            return self._made is not None
        if new.replicas == self._owner.replicas:
            return False
        if new.replicas > self._owner.replicas:
            return self._resize(new, self._owner.replicas)
        return self._resize(new, self._room_for_new(new.replicas))

    def _room_for_new(self, now: int) -> int:
        """How large the new set may be: all pods together stay within replicas + surge."""
        if self._owner.recreate:
            return self._owner.replicas
        total = sum(each.replicas for each in self._sets.values())
        room = self._owner.most - total
        return now + max(min(room, self._owner.replicas - now), 0)

    def shrink(self) -> bool:
        """Take old sets down: first pods that aren't available anyway, then as far as availability allows."""
        old = [each for each in self.old() if each.replicas > 0]
        new = self.new
        if not old or new is None:
            return False
        least = self._owner.replicas - self._owner.unavailable_max
        total = sum(each.replicas for each in self._sets.values())
        spare = total - least - (new.replicas - new.available)
        if spare <= 0:
            return False
        changed = self._drop_unhealthy(old, spare)
        return self._drop_healthy(least) or changed

    def _drop_unhealthy(self, old: Sequence[Set], spare: int) -> bool:
        changed = False
        for each in old:
            count = min(spare, each.replicas - each.available)
            if count > 0:
                changed = self._resize(each, each.replicas - count) or changed
                spare -= count
        return changed

    def _drop_healthy(self, least: int) -> bool:
        available = sum(each.available for each in self._sets.values())
        spare = available - least
        changed = False
        for each in self.old():
            count = min(spare, each.replicas)
            if count > 0:
                changed = self._resize(each, each.replicas - count) or changed
                spare -= count
        return changed

    def stop_old(self) -> bool:
        """Recreate: every old set goes to nothing at once."""
        running = [each for each in self.old() if each.replicas > 0]
        for each in running:
            self._resize(each, 0)
        return bool(running)

    def complete(self) -> bool:
        """Everything runs the present template and is available."""
        new = self.new
        total = sum(each.actual for each in self._sets.values())
        wanted = self._owner.replicas
        return new is not None and new.actual == wanted and total == wanted and new.available >= wanted

    def clean_up(self) -> None:
        """Forget the oldest revisions beyond the history limit, those that are empty and settled."""
        alive = sorted((each for each in self.old() if not each.leaving), key=lambda each: (each.revision, each.age))
        for each in alive[: max(len(alive) - self._owner.history_limit, 0)]:
            if each.actual == 0 and each.replicas == 0 and each.caught_up:
                self._drops.append(DropSet(target=each))
                del self._sets[each.uid]

    def scale(self) -> None:
        """The deployment's size changed (or it is paused): share the change out over the sets that run."""
        active = [each for each in self._sets.values() if each.replicas > 0]
        new = self.new
        if len(active) <= 1:
            latest = new or max(self._sets.values(), key=lambda each: each.age, default=None)
            only = active[0] if active else latest
            if only is not None:
                self._resize(only, self._owner.replicas)
            return
        if new is not None and self._saturated(new):
            for each in self.old():
                if each.replicas > 0:
                    self._resize(each, 0)
            return
        if not self._owner.recreate:
            self._share_out(active)

    def _saturated(self, new: Set) -> bool:
        wanted = self._owner.replicas
        return new.replicas == wanted and new.desired == wanted and new.available == wanted

    def _share_out(self, active: Sequence[Set]) -> None:
        allowed = self._owner.most if self._owner.replicas > 0 else 0
        left = allowed - sum(each.replicas for each in active)
        # Growing, the larger and newer get theirs first; shrinking, the larger and older.
        ranked = sorted(active, key=lambda each: (-each.replicas, -each.created_ms if left > 0 else each.created_ms))
        sizes: dict[str, int] = {}
        rest = left
        for each in ranked:
            share = self._share(each, rest, growing=left > 0) if left else 0
            sizes[each.uid] = each.replicas + share
            rest -= share
        first = ranked[0]
        sizes[first.uid] = max(sizes[first.uid] + rest, 0)
        for each in ranked:
            self._resize(each, sizes[each.uid])

    def _share(self, each: Set, rest: int, *, growing: bool) -> int:
        """This set's part of the change, in proportion to its part of what the deployment allowed before."""
        before = each.most or _whole_before(self._owner, each)
        exact = each.replicas * self._owner.most / before if before else each.replicas
        fraction = int(exact + 0.5) - each.replicas
        return max(min(fraction, rest), 0) if growing else min(max(fraction, rest), 0)

    def _resize(self, each: Set, replicas: int) -> bool:
        """Note the size, and for whom it was computed. True when the size changes."""
        annotations = scaled_annotations(self._owner, each.annotations)
        self._sets[each.uid] = replace(each, replicas=replicas, annotations=annotations)
        return replicas != each.replicas


def _whole_before(owner: Deployment, each: Set) -> int:
    """What the whole was when nobody wrote it down: what the status counts, or at least this set."""
    status = owner.obj.get("status")
    counted = status.get("replicas") if isinstance(status, dict) else None
    return counted if isinstance(counted, int) and counted > 0 else each.replicas


def _min_ready_s(each: Set) -> int:
    spec = each.obj.get("spec")
    found = spec.get("minReadySeconds") if isinstance(spec, dict) else None
    return found if isinstance(found, int) else 0
