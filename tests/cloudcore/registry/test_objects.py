"""Writing through the registry: creates, updates, deletes and reports, and who loses when two write at once."""

from __future__ import annotations

import asyncio
import re

import pytest

from cloudcore.registry.objects import LocalObjects
from cloudcore.registry.port import DeleteOptions, Effect, Transform, WriteOptions
from cloudcore.registry.together import together
from cloudcore.store.failing import FailingStore, Fault, Operation
from cloudcore.store.port import Advance, Record
from skerry.errors import (
    AlreadyExistsError,
    BadRequestError,
    ConflictError,
    FencedError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from skerry.objects.json import Json, JsonObject, dig, int_at, map_at, str_at
from skerry.objects.meta import Revision, uid_of
from skerry.objects.spans import Span, Spans
from skerry.sync.received import Received
from skerry.wire.frames import PROMPT
from tests.cloudcore.registry.conftest import Registry


def advance(seq: int = 1, node: str = "n") -> Advance:
    """Of the node's first session."""
    return Advance(node=node, incarnation="i", session=1, covered=((PROMPT, Span(seq, seq)),))


def config(name: str = "c", **data: str) -> JsonObject:
    return {"metadata": {"name": name}, "data": dict(data)}


def with_data(**data: str) -> Transform:
    return lambda obj: {**obj, "data": dict(data)}


def pod(name: str = "p", **spec: object) -> JsonObject:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}  # type: ignore[dict-item]


async def test_a_created_object_has_identity_and_no_generation_where_its_kind_has_none(registry: Registry) -> None:
    obj = await registry.create("configmaps", config(a="1"))
    metadata = map_at(obj, "metadata")
    assert (obj["apiVersion"], obj["kind"], obj["data"]) == ("v1", "ConfigMap", {"a": "1"})
    assert metadata["namespace"] == "ns"
    assert re.fullmatch("[0-9a-f-]{36}", uid_of(obj))
    assert metadata["creationTimestamp"] == "2025-06-15T15:06:40Z"
    assert metadata["resourceVersion"] == "3"
    assert "generation" not in metadata
    assert registry.now("configmaps", "c") == obj


@pytest.mark.parametrize(
    ("obj", "error", "text"),
    [
        ({"metadata": {"name": "c", "resourceVersion": "1"}}, BadRequestError, "resourceVersion should not be set"),
        ({"metadata": {"name": "c", "namespace": "x"}}, BadRequestError, "namespace of the provided object does not"),
        ({"metadata": {}}, InvalidError, 'ConfigMap "" is invalid: metadata.name: Required value: name or generateN'),
        (config("c", bad="1"), InvalidError, 'ConfigMap "c" is invalid: data.bad: Invalid value: "bad": is bad'),
    ],
)
async def test_what_cannot_be_created_is_refused_in_kubernetes_words(
    registry: Registry, obj: JsonObject, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=re.escape(text)):
        await registry.create("configmaps", obj)
    assert await registry.store.revision() == 2


async def test_a_name_is_generated_and_tried_again_when_taken(registry: Registry) -> None:
    class SameAtFirst:
        """Chance that repeats itself seven times."""

        def __init__(self) -> None:
            self.calls = 0

        def suffix(self, length: int) -> str:
            self.calls += 1
            return "bbbbb" if self.calls < 9 else "ccccc"

        def uid(self) -> str:
            return f"uid-{self.calls}"

        def token_hex(self, n_bytes: int) -> str:
            return "00" * n_bytes

        def unit(self) -> float:
            return 0.0

    objects = LocalObjects(
        store=registry.store,
        cache=registry.cache,
        rules=registry.objects.rules,
        clock=registry.clock,
        ids=SameAtFirst(),
    )
    kind = registry.kind("configmaps")
    wanted: JsonObject = {"metadata": {"generateName": "x" * 70}}
    first = await objects.create(kind, "ns", wanted)
    second = await objects.create(kind, "ns", wanted)
    assert str_at(first.obj, "metadata", "name") == "x" * 58 + "bbbbb"
    assert str_at(second.obj, "metadata", "name") == "x" * 58 + "ccccc"
    with pytest.raises(AlreadyExistsError):
        await objects.create(kind, "ns", {"metadata": {"name": "x" * 58 + "ccccc"}})


