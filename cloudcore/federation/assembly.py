"""The controllers of a federation, for whoever composes a cloud. Keeps nothing."""

from __future__ import annotations

from cloudcore.federation.controller import FederationController
from cloudcore.federation.dependencies import DependencyController
from cloudcore.federation.dns_controller import MulticlusterDnsController
from cloudcore.federation.member_controller import MemberController
from cloudcore.federation.own_state import Requests
from cloudcore.federation.policy_controller import PolicyController
from cloudcore.federation.preference_controller import PreferenceController
from cloudcore.federation.push_controller import PushController
from cloudcore.federation.rollout_plans import RolloutPlanController
from cloudcore.federation.type_controller import FederatedTypeController
from cloudcore.runtime.manager import Controller, Tools


def federation_controllers(tools: Tools, requests: Requests) -> list[Controller]:
    """Of the global side. `requests`: what a pod asks of a node."""
    return [
        FederatedTypeController(tools),
        FederationController(tools),
        DependencyController(tools),
        MemberController(tools),
        MulticlusterDnsController(tools),
        PolicyController(tools),
        PreferenceController(tools, requests),
        PushController(tools),
        RolloutPlanController(tools),
    ]
