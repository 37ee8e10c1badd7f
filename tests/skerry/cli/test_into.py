"""Words, keys and endings of `skerry exec` and `attach`."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from skerry.cli.client import Answer
from skerry.cli.into import Wanted
from skerry.cli.pods import container_in, pod_of, selector_of
from skerry.cli.talking import ended_of
from skerry.cli.terminal import DetachedError, DetachKeys, keys_of
from skerry.errors import BadRequestError, NotFoundError
from skerry.forms.channels import status_of
from skerry.objects.json import Json, JsonObject, encode_object
from skerry.objects.pod_streams import Exited


def a_pod(name: str, *containers: str, ready: bool = True, default: str = "") -> JsonObject:
    specs: list[Json] = [{"name": each} for each in containers]
    return {
        "metadata": {"name": name, "annotations": {"kubectl.kubernetes.io/default-container": default}},
        "spec": {"containers": specs, "initContainers": [{"name": "first"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


def test_keys_are_written_as_docker_writes_them() -> None:
    assert keys_of("ctrl-p,ctrl-q") == b"\x10\x11" and keys_of("ctrl-[,q") == b"\x1bq" and keys_of("") == b""
    for wrong in ("ctrl-", "ctrl-1", "enter", ",", "ctrl-ä"):
        with pytest.raises(BadRequestError, match="detach-keys"):
            keys_of(wrong)


def test_keys_are_found_wherever_they_are_cut_and_what_only_began_so_goes_on() -> None:
    for pieces in ((b"ab\x10\x11",), (b"ab\x10", b"\x11"), (b"\x10\x10\x11",)):
        keys = DetachKeys(b"\x10\x11")
        with pytest.raises(DetachedError):
            for piece in pieces:
                keys.typed(piece)
    keys = DetachKeys(b"\x10\x11")
    assert [keys.typed(piece) for piece in (b"a\x10", b"b", b"\x10", b"\x10c")] == [b"a", b"\x10b", b"", b"\x10\x10c"]
    assert DetachKeys(b"").typed(b"\x10\x11") == b"\x10\x11"


@pytest.mark.parametrize("exited", [Exited(exit_code=0), Exited(exit_code=7), Exited(exit_code=0, failure="no")])
def test_how_it_ended_is_what_the_status_says(exited: Exited) -> None:
    ended = ended_of(encode_object(status_of(exited, ("sh",))))
    assert ended.exit_code == exited.exit_code and bool(ended.failure) == bool(exited.failure)
    assert "no" in ended.failure or not exited.failure


@pytest.mark.parametrize("said", [b"", b"[]", b"\xff", b"{}"])
def test_an_ending_that_makes_no_sense_is_a_failure(said: bytes) -> None:
    assert ended_of(said).failure


def test_the_container_is_the_one_asked_for_or_named_or_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert container_in(a_pod("p", "a", "b"), "first", quiet=False) == "first"
    named = a_pod("p", "a", "b", default="b")
    assert container_in(named, "", quiet=False) == "b" and capsys.readouterr().err == ""
    assert container_in(a_pod("p", "a", "b"), "", quiet=False) == "a"
    assert capsys.readouterr().err == 'Defaulted container "a" out of: a, b, first\n'
    with pytest.raises(BadRequestError, match="it has: a, first"):
        container_in(a_pod("p", "a"), "x", quiet=True)


def test_selectors_are_written_as_queries() -> None:
    assert selector_of({"spec": {"selector": {"app": "web", "tier": "x"}}}) == "app=web,tier=x"
    expressions: list[Json] = [
        {"key": "a", "operator": "In", "values": ["1", "2"]},
        {"key": "b", "operator": "NotIn", "values": ["3"]},
        {"key": "c", "operator": "Exists"},
        {"key": "d", "operator": "DoesNotExist"},
    ]
    selector: JsonObject = {"matchLabels": {"app": "web"}, "matchExpressions": expressions}
    assert selector_of({"spec": {"selector": selector}}) == "app=web,a in (1,2),b notin (3),c,!d"


class Listed:
    """Answers with pods."""

    namespace = "default"

    def __init__(self, *pods: JsonObject) -> None:
        self.pods = pods
        self.asked: list[Mapping[str, str] | None] = []

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: JsonObject | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Answer:
        self.asked.append(query)
        return Answer(status=200, body={"items": [*self.pods]}, warnings=())


def test_of_what_has_pods_the_first_that_is_ready_is_meant() -> None:
    deployment: JsonObject = {"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}}}
    server = Listed(a_pod("one", "a", ready=False), a_pod("two", "a"), a_pod("three", "a"))
    found = pod_of(server, "default", deployment)
    assert found == server.pods[1] and server.asked == [{"labelSelector": "app=web"}]
    with pytest.raises(NotFoundError, match="deployment/web has no pods"):
        pod_of(Listed(), "default", deployment)
    with pytest.raises(BadRequestError, match="name a pod"):
        pod_of(server, "default", {"kind": "ConfigMap", "metadata": {"name": "c"}})


def test_what_is_asked_for_is_a_path_and_a_query() -> None:
    wanted = Wanted(pod=a_pod("p", "a"), place="ns", container="a", command=("ls", "-l"), tty=True)
    assert wanted.path == "/api/v1/namespaces/ns/pods/p/exec"
    assert ("stderr", "false") in wanted.query and wanted.query[-2:] == [("command", "ls"), ("command", "-l")]
    assert Wanted(pod=a_pod("p", "a"), place="ns", container="a").path.endswith("/attach")
