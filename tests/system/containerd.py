"""A real containerd for tests: its own root, state, socket, pod network and images, ended and cleaned with the test.

Debian's packages are used where they are (`tests/system/install_packages.sh`); without them, or without root, a test
that asks for one is skipped and says so. Images are made here, of Debian's static busybox, and imported: nothing
is pulled from outside. What is system-wide has a name of this server's own: the bridge, the namespaces of pods, the
root of cgroups, the containers' shims.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from tests.system.levels import reached

NAMESPACE = "k8s.io"
"""containerd's own for what comes through CRI."""
PLUGINS = Path("/usr/lib/cni")
BUSYBOX = Path("/bin/busybox")
START_S_MAX = 60.0
PAUSE = "skerry.test/pause:1"
BUSYBOX_IMAGE = "skerry.test/busybox:1"
SCRIPT_OF_PAUSE = "trap 'exit 0' TERM INT; while :; do sleep 2147483647 & wait; done"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecipe:
    """An image made of busybox and these files."""

    name: str
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    env: Sequence[str] = ()
    working_dir: str = ""
    user: str = ""
    stop_signal: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """Path without the first slash: content."""
    padding: int = 0
    """Bytes of noise, for images of a size."""

    def archive(self) -> bytes:
        """As `docker save` writes it."""
        layer, config = self.parts()
        named = f"{hashlib.sha256(config).hexdigest()}.json"
        manifest = [{"Config": named, "RepoTags": [self.name], "Layers": ["layer.tar"]}]
        files = {named: config, "layer.tar": layer, "manifest.json": json.dumps(manifest).encode()}
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, content in files.items():
                _add(tar, name, content, mode=0o644)
        return out.getvalue()

    def parts(self) -> tuple[bytes, bytes]:
        """Its layer and its configuration."""
        layer = self._layer()
        config = json.dumps(
            {
                "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
                "os": "linux",
                "config": {
                    "Entrypoint": list(self.entrypoint) or None,
                    "Cmd": list(self.command) or None,
                    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", *self.env],
                    "WorkingDir": self.working_dir,
                    "User": self.user,
                    **({"StopSignal": self.stop_signal} if self.stop_signal else {}),
                },
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
                "history": [{"created_by": "the tests"}],
            }
        ).encode()
        return layer, config

    def _layer(self) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name in ("bin", "etc", "tmp", "root", "dev", "proc", "sys", "var", "var/run", "usr", "usr/bin"):
                folder = tarfile.TarInfo(name)
                folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
                tar.addfile(folder)
            _add(tar, "bin/busybox", BUSYBOX.read_bytes(), mode=0o755)
            for applet in subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True).stdout.split():
                if applet == "busybox":
                    continue
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
            _add(tar, "etc/passwd", b"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n", mode=0o644)
            _add(tar, "etc/group", b"root:x:0:\nnogroup:x:65534:\n", mode=0o644)
            for name, content in self.files.items():
                _add(tar, name, content, mode=0o755)
            if self.padding:
                noise = random.Random(self.name).randbytes(self.padding)
                _add(tar, "var/noise", noise, mode=0o644)
        return out.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, *, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


PAUSE_RECIPE = ImageRecipe(name=PAUSE, entrypoint=("/bin/sh", "-c", SCRIPT_OF_PAUSE))
BUSYBOX_RECIPE = ImageRecipe(name=BUSYBOX_IMAGE, command=("sh",))


