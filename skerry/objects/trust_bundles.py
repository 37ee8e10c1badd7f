"""ClusterTrustBundles: which of them a pod projects, and what a file of them says. Pure.

certificates.k8s.io, and core/v1 ClusterTrustBundleProjection: by its name, or all of a signer that a label selector
picks. A file has each certificate once, whichever bundles say it, in PEM again: what stands between certificates in a
bundle is nobody's to read. Kubelets change the order at each start, so that nobody relies on it; here it stays, so
that a restart changes no file.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Final

from skerry.errors import BadRequestError
from skerry.objects.enrolment import certificates_in, der_of_pem
from skerry.objects.json import JsonObject, map_at, maps_at, str_at
from skerry.objects.select import label_selector

BUNDLES: Final = "clustertrustbundles.certificates.k8s.io"
_LINE: Final = 64
"""Characters (RFC 7468 2)."""


def projections_of(pod: JsonObject) -> Iterator[JsonObject]:
    """What its volumes project of bundles."""
    for volume in maps_at(pod, "spec", "volumes"):
        for source in maps_at(volume, "projected", "sources"):
            if isinstance(source.get("clusterTrustBundle"), dict):
                yield map_at(source, "clusterTrustBundle")


def names_of(pod: JsonObject) -> frozenset[str]:
    """Of the bundles that it names."""
    return frozenset(name for each in projections_of(pod) if (name := str_at(each, "name")))


def signers_of(pod: JsonObject) -> frozenset[str]:
    """Whose bundles it projects, without a name."""
    return frozenset(
        signer for each in projections_of(pod) if not str_at(each, "name") and (signer := str_at(each, "signerName"))
    )


def signer_of(bundle: JsonObject) -> str:
    """ "" for one that is linked to none."""
    return str_at(bundle, "spec", "signerName")


def picked(projection: JsonObject, bundles: Iterable[JsonObject]) -> list[JsonObject]:
    """Those of a projection by signer. Raises `BadRequestError` for a selector that makes no sense."""
    signer, selector = str_at(projection, "signerName"), label_selector(projection.get("labelSelector"))
    return [each for each in bundles if signer_of(each) == signer and selector.selects(each)]


def anchors_of(bundles: Iterable[JsonObject]) -> bytes:
    """The certificates of all of them, in PEM."""
    found: set[bytes] = set()
    for bundle in bundles:
        for pem in certificates_in(str_at(bundle, "spec", "trustBundle")):
            try:
                found.add(der_of_pem(pem))
            except BadRequestError:
                continue  # admission looks at them; a certificate that is none would stop who reads the file
    return "".join(map(_pem, sorted(found))).encode("ascii")


def _pem(der: bytes) -> str:
    text = base64.b64encode(der).decode("ascii")
    lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    return "\n".join(("-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""))
