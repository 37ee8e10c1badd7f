"""Who calls the local API, and what they may, by what the gateway holds: with a link and without one."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import pytest

from cloudcore.pki.service_tokens import EXTENDED_S, ServiceTokens
from cloudcore.pki.token_keys import TokenKeys, new_token_keys
from edgecore.local_api.access import ANONYMOUS, Access
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.authz.attributes import Actor, Attributes
from skerry.clocks import ManualClock, SeededIds
from skerry.errors import ForbiddenError, UnauthenticatedError
from skerry.frozen import replace
from skerry.objects.account_tokens import BoundTo
from skerry.objects.json import JsonObject, encode_object
from skerry.objects.meta import Key, Revision, Stamp

RBAC = "rbac.authorization.k8s.io"


class Gateway:
    """A store with an account, a pod and the keys of tokens; and the cloud that signs."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=self.clock))
        self.connected = True
        self.keys = new_token_keys()
        self.access = Access(self.store, self.clock, node="eu-1", connected=lambda: self.connected)
        self.stop = self.access.listen()

    @property
    def tokens(self) -> ServiceTokens:
        return ServiceTokens(self.keys, self.clock, SeededIds(1))

    async def put(self, resource: str, name: str, obj: JsonObject, namespace: str = "ns", uid: str = "") -> None:
        stamp = Stamp(uid or f"uid-{name}", Revision(self.revision))
        metadata: JsonObject = {"name": name, "namespace": namespace}
        body = encode_object({**obj, "metadata": metadata})
        held = Held(key=Key(resource, namespace, name), stamp=stamp, body=body)
        await self.store.apply(EdgeBatch(puts=(held,)))

    revision = 1

    async def tell_keys(self) -> None:
        self.revision += 1
        data: JsonObject = {"jwks.json": encode_object(self.tokens.key_set).decode()}
        await self.put("configmaps", "skerry-token-keys", {"data": data}, namespace="kube-system")

    def token(self, bound: BoundTo | None = None, *, uid: str = "uid-app", valid_s: int = 3600) -> str:
        claims = self.tokens.new_claims(namespace="ns", account="app", account_uid=uid, audiences=(), valid_s=valid_s)
        return self.tokens.sign(replace(claims, bound=bound))

    def who(self, token: str) -> Actor:
        return self.access.actor(f"Bearer {token}")


POD = BoundTo(kind="Pod", name="p", uid="uid-p")


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    made = Gateway()
    await made.put("serviceaccounts", "app", {})
    await made.put("pods", "p", {})
    await made.tell_keys()
    yield made
    made.stop()


async def test_a_pod_of_this_gateway_is_its_account(gateway: Gateway) -> None:
    actor = gateway.who(gateway.token(POD))
    assert actor.name == "system:serviceaccount:ns:app"
    assert actor.groups == ("system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated")
    assert ("authentication.kubernetes.io/pod-name", ("p",)) in actor.extra
    assert gateway.who(gateway.token()).uid == "uid-app"
    assert gateway.access.actor("") == ANONYMOUS


async def test_a_token_ends_with_its_time_only_where_another_could_be_had(gateway: Gateway) -> None:
    token = gateway.token(POD, valid_s=600)
    gateway.clock.advance(EXTENDED_S)
    with pytest.raises(UnauthenticatedError, match="expired"):
        gateway.who(token)
    gateway.connected = False
    assert gateway.who(token).name == "system:serviceaccount:ns:app"
    gateway.clock.step_wall(-50 * EXTENDED_S * 1000)
    assert gateway.who(token), "a board without a clock says 1970"
    gateway.connected = True
    with pytest.raises(UnauthenticatedError, match="not valid yet"):
        gateway.who(token)


async def test_a_token_for_somebody_else_is_none_here_with_or_without_a_link(gateway: Gateway) -> None:
    issuer = gateway.tokens
    claims = issuer.new_claims(
        namespace="ns", account="app", account_uid="uid-app", audiences=("vault",), valid_s=600
    )
    for gateway.connected in (True, False):
        with pytest.raises(UnauthenticatedError, match="audiences"):
            gateway.who(issuer.sign(claims))


