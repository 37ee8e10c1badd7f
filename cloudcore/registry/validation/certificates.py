"""What a CertificateSigningRequest may say (`pkg/apis/certificates/validation`, for v1). Pure.

Only the PEM frames of request and certificate are looked at: whether a signature holds is the signer's to check,
who has the means for it. The certificates of a ClusterTrustBundle are read, as whole fleets trust them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Final

from cryptography import x509

from skerry.errors import Cause
from skerry.objects.json import JsonObject, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import name_of
from skerry.objects.names import subdomain_faults
from skerry.validation.faults import at_least, duplicate, invalid, one_of, required, too_long, unsupported

_LIFE_S_MIN: Final = 600
_USAGES: Final = (
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
)


def validate_signing_request(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    spec, status = map_at(obj, "spec"), map_at(obj, "status")
    if old is None:
        if not _is_pem(str_at(spec, "request"), "CERTIFICATE REQUEST", most=1):
            detail = "PEM block type must be CERTIFICATE REQUEST"
            yield invalid("spec.request", str_at(spec, "request"), detail)
        yield from _usage_faults(strs_at(spec, "usages"))
        yield from _signer_faults(str_at(spec, "signerName"))
        yield from at_least("spec", spec, "expirationSeconds", _LIFE_S_MIN)
    yield from _condition_faults(maps_at(status, "conditions"))
    certificate = str_at(status, "certificate")
    if certificate and not _is_pem(certificate, "CERTIFICATE"):
        yield invalid("status.certificate", "<certificate data>", "only CERTIFICATE PEM blocks are allowed")


def validate_trust_bundle(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    """ClusterTrustBundle (`ValidateClusterTrustBundle`)."""
    signer, name = str_at(obj, "spec", "signerName"), name_of(obj)
    if old is not None and signer != str_at(old, "spec", "signerName"):
        yield invalid("spec.signerName", signer, "field is immutable")
    if signer:
        yield from _signer_faults(signer)
        prefix = f"{signer.replace('/', ':')}:"
        if not name.startswith(prefix):
            detail = f"ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"
            yield invalid("metadata.name", name, detail)
    elif ":" in name:
        detail = 'ClusterTrustBundle without signer name must not have ":" in its name'
        yield invalid("metadata.name", name, detail)
    bundle = str_at(obj, "spec", "trustBundle")
    if old is None or bundle != str_at(old, "spec", "trustBundle"):
        yield from _bundle_faults(bundle)


_BUNDLE_BYTES_MAX: Final = 1 << 20
_BLOCKS_MAX: Final = 2048
"""More than a mebibyte of the smallest authorities that anybody has."""
_MARK: Final = re.compile(r"-----BEGIN ([^-\n]{1,64})-----[ \t\r]*\n|-----END ([^-\n]{1,64})-----")
_OMITTED: Final = "<value omitted>"


def _bundle_faults(text: str) -> Iterator[Cause]:
    field = "spec.trustBundle"
    if len(text.encode()) > _BUNDLE_BYTES_MAX:
        yield too_long(field, _BUNDLE_BYTES_MAX)
        return
    seen: dict[bytes, list[int]] = {}
    faults: list[Cause] = []
    for index, (label, body) in enumerate(_blocks(text)):
        if index == _BLOCKS_MAX:
            faults = [invalid(field, _OMITTED, f"must have at most {_BLOCKS_MAX} entries")]
            break
        if label != "CERTIFICATE":
            faults.append(invalid(field, _OMITTED, f"entry {index} has bad block type: {label}"))
        elif ":" in body:
            faults.append(invalid(field, _OMITTED, f"entry {index} has PEM block headers"))
        elif (der := _authority_in(body)) is None:
            faults.append(invalid(field, _OMITTED, f"entry {index} does not parse as X.509"))
        elif not _is_authority(der):
            faults.append(invalid(field, _OMITTED, f"entry {index} does not have the CA bit set"))
        else:
            seen.setdefault(der, []).append(index)
    yield from faults
    if faults:
        return
    if not seen:
        yield invalid(field, _OMITTED, "at least one trust anchor must be provided")
    for indices in seen.values():
        if len(indices) > 1:
            said = " ".join(map(str, indices))
            yield invalid(field, _OMITTED, f"duplicate trust anchor (indices [{said}])")


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """Label and body of each PEM block, in one walk: a BEGIN without its END is what people write around them."""
    opened = dict[str, int]()
    for mark in _MARK.finditer(text):
        begun, label = mark[1], mark[2] or mark[1]
        if begun:
            opened.setdefault(begun, mark.end())
        elif label in opened:
            yield label, text[opened[label] : mark.start()]
            opened.clear()


def _authority_in(body: str) -> bytes | None:
    """The certificate in a block; None where it is none."""
    try:
        der = base64.b64decode("".join(body.split()), validate=True)
        x509.load_der_x509_certificate(der).extensions  # noqa: B018 - reading them is the check
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return None
    return der


def _is_authority(der: bytes) -> bool:
    try:
        found = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return found.value.ca


def _is_pem(text: str, label: str, *, most: int = 100) -> bool:
    """PEM blocks of that label alone, in the base64 in which JSON carries bytes."""
    try:
        body = base64.b64decode(text)
    except binascii.Error:
        return False
    name = label.encode()
    # White space has one place only where it can match, or a long run of it would take quadratic time.
    block = rb"-----BEGIN %b-----\r?\n[A-Za-z0-9+/=\r\n]+-----END %b-----\s*" % (name, name)
    return re.fullmatch(rb"(?:%b){1,%d}" % (block, most), body.lstrip()) is not None


def _usage_faults(usages: list[str]) -> Iterator[Cause]:
    if not usages:
        yield required("spec.usages", "usages must be specified")
    for index, usage in enumerate(usages):
        if usage not in _USAGES:
            yield unsupported(f"spec.usages[{index}]", usage, _USAGES)
        elif usage in usages[:index]:
            yield duplicate(f"spec.usages[{index}]", usage)


def _signer_faults(name: str) -> Iterator[Cause]:
    field = "spec.signerName"
    if not name:
        yield required(field)
        return
    domain, slash, path = name.partition("/")
    if not slash or not path or "." not in domain:
        yield invalid(field, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")
        return
    for fault in subdomain_faults(domain):
        yield invalid(field, name, fault)


def _condition_faults(conditions: list[JsonObject]) -> Iterator[Cause]:
    types = [str_at(each, "type") for each in conditions]
    for index, (kind, condition) in enumerate(zip(types, conditions, strict=True)):
        field, status = f"status.conditions[{index}]", str_at(condition, "status")
        if not kind:
            yield required(f"{field}.type")
        elif kind in types[:index]:
            yield duplicate(f"{field}.type", kind)
        decides = kind in ("Approved", "Denied", "Failed")
        yield from one_of(f"{field}.status", status, ("True",) if decides else ("True", "False", "Unknown"))
    if "Approved" in types and "Denied" in types:
        index = max(types.index("Approved"), types.index("Denied"))
        detail = "Approved and Denied conditions are mutually exclusive"
        yield invalid(f"status.conditions[{index}].type", types[index], detail)
