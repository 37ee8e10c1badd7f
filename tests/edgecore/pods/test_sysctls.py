"""Which sysctls a pod may set."""

from __future__ import annotations

import pytest

from edgecore.pods.sysctls import sysctl_refusal
from skerry.objects.json import Json, JsonObject
from tests.edgecore.pods.pods_of import pod, pod_with


def asking(name: str, **spec: Json) -> JsonObject:
    sysctls: list[Json] = [{"name": "kernel.shm_rmid_forced", "value": "1"}, {"name": name, "value": "1"}]
    return pod_with({"securityContext": {"sysctls": sysctls}, **spec})


def said(made: JsonObject, *allowed: str) -> str:
    ending = sysctl_refusal(made, allowed)
    return "" if ending is None else f"{ending.reason}: {ending.message}"


@pytest.mark.parametrize("name", ["net.ipv4.ip_local_port_range", "net/ipv4/tcp_syncookies", "net.ipv4.tcp_wmem"])
def test_what_is_safe_may_be_set(name: str) -> None:
    assert said(asking(name)) == ""
    assert said(pod()) == ""


def test_what_is_not_is_refused_in_a_kubelets_words() -> None:
    refused = 'SysctlForbidden: Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted'
    assert said(asking("kernel.msgmax")) == refused


def test_who_runs_the_gateway_may_allow_more_by_name_or_beginning() -> None:
    assert said(asking("net.core.somaxconn"), "net.core.somaxconn") == ""
    assert said(asking("kernel.msgmax"), "kernel/msg*") == ""
    assert "not allowlisted" in said(asking("kernel.sem"), "kernel.msg*", "kernel.se")


def test_nobody_sets_what_is_the_gateways_own() -> None:
    assert '"net.ipv4.tcp_rmem" not allowed with host net enabled' in said(
        asking("net.ipv4.tcp_rmem", hostNetwork=True), "net.*"
    )
    told = said(asking("fs.mqueue.x", hostIPC=True), "*")
    assert '"kernel.shm_rmid_forced" not allowed with host ipc enabled' in told
