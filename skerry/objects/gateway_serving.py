"""A gateway's own API under the cloud's authority: for which names, what is asked and answered. Pure.

The cloud signs for names that mean "the machine that I am on" and for nothing else: loopback, IPv4's link-local
addresses (RFC 3927 2.6.2: never routed), and those by which a pod's client calls its API. So the certificate that one
gateway has is of no use at another's address (docs/decisions/0445).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from ipaddress import IPv4Network, ip_address
from typing import Final

from skerry.errors import BadRequestError
from skerry.frozen import Frozen
from skerry.objects.enrolment import der_element, der_of_pem
from skerry.objects.json import JsonObject, str_at

SERVING_PATH: Final = "/enrol.skerry.dev/v1/serving"
"""Asked by a gateway as itself, through its session (`skerry.objects.cloud_calls`)."""
SERVICE_NAMES: Final = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
)
"""By which pods call the API."""
NAMES_MAX: Final = 32
_LINK_LOCAL: Final = IPv4Network("169.254.0.0/16")


def is_of_the_machine(name: str) -> bool:
    """Whether the cloud signs for it."""
    try:
        address = ip_address(name)
    except ValueError:
        return name in SERVICE_NAMES
    return address.is_loopback or address in _LINK_LOCAL


def refused_names(names: Iterable[str]) -> tuple[str, ...]:
    """Those of a request for which the cloud does not sign."""
    return tuple(name for name in names if not is_of_the_machine(name))


class Served(Frozen):
    """What the cloud gives, in PEM."""

    certificate_pem: str
    authority_pem: str
    """Whose key signed it."""


def served_obj(served: Served) -> JsonObject:
    return {"certificate": served.certificate_pem, "authority": served.authority_pem}


def read_served(obj: JsonObject) -> Served:
    """Raises `BadRequestError`."""
    served = Served(certificate_pem=str_at(obj, "certificate"), authority_pem=str_at(obj, "authority"))
    if not (served.certificate_pem and served.authority_pem):
        raise BadRequestError('the answer must be {"certificate": "...", "authority": "..."}')
    return served


class Validity(Frozen):
    """From when to when a certificate is good, milliseconds since the epoch."""

    begin_ms: int
    end_ms: int

    def holds(self, now_ms: int) -> bool:
        return self.begin_ms <= now_ms < self.end_ms


def validity_of(pem: str) -> Validity:
    """Of the first certificate of a PEM text (RFC 5280 4.1.2.5), without a crypto library. Raises
    `BadRequestError`."""
    der = der_of_pem(pem)
    try:
        _, begin, _ = der_element(der, 0)
        _, at, _ = der_element(der, begin)
        if der[at] == 0xA0:  # [0] version
            _, _, at = der_element(der, at)
        for _ in range(3):  # serialNumber, signature, issuer
            _, _, at = der_element(der, at)
        _, at, _ = der_element(der, at)
        begin_ms, at = _time_at(der, at)
        end_ms, _ = _time_at(der, at)
    except (IndexError, ValueError) as error:
        raise BadRequestError("the times of a certificate can't be read") from error
    return Validity(begin_ms=begin_ms, end_ms=end_ms)


def _time_at(der: bytes, at: int) -> tuple[int, int]:
    """A Time, and where it ends. UTCTime's years from 50 on are of the last century."""
    tag, begin, end = der_element(der, at)
    text = der[begin:end].decode("ascii")
    if tag == 0x17:
        text = ("19" if text[:2] >= "50" else "20") + text
    found = datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    return round(found.timestamp() * 1000), end
