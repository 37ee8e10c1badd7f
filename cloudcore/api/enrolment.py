"""Enrolment over the API's port: the CA for anybody, a certificate for a token, a new one for a current one.

Keeps nothing; what is asked and answered is in `skerry.objects.enrolment`, and done by `cloudcore.pki.enrolment`.
"""

from __future__ import annotations

from collections.abc import Mapping

from cloudcore.api.authn import Authenticator
from cloudcore.api.ports import Endpoint, Posted, Replied
from cloudcore.pki.enrolment import Enroller
from skerry.errors import BadRequestError, NotFoundError, TooLargeError, UnauthenticatedError
from skerry.objects.enrolment import (
    DISCOVERY_PATH,
    ENROL_PATH,
    MESSAGE_BYTES_MAX,
    RENEW_PATH,
    discovery_body,
    enrolled_body,
    read_request,
)


def enrolment_endpoints(enroller: Enroller, authenticator: Authenticator) -> Mapping[str, Endpoint]:
    """By path. `/ca` and `/nodes` ask for no credentials: what they give is public, or costs a token."""

    async def discover(posted: Posted) -> Replied:
        _expect(posted, method="GET", path=DISCOVERY_PATH)
        return Replied(status=200, body=discovery_body(enroller.discovery("https")))

    async def enrol(posted: Posted) -> Replied:
        _expect(posted, method="POST", path=ENROL_PATH)
        enrolled = await enroller.enrol(read_request(posted.body), peer=posted.peer)
        return Replied(status=201, body=enrolled_body(enrolled))

    async def renew(posted: Posted) -> Replied:
        _expect(posted, method="POST", path=RENEW_PATH)
        if posted.presented.certificate is None:
            raise UnauthenticatedError("a renewal is asked for with the certificate that is to be renewed")
        subject = authenticator.subject(posted.presented.certificate)
        request = read_request(posted.body, with_token=False)
        enrolled = await enroller.renew(subject.user, subject.key, request.csr_pem)
        return Replied(status=201, body=enrolled_body(enrolled))

    return {DISCOVERY_PATH: discover, ENROL_PATH: enrol, RENEW_PATH: renew}


def _expect(posted: Posted, *, method: str, path: str) -> None:
    if posted.path.rstrip("/") != path:
        raise NotFoundError("the server could not find the requested resource")
    if posted.method != method:
        raise BadRequestError(f"{path} answers {method}")
    if len(posted.body) > MESSAGE_BYTES_MAX:
        raise TooLargeError(f"an enrolment message is at most {MESSAGE_BYTES_MAX} bytes")
