"""Views are a function of the store: kept change by change, they are what they would be made anew."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from cloudcore.hub.references import references_of
from cloudcore.hub.views import Views
from cloudcore.store.port import Change, Stored
from skerry.objects.json import Json, JsonObject, encode_object
from skerry.objects.meta import Key, Revision

RBAC = "rbac.authorization.k8s.io"
SECRET_DRIVER: JsonObject = {"name": "v", "cephfs": {"secretRef": {"name": "ceph"}}}


def stored(key: Key, revision: int, obj: JsonObject) -> Stored:
    return Stored(key=key, uid=f"uid-{key.name}", revision=Revision(revision), body=encode_object(obj))


BUNDLES = "clustertrustbundles.certificates.k8s.io"
PROJECTIONS: list[JsonObject] = [
    {"name": "b0", "path": "a"},
    {"name": "b1", "path": "a"},
    {"signerName": "a.example/s", "labelSelector": {}, "path": "a"},
    {"signerName": "b.example/s", "labelSelector": {"matchLabels": {"x": "y"}}, "path": "b"},
]


def pod(
    node: str,
    *configs: str,
    namespace: str = "ns",
    claims: Sequence[str] = (),
    bundles: Sequence[JsonObject] = (),
) -> JsonObject:
    volumes: list[Json] = [{"name": name, "configMap": {"name": name}} for name in configs]
    volumes.extend({"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims)
    sources: list[Json] = [{"clusterTrustBundle": each} for each in bundles]
    if sources:
        volumes.append({"name": "trust", "projected": {"sources": sources}})
    return {"metadata": {"namespace": namespace}, "spec": {"nodeName": node, "volumes": volumes}}


def device(node: str, model: str) -> JsonObject:
    return {"metadata": {"namespace": "ns"}, "spec": {"nodeName": node, "deviceModelRef": {"name": model}}}


def directory_of(node: str) -> JsonObject:
    csi: JsonObject = {"driver": "skerry.dev/local", "volumeAttributes": {"skerry.dev/node": node}}
    return {"spec": {"csi": csi}}


SLICES = "endpointslices.discovery.k8s.io"
SERVICE_LABEL = "kubernetes.io/service-name"


def endpoint_slice(*places: tuple[str, str], namespace: str = "ns", **labels: str) -> JsonObject:
    """`places`: node and zone of each endpoint."""
    endpoints: list[Json] = [
        {"addresses": ["10.0.0.1"], **({"nodeName": node} if node else {}), **({"zone": zone} if zone else {})}
        for node, zone in places
    ]
    return {"metadata": {"namespace": namespace, "labels": {**labels}}, "endpoints": endpoints}


def binding(role: str, *subjects: tuple[str, str]) -> JsonObject:
    """Of a ClusterRole to these: ServiceAccounts by their namespace, others by their name."""
    named: list[Json] = [
        {"kind": kind, "name": "x", "namespace": name} if kind == "ServiceAccount" else {"kind": kind, "name": name}
        for kind, name in subjects
    ]
    return {"metadata": {}, "roleRef": {"kind": "ClusterRole", "name": role}, "subjects": named}


def ingress(name: str, service: str, secret: str = "") -> JsonObject:
    """Of this class, to this Service of its namespace, with this certificate."""
    backend: JsonObject = {"service": {"name": service, "port": {"number": 80}}}
    rules: list[Json] = [{"http": {"paths": [{"path": "/", "backend": backend}]}}] if service else []
    tls: list[Json] = [{"secretName": secret}] if secret else []
    return {"metadata": {"namespace": "ns"}, "spec": {"ingressClassName": name, "rules": rules, "tls": tls}}


def ingress_class(selector: str = "", controller: str = "skerry.dev/ingress") -> JsonObject:
    annotations: JsonObject = {"skerry.dev/default-tls-secret": "ops/all"}
    if selector:
        annotations["skerry.dev/node-selector"] = selector
    return {"metadata": {"annotations": annotations}, "spec": {"controller": controller}}


def gateway(zone: str = "", *, able: bool = True, **labels: str) -> JsonObject:
    """A Node, whose agent serves Ingresses or does not."""
    where: JsonObject = {**labels, **({"topology.kubernetes.io/zone": zone} if zone else {})}
    annotations: JsonObject = {"skerry.dev/capabilities": "commands,ingress" if able else "commands"}
    return {"metadata": {"labels": where, "annotations": annotations}}


KEYS: dict[str, list[Key]] = {
    "persistentvolumeclaims": [Key("persistentvolumeclaims", "ns", f"q{number}") for number in range(2)],
    "persistentvolumes": [Key("persistentvolumes", "", f"v{number}") for number in range(3)],
    "nodes": [Key("nodes", "", "n1"), Key("nodes", "", "n2")],
    "pods": [Key("pods", "ns", f"p{number}") for number in range(4)] + [Key("pods", "other", "p")],
    "configmaps": [Key("configmaps", "ns", f"c{number}") for number in range(3)] + [Key("configmaps", "other", "c0")],
    "services": [Key("services", "ns", "s1"), Key("services", "other", "s2")],
    SLICES: [Key(SLICES, "ns", "e1"), Key(SLICES, "ns", "e2"), Key(SLICES, "other", "e3")],
    "devices.devices.kubeedge.io": [Key("devices.devices.kubeedge.io", "ns", f"d{number}") for number in range(2)],
    "devicemodels.devices.kubeedge.io": [Key("devicemodels.devices.kubeedge.io", "ns", "m0")],
    f"roles.{RBAC}": [Key(f"roles.{RBAC}", "ns", "r")],
    f"rolebindings.{RBAC}": [Key(f"rolebindings.{RBAC}", namespace, "b") for namespace in ("ns", "other")],
    f"clusterroles.{RBAC}": [Key(f"clusterroles.{RBAC}", "", f"r{number}") for number in range(2)],
    f"clusterrolebindings.{RBAC}": [Key(f"clusterrolebindings.{RBAC}", "", f"b{number}") for number in range(2)],
    "deployments.apps": [Key("deployments.apps", "ns", "x")],
    "ingresses.networking.k8s.io": [Key("ingresses.networking.k8s.io", "ns", f"i{number}") for number in range(2)],
    "ingressclasses.networking.k8s.io": [Key("ingressclasses.networking.k8s.io", "", f"k{n}") for n in range(2)],
    BUNDLES: [Key(BUNDLES, "", f"b{number}") for number in range(3)],
    "secrets": [Key("secrets", "ns", "t0"), Key("secrets", "ns", "t1"), Key("secrets", "ops", "all")],
}
SUBJECTS: st.SearchStrategy[tuple[str, str]] = st.sampled_from(
    [
        ("ServiceAccount", "ns"),
        ("ServiceAccount", "other"),
        ("Group", "system:serviceaccounts:ns"),
        ("Group", "system:serviceaccounts"),
        ("Group", "system:authenticated"),
        ("User", "system:serviceaccount:other:x"),
        ("User", "jane"),
    ]
)
SERVED = st.sampled_from(["s1", "s2", ""])
NODES = st.sampled_from(["n1", "n2", ""])
ZONES = st.sampled_from(["north", "south", ""])
CONFIGS = st.lists(st.sampled_from(["c0", "c1", "c2"]), max_size=3)
CLAIMS = st.lists(st.sampled_from(["q0", "q1"]), max_size=2, unique=True)


@st.composite
def writes(draw: st.DrawFn) -> tuple[Key, JsonObject | None]:
    key = draw(st.sampled_from([key for keys in KEYS.values() for key in keys]))
    if draw(st.integers(0, 3)) == 0:
        return key, None
    if key.resource == "pods":
        bundles = draw(st.lists(st.sampled_from(PROJECTIONS), max_size=2))
        return key, pod(draw(NODES), *draw(CONFIGS), namespace=key.namespace, claims=draw(CLAIMS), bundles=bundles)
    if key.resource == BUNDLES:
        return key, {"spec": {"signerName": draw(st.sampled_from(["", "a.example/s", "b.example/s"]))}}
    if key.resource == "persistentvolumeclaims":
        return key, {"spec": {"volumeName": draw(st.sampled_from(["", "v0", "v1", "v2"]))}}
    if key.resource == "persistentvolumes":
        return key, directory_of(draw(NODES))
    if key.resource.startswith(("rolebindings.", "clusterrolebindings.")):
        return key, binding(draw(st.sampled_from(["r0", "r1"])), *draw(st.lists(SUBJECTS, max_size=3)))
    if key.resource.startswith("devices."):
        return key, device(draw(NODES), "m0")
    if key.resource == SLICES:
        places = draw(st.lists(st.tuples(NODES, ZONES), max_size=2))
        labels = draw(
            st.sampled_from([{}, {SERVICE_LABEL: "s1"}, {SERVICE_LABEL: "s2"}, {"skerry.dev/reach": "everywhere"}])
        )
        return key, endpoint_slice(*places, namespace=key.namespace, **labels)
    if key.resource.startswith("ingresses."):
        return key, ingress(
            draw(st.sampled_from(["k0", "k1"])), draw(SERVED), draw(st.sampled_from(["", "t0", "t1"]))
        )
    if key.resource.startswith("ingressclasses."):
        return key, ingress_class(*draw(st.sampled_from([(), ("topology.kubernetes.io/zone=north",), ("!!",)])))
    zone = draw(ZONES)
    if key.resource == "nodes":
        return key, gateway(zone, able=draw(st.booleans()))
    where: JsonObject = {"topology.kubernetes.io/zone": zone} if zone and key.resource == "nodes" else {}
    return key, {"metadata": {"namespace": key.namespace, "labels": where}}


@settings(max_examples=300)
@given(st.lists(writes(), max_size=40))
def test_views_kept_by_changes_are_those_made_anew(script: list[tuple[Key, JsonObject | None]]) -> None:
    views = Views(json.loads)
    objects: dict[Key, Stored] = {}
    for revision, (key, obj) in enumerate(script, start=1):
        before = {node: dict(views.view(node).stamps()) for node in ("n1", "n2")}
        if obj is None:
            if objects.pop(key, None) is None:
                continue
        else:
            objects[key] = stored(key, revision, obj)
        after = None if obj is None else encode_object(obj)
        touched = views.apply(
            Change(revision=Revision(revision), key=key, uid=f"uid-{key.name}", before=None, after=after)
        )
        anew = Views(json.loads)
        anew.load(objects.values(), Revision(revision))
        for node in ("n1", "n2"):
            now = dict(views.view(node).stamps())
            assert now == dict(anew.view(node).stamps())
            changed = {key for key in now.keys() | before[node].keys() if now.get(key) != before[node].get(key)}
            assert changed <= set(touched.get(node, ())), "every change of a view is told"
        assert list(views.nodes()) == list(dict.fromkeys(views.nodes()))
        assert set(views.nodes()) == {key.name for key in objects if key.resource == "nodes"}


def test_a_pods_readiness_is_told_to_its_own_site_alone() -> None:
    views = Views(json.loads)
    objects = [stored(Key("services", "ns", "web"), 1, {})]
    for number in range(6):
        labels: JsonObject = {"topology.kubernetes.io/zone": "north"} if number < 3 else {}
        objects.append(stored(Key("nodes", "", f"n{number}"), 1, {"metadata": {"labels": labels}}))
        objects.append(stored(Key("pods", "ns", f"p{number}"), 1, pod(f"n{number}")))
    views.load(objects, Revision(1))
    revision = 1

    def told(name: str, slice_: JsonObject | None, namespace: str = "ns") -> dict[str, list[str]]:
        nonlocal revision
        revision += 1
        key = Key(SLICES, namespace, name)
        after = None if slice_ is None else encode_object(slice_)
        change = Change(revision=Revision(revision), key=key, uid="u", before=None, after=after)
        return {node: [str(key) for key in keys] for node, keys in views.apply(change).items()}

    web = {SERVICE_LABEL: "web"}
    zone = endpoint_slice(("n0", "north"), ("n1", "north"), **web)
    north = told("a", zone)
    assert {node: keys[0] for node, keys in north.items()} == {f"n{n}": f"{SLICES} ns/a" for n in range(3)}
    assert set(told("a", zone)) == {"n0", "n1", "n2"}
    assert set(told("b", endpoint_slice(("n4", ""), **web))) == {"n4"}
    assert set(told("c", endpoint_slice(("", ""), **web))) == {f"n{n}" for n in range(6)}
    assert told("d", endpoint_slice(**web)) == {}
    everywhere = endpoint_slice(("n4", ""), **web, **{"skerry.dev/reach": "everywhere"})
    assert set(told("e", everywhere)) == {f"n{n}" for n in range(6)}
    other = told("f", endpoint_slice(("n1", "north"), namespace="infra", **{SERVICE_LABEL: "mqtt"}), "infra")
    assert other["n2"] == [f"{SLICES} infra/f", "services infra/mqtt"]
    assert set(other) == {"n0", "n1", "n2"}
    assert told("f", None, "infra")["n0"] == [f"{SLICES} infra/f", "services infra/mqtt"]


CLASS = Key("ingressclasses.networking.k8s.io", "", "k0")
SHOP = Key("ingresses.networking.k8s.io", "ns", "shop")


def entrances(*nodes: tuple[str, JsonObject], selector: str = "") -> tuple[Views, list[Key]]:
    """A fleet with one Ingress, and the keys that a gateway has for it."""
    secret, service, default = Key("secrets", "ns", "t0"), Key("services", "ns", "web"), Key("secrets", "ops", "all")
    web = endpoint_slice(("n0", "north"), **{SERVICE_LABEL: "web"})
    found = [(Key("nodes", "", name), node) for name, node in nodes]
    found += [(CLASS, ingress_class(selector)), (SHOP, ingress("k0", "web", "t0")), (secret, {}), (default, {})]
    found += [(service, {}), (Key(SLICES, "ns", "e"), web)]
    views = Views(json.loads)
    views.load([stored(key, 1, obj) for key, obj in found], Revision(1))
    return views, [secret, default, service, CLASS, SHOP]


def given_to(views: Views, node: str) -> set[Key]:
    return {key for key, _ in views.view(node).stamps() if key.resource not in ("nodes", SLICES)}


def test_a_gateway_with_pods_knows_the_apis_service_whatever_their_namespace() -> None:
    views = Views(json.loads)
    api, slice_ = Key("services", "default", "kubernetes"), Key(SLICES, "default", "kubernetes-1")
    other = Key("services", "default", "other")
    views.load(
        [
            stored(api, 1, {}),
            stored(other, 1, {}),
            stored(slice_, 1, endpoint_slice(("", ""), namespace="default", **{SERVICE_LABEL: "kubernetes"})),
            stored(Key("pods", "ns", "p"), 1, pod("n1")),
            stored(Key("nodes", "", "n2"), 1, {}),
        ],
        Revision(1),
    )
    assert {str(key) for key, _ in views.view("n1").stamps()} >= {str(api), str(slice_)}
    assert views.view("n1").state(other) is None and views.view("n2").state(api) is None
    change = Change(revision=Revision(2), key=Key("pods", "ns", "p"), uid="u", before=None, after=None)
    assert {*views.apply(change)["n1"]} == {change.key, api, slice_}
    assert views.view("n1").state(api) is None


def test_a_certificate_goes_to_gateways_that_show_it_and_to_no_others() -> None:
    north, south = gateway("north"), gateway("south")
    views, all_of_it = entrances(("n0", north), ("n1", north), ("n2", gateway("north", able=False)), ("n3", south))
    assert given_to(views, "n0") == given_to(views, "n1") == {*all_of_it}
    assert given_to(views, "n2") == {Key("services", "ns", "web")}
    assert given_to(views, "n3") == set()
    order = [key for key, _ in views.view("n0").stamps()]
    assert order.index(Key("secrets", "ns", "t0")) < order.index(SHOP)
    assert order.index(CLASS) < order.index(SHOP)
    assert {*views.view("n0").closure(SHOP)} == {*all_of_it} - {SHOP}


def test_a_class_that_selects_gateways_brings_its_ingresses_to_those_and_what_they_lead_to() -> None:
    views, all_of_it = entrances(("n0", gateway("north")), ("n9", gateway("edge", role="door")), selector="role=door")
    assert given_to(views, "n9") == {*all_of_it}
    assert given_to(views, "n0") == {Key("services", "ns", "web")}
    by_hand = endpoint_slice(("", ""), **{SERVICE_LABEL: "web"})
    key = Key(SLICES, "ns", "hand")
    change = Change(revision=Revision(2), key=key, uid="u", before=None, after=encode_object(by_hand))
    assert views.apply(change) == {"n9": [key]}


def test_endpoints_cost_gateways_with_an_ingress_only_when_a_site_begins_or_ends() -> None:
    nodes = [(f"n{number}", gateway("north" if number < 3 else "", able=number != 2)) for number in range(100)]
    views, all_of_it = entrances(*nodes)
    key = Key(SLICES, "ns", "e")

    def told(revision: int, *places: tuple[str, str]) -> dict[str, set[Key]]:
        after = encode_object(endpoint_slice(*places, **{SERVICE_LABEL: "web"}))
        change = Change(revision=Revision(revision), key=key, uid="u", before=None, after=after)
        return {node: {*keys} for node, keys in views.apply(change).items()}

    assert told(2, ("n0", "north"), ("n1", "north")) == {node: {key} for node in ("n0", "n1", "n2")}
    gone = told(3, ("n50", ""))
    assert gone["n0"] == gone["n50"] == {key, *all_of_it}
    assert gone["n2"] == {key, Key("services", "ns", "web")}
    assert {*gone} == {"n0", "n1", "n2", "n50"}


def test_a_change_costs_only_the_nodes_that_it_touches() -> None:
    views = Views(json.loads)
    objects = [stored(Key("pods", "ns", f"p{number}"), 1, pod(f"n{number}", f"c{number}")) for number in range(100)]
    views.load(objects, Revision(1))
    key = Key("configmaps", "ns", "c7")
    change = Change(revision=Revision(2), key=key, uid="u", before=None, after=b"{}")
    assert views.apply(change) == {"n7": [key]}
    unrelated = Change(revision=Revision(3), key=Key("configmaps", "ns", "unused"), uid="u", before=None, after=b"{}")
    assert views.apply(unrelated) == {}


def test_what_one_node_wants_costs_no_dictionary_and_no_key_of_its_own() -> None:
    views = Views(json.loads)
    config = Key("configmaps", "ns", "c0")
    web, other = Key("pods", "ns", "p0"), Key("pods", "ns", "p1")
    objects = [stored(config, 1, {}), stored(web, 2, pod("n1", "c0"))]
    views.load(objects, Revision(2))
    assert views.references(web)[-1] is objects[0].key
    assert views._wanted_by[config] == "n1"

    def put(revision: int, key: Key, body: JsonObject | None) -> None:
        after = None if body is None else encode_object(body)
        views.apply(Change(revision=Revision(revision), key=key, uid="u", before=None, after=after))

    put(3, other, pod("n2", "c0"))
    put(4, other, {**pod("n2", "c0"), "status": {"phase": "Running"}})
    assert views._wanted_by[config] == {"n1": 1, "n2": 1}
    put(5, web, pod("n2", "c0"))
    assert views._wanted_by[config] == {"n2": 2}
    put(6, web, None)
    assert views._wanted_by[config] == "n2"
    put(7, other, None)
    assert config not in views._wanted_by


def test_what_is_referred_to_comes_before_what_refers() -> None:
    views = Views(json.loads)
    key = Key("pods", "ns", "a")
    configs = [Key("configmaps", "ns", name) for name in ("z", "b")]
    views.load(
        [
            stored(key, 1, pod("n1", "z", "b")),
            *(stored(one, 1, {}) for one in configs),
            stored(Key("services", "ns", "s"), 1, {}),
            stored(Key("nodes", "", "n1"), 1, {}),
        ],
        Revision(1),
    )
    view = views.view("n1")
    assert [str(key) for key, _ in view.stamps()] == [
        "nodes n1",
        "configmaps ns/b",
        "configmaps ns/z",
        "services ns/s",
        "pods ns/a",
    ]
    assert [one.name for one in view.closure(key)] == ["b", "z"]
    assert view.state(Key("configmaps", "ns", "unknown")) is None
    assert views.view("nobody").state(key) is None


def test_a_claim_brings_its_volume_and_a_gateway_has_its_own_directories() -> None:
    views = Views(json.loads)
    web, claim = Key("pods", "ns", "web"), Key("persistentvolumeclaims", "ns", "q0")
    static, own = Key("persistentvolumes", "", "static"), Key("persistentvolumes", "", "own")
    views.load(
        [
            stored(web, 1, pod("n1", claims=["q0"])),
            stored(claim, 1, {"spec": {"volumeName": "static"}}),
            stored(static, 1, {"spec": {"nfs": {}}}),
            stored(own, 1, directory_of("n1")),
        ],
        Revision(1),
    )
    view = views.view("n1")
    assert [key.name for key, _ in view.stamps()] == ["own", "static", "q0", "web"]
    assert view.closure(web) == (static, claim)
    touched = views.apply(Change(revision=Revision(2), key=web, uid="u", before=None, after=None))
    assert set(touched["n1"]) == {web, claim, static}
    assert [key.name for key, _ in view.stamps()] == ["own"]
    assert views.view("n2").state(own) is None


def test_every_way_to_name_an_object_in_a_pod_is_followed() -> None:
    spec: JsonObject = {
        "serviceAccountName": "account",
        "imagePullSecrets": [{"name": "pull"}],
        "initContainers": [{"envFrom": [{"configMapRef": {"name": "init"}}, {"secretRef": {"name": "init"}}]}],
        "containers": [
            {
                "env": [
                    {"valueFrom": {"configMapKeyRef": {"name": "env", "key": "k"}}},
                    {"valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}},
                    {"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                ]
            }
        ],
        "volumes": [
            {"name": "a", "configMap": {"name": "volume"}},
            {"name": "b", "secret": {"secretName": "volume"}},
            {"name": "c", "persistentVolumeClaim": {"claimName": "claim"}},
            {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}},
            {
                "name": "d",
                "projected": {
                    "sources": [
                        {"configMap": {"name": "kube-root-ca.crt"}},
                        {"secret": {"name": "projected"}},
                        {"serviceAccountToken": {"path": "token"}},
                    ]
                },
            },
            SECRET_DRIVER,
            {"name": "e", "emptyDir": {}},
        ],
    }
    found = references_of(Key("pods", "ns", "p"), {"metadata": {"namespace": "ns", "name": "p"}, "spec": spec})
    assert [str(key) for key in found] == [
        "serviceaccounts ns/account",
        "configmaps ns/env",
        "configmaps ns/init",
        "configmaps ns/kube-root-ca.crt",
        "configmaps ns/volume",
        "secrets ns/ceph",
        "secrets ns/env",
        "secrets ns/init",
        "secrets ns/projected",
        "secrets ns/pull",
        "secrets ns/volume",
        "persistentvolumeclaims ns/claim",
        "persistentvolumeclaims ns/p-scratch",
    ]


def test_a_device_needs_its_model_and_the_secret_that_it_names() -> None:
    obj = device("n1", "m")
    spec = obj["spec"]
    assert isinstance(spec, dict)
    spec["protocol"] = {"protocolName": "http", "configData": {"secretRef": {"name": "s"}}}
    key = Key("devices.devices.kubeedge.io", "ns", "d")
    found = references_of(key, obj)
    assert [str(key) for key in found] == ["secrets ns/s", "devicemodels.devices.kubeedge.io ns/m"]


def held(views: Views, node: str) -> set[str]:
    """Names of the objects of access control in a node's view."""
    return {key.name for key, _ in views.view(node).stamps() if key.resource.endswith(RBAC)}


