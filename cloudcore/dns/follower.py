"""Follows the zones of a cloud: lists and watches its DnsSnapshots, and writes each down for the server to read.

A process of its own, which blocks as it likes. Keeps ORIGIN.snapshot files and `heard`, whose time is when the cloud
was last in step with them; a crash leaves each file whole, and the next start lists anew. A cloud without a single
zone takes nothing away: one that was set up anew must not take names from the net.
"""

from __future__ import annotations

import http
import http.client
import logging
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cloudcore.dns.beat import BEAT_S, Beat
from cloudcore.dns.snapshot import forget_snapshot, keep_snapshot, kept_snapshots
from skerry.cli import kubeconfig
from skerry.cli.client import Client
from skerry.errors import BadRequestError, GoneError, InvalidError, SkerryError
from skerry.objects.json import JsonObject, decode_object, map_at, maps_at, str_at

LOG: Final = logging.getLogger(__name__)
PATH: Final = "/apis/skerry.dev/v1/dnssnapshots"
WATCH_S: Final = 50
"""A watch is renewed so often: what a dead link keeps back is found by then."""
SILENCE_S_MAX: Final = 65.0
BACKOFF_S: Final = (0.5, 30.0)
HEARD: Final = "heard"
SNAPSHOTS: Final = "zones"
PAGE: Final = "500"


class Follower:
    """One cloud, one directory."""

    def __init__(self, config: Path, state: Path, changed: Callable[[], None], beat: Beat) -> None:
        self._config = config
        self._state = state
        self._directory = state / SNAPSHOTS
        self._changed = changed
        self._fault = ""
        self._beat = beat
        self._voted: set[str] = set()
        """Zones in which gateways vote."""

    def run(self) -> None:
        """For ever."""
        threading.Thread(target=self._listen, daemon=True).start()
        wait_s = BACKOFF_S[0]
        while True:
            try:
                self._follow()
                wait_s = BACKOFF_S[0]
            except GoneError:
                continue  # our place in the log is compacted away: list again
            except SkerryError as error:
                self._tell(str(error))
                time.sleep(wait_s * random.uniform(0.7, 1.0))  # noqa: S311 - only spreads servers
                wait_s = min(2 * wait_s, BACKOFF_S[1])

    def _listen(self) -> None:
        """Ask the cloud whether it is there, as long as anything that it told counts only while it is."""
        connection: http.client.HTTPConnection | None = None
        while True:
            time.sleep(BEAT_S)
            if not self._voted:
                continue
            try:
                connection = connection or Client(cluster=kubeconfig.load(self._config)).connection()
                connection.timeout = BEAT_S
                if connection.sock is not None:
                    connection.sock.settimeout(BEAT_S)
                connection.request("GET", "/livez")
                answer = connection.getresponse()
                answer.read(1024)
                if answer.status == http.HTTPStatus.OK:
                    self._beat.note(time.monotonic())
                if answer.will_close:
                    connection.close()
            except (OSError, http.client.HTTPException, SkerryError):
                if connection is not None:
                    connection.close()
                connection = None

    def _follow(self) -> None:
        """List, then watch until the connection ends."""
        client = Client(cluster=kubeconfig.load(self._config))
        position = self._list(client)
        while True:
            self._heard()
            position = self._watch(client, position)

    def _list(self, client: Client) -> str:
        changed: list[str] = []
        try:
            return self._list_into(client, changed)
        finally:
            # What was written before a failure is served: no later list would find that it is another.
            if changed:
                self._changed()

    def _list_into(self, client: Client, changed: list[str]) -> str:
        """Write down all zones, and add those that are others than they were."""
        found: set[str] = set()
        onward = ""
        while True:
            query = {"limit": PAGE, **({"continue": onward} if onward else {})}
            told = client.request("GET", PATH, query=query).obj
            for obj in maps_at(told, "items"):
                name = str_at(obj, "metadata", "name")
                found.add(name)
                self._note(name, changed, changes=self._keep(name, obj))
            onward = str_at(told, "metadata", "continue")
            if not onward:
                break
        gone = [name for name in kept_snapshots(self._directory) if name not in found]
        if gone and not found:
            LOG.warning("the cloud has no zone; what it had is served on zones=%s", ",".join(gone[:5]))
            gone = []
        for name in gone:
            self._note(name, changed, changes=forget_snapshot(self._directory, name))
        return str_at(told, "metadata", "resourceVersion")

    @staticmethod
    def _note(name: str, changed: list[str], *, changes: bool) -> None:
        if changes:
            changed.append(name)

    def _watch(self, client: Client, position: str) -> str:
        query = {
            "watch": "true",
            "resourceVersion": position,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_S),
        }
        for line in client.lines(PATH, query=query, silence_s_max=SILENCE_S_MAX):
            event = decode_object(line)
            obj = map_at(event, "object")
            name = str_at(obj, "metadata", "name")
            match str_at(event, "type"):
                case "ADDED" | "MODIFIED":
                    changed = self._keep(name, obj)
                case "DELETED":
                    self._voted.discard(name)
                    changed = forget_snapshot(self._directory, name)
                case "ERROR":
                    raise GoneError(str_at(obj, "message"), compacted=0)
                case _:
                    changed = False
            position = str_at(obj, "metadata", "resourceVersion") or position
            if changed:
                self._changed()
        return position

    def _keep(self, name: str, obj: JsonObject) -> bool:
        services = map_at(obj, "spec", "services", "services")
        if any("votes" in each for service in services for each in maps_at(services, service, "endpoints")):
            self._voted.add(name)
        else:
            self._voted.discard(name)
        try:
            return keep_snapshot(self._directory, name, map_at(obj, "spec"))
        except (BadRequestError, InvalidError) as error:
            LOG.error("a zone of the cloud can't be kept, and is served as it was: %s: %s", name, error)
            return False

    def _heard(self) -> None:
        path = self._state / HEARD
        path.touch()
        os.utime(path)
        if self._fault:
            LOG.info("the cloud is followed again")
            self._fault = ""

    def _tell(self, fault: str) -> None:
        if fault != self._fault:
            LOG.warning("the cloud is not followed, what was kept is served: %s", fault)
            self._fault = fault


def silent_s(state: Path, now_s: float) -> float | None:
    """For how long the cloud has not been heard; None where it never was."""
    try:
        return max(0.0, now_s - (state / HEARD).stat().st_mtime)
    except OSError:
        return None