async def test_creating_what_is_there_says_so(registry: Registry) -> None:
    await registry.create("configmaps", config())
    for options in (WriteOptions(), WriteOptions(dry_run=True)):
        with pytest.raises(AlreadyExistsError, match=r'^configmaps "c" already exists$'):
            await registry.objects.create(registry.kind("configmaps"), "ns", config(), options)


async def test_a_dry_run_shows_the_outcome_and_writes_nothing(registry: Registry) -> None:
    kind, key = registry.kind("configmaps"), registry.key("configmaps", "c")
    shown = await registry.objects.create(kind, "ns", config(a="1"), WriteOptions(dry_run=True))
    assert uid_of(shown.obj)
    assert registry.now("configmaps", "c") is None
    await registry.create("configmaps", config(a="1"))
    before = await registry.store.revision()
    changed = await registry.objects.update(kind, key, with_data(a="2"), WriteOptions(dry_run=True))
    assert changed.obj["data"] == {"a": "2"}
    gone = await registry.objects.delete(kind, key, DeleteOptions(dry_run=True))
    assert gone.deleted
    assert await registry.store.revision() == before


async def test_an_update_that_changes_nothing_takes_no_revision(registry: Registry) -> None:
    kind, key = registry.kind("configmaps"), registry.key("configmaps", "c")
    created = await registry.create("configmaps", config(a="1"))
    same = await registry.objects.update(kind, key, lambda obj: {**obj, "data": {"a": "1"}})
    assert same.obj == created
    assert await registry.store.revision() == 3
    changed = await registry.objects.update(kind, key, with_data(a="2"))
    assert str_at(changed.obj, "metadata", "resourceVersion") == "4"


async def test_an_update_from_an_old_state_is_refused_and_one_from_any_is_not(registry: Registry) -> None:
    kind, key = registry.kind("configmaps"), registry.key("configmaps", "c")
    old = await registry.create("configmaps", config(a="1"))
    await registry.objects.update(kind, key, with_data(a="2"))
    text = (
        'Operation cannot be fulfilled on configmaps "c": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    with pytest.raises(ConflictError, match=f"^{re.escape(text)}$"):
        await registry.objects.update(kind, key, lambda _: {**old, "data": {"a": "3"}})
    written = await registry.objects.update(kind, key, lambda _: config(a="4"))
    assert written.obj["data"] == {"a": "4"}
    assert uid_of(written.obj) == uid_of(old)


async def test_kinds_without_unconditional_update_want_a_resource_version(registry: Registry) -> None:
    await registry.create("leases.coordination.k8s.io", {"metadata": {"name": "l"}})
    kind, key = registry.kind("leases.coordination.k8s.io"), registry.key("leases.coordination.k8s.io", "l")
    with pytest.raises(InvalidError, match="must be specified for an update"):
        await registry.objects.update(kind, key, lambda _: {"metadata": {"name": "l"}, "spec": {}})


async def test_an_update_of_another_life_or_name_is_refused(registry: Registry) -> None:
    kind, key = registry.kind("configmaps"), registry.key("configmaps", "c")
    await registry.create("configmaps", config())
    with pytest.raises(ConflictError, match="Precondition failed: UID in precondition: other"):
        await registry.objects.update(kind, key, lambda _: {"metadata": {"name": "c", "uid": "other"}})
    with pytest.raises(
        BadRequestError, match=re.escape("the name of the object (d) does not match the name on the URL (c)")
    ):
        await registry.objects.update(kind, key, lambda _: {"metadata": {"name": "d"}})
    with pytest.raises(NotFoundError, match=r'^configmaps "x" not found$'):
        await registry.objects.update(kind, registry.key("configmaps", "x"), lambda obj: obj)


async def test_a_put_creates_only_kinds_that_allow_it(registry: Registry) -> None:
    lease = registry.kind("leases.coordination.k8s.io")
    wanted: JsonObject = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}}
    key = registry.key("leases.coordination.k8s.io", "l")
    with pytest.raises(NotFoundError):
        await registry.objects.update(lease, key, lambda _: wanted)
    written = await registry.objects.update(lease, key, lambda _: wanted, create_absent=True)
    assert written.created
    with pytest.raises(NotFoundError):
        kind = registry.kind("configmaps")
        await registry.objects.update(kind, registry.key("configmaps", "c"), lambda _: config(), create_absent=True)


