"""What a container of containerd finds when it looks at itself: who it is, what it may, its files, names and words.

Mirrors cases of Kubernetes' conformance suite that need real pods (common/node and common/storage). All pods are made
at once; each writes what it sees, and each test reads its log.
"""

from __future__ import annotations

import base64
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cloudcore.pki.certificates import new_authority
from skerry.objects.json import Json, JsonObject, map_at, maps_at, str_at
from skerry.objects.meta import uid_of
from tests.system.containerd import BUSYBOX_IMAGE, Containerd, ImageRecipe, containerd_server, until
from tests.system.real_fleet import CORE, NODE, RealFleet, real_fleet
from tests.system.test_containerd_pods import delete, status_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

ECHO = ImageRecipe(
    name="skerry.test/echo:1",
    entrypoint=("/bin/echo", "entry"),
    command=("said",),
    user="65534",
    env=("OF=image",),
    working_dir="/var",
)
ANCHOR = new_authority(name="acme", now=datetime(2026, 1, 1, tzinfo=UTC)).pem
PLACE: JsonObject = {"name": "v", "mountPath": "/v"}


@dataclass(frozen=True, kw_only=True)
class View:
    """A container that looks, and what it has to see."""

    script: str
    sees: tuple[str, ...]
    """The lines of its log."""
    container: Mapping[str, Json] = field(default_factory=dict[str, Json])
    pod: Mapping[str, Json] = field(default_factory=dict[str, Json])


def security(**context: Json) -> dict[str, Json]:
    return {"securityContext": context}


def caps(which: str) -> str:
    return f"sed -n 's/^{which}:.//p' /proc/self/status"


def at_v(**volume: Json) -> dict[str, Json]:
    return {"volumes": [{"name": "v", **volume}]}


