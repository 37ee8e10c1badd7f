from collections.abc import AsyncIterator

import pytest

from cloudcore.api.ports import Presented
from skerry.authz.attributes import Actor
from skerry.errors import BadRequestError, ConflictError, ForbiddenError, InvalidError, NotFoundError
from skerry.objects.json import Json, JsonObject, dig, int_at, map_at, maps_at, str_at, strs_at
from skerry.objects.times import parse_time
from tests.cloudcore.api.access_world import ADMIN, JANE, World, kind, world

GET_PODS: JsonObject = {"verb": "get", "resource": "pods", "namespace": "a"}


@pytest.fixture
async def w() -> AsyncIterator[World]:
    async with world() as made:
        yield made


async def ask(w: World, kind_name: str, spec: JsonObject, *, actor: Actor = JANE, namespace: str = "") -> JsonObject:
    group = "authentication.k8s.io" if kind_name in ("TokenReview", "SelfSubjectReview") else "authorization.k8s.io"
    answer = await w.desk.answer(kind(f"{kind_name.lower()}s.{group}"), namespace, {"spec": spec}, actor)
    return map_at(answer, "status")


async def test_may_i_is_answered_with_the_reason(w: World):
    assert await ask(w, "SelfSubjectAccessReview", {"resourceAttributes": GET_PODS}) == {"allowed": False}
    await w.give("view", "jane", namespace="a")
    answer = await ask(w, "SelfSubjectAccessReview", {"resourceAttributes": GET_PODS})
    assert answer["allowed"] is True
    assert answer["reason"] == ('RBAC: allowed by RoleBinding "view-jane/a" of ClusterRole "view" to User "jane"')
    paths: JsonObject = {"nonResourceAttributes": {"verb": "get", "path": "/version"}}
    assert (await ask(w, "SelfSubjectAccessReview", paths))["allowed"] is True


async def test_others_can_be_asked_about(w: World):
    await w.give("view", "joe", namespace="a")
    spec: JsonObject = {"user": "joe", "resourceAttributes": GET_PODS}
    assert (await ask(w, "SubjectAccessReview", spec))["allowed"] is True
    assert (await ask(w, "LocalSubjectAccessReview", spec, namespace="a"))["allowed"] is True
    with pytest.raises(InvalidError, match=r"must match metadata\.namespace"):
        await ask(w, "LocalSubjectAccessReview", spec, namespace="b")
    with pytest.raises(InvalidError, match="at least one of user or group must be specified"):
        await ask(w, "SubjectAccessReview", {"resourceAttributes": GET_PODS})
    groups: JsonObject = {"groups": ["system:masters"], "resourceAttributes": GET_PODS}
    assert (await ask(w, "SubjectAccessReview", groups))["allowed"] is True


@pytest.mark.parametrize("spec", [{}, {"resourceAttributes": GET_PODS, "nonResourceAttributes": {"path": "/"}}])
async def test_a_question_is_about_one_thing(w: World, spec: JsonObject):
    with pytest.raises(InvalidError, match="exactly one of nonResourceAttributes or resourceAttributes"):
        await ask(w, "SelfSubjectAccessReview", spec)