async def test_rivals_without_a_revision_all_get_through(registry: Registry) -> None:
    kind, key = registry.kind("configmaps"), registry.key("configmaps", "c")
    await registry.create("configmaps", config())

    def add(name: str) -> Transform:
        return lambda obj: {**obj, "data": {**map_at(obj, "data"), name: "x"}}

    await asyncio.gather(*(registry.objects.update(kind, key, add(f"k{number}")) for number in range(20)))
    assert len(map_at(registry.now("configmaps", "c"), "data")) == 20


async def test_the_last_finalizer_of_a_deleting_object_takes_it_along(registry: Registry) -> None:
    kind, key = registry.kind("configmaps"), registry.key("configmaps", "c")
    obj = config()
    obj["metadata"] = {"name": "c", "finalizers": ["example.com/a"]}
    await registry.create("configmaps", obj)
    kept = await registry.objects.delete(kind, key)
    assert not kept.deleted
    assert str_at(kept.obj, "metadata", "deletionTimestamp") == "2025-06-15T15:06:40Z"
    assert dig(kept.obj, "metadata", "deletionGracePeriodSeconds") == 0
    again = await registry.objects.delete(kind, key)
    assert again.obj == kept.obj

    def finalizers(*names: str) -> Transform:
        return lambda obj: {**obj, "metadata": {**map_at(obj, "metadata"), "finalizers": list[Json](names)}}

    with pytest.raises(InvalidError, match=re.escape('found new finalizers []string{"b.com/b"}')):
        await registry.objects.update(kind, key, finalizers("example.com/a", "b.com/b"))
    gone = await registry.objects.update(kind, key, finalizers())
    assert gone.deleted
    assert registry.now("configmaps", "c") is None
    (change,) = await registry.store.changes(after=Revision(4))
    assert change.before is not None
    assert b"finalizers" not in change.before


async def test_preconditions_of_a_delete_are_checked(registry: Registry) -> None:
    kind, key = registry.kind("configmaps"), registry.key("configmaps", "c")
    created = await registry.create("configmaps", config())
    with pytest.raises(ConflictError, match="UID in precondition: x, UID in object meta: "):
        await registry.objects.delete(kind, key, DeleteOptions(uid="x"))
    with pytest.raises(ConflictError, match="ResourceVersion in precondition: 2, ResourceVersion in object meta: 3"):
        await registry.objects.delete(kind, key, DeleteOptions(revision=Revision(2)))
    gone = await registry.objects.delete(kind, key, DeleteOptions(uid=uid_of(created), revision=Revision(3)))
    assert gone.deleted
    assert str_at(gone.obj, "metadata", "resourceVersion") == "4"
    with pytest.raises(NotFoundError):
        await registry.objects.delete(kind, key)


async def test_a_namespace_lives_terminating_until_it_is_finalized(registry: Registry) -> None:
    kind, key = registry.kind("namespaces"), registry.key("namespaces", "ns")
    before = registry.now("namespaces", "ns")
    assert map_at(before, "spec") == {"finalizers": ["kubernetes"]}
    assert map_at(before, "status") == {"phase": "Active"}
    assert map_at(before, "metadata", "labels") == {"kubernetes.io/metadata.name": "ns"}
    kept = await registry.objects.delete(kind, key)
    assert (kept.deleted, str_at(kept.obj, "status", "phase")) == (False, "Terminating")
    with pytest.raises(ForbiddenError, match="because it is being terminated") as error:
        await registry.create("configmaps", config())
    assert [cause.reason for cause in error.value.causes] == ["NamespaceTerminating"]
    ignored = await registry.objects.update(kind, key, lambda obj: {**obj, "spec": {"finalizers": []}})
    assert ignored.obj == kept.obj
    gone = await registry.objects.update(kind, key, lambda obj: {**obj, "spec": {}}, subresource="finalize")
    assert gone.deleted
    with pytest.raises(NotFoundError, match=r'^namespaces "ns" not found$'):
        await registry.create("configmaps", config())


