from collections.abc import AsyncIterator

import pytest

from cloudcore.api.authz.defaults import keep_defaults
from cloudcore.registry.port import WriteOptions
from skerry.authz.attributes import Actor, Attributes
from skerry.errors import ForbiddenError, InvalidError, NotFoundError
from skerry.objects.json import JsonObject
from tests.cloudcore.api.access_world import ADMIN, JANE, RBAC, SCHEME, World, kind, world


@pytest.fixture
async def w() -> AsyncIterator[World]:
    async with world() as made:
        yield made


def may(w: World, verb: str, resource: str, *, actor: Actor = JANE, namespace: str = "", name: str = "") -> bool:
    plural, _, group = resource.partition(".")
    plural, _, subresource = plural.partition("/")
    asked = Attributes(
        actor=actor,
        verb=verb,
        group=group,
        resource=plural,
        subresource=subresource,
        namespace=namespace,
        name=name,
    )
    return w.authorizer.decide(asked).allowed


async def test_roles_count_from_the_moment_they_are_written_until_they_are_gone(w: World):
    assert not may(w, "list", "pods", namespace="a")
    await w.give("view", "jane", namespace="a")
    assert may(w, "list", "pods", namespace="a")
    assert not may(w, "create", "pods", namespace="a")
    bindings = kind(f"rolebindings.{RBAC}")
    await w.objects.delete(bindings, bindings.key("a", "view-jane"))
    assert not may(w, "list", "pods", namespace="a")


async def test_a_custom_role_labelled_for_view_is_viewed_at_once(w: World):
    await w.give("view", "jane")
    assert not may(w, "get", "widgets.example.com")
    role: JsonObject = {
        "metadata": {"name": "widgets", "labels": {f"{RBAC}/aggregate-to-view": "true"}},
        "rules": [{"apiGroups": ["example.com"], "resources": ["widgets"], "verbs": ["get"]}],
    }
    await w.create(f"clusterroles.{RBAC}", role)
    assert may(w, "get", "widgets.example.com")


async def test_masters_are_never_locked_out(w: World):
    for stored in w.objects.select(f"clusterrolebindings.{RBAC}"):
        await w.objects.delete(kind(f"clusterrolebindings.{RBAC}"), stored.key)
    assert may(w, "delete", "nodes", actor=ADMIN)


async def test_keeping_the_defaults_again_changes_nothing_and_mends_what_is_lacking(w: World):
    before = {stored.key: stored.revision for stored in w.objects.select(f"clusterroles.{RBAC}")}
    await keep_defaults(w.objects, SCHEME)
    assert {stored.key: stored.revision for stored in w.objects.select(f"clusterroles.{RBAC}")} == before
    roles = kind(f"clusterroles.{RBAC}")
    basic = roles.key("", "system:basic-user")
    await w.objects.update(roles, basic, lambda role: {**role, "rules": []})
    assert not may(w, "create", "selfsubjectaccessreviews.authorization.k8s.io")
    await keep_defaults(w.objects, SCHEME)
    assert may(w, "create", "selfsubjectaccessreviews.authorization.k8s.io")


# Nobody hands out more than they hold


def role(*rules: JsonObject) -> JsonObject:
    return {"metadata": {"name": "r"}, "rules": list(rules)}


GET_PODS: JsonObject = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
GET_NODES: JsonObject = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list"]}


async def test_a_role_can_hold_only_what_its_writer_holds(w: World):
    await w.give("admin", "jane", namespace="a")
    await w.create(f"roles.{RBAC}", role(GET_PODS), namespace="a", actor=JANE)
    roles = kind(f"roles.{RBAC}")
    with pytest.raises(ForbiddenError) as caught:
        await w.objects.update(
            roles, roles.key("a", "r"), lambda old: {**old, "rules": [GET_NODES]}, WriteOptions(actor=JANE)
        )
    assert str(caught.value) == (
        'roles.rbac.authorization.k8s.io "r" is forbidden: user "jane" (groups=["devs" "system:authenticated"]) '
        "is attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["nodes"], Verbs:["get" "list"]}'
    )


