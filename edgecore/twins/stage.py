"""What waits to be committed together: twins that changed, and what the cloud is to be told of them.

A disk sync on a memory card takes as long as a hundred rows, so readings wait for each other a little (the keeper
says how long). Rows are made from the states at the moment of committing. In memory; what is lost in a crash was
never acknowledged to anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from edgecore.store.port import EdgeBatch, NewPush, NewReading, NewReport, TwinRow
from skerry.frozen import replace
from skerry.objects.desired import Policy
from skerry.objects.meta import Key
from skerry.objects.twins import (
    DeviceName,
    DeviceState,
    TwinDesired,
    TwinReported,
    TwinState,
    encode_device_state,
    encode_state,
    encode_twin_desired,
    encode_twin_reported,
    series_of,
)

META_TOLD_EPOCH: Final = "twins_epoch"
"""Name in the store's `meta`: the cloud's epoch in which all twins were told."""

Place: TypeAlias = "tuple[Key, str]"
"""A property of a device."""


@dataclass(slots=True, kw_only=True)
class Stage:
    """See the module. Receipts are (driver's name, receipt)."""

    rows: set[Place] = field(default_factory=set[Place])
    told: set[Place] = field(default_factory=set[Place])
    wanted: dict[Place, Policy] = field(default_factory=dict[Place, Policy])
    answered: list[tuple[Place, TwinState]] = field(default_factory=list[tuple[Place, TwinState]])
    """Twins as they were answered, in order, for the log: another value may be wanted before the next commit."""
    telemetry: list[NewReading] = field(default_factory=list[NewReading])
    pushes: list[NewPush] = field(default_factory=list[NewPush])
    states: dict[Key, DeviceState] = field(default_factory=dict[Key, DeviceState])
    gone: set[Key] = field(default_factory=set[Key])
    receipts: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    epoch: str = ""
    """With this everything has been told to a cloud of that epoch; "" says nothing of it."""

    def __bool__(self) -> bool:
        told = self.rows or self.telemetry or self.pushes or self.states
        return bool(told or self.gone or self.receipts or self.epoch)

    def put_back(self, unsaved: Stage) -> None:
        """What could not be committed comes before what has been staged since."""
        self.rows |= unsaved.rows
        self.told |= unsaved.told
        self.wanted = unsaved.wanted | self.wanted
        self.answered = unsaved.answered + self.answered
        self.telemetry = unsaved.telemetry + self.telemetry
        self.pushes = unsaved.pushes + self.pushes
        self.states = unsaved.states | self.states
        self.gone |= unsaved.gone
        self.receipts = unsaved.receipts + self.receipts
        self.epoch = self.epoch or unsaved.epoch

    def batch(self, state_of: Callable[[Place], TwinState | None], pending: Set[Place] = frozenset()) -> EdgeBatch:
        """Everything staged, as one transaction. `pending`: what the cloud is told of later."""
        reports: list[NewReport] = []
        rows: list[TwinRow] = []
        for place in sorted(self.rows):
            state = state_of(place)
            if state is None:
                continue  # the device went in the meantime
            device, prop = place
            marked = replace(state, untold=place in pending and place not in self.told)
            rows.append(TwinRow(device=device, prop=prop, body=encode_state(marked)))
            if place in self.told:
                reports.append(reported_report(device, prop, state))
            if place in self.wanted and state.desired is not None:
                reports.append(desired_report(device, prop, state, self.wanted[place]))
        for device, told in self.states.items():
            key = f"{device.namespace}/{device.name}"
            body = encode_device_state(told)
            reports.append(NewReport(report_class="state", kind="device_state", key=key, body=body))
        return EdgeBatch(
            reports=tuple(reports),
            readings=tuple(self.telemetry),
            pushes=tuple(self.pushes),
            twins=tuple(rows),
            twin_deletes=tuple(sorted(self.gone)),
            meta=((META_TOLD_EPOCH, self.epoch),) if self.epoch else (),
        )


def name_of_device(device: Key, uid: str, owner: int = 0) -> DeviceName:
    return DeviceName(namespace=device.namespace, name=device.name, uid=uid, owner=owner)


def reported_report(device: Key, prop: str, state: TwinState) -> NewReport:
    """What the cloud's twin is to show."""
    body = encode_twin_reported(
        TwinReported(
            device=name_of_device(device, state.uid, state.owner),
            prop=prop,
            reported=state.reported,
            observed=state.desired,
            ack=state.ack,
        )
    )
    key = series_of(device.namespace, device.name, prop)
    return NewReport(report_class="state", kind="twin_reported", key=key, body=body)


def desired_report(device: Key, prop: str, state: TwinState, policy: Policy) -> NewReport:
    """What the cloud is to merge into its Device."""
    assert state.desired is not None
    report = TwinDesired(device=name_of_device(device, state.uid), prop=prop, desired=state.desired, policy=policy)
    key = series_of(device.namespace, device.name, prop)
    return NewReport(report_class="state", kind="twin_desired", key=key, body=encode_twin_desired(report))
