"""The controllers that every cloud runs. Adds nothing of its own."""

from __future__ import annotations

from cloudcore.controllers.crd.controller import DefinitionController
from cloudcore.controllers.deployment.controller import DeploymentController
from cloudcore.controllers.garbage.controller import GarbageController
from cloudcore.controllers.jointoken.controller import JoinTokenController
from cloudcore.controllers.namespace.controller import NamespaceController
from cloudcore.controllers.node.controller import NodeController
from cloudcore.controllers.replicaset.controller import ReplicaSetController
from cloudcore.controllers.serviceaccount.controller import ServiceAccountController
from cloudcore.registry.custom import CustomKinds
from cloudcore.runtime.manager import Controller, Tools


def standard_controllers(tools: Tools, custom: CustomKinds, *, ca_pem: str) -> list[Controller]:
    """`custom` is told which kinds to serve; `ca_pem` is the certificate by which pods know the API server."""
    return [
        DeploymentController(tools),
        ReplicaSetController(tools),
        NamespaceController(tools),
        GarbageController(tools),
        ServiceAccountController(tools, ca_pem=ca_pem),
        NodeController(tools),
        DefinitionController(tools, custom),
        JoinTokenController(tools),
    ]
