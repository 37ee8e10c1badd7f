import base64
import datetime
from collections.abc import AsyncIterator

import pytest

from cloudcore.api.authn import ANONYMOUS
from cloudcore.api.ports import Presented
from cloudcore.pki.certificates import issue_client, new_authority
from cloudcore.pki.service_tokens import ServiceTokens
from cloudcore.pki.token_keys import new_token_keys
from skerry.errors import BadRequestError, ForbiddenError, UnauthenticatedError
from skerry.frozen import replace
from skerry.objects.account_tokens import BoundTo
from skerry.objects.enrolment import der_of_pem
from skerry.objects.json import JsonObject, str_at
from tests.cloudcore.api.access_world import RBAC, World, kind, world


@pytest.fixture
async def w() -> AsyncIterator[World]:
    async with world() as made:
        yield made


def certificate(w: World, user: str, *groups: str, days: int = 1) -> bytes:
    now = datetime.datetime.fromtimestamp(w.clock.wall_ms() / 1000, datetime.UTC)
    authority = new_authority(name="ca", now=now)
    issued = issue_client(authority, user=user, groups=groups, now=now, valid=datetime.timedelta(days=days))
    return der_of_pem(issued.certificate_pem)


async def account_token(w: World, name: str = "app", *, bound: BoundTo | None = None, valid_s: int = 600) -> str:
    account = await w.create("serviceaccounts", {"metadata": {"name": name}}, namespace="a")
    claims = w.tokens.new_claims(
        namespace="a", account=name, account_uid=str_at(account, "metadata", "uid"), audiences=(), valid_s=valid_s
    )
    return w.tokens.sign(replace(claims, bound=bound))


async def test_a_certificate_says_who_and_in_which_groups(w: World):
    actor = await w.authenticator.authenticate(Presented(certificate=certificate(w, "jane", "devs", "ops")))
    assert (actor.name, actor.groups) == ("jane", ("devs", "ops", "system:authenticated"))
    name, values = actor.extra[0]
    assert name == "authentication.kubernetes.io/credential-id"
    assert values[0].startswith("X509SHA256=")


async def test_a_certificate_that_ends_during_a_connection_ends_there(w: World):
    shown = Presented(certificate=certificate(w, "jane"))
    await w.authenticator.authenticate(shown)
    w.clock.advance(2 * 86_400)
    with pytest.raises(UnauthenticatedError, match="expired"):
        await w.authenticator.authenticate(shown)


async def test_a_nodes_certificate_is_good_while_the_node_is_there_and_has_its_key(w: World):
    shown = Presented(certificate=certificate(w, "system:node:eu-1", "system:nodes"))
    assert shown.certificate is not None
    with pytest.raises(UnauthenticatedError, match="eu-1 is not known any more"):
        await w.authenticator.authenticate(shown)
    own: JsonObject = {"skerry.dev/node-key": w.authenticator.subject(shown.certificate).key}
    await w.create("nodes", {"metadata": {"name": "eu-1", "annotations": own}})
    assert (await w.authenticator.authenticate(shown)).name == "system:node:eu-1"
    other = Presented(certificate=certificate(w, "system:node:eu-1", "system:nodes"))
    with pytest.raises(UnauthenticatedError, match="joined again with another key"):
        await w.authenticator.authenticate(other)
    await w.objects.delete(kind("nodes"), kind("nodes").key("", "eu-1"))
    with pytest.raises(UnauthenticatedError, match="not known any more"):
        await w.authenticator.authenticate(shown)


async def test_whoever_shows_nothing_is_anonymous(w: World):
    assert await w.authenticator.authenticate(Presented()) == ANONYMOUS


async def test_a_service_account_token_speaks_for_its_account(w: World):
    actor = await w.authenticator.authenticate(Presented(token=await account_token(w)))
    assert actor.name == "system:serviceaccount:a:app"
    assert actor.groups == ("system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated")
    assert actor.uid


async def test_a_token_ends_with_its_time_and_with_its_account(w: World):
    token = await account_token(w, "one")
    w.clock.advance(611)
    with pytest.raises(UnauthenticatedError, match="expired"):
        await w.authenticator.authenticate(Presented(token=token))
    token = await account_token(w, "two")
    accounts = kind("serviceaccounts")
    await w.objects.delete(accounts, accounts.key("a", "two"))
    with pytest.raises(UnauthenticatedError, match="does not exist any more"):
        await w.authenticator.authenticate(Presented(token=token))
    await w.create("serviceaccounts", {"metadata": {"name": "two"}}, namespace="a")
    with pytest.raises(UnauthenticatedError, match="does not exist any more"):
        await w.authenticator.authenticate(Presented(token=token))


async def test_a_token_ends_with_the_pod_it_is_bound_to(w: World):
    pod = await w.create("pods", {"metadata": {"name": "p"}, "spec": {}}, namespace="a")
    uid = str_at(pod, "metadata", "uid")
    token = await account_token(w, bound=BoundTo(kind="Pod", name="p", uid=uid))
    actor = await w.authenticator.authenticate(Presented(token=token))
    assert ("authentication.kubernetes.io/pod-name", ("p",)) in actor.extra
    await w.objects.delete(kind("pods"), kind("pods").key("a", "p"))
    with pytest.raises(UnauthenticatedError, match="the Pod of this token"):
        await w.authenticator.authenticate(Presented(token=token))