async def test_a_role_that_does_not_change_in_substance_may_be_touched(w: World):
    await w.give("admin", "jane", namespace="a")
    await w.create(f"roles.{RBAC}", role(GET_NODES), namespace="a")
    roles = kind(f"roles.{RBAC}")

    def labelled(old: JsonObject) -> JsonObject:
        metadata = old["metadata"]
        assert isinstance(metadata, dict)
        return {**old, "metadata": {**metadata, "labels": {"x": "y"}}}

    await w.objects.update(roles, roles.key("a", "r"), labelled, WriteOptions(actor=JANE))


async def test_escalate_and_bind_are_verbs_that_can_be_given(w: World):
    special: JsonObject = {
        "metadata": {"name": "special"},
        "rules": [
            {"apiGroups": [RBAC], "resources": ["roles"], "verbs": ["escalate"]},
            {"apiGroups": [RBAC], "resources": ["clusterroles"], "verbs": ["bind"], "resourceNames": ["edit"]},
        ],
    }
    await w.create(f"clusterroles.{RBAC}", special)
    await w.give("special", "jane", namespace="a")
    await w.create(f"roles.{RBAC}", role(GET_NODES), namespace="a", actor=JANE)
    await bind(w, "edit", actor=JANE)
    with pytest.raises(ForbiddenError, match="not currently held"):
        await bind(w, "admin", actor=JANE)


async def bind(w: World, role_name: str, *, actor: Actor, cluster: bool = True) -> None:
    obj: JsonObject = {
        "metadata": {"name": f"b-{role_name}"},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole" if cluster else "Role", "name": role_name},
        "subjects": [{"kind": "User", "name": "joe"}],
    }
    await w.create(f"rolebindings.{RBAC}", obj, namespace="a", actor=actor)


async def test_a_role_can_be_bound_only_by_who_holds_what_it_allows(w: World):
    await w.give("edit", "jane", namespace="a")
    await bind(w, "view", actor=JANE)
    with pytest.raises(ForbiddenError, match="not currently held"):
        await bind(w, "admin", actor=JANE)
    with pytest.raises(NotFoundError):
        await bind(w, "none", actor=JANE)
    await w.create(f"roles.{RBAC}", role(GET_NODES), namespace="a")
    with pytest.raises(ForbiddenError, match='Resources:\\["nodes"\\]'):
        await bind(w, "r", actor=JANE, cluster=False)


async def test_only_who_holds_everything_may_aggregate(w: World):
    await w.give("admin", "jane")
    obj: JsonObject = {
        "metadata": {"name": "all"},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"x": "y"}}]},
    }
    with pytest.raises(ForbiddenError, match="not currently held"):
        await w.create(f"clusterroles.{RBAC}", obj, actor=JANE)
    await w.give("cluster-admin", "jane")
    await w.create(f"clusterroles.{RBAC}", obj, actor=JANE)


async def test_a_role_too_large_to_check_is_refused(w: World):
    names = [f"x{i}" for i in range(300)]
    with pytest.raises(InvalidError, match="name fewer"):
        await w.create(
            f"roles.{RBAC}",
            role({"apiGroups": [*names], "resources": [*names], "verbs": ["a"]}),
            namespace="a",
            actor=JANE,
        )


# A node reads what it holds

NODE = Actor(name="system:node:eu-1", groups=("system:nodes", "system:authenticated"))
POD: JsonObject = {
    "metadata": {"name": "p"},
    "spec": {
        "nodeName": "eu-1",
        "serviceAccountName": "app",
        "imagePullSecrets": [{"name": "pull"}],
        "containers": [
            {
                "name": "c",
                "envFrom": [{"configMapRef": {"name": "cm-all"}}, {"secretRef": {"name": "s-all"}}],
                "env": [
                    {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "cm-one", "key": "k"}}},
                    {"name": "Y", "valueFrom": {"secretKeyRef": {"name": "s-one", "key": "k"}}},
                ],
            }
        ],
        "volumes": [
            {"name": "1", "configMap": {"name": "cm-volume"}},
            {"name": "2", "secret": {"secretName": "s-volume"}},
            {"name": "3", "projected": {"sources": [{"configMap": {"name": "cm-p"}}, {"secret": {"name": "s-p"}}]}},
            {"name": "4", "persistentVolumeClaim": {"claimName": "claim"}},
        ],
    },
}


