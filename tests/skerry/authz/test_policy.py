from collections.abc import Iterable

import pytest

from cloudcore.api.authz.defaults import completed, default_bindings, default_roles
from skerry.authz.attributes import Actor, Attributes, refusal
from skerry.authz.policy import Policy, compile_policy, parse_binding, parse_role
from skerry.objects.json import JsonObject, to_json

JANE = Actor(name="jane", groups=("devs", "system:authenticated"))


def role(name: str, *rules: JsonObject, namespace: str = "", labels: dict[str, str] | None = None) -> JsonObject:
    metadata: JsonObject = {"name": name, "labels": to_json(labels or {})}
    if namespace:
        metadata["namespace"] = namespace
    return {"kind": "Role" if namespace else "ClusterRole", "metadata": metadata, "rules": list(rules)}


def rule(verbs: str = "", resources: str = "", groups: str = "", names: str = "", urls: str = "") -> JsonObject:
    return {
        "verbs": [*verbs.split()],
        "apiGroups": ["" if group == "core" else group for group in groups.split()],
        "resources": [*resources.split()],
        "resourceNames": [*names.split()],
        "nonResourceURLs": [*urls.split()],
    }


def binding(name: str, role_ref: str, *subjects: JsonObject, namespace: str = "") -> JsonObject:
    kind, role_name = role_ref.split("/")
    metadata: JsonObject = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    return {"metadata": metadata, "roleRef": {"kind": kind, "name": role_name}, "subjects": list(subjects)}


def user(name: str) -> JsonObject:
    return {"kind": "User", "name": name}


def group(name: str) -> JsonObject:
    return {"kind": "Group", "name": name}


def policy(roles: Iterable[JsonObject], bindings: Iterable[JsonObject]) -> Policy:
    return compile_policy([parse_role(each) for each in roles], [parse_binding(each) for each in bindings])


def asks(
    verb: str, resource: str, *, namespace: str = "", name: str = "", api_group: str = "", actor: Actor = JANE
) -> Attributes:
    plural, _, subresource = resource.partition("/")
    return Attributes(
        actor=actor,
        verb=verb,
        group=api_group,
        resource=plural,
        subresource=subresource,
        namespace=namespace,
        name=name,
    )


READER = role("reader", rule("get list", "pods */status", "core"))


@pytest.mark.parametrize(
    ("given", "asked", "allowed"),
    [
        (rule("get", "pods", "core"), asks("get", "pods"), True),
        (rule("get", "pods", "core"), asks("list", "pods"), False),
        (rule("*", "pods", "core"), asks("anything", "pods"), True),
        (rule("get", "pods", "core"), asks("get", "pods", api_group="apps"), False),
        (rule("get", "pods", "*"), asks("get", "pods", api_group="apps"), True),
        (rule("get", "*", "core"), asks("get", "pods/log"), True),
        (rule("get", "pods", "core"), asks("get", "pods/log"), False),
        (rule("get", "pods/log", "core"), asks("get", "pods"), False),
        (rule("get", "pods/log", "core"), asks("get", "pods/log"), True),
        (rule("get", "*/scale", "*"), asks("get", "deployments/scale", api_group="apps"), True),
        (rule("get", "*/scale", "*"), asks("get", "deployments", api_group="apps"), False),
        (rule("get", "pods", "core", names="a b"), asks("get", "pods", name="b"), True),
        (rule("get", "pods", "core", names="a"), asks("get", "pods", name="b"), False),
        (rule("list", "pods", "core", names="a"), asks("list", "pods"), False),
        (rule("get", urls="/healthz"), Attributes(actor=JANE, verb="get", path="/healthz"), True),
        (rule("get", urls="/healthz"), Attributes(actor=JANE, verb="get", path="/healthz/x"), False),
        (rule("get", urls="/apis/*"), Attributes(actor=JANE, verb="get", path="/apis/apps"), True),
        (rule("get", urls="*"), Attributes(actor=JANE, verb="get", path="/x"), True),
        (rule("get", urls="*"), Attributes(actor=JANE, verb="post", path="/x"), False),
        (rule("*", "*", "*"), Attributes(actor=JANE, verb="get", path="/x"), False),
    ],
)
def test_a_rule_means_what_it_means_in_kubernetes(given: JsonObject, asked: Attributes, allowed: bool):
    made = policy([role("r", given)], [binding("b", "ClusterRole/r", user("jane"))])
    assert made.decide(asked).allowed is allowed


def test_a_role_binding_gives_its_namespace_only():
    made = policy([READER], [binding("b", "ClusterRole/reader", user("jane"), namespace="a")])
    assert made.decide(asks("list", "pods", namespace="a")).allowed
    assert not made.decide(asks("list", "pods", namespace="b")).allowed
    assert not made.decide(asks("list", "pods")).allowed, "all namespaces at once is more than one"