async def test_all_that_one_may_is_listed(w: World):
    await w.give("view", "jane", namespace="a")
    answer = await ask(w, "SelfSubjectRulesReview", {"namespace": "a"})
    assert any("pods" in strs_at(rule, "resources") for rule in maps_at(answer, "resourceRules"))
    assert any("/version" in strs_at(rule, "nonResourceURLs") for rule in maps_at(answer, "nonResourceRules"))
    assert answer["incomplete"] is False
    all_of_it = await ask(w, "SelfSubjectRulesReview", {"namespace": "a"}, actor=ADMIN)
    assert maps_at(all_of_it, "resourceRules") == [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
    with pytest.raises(BadRequestError, match="no namespace on request"):
        await ask(w, "SelfSubjectRulesReview", {})


async def test_who_am_i(w: World):
    answer = await ask(w, "SelfSubjectReview", {})
    assert answer == {"userInfo": {"username": "jane", "groups": ["devs", "system:authenticated"]}}


# Tokens


async def issue(w: World, spec: JsonObject, *, actor: Actor = ADMIN) -> JsonObject:
    return await w.desk.issue_token("a", "app", {"spec": spec}, actor)


async def with_account(w: World) -> str:
    account = await w.create("serviceaccounts", {"metadata": {"name": "app"}}, namespace="a")
    return str_at(account, "metadata", "uid")


async def test_a_token_that_was_issued_is_recognised(w: World):
    uid = await with_account(w)
    answer = await issue(w, {})
    token = str_at(answer, "status", "token")
    assert str_at(answer, "status", "expirationTimestamp")
    assert dig(answer, "spec", "expirationSeconds") == 3600
    assert (await w.authenticator.authenticate(Presented(token=token))).uid == uid
    review = await ask(w, "TokenReview", {"token": token})
    assert review["authenticated"] is True
    assert str_at(review, "user", "username") == "system:serviceaccount:a:app"
    assert review["audiences"] == ["https://kubernetes.default.svc"]


async def test_a_token_is_reviewed_for_the_audiences_asked(w: World):
    await with_account(w)
    token = str_at(await issue(w, {"audiences": ["vault", "api"]}), "status", "token")
    review = await ask(w, "TokenReview", {"token": token, "audiences": ["vault", "other"]})
    assert (review["authenticated"], review["audiences"]) == (True, ["vault"])
    refused = await ask(w, "TokenReview", {"token": token})
    assert "authenticated" not in refused
    assert "audiences" in str_at(refused, "error")
    assert str_at(await ask(w, "TokenReview", {"token": "x"}), "error") == "invalid bearer token"
    assert str_at(await ask(w, "TokenReview", {}), "error")


@pytest.mark.parametrize(("seconds", "fault"), [(599, "less than 10 minutes"), ((1 << 32) + 1, r"2\^32 seconds")])
async def test_a_tokens_life_is_bounded(w: World, seconds: int, fault: str):
    await with_account(w)
    with pytest.raises(InvalidError, match=fault):
        await issue(w, {"expirationSeconds": seconds})


async def test_no_account_no_token(w: World):
    with pytest.raises(NotFoundError, match='serviceaccounts "app" not found'):
        await issue(w, {})


async def test_a_token_can_be_bound_to_a_pod_of_that_account(w: World):
    await with_account(w)
    for name, account in (("mine", "app"), ("other", "else")):
        pod: JsonObject = {"metadata": {"name": name}, "spec": {"serviceAccountName": account, "nodeName": "eu-1"}}
        await w.create("pods", pod, namespace="a")
    node = await w.create("nodes", {"metadata": {"name": "eu-1"}})
    answer = await issue(w, {"boundObjectRef": {"kind": "Pod", "name": "mine"}})
    actor = await w.authenticator.authenticate(Presented(token=str_at(answer, "status", "token")))
    assert ("authentication.kubernetes.io/pod-name", ("mine",)) in actor.extra
    assert ("authentication.kubernetes.io/node-uid", (str_at(node, "metadata", "uid"),)) in actor.extra
    with pytest.raises(BadRequestError, match="different serviceaccount name"):
        await issue(w, {"boundObjectRef": {"kind": "Pod", "name": "other"}})
    with pytest.raises(ConflictError, match="does not match the UID in record"):
        await issue(w, {"boundObjectRef": {"kind": "Pod", "name": "mine", "uid": "x"}})
    with pytest.raises(NotFoundError):
        await issue(w, {"boundObjectRef": {"kind": "Secret", "name": "none"}})
    with pytest.raises(InvalidError, match="cannot bind"):
        await issue(w, {"boundObjectRef": {"kind": "Device", "name": "x"}})


async def test_a_node_gets_tokens_for_its_own_pods_only(w: World):
    await with_account(w)
    await w.create("pods", with_tokens(""), namespace="a")
    ref: JsonObject = {"boundObjectRef": {"kind": "Pod", "name": "p"}}
    own = Actor(name="system:node:eu-1", groups=("system:nodes",))
    assert str_at(await issue(w, ref, actor=own), "status", "token")
    for actor, spec in ((Actor(name="system:node:us-1", groups=("system:nodes",)), ref), (own, {})):
        with pytest.raises(ForbiddenError, match="its own pods only"):
            await issue(w, spec, actor=actor)


def with_tokens(*audiences: str) -> JsonObject:
    """A pod with a projected token for each audience."""
    sources: list[Json] = [{"serviceAccountToken": {"path": f"t{n}", "audience": a}} for n, a in enumerate(audiences)]
    volume: JsonObject = {"name": "tokens", "projected": {"sources": sources}}
    spec: JsonObject = {"serviceAccountName": "app", "nodeName": "eu-1", "volumes": [volume]}
    return {"metadata": {"name": "p"}, "spec": spec}


async def test_a_node_gets_tokens_for_the_audiences_of_its_pods_volumes_only(w: World):
    await with_account(w)
    await w.create("pods", with_tokens("vault"), namespace="a")
    ref: JsonObject = {"boundObjectRef": {"kind": "Pod", "name": "p"}}
    own = Actor(name="system:node:eu-1", groups=("system:nodes",))
    assert str_at(await issue(w, {**ref, "audiences": ["vault"]}, actor=own), "status", "token")
    refused: tuple[tuple[list[Json], str], ...] = (
        ([], 'audience "" not found in pod spec volume'),
        (["bank"], 'audience "bank" not found'),
        (["vault", "bank"], "0 or 1 audiences"),
    )
    for audiences, fault in refused:
        with pytest.raises(ForbiddenError, match=fault):
            await issue(w, {**ref, "audiences": audiences}, actor=own)


@pytest.mark.parametrize(
    ("spec", "lives_s"),
    [
        ({"expirationSeconds": 3607}, 365 * 86_400),
        ({"expirationSeconds": 3607, "audiences": ["https://kubernetes.default.svc"]}, 365 * 86_400),
        ({"expirationSeconds": 3607, "audiences": ["vault"]}, 3607),
        ({"expirationSeconds": 3600}, 3600),
    ],
)
async def test_what_every_pod_finds_mounted_lives_on_after_its_time(w: World, spec: JsonObject, lives_s: int):
    await with_account(w)
    await w.create("pods", with_tokens(""), namespace="a")
    answer = await issue(w, {**spec, "boundObjectRef": {"kind": "Pod", "name": "p"}})
    audiences = tuple(strs_at(answer, "spec", "audiences"))
    claims = w.tokens.verify(str_at(answer, "status", "token"), audiences=audiences)
    assert claims.expires_s - claims.issued_s == lives_s
    assert parse_time(str_at(answer, "status", "expirationTimestamp")) // 1000 - claims.issued_s == int_at(
        answer, "spec", "expirationSeconds"
    ), "whoever holds it is to have another by then"
    unbound = await issue(w, {"expirationSeconds": 3607})
    claims = w.tokens.verify(str_at(unbound, "status", "token"))
    assert claims.expires_s - claims.issued_s == 3607


async def test_a_request_is_about_the_account_of_its_path(w: World):
    await with_account(w)
    wrong: tuple[JsonObject, ...] = ({"name": "other"}, {"namespace": "b"})
    for metadata in wrong:
        with pytest.raises(BadRequestError, match="match"):
            await w.desk.issue_token("a", "app", {"metadata": metadata, "spec": {}}, ADMIN)
