"""What goes wrong, and what people do meanwhile: carries out a schedule in a world, heals it, looks at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.sim.edge import SMALL_BUDGETS, Edge
from tests.sim.releases import NEWEST
from tests.sim.schedule import FAULTS_S, QUIET_S_MAX, Action, Schedule, drawn
from tests.sim.world import Plant, World

__all__ = ["FAULTS_S", "QUIET_S_MAX", "Hands", "play", "prepared", "simulate"]


def simulate(seed: int, *, plant: Plant | None = None) -> World:
    """One whole run: faults, healing, quiet, and the final look. Raises `BrokenPromiseError`."""
    return play(drawn(seed), plant=plant)


def play(schedule: Schedule, *, plant: Plant | None = None) -> World:
    """The same for a schedule."""
    world, end_s = prepared(schedule, plant=plant)
    world.run(end_s)
    return world


def prepared(schedule: Schedule, *, plant: Plant | None = None) -> tuple[World, float]:
    """A world in which all of a schedule is still to come, the final look included; and when that is."""
    world = World(
        schedule.seed,
        edges=schedule.edges,
        replicas=schedule.replicas,
        versions=schedule.versions,
        cloud_version=schedule.cloud_version,
        plant=plant,
        budgets=SMALL_BUDGETS if schedule.small_outbox else None,
    )
    hands = Hands(world)
    for action in schedule.actions:
        world.at(action.at_s, lambda action=action: hands.act(action), f"action: {action}")
    world.at(schedule.faults_s, hands.heal, "action: everything heals")
    end_s = schedule.faults_s + QUIET_S_MAX
    world.at(end_s, world.checkers.final, "the final look")
    return world, end_s


class Hands:
    """Do what a schedule says. Every verb is a method of the same name."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.backup_held = world.cloud.disk.copy()
        self.copies: dict[str, object] = {}
        """Images of cards, by edge."""
        self.healed = False

    def act(self, action: Action) -> None:
        args: dict[str, Any] = dict(action.args)
        if "edge" in args and action.verb not in ("pod", "command"):
            args["edge"] = self._edge(args["edge"])
        if "replica" in args:
            args["replica"] = self.world.cloud.replicas[args["replica"]]
        do: Callable[..., None] = getattr(self, action.verb)
        do(**args)

    def _edge(self, name: str) -> Edge:
        return next(edge for edge in self.world.edges if edge.name == name)

    # --- people and devices ---

    def config(self, name: str, text: str) -> None:
        self.world.config(name, text)

    def pod(self, name: str, edge: str, configs: list[str], text: str) -> None:
        """A pod that is leaving is not written over."""
        held = self.world.cloud.disk.objects
        if not any(key.name == name and b"deletionTimestamp" in held[key].body for key in held):
            self.world.pod(name, edge, *configs, text=text)

    def service(self, name: str) -> None:
        self.world.service(name)

    def command(self, name: str, edge: str, expires_s: int) -> None:
        self.world.command(name, edge, expires_s)

    def delete(self, resource: str, name: str) -> None:
        self.world.delete(resource, name)

    def force_delete(self, name: str) -> None:
        self.world.force_delete(name)

    def backup(self) -> None:
        self.backup_held = self.world.cloud.disk.copy()

    def sense(self, edge: Edge) -> None:
        edge.sense()

    # --- links ---

    def cut(self, edge: Edge) -> None:
        if edge.link is not None:
            edge.link.cut()

    def cut_at_frame(self, edge: Edge, frames: int) -> None:
        if edge.link is not None:
            edge.link.cut_at_frame = edge.link.frames + frames

    def half_open(self, edge: Edge, *, up: bool, down: bool) -> None:
        if edge.link is not None:
            edge.link.half_open(up=up, down=down)

    def block(self, edge: Edge, off_s: float) -> None:
        edge.blocked = True
        self.cut(edge)
        self.world.after(off_s, lambda: setattr(edge, "blocked", False), f"{edge.name}: there is a route again")

    def slow(self, factor: float) -> None:
        self.world.slow = factor

    # --- gateways ---

    def crash_agent(self, edge: Edge, off_s: float) -> None:
        edge.crash_agent()
        self._restart(edge, off_s)

    def last_words(self, edge: Edge, off_s: float) -> None:
        """They are still on their way when it is back."""
        edge.sense()
        self.crash_agent(edge, off_s)

    def cut_power(self, edge: Edge, off_s: float, *, battery: bool, lands: bool) -> None:
        edge.cut_power(battery=battery, lands=lands)
        self._restart(edge, off_s)

    def brownout(self, edge: Edge, off_s: float, up_s: float) -> None:
        """Power comes back for a while, without a route and with the clock at 1970, and goes again."""
        edge.blocked = True
        self.cut_power(edge, off_s, battery=False, lands=False)
        self.world.after(off_s + up_s, lambda: self._lit_again(edge, off_s), f"{edge.name}: power goes again")

    def _lit_again(self, edge: Edge, off_s: float) -> None:
        self.cut_power(edge, off_s, battery=False, lands=False)
        edge.blocked = False

    def new_disk(self, edge: Edge, off_s: float) -> None:
        """And throws away what image there was of the old one: the cloud keeps nothing of a life that was followed by
        another (decision 0228)."""
        self.copies.pop(edge.name, None)
        edge.reset_disk()
        self._restart(edge, off_s)

    def copy_disk(self, edge: Edge) -> None:
        """Somebody takes an image of its card."""
        self.copies[edge.name] = edge.store.snapshot()

    def set_back(self, edge: Edge, off_s: float) -> None:
        """And puts it back."""
        if edge.name in self.copies:
            edge.cut_power(battery=True)
            edge.restore_copy(self.copies[edge.name])
            self._restart(edge, off_s)

    def change_agent(self, edge: Edge, version: int, off_s: float) -> None:
        """Another release is installed, over the same store."""
        edge.crash_agent()
        edge.version = version
        self._restart(edge, off_s)

    def step_clock(self, edge: Edge, ms: int) -> None:
        edge.clock.wall_off_ms += ms

    def _restart(self, edge: Edge, delay_s: float) -> None:
        life = edge.life
        self.world.after(
            delay_s,
            lambda: edge.start() if edge.life == life and not edge.agent_up else None,
            f"{edge.name}: the agent starts",
        )

    # --- the cloud ---

    def crash_cloud(self, off_s: float) -> None:
        self.world.cloud.crash()
        self.world.after(off_s, self.world.cloud.start, "the cloud starts")

    def crash_replica(self, replica: Any, off_s: float) -> None:
        replica.crash()
        self.world.after(off_s, replica.start, f"{replica.name} starts")

    def pause_replica(self, replica: Any, off_s: float) -> None:
        replica.pause()
        self.world.after(off_s, replica.resume, f"{replica.name} goes on")

    def lag(self, replica: Any, factor: float) -> None:
        replica.lag = factor

    def upgrade_cloud(self, off_s: float) -> None:
        """From the first release to this one: stopped, migrated, started."""
        self.world.cloud_version = NEWEST
        self.crash_cloud(off_s)

    def compact(self) -> None:
        self.world.cloud.compact()

    def restore(self, off_s: float) -> None:
        self.world.cloud.restore(self.backup_held)
        self.world.after(off_s, self.world.cloud.start, "the restored cloud starts")

    def heal(self) -> None:
        """No more faults; whatever is down comes up, whatever stands still goes on."""
        self.healed = True
        self.world.slow = 1.0
        for replica in self.world.cloud.replicas:
            replica.lag = 1.0
            replica.resume()
            self.world.after(0.5, replica.start, f"{replica.name} starts")
            self.world.after(1.0, lambda r=replica: r.awake(r.follow), f"{replica.name}: follows the log")
        for edge in self.world.edges:
            edge.blocked = False
            if not edge.agent_up:
                edge.start()
