"""How the ingress proxy is wanted. Apart from what carries it out, which only gateways that have it pay for."""

from __future__ import annotations

from skerry.frozen import Frozen


class IngressSettings(Frozen):
    """Where it listens."""

    http_port: int = 80
    https_port: int = 443
    address: str = ""
    """\"\": every address of this machine."""
