"""Logs of several containers at once, each line with where it is from, and followed over whatever interrupts it.

A thread for each stream reads it and hands lines over; what is printed is printed by one. A stream that breaks off
(the gateway's link, a restart of its container) is taken up again after the last line that was seen, by the time that
the gateway gives each line. Bounded: so many streams, and so many lines that wait.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from skerry.cli.client import Client, path_of
from skerry.cli.pods import POD
from skerry.errors import BadRequestError, NotFoundError, SkerryError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, decode_object, map_at, maps_at, str_at
from skerry.objects.meta import name_of, namespace_of, uid_of

LINES_MAX: Final = 1000
AGAIN_S: Final = 1.0
REFUSED_S: Final = 2.0
"""A log that fails so soon, with nothing read, was refused and not broken off."""
_ENDED: Final = ("Succeeded", "Failed")


class Source(Frozen):
    """One container of one life of a pod."""

    namespace: str
    pod: str
    uid: str
    container: str

    @property
    def prefix(self) -> str:
        """As kubectl writes it."""
        return f"[pod/{self.pod}/{self.container}] "


class Wanted(Frozen):
    """What of each log."""

    query: Mapping[str, str]
    follow: bool = False
    timestamps: bool = False


def moment_of(line: bytes) -> str:
    """The time that a line begins with, in a form that sorts; "" for none."""
    text = line.partition(b" ")[0].decode(errors="replace")
    head, dot, fraction = text.removesuffix("Z").partition(".")
    if len(head) != 19 or not text.endswith("Z"):
        return ""
    return f"{head}.{(fraction if dot else '').ljust(9, '0')}"


class Resumed:
    """What is new in a log that is read again from a time on."""

    def __init__(self) -> None:
        self.last = ""

    def new(self, line: bytes) -> bool:
        """Whether it was not seen, which it is now. A line without a time always is new."""
        moment = moment_of(line)
        if moment and moment <= self.last:
            return False
        self.last = moment or self.last
        return True

    def query(self, first: Mapping[str, str]) -> dict[str, str]:
        """For the next time: from the last line on, in place of what was asked for at first."""
        if not self.last:
            return dict(first)
        left = {
            name: value for name, value in first.items() if name not in ("sinceSeconds", "tailLines", "sinceTime")
        }
        return {**left, "sinceTime": self.last.partition(".")[0] + "Z"}


def lines_of(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Whole lines with their ends; the last may have none."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line + b"\n" for line in whole)
    if rest:
        yield rest


class Streams:
    """Reads all of them. `on_line` and `on_error` are called in the thread that calls `run`."""

    def __init__(self, client: Client, wanted: Wanted, *, sources_max: int) -> None:
        self._client = client
        self._wanted = wanted
        self._sources_max = sources_max
        self._lines: queue.Queue[tuple[Source, bytes] | Source | SkerryError] = queue.Queue(LINES_MAX)
        self._known: set[Source] = set()
        self._open = 0
        self._counting = threading.Lock()

    def add(self, source: Source) -> None:
        """Read this one too. Raises `BadRequestError` where they are too many."""
        if source in self._known:
            return
        if self._open >= self._sources_max:
            raise BadRequestError(
                f"more than {self._sources_max} logs at once: choose fewer, or say --max-log-requests"
            )
        self._known.add(source)
        self._count(1)
        threading.Thread(target=self._read, args=(source,), daemon=True).start()

    def watch(self, namespace: str, selector: str, containers: Callable[[JsonObject], list[str]]) -> None:
        """Add pods that come later as well."""
        self._count(1)
        threading.Thread(target=self._watch, args=(namespace, selector, containers), daemon=True).start()

    def run(self, on_line: Callable[[Source, bytes], None]) -> None:
        """Until all have ended. Raises what one of them failed with, when all are over or it is the only one."""
        failure: SkerryError | None = None
        while self._open:
            match self._lines.get():
                case Source():
                    self._count(-1)
                case SkerryError() as error:
                    failure = error
                    self._count(-1)
                case (source, line):
                    on_line(source, line)
        if failure is not None:
            raise failure

    def _count(self, more: int) -> None:
        with self._counting:
            self._open += more

    # --- in threads ---

    def _read(self, source: Source) -> None:
        seen = Resumed()
        path = path_of(POD, source.namespace, source.pod, "log")
        began_s = time.monotonic()
        first = {**self._wanted.query, "container": source.container, "timestamps": "true"}
        try:
            while True:
                try:
                    for line in lines_of(self._client.chunks(path, query=seen.query(first))):
                        if seen.new(line):
                            shown = line if self._wanted.timestamps else line.partition(b" ")[2]
                            self._lines.put((source, shown))
                except UnavailableError:
                    at_once = not seen.last and time.monotonic() < began_s + REFUSED_S
                    if at_once or not self._wanted.follow:
                        raise
                if not self._wanted.follow or not self._goes_on(source):
                    break
                time.sleep(AGAIN_S)
        except SkerryError as error:
            self._lines.put(error)
        else:
            self._lines.put(source)

    def _goes_on(self, source: Source) -> bool:
        """Whether there may be more of it: cloud and gateway may be away for a while, and containers restart."""
        try:
            pod = self._client.request("GET", path_of(POD, source.namespace, source.pod)).obj
        except NotFoundError:
            return False
        except UnavailableError:
            return True
        ended = str_at(pod, "status", "phase") in _ENDED or is_over(pod, source.container)
        return uid_of(pod) == source.uid and not ended

    def _watch(self, namespace: str, selector: str, containers: Callable[[JsonObject], list[str]]) -> None:
        query = {"watch": "true", "labelSelector": selector}
        while True:
            try:
                for line in self._client.lines(path_of(POD, namespace), query=query):
                    event = decode_object(line)
                    for source in running(map_at(event, "object"), containers):
                        self.add(source)
            except UnavailableError:
                pass
            except SkerryError as error:
                self._lines.put(error)
                return
            time.sleep(AGAIN_S)


def running(pod: JsonObject, containers: Callable[[JsonObject], list[str]]) -> list[Source]:
    """Those of a pod's containers that have begun."""
    fields = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    begun = {
        str_at(each, "name")
        for field in fields
        for each in maps_at(pod, "status", field)
        if str_at(each, "containerID")
    }
    return [
        Source(namespace=namespace_of(pod), pod=name_of(pod), uid=uid_of(pod), container=name)
        for name in containers(pod)
        if name in begun
    ]


def is_over(pod: JsonObject, container: str) -> bool:
    """It has ended, and will not run again."""
    init = [each for each in maps_at(pod, "spec", "initContainers") if str_at(each, "restartPolicy") != "Always"]
    policy = str_at(pod, "spec", "restartPolicy", default="Always")
    for field in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for each in maps_at(pod, "status", field):
            ended = map_at(each, "state", "terminated")
            if str_at(each, "name") != container or not ended:
                continue
            well = ended.get("exitCode") == 0
            once = field.startswith("ephemeral") or (well and container in [str_at(one, "name") for one in init])
            return once or policy == "Never" or (policy == "OnFailure" and well)
    return False