def views_of(*objects: tuple[Key, JsonObject]) -> Views:
    views = Views(json.loads)
    views.load([stored(key, 1, obj) for key, obj in objects], Revision(1))
    return views


def test_the_roles_of_service_accounts_go_where_their_pods_are_and_no_others() -> None:
    bindings = f"clusterrolebindings.{RBAC}"
    role: JsonObject = {"metadata": {}}
    roles = [(Key(f"clusterroles.{RBAC}", "", name), role) for name in ("reads", "writes", "watches", "sees")]
    views = views_of(
        (Key("pods", "ns", "p"), pod("n1")),
        (Key("pods", "other", "p"), pod("n2", namespace="other")),
        (Key("nodes", "", "n3"), {"metadata": {}}),
        (Key(f"roles.{RBAC}", "ns", "local"), {"metadata": {}}),
        (Key(f"rolebindings.{RBAC}", "ns", "of-accounts"), binding("reads", ("ServiceAccount", "elsewhere"))),
        (Key(f"rolebindings.{RBAC}", "ns", "of-people"), binding("writes", ("User", "jane"), ("Group", "devs"))),
        (Key(bindings, "", "of-other"), binding("watches", ("ServiceAccount", "other"))),
        (Key(bindings, "", "of-all"), binding("sees", ("Group", "system:serviceaccounts"))),
        *roles,
    )
    assert held(views, "n1") == {"local", "of-accounts", "reads", "of-all", "sees"}
    assert held(views, "n2") == {"of-other", "watches", "of-all", "sees"}
    assert held(views, "n3") == set()


