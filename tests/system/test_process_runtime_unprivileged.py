"""Volumes without root: the process runtime as an ordinary user, inside a user namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).parents[2]
PYTHON = "/usr/bin/python3"
PROGRAM = """
import asyncio, os, sys
from pathlib import Path
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.path[:0] = [sys.argv[1]]
from edgecore.pods.port import ContainerSpec, Mount, SandboxSpec, Security
from edgecore.pods.runtimes.process import ProcessRuntime, ProcessSettings
from skerry.clocks import SystemClock
from skerry.errors import InvalidError
base = Path(sys.argv[2])
sandbox = SandboxSpec(pod_uid="u", pod_name="p", pod_namespace="d", attempt=0, hostname="p", log_dir=base / "logs")
def spec(script, attempt, **more):
    return ContainerSpec(sandbox=sandbox, sandbox_id="u/0", name="c", attempt=attempt, image="sh",
        command=("sh", "-c", script), args=(), env=(), working_dir="/", **more)
async def main():
    runtime = ProcessRuntime(ProcessSettings(directory=base / "c", images=base / "i"), SystemClock())
    await runtime.run_sandbox(sandbox)
    (base / "v").mkdir()
    (base / "v" / "key").write_text("value")
    mounts = (Mount(host_path=base / "v", container_path="/skerry-unprivileged/v", read_only=True),
              Mount(host_path=base / "v", container_path="/etc/skerry-unprivileged", read_only=False))
    script = "cat /skerry-unprivileged/v/key; id -u; echo x > /etc/skerry-unprivileged/new;"
    script += "echo x > /skerry-unprivileged/v/y || echo ro"
    state = await runtime.start(spec(script, 0, mounts=mounts))
    while state.phase != "exited":
        await asyncio.sleep(0.02)
        (state,) = await runtime.list("u")
    print(state.message, (base / "logs" / "c" / "0.log").read_text(), (base / "v" / "new").exists())
    try:
        await runtime.start(spec("true", 1, mounts=(), security=Security(run_as_user=0)))
    except InvalidError as error:
        print(error)
    await runtime.close()
asyncio.run(main())
"""


@pytest.mark.system
@pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can become an ordinary user; as one, the mirror tests show it"
)
def test_an_ordinary_user_gets_volumes_where_the_pod_wants_them(tmp_path: Path) -> None:
    if (
        not Path(PYTHON).exists()
        or subprocess.run(["setpriv", "--reuid=65534", "unshare", "-Urm", "true"]).returncode
    ):
        pytest.skip("needs the system's python3 and user namespaces for ordinary users")
    version = subprocess.run(
        [PYTHON, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True
    )
    if version.stdout.split() != [str(part) for part in sys.version_info[:2]]:
        pytest.skip("the system's python3 is of another version, and can't load what is installed for this one")
    # Where an ordinary user can read it: the checkout may be anybody's.
    base = Path("/tmp") / f"skerry-unprivileged-{os.getpid()}"
    base.mkdir()
    try:
        for package in ("skerry", "edgecore"):
            shutil.copytree(ROOT / package, base / "code" / package, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(Path(msgspec.__file__).parent, base / "code" / "msgspec")
        (base / "data").mkdir()
        os.chown(base / "data", 65534, 65534)
        run = [PYTHON, "-c", PROGRAM, str(base / "code"), str(base / "data")]
        told = subprocess.run(run, capture_output=True, text=True, timeout=60, cwd="/")
        assert told.returncode == 0, told.stderr
    finally:
        shutil.rmtree(base)
    assert "stdout F value65534" in told.stdout
    assert "stdout F ro" in told.stdout
    assert "True" in told.stdout
    assert "runAsUser 0 needs an agent that runs as root" in told.stdout
