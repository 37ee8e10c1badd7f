"""What every namespace has."""

from typing import Any

from cloudcore.controllers.serviceaccount.controller import ServiceAccountController
from cloudcore.registry.admission import namespace_lifecycle
from tests.cloudcore.worlds import make_world


async def test_each_namespace_gets_both_and_gets_them_again():
    async with make_world(namespace_lifecycle) as world:
        controller = ServiceAccountController(world.tools, ca_pem="PEM")
        await world.create("namespaces", {"metadata": {"name": "d"}})
        await world.settle(controller)
        assert world.get("configmaps", "kube-root-ca.crt")["data"] == {"ca.crt": "PEM"}
        assert world.get("serviceaccounts", "default") is not None
        await world.delete("configmaps", "kube-root-ca.crt")
        await world.delete("serviceaccounts", "default")
        await world.settle(controller)
        assert world.get("configmaps", "kube-root-ca.crt") is not None
        assert world.get("serviceaccounts", "default") is not None

        def spoiled(obj: Any) -> Any:
            return obj | {"data": {"ca.crt": "other", "extra": "x"}}

        await world.update("configmaps", "kube-root-ca.crt", spoiled)
        await world.settle(controller)
        assert world.get("configmaps", "kube-root-ca.crt")["data"] == {"ca.crt": "PEM", "extra": "x"}


async def test_a_namespace_that_is_going_is_left_alone():
    async with make_world(namespace_lifecycle) as world:
        controller = ServiceAccountController(world.tools, ca_pem="PEM")
        await world.create("namespaces", {"metadata": {"name": "d"}})
        await world.delete("namespaces", "d")
        await world.settle(controller)
        assert world.names("configmaps") == []