def test_a_role_is_found_in_the_namespace_of_its_binding_only():
    local = role("reader", rule("get", "pods", "core"), namespace="a")
    made = policy(
        [local],
        [
            binding("b", "Role/reader", user("jane"), namespace="a"),
            binding("b", "Role/reader", user("jane"), namespace="b"),
        ],
    )
    assert made.decide(asks("get", "pods", namespace="a")).reason == (
        'RBAC: allowed by RoleBinding "b/a" of Role "reader" to User "jane"'
    )
    refused = made.decide(asks("get", "pods", namespace="b"))
    assert not refused.allowed
    assert refused.reason == 'RBAC: role.rbac.authorization.k8s.io "reader" not found'


def test_groups_and_service_accounts_are_subjects():
    account: JsonObject = {"kind": "ServiceAccount", "name": "app", "namespace": "x"}
    made = policy(
        [READER],
        [
            binding("g", "ClusterRole/reader", group("devs"), namespace="a"),
            binding("s", "ClusterRole/reader", account, namespace="b"),
        ],
    )
    assert made.decide(asks("get", "pods", namespace="a")).allowed
    app = Actor(name="system:serviceaccount:x:app")
    decision = made.decide(asks("get", "pods", namespace="b", actor=app))
    assert decision.reason.endswith('to ServiceAccount "app/x"')
    assert not made.decide(asks("get", "pods", namespace="a", actor=app)).allowed


def test_aggregated_roles_gather_by_label_through_steps_and_circles():
    def gathers(name: str, wanted: str, label: str) -> JsonObject:
        made = role(name, rule("never", "used", "core"), labels={label: "true"})
        made["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {wanted: "true"}}]}
        return made

    roles = [
        gathers("top", "to-top", "to-bottom"),
        gathers("middle", "to-middle", "to-top"),
        gathers("circle", "to-bottom", "to-top"),
        role("leaf", rule("get", "widgets", "core"), labels={"to-middle": "true"}),
    ]
    made = policy(roles, [binding("b", "ClusterRole/top", user("jane"))])
    assert made.decide(asks("get", "widgets")).allowed
    assert not made.decide(asks("never", "used")).allowed, "an aggregated role has no rules of its own"


def test_the_default_roles_nest_as_people_know_them():
    def may(role_name: str, asked: Attributes) -> bool:
        return policy(default_roles(), [binding("b", f"ClusterRole/{role_name}", user("jane"))]).decide(asked).allowed

    read_secret = asks("get", "secrets", namespace="a")
    read_pod = asks("get", "pods", namespace="a")
    write_device = asks("update", "devices", api_group="devices.kubeedge.io", namespace="a")
    write_role = asks("create", "roles", api_group="rbac.authorization.k8s.io", namespace="a")
    write_node = asks("delete", "nodes", name="n")
    expected = {
        "view": (False, True, False, False, False),
        "edit": (True, True, True, False, False),
        "admin": (True, True, True, True, False),
        "cluster-admin": (True, True, True, True, True),
    }
    for name, answers in expected.items():
        asked = (read_secret, read_pod, write_device, write_role, write_node)
        assert tuple(may(name, each) for each in asked) == answers, name


def test_strangers_may_see_the_version_and_nothing_else():
    made = policy(default_roles(), default_bindings())
    stranger = Actor(name="system:anonymous", groups=("system:unauthenticated",))
    for path, allowed in (("/version", True), ("/healthz", True), ("/api", False), ("/metrics", False)):
        assert made.decide(Attributes(actor=stranger, verb="get", path=path)).allowed is allowed, path
    known = Actor(name="jane", groups=("system:authenticated",))
    assert made.decide(Attributes(actor=known, verb="get", path="/openapi/v3")).allowed
    assert made.decide(
        asks("create", "selfsubjectaccessreviews", api_group="authorization.k8s.io", actor=known)
    ).allowed


def test_defaults_are_completed_not_overwritten():
    wanted = next(each for each in default_roles() if "system:aggregate-to-admin" in str(each["metadata"]))
    mine: JsonObject = {
        "metadata": {"name": "x", "labels": {"mine": "1"}},
        "rules": [rule("get", "mine", "core"), rule("create", "localsubjectaccessreviews", "authorization.k8s.io")],
    }
    done = completed(mine, wanted)
    assert completed(done, wanted) == done
    assert done["rules"] != mine["rules"]
    assert isinstance(done["rules"], list)
    assert done["rules"][:2] == mine["rules"]
    kept: JsonObject = {"metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}}
    assert completed(kept, wanted) is kept
    bound = default_bindings()[0]
    extra: JsonObject = {**bound, "subjects": [user("jane")]}
    assert completed(extra, bound)["subjects"] == [user("jane"), *bound["subjects"]]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (
            asks("list", "pods", namespace="default"),
            'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default"',
        ),
        (
            asks("get", "deployments/scale", namespace="a", name="x", api_group="apps"),
            (
                'deployments.apps "x" is forbidden: User "jane" cannot get resource "deployments/scale" in API group '
                '"apps" in the namespace "a"'
            ),
        ),
        (
            asks("list", "nodes"),
            'nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope',
        ),
        (Attributes(actor=JANE, verb="get", path="/x"), 'forbidden: User "jane" cannot get path "/x"'),
    ],
)
def test_a_refusal_reads_as_that_of_kube_apiserver(asked: Attributes, text: str):
    assert str(refusal(asked, "")) == text
    assert str(refusal(asked, "RBAC: x")) == f"{text}: RBAC: x"
