"""Addresses and node ports of services."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from cloudcore.registry.addresses import ServiceAddresses
from cloudcore.registry.builtin import KindRules
from cloudcore.registry.custom import CustomKinds
from skerry.errors import InvalidError, UnavailableError
from skerry.frozen import replace
from tests.cloudcore.worlds import World, make_world


@pytest.fixture
async def world() -> AsyncGenerator[World, None]:
    async with make_world() as made:
        rules = KindRules(CustomKinds(made.scheme))
        made.objects = replace(made.objects, rules=rules, steps=(ServiceAddresses("10.96.0.0/29"),))
        yield made


@pytest.fixture
async def dual() -> AsyncGenerator[World, None]:
    """A cloud with addresses of both families."""
    async with make_world() as made:
        rules = KindRules(CustomKinds(made.scheme))
        steps = (ServiceAddresses("10.96.0.0/24", "fd00::/112"),)
        made.objects = replace(made.objects, rules=rules, steps=steps)
        yield made


async def service(world: World, name: str, **spec: Any) -> Any:
    spec.setdefault("ports", [{"port": 80}])
    return (await world.create("services", {"metadata": {"name": name}, "spec": spec}))["spec"]


async def test_every_service_gets_an_address_of_its_own_until_none_is_left(world: World):
    given = [(await service(world, f"s{number}"))["clusterIP"] for number in range(6)]
    assert len(set(given)) == 6
    with pytest.raises(UnavailableError, match=r"no address is left in the service range 10.96.0.0/29"):
        await service(world, "s7")


async def test_an_address_follows_from_the_name(world: World):
    first = await service(world, "a")
    assert first["clusterIPs"] == [first["clusterIP"]]
    assert (first["ipFamilies"], first["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")
    await world.delete("services", "a")
    assert (await service(world, "a"))["clusterIP"] == first["clusterIP"]


async def test_an_address_that_is_taken_or_foreign_is_refused(world: World):
    taken = (await service(world, "a"))["clusterIP"]
    with pytest.raises(InvalidError, match="provided IP is already allocated"):
        await service(world, "b", clusterIP=taken)
    with pytest.raises(InvalidError, match=r"is not in the valid range. The range of valid IPs is 10.96.0.0/29"):
        await service(world, "b", clusterIP="192.168.0.1")


async def test_headless_and_external_services_take_none(world: World):
    assert (await service(world, "h", clusterIP="None"))["clusterIPs"] == ["None"]
    assert "clusterIP" not in await service(world, "e", type="ExternalName", externalName="example.com")


async def test_node_ports_are_given_kept_and_given_back(world: World):
    first = (await service(world, "a", type="NodePort"))["ports"][0]["nodePort"]
    assert 30000 <= first <= 32767
    with pytest.raises(InvalidError, match=r"spec.ports\[0\].nodePort.*provided port is already allocated"):
        await service(world, "b", type="NodePort", ports=[{"port": 80, "nodePort": first}])
    with pytest.raises(InvalidError, match="The range of valid ports is 30000-32767"):
        await service(world, "b", type="NodePort", ports=[{"port": 80, "nodePort": 80}])
    both = [{"name": "t", "port": 80, "protocol": "UDP", "nodePort": first}]
    assert (await service(world, "b", type="NodePort", ports=both))["ports"][0]["nodePort"] == first
    kept = await world.set_spec("services", "a", ports=[{"port": 80, "targetPort": 8080}])
    assert kept["spec"]["ports"][0]["nodePort"] == first
    inside = await world.set_spec("services", "a", type="ClusterIP")
    assert "nodePort" not in inside["spec"]["ports"][0]


async def test_an_update_that_leaves_the_address_out_keeps_it(world: World):
    given = await service(world, "a")
    spec = {"ports": [{"port": 81}], "type": "ClusterIP"}
    new = await world.update("services", "a", lambda obj: {**obj, "spec": spec})
    assert new["spec"]["clusterIP"] == given["clusterIP"]


async def test_both_fields_of_an_address_must_agree(world: World):
    with pytest.raises(InvalidError, match=r"spec.clusterIPs: .*first value must match `clusterIP`"):
        await service(world, "a", clusterIP="10.96.0.2", clusterIPs=["10.96.0.3"])
    given = await service(world, "a", clusterIPs=["10.96.0.3"])
    assert given["clusterIP"] == "10.96.0.3"


async def test_a_service_of_another_family_is_refused_unless_its_endpoints_are_its_own(world: World):
    with pytest.raises(InvalidError, match=r"spec.ipFamilies\[0\].*not configured on this cluster"):
        await service(world, "a", ipFamilies=["IPv6"])
    with pytest.raises(InvalidError, match=r"spec.ipFamilyPolicy.*not configured for dual stack"):
        await service(world, "a", ipFamilyPolicy="RequireDualStack")
    assert (await service(world, "p", ipFamilyPolicy="PreferDualStack"))["ipFamilies"] == ["IPv4"]
    own = await service(world, "h", clusterIP="None")
    assert (own["ipFamilies"], own["ipFamilyPolicy"]) == (["IPv4", "IPv6"], "RequireDualStack")
    found = await service(world, "f", clusterIP="None", selector={"a": "b"})
    assert (found["ipFamilies"], found["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")


async def test_a_change_of_the_type_alone_gives_back_what_the_old_one_had(world: World):
    given = await service(world, "a", type="LoadBalancer", externalTrafficPolicy="Local")
    health = given["healthCheckNodePort"]
    assert 30000 <= health <= 32767
    with pytest.raises(InvalidError, match="provided port is already allocated"):
        await service(world, "b", type="NodePort", ports=[{"port": 80, "nodePort": health}])
    kept = await world.set_spec("services", "a", sessionAffinity="ClientIP")
    assert kept["spec"]["healthCheckNodePort"] == health
    with pytest.raises(InvalidError, match=r"spec.healthCheckNodePort.*field is immutable"):
        await world.set_spec("services", "a", healthCheckNodePort=health + 1 if health < 32767 else 30000)
    inside = (await world.set_spec("services", "a", type="ClusterIP"))["spec"]
    assert inside["clusterIP"] == given["clusterIP"]
    gone = {"healthCheckNodePort", "externalTrafficPolicy", "allocateLoadBalancerNodePorts"}
    assert not gone & set(inside)
    outside = (await world.set_spec("services", "a", type="ExternalName", externalName="example.com"))["spec"]
    assert not {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"} & set(outside)
    assert (await service(world, "b", clusterIP=given["clusterIP"]))["clusterIP"] == given["clusterIP"]
    again = (await world.set_spec("services", "a", type="ClusterIP"))["spec"]
    assert again["clusterIP"] not in ("", given["clusterIP"])


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"type": "ExternalName", "externalName": "e.com", "clusterIP": "10.96.0.2"}, "may not be set when `type`"),
        ({"externalTrafficPolicy": "Local"}, "may only be set for externally-accessible services"),
        ({"type": "NodePort", "externalTrafficPolicy": "Near"}, 'supported values: "Cluster", "Local"'),
        ({"internalTrafficPolicy": "Near"}, 'supported values: "Cluster", "Local"'),
        ({"trafficDistribution": "Near"}, "spec.trafficDistribution: Unsupported value"),
        ({"healthCheckNodePort": 30000}, "may only be set when `type` is 'LoadBalancer'"),
        ({"loadBalancerClass": "a/b"}, "may only be used when `type` is 'LoadBalancer'"),
        (
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}},
            "must be greater than 0 and less than 86400",
        ),
    ],
)
async def test_what_contradicts_itself_is_refused(world: World, spec: dict[str, Any], why: str):
    with pytest.raises(InvalidError, match=why):
        await service(world, "a", **spec)


async def test_services_of_both_families_have_an_address_of_each(dual: World):
    both = await service(dual, "both", ipFamilyPolicy="RequireDualStack")
    four, six = both["clusterIPs"]
    assert both["clusterIP"] == four and four.startswith("10.96.0.") and six.startswith("fd00::")
    assert both["ipFamilies"] == ["IPv4", "IPv6"]
    turned = await service(dual, "turned", ipFamilyPolicy="PreferDualStack", ipFamilies=["IPv6"])
    assert turned["ipFamilies"] == ["IPv6", "IPv4"] and turned["clusterIP"].startswith("fd00::")
    assert (await service(dual, "six", ipFamilies=["IPv6"]))["clusterIPs"][0].startswith("fd00::")
    assert (await service(dual, "plain"))["ipFamilies"] == ["IPv4"]
    asked = await service(dual, "asked", clusterIPs=["fd00::77", "10.96.0.77"], ipFamilyPolicy="RequireDualStack")
    assert asked["ipFamilies"] == ["IPv6", "IPv4"]
    headless = await service(dual, "h", clusterIP="None", selector={"a": "b"}, ipFamilyPolicy="PreferDualStack")
    assert (headless["clusterIPs"], headless["ipFamilies"]) == (["None"], ["IPv4", "IPv6"])


async def test_a_service_becomes_one_of_both_families_and_of_one_again(dual: World):
    first = await service(dual, "a")
    both = (await dual.set_spec("services", "a", ipFamilyPolicy="PreferDualStack"))["spec"]
    assert both["clusterIPs"][0] == first["clusterIP"] and len(both["clusterIPs"]) == 2
    kept = (await dual.set_spec("services", "a", sessionAffinity="ClientIP"))["spec"]
    assert kept["clusterIPs"] == both["clusterIPs"]
    with pytest.raises(InvalidError, match=r"spec.clusterIPs\[1\].*may not change once set"):
        await dual.set_spec("services", "a", clusterIPs=[first["clusterIP"], "fd00::99"])
    with pytest.raises(InvalidError, match="expected an IPv6 value as indicated by"):
        await dual.set_spec("services", "a", ipFamilies=["IPv6", "IPv4"], clusterIPs=[], clusterIP="")
    one = (await dual.set_spec("services", "a", ipFamilyPolicy="SingleStack"))["spec"]
    assert (one["clusterIPs"], one["ipFamilies"]) == ([first["clusterIP"]], ["IPv4"])
    again = await service(
        dual, "b", clusterIPs=["10.96.0.9", both["clusterIPs"][1]], ipFamilyPolicy="PreferDualStack"
    )
    assert again["clusterIPs"][1] == both["clusterIPs"][1], "what was given back is free"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"ipFamilies": ["IPv4", "IPv6"]}, r"spec.ipFamilyPolicy.*when multiple `ipFamilies` are specified"),
        (
            {"ipFamilies": ["IPv4", "IPv4"], "ipFamilyPolicy": "PreferDualStack"},
            r"ipFamilies\[1\].*[Dd]uplicate",
        ),
        ({"ipFamilies": ["IPv4"], "clusterIP": "fd00::7"}, r"spec.clusterIPs\[0\].*expected an IPv4 value"),
        (
            {"clusterIPs": ["10.96.0.9", "fd01::7"], "ipFamilyPolicy": "RequireDualStack"},
            "fd01::7.* not in",
        ),
    ],
)
async def test_families_that_do_not_fit_are_refused(dual: World, spec: dict[str, Any], said: str):
    with pytest.raises(InvalidError, match=said):
        await service(dual, "a", **spec)
