"""What `skerry device set` makes of a Device, and what its waiting ends with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from skerry.cli.client import Answer
from skerry.cli.device_set import Wishes, assignment, with_wishes, without_wishes, write_device
from skerry.cli.target import EXIT_OFFLINE, QueuedError, exit_code
from skerry.errors import BadRequestError, ConflictError, NotFoundError
from skerry.objects.device_desired import property_of
from skerry.objects.json import JsonObject, dig, map_at, str_at


def device() -> JsonObject:
    held: JsonObject = {"value": "20", "metadata": {"expires": "2026-01-01T00:00:00Z", "reason": "old", "own": "x"}}
    return {
        "metadata": {"name": "boiler", "resourceVersion": "7"},
        "spec": {"deviceModelRef": {"name": "m"}, "properties": [{"name": "setpoint", "desired": held}]},
    }


@dataclass
class Server:
    """A cloud in which somebody else writes a few times."""

    conflicts: int = 0
    written: list[tuple[JsonObject, dict[str, str]]] = field(default_factory=list)
    namespace: str = "default"

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
        obj: JsonObject = device()
        if "devicemodels" in path:
            obj = {"spec": {"properties": [{"name": "setpoint"}, {"name": "fan"}]}}
        if method == "PUT":
            assert body is not None
            self.written.append((body, dict(query or {})))
            if len(self.written) <= self.conflicts:
                raise ConflictError("somebody else wrote")
            obj = body
        return Answer(status=200, body=obj, warnings=())


def write(server: Server, wishes: Wishes, *, dry_run: bool = False) -> JsonObject:
    return write_device(
        server, "default", "boiler", lambda obj: with_wishes(obj, wishes), wishes=wishes, dry_run=dry_run
    )


def test_terms_belong_to_the_value_they_came_with() -> None:
    made = with_wishes(device(), Wishes(values={"setpoint": "64", "fan": "true"}, reason="frost"))
    held = property_of(made, "setpoint")
    assert (str_at(held, "desired", "value"), dig(held, "desired", "metadata", "expires")) == ("64", None)
    assert (dig(held, "desired", "metadata", "reason"), dig(held, "desired", "metadata", "own")) == ("frost", "x")
    assert dig(held, "desired", "metadata", "requested")
    assert str_at(property_of(made, "fan"), "desired", "value") == "true"
    later = with_wishes(device(), Wishes(values={"setpoint": "64"}, expires="2030-01-01T00:00:00Z"))
    assert dig(property_of(later, "setpoint"), "desired", "metadata", "expires") == "2030-01-01T00:00:00Z"


def test_what_is_not_wanted_any_more_leaves_the_property() -> None:
    made = without_wishes(device(), ["setpoint", "other"])
    assert property_of(made, "setpoint") == {"name": "setpoint"}


def test_a_write_is_made_again_where_somebody_wrote_in_between_unless_that_is_what_matters() -> None:
    server = Server(conflicts=2)
    write(server, Wishes(values={"setpoint": "64"}))
    assert len(server.written) == 3
    server = Server(conflicts=2)
    with pytest.raises(ConflictError):
        write(server, Wishes(values={"setpoint": "64"}, if_match="5"))
    assert [str_at(body, "metadata", "resourceVersion") for body, _ in server.written] == ["5"]
    server = Server(conflicts=9)
    with pytest.raises(ConflictError):
        write(server, Wishes(values={"setpoint": "64"}))
    assert len(server.written) == 5


def test_terms_that_the_server_checks_go_beside_the_value() -> None:
    wishes = Wishes(values={"setpoint": "64"}, if_match="3.1", on_reconnect="confirm", take="edge")
    made = with_wishes(device(), wishes)
    metadata = map_at(property_of(made, "setpoint"), "desired", "metadata")
    assert (metadata["ifMatch"], metadata["onReconnect"], metadata["take"]) == ("3.1", "confirm", "edge")
    server = Server(conflicts=1)
    write(server, wishes)
    assert len(server.written) == 2, "whether it holds the server says each time"
    assert str_at(server.written[0][0], "metadata", "resourceVersion") == "7"


def test_a_dry_run_asks_for_checks_alone() -> None:
    server = Server()
    write(server, Wishes(values={"setpoint": "64"}), dry_run=True)
    assert server.written[0][1] == {"fieldManager": "skerry", "dryRun": "All"}


def test_a_property_that_there_is_not_is_named_with_those_that_there_are() -> None:
    with pytest.raises(NotFoundError, match=r"no property 'speed' \(it has: setpoint, fan\)"):
        write(Server(), Wishes(values={"speed": "1"}))


def test_assignments() -> None:
    assert assignment("a=b=c") == ("a", "b=c")
    assert assignment("a=") == ("a", "")
    for text in ("a", "=b", ""):
        with pytest.raises(BadRequestError, match="PROPERTY=VALUE"):
            assignment(text)


def test_what_waits_for_a_gateway_has_an_exit_code_of_its_own() -> None:
    assert exit_code(QueuedError("queued")) == EXIT_OFFLINE
