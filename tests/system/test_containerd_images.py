"""Images from a registry with a password, by every policy and with Secrets of the cloud; and what keeps a pod."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Generator
from pathlib import Path

import pytest
import pytest_asyncio

from edgecore.pods.image_collection import CollectionSettings, Disk
from edgecore.pods.image_collector import ImageCollector
from edgecore.pods.port import Credentials, ImageMissingError
from edgecore.pods.pull_rights import PullRights
from edgecore.pods.runtimes.cri.runtime import CriRuntime, CriSettings
from skerry.clocks import SystemClock
from skerry.frozen import replace
from skerry.objects.json import JsonObject, maps_at, str_at
from tests.system.containerd import PAUSE, Containerd, ImageRecipe, containerd_server, until
from tests.system.real_fleet import CORE, NODE, real_fleet
from tests.system.registry import PASSWORD, USER, Registry, registry_server

pytestmark = pytest.mark.system
HOST = "registry.test"
NOWHERE = "dead.test"
RIGHT = Credentials(registry=HOST, username=USER, password=PASSWORD)
WRONG = Credentials(registry=HOST, username=USER, password="wrong")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Generator[Registry]:
    with registry_server(tmp_path_factory.mktemp("registry") / "r") as server:
        yield server


@pytest.fixture(scope="module")
def containerd(registry: Registry) -> Generator[Containerd]:
    with containerd_server(registries={HOST: registry.url, NOWHERE: "http://127.0.0.1:9"}) as server:
        yield server


@pytest_asyncio.fixture
async def runtime(containerd: Containerd) -> AsyncIterator[CriRuntime]:
    made = CriRuntime(CriSettings(socket=str(containerd.socket)), SystemClock())
    yield made
    for image in await made.images():
        if HOST in str(image.names) or NOWHERE in str(image.names):
            await made.remove_image(image.id)
    await made.close()


def recipe(name: str, version: int = 1, padding: int = 0) -> ImageRecipe:
    files = {"version": f"{name} {version}".encode()}
    return ImageRecipe(name=name, command=("sleep", "1000"), files=files, padding=padding)


async def test_an_image_is_pulled_by_who_has_the_password(runtime: CriRuntime, registry: Registry) -> None:
    registry.push("shop/app", "1", recipe("app"))
    image = f"{HOST}/shop/app:1"
    for credentials in ((), (WRONG,), (Credentials(registry="other.test", username=USER, password=PASSWORD),)):
        with pytest.raises(ImageMissingError, match=image) as refused:
            await runtime.ensure_image(image, "IfNotPresent", credentials)
        assert refused.value.reason == "ErrImagePull"
        assert PASSWORD not in str(refused.value)
    made = await runtime.ensure_image(image, "IfNotPresent", (WRONG, RIGHT))
    assert image in made.names
    assert made.size_bytes > 0
    assert made == await runtime.ensure_image(image, "Never", ())


async def test_what_was_pulled_with_a_password_is_for_who_has_it_or_the_same_secret(
    containerd: Containerd, registry: Registry, tmp_path: Path
) -> None:
    registry.push("shop/secret", "1", recipe("secret"))
    image = f"{HOST}/shop/secret:1"
    named, changed = replace(RIGHT, secret="shop/pull/u-1"), replace(WRONG, secret="shop/pull/u-1")
    settings = CriSettings(socket=str(containerd.socket), rights=PullRights(tmp_path))
    runtime = CriRuntime(settings, SystemClock())
    made = await runtime.ensure_image(image, "IfNotPresent", (named,))
    try:
        with pytest.raises(ImageMissingError, match=image) as refused:
            await runtime.ensure_image(image, "IfNotPresent", ())
        assert refused.value.reason == "ErrImagePull"
        with pytest.raises(ImageMissingError, match="comes with pull policy of Never") as refused:
            await runtime.ensure_image(image, "Never", (WRONG,))
        assert refused.value.reason == "ErrImageNeverPull"
        again = CriRuntime(replace(settings, rights=PullRights(tmp_path)), SystemClock())  # another life of the agent
        assert await again.ensure_image(image, "Never", (changed,)) == made, "the Secret says something else now"
        assert await again.ensure_image(image, "IfNotPresent", (RIGHT,)) == made
        await again.close()
    finally:
        await runtime.remove_image(made.id)
        await runtime.close()


async def test_always_asks_for_what_is_new_and_if_not_present_does_not(
    runtime: CriRuntime, registry: Registry
) -> None:
    image = f"{HOST}/shop/moving:1"
    registry.push("shop/moving", "1", recipe("moving", 1))
    first = await runtime.ensure_image(image, "Always", (RIGHT,))
    digest = registry.push("shop/moving", "1", recipe("moving", 2))
    assert (await runtime.ensure_image(image, "IfNotPresent", (RIGHT,))).id == first.id
    second = await runtime.ensure_image(image, "Always", (RIGHT,))
    assert second.id != first.id
    by_digest = await runtime.ensure_image(f"{HOST}/shop/moving@{digest}", "IfNotPresent", (RIGHT,))
    assert by_digest.id == second.id
    with pytest.raises(ImageMissingError, match="not found"):
        await runtime.ensure_image(f"{HOST}/shop/moving:2", "Always", (RIGHT,))


async def test_without_a_link_an_image_that_is_here_is_used_whatever_the_policy(
    runtime: CriRuntime, containerd: Containerd
) -> None:
    containerd.load(recipe(f"{NOWHERE}/app:1"))
    made = await runtime.ensure_image(f"{NOWHERE}/app:1", "Always", ())
    assert made.names == (f"{NOWHERE}/app:1",)
    with pytest.raises(ImageMissingError, match="refused"):
        await runtime.ensure_image(f"{NOWHERE}/app:2", "Always", ())


async def test_a_full_disk_has_unused_images_go_and_no_other(runtime: CriRuntime, containerd: Containerd) -> None:
    containerd.load(recipe(f"{HOST}/old:1", padding=1 << 20), recipe(f"{HOST}/new:1"))
    collector = ImageCollector(
        runtime,
        SystemClock(),
        CollectionSettings(age_s_min=0.0),
        lambda _: Disk(total=1 << 30, free=1 << 20),
    )
    assert await collector.look() > 1 << 20
    names = {name for image in await runtime.images() for name in image.names}
    assert not any(HOST in name for name in names)
    assert PAUSE in names, "the sandboxes' image is never removed"


def pod(name: str, *secrets: str, **container: object) -> JsonObject:
    spec: JsonObject = {
        "nodeName": NODE,
        "containers": [{"name": "app", **container}],  # type: ignore[dict-item]
        "imagePullSecrets": [{"name": secret} for secret in secrets],
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


def test_pods_pull_with_their_secrets_and_say_what_keeps_them(
    containerd: Containerd, registry: Registry, tmp_path: Path
) -> None:
    registry.push("shop/secret", "1", recipe("secret"))
    with real_fleet(tmp_path) as fleet:
        fleet.edge.environ = {"SKERRY_RUNTIME": "containerd", "SKERRY_RUNTIME_ENDPOINT": containerd.endpoint}
        fleet.edge.start()
        until(lambda: fleet.ready() == "True", "the node is ready", lambda: fleet.edge.log)

        def reason(name: str) -> str:
            found = maps_at(fleet.find(f"{CORE}/pods/{name}"), "status", "containerStatuses")
            return str_at(found[0], "state", "waiting", "reason") if found else ""

        auths = {"auths": {HOST: {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}}}
        secret: JsonObject = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/dockerconfigjson",
            "metadata": {"name": "pulls", "namespace": "default"},
            "data": {".dockerconfigjson": base64.b64encode(json.dumps(auths).encode()).decode()},
        }
        fleet.create(f"{CORE}/secrets", secret)
        image = f"{HOST}/shop/secret:1"
        fleet.create(f"{CORE}/pods", pod("never", image=f"{HOST}/shop/none:1", imagePullPolicy="Never"))
        fleet.create(f"{CORE}/pods", pod("wrong", image="Not:An:Image"))
        fleet.create(f"{CORE}/pods", pod("denied", image=image, imagePullPolicy="Always"))
        until(lambda: reason("never") == "ErrImageNeverPull", "never pulled", lambda: fleet.edge.log)
        until(lambda: reason("wrong") == "InvalidImageName", "no name", lambda: fleet.edge.log)
        until(lambda: reason("denied") in ("ErrImagePull", "ImagePullBackOff"), "denied", lambda: fleet.edge.log)
        fleet.create(f"{CORE}/pods", pod("let-in", "pulls", image=image, imagePullPolicy="Always"))
        until(lambda: fleet.run_of("let-in"), "it runs", lambda: f"{reason('let-in')}\n{fleet.edge.log}")
        assert PASSWORD not in fleet.edge.log
        names = [
            name
            for image in maps_at(fleet.find(f"/api/v1/nodes/{NODE}"), "status", "images")
            for name in image["names"]  # type: ignore[union-attr]
        ]
        assert PAUSE in names
        for name in ("let-in", "denied", "never", "wrong"):
            fleet.api().request("DELETE", f"{CORE}/pods/{name}")
        until(lambda: not containerd.ctr("containers", "ls", "-q").split(), "all is gone", lambda: fleet.edge.log)


def test_images_are_brought_before_a_pod_asks(containerd: Containerd, registry: Registry, tmp_path: Path) -> None:
    def image(*flags: str) -> str:
        command = [sys.executable, "-m", "edgecore.main", "image", "--data", str(tmp_path)]
        command += ["--runtime-endpoint", containerd.endpoint, *flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return done.stdout if done.returncode == 0 else f"{done.returncode}: {done.stderr}"

    archive = tmp_path / "carried.tar"
    archive.write_bytes(recipe(f"{HOST}/carried:1").archive())
    assert f"{HOST}/carried:1 is here" in image("--load", str(archive))
    registry.push("shop/pre", "1", recipe("pre"))
    assert image("--pull", f"{HOST}/shop/pre:1").startswith("2: edgecore image: failed to pull")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"auths": {HOST: {"username": USER, "password": PASSWORD}}}))
    assert f"{HOST}/shop/pre:1 is here" in image("--pull", f"{HOST}/shop/pre:1", "--auth-file", str(config))
    until(lambda: f"{HOST}/carried:1" in image(), "it is listed")
    assert f"{HOST}/shop/pre:1" in image()
    assert "pinned" in next(line for line in image().splitlines() if PAUSE in line)
    archive.write_bytes(b"no archive")
    assert image("--load", str(archive)).startswith(f"1: edgecore image: --load {archive}: ")
    assert f"removed {HOST}/carried:1" in image("--prune")
    assert HOST not in image()
