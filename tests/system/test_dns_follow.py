"""A cloud that fails in the middle of telling its zones: what was told by then is served."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
import time
from pathlib import Path

import pytest

from tests.system.dns_process import dns_server

pytestmark = pytest.mark.system

ZONE = "$ORIGIN example.com.\nexample.com. 60 IN SOA a b 1 2 3 4 5\nexample.com. 60 IN NS a.test.\n"
SNAPSHOT = {"metadata": {"name": "example.com"}, "spec": {"serial": 1, "zone": ZONE + "www 60 IN A 192.0.2.1\n"}}


class _HalfACloud(http.server.BaseHTTPRequestHandler):
    """Has a first page, and no second one."""

    def do_GET(self) -> None:
        first = "continue=" not in self.path
        body = json.dumps({"items": [SNAPSHOT], "metadata": {"continue": "more"}} if first else {}).encode()
        self.send_response(200 if first else 503)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Nobody reads it."""


def test_what_was_told_before_a_failure_is_served(tmp_path: Path) -> None:
    if shutil.which("kdig") is None:
        pytest.skip("kdig is not installed")
    cloud = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _HalfACloud)
    thread = threading.Thread(target=lambda: cloud.serve_forever(0.05))
    thread.start()
    config = {
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{cloud.server_port}"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "current-context": "c",
    }
    (tmp_path / "config").write_text(json.dumps(config))
    try:
        with dns_server(tmp_path / "dns", "--cloud", str(tmp_path / "config")) as server:
            deadline = time.monotonic() + 20
            while server.kdig("+short", "www.example.com").strip() != "192.0.2.1":
                assert time.monotonic() < deadline, server.log
                time.sleep(0.1)
            assert "the cloud is not followed" in server.log
    finally:
        cloud.shutdown()
        cloud.server_close()
        thread.join()
