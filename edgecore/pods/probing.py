"""Asks the containers of one pod how they are, each probe in its own rhythm; what follows is `probes.py`'s to say.

Keeps in memory what the answers led to. A restarted agent begins with what was told the cloud of the same run: who
was ready stays so until a probe fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from edgecore.pods.asking import Answer, Asking, Whom
from edgecore.pods.containers import wanted_of
from edgecore.pods.events import Happening
from edgecore.pods.handlers import handler_of
from edgecore.pods.port import ContainerState
from edgecore.pods.probes import Health, Kind, Probe, Progress, first_progress, health_of, is_asked, probes_of
from skerry.errors import InvalidError
from skerry.frozen import Frozen, replace
from skerry.objects.json import JsonObject
from skerry.ports import Clock


class Known(Frozen):
    """What was told of a run before this agent was there."""

    started: bool
    ready: bool


@dataclass(slots=True, kw_only=True, eq=False)
class _Run:
    """One run of a container that has probes."""

    state: ContainerState
    spec: JsonObject
    since_s: float
    """When it was started, by the monotonic clock."""
    probes: dict[Kind, Probe]
    progress: dict[Kind, Progress]
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """It has started."""
    tasks: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])
    told: dict[Kind, str] = field(default_factory=dict[Kind, str])
    """What was last told of failures, by probe: not again at each of them."""

    @property
    def health(self) -> Health:
        pairs = tuple((probe, self.progress[kind]) for kind, probe in self.probes.items())
        return health_of(pairs, started=self.begun.is_set())


class Probing:
    """See the module."""

    def __init__(
        self, asking: Asking, clock: Clock, changed: Callable[[], None], happened: Callable[[Happening], None]
    ) -> None:
        """`changed`: the health of some container is another now."""
        self._asking = asking
        self._clock = clock
        self._changed = changed
        self._happened = happened
        self._runs: dict[str, _Run] = {}
        self._address = ""
        self._ending = False

    def sync(
        self,
        pod: JsonObject,
        running: Iterable[ContainerState],
        known: Callable[[ContainerState], Known | None],
        tasks: asyncio.TaskGroup,
        *,
        address: str,
        ending: bool,
    ) -> None:
        """Probe these from now on and no others. Of who has ended its health is kept until another run follows."""
        self._address = address
        self._ending = ending
        specs = {one.name: one.spec for one in wanted_of(pod) if one.part != "init"}
        here = {state.id: state for state in running if state.name in specs}
        renewed = {state.name for state in here.values() if state.id not in self._runs}
        for container_id, run in list(self._runs.items()):
            if container_id not in here:
                _cancel(run)
                if run.state.name in renewed:
                    del self._runs[container_id]
        for container_id, state in here.items():
            if container_id not in self._runs and (probes := probes_of(specs[state.name])):
                self._runs[container_id] = self._begin(state, specs[state.name], probes, known(state), tasks)

    def _begin(
        self,
        state: ContainerState,
        spec: JsonObject,
        probes: tuple[Probe, ...],
        known: Known | None,
        tasks: asyncio.TaskGroup,
    ) -> _Run:
        age_s = max(self._clock.wall_ms() - state.started_ms, 0) / 1000
        run = _Run(
            state=state,
            spec=spec,
            since_s=self._clock.monotonic_s() - age_s,
            probes={probe.kind: probe for probe in probes},
            progress={probe.kind: first_progress(probe) for probe in probes},
        )
        if "startup" not in run.probes or (known is not None and known.started):
            run.begun.set()
        if known is not None and known.ready and "readiness" in run.progress:
            run.progress["readiness"] = replace(run.progress["readiness"], good=True)
        run.tasks = [tasks.create_task(self._watch(run, probe)) for probe in probes]
        return run

    def health(self) -> dict[str, Health]:
        """By container id, of all that are probed."""
        return {container_id: run.health for container_id, run in self._runs.items()}

    def close(self) -> None:
        """Ask nobody any more."""
        for run in self._runs.values():
            _cancel(run)

    async def _watch(self, run: _Run, probe: Probe) -> None:
        if probe.kind != "startup":
            await run.begun.wait()
        await asyncio.sleep(max(probe.initial_delay_s - self._age_s(run), 0.0))
        while not (probe.kind == "startup" and run.begun.is_set()):
            began_s = self._clock.monotonic_s()
            if self._is_asked(run, probe):
                await self._ask(run, probe)
            took_s = self._clock.monotonic_s() - began_s
            await asyncio.sleep(max(probe.period_s - took_s, 0.0))

    def _age_s(self, run: _Run) -> float:
        return self._clock.monotonic_s() - run.since_s

    def _is_asked(self, run: _Run, probe: Probe) -> bool:
        return is_asked(
            probe,
            run.progress[probe.kind],
            started=run.begun.is_set(),
            running_s=max(self._age_s(run), float(probe.initial_delay_s)),  # it was waited for, by another clock
            ending=self._ending,
        )

    async def _ask(self, run: _Run, probe: Probe) -> None:
        before = run.health
        answer = await self._answer(run, probe)
        self._tell(run, probe, answer)
        if answer.outcome == "error":
            return
        good = answer.outcome in ("success", "warning")
        run.progress[probe.kind] = run.progress[probe.kind].after(probe, good=good, message=answer.text)
        if run.health.started:
            run.begun.set()
        if run.health != before:
            self._changed()

    async def _answer(self, run: _Run, probe: Probe) -> Answer:
        try:
            handler = handler_of(probe.source, run.spec)
        except InvalidError as error:
            return Answer(outcome="error", text=str(error))
        whom = Whom(container_id=run.state.id, address=self._address)
        return await self._asking.probe(handler, whom, timeout_s=float(probe.timeout_s))

    def _tell(self, run: _Run, probe: Probe, answer: Answer) -> None:
        """Once for the same words in a row: an outbox is not to fill with them while there is no link."""
        kind = probe.kind.capitalize()
        match answer.outcome:
            case "success":
                text = ""
            case "warning":
                text = f"{kind} probe warning: {answer.text}"
            case "failure":
                text = f"{kind} probe failed: {answer.text}"
            case "error":
                text = f"{kind} probe errored and resulted in unknown state: {answer.text}"
        if text and run.told.get(probe.kind) != text:
            reason = "ProbeWarning" if answer.outcome == "warning" else "Unhealthy"
            self._happened(Happening(reason=reason, message=text, container=run.state.name, warning=True))
        run.told[probe.kind] = text


def _cancel(run: _Run) -> None:
    for task in run.tasks:
        task.cancel()
    run.tasks = []
