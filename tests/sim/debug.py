"""A debugger for one world: `python -m tests.sim.debug SEED|FILE [--plant BUG]`, or `make sim-debug SEED=17`.

It steps from event to event, runs to a time, a kind of frame, an edge or a broken promise, and shows what each side
holds. Going back is playing the schedule again up to the event before, for a world is the same each time. Commands
come from a terminal, with completion, or from a pipe.
"""

from __future__ import annotations

import argparse
import cmd
import sys
from collections.abc import Callable
from typing import IO

from tests.sim.checkers import PROMISES
from tests.sim.cloud import Replica
from tests.sim.edge import Edge
from tests.sim.faults import prepared
from tests.sim.schedule import Schedule, schedule_of
from tests.sim.world import Plant

FRAMES = (
    *("Hello", "Welcome", "Compare", "Stamps", "Fetch", "Objects", "Ack", "Reports", "Receipt"),
    *("Ping", "Pong", "Close"),
)


class Debugger(cmd.Cmd):
    """See the module. Every `do_` is a command."""

    intro = "Type help, or a command; an empty line repeats the last."
    prompt = "(sim) "

    def __init__(self, schedule: Schedule, plant: Plant | None, out: IO[str], lines: IO[str] | None = None) -> None:
        super().__init__(stdin=lines, stdout=out)
        self.use_rawinput = lines is None
        self._schedule = schedule
        self._plant = plant
        self._breaks: list[str] = []
        self._start()

    def _start(self) -> None:
        self.world, self.end_s = prepared(self._schedule, plant=self._plant)
        self.world.recording = True
        self.number = 0
        self.broken = ""

    # --- going on and back ---

    def _over(self) -> bool:
        return bool(self.broken) or self.world.next_s is None or self.world.next_s > self.end_s

    def _one(self) -> tuple[str, list[str]]:
        """The next event: what it was, and what was sent in it."""
        said = len(self.world.transcript)
        about = self.world.next_about
        self.number += 1
        try:
            self.world.step()
        except Exception as error:
            self.broken = str(error) or type(error).__name__
        return about, self.world.transcript[said:]

    def _go(self, enough: Callable[[str, list[str]], bool]) -> None:
        """Go on until it is enough, a break is met, or it is over; tell the last event."""
        if self._ended():
            return
        about, sent = "", []
        while not self._over():
            about, sent = self._one()
            if enough(about, sent) or any(wanted in line for wanted in self._breaks for line in (about, *sent)):
                break
        self._tell(about, sent)

    def _tell(self, about: str, sent: list[str]) -> None:
        self._say(f"#{self.number} {self.world.now_s:.3f} s {about or 'an event'}")
        for line in sent:
            self._say(f"    {line}")
        if self.broken:
            self._say(f"** {self.broken}")
            self._say("   look: state, differ, transcript 30; before it: back 5; what led here: actions")
        elif self._over():
            self._say("the end: every promise holds")

    def _say(self, text: str) -> None:
        print(text, file=self.stdout)

    def _number(self, text: str, default: float) -> float | None:
        try:
            return float(text) if text else default
        except ValueError:
            self._say(f"{text!r} is no number")
            return None

    def _ended(self) -> bool:
        """Whether nothing comes after this, and if so, what to do instead."""
        if self._over():
            self._say(f"it is over: {self.broken or 'every promise holds'}; back and goto lead to what was before")
        return self._over()

    def do_step(self, text: str) -> None:
        """step [N]: the next event, or the next N."""
        count = self._number(text, 1)
        if count is None or self._ended():
            return
        for _ in range(round(count)):
            if self._over():
                break
            self._tell(*self._one())

    def do_run(self, text: str) -> None:
        """run [SECONDS]: go on to that time of the world; without one, to the end, a break or a broken promise."""
        until_s = self._number(text, self.end_s)
        if until_s is not None:
            self._go(lambda about, sent: self.world.next_s is None or self.world.next_s > until_s)

    def do_until(self, text: str) -> None:
        """until TEXT: go on until an event or a frame has the text: Objects, edge-2, cut_power, in_step=false ..."""
        if not text:
            self._say("until what? A kind of frame, the name of an edge or replica, a verb, any text")
            return
        self._go(lambda about, sent: any(text in line for line in (about, *sent)))

    def do_break(self, text: str) -> None:
        """break TEXT: stop wherever an event or a frame has the text. break: list. break -: forget all."""
        if text == "-":
            self._breaks.clear()
        elif text:
            self._breaks.append(text)
        self._say(f"stops at: {', '.join(self._breaks) or 'nothing'}")

    def do_goto(self, text: str) -> None:
        """goto N: play again from the beginning up to event N."""
        wanted = self._number(text, 0)
        if wanted is None:
            return
        if wanted < self.number or self.number == 0:
            self._start()
        elif wanted == self.number or self._ended():
            return
        about, sent = "the beginning", list[str]()
        while self.number < wanted and not self._over():
            about, sent = self._one()
        self._tell(about, sent)

    def do_back(self, text: str) -> None:
        """back [N]: to N events before this one."""
        count = self._number(text, 1)
        if count is not None:
            self.do_goto(str(max(0, self.number - round(count))))

    # --- looking ---

    def do_state(self, text: str) -> None:
        """state [NAME]: what an edge or a replica is at, its link too, or everybody."""
        if not self._known(text):
            return
        for edge in self.world.edges:
            if text in ("", edge.name):
                self._edge(edge)
        for replica in self.world.cloud.replicas:
            if text in ("", replica.name):
                self._replica(replica)

    def _known(self, name: str) -> bool:
        names = [edge.name for edge in self.world.edges] + [one.name for one in self.world.cloud.replicas]
        if name and name not in names:
            self._say(f"nobody is called {name!r}: {', '.join(names)}")
        return not name or name in names

    def do_differ(self, text: str) -> None:
        """differ [EDGE]: what an edge should hold and does not, by the view of each replica."""
        if not self._known(text):
            return
        for edge in self.world.edges:
            held = dict(edge.store.stamps())
            for replica in self.world.cloud.replicas if text in ("", edge.name) else ():
                view = dict(replica.views.view(edge.name).stamps())
                told = [f"lacks {key.name}@{view[key].revision}" for key in view.keys() - held.keys()]
                told += [f"has {key.name}@{held[key].revision} too much" for key in held.keys() - view.keys()]
                other = [key for key in view.keys() & held.keys() if view[key] != held[key]]
                told += [f"holds {key.name}@{held[key].revision}, not @{view[key].revision}" for key in other]
                self._say(f"{edge.name} by {replica.name}: {'; '.join(sorted(told)) or 'no difference'}")

    def _edge(self, edge: Edge) -> None:
        session = edge.session.state.value if edge.session else "no session"
        up = "up" if edge.agent_up else "down"
        waiting = edge.store.outbox(after=0, limit=100_000)
        reports = " ".join(f"{item.seq}:{item.kind}" for item in waiting[:8])
        self._say(
            f"{edge.name}: agent {up}, release {edge.version}, {session}, dials {edge.policy.address}, "
            f"clock off by {edge.clock.wall_off_ms} ms, {len(edge.writing)} writes outstanding"
        )
        held = " ".join(f"{key.name}@{stamp.revision}" for key, stamp in edge.store.stamps())
        self._say(f"    holds {held or 'nothing'}; runs {' '.join(sorted(edge.pods.running)) or 'nothing'}")
        self._say(f"    outbox {len(waiting)} to {edge.store.outbox_head()}: {reports}")
        if edge.link is not None:
            link = edge.link
            silent = " ".join(name for name, way in (("up", link.up), ("down", link.down)) if way.silent)
            self._say(f"    link: {link.frames} frames, {link.bytes_sent} bytes, silent: {silent or 'no way'}")

    def _replica(self, replica: Replica) -> None:
        how = "stands still" if replica.paused else "up" if replica.up else "down"
        disk = self.world.cloud.disk
        self._say(
            f"{replica.name}: {how}, release {replica.version}, views at {replica.views.revision} of "
            f"{disk.revision}, {len(replica.backlog)} events wait"
        )
        for served in replica.open:
            machine = served.machine
            self._say(
                f"    {served.edge.name}: session {served.number} {served.state}, {machine.waiting} keys to push, "
                f"{machine.unacknowledged} batches unacknowledged, {served.committing} commits"
            )

    def do_store(self, text: str) -> None:
        """store: what the cloud's store holds: objects, and what of each outbox was received."""
        disk = self.world.cloud.disk
        self._say(f"{disk.epoch} revision {disk.revision}, {len(disk.effects)} reports took effect")
        self._say("    " + " ".join(f"{key.name}@{stored.revision}" for key, stored in disk.objects.items()))
        for node, lives in disk.lives.items():
            for incarnation, life in lives.items():
                self._say(f"    {node} {incarnation}: session {life.session}, received {life.received.text}")

    def do_transcript(self, text: str) -> None:
        """transcript [EDGE] [N]: the last N frames (20), of one edge or of all."""
        *names, last = text.split() or ["20"]
        if not last.isdecimal():
            names, last = [*names, last], "20"
        if len(names) > 1 or int(last) < 1 or not all(self._known(name) for name in names):
            self._say("transcript [EDGE] [N]: such as transcript edge-1 30")
            return
        lines = [line for line in self.world.transcript if not names or f" {names[0]} " in line]
        for line in lines[-int(last) :]:
            self._say(line)

    def do_actions(self, text: str) -> None:
        """actions [TEXT]: those of the schedule, or those with the text; what is done is marked."""
        found = [action for action in self._schedule.actions if text in str(action)]
        for action in found:
            self._say(f"{'x' if action.at_s <= self.world.now_s else ' '} {action}")
        if not found:
            verbs = sorted({action.verb for action in self._schedule.actions})
            self._say(f"no action has {text!r}; there are {', '.join(verbs)}")

    def do_promises(self, text: str) -> None:
        """promises: their numbers and names."""
        for number, name in PROMISES.items():
            self._say(f"{number:3} {name}")

    def do_quit(self, text: str) -> bool:
        """quit: leave."""
        return True

    do_EOF = do_quit  # noqa: N815 (cmd's name for the end of input)

    # --- comfort ---

    def do_help(self, arg: str) -> None:
        """help [COMMAND]: this."""
        names = [name.removeprefix("do_") for name in self.get_names() if name.startswith("do_") and name != "do_EOF"]
        if arg and arg not in names:
            self._say(f"no command {arg!r}: {', '.join(names)}")
            return
        for name in [arg] if arg else names:
            self._say(f"  {getattr(self, f'do_{name}').__doc__}")

    def _names(self, text: str) -> list[str]:
        sides = [edge.name for edge in self.world.edges] + [one.name for one in self.world.cloud.replicas]
        verbs = sorted({action.verb for action in self._schedule.actions})
        return [name for name in (*FRAMES, *sides, *verbs) if name.startswith(text)]

    def completedefault(self, *ignored: object) -> list[str]:
        return self._names(str(ignored[0]) if ignored else "")

    def default(self, line: str) -> None:
        self._say(f"no command {line.split()[0]!r}: help lists them")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.debug", description=__doc__)
    parser.add_argument("what", help="a seed, or a file of a schedule")
    plants = [name for name, kind in Plant.__annotations__.items() if kind == "bool"]
    parser.add_argument("--plant", choices=plants, default="", metavar="BUG", help=f"one of {', '.join(plants)}")
    given = parser.parse_args()
    try:
        schedule = schedule_of(given.what)
        plant = Plant(**{given.plant: True}) if given.plant else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{given.what}: no seed, and no schedule that can be read: {error}", file=sys.stderr)
        return 2
    piped = None if sys.stdin.isatty() else sys.stdin
    try:
        Debugger(schedule, plant, sys.stdout, piped).cmdloop()
    except KeyboardInterrupt:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
