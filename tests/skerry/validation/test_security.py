from __future__ import annotations

import pytest

from skerry.objects.json import Json, JsonObject
from skerry.validation.security import validate_container_security, validate_pod_security

ID = "must be between 0 and 2147483647, inclusive"


def of_pod(**spec: Json) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in validate_pod_security("spec", spec)]


def of_container(**context: Json) -> list[str]:
    return [cause.message for cause in validate_container_security("c", context)]


@pytest.mark.parametrize(
    ("context", "fault"),
    [
        ({"runAsUser": -1}, f"runAsUser: Invalid value: -1: {ID}"),
        ({"fsGroup": 2**31}, f"fsGroup: Invalid value: 2147483648: {ID}"),
        ({"supplementalGroups": [1, -1]}, f"supplementalGroups[1]: Invalid value: -1: {ID}"),
        (
            {"fsGroupChangePolicy": "X"},
            'fsGroupChangePolicy: Unsupported value: "X": supported values: "Always", "OnRootMismatch"',
        ),
        (
            {"seccompProfile": {"type": "Localhost"}},
            "seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
        ),
        (
            {"seccompProfile": {"type": "RuntimeDefault", "localhostProfile": "x"}},
            'seccompProfile.localhostProfile: Invalid value: "x": can only be set when seccomp type is Localhost',
        ),
        (
            {"seccompProfile": {"type": "Localhost", "localhostProfile": "../x"}},
            (
                'seccompProfile.localhostProfile: Invalid value: "../x": must be a relative path that does not '
                "contain '..'"
            ),
        ),
        ({"appArmorProfile": {}}, "appArmorProfile.type: Required value: type is required when appArmorProfile is"),
    ],
)
def test_a_pods_context_is_looked_at_field_by_field(context: JsonObject, fault: str) -> None:
    told = of_pod(securityContext=context)
    assert len(told) == 1 and told[0].startswith(f"spec.securityContext.{fault}")


def test_what_is_shared_with_the_node_excludes_what_is_shared_otherwise() -> None:
    assert of_pod(hostPID=True, shareProcessNamespace=True) == [
        (
            "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID "
            "cannot both be enabled"
        )
    ]
    assert of_pod(hostUsers=False, hostNetwork=True) == ["spec.hostNetwork: Forbidden: when `hostUsers` is false"]
    sysctls: JsonObject = {"sysctls": [{"name": "net/ipv4/tcp_syncookies"}, {"name": "kernel.shm_rmid_forced"}]}
    assert of_pod(securityContext=sysctls) == []
    assert of_pod(securityContext=sysctls, hostNetwork=True) == [
        (
            'spec.securityContext.sysctls[0].name: Invalid value: "net.ipv4.tcp_syncookies": may not be specified '
            "when 'hostNetwork' is set to true"
        )
    ]
    assert len(of_pod(securityContext=sysctls, hostNetwork=True, hostIPC=True)) == 2
    alike: JsonObject = {"sysctls": [{"name": "kernel.sem_next_id"}]}
    assert of_pod(securityContext=alike, hostIPC=True) == []
    assert len(of_pod(securityContext={"sysctls": [{"name": "kernel.sem"}]}, hostIPC=True)) == 1


def test_each_system_has_words_of_its_own() -> None:
    assert of_pod(os={"name": "linux"}, hostPID=True) == []
    assert of_pod(os={}) == ["spec.os.name: Required value"]
    assert of_pod(os={"name": "beos"})[0].startswith('spec.os.name: Unsupported value: "beos"')
    contained: list[Json] = [{"securityContext": {"windowsOptions": {}, "privileged": False}}]
    assert of_pod(os={"name": "linux"}, containers=contained) == [
        (
            "spec.containers[0].securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux "
            "pod"
        )
    ]
    assert of_pod(os={"name": "windows"}, containers=contained, hostPID=False, securityContext={"runAsUser": 0}) == [
        "spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod",
        "spec.containers[0].securityContext.privileged: Forbidden: cannot be set for a windows pod",
    ]


def test_who_is_privileged_or_has_every_capability_cannot_be_kept_from_more() -> None:
    assert of_container(allowPrivilegeEscalation=False, runAsUser=0) == []
    assert "`privileged` to true" in of_container(allowPrivilegeEscalation=False, privileged=True)[0]
    told = of_container(allowPrivilegeEscalation=False, capabilities={"add": ["CAP_SYS_ADMIN"]})
    assert told[0].endswith("cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN")


def test_proc_is_masked_or_not() -> None:
    assert of_container(procMount="Unmasked") == []
    assert "supported values" in of_container(procMount="Bare")[0]