MOUNTED: dict[str, Json] = {"volumeMounts": [PLACE]}
MODE = "stat -c %a"
ON_TMPFS = "grep -c ' /v tmpfs' /proc/mounts"
SHARED: JsonObject = {"runAsUser": 1001, "fsGroup": 4000}
ENV: list[Json] = [{"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]

VIEWS: dict[str, View] = {
    # --- who it is and what it may ---
    "user-and-groups": View(
        script="id -u; id -g; sed -n 's/^Groups:.//p' /proc/self/status | tr ' ' '\\n' | sort | xargs; "
        "stat -c %g /v; touch /v/f; stat -c %u:%g /v/f",
        sees=("1234", "2345", "2345 3000 4000", "4000", "1234:4000"),
        container=MOUNTED,
        pod={
            "securityContext": {
                "runAsUser": 1234,
                "runAsGroup": 2345,
                "supplementalGroups": [3000],
                "fsGroup": 4000,
            },
            **at_v(emptyDir={}),
        },
    ),
    "containers-user-wins": View(
        script="id -u",
        sees=("65534",),
        container=security(runAsUser=65534),
        pod={"securityContext": {"runAsUser": 1234}},
    ),
    "one-capability": View(
        script=caps("CapEff"),
        sees=("0000000000001000",),
        container=security(capabilities={"add": ["NET_ADMIN"], "drop": ["ALL"]}),
    ),
    "without-chown": View(
        script="touch f; chown 1 f 2>&1 | grep -o 'not permitted'",
        sees=("not permitted",),
        container=security(capabilities={"drop": ["CHOWN"]}),
    ),
    "read-only-root": View(
        script="touch /f 2>&1 | grep -o 'Read-only'; touch /v/f && echo but there",
        sees=("Read-only", "but there"),
        container={**security(readOnlyRootFilesystem=True), **MOUNTED},
        pod=at_v(emptyDir={}),
    ),
    "writable-root": View(script="touch /f && echo done", sees=("done",)),
    "no-new-privileges": View(
        script=caps("NoNewPrivs"), sees=("1",), container=security(allowPrivilegeEscalation=False)
    ),
    "new-privileges": View(script=caps("NoNewPrivs"), sees=("0",)),
    "seccomp": View(script=caps("Seccomp"), sees=("2",)),
    "seccomp-named": View(
        script=caps("Seccomp"), sees=("2",), pod={"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}
    ),
    "no-seccomp": View(
        script=caps("Seccomp"), sees=("0",), container=security(seccompProfile={"type": "Unconfined"})
    ),
    "masked": View(script="grep -c ' /proc/keys ' /proc/mounts; cat /proc/keys | wc -c", sees=("1", "0")),
    "privileged": View(
        script=f"{caps('Seccomp')}; grep -c ' /proc/keys ' /proc/mounts; test -e /dev/kmsg && echo devices",
        sees=("0", "0", "devices"),
        container=security(privileged=True),
    ),
    "unprivileged": View(
        script="test -e /dev/kmsg || echo none; ip link add dummy1 type dummy 2>&1 | grep -o 'not permitted'",
        sees=("none", "not permitted"),
        container=security(privileged=False),
    ),
    "sysctls": View(
        script="cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_local_port_range",
        sees=("1", "33000\t44000"),
        pod={
            "securityContext": {
                "sysctls": [
                    {"name": "kernel.shm_rmid_forced", "value": "1"},
                    {"name": "net.ipv4.ip_local_port_range", "value": "33000 44000"},
                ]
            }
        },
    ),
    # --- command and environment ---
    "image-as-it-is": View(script="", sees=("entry said",), container={"image": ECHO.name, "command": None}),
    "other-arguments": View(
        script="", sees=("entry more",), container={"image": ECHO.name, "command": None, "args": ["more"]}
    ),
    "other-command": View(
        script="", sees=("65534 image /var",),
        container={"image": ECHO.name, "command": ["sh", "-c", "echo $(id -u) $OF $PWD"]},
    ),
    "other-both": View(
        script="", sees=("a b",), container={"image": ECHO.name, "command": ["/bin/echo"], "args": ["a", "b"]}
    ),
    "working-directory": View(script="pwd", sees=("/tmp",), container={"workingDir": "/tmp"}),
    "composed": View(
        script="echo $B; echo $C; $(ARG)",
        sees=("a;;a", "$(A)", "from-a"),
        container={
            "env": [
                {"name": "A", "value": "a"},
                {"name": "B", "value": "$(A);;$(A)"},
                {"name": "C", "value": "$$(A)"},
                {"name": "ARG", "value": "echo from-$(A)"},
            ]
        },
    ),
    "from-maps": View(
        script="env | grep -E '^(P_|S_|ONE)' | sort",
        sees=("ONE=1", "P_one=1", "P_two=2", "S_key=secret"),
        container={
            "env": [{"name": "ONE", "valueFrom": {"configMapKeyRef": {"name": "map", "key": "one"}}}],
            "envFrom": [
                {"prefix": "P_", "configMapRef": {"name": "map"}},
                {"prefix": "S_", "secretRef": {"name": "hidden"}},
                {"configMapRef": {"name": "not-there", "optional": True}},
            ],
        },
    ),
    "downward": View(
        script="echo $NAME $SPACE $NODE $ACCOUNT $LABEL $CPU $MEM $ASKED; test $IP = $(hostname -i) && echo same",
        sees=("downward default eu-1 default blue 2 33554432 250", "same"),
        container={
            "resources": {"limits": {"cpu": "1200m", "memory": "32Mi"}, "requests": {"cpu": "250m"}},
            "env": [
                *(
                    {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
                    for name, path in (
                        ("NAME", "metadata.name"),
                        ("SPACE", "metadata.namespace"),
                        ("NODE", "spec.nodeName"),
                        ("ACCOUNT", "spec.serviceAccountName"),
                        ("LABEL", "metadata.labels['shade']"),
                        ("IP", "status.podIP"),
                    )
                ),
                {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
                {"name": "ASKED", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}}},
            ],
        },
    ),
    "odd-names": View(
        script="tr '\\0' '\\n' < /proc/1/environ | grep -F -e one= -e two.three -e 'a b' | sort",
        sees=("- -one=1", "a b=3", "two.three=2"),
        container={
            "env": [{"name": "two.three", "value": "2"}, {"name": "a b", "value": "3"}],
            "envFrom": [{"prefix": "- -", "configMapRef": {"name": "map"}}],
        },
    ),
    "where-it-is": View(
        script="test $NODES = $NODE && test $PODS = $(hostname -i) && echo addresses; "
        "test $CPU -gt 0 && test $MEM -gt 1000000 && echo all; "
        "test $CPU-$MEM = $(cat /v/cpu)-$(cat /v/mem) && echo same; "
        "cat /v/asked; echo; test $(cat /v/uid) = $UID_OF && echo same",
        sees=("addresses", "all", "same", "250", "same"),
        container={
            **MOUNTED,
            "resources": {"requests": {"cpu": "250m"}},
            "env": [
                *(
                    {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
                    for name, path in (
                        ("NODE", "status.hostIP"),
                        ("NODES", "status.hostIPs"),
                        ("PODS", "status.podIPs"),
                        ("UID_OF", "metadata.uid"),
                    )
                ),
                {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
            ],
        },
        pod=at_v(
            downwardAPI={
                "items": [
                    *(
                        {"path": name, "resourceFieldRef": {"containerName": "app", "resource": f"limits.{resource}"}}
                        for name, resource in (("cpu", "cpu"), ("mem", "memory"))
                    ),
                    {
                        "path": "asked",
                        "resourceFieldRef": {"containerName": "app", "resource": "requests.cpu", "divisor": "1m"},
                    },
                    {"path": "uid", "fieldRef": {"fieldPath": "metadata.uid"}},
                ]
            }
        ),
    ),
    # --- files ---
    "directory": View(
        script=f"{MODE} /v; umask 0; echo x > /v/f; chmod 0644 /v/f; {MODE} /v/f; grep -c ' /v tmpfs' /proc/mounts",
        sees=("777", "644", "0"),
        container={**MOUNTED, **security(runAsUser=1001)},
        pod=at_v(emptyDir={}),
    ),
    "directory-in-memory": View(
        script=f"{MODE} /v; umask 0; echo x > /v/f; {MODE} /v/f; grep -c ' /v tmpfs' /proc/mounts",
        sees=("777", "666", "1"),
        container={**MOUNTED, **security(runAsUser=1001)},
        pod=at_v(emptyDir={"medium": "Memory", "sizeLimit": "1Mi"}),
    ),
    "map-as-files": View(
        script=f"cd /v; ls; {MODE} -L one; cat two; touch one 2>&1 | grep -o 'Read-only'",
        sees=("bin", "one", "two", "400", "2Read-only"),
        container=MOUNTED,
        pod=at_v(configMap={"name": "map", "defaultMode": 0o400}),
    ),
    "bytes-of-a-map": View(
        script="od -An -tx1 /v/bin", sees=(" 00 ff 7f",), container=MOUNTED, pod=at_v(configMap={"name": "map"})
    ),
    "one-file-of-a-map": View(
        script=f"ls -A /v/below | cat; {MODE} -L /v/below/uno; cat /v/below/uno; id -u",
        sees=("uno", "440", "11001"),
        container=MOUNTED,
        pod={
            "securityContext": SHARED,
            **at_v(
                configMap={"name": "map", "items": [{"key": "one", "path": "below/uno", "mode": 0o400}]}
            ),
        },
    ),
    "secret": View(
        script=f"cat /v/key; echo; {MODE} -L /v/key",
        sees=("secret", "644"),
        container=MOUNTED,
        pod=at_v(secret={"secretName": "hidden"}),
    ),
    "secret-of-a-group": View(
        script=f"cat /v/sub/key; echo; {MODE} -L /v/sub/key; stat -L -c %u:%g /v/sub/key; {ON_TMPFS}",
        sees=("secret", "440", "0:4000", "1"),
        container=MOUNTED,
        pod={
            "securityContext": SHARED,
            **at_v(
                secret={"secretName": "hidden", "defaultMode": 0o440, "items": [{"key": "key", "path": "sub/key"}]}
            ),
        },
    ),
    "modes-of-fields": View(
        script=f"{MODE} -L /v/name /v/space; cat /v/name; echo; cat /v/space",
        sees=("400", "440", "modes-of-fields", "default"),
        container=MOUNTED,
        pod=at_v(
            projected={
                "defaultMode": 0o400,
                "sources": [
                    {
                        "downwardAPI": {
                            "items": [
                                {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
                                {"path": "space", "fieldRef": {"fieldPath": "metadata.namespace"}, "mode": 0o440},
                            ]
                        }
                    }
                ],
            }
        ),
    ),
    "parts-of-written-volumes": View(
        script="cat /etc/resolv.conf /sub/key /name; echo; ls /sub",
        sees=("1secretparts-of-written-volumes", "key"),
        container={
            "volumeMounts": [
                {"name": "v", "mountPath": "/etc/resolv.conf", "subPath": "one"},
                {"name": "p", "mountPath": "/sub", "subPath": "sub"},
                {"name": "d", "mountPath": "/name", "subPath": "deep/name"},
            ]
        },
        pod={
            "volumes": [
                {"name": "v", "configMap": {"name": "map"}},
                {
                    "name": "p",
                    "projected": {
                        "sources": [{"secret": {"name": "hidden", "items": [{"key": "key", "path": "sub/key"}]}}]
                    },
                },
                {
                    "name": "d",
                    "downwardAPI": {"items": [{"path": "deep/name", "fieldRef": {"fieldPath": "metadata.name"}}]},
                },
            ]
        },
    ),
    "projected": View(
        script="cat /v/one; echo; cat /v/sub/key; echo; cat /v/labels",
        sees=("1", "secret", 'shade="blue"'),
        container=MOUNTED,
        pod=at_v(
            projected={
                "sources": [
                    {"configMap": {"name": "map", "items": [{"key": "one", "path": "one"}]}},
                    {"secret": {"name": "hidden", "items": [{"key": "key", "path": "sub/key"}]}},
                    {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
                ]
            }
        ),
    ),
    "trust-bundles": View(
        script=f"cmp /v/named /v/signed && echo same; head -1 /v/named; {MODE} -L /v/named; cat /v/none | wc -c",
        sees=("same", "-----BEGIN CERTIFICATE-----", "440", "0"),
        container=MOUNTED,
        pod=at_v(
            projected={
                "defaultMode": 0o440,
                "sources": [
                    {"clusterTrustBundle": {"name": "plain", "path": "named"}},
                    {
                        "clusterTrustBundle": {
                            "signerName": "acme.example/root",
                            "labelSelector": {},
                            "path": "signed",
                        }
                    },
                    {"clusterTrustBundle": {"name": "none", "optional": True, "path": "none"}},
                ],
            }
        ),
    ),
    "part-behind-a-link": View(
        script="cat /now/f; touch /now/g; ls /v/rel/3",
        sees=("three", "f", "g"),
        container={
            "volumeMounts": [PLACE, {"name": "v", "mountPath": "/now", "subPath": "current"}],
        },
        pod={
            **at_v(emptyDir={}),
            "initContainers": [
                {
                    "name": "lay",
                    "image": BUSYBOX_IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sh", "-c", "cd /v; mkdir -p rel/3; echo three > rel/3/f; ln -s rel/3 current"],
                    "volumeMounts": [PLACE],
                }
            ],
        },
    ),
    "part-of-a-directory": View(
        script="touch /part/f; ls /v /v/part-of-a-directory",
        sees=("/v:", "part-of-a-directory", "", "/v/part-of-a-directory:", "f"),
        container={
            "env": ENV,
            "volumeMounts": [PLACE, {"name": "v", "mountPath": "/part", "subPathExpr": "$(WHO)"}],
        },
        pod=at_v(emptyDir={}),
    ),
    "one-file": View(
        script="cat /etc/one; ls /etc/passwd; touch /etc/one 2>&1 | grep -o 'Read-only'",
        sees=("1/etc/passwd", "Read-only"),
        container={"volumeMounts": [{"name": "v", "mountPath": "/etc/one", "subPath": "one", "readOnly": True}]},
        pod=at_v(configMap={"name": "map"}),
    ),
    # --- names, and what is shared ---
    "hosts": View(
        script="grep -E 'friend|pal' /etc/hosts; grep -c hosts /etc/hosts",
        sees=("123.45.67.89\tfriend\tpal", "2"),
        pod={"hostAliases": [{"ip": "123.45.67.89", "hostnames": ["friend", "pal"]}]},
    ),
    "host-name": View(
        script="hostname; grep -o 'web.shop.default.svc.cluster.local.*' /etc/hosts",
        sees=("web", "web.shop.default.svc.cluster.local\tweb"),
        pod={"hostname": "web", "subdomain": "shop"},
    ),
    "whole-host-name": View(
        script="hostname",
        sees=("web.shop.default.svc.cluster.local",),
        pod={"hostname": "web", "subdomain": "shop", "setHostnameAsFQDN": True},
    ),
    "resolver": View(
        script="cat /etc/resolv.conf",
        sees=("search one.test two.test", "nameserver 192.0.2.53", "options ndots:3 edns0"),
        pod={
            "dnsPolicy": "None",
            "dnsConfig": {
                "nameservers": ["192.0.2.53"],
                "searches": ["one.test", "two.test"],
                "options": [{"name": "ndots", "value": "3"}, {"name": "edns0"}],
            },
        },
    ),
    "shared-processes": View(
        script="test $$$$ -gt 1 && echo not first; tr '\\0' ' ' < /proc/1/cmdline | grep -c -E 'pause|2147483647'",
        sees=("not first", "1"),
        pod={"shareProcessNamespace": True},
    ),
    "own-processes": View(script="echo $$$$", sees=("1",)),
    "gateways-processes": View(
        script="test -d /proc/2 && test $$$$ -gt 1 && echo seen", sees=("seen",), pod={"hostPID": True}
    ),
    "named-runtime": View(script="echo runs", sees=("runs",), pod={"runtimeClassName": "plain"}),
    "signal": View(
        script="trap 'echo usr1; exit 0' USR1; trap 'echo term; exit 0' TERM; echo up; while :; do sleep 0.1; done",
        sees=("up", "usr1"),
        container={"lifecycle": {"stopSignal": "SIGUSR1"}, "livenessProbe": {
            "exec": {"command": ["false"]}, "periodSeconds": 1, "initialDelaySeconds": 2, "failureThreshold": 1,
        }},
        pod={"os": {"name": "linux"}},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def containerd() -> Generator[Containerd]:
    with containerd_server(registries={"docker.io": "http://127.0.0.1:9"}) as server:
        server.load(ECHO)
        yield server


@pytest.fixture(scope="module")
def fleet(containerd: Containerd, tmp_path_factory: pytest.TempPathFactory) -> Generator[RealFleet]:
    with real_fleet(tmp_path_factory.mktemp("inside")) as made:
        made.edge.environ = {
            "SKERRY_RUNTIME": "containerd",
            "SKERRY_RUNTIME_ENDPOINT": containerd.endpoint,
            "SKERRY_CGROUP_ROOT": containerd.cgroup_root,
        }
        made.edge.start()
        until(lambda: made.ready() == "True", "the node is ready", lambda: made.edge.log)
        data: JsonObject = {"one": "1", "two": "2"}
        noise = base64.b64encode(b"\x00\xff\x7f").decode()
        config: JsonObject = {"kind": "ConfigMap", "data": data, "binaryData": {"bin": noise}}
        made.create(f"{CORE}/configmaps", {"apiVersion": "v1", "metadata": {"name": "map"}, **config})
        secret: JsonObject = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hidden"}}
        made.create(f"{CORE}/secrets", {**secret, "stringData": {"key": "secret"}})
        plain: JsonObject = {"kind": "RuntimeClass", "metadata": {"name": "plain"}, "handler": "runc"}
        made.create("/apis/node.k8s.io/v1/runtimeclasses", {"apiVersion": "node.k8s.io/v1", **plain})
        for name, signer in (("plain", ""), ("acme.example:root:live", "acme.example/root")):
            spec: JsonObject = {"trustBundle": ANCHOR, **({"signerName": signer} if signer else {})}
            bundle: JsonObject = {"kind": "ClusterTrustBundle", "metadata": {"name": name}, "spec": spec}
            version = "v1alpha1" if signer else "v1beta1"
            path = f"/apis/certificates.k8s.io/{version}/clustertrustbundles"
            made.create(path, {"apiVersion": f"certificates.k8s.io/{version}", **bundle})
        for name, view in VIEWS.items():
            made.create(f"{CORE}/pods", pod(name, view))
        yield made


def pod(name: str, view: View) -> JsonObject:
    container: JsonObject = {
        "name": "app",
        "image": BUSYBOX_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", view.script],
        **view.container,
    }
    spec: JsonObject = {
        "nodeName": NODE,
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "containers": [{key: value for key, value in container.items() if value is not None}],
        **view.pod,
    }
    metadata: JsonObject = {"name": name, "labels": {"shade": "blue"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@pytest.mark.parametrize("name", VIEWS)
def test_a_container_sees(name: str, fleet: RealFleet) -> None:
    def ended() -> bool:
        return str_at(fleet.find(f"{CORE}/pods/{name}"), "status", "phase") in ("Succeeded", "Failed")

    until(ended, "it has ended", lambda: f"{status_of(fleet, name)}\n{fleet.edge.log[-2000:]}")
    log = b"".join(fleet.api().chunks(f"{CORE}/pods/{name}/log")).decode()
    assert tuple(log.splitlines()) == VIEWS[name].sees, status_of(fleet, name)


# --- words at the end, and what follows it -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "script", "more", "words"),
    [
        ("to-a-file", "printf DONE > /dev/termination-log; echo log", {}, "DONE"),
        ("elsewhere", "printf DONE > /tmp/words", {"terminationMessagePath": "/tmp/words"}, "DONE"),
        ("in-the-log", "echo DONE; exit 1", {"terminationMessagePolicy": "FallbackToLogsOnError"}, "DONE\n"),
        ("no-failure", "echo DONE", {"terminationMessagePolicy": "FallbackToLogsOnError"}, ""),
        (
            "file-first",
            "printf OK > /dev/termination-log; echo log; exit 1",
            {"terminationMessagePolicy": "FallbackToLogsOnError"},
            "OK",
        ),
    ],
)
def test_last_words_are_told(name: str, script: str, more: dict[str, Json], words: str, fleet: RealFleet) -> None:
    view = View(script=script, sees=(), container={**more, **security(runAsUser=1001)})
    fleet.create(f"{CORE}/pods", pod(name, view))

    def ended() -> JsonObject:
        return map_at(status_of(fleet, name), "state", "terminated")

    until(ended, "it has ended", lambda: fleet.edge.log[-2000:])
    assert str_at(ended(), "message") == words


@pytest.mark.parametrize(
    ("policy", "code", "phase", "again"),
    [("Always", 0, "Running", True), ("OnFailure", 1, "Running", True), ("OnFailure", 0, "Succeeded", False)],
)
def test_what_follows_an_end_is_what_the_policy_says(
    policy: str, code: int, phase: str, again: bool, fleet: RealFleet
) -> None:
    name = f"policy-{policy.lower()}-{code}"
    fleet.create(f"{CORE}/pods", pod(name, View(script=f"exit {code}", sees=(), pod={"restartPolicy": policy})))

    def count() -> int:
        told = status_of(fleet, name).get("restartCount")
        return told if isinstance(told, int) else 0

    def level() -> bool:
        held = fleet.find(f"{CORE}/pods/{name}")
        told = maps_at(held, "status", "containerStatuses")
        return bool(told) and str_at(held, "status", "phase") == phase and (count() >= 2) == again

    until(level, "it is so", lambda: f"{fleet.find(f'{CORE}/pods/{name}')}{fleet.edge.log[-2000:]}")
    if not again:
        assert count() == 0


# --- parts of volumes that are somebody's -------------------------------------------------------------------------


def mounts_below(path: Path) -> list[str]:
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if f" {path}/" in line]


def test_a_part_of_a_hosts_directory_goes_with_the_pod_and_what_is_in_it_stays(
    fleet: RealFleet, tmp_path: Path
) -> None:
    place: JsonObject = {"name": "v", "mountPath": "/part", "subPath": "deep/er"}
    view = View(
        script="echo mine > /part/f; sleep 1000",
        sees=(),
        container={"volumeMounts": [place]},
        pod={**at_v(hostPath={"path": str(tmp_path)}), "terminationGracePeriodSeconds": 0},
    )
    fleet.create(f"{CORE}/pods", pod("part", view))
    until((tmp_path / "deep/er/f").exists, "it wrote", lambda: fleet.edge.log[-2000:])
    uid = uid_of(fleet.find(f"{CORE}/pods/part") or {})
    assert mounts_below(fleet.edge.data / "pods" / uid)
    delete(fleet, "part")
    until(lambda: not (fleet.edge.data / "pods" / uid).exists(), "nothing of it is left")
    assert (tmp_path / "deep/er/f").read_text() == "mine\n" and not mounts_below(fleet.edge.data / "pods" / uid)


def test_a_link_in_the_place_of_a_part_leads_nowhere(fleet: RealFleet, tmp_path: Path) -> None:
    (tmp_path / "part").symlink_to("/")
    place: JsonObject = {"name": "v", "mountPath": "/part", "subPath": "part"}
    view = View(
        script="ls /part",
        sees=(),
        container={"volumeMounts": [place]},
        pod=at_v(hostPath={"path": str(tmp_path)}),
    )
    fleet.create(f"{CORE}/pods", pod("linked", view))

    def waits() -> str:
        waiting = map_at(status_of(fleet, "linked"), "state", "waiting")
        return f"{str_at(waiting, 'reason')}: {str_at(waiting, 'message')}"

    until(lambda: "leads out of the volume" in waits(), "it is refused", waits)
    assert waits().startswith("CreateContainerConfigError")
    delete(fleet, "linked")
