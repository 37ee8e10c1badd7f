"""A registry of images as a process: Debian's `docker-registry` on loopback, with or without a password."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.containerd import ImageRecipe, free_port, until

USER, PASSWORD = "robot", "pass-of-the-tests"
HASH = "$2y$05$abcdefghijklmnopqrstuu1h6QzsESzhiAKnN5sOqxb0aEkJsXht."
"""bcrypt of the password, as htpasswd -B makes it."""
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass(slots=True)
class Registry:
    """Where it is."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def push(self, repository: str, tag: str, recipe: ImageRecipe) -> str:
        """The digest of the manifest."""
        layer, config = recipe.parts()
        blobs = [self._upload(repository, each) for each in (config, layer)]
        kinds = (
            "application/vnd.docker.container.image.v1+json",
            "application/vnd.docker.image.rootfs.diff.tar",
        )
        described = [
            {"mediaType": kind, "size": len(blob), "digest": digest}
            for kind, blob, digest in zip(kinds, (config, layer), blobs, strict=True)
        ]
        manifest = json.dumps(
            {"schemaVersion": 2, "mediaType": MANIFEST, "config": described[0], "layers": described[1:]}
        ).encode()
        self.ask("PUT", f"/v2/{repository}/manifests/{tag}", manifest, MANIFEST)
        return f"sha256:{hashlib.sha256(manifest).hexdigest()}"

    def _upload(self, repository: str, blob: bytes) -> str:
        place = self.ask("POST", f"/v2/{repository}/blobs/uploads/")["Location"]
        digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
        sign = "&" if "?" in place else "?"
        self.ask("PUT", f"{place}{sign}digest={digest}", blob, "application/octet-stream")
        return digest

    def ask(self, method: str, path: str, body: bytes = b"", kind: str = "") -> dict[str, str]:
        """The answer's headers."""
        url = path if path.startswith("http") else self.url + path
        request = urllib.request.Request(url, data=body, method=method)
        secret = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request.add_header("Authorization", f"Basic {secret}")
        if kind:
            request.add_header("Content-Type", kind)
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()
            return dict(answer.headers)

    def _answers(self) -> bool:
        try:
            self.ask("GET", "/v2/")
        except (urllib.error.URLError, OSError):
            return False
        return True


@contextmanager
def registry_server(folder: Path, *, secret: bool = True) -> Generator[Registry]:
    """A registry that runs; skips the test where there is none."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("not installed: docker-registry (tests/system/install_packages.sh)")
    folder.mkdir()
    (folder / "users").write_text(f"{USER}:{HASH}\n")
    made = Registry(port=free_port())
    auth = f"auth: {{htpasswd: {{realm: tests, path: {folder}/users}}}}\n" if secret else ""
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: 127.0.0.1:{made.port}, secret: of-the-tests}}\n{auth}"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", str(folder / "config.yml")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
        )
    try:
        until(made._answers, "the registry answers", (folder / "log").read_text)
        yield made
    finally:
        process.kill()
        process.wait()