async def test_an_unavailable_store_is_said_and_the_object_stays_as_it_was(registry: Registry) -> None:
    def plan(operation: Operation, number: int) -> Fault | None:
        return Fault(error=UnavailableError("no disk")) if operation == "commit" else None

    objects = LocalObjects(
        store=FailingStore(registry.store, plan),
        cache=registry.cache,
        rules=registry.objects.rules,
        clock=registry.clock,
        ids=registry.objects.ids,
    )
    with pytest.raises(UnavailableError, match="no disk"):
        await objects.create(registry.kind("configmaps"), "ns", config())
    assert registry.now("configmaps", "c") is None


# Reports of nodes


def effect(registry: Registry, resource: str, name: str, **fields: object) -> Effect:
    found = registry.now(resource, name)
    given = {"uid": "" if found is None else uid_of(found), "subresource": "status", "gone": False} | fields
    return Effect(kind=registry.kind(resource), key=registry.key(resource, name), **given)  # type: ignore[arg-type]


def running(obj: JsonObject) -> JsonObject:
    return {**obj, "status": {**map_at(obj, "status"), "phase": "Running"}}


async def test_a_report_takes_effect_once_and_whole(registry: Registry) -> None:
    await registry.store.enter("n", "i")
    await registry.create("pods", pod(nodeName="n"))
    record = Record(series="s", at_ms=1, body=b"{}")
    effects = [effect(registry, "pods", "p", transform=running)]
    await registry.objects.report(advance(), effects, [record])
    assert str_at(registry.now("pods", "p"), "status", "phase") == "Running"
    with pytest.raises(ConflictError):
        await registry.objects.report(advance(), effects, [record])
    assert len(await registry.store.records("s")) == 1
    position = await registry.store.position("n")
    assert position is not None
    assert position.received == Received((Spans.upto(1), Spans()))
    await registry.store.enter("n", "i")
    with pytest.raises(FencedError):
        await registry.objects.report(advance(2), effects, [record])


async def test_effects_on_other_lives_and_refused_ones_are_dropped_and_the_rest_holds(registry: Registry) -> None:
    await registry.store.enter("n", "i")
    await registry.create("pods", pod("p", nodeName="n"))
    await registry.create("pods", pod("q", nodeName="n"))
    created: JsonObject = {"metadata": {"name": "n"}, "status": {"phase": "x"}}
    effects = [
        effect(registry, "pods", "p", uid="another", transform=running),
        effect(registry, "pods", "absent", uid="another", transform=running),
        effect(registry, "configmaps", "new", transform=lambda _: config("new", bad="1"), subresource=""),
        effect(registry, "pods", "q", transform=running),
        effect(registry, "nodes", "n", transform=lambda _: created),
        effect(registry, "nodes", "n", transform=lambda obj: {**obj, "status": {"phase": "y"}}),
    ]
    await registry.objects.report(advance(), effects, [])
    assert str_at(registry.now("pods", "p"), "status", "phase") == "Pending"
    assert str_at(registry.now("pods", "q"), "status", "phase") == "Running"
    assert registry.now("configmaps", "new") is None
    assert str_at(registry.now("nodes", "n"), "status", "phase") == "y"
    assert await registry.store.revision() == 6


async def test_changes_of_one_status_are_decided_together_and_a_bad_one_falls_alone(registry: Registry) -> None:
    await registry.store.enter("n", "i")
    await registry.create("pods", pod("p", nodeName="n"))
    await registry.create("pods", pod("q", nodeName="n"))

    def counted(obj: JsonObject) -> JsonObject:
        return {**obj, "status": {**map_at(obj, "status"), "count": int_at(obj, "status", "count") + 1}}

    def bad(_: JsonObject) -> JsonObject:
        raise InvalidError("no such status")

    good = effect(registry, "pods", "p", transform=counted)
    ours = [good, effect(registry, "pods", "q", transform=running), good, good]
    assert [len(run) for run in together(ours)] == [3, 1]
    spec = effect(registry, "pods", "p", transform=counted, subresource="")
    gone = effect(registry, "pods", "p", transform=counted, gone=True)
    other = effect(registry, "pods", "p", transform=counted, uid="another")
    assert [len(run) for run in together([good, spec, good, gone, good, other, good])] == [1] * 7
    before = await registry.store.revision()
    await registry.objects.report(advance(), ours, [])
    assert int_at(registry.now("pods", "p"), "status", "count") == 3
    assert await registry.store.revision() == before + 2
    await registry.objects.report(advance(2), [good, effect(registry, "pods", "p", transform=bad), good], [])
    assert int_at(registry.now("pods", "p"), "status", "count") == 5


