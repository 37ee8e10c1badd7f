"""Two servers of ours write into one zone of BIND or Knot at once: names of each, names that both want, one zone of
both; a server that is away, slow or refuses; and keys that are rolled."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.system.dns_peers import free_dns_port, knot
from tests.system.dns_process import DnsProcess, dns_server, told
from tests.system.test_dns_export import BIND, HEAD, KNOT, SECRET, THEIRS, until

pytestmark = pytest.mark.system

OTHER = "b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVy"


@contextmanager
def a_knot(directory: Path, port: int, secret: str = SECRET) -> Generator[None]:
    head = KNOT.format(secret=secret)
    zone = {} if (directory / "example.com.zone").exists() else {"example.com": THEIRS}
    text = (directory / "example.com.zone").read_text() if not zone else THEIRS
    with knot(directory, {"example.com": text}, zone_options="    acl: us\n", head=head, port=port):
        yield


@contextmanager
def a_bind(directory: Path, port: int, secret: str = SECRET) -> Generator[None]:
    directory.mkdir(exist_ok=True)
    if not (directory / "example.com.zone").exists():
        (directory / "example.com.zone").write_text(THEIRS)
    (directory / "named.conf").write_text(BIND.format(directory=directory, port=port, secret=secret))
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(["named", "-g", "-n", "1", "-c", str(directory / "named.conf")], stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, (directory / "log").read_text()
                time.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)


PEERS = pytest.mark.parametrize(("program", "theirs"), [("knotd", a_knot), ("named", a_bind)])
Peer = Callable[..., AbstractContextManager[None]]


def ask(port: int, name: str, kind: str = "A") -> list[str]:
    command = ("kdig", "@127.0.0.1", "-p", str(port), "+short", f"{name}.example.com", kind)
    return sorted(told(*command).split())


def ours(directory: Path, port: int, names: str, *flags: str, serial: int = 1) -> AbstractContextManager[DnsProcess]:
    directory.mkdir(exist_ok=True)
    (directory / "keys").write_text(f"xfr. hmac-sha256 {SECRET}\n")
    given = ("--transfer-keys", str(directory / "keys"), "--export", f"example.com=127.0.0.1@{port}", *flags)
    return dns_server(directory, *given, zones={"example.com": zone(names, serial)})


def zone(names: str, serial: int = 1) -> str:
    return HEAD.format(serial=serial) + "@ NS a.test.\n" + names


def rewrite(server: DnsProcess, names: str, serial: int) -> None:
    (server.zones / "example.com.zone").write_text(zone(names, serial))
    server.skerry("reload")


def needs(program: str) -> None:
    if shutil.which(program) is None or shutil.which("kdig") is None:
        pytest.skip(f"{program} or kdig is not installed")


@PEERS
def test_two_owners_write_at_once_and_take_nothing_from_each_other(
    tmp_path: Path, program: str, theirs: Peer
) -> None:
    needs(program)
    port = free_dns_port()
    mine = [f"{region}{number}" for region in ("eu", "us") for number in range(150)]
    names = {
        region: "".join(
            f"{each} A 192.0.2.{at}\nboth{each[2:]} A 192.0.2.{at}\n" for each in mine if each[:2] == region
        )
        for at, region in enumerate(("eu", "us"), 1)
    }
    with ExitStack() as stack:
        stack.enter_context(theirs(tmp_path / "theirs", port))
        eu, us = (
            stack.enter_context(ours(tmp_path / region, port, names[region], "--export-owner", region))
            for region in ("eu", "us")
        )
        until(lambda: ask(port, "eu149") == ["192.0.2.1"] and ask(port, "us149") == ["192.0.2.2"], eu)
        for each in mine:
            assert ask(port, each) == ["192.0.2.1" if each[:2] == "eu" else "192.0.2.2"]
        owner = {}
        for number in range(0, 150, 10):
            (address,) = ask(port, f"both{number}")
            (mark,) = [each for each in ask(port, f"a-both{number}", "TXT") if "owner=" in each]
            owner[number] = "eu" if "owner=eu" in mark else "us"
            assert address == ("192.0.2.1" if owner[number] == "eu" else "192.0.2.2"), "it is one's whole"
        loser = us if owner[0] == "eu" else eu
        assert "is marked as another's" in loser.skerry("zones") or "is there, and not ours" in loser.skerry("zones")
        # The names of who leaves are the other's to take, and nothing else changes.
        rewrite(eu, "eu0 A 192.0.2.77\n", 2)
        until(lambda: ask(port, "eu0") == ["192.0.2.77"] and not ask(port, "eu1"), eu)
        rewrite(us, names["us"] + "now A 192.0.2.2\n", 2)
        until(lambda: ask(port, "now") == ["192.0.2.2"], us)
        assert all(ask(port, f"both{number}") == ["192.0.2.2"] for number in range(0, 150, 10))
        assert ask(port, "taken") == ["198.51.100.9"] and ask(port, "us77") == ["192.0.2.2"]


def test_servers_of_one_zone_take_turns_and_the_older_zone_is_not_put_back(tmp_path: Path) -> None:
    needs("knotd")
    port = free_dns_port()
    with ExitStack() as stack:
        stack.enter_context(a_knot(tmp_path / "theirs", port))
        one, two = (
            stack.enter_context(ours(tmp_path / name, port, "www A 192.0.2.1\n", "--nsid", name))
            for name in ("ns1", "ns2")
        )
        until(lambda: ask(port, "www") == ["192.0.2.1"], one)
        rewrite(one, "www A 192.0.2.2\n", 2)
        until(lambda: ask(port, "www") == ["192.0.2.2"], one)
        two.skerry("reload")
        rewrite(two, "www A 192.0.2.1\nold A 192.0.2.1\n", 1)
        until(lambda: "ns1 exports a newer one there for skerry (serial 2, ours is 1)" in two.skerry("zones"), two)
        assert ask(port, "www") == ["192.0.2.2"] and not ask(port, "old")
        rewrite(two, "www A 192.0.2.3\n", 3)
        until(lambda: ask(port, "www") == ["192.0.2.3"], two)
        assert "taken over" in two.log
        # The one that wrote last is gone, and somebody takes a name away: the other sees to it.
        os.kill(two.process.pid, signal.SIGKILL)
        rewrite(one, "www A 192.0.2.3\nmore A 192.0.2.3\n", 3)
        until(lambda: ask(port, "more") == ["192.0.2.3"], one)
        two.process.wait()


def test_who_goes_back_to_an_older_zone_over_a_restart_is_obeyed_and_a_copy_of_him_is_not(tmp_path: Path) -> None:
    """What was written last is on disk: the newer serial there is his own, or not."""
    needs("knotd")
    port = free_dns_port()
    with a_knot(tmp_path / "theirs", port):
        with ours(tmp_path / "us", port, "www A 192.0.2.2\n", serial=2) as server:
            until(lambda: ask(port, "www") == ["192.0.2.2"], server)
            until((tmp_path / "us/state/exports" / f"example.com@127.0.0.1@{port}@wrote").exists, server)
        shutil.copytree(tmp_path / "us/state", tmp_path / "copy/state")
        with ours(tmp_path / "us", port, "www A 192.0.2.3\n", serial=3) as server:
            until(lambda: ask(port, "www") == ["192.0.2.3"], server)
        # Restored from a copy of the directory: it knows its own serial 2, and 3 is another's.
        with ours(tmp_path / "copy", port, "www A 192.0.2.1\n", serial=1) as server:
            until(lambda: "exports a newer one there" in server.skerry("zones"), server)
            assert ask(port, "www") == ["192.0.2.3"]
        with ours(tmp_path / "us", port, "www A 192.0.2.1\n", serial=1) as server:
            until(lambda: ask(port, "www") == ["192.0.2.1"], server)


def test_a_server_that_was_away_is_written_when_it_is_back_and_keys_are_rolled(tmp_path: Path) -> None:
    needs("named")
    port = free_dns_port()
    with ours(tmp_path / "us", port, "www A 192.0.2.1\n") as server:
        until(lambda: "is not as here" in server.skerry("zones"), server)
        with a_bind(tmp_path / "theirs", port):
            until(lambda: ask(port, "www") == ["192.0.2.1"], server)
        rewrite(server, "www A 192.0.2.2\n", 2)
        with a_bind(tmp_path / "theirs", port):
            until(lambda: ask(port, "www") == ["192.0.2.2"], server)
        # The other's administrator gave out a new key, and the old one is gone.
        with a_bind(tmp_path / "theirs", port, OTHER):
            rewrite(server, "www A 192.0.2.3\n", 3)
            until(lambda: "gives its zone to none of our keys" in server.skerry("zones"), server)
            (server.directory / "keys").write_text(f"xfr. hmac-sha256 {OTHER}\n")
            until(lambda: ask(port, "www") == ["192.0.2.3"], server)
            until(lambda: "is not as here" not in server.skerry("zones"), server)


def test_a_slow_server_is_waited_for_and_the_key_that_is_taken_is_found(tmp_path: Path) -> None:
    """Each byte comes late; nothing is lost, and nothing is sent twice."""
    needs("knotd")
    behind, front = free_dns_port(), free_dns_port()
    with ExitStack() as stack:
        stack.enter_context(a_knot(tmp_path / "theirs", behind))
        stack.enter_context(slow(front, behind))
        many = "".join(f"n{number} A 192.0.2.1\n" for number in range(250))
        server = stack.enter_context(ours(tmp_path / "us", front, many))
        (server.directory / "keys").write_text(f"new. hmac-sha256 {OTHER}\nxfr. hmac-sha256 {SECRET}\n")
        until(lambda: ask(behind, "n249") == ["192.0.2.1"], server)
        until(lambda: "zone exported" in server.log, server)
        assert server.log.count("zone exported") == 1 and "is not as here" not in server.skerry("zones")


@contextmanager
def slow(front: int, behind: int) -> Generator[None]:
    """A way to a server on which each piece is late."""
    listening = socket.create_server(("127.0.0.1", front))
    open_sockets: list[socket.socket] = [listening]

    def pump(source: socket.socket, target: socket.socket) -> None:
        try:
            while piece := source.recv(2048):
                time.sleep(0.05)
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def serve() -> None:
        while True:
            try:
                near, _ = listening.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", behind))
            open_sockets.extend((near, far))
            for pair in ((near, far), (far, near)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        for each in open_sockets:
            each.close()
