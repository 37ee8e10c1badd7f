"""Whose word counts for a signer: the checks on what is said in a signer's name. Pure.

Kubernetes' verbs on `signers.certificates.k8s.io`, named by the signer, or by all of its domain as `example.com/*`:
`attest` to write a ClusterTrustBundle of a signer, `approve` to approve or deny what it is asked to sign, and `sign`
to give the certificate (plugins ClusterTrustBundleAttest, CertificateApproval, CertificateSigning; texts as theirs).
"""

from __future__ import annotations

from typing import Final

from cloudcore.api.authz.authorizer import Authorizer
from cloudcore.registry.admission import Reader, Request, Step
from cloudcore.registry.refusals import forbidden
from skerry.authz.attributes import Actor, Attributes
from skerry.objects.json import JsonObject, dig, map_at, str_at

GROUP: Final = "certificates.k8s.io"
BUNDLES: Final = f"clustertrustbundles.{GROUP}"
REQUESTS: Final = f"certificatesigningrequests.{GROUP}"
_OF_COLLECTORS: Final = frozenset({"finalizers", "managedFields", "ownerReferences", "resourceVersion"})
"""Of metadata: who tidies up changes these, and says nothing in the signer's name."""
_SIGNED: Final = ("certificate", "conditions")


def signers_step(authorizer: Authorizer) -> Step:
    """The checks as a step of admission."""

    def step(request: Request, _reader: Reader) -> JsonObject:
        verb, what = _said(request)
        spoken_of = request.old if request.kind.resource == REQUESTS else request.obj
        signer = str_at(spoken_of, "spec", "signerName")
        if verb and signer and not may_for_signer(authorizer, request.actor, verb, signer):
            reason = f'user not permitted to {verb} {what} signerName "{signer}"'
            raise forbidden(request.kind, request.key.name, reason)
        return request.obj

    return step


def _said(request: Request) -> tuple[str, str]:
    """The verb, and of what in the text of a refusal; "" where nothing is said in a signer's name."""
    old = request.old
    if request.operation == "DELETE":
        return "", ""
    if request.kind.resource == BUNDLES:
        return ("", "") if old is not None and _meaning(old) == _meaning(request.obj) else ("attest", "for")
    if request.kind.resource == REQUESTS and request.subresource == "approval":
        return "approve", "requests with"
    if request.kind.resource == REQUESTS and request.subresource == "status":
        told = any(
            dig(old, "status", name) != dig(request.obj, "status", name) for name in ("certificate", "conditions")
        )
        return ("sign", "requests with") if told else ("", "")
    return "", ""


def _meaning(obj: JsonObject) -> JsonObject:
    metadata = {name: value for name, value in map_at(obj, "metadata").items() if name not in _OF_COLLECTORS}
    return {**obj, "metadata": metadata}


def may_for_signer(authorizer: Authorizer, actor: Actor, verb: str, signer: str) -> bool:
    """By the signer's own name, or by that of its whole domain."""
    domain = signer.partition("/")[0]
    asked = (
        Attributes(actor=actor, verb=verb, group=GROUP, resource="signers", name=name)
        for name in (signer, f"{domain}/*")
    )
    return any(authorizer.decide(each).allowed for each in asked)
