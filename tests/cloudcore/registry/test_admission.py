"""What admission adds to pods, and what it refuses, through the registry."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cloudcore.registry.admission import TOKEN_MOUNT, Request, link_annotations
from cloudcore.registry.kinds import builtin_scheme
from cloudcore.registry.port import DeleteOptions, Transform, WriteOptions
from cloudcore.store.port import Stored
from skerry.authz.attributes import Actor
from skerry.errors import ForbiddenError, InvalidError, NotFoundError
from skerry.frozen import replace
from skerry.objects.bandwidth import BANDWIDTH
from skerry.objects.device_desired import desired_of
from skerry.objects.json import JsonObject, dig, list_at, map_at, maps_at, str_at
from skerry.objects.meta import Key
from skerry.objects.traffic import BUDGET
from tests.cloudcore.registry.conftest import Registry


def pod(**spec: object) -> JsonObject:
    return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}], **spec}}  # type: ignore[dict-item]


async def test_a_pod_runs_as_the_default_account_with_its_token_mounted(registry: Registry) -> None:
    made = await registry.create("pods", pod(initContainers=[{"name": "i"}], volumes=[{"name": "v"}]))
    assert str_at(made, "spec", "serviceAccountName") == str_at(made, "spec", "serviceAccount") == "default"
    volumes = maps_at(made, "spec", "volumes")
    assert [str_at(volume, "name") for volume in volumes][:-1] == ["v"]
    name = str_at(volumes[-1], "name")
    assert name.startswith("kube-api-access-")
    assert len(name) == 21
    mount = {"name": name, "readOnly": True, "mountPath": TOKEN_MOUNT}
    for which in ("containers", "initContainers"):
        assert [list_at(container, "volumeMounts") for container in maps_at(made, "spec", which)] == [[mount]]
    assert dig(volumes[-1], "projected", "defaultMode") == 420
    sources = maps_at(volumes[-1], "projected", "sources")
    assert [list(source) for source in sources] == [["serviceAccountToken"], ["configMap"], ["downwardAPI"]]
    assert map_at(sources[0], "serviceAccountToken") == {"expirationSeconds": 3607, "path": "token"}


async def test_a_token_is_not_mounted_over_what_is_there_or_where_it_is_declined(registry: Registry) -> None:
    own: JsonObject = {"name": "c", "volumeMounts": [{"name": "mine", "mountPath": TOKEN_MOUNT}]}
    made = await registry.create("pods", pod(containers=[own]))
    assert list_at(made, "spec", "volumes") == []
    declined: JsonObject = {"metadata": {"name": "q"}, "spec": {"automountServiceAccountToken": False}}
    assert list_at(await registry.create("pods", declined), "spec", "volumes") == []
    account: JsonObject = {"metadata": {"name": "shy"}, "automountServiceAccountToken": False}
    account["imagePullSecrets"] = [{"name": "s"}]
    await registry.create("serviceaccounts", account)
    shy: JsonObject = {"metadata": {"name": "r"}, "spec": {"serviceAccountName": "shy", "containers": [{}]}}
    made = await registry.create("pods", shy)
    assert list_at(made, "spec", "volumes") == []
    assert list_at(made, "spec", "imagePullSecrets") == [{"name": "s"}]
    willing: JsonObject = {"metadata": {"name": "s"}, "spec": {**map_at(shy, "spec")}}
    willing["spec"] = {**map_at(shy, "spec"), "automountServiceAccountToken": True}
    assert len(list_at(await registry.create("pods", willing), "spec", "volumes")) == 1


async def test_an_account_that_is_missing_is_named(registry: Registry) -> None:
    text = '^pods "p" is forbidden: error looking up service account ns/builder: serviceaccount "builder" not found$'
    with pytest.raises(ForbiddenError, match=text):
        await registry.create("pods", pod(serviceAccountName="builder"))


async def test_priorities_come_from_classes(registry: Registry) -> None:
    plain = await registry.create("pods", pod())
    assert (dig(plain, "spec", "priority"), dig(plain, "spec", "preemptionPolicy")) == (0, "PreemptLowerPriority")
    classes = "priorityclasses.scheduling.k8s.io"
    await registry.create(classes, {"metadata": {"name": "high"}, "value": 1000, "preemptionPolicy": "Never"})
    await registry.create(classes, {"metadata": {"name": "usual"}, "value": 7, "globalDefault": True})
    await registry.create(classes, {"metadata": {"name": "also"}, "value": 9, "globalDefault": True})

    async def spec_of(name: str, **spec: object) -> JsonObject:
        wanted = pod(**spec)
        wanted["metadata"] = {"name": name}
        return map_at(await registry.create("pods", wanted), "spec")

    high = await spec_of("a", priorityClassName="high")
    assert (high["priority"], high["preemptionPolicy"]) == (1000, "Never")
    usual = await spec_of("b")
    assert (usual["priority"], usual["priorityClassName"]) == (7, "usual")
    with pytest.raises(ForbiddenError, match="no PriorityClass with name low was found"):
        await spec_of("d", priorityClassName="low")
    with pytest.raises(ForbiddenError, match=r"the integer value of priority \(5\) must not be provided"):
        await spec_of("e", priorityClassName="high", priority=5)


async def test_a_pod_tolerates_a_lost_node_for_five_minutes_unless_it_says_otherwise(registry: Registry) -> None:
    own: JsonObject = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}
    made = await registry.create("pods", pod(tolerations=[own]))
    added = {
        "key": "node.kubernetes.io/unreachable",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 300,
    }
    assert list_at(made, "spec", "tolerations") == [own, added]
    kind, key = registry.kind("pods"), registry.key("pods", "p")
    again = await registry.objects.update(
        kind, key, lambda obj: {**obj, "metadata": {"name": "p", "labels": {"a": "b"}}}
    )
    assert list_at(again.obj, "spec", "tolerations") == [own, added]


async def test_a_runtime_class_brings_its_overhead_and_its_nodes(registry: Registry) -> None:
    with pytest.raises(ForbiddenError, match='pod rejected: RuntimeClass "gvisor" not found'):
        await registry.create("pods", pod(runtimeClassName="gvisor"))
    found: JsonObject = {
        "metadata": {"name": "gvisor"},
        "handler": "runsc",
        "overhead": {"podFixed": {"cpu": "100m"}},
        "scheduling": {"nodeSelector": {"sandbox": "yes"}, "tolerations": [{"key": "sandbox"}]},
    }
    await registry.create("runtimeclasses.node.k8s.io", found)
    made = await registry.create("pods", pod(runtimeClassName="gvisor"))
    assert dig(made, "spec", "overhead") == {"cpu": "100m"}
    assert dig(made, "spec", "nodeSelector") == {"sandbox": "yes"}
    assert {"key": "sandbox"} in list_at(made, "spec", "tolerations")
    for wrong, text in (
        ({"overhead": {"cpu": "1"}}, "Overhead doesn't match"),
        ({"nodeSelector": {"sandbox": "no"}}, "conflict: runtimeClass.scheduling.nodeSelector.sandbox. = yes"),
    ):
        with pytest.raises(ForbiddenError, match=text):
            await registry.create("pods", pod(runtimeClassName="gvisor", **wrong))


async def test_nothing_is_made_in_a_namespace_that_is_missing(registry: Registry) -> None:
    with pytest.raises(NotFoundError, match=r'^namespaces "nowhere" not found$'):
        await registry.create("configmaps", {"metadata": {"name": "c"}}, namespace="nowhere")


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
async def test_some_namespaces_stay(registry: Registry, name: str) -> None:
    await registry.create("namespaces", {"metadata": {"name": name}})
    kind, key = registry.kind("namespaces"), registry.key("namespaces", name)
    with pytest.raises(ForbiddenError, match=f'namespaces "{name}" is forbidden: this namespace may not be deleted'):
        await registry.objects.delete(kind, key)


async def test_a_wanted_value_of_a_device_is_numbered_each_time_it_changes(registry: Registry) -> None:
    devices = "devices.devices.kubeedge.io"
    setpoint: JsonObject = {"name": "setpoint", "desired": {"value": "20"}}
    made = await registry.create(devices, {"metadata": {"name": "d"}, "spec": {"properties": [setpoint]}})
    first = desired_of(made, "setpoint")
    assert first is not None
    assert (str(first.ver), first.hlc.wall_ms) == ("1.0", registry.clock.wall_ms())

    def with_value(text: str) -> Transform:
        # As `kubectl replace` has it: the metadata beside the value are gone.
        entry: JsonObject = {"name": "setpoint", "desired": {"value": text}}
        return lambda obj: {**obj, "spec": {"properties": [entry]}}

    kind, key = registry.kind(devices), registry.key(devices, "d")
    changed = desired_of((await registry.objects.update(kind, key, with_value("21"))).obj, "setpoint")
    again = desired_of((await registry.objects.update(kind, key, with_value("21"))).obj, "setpoint")
    assert changed is not None and changed == again
    assert changed.ver.covers(first.ver) and changed.ver != first.ver


async def test_a_signing_request_says_who_asked_whatever_its_writer_says(registry: Registry) -> None:
    kind = registry.kind("certificatesigningrequests.certificates.k8s.io")
    asker = Actor(name="eve", groups=("system:authenticated",), uid="7", extra=(("scope", ("a",)),))
    forged: JsonObject = {"username": "admin", "groups": ["system:masters"], "signerName": "example.com/s"}
    request: JsonObject = {"metadata": {"name": "r"}, "spec": forged}
    made = (await registry.objects.create(kind, "", request, WriteOptions(actor=asker))).obj
    assert map_at(made, "spec") == {
        "username": "eve",
        "groups": ["system:authenticated"],
        "uid": "7",
        "extra": {"scope": ["a"]},
        "signerName": "example.com/s",
    }
    change: Transform = lambda now: {**now, "spec": forged}  # noqa: E731
    changed = await registry.objects.update(kind, kind.key("", "r"), change)
    assert map_at(changed.obj, "spec") == map_at(made, "spec")


@pytest.mark.parametrize("field", ["labels", "annotations"])
async def test_a_node_tells_its_status_and_changes_nothing_else_of_itself(registry: Registry, field: str) -> None:
    kind = registry.kind("nodes")
    await registry.create("nodes", {"metadata": {"name": "eu-1", "labels": {"region": "eu"}}})
    node = WriteOptions(actor=Actor(name="system:node:eu-1", groups=("system:nodes",)))

    def told(obj: JsonObject) -> JsonObject:
        return {**obj, "status": {"phase": "Running"}}

    def taken(obj: JsonObject) -> JsonObject:
        return {**told(obj), "metadata": {**map_at(obj, "metadata"), field: {"mine": "1"}}}

    with pytest.raises(ForbiddenError, match=rf"may not change its own metadata\.{field}"):
        await registry.objects.update(kind, kind.key("", "eu-1"), taken, node, subresource="status")
    await registry.objects.update(kind, kind.key("", "eu-1"), told, node, subresource="status")
    assert str_at(registry.now("nodes", "eu-1"), "status", "phase") == "Running"
    await registry.objects.update(kind, kind.key("", "eu-1"), taken, subresource="status")


async def test_a_bandwidth_plan_that_makes_no_sense_is_refused_when_it_is_written(registry: Registry) -> None:
    kind = registry.kind("nodes")
    key = kind.key("", "eu-1")
    with pytest.raises(InvalidError) as caught:
        await registry.create("nodes", {"metadata": {"name": "eu-1", "annotations": {BANDWIDTH: "64kb"}}})
    (cause,) = caught.value.causes
    assert (cause.field, cause.reason) == ("metadata.annotations[skerry.dev/bandwidth]", "FieldValueInvalid")
    assert cause.message.startswith("Invalid value: \"64kb\": part 1 ('64kb'): '64kb' has no unit")
    await registry.create("nodes", {"metadata": {"name": "eu-1", "annotations": {BANDWIDTH: "64kbit"}}})

    def annotated(text: str) -> Transform:
        return lambda obj: {**obj, "metadata": {**map_at(obj, "metadata"), "annotations": {BANDWIDTH: text}}}

    with pytest.raises(InvalidError, match="says nothing"):
        await registry.objects.update(kind, key, annotated(" "))
    await registry.objects.update(kind, key, annotated(""))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("daily=foo", "part 1 ('daily=foo'): 'foo' is no size: write 500kB, 2MB or 1.5GB"),
        (
            "daily=1MB,weekly=1kB",
            "part 2 ('weekly=1kB'): write daily=SIZE or monthly=SIZE, as in daily=2MB,monthly=50MB",
        ),
    ],
)
async def test_a_traffic_budget_that_makes_no_sense_is_refused_when_it_is_written(
    registry: Registry, text: str, message: str
) -> None:
    kind = registry.kind("nodes")
    await registry.create("nodes", {"metadata": {"name": "eu-1", "annotations": {BUDGET: "daily=2MB"}}})
    for subresource in ("", "status"):
        with pytest.raises(InvalidError) as caught:
            await registry.objects.update(
                kind,
                kind.key("", "eu-1"),
                lambda obj: {**obj, "metadata": {**map_at(obj, "metadata"), "annotations": {BUDGET: text}}},
                subresource=subresource,
            )
        (cause,) = caught.value.causes
        assert cause.field == "metadata.annotations[skerry.dev/traffic-budget]"
        assert cause.message == f'Invalid value: "{text}": {message}'


async def test_both_annotations_of_a_link_are_told_at_once(registry: Registry) -> None:
    annotations: JsonObject = {BANDWIDTH: "64kb", BUDGET: "daily"}
    with pytest.raises(InvalidError) as caught:
        await registry.create("nodes", {"metadata": {"name": "eu-1", "annotations": annotations}})
    assert len(caught.value.causes) == 2


def test_a_plan_that_stands_there_already_holds_up_nothing_else() -> None:
    """An older cloud took any text; what a node tells of itself is written all the same."""
    node: JsonObject = {"metadata": {"name": "eu-1", "annotations": {BANDWIDTH: "sixteen"}}}
    scheme = builtin_scheme()
    kind = scheme.named("", "v1", "Node")
    assert kind is not None
    request = Request(
        kind=kind,
        operation="UPDATE",
        key=kind.key("", "eu-1"),
        obj=node,
        old=node,
        subresource="",
        actor=Actor(name="somebody"),
        suffix="",
        now_ms=0,
    )
    assert link_annotations(request, NoObjects()) is node
    with pytest.raises(InvalidError):
        link_annotations(replace(request, old={"metadata": {"name": "eu-1"}}), NoObjects())
    with pytest.raises(InvalidError):
        link_annotations(replace(request, old=None, subresource="status"), NoObjects())


class NoObjects:
    def read(self, key: Key) -> Stored | None:
        return None

    def select(self, resource: str, *, namespace: str = "") -> Sequence[Stored]:
        return ()

    def obj(self, stored: Stored) -> JsonObject:
        raise AssertionError("nothing is there")


# --- mirrors of static pods -----------------------------------------------------------------------------------------

NODE_ACTOR = WriteOptions(actor=Actor(name="system:node:eu-1", groups=("system:nodes",)))


def mirror(node_uid: str, **spec: object) -> JsonObject:
    owner: JsonObject = {"apiVersion": "v1", "kind": "Node", "name": "eu-1", "uid": node_uid, "controller": True}
    return {
        "metadata": {
            "name": "p-eu-1",
            "annotations": {"kubernetes.io/config.mirror": "u-1"},
            "ownerReferences": [owner],
        },
        "spec": {"nodeName": "eu-1", "containers": [{"name": "c", "image": "i"}], **spec},  # type: ignore[dict-item]
    }


async def make(registry: Registry, obj: JsonObject) -> JsonObject:
    made = await registry.objects.create(registry.kind("pods"), "ns", obj, NODE_ACTOR)
    return made.obj


async def test_a_node_makes_mirrors_of_its_own_and_nothing_is_mounted_into_them(registry: Registry) -> None:
    node = await registry.create("nodes", {"metadata": {"name": "eu-1"}})
    made = await make(registry, mirror(str_at(node, "metadata", "uid")))
    assert list_at(made, "spec", "volumes") == [] and str_at(made, "spec", "serviceAccountName") == ""


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"metadata": {"annotations": {}}}, 'does not have "kubernetes.io/config.mirror" annotation'),
        ({"metadata": {"ownerReferences": []}}, "with an owner reference set to itself"),
        ({"spec": {"nodeName": "eu-2"}}, "can only create pods with spec.nodeName set to itself"),
        ({"spec": {"serviceAccountName": "default"}}, "can not create pods that reference service accounts"),
        ({"spec": {"imagePullSecrets": [{"name": "s"}]}}, "can not create pods that reference secrets"),
        (
            {"spec": {"volumes": [{"name": "v", "configMap": {"name": "c"}}]}},
            "can not create pods that reference configmaps",
        ),
    ],
)
async def test_a_node_makes_no_other_pods(
    registry: Registry, change: dict[str, dict[str, object]], refusal: str
) -> None:
    node = await registry.create("nodes", {"metadata": {"name": "eu-1"}})
    wanted = mirror(str_at(node, "metadata", "uid"))
    for part, fields in change.items():
        map_at(wanted, part).update(fields)  # type: ignore[arg-type]
    with pytest.raises(ForbiddenError, match=refusal):
        await make(registry, wanted)


@pytest.mark.parametrize(
    ("field", "value", "refusal"),
    [
        ("uid", "other", "UID mismatch"),
        ("name", "eu-2", "an owner reference set to itself"),
        ("controller", False, "a controller owner reference"),
        ("blockOwnerDeletion", True, "must not set blockOwnerDeletion"),
    ],
)
async def test_a_mirror_is_owned_by_the_node_as_it_is(
    registry: Registry, field: str, value: object, refusal: str
) -> None:
    node = await registry.create("nodes", {"metadata": {"name": "eu-1"}})
    wanted = mirror(str_at(node, "metadata", "uid"))
    maps_at(wanted, "metadata", "ownerReferences")[0][field] = value  # type: ignore[assignment]
    with pytest.raises(ForbiddenError, match=refusal):
        await make(registry, wanted)


async def test_a_node_deletes_its_own_pods_and_changes_none(registry: Registry) -> None:
    kind = registry.kind("pods")
    await registry.create("pods", {"metadata": {"name": "mine"}, "spec": {"nodeName": "eu-1", "containers": [{}]}})
    await registry.create("pods", {"metadata": {"name": "other"}, "spec": {"nodeName": "eu-2", "containers": [{}]}})
    options = DeleteOptions(actor=NODE_ACTOR.actor, grace_s=0)
    await registry.objects.delete(kind, kind.key("ns", "mine"), options)
    with pytest.raises(ForbiddenError, match="can only delete pods with spec"):
        await registry.objects.delete(kind, kind.key("ns", "other"), options)

    def labelled(obj: JsonObject) -> JsonObject:
        return {**obj, "metadata": {**map_at(obj, "metadata"), "labels": {"a": "b"}}}

    with pytest.raises(ForbiddenError, match="can only create and delete mirror pods"):
        await registry.objects.update(kind, kind.key("ns", "other"), labelled, NODE_ACTOR)


async def test_nobody_makes_a_mirror_with_secrets_or_makes_a_pod_one_later(registry: Registry) -> None:
    with pytest.raises(ForbiddenError, match="a mirror pod may not reference secrets"):
        await registry.create("pods", mirror("", imagePullSecrets=[{"name": "s"}]))
    with pytest.raises(ForbiddenError, match="a mirror pod may not reference service accounts"):
        await registry.create("pods", mirror("", serviceAccountName="default"))
