"""What goes wrong, and what people do meanwhile: drawn from the world's own chance."""

from __future__ import annotations

from tests.sim.edge import SMALL_BUDGETS, Edge
from tests.sim.world import Plant, World

FAULTS_S = 300.0
"""How long things go wrong."""
QUIET_S_MAX = 200.0
"""Within which a healed world must have become quiet (a full backoff, silence, a greeting and the work itself)."""


def simulate(seed: int, *, plant: Plant | None = None) -> World:
    """One whole run: faults, healing, quiet, and the final look. Raises `BrokenPromiseError`."""
    world = World(seed, plant=plant, budgets=SMALL_BUDGETS if seed % 5 == 0 else None)
    faults = Faults(world)
    world.after(0.0, faults.people)
    world.after(world.random.uniform(1, 20), faults.strike)
    for edge in world.edges:
        world.after(1.0, lambda edge=edge: faults.devices(edge))
    world.run(FAULTS_S)
    faults.heal()
    world.run(QUIET_S_MAX)
    world.checkers.final()
    return world


class Faults:
    """The hands of fate in one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = world.random
        self.backup = world.cloud.disk.copy()
        self.going = True

    def people(self) -> None:
        """Somebody changes something in the cloud."""
        world, random = self.world, self.random
        name = str(random.randrange(6))
        match random.randrange(12):
            case 0 | 1 | 2 | 3:
                world.config(f"config-{name}", "x" * random.randrange(200))
            case 4 | 5 | 6:
                edge = random.choice(world.edges)
                pod = f"pod-{edge.name}-{name}"
                configs = sorted({f"config-{random.randrange(6)}" for _ in range(random.randrange(3))})
                held = world.cloud.disk.objects
                if not any(key.name == pod and b"deletionTimestamp" in held[key].body for key in held):
                    world.pod(pod, edge.name, *configs, text=str(random.random()))
            case 7:
                world.delete("configmaps", f"config-{name}")
            case 8 | 9:
                world.delete("pods", f"pod-{random.choice(world.edges).name}-{name}")
            case 10:
                world.force_delete(f"pod-{random.choice(world.edges).name}-{name}")
            case _:
                world.service(f"service-{name}")
        if random.random() < 0.05:
            self.backup = world.cloud.disk.copy()
        if self.going or random.random() < 0.7:
            world.after(random.uniform(0.05, 4.0), self.people)

    def devices(self, edge: Edge) -> None:
        edge.sense()
        if self.going:
            self.world.after(self.random.uniform(0.3, 4.0), lambda: self.devices(edge))

    def strike(self) -> None:
        if not self.going:
            return
        world, random = self.world, self.random
        edge = random.choice(world.edges)
        link = edge.link
        match random.randrange(14):
            case 0 | 1 if link is not None:
                link.cut()
            case 2 if link is not None:
                link.cut_at_frame = link.frames + random.randrange(1, 12)
            case 3 | 4 if link is not None:
                link.half_open(up=random.random() < 0.6, down=random.random() < 0.6)
            case 5:
                edge.crash_agent()
                self._restart(edge, random.uniform(0.01, 10))
            case 6:
                edge.sense()  # its last words are still on their way when it is back
                edge.crash_agent()
                self._restart(edge, random.uniform(0.01, 0.3))
            case 7:
                edge.cut_power(battery=random.random() < 0.5)
                self._restart(edge, random.uniform(1, 30))
            case 8 if random.random() < 0.3:
                edge.reset_disk()
                self._restart(edge, random.uniform(1, 10))
            case 9:
                world.cloud.crash()
                world.after(random.uniform(0.5, 20), world.cloud.start)
            case 10:
                world.cloud.compact()
            case 11 if random.random() < 0.3:
                world.cloud.restore(self.backup)
                world.after(random.uniform(0.5, 10), world.cloud.start)
            case 12:
                edge.clock.wall_off_ms += random.choice((-86_400_000, -3_600_000, 7_200_000))
            case _:
                edge.blocked = True
                if link is not None:
                    link.cut()
                world.after(random.uniform(5, 80), lambda: setattr(edge, "blocked", False))
        world.slow = random.choice((1.0, 1.0, 0.2, 5.0))
        world.after(random.uniform(0.2, 40), self.strike)

    def _restart(self, edge: Edge, delay_s: float) -> None:
        life = edge.life
        self.world.after(delay_s, lambda: edge.start() if edge.life == life and not edge.agent_up else None)

    def heal(self) -> None:
        """No more faults; whatever is down comes up."""
        self.going = False
        self.world.slow = 1.0
        if self.random.random() < 0.25:
            self.world.cloud.restore(self.backup)
        if not self.world.cloud.up:
            self.world.cloud.start()
        for edge in self.world.edges:
            edge.blocked = False
            if not edge.agent_up:
                edge.start()