def needs_containerd() -> None:
    """Skips the test where no containerd can be run."""
    missing = [name for name in ("containerd", "ctr", "runc", "iptables") if _program(name) is None]
    missing += [] if (PLUGINS / "bridge").exists() else ["containernetworking-plugins"]
    missing += [] if BUSYBOX.exists() else ["busybox-static"]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (tests/system/install_packages.sh)")
    if os.geteuid() != 0:
        pytest.skip("containerd needs root")


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@dataclass(slots=True)
class Containerd:
    """One root directory and at most one server on it."""

    folder: Path
    tag: str
    """Part of every name that this machine sees."""
    subnet: IPv4Network
    registries: dict[str, str] = field(default_factory=dict[str, str])
    """Registry by name as images say it: where it is, http://HOST:PORT."""
    root: Path | None = None
    """Where it keeps what outlives it; None: in `folder`."""
    prefix: tuple[str, ...] = ()
    """What stands before the server's command, to run it in namespaces."""
    process: subprocess.Popen[Any] | None = None

    @classmethod
    def in_folder(cls, folder: Path, *, registries: Mapping[str, str] | None = None) -> Containerd:
        """One that is not started yet. The folder's path must be short, as a unix socket's name is."""
        assert len(str(folder)) < 80, f"too long for a socket's name: {folder}"
        return cls(folder=folder, tag=secrets.token_hex(4), subnet=free_subnet(), registries=dict(registries or {}))

    @property
    def socket(self) -> Path:
        return self.folder / "c.sock"

    @property
    def endpoint(self) -> str:
        return f"unix://{self.socket}"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def bridge(self) -> str:
        return f"skt{self.tag}"

    @property
    def cgroup_root(self) -> str:
        """For an agent beside others: the cgroup under which its pods are."""
        return f"/skt{self.tag}"

    def start(self) -> None:
        """Returns when it answers."""
        assert self.process is None
        self.write_config()
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, "containerd", "--config", str(self.folder / "config.toml")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
                start_new_session=True,
            )
        until(self.answers, "containerd answers", lambda: self.log[-3000:])

    def answers(self) -> bool:
        assert self.process is None or self.process.poll() is None, self.log[-3000:]
        return self.socket.exists() and self._ctr("version", check=False).returncode == 0

    def kill(self) -> None:
        """SIGKILL: containers run on."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """SIGTERM: containers run on."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    def load(self, *recipes: ImageRecipe) -> None:
        """Import images, and wait until CRI knows them."""
        for recipe in recipes:
            self._ctr("images", "import", "--all-platforms", "-", data=recipe.archive())
        until(lambda: all(self.has_image(recipe.name) for recipe in recipes), "CRI knows the images")

    def has_image(self, name: str) -> bool:
        rows = self._ctr("images", "ls", f"name=={_full(name)}").stdout.decode().splitlines()
        return any("io.cri-containerd.image=managed" in row for row in rows)

    def ctr(self, *arguments: str) -> str:
        """Ask the server by containerd's own tool."""
        return self._ctr(*arguments).stdout.decode()

    def pids(self) -> Mapping[str, int]:
        """Of each running container's first process."""
        rows = [line.split() for line in self.ctr("tasks", "ls").splitlines()[1:]]
        return {row[0]: int(row[1]) for row in rows if len(row) >= 3 and row[2] == "RUNNING"}

    def said_in(self, container: str, *words: str) -> str:
        """What a command prints in a container that runs. Not by `ctr tasks exec`: on a busy machine that ends, now
        and then, before it has opened the pipe that the output is in."""
        made = self.run_in(container, *words)
        assert made.returncode == 0, (words, made.stdout, made.stderr)
        return made.stdout

    def run_in(self, container: str, *words: str) -> subprocess.CompletedProcess[str]:
        """As `said_in`, however it ends."""
        entered = ["nsenter", "--target", str(self.pids()[container]), "--all", "--root", "--wd", *words]
        return subprocess.run(
            entered, capture_output=True, text=True, timeout=120, env={"PATH": "/bin:/usr/bin:/sbin"}
        )

    def _ctr(
        self, *arguments: str, data: bytes | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        made = subprocess.run(
            ["ctr", "--address", str(self.socket), "--namespace", NAMESPACE, *arguments],
            input=data,
            capture_output=True,
            timeout=120,
        )
        assert made.returncode == 0 or not check, (arguments, made.stderr.decode())
        return made

    def write_config(self) -> None:
        (self.folder / "config.toml").write_text(
            f"""version = 2
root = "{self.root or self.folder / "root"}"
state = "{self.folder}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{self.socket}"
[ttrpc]
  address = "{self.socket}.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{PLUGINS}"
    conf_dir = "{self.folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{self.folder}/certs.d"
"""
        )
        network = {
            "cniVersion": "0.4.0",
            "name": f"skt{self.tag}",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": self.bridge,
                    "isGateway": True,
                    "hairpinMode": True,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": str(self.subnet)}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                        "dataDir": f"{self.folder}/addresses",
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
            ],
        }
        (self.folder / "cni").mkdir(exist_ok=True)
        (self.folder / "cni" / "10-pods.conflist").write_text(json.dumps(network))
        for name, server in self.registries.items():
            place = self.folder / "certs.d" / name
            place.mkdir(parents=True, exist_ok=True)
            (place / "hosts.toml").write_text(
                f'server = "{server}"\n[host."{server}"]\n  capabilities = ["pull", "resolve"]\n'
            )

    def clear(self) -> None:
        """End every container, and take back what they had of this machine."""
        if self.process is None or self.process.poll() is not None:
            self.process = None
            self.start()
        names = self.ctr("containers", "ls", "-q").split()
        spaces = {space for name in names if (space := self._network_namespace(name))}
        for _ in range(100):
            tasks = self.ctr("tasks", "ls", "-q").split()
            if not tasks:
                break
            for task in tasks:
                self._ctr("tasks", "kill", "--signal", "SIGKILL", task, check=False)
                self._ctr("tasks", "rm", "--force", task, check=False)
        for space in spaces:
            self._release(Path(space))
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True)
        for result in Path("/var/lib/cni/results").glob(f"skt{self.tag}-*"):
            result.unlink()

    def _network_namespace(self, container: str) -> str:
        spec = json.loads(self.ctr("containers", "info", container))["Spec"]
        spaces = spec.get("linux", {}).get("namespaces", [])
        path = next((each.get("path", "") for each in spaces if each["type"] == "network"), "")
        return path if path.startswith("/var/run/netns/cni-") else ""

    def _release(self, space: Path) -> None:
        """What CNI's plugins gave to a pod that nobody stopped: forwarded ports outlive it otherwise."""
        for result in Path("/var/lib/cni/results").glob(f"skt{self.tag}-*-eth0"):
            held = json.loads(result.read_text())
            if held.get("netns", "") not in ("", str(space)):
                continue
            network = json.loads((self.folder / "cni" / "10-pods.conflist").read_text())
            for plugin in reversed(network["plugins"]):
                settings = {"cniVersion": "0.4.0", "name": network["name"], **plugin}
                mapped = (held.get("capabilityArgs") or {}).get("portMappings")
                if mapped and plugin["type"] == "portmap":
                    settings["runtimeConfig"] = {"portMappings": mapped}
                settings["prevResult"] = held["result"]
                subprocess.run(
                    [str(PLUGINS / plugin["type"])],
                    input=json.dumps(settings).encode(),
                    capture_output=True,
                    env={
                        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                        "CNI_COMMAND": "DEL",
                        "CNI_CONTAINERID": held["containerId"],
                        "CNI_NETNS": str(space),
                        "CNI_IFNAME": held["ifName"],
                        "CNI_PATH": str(PLUGINS),
                    },
                )
            result.unlink()
        subprocess.run(["umount", str(space)], capture_output=True)
        with contextlib.suppress(OSError):
            space.unlink()


