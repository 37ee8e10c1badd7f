"""What `kubectl get` shows: cells of the kinds people look at, as kubectl's users know them."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcore.registry.kinds import builtin_kinds, builtin_scheme
from skerry.errors import BadRequestError
from skerry.forms.tables.custom import PrinterColumn, custom_printer, find
from skerry.forms.tables.printers import printer_of
from skerry.objects.times import parse_time
from tests.cloudcore.api.conftest import ApiWorld

NOW = parse_time("2026-11-21T12:00:00Z")
HOUR_AGO = "2026-11-21T11:00:00Z"


def shown(resource: str, obj: dict[str, Any]) -> dict[str, Any]:
    """Cells by column."""
    kind = builtin_scheme().of_resource(resource)
    assert kind is not None
    printer = printer_of(kind, ())
    obj = {"metadata": {"name": "x", "creationTimestamp": HOUR_AGO, **obj.pop("metadata", {})}, **obj}
    return {column.name: cell for column, cell in zip(printer.columns, printer.cells(obj, NOW), strict=True)}


def status(name: str = "c", **state: Any) -> dict[str, Any]:
    return {"name": name, "restartCount": 0, "ready": "running" in state, "state": state}


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        ({"status": {"phase": "Pending"}}, "Pending"),
        ({"status": {"phase": "Failed", "reason": "Evicted"}}, "Evicted"),
        ({"status": {"phase": "Running", "containerStatuses": [status(running={})]}}, "Running"),
        ({"status": {"phase": "Running", "containerStatuses": [status(waiting={"reason": "CrashLoopBackOff"})]}},
         "CrashLoopBackOff"),
        ({"status": {"phase": "Succeeded", "containerStatuses": [status(terminated={"reason": "Completed"})]}},
         "Completed"),
        ({"status": {"phase": "Failed", "containerStatuses": [status(terminated={"signal": 9})]}}, "Signal:9"),
        ({"status": {"phase": "Failed", "containerStatuses": [status(terminated={"exitCode": 3})]}}, "ExitCode:3"),
        ({"status": {"phase": "Running", "containerStatuses": [
            status("a", terminated={"reason": "Completed", "exitCode": 0}), status("b", running={})]}}, "NotReady"),
        ({"metadata": {"deletionTimestamp": HOUR_AGO}, "status": {"phase": "Running"}}, "Terminating"),
        ({"metadata": {"deletionTimestamp": HOUR_AGO}, "status": {"reason": "NodeLost"}}, "Unknown"),
        ({"metadata": {"deletionTimestamp": HOUR_AGO}, "status": {"phase": "Succeeded"}}, "Succeeded"),
        ({"spec": {"initContainers": [{"name": "i"}, {"name": "j"}]},
          "status": {"phase": "Pending", "initContainerStatuses": [
              status("i", terminated={"exitCode": 0}), status("j", running={})]}}, "Init:1/2"),
        ({"spec": {"initContainers": [{"name": "i"}]},
          "status": {"phase": "Pending", "initContainerStatuses": [status("i", terminated={"exitCode": 2})]}},
         "Init:ExitCode:2"),
        ({"status": {"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}}, "SchedulingGated"),
    ],
)  # fmt: skip
def test_a_pods_status_says_what_is_happening(pod: dict[str, Any], reason: str) -> None:
    assert shown("pods", pod)["Status"] == reason


def test_a_pods_row_counts_ready_containers_and_restarts() -> None:
    restarted = status("b", running={}) | {
        "restartCount": 4,
        "lastState": {"terminated": {"finishedAt": "2026-11-21T11:58:00Z"}},
    }
    pod = {
        "spec": {"containers": [{"name": "a"}, {"name": "b"}], "nodeName": "n1"},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.9",
            "containerStatuses": [status("a", running={}), restarted],
        },
    }
    assert shown("pods", pod) == {
        "Name": "x",
        "Ready": "2/2",
        "Status": "Running",
        "Restarts": "4 (2m ago)",
        "Age": "60m",
        "IP": "10.0.0.9",
        "Node": "n1",
        "Nominated Node": "<none>",
        "Readiness Gates": "<none>",
    }


def test_a_nodes_row_names_roles_state_and_version() -> None:
    node = {
        "metadata": {"labels": {"node-role.kubernetes.io/edge": "", "kubernetes.io/role": "plant"}},
        "spec": {"unschedulable": True},
        "status": {
            "conditions": [{"type": "Ready", "status": "Unknown"}],
            "addresses": [{"type": "InternalIP", "address": "192.0.2.9"}],
            "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Debian"},
        },
    }
    cells = shown("nodes", node)
    assert (cells["Status"], cells["Roles"], cells["Version"]) == (
        "NotReady,SchedulingDisabled",
        "edge,plant",
        "v1.36.0",
    )
    assert (cells["Internal-IP"], cells["External-IP"], cells["Kernel-Version"]) == (
        "192.0.2.9",
        "<none>",
        "<unknown>",
    )


@pytest.mark.parametrize(
    ("resource", "obj", "cells"),
    [
        ("deployments.apps",
         {"spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}},
                   "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
          "status": {"readyReplicas": 2, "updatedReplicas": 1, "availableReplicas": 2}},
         {"Ready": "2/3", "Up-to-date": 1, "Available": 2, "Images": "i", "Selector": "a=b"}),
        ("services",
         {"spec": {"type": "NodePort", "clusterIP": "10.96.0.9", "selector": {"a": "b"},
                   "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}},
         {"Type": "NodePort", "Cluster-IP": "10.96.0.9", "External-IP": "<none>", "Port(s)": "80:30080/TCP,53/UDP"}),
        ("services", {"spec": {"type": "LoadBalancer"}}, {"External-IP": "<pending>", "Port(s)": "<none>"}),
        ("devices.devices.kubeedge.io",
         {"spec": {"nodeName": "n1", "deviceModelRef": {"name": "m"}, "protocol": {"protocolName": "modbus"}},
          "status": {"state": "online", "lastOnlineTime": "2026-11-21T11:59:30Z",
                     "twins": [{"propertyName": "t", "reported": {"value": "21.5"}}]}},
         {"Node": "n1", "Model": "m", "Protocol": "modbus", "Status": "online", "Last Seen": "30s ago",
          "Reported": "t=21.5"}),
        ("devices.devices.kubeedge.io", {"spec": {}}, {"Status": "unknown", "Last Seen": "<unknown>"}),
        ("events",
         {"lastTimestamp": "2026-11-21T11:59:55Z", "type": "Warning", "reason": "R", "message": " m\n", "count": 3,
          "involvedObject": {"kind": "Pod", "name": "p"}, "source": {"component": "k", "host": "n"}},
         {"Last Seen": "5s", "Object": "pod/p", "Source": "k, n", "Message": "m", "Count": 3}),
        ("endpoints",
         {"subsets": [{"addresses": [{"ip": f"10.0.0.{n}"} for n in range(4)], "ports": [{"port": 80}]}]},
         {"Endpoints": "10.0.0.0:80,10.0.0.1:80,10.0.0.2:80 + 1 more..."}),
        ("secrets", {"type": "Opaque", "data": {"a": "", "b": ""}}, {"Type": "Opaque", "Data": 2}),
        ("leases.coordination.k8s.io", {"spec": {"holderIdentity": "me"}}, {"Holder": "me"}),
        ("rolebindings.rbac.authorization.k8s.io",
         {"roleRef": {"kind": "Role", "name": "r"}, "subjects": [
             {"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "namespace": "n", "name": "s"}]},
         {"Role": "Role/r", "Users": "u", "Groups": "", "ServiceAccounts": "n/s"}),
        ("jobs.batch",
         {"spec": {"completions": 2}, "status": {"succeeded": 1, "startTime": "2026-11-21T11:59:00Z"}},
         {"Status": "Running", "Completions": "1/2", "Duration": "60s"}),
    ],
)  # fmt: skip
def test_rows_have_the_cells_that_people_know(resource: str, obj: dict[str, Any], cells: dict[str, Any]) -> None:
    row = shown(resource, obj)
    assert {name: row[name] for name in cells} == cells


@pytest.mark.parametrize(
    ("types", "going", "status"),
    [
        ((), False, "Running"),
        (("Suspended",), False, "Suspended"),
        (("FailureTarget",), False, "FailureTarget"),
        (("FailureTarget",), True, "Terminating"),
        (("Suspended",), True, "Terminating"),
        (("SuccessCriteriaMet", "Complete"), True, "Complete"),
        (("FailureTarget", "Failed"), False, "Failed"),
    ],
)
def test_what_becomes_of_a_job_is_shown(types: tuple[str, ...], status: str, *, going: bool) -> None:
    conditions = [{"type": type_, "status": "True"} for type_ in types]
    job: dict[str, Any] = {"spec": {}, "status": {"conditions": conditions}}
    if going:
        job["metadata"] = {"name": "x", "deletionTimestamp": "2026-11-21T11:59:00Z"}
    assert shown("jobs.batch", job)["Status"] == status


def test_how_far_rollouts_are_is_shown() -> None:
    policy = {
        "spec": {
            "targets": [{"kind": "FederatedConfigMap", "name": "a"}],
            "waves": [{"name": "canary"}],
            "paused": True,
        },
        "status": {"targets": [{"phase": "Complete"}, {"phase": "Halted"}], "message": "why"},
    }
    cells = shown("rolloutpolicies.skerry.dev", policy)
    assert [cells[name] for name in ("Targets", "Waves", "Objects", "Complete", "Paused", "Message")] == [
        *("FederatedConfigMap/a", "canary", 2, 1, "yes", "why")
    ]
    revision = {
        "spec": {"source": {"kind": "FederatedConfigMap", "name": "a"}, "revision": 3},
        "status": {
            "phase": "Halted",
            "wave": "eu",
            "waves": [{"members": 2, "updated": 1, "failed": 1}, {"members": 3}],
        },
    }
    cells = shown("federatedrevisions.skerry.dev", revision)
    assert [cells[name] for name in ("Object", "Revision", "Phase", "Wave", "Members", "Updated", "Failed")] == [
        *("FederatedConfigMap/a", 3, "Halted", "eu", 5, 1, 1)
    ]


def test_every_built_in_kind_prints_an_object_that_has_nothing_but_a_name() -> None:
    for kind in builtin_kinds():
        printer = printer_of(kind, ())
        cells = printer.cells({"metadata": {"name": "x"}}, NOW)
        assert len(cells) == len(printer.columns), kind.resource
        assert "x" in cells, kind.resource


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.replicas", [2]),
        ("{.spec.replicas}", [2]),
        (".status.conditions[?(@.type=='Ready')].status", ["True"]),
        ('.status.conditions[?(@.type!="Ready")].status', ["False"]),
        (".status.conditions[0].type", ["Ready"]),
        (".status.conditions[*].type", ["Ready", "Synced"]),
        (".metadata.labels['a.b/c']", ["d"]),
        (".spec.absent.deeper", []),
        (".status.conditions[9].type", []),
    ],
)
def test_columns_of_definitions_find_what_their_path_names(path: str, found: list[Any]) -> None:
    conditions = [{"type": "Ready", "status": "True"}, {"type": "Synced", "status": "False"}]
    obj: Any = {"spec": {"replicas": 2}, "status": {"conditions": conditions}, "metadata": {"labels": {"a.b/c": "d"}}}
    assert find(path, obj) == found


def test_a_path_outside_the_subset_is_refused() -> None:
    with pytest.raises(BadRequestError, match="unsupported JSON path"):
        find(".spec..deep", {})


def test_a_definitions_columns_are_typed_and_one_without_columns_shows_the_age() -> None:
    obj: Any = {"metadata": {"name": "x", "creationTimestamp": HOUR_AGO}, "spec": {"n": 3, "on": True}}
    given = (
        PrinterColumn(name="N", type="integer", json_path=".spec.n"),
        PrinterColumn(name="On", type="boolean", json_path=".spec.on", priority=1),
        PrinterColumn(name="Age", type="date", json_path=".metadata.creationTimestamp"),
        PrinterColumn(name="Gone", type="string", json_path=".spec.gone"),
    )
    assert custom_printer(given).cells(obj, NOW) == ["x", 3, True, "60m", None]
    assert custom_printer(()).cells(obj, NOW) == ["x", "60m"]


async def test_a_table_carries_what_was_asked_for_of_each_object(world: ApiWorld) -> None:
    await world.config("c", a="b")
    url = "/api/v1/namespaces/default/configmaps"
    accept = "application/json;as=Table;v=v1beta1;g=meta.k8s.io"
    metadata = await world.get(url, accept=accept)
    assert metadata["apiVersion"] == "meta.k8s.io/v1beta1"
    assert metadata["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    assert [column["name"] for column in metadata["columnDefinitions"]] == ["Name", "Data", "Age"]
    whole = await world.get(f"{url}?includeObject=Object", accept=accept)
    assert whole["rows"][0]["object"]["data"] == {"a": "b"}
    bare = await world.get(f"{url}/c?includeObject=None", accept=accept)
    assert "object" not in bare["rows"][0]
    assert (await world.ask("GET", f"{url}?includeObject=Half", accept=accept)).code == 400