def test_what_everybody_may_by_default_costs_no_link() -> None:
    default = binding("discovery", ("Group", "system:authenticated"))
    default["metadata"] = {"labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}
    views = views_of(
        (Key("pods", "ns", "p"), pod("n1")),
        (Key(f"clusterrolebindings.{RBAC}", "", "discovery"), default),
        (Key(f"clusterroles.{RBAC}", "", "discovery"), {"metadata": {}}),
    )
    assert held(views, "n1") == set()


def test_a_binding_brings_its_role_along() -> None:
    key = Key(f"rolebindings.{RBAC}", "ns", "b")
    views = views_of((Key("pods", "ns", "p"), pod("n1")), (key, binding("reads", ("ServiceAccount", "ns"))))
    assert views.view("n1").closure(key) == (Key(f"clusterroles.{RBAC}", "", "reads"),)


def test_bundles_are_where_pods_project_them_by_name_or_by_signer() -> None:
    views = Views(json.loads)
    by_name = pod("n1", bundles=[{"name": "b0", "path": "a"}])
    by_signer = pod("n2", bundles=[{"signerName": "a.example/s", "labelSelector": {}, "path": "a"}])
    objects = [
        stored(Key("pods", "ns", "p1"), 1, by_name),
        stored(Key("pods", "ns", "p2"), 1, by_signer),
        stored(Key("pods", "ns", "p3"), 1, pod("n3")),
        stored(Key(BUNDLES, "", "b0"), 1, {"spec": {"signerName": ""}}),
        stored(Key(BUNDLES, "", "a.example:s:1"), 1, {"spec": {"signerName": "a.example/s"}}),
        stored(Key(BUNDLES, "", "b.example:s:1"), 1, {"spec": {"signerName": "b.example/s"}}),
    ]
    views.load(objects, Revision(1))

    def bundles(node: str) -> list[str]:
        return [key.name for key, _ in views.view(node).stamps() if key.resource == BUNDLES]

    assert (bundles("n1"), bundles("n2"), bundles("n3")) == (["b0"], ["a.example:s:1"], [])
    key = Key(BUNDLES, "", "a.example:s:2")
    after = encode_object({"spec": {"signerName": "a.example/s"}})
    touched = views.apply(Change(revision=Revision(2), key=key, uid="u", before=None, after=after))
    assert touched == {"n2": [key]} and bundles("n2") == ["a.example:s:1", "a.example:s:2"]
    gone = views.apply(Change(revision=Revision(3), key=Key("pods", "ns", "p2"), uid="u", before=None, after=None))
    assert set(gone["n2"]) >= {key} and bundles("n2") == []
