"""Ingresses as a gateway is given them."""

from __future__ import annotations

import datetime
import shutil
import subprocess
from base64 import b64encode
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgecore.network.ingress.haproxy import Door, Files, files_of, slots_of
from edgecore.network.ingress.plan import Plan, plan_of
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from tests.edgecore.network.conftest import Known

CLASS: JsonObject = {"metadata": {"name": "skerry"}, "spec": {"controller": "skerry.dev/ingress"}}


def path(text: str, service: str, kind: str = "Prefix", port: Any = 80) -> Any:
    named = {"number": port} if isinstance(port, int) else {"name": port}
    return {"path": text, "pathType": kind, "backend": {"service": {"name": service, "port": named}}}


def rule(host: str, *paths: Any) -> Any:
    return {"host": host, "http": {"paths": [*paths]}}


def ingress(
    name: str, *rules: Any, age: int = 1, annotations: dict[str, str] | None = None, namespace: str = "d", **spec: Any
) -> Any:
    """`age` says which is older: 1 is the oldest."""
    asked = {f"nginx.ingress.kubernetes.io/{key}": value for key, value in (annotations or {}).items()}
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"u-{name}",
            "creationTimestamp": f"2026-01-{age:02}T00:00:00Z",
            "annotations": asked,
        },
        "spec": {"ingressClassName": "skerry", "rules": [*rules], **spec},
    }


def tls_secret(name: str, pem: tuple[bytes, bytes], namespace: str = "d") -> Any:
    data = {"tls.crt": b64encode(pem[0]).decode(), "tls.key": b64encode(pem[1]).decode()}
    metadata = {"name": name, "namespace": namespace}
    return {"kind": "Secret", "metadata": metadata, "type": "kubernetes.io/tls", "data": data}


@cache
def certificate(*hosts: str, serial: int = 1) -> tuple[bytes, bytes]:
    """Certificate and key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
    begin = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder(
            subject_name=name, issuer_name=name, public_key=key.public_key(), serial_number=serial
        )
        .not_valid_before(begin - datetime.timedelta(days=9000))
        .not_valid_after(begin + datetime.timedelta(days=9000))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        made.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )


class Asked:
    """What a gateway was given, and the plan that comes of it."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self.ingresses: list[Any] = []
        self.objects: dict[Key, JsonObject] = {Key("ingressclasses.networking.k8s.io", "", "skerry"): CLASS}

    def put(self, *ingresses: Any) -> None:
        self.ingresses += ingresses

    def secret(self, obj: Any) -> None:
        self.objects[Key("secrets", obj["metadata"]["namespace"], obj["metadata"]["name"])] = obj

    def plan(self) -> Plan:
        def checked(pem: bytes) -> str:
            return "" if b"PRIVATE KEY" in pem else "no key"

        return plan_of(self.ingresses, self.known.directory, self.objects.get, checked)


@pytest.fixture
def asked(known: Known) -> Asked:
    return Asked(known)


def written(plan: Plan, directory: Path, door: Door | None = None) -> Files:
    """The files of a plan, where HAProxy can read them."""
    door = door or Door(http_port=18080, https_port=18443, addresses=("127.0.0.1",))
    files = files_of(plan, slots_of(plan, {}), door, place="g1")
    (directory / "g1").mkdir(exist_ok=True)
    pem = b"".join(certificate("default.example"))
    (directory / "default.pem").write_bytes(pem)
    (directory / "haproxy.cfg").write_text(files.config)
    for name, text in files.maps.items():
        (directory / "g1" / name).write_text(text)
    for name, content in files.private.items():
        (directory / "g1" / name).write_bytes(content)
    return files


def haproxy() -> str:
    found = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if found is None:
        pytest.skip("haproxy is not installed")
    return found


def refusal(directory: Path) -> str:
    """What `haproxy -c` says against the files there; "" for nothing."""
    argv = [haproxy(), "-c", "-f", "haproxy.cfg"]
    found = subprocess.run(argv, cwd=directory, capture_output=True, text=True, check=False)
    clean = found.returncode == 0 and "WARNING" not in found.stderr + found.stdout
    return "" if clean else found.stdout + found.stderr
