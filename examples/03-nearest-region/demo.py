"""Three regions on one machine, each with a website and a DNS server; a client in Europe and one in America. A region
is cut off, and its clients move.

Each region and each client is a network namespace on one bridge, so cutting is pulling a cable. Nothing outlives this
program. `README.md` tells what to look at.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from skerry.errors import SkerryError
from skerry.testkit.real.namespaces import Namespace, new_namespace

NAME: Final = "www.example.com"
REGIONS: Final = {"frankfurt": "10.0.0.1", "virginia": "10.0.0.2", "sao-paulo": "10.0.0.3"}
CLIENTS: Final = {"european": "10.1.0.1", "american": "10.2.0.1"}
INTERVAL_S, THRESHOLD = 1, 3
MOVE_S_MAX: Final = INTERVAL_S * THRESHOLD + 1
BUSY_S: Final = 2.0
"""What a busy machine may take beyond that, while the clock runs."""
LOOK_S: Final = 0.1
WAIT_S_MAX: Final = 60.0
ZONE: Final = f"""$TTL 60
@ SOA ns1 hostmaster 1 7200 900 1209600 60
@ NS ns1
@ NS ns2
@ NS ns3
ns1 A {REGIONS["frankfurt"]}
ns2 A {REGIONS["virginia"]}
ns3 A {REGIONS["sao-paulo"]}
"""
SERVICES: Final = f"""
places:
  europe: [10.1.0.0/16]
  america: [10.2.0.0/16]
orders:
  europe: [frankfurt, virginia, sao-paulo]
  america: [virginia, sao-paulo, frankfurt]
services:
  www:
    ttl: 2
    endpoints:
      - {{address: {REGIONS["frankfurt"]}, region: frankfurt}}
      - {{address: {REGIONS["virginia"]}, region: virginia}}
      - {{address: {REGIONS["sao-paulo"]}, region: sao-paulo}}
    probe: {{type: HTTP, port: 80, intervalSeconds: {INTERVAL_S}, downThreshold: {THRESHOLD}}}
"""


def ask() -> str:
    """As a browser does: a name of the first server that answers, then the page that is there."""
    import dns.exception
    import dns.message
    import dns.query

    for server in REGIONS.values():
        try:
            answer = dns.query.udp(dns.message.make_query(NAME, "A"), server, timeout=0.4)
            address = str(answer.answer[0]).split()[-1]
            with urllib.request.urlopen(f"http://{address}/", timeout=0.5) as page:
                return f"{address} {page.read().decode().strip()}"
        except (dns.exception.DNSException, OSError, IndexError, urllib.error.URLError):
            continue
    return "nothing"


def look_on() -> None:
    """A client that looks again and again, and says when it sees something else, by the clock of the machine."""
    seen = ""
    while True:
        if (page := ask()) != seen:
            seen = page
            print(f"{time.monotonic():.3f} {page}", flush=True)
        time.sleep(LOOK_S)


class Stage:
    """The bridge, and all that is plugged into it."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self._stack = stack
        self._hub = self._place("hub")
        self._hub.run("ip", "link", "add", "br0", "type", "bridge")
        self._hub.run("ip", "link", "set", "br0", "up")
        self._places: dict[str, Namespace] = {}

    def _place(self, name: str) -> Namespace:
        made = new_namespace(name)
        self._stack.callback(made.close)
        return made

    def plug(self, name: str, address: str) -> None:
        place = self._places[name] = self._place(name)
        place.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", name[:15], "netns", self._hub.path)
        place.run("ip", "address", "add", f"{address}/8", "dev", "eth0")
        place.run("ip", "link", "set", "eth0", "up")
        self._hub.run("ip", "link", "set", name[:15], "master", "br0")
        self.cable(name, "up")

    def cable(self, name: str, state: str) -> None:
        self._hub.run("ip", "link", "set", name[:15], state)

    def start(self, name: str, *command: str) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen([*self._places[name].prefix, *command], stdout=log, stderr=log)
        self._stack.callback(process.wait, 20)
        self._stack.callback(process.send_signal, signal.SIGTERM)

    def page(self, client: str) -> tuple[float, str]:
        """What a client sees, and since when."""
        lines = (self.directory / f"{client}.log").read_text().splitlines()
        since, _, page = lines[-1].partition(" ") if lines else ("0", "", "nothing")
        return float(since), page


def region(stage: Stage, number: int, name: str, address: str) -> None:
    """A website and a DNS server."""
    home = stage.directory / name
    (home / "site").mkdir(parents=True)
    (home / "zones").mkdir()
    (home / "site" / "index.html").write_text(f"hello from {name}\n")
    (home / "zones" / "example.com.zone").write_text(ZONE)
    (home / "zones" / "example.com.services.yaml").write_text(SERVICES)
    others = ",".join(f"{each}@5380" for each in REGIONS.values() if each != address)
    stage.plug(name, address)
    stage.start(name, sys.executable, "-m", "http.server", "80", "--directory", str(home / "site"))
    stage.start(
        name,
        *(sys.executable, "-m", "cloudcore.main", "dns", "--zones", str(home / "zones"), "--listen", address),
        *("--nsid", f"ns{number}", "--state", str(home / "state"), "--control", str(home / "dns.sock")),
        *("--workers", "1", "--observers", others, "--observe-port", "5380"),
        *("--observers-key", str(stage.directory / "observers.key")),
    )


def sees(stage: Stage, client: str, name: str, limit_s: float) -> float:
    """Seconds until a client is served by a region, 0 where it was all the time. Raises `SkerryError` when it is not
    in time."""
    begin = time.monotonic()
    while (seen := stage.page(client))[1] != f"{REGIONS[name]} hello from {name}":
        if time.monotonic() > begin + limit_s:
            raise SkerryError(f"the {client} client sees {seen[1]} after {limit_s:g} s, not {name}")
        time.sleep(0.05)
    took_s = max(0.0, seen[0] - begin)
    print(f"  the {client} client is served by {name}  ({f'{took_s:.1f} s' if took_s else 'as before'})")
    return took_s


def play(stage: Stage) -> None:
    (stage.directory / "observers.key").write_text(os.urandom(32).hex())
    for number, (name, address) in enumerate(REGIONS.items(), 1):
        region(stage, number, name, address)
    for name, address in CLIENTS.items():
        stage.plug(name, address)
        stage.start(name, sys.executable, __file__, "--ask")
    print("Three regions work:")
    sees(stage, "european", "frankfurt", WAIT_S_MAX)
    sees(stage, "american", "virginia", WAIT_S_MAX)
    time.sleep(3 * INTERVAL_S)  # until those who look are sure
    print(f"Frankfurt is cut off, with its DNS server; its clients move within {MOVE_S_MAX} s:")
    stage.cable("frankfurt", "down")
    sees(stage, "european", "virginia", MOVE_S_MAX + BUSY_S)
    sees(stage, "american", "virginia", MOVE_S_MAX)
    print("Frankfurt is back:")
    stage.cable("frankfurt", "up")
    sees(stage, "european", "frankfurt", WAIT_S_MAX)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ask", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help="where logs go; a temporary one that is removed otherwise")
    words = parser.parse_args()
    if words.ask:
        look_on()
    directory = words.directory or Path(tempfile.mkdtemp(prefix="nearest-region-"))
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with ExitStack() as stack:
            play(Stage(directory, stack))
    except SkerryError as error:
        print(f"FAILS: {error}; logs are in {directory}")
        return 1
    if words.directory is None:
        shutil.rmtree(directory)
    print("Done.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