@pytest.mark.parametrize(
    ("bound", "uid", "fault"),
    [
        (POD, "uid-of-another", "none of this gateway's"),
        (BoundTo(kind="Pod", name="p", uid="uid-before"), "uid-app", "the Pod of this token"),
        (BoundTo(kind="Pod", name="gone", uid="uid-p"), "uid-app", "the Pod of this token"),
        (BoundTo(kind="Node", name="us-1", uid="uid-us-1"), "uid-app", "the Node of this token"),
        (BoundTo(kind="Secret", name="none", uid="x"), "uid-app", "the Secret of this token"),
    ],
)
async def test_a_token_is_good_while_all_that_it_is_of_is_here(
    gateway: Gateway, bound: BoundTo, uid: str, fault: str
) -> None:
    for gateway.connected in (True, False):
        with pytest.raises(UnauthenticatedError, match=fault):
            gateway.who(gateway.token(bound, uid=uid))


async def test_a_secrets_token_is_good_while_it_is_in_there(gateway: Gateway) -> None:
    token = gateway.tokens.of_secret(namespace="ns", account="app", account_uid="uid-app", secret="s")
    data: JsonObject = {"token": base64.b64encode(token.encode()).decode()}
    await gateway.put("secrets", "s", {"data": data})
    assert gateway.who(token).name == "system:serviceaccount:ns:app"
    await gateway.put("secrets", "s", {"data": {}})
    with pytest.raises(UnauthenticatedError, match="holds another one"):
        gateway.who(token)


async def test_keys_come_and_go_with_what_the_cloud_tells(gateway: Gateway) -> None:
    token = gateway.token(POD)
    assert gateway.who(token)
    gateway.keys = TokenKeys(key=new_token_keys("RS256").key)
    with pytest.raises(UnauthenticatedError, match="invalid bearer token"):
        gateway.who(gateway.token(POD))
    await gateway.tell_keys()
    assert gateway.who(gateway.token(POD))
    with pytest.raises(UnauthenticatedError, match="invalid bearer token"):
        gateway.who(token)
    damaged: JsonObject = {"data": {"jwks.json": "{"}}
    await gateway.put("configmaps", "skerry-token-keys", damaged, namespace="kube-system", uid="x")
    with pytest.raises(UnauthenticatedError, match="can't be read"):
        gateway.who(token)
    await gateway.store.apply(EdgeBatch(deletes=(Key("configmaps", "kube-system", "skerry-token-keys"),)))
    with pytest.raises(UnauthenticatedError, match="no keys of tokens yet"):
        gateway.who(token)


@pytest.mark.parametrize("shown", ["Basic Og==", "Bearer", "Bearer ", "x", "Bearer a.b.c", "Bearer é"])
async def test_what_is_no_token_proves_nobody(gateway: Gateway, shown: str) -> None:
    with pytest.raises(UnauthenticatedError):
        gateway.access.actor(shown)


async def test_roles_that_came_down_decide_and_count_at_once(gateway: Gateway) -> None:
    actor = gateway.who(gateway.token(POD))
    reads = Attributes(actor=actor, verb="list", resource="pods", namespace="ns")
    with pytest.raises(ForbiddenError, match='cannot list resource "pods" in API group "" in the namespace "ns"'):
        gateway.access.require(reads)
    rules: JsonObject = {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]}
    await gateway.put(f"clusterroles.{RBAC}", "reader", rules, namespace="")
    ref: JsonObject = {"kind": "ClusterRole", "name": "reader"}
    binding: JsonObject = {"roleRef": ref, "subjects": [{"kind": "ServiceAccount", "name": "app"}]}
    await gateway.put(f"rolebindings.{RBAC}", "b", binding)
    gateway.access.require(reads)
    for other in (replace(reads, verb="watch"), replace(reads, namespace="other"), replace(reads, namespace="")):
        with pytest.raises(ForbiddenError):
            gateway.access.require(other)
    await gateway.store.apply(EdgeBatch(deletes=(Key(f"rolebindings.{RBAC}", "ns", "b"),)))
    with pytest.raises(ForbiddenError):
        gateway.access.require(reads)


async def test_whoever_is_known_may_look_around_and_nobody_else(gateway: Gateway) -> None:
    actor = gateway.who(gateway.token())
    for path in ("/api", "/apis/apps/v1", "/openapi/v2", "/version", "/healthz"):
        gateway.access.require(Attributes(actor=actor, verb="get", path=path))
    for path in ("/version", "/healthz"):
        gateway.access.require(Attributes(actor=ANONYMOUS, verb="get", path=path))
    for who, verb, path in ((ANONYMOUS, "get", "/api"), (actor, "post", "/api"), (actor, "get", "/skerry/status")):
        with pytest.raises(ForbiddenError):
            gateway.access.require(Attributes(actor=who, verb=verb, path=path))
