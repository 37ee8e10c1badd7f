"""How the ingress proxy is wanted. Apart from what carries it out, which only gateways that have it pay for."""

from __future__ import annotations

from typing import Final

from skerry.frozen import Frozen

INGRESS: Final = "ingress"
"""Below the data: what HAProxy reads."""


class IngressSettings(Frozen):
    """Where it listens."""

    http_port: int = 80
    https_port: int = 443
    address: str = ""
    """\"\": every address of this machine."""
