"""nginx as a device: files are its values, PUT writes them. Nobody here wrote it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


@dataclass(kw_only=True)
class Nginx:
    port: int
    files: Path
    log: Path
    """METHOD URI STATUS AUTHORIZATION, a line each."""

    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)

    def put(self, name: str, text: str) -> None:
        """In one step, as a device changes its values."""
        fresh = self.files / f".{name}"
        fresh.write_text(text)
        fresh.rename(self.files / name)

    def requests(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def nginx(room: Path, *, server: str = "", tls: str = "") -> Generator[Nginx]:
    """`server` goes into its server block, `tls` behind its address."""
    assert NGINX is not None
    for name in ("files", "temporary"):
        (room / name).mkdir(mode=0o777)
        (room / name).chmod(0o777)
    port = free_port()
    config = room / "nginx.conf"
    config.write_text(
        f"""
user root; daemon off; worker_processes 1; pid {room}/pid; error_log {room}/errors;
events {{}}
http {{
  log_format told '$request_method $request_uri $status $http_authorization';
  access_log {room}/requests told;
  client_body_temp_path {room}/temporary; proxy_temp_path {room}/temporary; fastcgi_temp_path {room}/temporary;
  uwsgi_temp_path {room}/temporary; scgi_temp_path {room}/temporary;
  keepalive_timeout 60;
  server {{
    listen 127.0.0.1:{port}{" ssl" if tls else ""};
    root {room}/files;
    {tls}
    {server}
    location / {{ dav_methods PUT; create_full_put_path on; default_type application/json; }}
    location /moved {{ return 302 /state.json; }}
    location /elsewhere {{ return 302 http://127.0.0.1:1/state.json; }}
    location /circle {{ return 307 /circle; }}
    location /busy {{ add_header Retry-After 60 always; return 503 "warming up"; }}
    location /never {{ return 422 "not now"; }}
  }}
}}
"""
    )
    process = subprocess.Popen([NGINX, "-c", str(config), "-p", str(room)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < deadline and process.poll() is None, (room / "errors").read_text()
            time.sleep(0.02)
        yield Nginx(port=port, files=room / "files", log=room / "requests", process=process)
    finally:
        process.terminate()
        process.wait(10)