def _full(name: str) -> str:
    """As containerd keeps it; the tests' names have their registry already."""
    return name if "/" in name else f"docker.io/library/{name}"


def until(
    holds: Callable[[], object], what: str, explain: Callable[[], str] = lambda: "", seconds: float = START_S_MAX
) -> None:
    """Poll a level, with a deadline."""
    reached(holds, lambda: f"{what}\n{explain()}", within_s=seconds)


def free_subnet() -> IPv4Network:
    """A /24 that this machine has no route into."""
    routes = subprocess.run(["ip", "-4", "route", "show"], capture_output=True, text=True).stdout
    while True:
        made = IPv4Network(f"10.{random.randint(201, 250)}.{random.randint(0, 255)}.0/24")
        if str(made.network_address).removesuffix(".0") not in routes:
            return made


@contextmanager
def containerd_server(
    folder: Path | None = None, *, registries: Mapping[str, str] | None = None
) -> Generator[Containerd]:
    """A containerd that runs, with the pause and busybox images. Skips the test where there can be none.

    `folder`: for what it keeps; its path must be short, as a unix socket's name is. None: one of its own.
    """
    needs_containerd()
    made = Path(tempfile.mkdtemp(prefix="skt-")) if folder is None else folder
    server = Containerd.in_folder(made, registries=registries)
    try:
        server.start()
        server.load(PAUSE_RECIPE, BUSYBOX_RECIPE)
        yield server
    finally:
        try:
            server.clear()
        finally:
            server.stop()
            unmount_below(made)
            if folder is None:
                shutil.rmtree(made, ignore_errors=True)
            remove_cgroups(server.cgroup_root.strip("/"))


def unmount_below(folder: Path) -> None:
    mounts = [line.split(" ")[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((each for each in mounts if each.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], capture_output=True)


def remove_cgroups(name: str) -> None:
    """The cgroups of this name, on v1 in every hierarchy; they are empty by now."""
    top = Path("/sys/fs/cgroup")
    for root in [top / name, *(each / name for each in top.iterdir() if each.is_dir())]:
        if root.is_dir():
            for folder, _, _ in os.walk(root, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
