"""What HAProxy is told: nothing that a user wrote becomes configuration, and it takes all of it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecore.network.balancing import Backend
from edgecore.network.ingress.annotations import Options
from edgecore.network.ingress.haproxy import changes, slots_of
from edgecore.network.ingress.plan import Plan, Pool
from tests.edgecore.network.conftest import Known, pod, service
from tests.edgecore.network.ingress.conftest import (
    Asked,
    certificate,
    ingress,
    path,
    refusal,
    rule,
    tls_secret,
    written,
)

NASTY = [
    "\n    stats enable",
    "' \" \\ %[env(HOME)] $HOME ${HOME}",
    " acl x",
    "# x",
    "%[src]",
    "\t",
    "\x00",
    "é",
    "{ x }",
]
texts = st.one_of(st.sampled_from(NASTY), st.text(max_size=30))
hosts = st.one_of(st.sampled_from(["a.example", "*.w.example", "", "A.B", "*", "xn--bcher-kva.example"]), texts)
paths = st.one_of(
    st.sampled_from(["/", "/x", "/x/", "/é", "/%20x", "//x", "/app(/|$)(.*)"]), texts.map("/".__add__), texts
)
NAMES = [
    "affinity", "backend-protocol", "configuration-snippet", "denylist-source-range", "permanent-redirect",
    "permanent-redirect-code", "proxy-body-size", "proxy-connect-timeout", "proxy-read-timeout", "rewrite-target",
    "session-cookie-max-age", "session-cookie-name", "session-cookie-samesite", "ssl-passthrough", "ssl-redirect",
    "temporal-redirect", "whitelist-source-range",
]  # fmt: skip
VALUES = [
    "cookie", "GRPC", "HTTPS", "10.0.0.0/8,fd00::/8", "https://x.example/%41?a=b&c#d", "308", "8m", "60", "/$2",
    "/v1/$1", "/", "Lax", "true", "false",
]  # fmt: skip
KNOWN = (
    "global defaults frontend backend stats maxconn nbthread hard-stop-after mworker-max-reloads "
    "ssl-default-bind-options ssl-default-bind-ciphers ssl-default-bind-ciphersuites ssl-server-verify "
    "tune.ssl.cachesize mode option balance retries retry-on timeout bind http-request use_backend default_backend "
    "acl cookie dynamic-cookie-key default-server server tcp-request"
)
"""First words of lines."""
annotations = st.dictionaries(st.sampled_from(NAMES), st.one_of(st.sampled_from(VALUES), texts), max_size=6)
kinds = st.sampled_from(["Exact", "Prefix", "ImplementationSpecific", "Other"])
rules = st.builds(
    lambda host, found: rule(host, *(path(text, name, kind) for text, name, kind in found)),
    hosts,
    st.lists(st.tuples(paths, st.sampled_from(["web", "none", "x y\n"]), kinds), max_size=3),
)
tls = st.lists(
    st.fixed_dictionaries({"hosts": st.lists(hosts, max_size=2), "secretName": st.sampled_from(["cert", "no"])}),
    max_size=2,
)
asked_for = st.lists(st.tuples(st.lists(rules, max_size=3), annotations, tls), min_size=1, max_size=4)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(asked_for)
def test_haproxy_takes_whatever_users_wrote(found: list[tuple[list[Any], dict[str, str], list[Any]]]):
    known = Known()
    known.put(service("web", selector={"app": "web"}), pod("a", "10.1.0.1"))
    asked = Asked(known)
    asked.secret(tls_secret("cert", certificate("a.example")))
    for number, (told, said, shown) in enumerate(found):
        asked.put(ingress(f"i{number}", *told, age=number + 1, annotations=said, tls=shown))
    plan = asked.plan()
    with TemporaryDirectory() as directory:
        files = written(plan, Path(directory))
        assert refusal(Path(directory)) == ""
    heads = [line.split()[0] for line in files.config.splitlines() if not line.startswith(" ")]
    assert heads == ["global", "defaults", "frontend", "frontend", "backend", *["backend"] * len(plan.pools)]
    words = {line.split()[0] for line in files.config.splitlines()}
    assert words <= set(KNOWN.split())
    for name, text in files.maps.items():
        if name != "certificates.list":
            assert all(line.count(" ") == 1 for line in text.splitlines())


def test_long_lists_are_cut_into_lines_that_haproxy_takes(asked: Asked, tmp_path: Path):
    asked.known.put(service("web", selector={"app": "web"}))
    networks = ",".join(f"10.{number}.0.0/16" for number in range(250))
    many = [f"h{number}.example" for number in range(300)]
    asked.secret(tls_secret("cert", certificate("a.example")))
    asked.put(
        ingress(
            "one",
            *(rule(host, path("/", "web")) for host in many),
            annotations={"whitelist-source-range": networks},
            tls=[{"hosts": many, "secretName": "cert"}],
        )
    )
    written(asked.plan(), tmp_path)
    assert refusal(tmp_path) == ""


# --- servers ----------------------------------------------------------------------------------------------


def pools(*addresses: str) -> Plan:
    servers = tuple(Backend(address=each, port=80) for each in addresses)
    return Plan(pools=(Pool(name="d:web:1", servers=servers, options=Options()),))


def test_endpoints_keep_their_server_and_new_ones_take_what_is_free():
    before = slots_of(pools("10.0.0.1", "10.0.0.2"), {})
    after = slots_of(pools("10.0.0.2", "10.0.0.3"), before)
    assert [each and each.address for each in after["d:web:1"]] == ["10.0.0.3", "10.0.0.2", None, None]
    assert changes(before, after) == [
        "set server d:web:1/s1 state maint",
        "set server d:web:1/s1 addr 10.0.0.3 port 80",
        "set server d:web:1/s1 state ready",
        "set server d:web:1/s1 health up",
    ]
    assert changes(after, slots_of(pools("10.0.0.2"), after)) == ["set server d:web:1/s1 state maint"]
    assert changes(before, before) == []


def test_another_pool_or_more_endpoints_than_servers_take_a_new_process():
    before = slots_of(pools("10.0.0.1"), {})
    many = [f"10.0.0.{number}" for number in range(1, 6)]
    after = slots_of(pools(*many), before)
    assert changes(before, after) is None
    assert len(after["d:web:1"]) == 8
    assert changes(before, {**before, "d:other:2": before["d:web:1"]}) is None


@given(st.lists(st.sets(st.integers(1, 40)), min_size=1, max_size=8))
def test_everybody_has_one_server_whatever_came_and_went(steps: list[set[int]]):
    slots: Any = {}
    for wanted in steps:
        addresses = sorted(f"10.0.0.{number}" for number in wanted)
        slots = slots_of(pools(*addresses), slots)
        assert sorted(each.address for each in slots["d:web:1"] if each is not None) == addresses
        assert len(slots["d:web:1"]) <= max(4, 8 * len(wanted) + 8)
