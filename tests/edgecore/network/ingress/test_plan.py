"""What becomes of Ingresses: hosts, paths, pools, certificates, and what is said of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from edgecore.network.ingress import plan as plans
from edgecore.network.ingress.plan import Plan, Pool
from skerry.objects.meta import Key
from tests.edgecore.network.conftest import Known, endpoint, headless, pod, service, slice_of
from tests.edgecore.network.ingress.conftest import Asked, certificate, ingress, path, rule, tls_secret

WEB: dict[str, Any] = {"selector": {"app": "web"}}


@pytest.fixture(autouse=True)
def _services(known: Known) -> None:
    known.put(service("web", **WEB), service("other", selector={"app": "other"}))
    known.put(pod("a", "10.1.0.1"), pod("o", "10.1.0.9", labels={"app": "other"}))


def told(plan: Plan) -> list[tuple[str, str]]:
    return [(note.ingress.name, note.reason) for note in plan.notes]


def pool_at(plan: Plan, host: str, prefix: str) -> Pool:
    (found,) = [each for each in plan.hosts if each.name == host]
    name = dict(found.prefixes)[prefix]
    return next(pool for pool in plan.pools if pool.name == name)


def asks(pool: Pool) -> list[str]:
    return [f"{each.address}:{each.port}" for each in pool.servers]


def test_paths_of_a_host_come_from_all_its_ingresses_and_end_by_elements(asked: Asked):
    asked.put(ingress("one", rule("a.example", path("/", "web"), path("/x", "other", "Exact"))))
    asked.put(
        ingress("two", rule("a.example", path("/y", "other"), path("", "other", "ImplementationSpecific")), age=2)
    )
    plan = asked.plan()
    (host,) = plan.hosts
    assert [each for each, _ in host.exact] == ["/x"]
    assert [each for each, _ in host.prefixes] == ["/", "/y/"]
    assert asks(pool_at(plan, "a.example", "/")) == ["10.1.0.1:8080"]
    assert asks(pool_at(plan, "a.example", "/y/")) == ["10.1.0.9:8080"]
    assert plan.served == ("d/one/u-one", "d/two/u-two")


def test_the_older_ingress_has_a_path_and_the_other_is_told(asked: Asked):
    asked.put(ingress("young", rule("a.example", path("/x/", "other")), age=9))
    asked.put(ingress("old", rule("a.example", path("/x", "web")), age=2))
    plan = asked.plan()
    assert asks(pool_at(plan, "a.example", "/x/")) == ["10.1.0.1:8080"]
    (note,) = plan.notes
    assert (note.ingress.name, note.reason) == ("young", "Conflict")
    assert note.message == "a.example/x/ (Prefix) belongs to the older Ingress d/old"


def test_the_default_backend_is_for_what_its_hosts_do_not_say_and_the_oldest_for_all(asked: Asked):
    web: Any = {"service": {"name": "web", "port": {"number": 80}}}
    asked.put(ingress("one", rule("a.example", path("/x", "other")), defaultBackend=web))
    plan = asked.plan()
    assert asks(pool_at(plan, "a.example", "/")) == ["10.1.0.1:8080"]
    assert plan.default_pool.startswith("d:web:")
    asked.ingresses[0]["spec"]["rules"] = []
    assert asked.plan().default_pool == plan.default_pool


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        ({"resource": {"kind": "Bucket", "name": "x"}}, "NotSupported"),
        ({"service": {"name": "away", "port": {"number": 80}}}, "NoService"),
        ({"service": {"name": "web", "port": {"name": "nope"}}}, "NoService"),
        ({"service": {"name": "far", "port": {"number": 80}}}, "NotSupported"),
    ],
)
def test_backends_that_cannot_be_asked_are_told(asked: Asked, known: Known, backend: Any, reason: str):
    known.put(service("far", type="ExternalName", externalName="db.example"))
    asked.put(ingress("one", rule("a.example", {"path": "/", "pathType": "Prefix", "backend": backend})))
    plan = asked.plan()
    assert told(plan) == [("one", reason)]
    assert all(not pool.servers for pool in plan.pools)


def test_ports_go_by_name_or_number_and_a_headless_service_has_those_of_its_pods(asked: Asked, known: Known):
    known.put(headless("db", **WEB))
    asked.put(ingress("one", rule("a.example", path("/n", "web", port="http"), path("/h", "db", port=8080))))
    plan = asked.plan()
    assert asks(pool_at(plan, "a.example", "/n/")) == asks(pool_at(plan, "a.example", "/h/")) == ["10.1.0.1:8080"]
    assert not plan.notes


def test_only_ready_pods_are_asked_and_those_of_the_site_before_others(asked: Asked, known: Known):
    known.directory.put(
        Key("nodes", "", "n1"), {"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "north"}}}
    )
    near, far = endpoint("10.2.0.1", zone="north"), endpoint("10.9.0.1", "n9", zone="south")
    known.put(slice_of("web", near, far))
    asked.put(ingress("one", rule("a.example", path("/", "web"))))
    assert asks(asked.plan().pools[0]) == ["10.1.0.1:8080", "10.2.0.1:8080"]
    known.put(pod("a", "10.1.0.1", ready=False))
    assert asks(asked.plan().pools[0]) == ["10.2.0.1:8080"]
    known.put(slice_of("web", far))
    assert asks(asked.plan().pools[0]) == ["10.9.0.1:8080"]


def test_an_endpoint_somebody_wrote_is_never_the_gateway_itself(asked: Asked, known: Known):
    known.put(
        service("mine"), slice_of("mine", endpoint("127.0.0.1"), endpoint("169.254.169.254"), endpoint("10.3.0.1"))
    )
    asked.put(ingress("one", rule("a.example", path("/", "mine"))))
    assert asks(asked.plan().pools[0]) == ["10.3.0.1:8080"]


def test_a_host_with_a_certificate_is_sent_to_tls_unless_it_says_otherwise(asked: Asked):
    asked.secret(tls_secret("cert", certificate("a.example")))
    tls: Any = [{"hosts": ["a.example", "*.w.example"], "secretName": "cert"}]
    hosts = [rule(host, path("/", "web")) for host in ("a.example", "b.w.example", "c.example")]
    asked.put(ingress("one", *hosts, tls=tls))
    plan = asked.plan()
    assert [pool_at(plan, each.name, "/").to_https for each in plan.hosts] == [True, True, False]
    (shown,) = plan.certificates
    assert shown.hosts == ("*.w.example", "a.example")
    assert "PRIVATE" not in repr(plan)
    asked.ingresses[0]["metadata"]["annotations"] = {"nginx.ingress.kubernetes.io/ssl-redirect": "false"}
    assert not any(pool.to_https for pool in asked.plan().pools)
    asked.ingresses[0]["metadata"]["annotations"] = {"nginx.ingress.kubernetes.io/force-ssl-redirect": "true"}
    assert all(pool.to_https for pool in asked.plan().pools)


def test_a_certificate_that_is_missing_or_broken_is_told_and_another_ingress_cannot_take_a_host(asked: Asked):
    asked.secret(tls_secret("good", certificate("a.example")))
    asked.secret(tls_secret("bad", (b"x", b"y")))
    one: Any = [{"hosts": ["a.example"], "secretName": "good"}]
    asked.put(ingress("one", rule("a.example", path("/", "web")), tls=one))
    asked.put(
        ingress(
            "two", rule("b.example", path("/", "web")), age=2, tls=[{"hosts": ["b.example"], "secretName": "bad"}]
        )
    )
    asked.put(
        ingress(
            "three", rule("c.example", path("/", "web")), age=3, tls=[{"hosts": ["c.example"], "secretName": "no"}]
        )
    )
    asked.secret(tls_secret("thief", certificate("a.example"), "e"))
    asked.put(ingress("four", age=4, namespace="e", tls=[{"hosts": ["a.example"], "secretName": "thief"}]))
    plan = asked.plan()
    assert [(each.secret, each.hosts) for each in plan.certificates] == [("d/good", ("a.example",))]
    assert sorted(told(plan)) == [("four", "Conflict"), ("three", "NoCertificate"), ("two", "NoCertificate")]


def test_the_class_gives_defaults_and_a_certificate_for_the_others(asked: Asked):
    key = Key("ingressclasses.networking.k8s.io", "", "skerry")
    asked.objects[key] = {
        "metadata": {"name": "skerry", "annotations": {"skerry.dev/default-tls-secret": "ops/all"}},
        "spec": {
            "controller": "skerry.dev/ingress",
            "parameters": {"kind": "ConfigMap", "name": "edge", "namespace": "ops", "scope": "Namespace"},
        },
    }
    asked.objects[Key("configmaps", "ops", "edge")] = {"data": {"proxy-body-size": "8m", "proxy-read-timeout": "5"}}
    asked.secret(tls_secret("all", certificate("x.example"), "ops"))
    asked.put(ingress("one", rule("a.example", path("/", "web")), annotations={"proxy-read-timeout": "9"}))
    plan = asked.plan()
    assert plan.default_certificate is not None and plan.default_certificate.secret == "ops/all"
    assert (plan.pools[0].options.body_bytes_max, plan.pools[0].options.answer_s) == (8 << 20, 9)


def test_what_is_of_another_class_or_goes_is_not_served(asked: Asked):
    one = ingress("one", rule("a.example", path("/", "web")))
    two = ingress("two", rule("b.example", path("/", "web")), ingressClassName="else")
    three = ingress("three", rule("c.example", path("/", "web")))
    three["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    asked.put(one, two, three)
    assert asked.plan().served == ("d/one/u-one",)
    one["spec"]["ingressClassName"] = ""
    one["metadata"]["annotations"]["kubernetes.io/ingress.class"] = "skerry"
    assert asked.plan().served == ("d/one/u-one",)


@pytest.mark.parametrize(
    ("text", "target", "prefix", "stripped"),
    [
        ("/app(/|$)(.*)", "/$2", "/app/", "/app"),
        ("/app/?(.*)", "/$1", "/app/", "/app"),
        ("/app/(.*)", "/v2/$1", "/app/", "/app"),
        ("/(.*)", "/v2/$1", "/", ""),
    ],
)
def test_the_usual_ways_to_take_a_prefix_away_are_understood(
    asked: Asked, text: str, target: str, prefix: str, stripped: str
):
    rules = rule("a.example", path(text, "web", "ImplementationSpecific"))
    asked.put(ingress("one", rules, annotations={"rewrite-target": target, "use-regex": "true"}))
    plan = asked.plan()
    assert not plan.notes
    assert pool_at(plan, "a.example", prefix).stripped == stripped


@pytest.mark.parametrize(
    ("text", "target"),
    [("/a(.+)b", "/$1"), ("/app(/|$)(.*)", "/$1"), ("/app(/|$)(.*)", "/x"), ("/x y", "/"), ("x", "")],
)
def test_patterns_that_are_not_understood_are_not_served(asked: Asked, text: str, target: str):
    annotations = {"rewrite-target": target} if target else {}
    rules = rule("a.example", path(text, "web", "ImplementationSpecific"))
    asked.put(ingress("one", rules, annotations=annotations))
    plan = asked.plan()
    assert (plan.hosts, told(plan)) == ((), [("one", "NotSupported")])


def test_there_is_an_end_to_everything(asked: Asked, monkeypatch: pytest.MonkeyPatch):
    many = [path(f"/p{number}", "web") for number in range(plans.PATHS_MAX + 5)]
    asked.put(ingress("one", rule("a.example", *many)))
    plan = asked.plan()
    assert len(plan.hosts[0].prefixes) == plans.PATHS_MAX
    assert told(plan) == [("one", "TooMany")]


def test_tls_that_an_app_ends_itself_goes_to_its_backend_of_the_root(asked: Asked):
    passed = {"ssl-passthrough": "true", "whitelist-source-range": "10.0.0.0/8", "rewrite-target": "/x"}
    asked.put(ingress("one", rule("a.example", path("/", "web"), path("/x", "other")), annotations=passed))
    asked.put(ingress("two", rule("*.w.example", path("/", "web")), annotations=passed, age=2))
    plan = asked.plan()
    assert [host for host, _ in plan.passed] == ["*.w.example", "a.example"]
    (pool,) = [each for each in plan.pools if each.name == dict(plan.passed)["a.example"]]
    assert pool.raw and asks(pool) == ["10.1.0.1:8080"]
    assert pool.options.allowed == ("10.0.0.0/8",) and pool.options.rewrite is None
    assert pool_at(plan, "a.example", "/").to_https, "who asks in the clear is sent to TLS"


def test_tls_is_passed_on_by_one_ingress_alone_and_never_away_from_an_older_one(asked: Asked):
    passed = {"ssl-passthrough": "true"}
    asked.put(ingress("mine", rule("a.example", path("/", "web"))))
    asked.put(ingress("thief", rule("a.example", path("/", "other")), annotations=passed, age=2))
    asked.put(ingress("first", rule("b.example", path("/", "web")), annotations=passed, age=3))
    asked.put(ingress("second", rule("b.example", path("/", "other")), annotations=passed, age=4))
    asked.put(ingress("third", rule("b.example", path("/x", "other")), age=5))
    asked.put(ingress("no-host", rule("", path("/", "web")), annotations=passed, age=6))
    asked.put(ingress("no-root", rule("c.example", path("/x", "web")), annotations=passed, age=7))
    plan = asked.plan()
    assert [host for host, _ in plan.passed] == ["b.example"]
    assert told(plan) == [
        ("no-host", "NotSupported"),
        ("no-root", "NotSupported"),
        ("second", "Conflict"),
        ("thief", "Conflict"),
        ("third", "Conflict"),
    ]
