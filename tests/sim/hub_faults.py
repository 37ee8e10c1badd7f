"""What goes wrong with several hubs and their gateways, drawn from a seed before it happens, and carried out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Final

from skerry.testkit.simulated.loop import VirtualLoop
from skerry.testkit.simulated.transcript import Transcript
from tests.sim.hub_checkers import CALM_S, LOOKS_S, MUTE_S
from tests.sim.hubs import HubPlant, HubWorld
from tests.sim.schedule import Action, Value

FAULTS_S: Final = 400.0
"""How long things go wrong."""
RESTARTS_S: Final = 15.0
"""The hub that dies at the end is away so long."""
QUIET_S: Final = RESTARTS_S + CALM_S + MUTE_S
"""After which all is as it should be: whoever waits longest to dial has dialled, and who is gone is known to be."""
TOLD: Final = 200
"""Lines of the transcript of a world that broke a promise."""
GATEWAYS: Final = 3
BEGIN_S: Final = 60.0
"""Until then all is well."""
VERBS: Final = {
    "kill_hub": 4,
    "stop_hub": 3,
    "hang_hub": 4,
    "lose_database": 6,
    "slow_database": 3,
    "no_database": 1,
    "cut": 4,
    "half_open": 4,
    "kill_gateway": 4,
    "move": 5,
}
"""How often each is drawn, beside the others."""


def hubs_of(seed: int) -> int:
    return 2 + seed % 2


def drawn(seed: int) -> Sequence[Action]:
    """What happens in this world, in order."""
    random = Random(f"hubs/{seed}")
    every_s = random.choice((15.0, 40.0, 90.0))
    actions: list[Action] = []
    at_s = BEGIN_S + random.expovariate(1 / every_s)
    while at_s < FAULTS_S:
        (verb,) = random.choices(list(VERBS), list(VERBS.values()))
        spans_s = (5, 130) if verb == "lose_database" else (1, 10, 50, 130)
        args: dict[str, Value] = {"off_s": round(random.choice(spans_s) * (0.5 + random.random()), 3)}
        if verb in ("cut", "half_open", "kill_gateway", "move"):
            args["node"] = f"eu-{random.randrange(GATEWAYS)}"
        elif verb != "no_database":
            args["hub"] = f"hub-{random.randrange(hubs_of(seed))}"
        if verb == "half_open":
            args["ways"] = random.choice((["up"], ["down"], ["up", "down"]))
        if verb in ("kill_hub", "kill_gateway"):
            args["power"] = random.random() < 0.5
        actions.append(Action(at_s=round(at_s, 3), verb=verb, args=args))
        at_s += random.expovariate(1 / every_s)
    return actions


class HubHands:
    """Do what a schedule says. Every verb is a method of the same name; what it did is undone after `off_s`."""

    def __init__(self, world: HubWorld) -> None:
        self.world = world

    def act(self, action: Action) -> None:
        self.world.transcript.note("==", str(action))
        getattr(self, action.verb)(**action.args)

    def _after(self, off_s: float, what: object) -> None:
        asyncio.get_running_loop().call_later(off_s, what)  # pyright: ignore[reportArgumentType]

    # --- hubs ---

    def kill_hub(self, hub: str, off_s: float, power: bool) -> None:
        host = self.world.hubs[hub]
        self.world.checkers.disturbed(hub)
        host.kill(power=power)
        self._after(off_s, lambda: self._start(hub))

    def stop_hub(self, hub: str, off_s: float) -> None:
        self.world.checkers.disturbed(hub)
        self.world.hubs[hub].stop()
        self._after(off_s, lambda: self._start(hub))

    def _start(self, hub: str) -> None:
        self.world.checkers.disturbed(hub)
        self.world.hubs[hub].start()

    def hang_hub(self, hub: str, off_s: float) -> None:
        self.world.hubs[hub].hang()
        self._after(off_s, self.world.hubs[hub].go_on)

    def lose_database(self, hub: str, off_s: float) -> None:
        self.world.hubs[hub].cut_off = True
        self._after(off_s, lambda: setattr(self.world.hubs[hub], "cut_off", False))

    def slow_database(self, hub: str, off_s: float) -> None:
        self.world.hubs[hub].slow_s = 4.0
        self._after(off_s, lambda: setattr(self.world.hubs[hub], "slow_s", 0.0))

    def no_database(self, off_s: float) -> None:
        for hub in self.world.hubs:
            self.lose_database(hub, off_s)

    # --- links ---

    def cut(self, node: str, off_s: float) -> None:
        for hub in self.world.hubs:
            self.world.routes[node, hub].cut()
            self._after(off_s, self.world.routes[node, hub].healed)

    def half_open(self, node: str, off_s: float, ways: list[str]) -> None:
        for hub in self.world.hubs:
            self.world.routes[node, hub].faults.half_open(up="up" in ways, down="down" in ways)
            self._after(off_s, self.world.routes[node, hub].healed)

    def move(self, node: str, off_s: float) -> None:
        """The way to the hub where it is breaks, without a word: it dials another."""
        hub = self.world.hub_of(node)
        if hub is not None:
            route = self.world.routes[node, hub.name]
            route.faults.half_open(up=True, down=True)
            route.hang_up("up", power=False)
            self._after(off_s, route.healed)

    # --- gateways ---

    def kill_gateway(self, node: str, off_s: float, power: bool) -> None:
        self.world.gateways[node].kill(power=power)
        self._after(off_s, self.world.gateways[node].start)

    # --- the end ---

    def heal(self, *, leave_down: str) -> None:
        """One gateway never comes back, and with it dies the hub where it was."""
        hub = self.world.hub_of(leave_down)
        for name, hub in self.world.hubs.items():
            hub.go_on()
            hub.cut_off, hub.slow_s = False, 0.0
            self._start(name)
        for route in self.world.routes.values():
            route.healed()
        for node, gateway in self.world.gateways.items():
            if node == leave_down:
                gateway.kill(power=False)
            else:
                gateway.start()
        if hub is not None:
            self.kill_hub(hub.name, RESTARTS_S, power=False)


def simulate(seed: int, plant: HubPlant | None = None, actions: Sequence[Action] | None = None) -> HubWorld:
    """One whole run: faults, healing, quiet, and the final look. Raises `BrokenHubPromiseError`."""
    loop = VirtualLoop()
    transcript = Transcript(loop)
    try:
        return loop.do(
            _played(loop, transcript, seed, plant or HubPlant(), drawn(seed) if actions is None else actions)
        )
    finally:
        transcript.close()
        loop.close()


async def _played(
    loop: VirtualLoop, transcript: Transcript, seed: int, plant: HubPlant, actions: Sequence[Action]
) -> HubWorld:
    world = HubWorld(loop=loop, seed=seed, plant=plant, transcript=transcript)
    hands = HubHands(world)
    await world.begin(hubs_of(seed), GATEWAYS)
    for action in actions:
        loop.call_at(action.at_s, hands.act, action)
    down = f"eu-{seed % GATEWAYS}"
    loop.call_at(FAULTS_S, lambda: hands.heal(leave_down=down))
    end_s = FAULTS_S + QUIET_S
    while loop.time() < end_s and world.checkers.broken is None:
        await asyncio.sleep(LOOKS_S)
        world.checkers.look()
    if world.checkers.broken is None:
        world.checkers.final()
    world.end()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    if world.checkers.broken is not None:
        world.checkers.broken.add_note("\n".join(transcript.lines[-TOLD:]))
        raise world.checkers.broken
    return world