@pytest.mark.parametrize(
    ("verb", "resource", "namespace", "name", "allowed"),
    [
        ("get", "nodes", "", "eu-1", True),
        ("patch", "nodes/status", "", "eu-1", True),
        ("get", "nodes", "", "us-1", False),
        ("delete", "nodes", "", "eu-1", False),
        ("patch", "nodes", "", "eu-1", False),
        ("list", "nodes", "", "", False),
        ("get", "pods", "a", "p", True),
        ("update", "pods/status", "a", "p", True),
        ("update", "pods", "a", "p", False),
        ("get", "pods", "b", "p", False),
        ("get", "pods", "a", "other", False),
        *[("get", "configmaps", "a", name, True) for name in ("cm-all", "cm-one", "cm-volume", "cm-p")],
        *[("get", "secrets", "a", name, True) for name in ("s-all", "s-one", "s-volume", "s-p", "pull")],
        ("get", "secrets", "a", "other", False),
        ("get", "secrets", "b", "s-all", False),
        ("list", "secrets", "a", "", False),
        ("update", "secrets", "a", "s-all", False),
        ("get", "persistentvolumeclaims", "a", "claim", True),
        ("get", "persistentvolumes", "", "mine", True),
        ("get", "persistentvolumes", "", "other", False),
        ("update", "persistentvolumes", "", "mine", False),
        ("list", "persistentvolumes", "", "", False),
        ("get", "serviceaccounts", "a", "app", True),
        ("create", "serviceaccounts/token", "a", "app", True),
        ("create", "serviceaccounts/token", "a", "default", False),
        ("list", "services", "a", "", True),
        ("list", "endpointslices.discovery.k8s.io", "b", "", False),
        ("list", "services", "", "", False),
        ("create", "events", "a", "", True),
        ("create", "events", "b", "", False),
        ("update", "leases.coordination.k8s.io", "kube-node-lease", "eu-1", True),
        ("update", "leases.coordination.k8s.io", "kube-node-lease", "us-1", False),
        ("update", "leases.coordination.k8s.io", "a", "eu-1", False),
        ("get", "devices.devices.kubeedge.io", "a", "plc", True),
        ("get", "devices.devices.kubeedge.io", "a", "other", False),
        ("get", "devicemodels.devices.kubeedge.io", "a", "plc-model", True),
        ("update", "devices.devices.kubeedge.io", "a", "plc", False),
        ("get", "deployments.apps", "a", "x", False),
    ],
)
async def test_a_node_may_do_what_its_view_needs_and_nothing_else(
    w: World, verb: str, resource: str, namespace: str, name: str, allowed: bool
):
    await w.create("pods", POD, namespace="a")
    device: JsonObject = {
        "metadata": {"name": "plc"},
        "spec": {"nodeName": "eu-1", "deviceModelRef": {"name": "plc-model"}},
    }
    await w.create("devices.devices.kubeedge.io", device, namespace="a")
    await w.create(
        "persistentvolumeclaims", {"metadata": {"name": "claim"}, "spec": {"volumeName": "mine"}}, namespace="a"
    )
    # `devices.devices.kubeedge.io` as a group-resource is plural `devices` in group `devices.kubeedge.io`.
    assert may(w, verb, resource, actor=NODE, namespace=namespace, name=name) is allowed
    stranger = Actor(name="system:node:us-1", groups=("system:nodes",))
    if allowed and resource != "nodes" and "nodes" not in resource and "leases" not in resource:
        assert not may(w, verb, resource, actor=stranger, namespace=namespace, name=name)
    pretender = Actor(name="system:node:eu-1", groups=("devs",))
    assert not may(w, verb, resource, actor=pretender, namespace=namespace, name=name)
