"""The controllers that every cloud runs. Adds nothing of its own."""

from __future__ import annotations

from cloudcore.controllers.command.controller import CommandController
from cloudcore.controllers.crd.controller import DefinitionController
from cloudcore.controllers.cronjob.controller import CronJobController
from cloudcore.controllers.daemonset.controller import DaemonSetController
from cloudcore.controllers.deployment.controller import DeploymentController
from cloudcore.controllers.devicerule.controller import DeviceRuleController
from cloudcore.controllers.edgeapplication.controller import EdgeApplicationController
from cloudcore.controllers.endpoints.controller import (
    EndpointsController,
    EndpointSliceController,
    EndpointSliceMirroringController,
)
from cloudcore.controllers.expiry.controller import ExpiryController
from cloudcore.controllers.garbage.controller import GarbageController
from cloudcore.controllers.gslb.controller import GslbController
from cloudcore.controllers.gslb.plan import Judge
from cloudcore.controllers.ingress.controller import IngressController
from cloudcore.controllers.job.controller import JobController
from cloudcore.controllers.jointoken.controller import JoinTokenController
from cloudcore.controllers.namespace.controller import NamespaceController
from cloudcore.controllers.node.controller import NodeController
from cloudcore.controllers.nodegroup.controller import NodeGroupController
from cloudcore.controllers.nodelease.controller import NodeLeaseController
from cloudcore.controllers.placement.controller import PlacementController
from cloudcore.controllers.replicaset.controller import ReplicaSetController, ReplicationControllerController
from cloudcore.controllers.serviceaccount.controller import ServiceAccountController
from cloudcore.controllers.statefulset.controller import StatefulSetController
from cloudcore.controllers.stranded.controller import StrandedController
from cloudcore.controllers.tainted.controller import TaintedController
from cloudcore.controllers.token.controller import Signer, TokenController
from cloudcore.controllers.volume.controller import VolumeController
from cloudcore.controllers.volume.ephemeral import EphemeralController
from cloudcore.controllers.volume.protection import ProtectionController
from cloudcore.registry.custom import CustomKinds
from cloudcore.runtime.manager import Controller, Tools


def standard_controllers(
    tools: Tools, custom: CustomKinds, *, signer: Signer, ca_pem: str, epoch: str, zone_judge: Judge
) -> list[Controller]:
    """`custom` is told which kinds to serve; `ca_pem` is the certificate by which pods know the API server;
    `signer` makes tokens for it; `epoch` is that of the store;
    `zone_judge` tells why DNS servers would refuse a zone."""
    return [
        DeploymentController(tools),
        DaemonSetController(tools),
        StatefulSetController(tools),
        ReplicaSetController(tools),
        ReplicationControllerController(tools),
        JobController(tools),
        CronJobController(tools),
        ExpiryController(tools),
        NamespaceController(tools),
        GarbageController(tools),
        ServiceAccountController(tools, ca_pem=ca_pem),
        TokenController(tools, signer=signer, ca_pem=ca_pem),
        NodeController(tools),
        NodeLeaseController(tools),
        TaintedController(tools),
        StrandedController(tools),
        DefinitionController(tools, custom),
        JoinTokenController(tools),
        CommandController(tools, epoch=epoch),
        PlacementController(tools),
        DeviceRuleController(tools),
        NodeGroupController(tools),
        EdgeApplicationController(tools),
        VolumeController(tools),
        ProtectionController(tools),
        EphemeralController(tools),
        EndpointsController(tools),
        EndpointSliceController(tools),
        EndpointSliceMirroringController(tools),
        IngressController(tools),
        GslbController(tools, zone_judge),
    ]
