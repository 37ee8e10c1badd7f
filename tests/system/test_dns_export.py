"""Names into servers of others by DNS UPDATE with TSIG: BIND and Knot, and what they already have."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.system.dns_peers import free_dns_port, knot
from tests.system.dns_process import DnsProcess, dns_server, told
from tests.system.levels import reached

pytestmark = pytest.mark.system

SECRET = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
HEAD = "$TTL 60\n@ SOA ns host {serial} 3600 600 86400 60\n"
THEIRS = HEAD.format(serial=1) + "@ NS ns\nns A 127.0.0.1\nMail A 192.0.2.7\ntaken A 198.51.100.9\n"
OURS = HEAD + "@ NS a.test.\n@ MX 10 Mail\nbad MX 10 nowhere\ntaken A 192.0.2.9\n{more}"
KNOT = """
key:
  - id: xfr
    algorithm: hmac-sha256
    secret: {secret}
acl:
  - id: us
    key: xfr
    action: [transfer, update]
"""
BIND = """
options {{ directory "{directory}"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  pid-file "{directory}/pid"; session-keyfile "{directory}/session"; recursion no; dnssec-validation no;
  managed-keys-directory "{directory}"; }};
controls {{ }};
key xfr {{ algorithm hmac-sha256; secret "{secret}"; }};
zone "example.com" {{ type primary; file "{directory}/example.com.zone"; allow-transfer {{ key xfr; }};
  allow-update {{ key xfr; }}; }};
"""


@contextmanager
def their_knot(directory: Path) -> Generator[int]:
    head = KNOT.format(secret=SECRET)
    with knot(directory, {"example.com": THEIRS}, zone_options="    acl: us\n", head=head) as port:
        yield port


@contextmanager
def their_bind(directory: Path) -> Generator[int]:
    directory.mkdir()
    port = free_dns_port()
    (directory / "example.com.zone").write_text(THEIRS)
    (directory / "named.conf").write_text(BIND.format(directory=directory, port=port, secret=SECRET))
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
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)


def until(what: Callable[[], bool], server: DnsProcess) -> None:
    reached(what, lambda: server.log, within_s=30)


@pytest.mark.parametrize(("program", "theirs"), [("knotd", their_knot), ("named", their_bind)])
def test_names_come_move_and_go_and_those_of_others_stay(
    tmp_path: Path, program: str, theirs: Callable[[Path], AbstractContextManager[int]]
) -> None:
    if shutil.which(program) is None or shutil.which("kdig") is None:
        pytest.skip(f"{program} or kdig is not installed")
    (tmp_path / "keys").write_text(f"xfr. hmac-sha256 {SECRET}\n")
    zones = {"example.com": OURS.format(serial=1, more="")}
    services = tmp_path / "us" / "zones" / "example.com.services.yaml"
    services.parent.mkdir(parents=True)
    probe = "{type: TCP, port: PORT, intervalSeconds: 0.5, downThreshold: 2}"
    with theirs(tmp_path / "theirs") as port, socket.create_server(("127.0.0.3", 0)) as alive:
        both = "[{address: 127.0.0.2, region: eu}, {address: 127.0.0.3, region: us}]"
        service = f"services: {{www: {{ttl: 4, endpoints: {both}, probe: {probe}}}}}"
        services.write_text(service.replace("PORT", str(alive.getsockname()[1])))
        flags = ("--transfer-keys", str(tmp_path / "keys"), "--export", f"example.com=127.0.0.1@{port}")

        def ask(name: str, kind: str) -> list[str]:
            command = ("kdig", "@127.0.0.1", "-p", str(port), "+short", f"{name}example.com", kind)
            return sorted(told(*command).lower().split("\n"))[1:]

        with dns_server(tmp_path / "us", *flags, zones=zones) as server:
            until(lambda: ask("www.", "A") == ["127.0.0.3"], server)
            until(lambda: bool(ask("", "MX")), server)
            assert ask("", "MX") == ["10 mail.example.com."] and "owner=skerry" in ask("a-www.", "TXT")[0]
            assert ask("taken.", "A") == ["198.51.100.9"], "it is theirs"
            assert "taken.example.com. A is there, and not ours" in server.skerry("zones")
            # BIND lets no mail exchanger in that has no address; nothing else waits for that.
            assert program != "named" or "bad.example.com. MX is refused there (REFUSED)" in server.skerry("zones")
            services.unlink()
            text = OURS.format(serial=2, more="new TXT hello\n")
            (server.zones / "example.com.zone").write_text(text)
            server.skerry("reload")
            until(lambda: ask("new.", "TXT") == ['"hello"'] and not ask("www.", "A"), server)
            assert not ask("a-www.", "TXT") and ask("taken.", "A") == ["198.51.100.9"]
            changes = server.log.count("zone exported")
            server.skerry("reload")
            time.sleep(2)
            assert server.log.count("zone exported") == changes, "what is in step is not sent again"


def test_a_zone_that_changes_without_rest_is_exported_and_a_silent_server_holds_up_no_other(tmp_path: Path) -> None:
    """And what is more than one message has room for goes in several."""
    if shutil.which("knotd") is None or shutil.which("kdig") is None:
        pytest.skip("knotd or kdig is not installed")
    (tmp_path / "keys").write_text(f"xfr. hmac-sha256 {SECRET}\n")
    many = "".join(
        f"service-{name} AAAA 2001:db8:{name:x}::{each:x}\n" for name in range(100) for each in range(1, 21)
    )
    zones = {"a.test": HEAD.format(serial=1) + "@ NS a.test.\n", "example.com": OURS.format(serial=1, more=many)}
    with their_knot(tmp_path / "theirs") as port, socket.create_server(("127.0.0.1", 0)) as silent:
        exports = (f"a.test=127.0.0.1@{silent.getsockname()[1]}", f"example.com=127.0.0.1@{port}")
        flags = ("--transfer-keys", str(tmp_path / "keys"), "--export", exports[0], "--export", exports[1])
        with dns_server(tmp_path / "us", *flags, zones=zones) as server:
            serials = iter(range(2, 10_000))

            def there() -> bool:
                serial = next(serials)
                text = OURS.format(serial=serial, more=f"{many}now TXT {serial}\n")
                (server.zones / "example.com.zone").write_text(text)
                server.skerry("reload")
                command = ("kdig", "@127.0.0.1", "-p", str(port), "+short", "service-99.example.com", "AAAA")
                return len(told(*command).split()) == 20

            until(there, server)
            text = OURS.format(serial=20_000, more=f"{many}now TXT last\n")
            (server.zones / "example.com.zone").write_text(text)
            server.skerry("reload")
            command = ("kdig", "@127.0.0.1", "-p", str(port), "+short", "now.example.com", "TXT")
            until(lambda: told(*command).strip() == '"last"', server)
            assert "ended by itself" not in server.log
