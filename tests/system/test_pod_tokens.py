"""Tokens of pods on a real gateway: what a pod finds mounted speaks for it at the cloud, and is there when the
gateway boots alone a week later."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.errors import SkerryError, UnavailableError
from skerry.objects.json import JsonObject, dig, maps_at, str_at
from skerry.testkit.real.clocks import FakedClock
from tests.system.real_fleet import CORE, NODE, RealFleet, real_fleet, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
WEEK_S = 7 * 86_400


@pytest.fixture
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealFleet]:
    with real_fleet(tmp_path_factory.mktemp("tokens")) as made:
        yield made


def asking_pod(name: str) -> JsonObject:
    """Tells in its log the token that it finds, and one for somebody else."""
    source: JsonObject = {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 600}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "nodeName": NODE,
            "terminationGracePeriodSeconds": 1,
            "volumes": [{"name": "vault", "projected": {"sources": [source]}}],
            "containers": [
                {
                    "name": "app",
                    "image": "sh",
                    "command": ["sh", "-c", f"cat {MOUNT}/token; echo; cat /skerry-vault/token; echo; sleep 1000"],
                    "volumeMounts": [{"name": "vault", "mountPath": "/skerry-vault"}],
                }
            ],
        },
    }


def told(fleet: RealFleet, name: str) -> list[str]:
    """The tokens that the pod's newest run wrote down."""
    try:
        text = fleet.edge.api.chunks(f"{CORE}/pods/{name}/log")
        return [line for line in b"".join(text).decode().split("\n") if line.count(".") == 2]
    except (SkerryError, OSError):
        return []


def reviewed(fleet: RealFleet, token: str, *audiences: str) -> JsonObject:
    spec: JsonObject = {"token": token, "audiences": [*audiences]}
    review: JsonObject = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
    answer = fleet.create("/apis/authentication.k8s.io/v1/tokenreviews", review)
    status = answer["status"]
    assert isinstance(status, dict)
    return status


def run_on_gateway(fleet: RealFleet, name: str) -> str:
    """Which run of the pod's container the gateway itself shows as running; "" for none."""
    for status in maps_at(fleet.held("pods").get(name), "status", "containerStatuses"):
        if str_at(status, "state", "running", "startedAt"):
            return str_at(status, "containerID")
    return ""


def test_a_pod_speaks_for_itself_and_has_its_tokens_after_a_week_alone(fleet: RealFleet, tmp_path: Path) -> None:
    fleet.edge.start()
    until(lambda: fleet.ready() == "True", "the node is ready")
    fleet.create(f"{CORE}/pods", asking_pod("asks"))
    until(lambda: len(told(fleet, "asks")) == 2, "the pod has its tokens")
    own, vault = told(fleet, "asks")
    status = reviewed(fleet, own)
    assert str_at(status, "user", "username") == "system:serviceaccount:default:default"
    extra = dig(status, "user", "extra")
    assert isinstance(extra, dict)
    assert extra["authentication.kubernetes.io/pod-name"] == ["asks"]
    assert extra["authentication.kubernetes.io/node-name"] == [NODE]
    assert "authenticated" not in reviewed(fleet, vault)
    assert reviewed(fleet, vault, "vault")["audiences"] == ["vault"]

    before = run_on_gateway(fleet, "asks")
    fleet.edge.stop(signal.SIGKILL)
    fleet.edge.end_containers()
    fleet.cloud.stop(signal.SIGKILL)
    clock = FakedClock(tmp_path / "clock")
    clock.step(WEEK_S)
    try:
        fleet.edge.environ = {**fleet.edge.environ, **clock.env}
    except UnavailableError as error:
        pytest.skip(str(error))
    fleet.edge.start()
    until(lambda: run_on_gateway(fleet, "asks") not in ("", before), "the pod runs again, without a cloud")
    until(lambda: told(fleet, "asks") == [own, vault], "it has the tokens that it had")