@pytest.mark.parametrize("token", ["x", "a.b.c", "", "eyJhbGciOiJub25lIn0.e30."])
async def test_nonsense_proves_nobody(w: World, token: str):
    with pytest.raises(UnauthenticatedError):
        await w.authenticator.authenticate(Presented(token=token or "."))


async def test_a_token_by_another_key_or_for_another_audience_is_refused(w: World):

    from skerry.clocks import SeededIds

    other = ServiceTokens(new_token_keys(), w.clock, SeededIds(1))
    account = await w.create("serviceaccounts", {"metadata": {"name": "app"}}, namespace="a")
    claims = other.new_claims(
        namespace="a", account="app", account_uid=str_at(account, "metadata", "uid"), audiences=(), valid_s=600
    )
    with pytest.raises(UnauthenticatedError, match="invalid bearer token"):
        await w.authenticator.authenticate(Presented(token=other.sign(claims)))
    elsewhere = w.tokens.new_claims(
        namespace="a",
        account="app",
        account_uid=str_at(account, "metadata", "uid"),
        audiences=["vault"],
        valid_s=600,
    )
    with pytest.raises(UnauthenticatedError, match="audiences"):
        await w.authenticator.authenticate(Presented(token=w.tokens.sign(elsewhere)))


# Impersonation


async def test_masters_may_act_for_anybody(w: World):
    shown = Presented(
        certificate=certificate(w, "root", "system:masters"),
        impersonate_user="jane",
        impersonate_groups=("devs",),
        impersonate_uid="1",
        impersonate_extra=(("scopes", ("x",)),),
    )
    actor = await w.authenticator.authenticate(shown)
    assert (actor.name, actor.groups, actor.uid) == ("jane", ("devs", "system:authenticated"), "1")
    assert actor.extra == (("scopes", ("x",)),)


async def test_acting_for_somebody_is_a_permission_for_each_part_of_them(w: World):
    role: JsonObject = {
        "metadata": {"name": "actor"},
        "rules": [{"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"], "resourceNames": ["joe"]}],
    }
    await w.create(f"clusterroles.{RBAC}", role)
    await w.give("actor", "jane")
    jane = certificate(w, "jane")
    assert (await w.authenticator.authenticate(Presented(certificate=jane, impersonate_user="joe"))).name == "joe"
    for shown in (
        Presented(certificate=jane, impersonate_user="ann"),
        Presented(certificate=jane, impersonate_user="joe", impersonate_groups=("system:masters",)),
        Presented(certificate=jane, impersonate_user="joe", impersonate_uid="1"),
        Presented(certificate=jane, impersonate_user="joe", impersonate_extra=(("scopes", ("x",)),)),
        Presented(certificate=jane, impersonate_user="system:serviceaccount:a:app"),
    ):
        with pytest.raises(ForbiddenError, match="cannot impersonate resource"):
            await w.authenticator.authenticate(shown)


async def test_acting_for_a_service_account_brings_its_groups(w: World):
    shown = Presented(
        certificate=certificate(w, "root", "system:masters"), impersonate_user="system:serviceaccount:a:app"
    )
    actor = await w.authenticator.authenticate(shown)
    assert actor.groups == ("system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated")


async def test_groups_without_a_user_make_no_sense(w: World):
    shown = Presented(certificate=certificate(w, "root", "system:masters"), impersonate_groups=("x",))
    with pytest.raises(BadRequestError, match="without a user"):
        await w.authenticator.authenticate(shown)


async def test_acting_for_nobody_gives_the_rights_of_nobody(w: World):
    shown = Presented(certificate=certificate(w, "root", "system:masters"), impersonate_user="system:anonymous")
    assert (await w.authenticator.authenticate(shown)).groups == ("system:unauthenticated",)


async def test_a_token_outlives_the_beginning_of_its_pods_end_by_a_minute(w: World):
    pod = await w.create("pods", {"metadata": {"name": "p", "finalizers": ["a/b"]}, "spec": {}}, namespace="a")
    token = await account_token(w, bound=BoundTo(kind="Pod", name="p", uid=str_at(pod, "metadata", "uid")))
    await w.objects.delete(kind("pods"), kind("pods").key("a", "p"))
    w.clock.advance(59)
    assert (await w.authenticator.authenticate(Presented(token=token))).name == "system:serviceaccount:a:app"
    w.clock.advance(3)
    with pytest.raises(UnauthenticatedError, match="the Pod of this token"):
        await w.authenticator.authenticate(Presented(token=token))


async def test_a_secrets_token_is_good_while_it_is_in_the_secret(w: World):
    account = await w.create("serviceaccounts", {"metadata": {"name": "app"}}, namespace="a")
    uid = str_at(account, "metadata", "uid")
    token = w.tokens.of_secret(namespace="a", account="app", account_uid=uid, secret="s")
    with pytest.raises(UnauthenticatedError, match="the Secret of this token"):
        await w.authenticator.authenticate(Presented(token=token))
    data: JsonObject = {"token": base64.b64encode(token.encode()).decode()}
    await w.create("secrets", {"metadata": {"name": "s"}, "data": data}, namespace="a")
    actor = await w.authenticator.authenticate(Presented(token=token))
    assert (actor.name, actor.extra) == ("system:serviceaccount:a:app", ())
    await w.objects.delete(kind("secrets"), kind("secrets").key("a", "s"))
    await w.create("secrets", {"metadata": {"name": "s"}, "data": {"token": "eA=="}}, namespace="a")
    with pytest.raises(UnauthenticatedError, match="holds another one"):
        await w.authenticator.authenticate(Presented(token=token))