async def test_a_pod_that_is_gone_from_its_node_leaves_when_it_was_asked_to(registry: Registry) -> None:
    await registry.store.enter("n", "i")
    await registry.create("pods", pod(nodeName="n"))
    gone = effect(registry, "pods", "p", transform=running, gone=True)
    await registry.objects.report(advance(), [gone], [])
    before = await registry.store.revision()
    await registry.store.enter("m", "i")
    await registry.objects.report(advance(node="m"), [gone], [])
    assert await registry.store.revision() == before
    assert registry.now("pods", "p") is not None
    await registry.objects.delete(registry.kind("pods"), registry.key("pods", "p"))
    assert registry.now("pods", "p") is not None

    def ended(obj: JsonObject) -> JsonObject:
        return {**obj, "status": {"phase": "Succeeded"}}

    last = effect(registry, "pods", "p", transform=ended, gone=True)
    await registry.objects.report(advance(2), [last], [])
    assert registry.now("pods", "p") is None
    change = (await registry.store.changes(after=Revision(0)))[-1]
    assert change.before is not None
    assert b"Succeeded" in change.before


async def test_a_report_whose_object_changes_under_it_is_decided_again(registry: Registry) -> None:
    await registry.store.enter("n", "i")
    await registry.create("pods", pod(nodeName="n"))
    tries = 0
    kind, key = registry.kind("pods"), registry.key("pods", "p")

    class Meddler:
        """A store in which somebody else always writes first, twice."""

        def __init__(self) -> None:
            self.meddled = 0

        def __getattr__(self, name: str):
            return getattr(registry.store, name)

        async def commit(self, batch):
            if self.meddled < 2:
                self.meddled += 1
                number = str(self.meddled)
                await registry.objects.update(
                    kind, key, lambda obj: {**obj, "metadata": {**map_at(obj, "metadata"), "labels": {"n": number}}}
                )
            return await registry.store.commit(batch)

    def counted(obj: JsonObject) -> JsonObject:
        nonlocal tries
        tries += 1
        return running(obj)

    objects = LocalObjects(
        store=Meddler(),  # type: ignore[arg-type]
        cache=registry.cache,
        rules=registry.objects.rules,
        clock=registry.clock,
        ids=registry.objects.ids,
    )
    await objects.report(advance(), [effect(registry, "pods", "p", transform=counted)], [])
    now = registry.now("pods", "p")
    assert (tries, str_at(now, "status", "phase"), map_at(now, "metadata", "labels")) == (3, "Running", {"n": "2"})
    assert int_at(now, "metadata", "generation") == 1


async def test_a_report_that_always_meets_other_writers_is_to_be_sent_again(registry: Registry) -> None:
    def plan(operation: Operation, number: int) -> Fault | None:
        return Fault(error=ConflictError("somebody wrote")) if operation == "commit" else None

    objects = LocalObjects(
        store=FailingStore(registry.store, plan),
        cache=registry.cache,
        rules=registry.objects.rules,
        clock=registry.clock,
        ids=registry.objects.ids,
    )
    with pytest.raises(UnavailableError, match="met other writers"):
        await objects.report(advance(), [], [])


async def test_of_two_equal_reports_at_once_one_is_told_that_the_other_got_ahead(registry: Registry) -> None:
    await registry.store.enter("n", "i")
    record = Record(series="s", at_ms=1, body=b"{}")
    outcomes = await asyncio.gather(
        *(registry.objects.report(advance(), [], [record]) for _ in range(3)), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["FencedError", "FencedError", "NoneType"]
