"""The kubeconfig that lets the owner of the data directory in. Pure."""

from __future__ import annotations

import base64
import json

from cloudcore.pki.certificates import Issued


def kubeconfig(*, server: str, ca_pem: str, admin: Issued) -> bytes:
    """Everything embedded, as JSON, which every reader of YAML takes."""
    cluster = {"server": server, "certificate-authority-data": _encoded(ca_pem)}
    user = {
        "client-certificate-data": _encoded(admin.certificate_pem),
        "client-key-data": _encoded(admin.key_pem),
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "skerry", "cluster": cluster}],
        "users": [{"name": "skerry-admin", "user": user}],
        "contexts": [{"name": "skerry", "context": {"cluster": "skerry", "user": "skerry-admin"}}],
        "current-context": "skerry",
    }
    return json.dumps(config, indent=2).encode() + b"\n"


def _encoded(pem: str) -> str:
    return base64.b64encode(pem.encode()).decode()
