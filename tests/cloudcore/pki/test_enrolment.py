import asyncio
import datetime
import ipaddress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from cloudcore.pki.certificates import (
    client_certificate,
    issue_server,
    key_fingerprint,
    served_names,
    sign_request,
    subject_of,
)
from cloudcore.pki.directory import open_pki
from cloudcore.pki.enrolment import FAILURES_MAX
from cloudcore.pki.serving import now_of
from skerry.errors import (
    BadRequestError,
    CallerError,
    ForbiddenError,
    TooManyRequestsError,
    UnauthenticatedError,
)
from skerry.objects.enrolment import EnrolRequest, JoinToken, RecoverRequest, der_of_pem
from skerry.objects.json import str_map_at

from .conftest import Cloud, kind


def csr(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, common_name: str = "system:masters") -> str:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
KEY_PIN = key_fingerprint(KEY.public_key())
OTHER_KEY_PIN = key_fingerprint(OTHER_KEY.public_key())


async def join(cloud: Cloud, token: JoinToken | str, csr_pem: str = "", peer: str = "10.0.0.1"):
    return await cloud.enroller.enrol(EnrolRequest(token=str(token), csr_pem=csr_pem or csr(KEY)), peer=peer)


async def test_a_token_and_a_key_make_a_node_whose_subject_the_cloud_writes(cloud: Cloud):
    token = await cloud.issue("eu-1", labels={"region": "eu"})
    enrolled = await join(cloud, token)
    subject = subject_of(der_of_pem(enrolled.certificate_pem))
    assert (subject.user, subject.groups) == ("system:node:eu-1", ("system:nodes",))
    certificate = x509.load_pem_x509_certificate(enrolled.certificate_pem.encode())
    assert certificate.public_key() == KEY.public_key()
    certificate.verify_directly_issued_by(cloud.pki.authority.certificate)
    assert (enrolled.node, enrolled.ca_pem, enrolled.hub_port) == ("eu-1", cloud.pki.authority.pem, 10443)
    assert str_map_at(cloud.now("nodes", "eu-1"), "metadata", "labels") == {
        "kubernetes.io/hostname": "eu-1",
        "region": "eu",
    }
    assert str_map_at(cloud.now("nodes", "eu-1"), "metadata", "annotations") == {
        "skerry.dev/node-key": key_fingerprint(KEY.public_key()),
        "skerry.dev/node-authority": cloud.pki.authority.id,
    }
    assert enrolled.server_name == f"ca-{cloud.pki.authority.id}.hub.skerry.internal"


async def test_a_node_that_is_known_keeps_its_labels_and_gets_those_of_the_token(cloud: Cloud):
    await cloud.objects.create(kind("nodes"), "", {"metadata": {"name": "eu-1", "labels": {"mine": "1", "r": "old"}}})
    await join(cloud, await cloud.issue("eu-1", labels={"r": "new"}))
    assert str_map_at(cloud.now("nodes", "eu-1"), "metadata", "labels") == {"mine": "1", "r": "new"}


async def test_a_token_works_once(cloud: Cloud):
    token = await cloud.issue("eu-1")
    await join(cloud, token)
    with pytest.raises(ForbiddenError, match=r"this token was used at 2026-11-\d\dT\d\d:\d\d:\d\dZ, and"):
        await join(cloud, token, csr(OTHER_KEY))


async def test_an_answer_that_was_lost_can_be_asked_for_again_with_the_same_key(cloud: Cloud):
    token = await cloud.issue("eu-1")
    await join(cloud, token)
    cloud.clock.advance(5)
    assert (await join(cloud, token)).node == "eu-1"


async def test_of_many_attempts_at_once_one_key_wins(cloud: Cloud):
    token = await cloud.issue("eu-1")
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(8)]
    done = await asyncio.gather(*(join(cloud, token, csr(key)) for key in keys), return_exceptions=True)
    assert sum(not isinstance(each, BaseException) for each in done) == 1
    assert all(isinstance(each, ForbiddenError) for each in done if isinstance(each, BaseException))


async def test_an_expired_token_says_so(cloud: Cloud):
    token = await cloud.issue("eu-1", ttl_s=60)
    cloud.clock.advance(61)
    with pytest.raises(ForbiddenError, match="this token expired at 2026-"):
        await join(cloud, token)


async def test_a_token_is_good_for_its_node_only(cloud: Cloud):
    token = await cloud.issue("eu-1")
    forged = JoinToken(id=token.id, secret=token.secret, pin=token.pin, node="us-1")
    with pytest.raises(ForbiddenError, match="made for the node eu-1, not for us-1"):
        await join(cloud, forged)


async def test_a_stranger_learns_nothing_about_which_tokens_exist(cloud: Cloud):
    token = await cloud.issue("eu-1", ttl_s=-1)
    wrong_secret = JoinToken(id=token.id, secret="cd" * 16, pin=token.pin, node="eu-1")
    wrong_id = JoinToken(id="9999999999", secret=token.secret, pin=token.pin, node="eu-1")
    said: list[str] = []
    for each in (wrong_secret, wrong_id):
        with pytest.raises(UnauthenticatedError) as caught:
            await join(cloud, each)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "not valid here" in said[0]


async def test_another_secret_is_no_token(cloud: Cloud):
    token = await cloud.issue("eu-1")
    await cloud.objects.update(
        kind("secrets"), kind("secrets").key("kube-system", f"join-token-{token.id}"), lambda s: {**s, "type": "x"}
    )
    with pytest.raises(UnauthenticatedError):
        await join(cloud, token)


@pytest.mark.parametrize(
    "bad", ["", "x", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"]
)
async def test_what_is_no_signing_request_does_not_use_the_token_up(cloud: Cloud, bad: str):
    token = await cloud.issue("eu-1")
    with pytest.raises(BadRequestError):
        await join(cloud, token, bad or " ")
    with pytest.raises(BadRequestError, match="2048 bits or more"):
        await join(cloud, token, csr(rsa.generate_private_key(65537, 1024)))
    assert (await join(cloud, token)).node == "eu-1"


async def test_a_signing_request_must_be_signed_by_its_own_key(cloud: Cloud):
    token = await cloud.issue("eu-1")
    der = bytearray(x509.load_pem_x509_csr(csr(KEY).encode()).public_bytes(serialization.Encoding.DER))
    der[-3] ^= 1
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM).decode()
    with pytest.raises(BadRequestError, match=r"not signed by the key|can't be read"):
        await join(cloud, token, forged)


async def test_whoever_fails_too_often_has_to_wait_and_others_do_not(cloud: Cloud):
    token = await cloud.issue("eu-1")
    for _ in range(FAILURES_MAX):
        with pytest.raises(CallerError):
            await join(cloud, "nonsense")
    with pytest.raises(TooManyRequestsError) as caught:
        await join(cloud, token)
    assert caught.value.retry_after_s == 4
    assert (await join(cloud, token, peer="10.0.0.2")).node == "eu-1"
    cloud.clock.advance(caught.value.retry_after_s)
    assert (await join(cloud, token)).node == "eu-1"


async def test_a_certificate_is_renewed_for_a_node_that_is_still_known(cloud: Cloud):
    await join(cloud, await cloud.issue("eu-1"))
    renewed = await cloud.enroller.renew("system:node:eu-1", KEY_PIN, csr(KEY))
    assert subject_of(der_of_pem(renewed.certificate_pem)).user == "system:node:eu-1"
    with pytest.raises(ForbiddenError, match="only a node"):
        await cloud.enroller.renew("jane", KEY_PIN, csr(KEY))
    await cloud.objects.delete(kind("nodes"), kind("nodes").key("", "eu-1"))
    with pytest.raises(ForbiddenError, match="not known any more"):
        await cloud.enroller.renew("system:node:eu-1", KEY_PIN, csr(KEY))


def expired(cloud: Cloud, *, days_ago: int, user: str = "system:node:eu-1", server: bool = False) -> str:
    """A certificate of KEY that ended so long ago."""
    now = now_of(cloud.clock) - datetime.timedelta(days=days_ago + 365)
    if server:
        return issue_server(cloud.pki.authority, names=["x"], now=now).certificate_pem
    request = csr(KEY)
    return sign_request(cloud.pki.authority, request, user=user, groups=["system:nodes"], now=now)


async def recover(cloud: Cloud, certificate_pem: str, csr_pem: str = "", peer: str = "10.0.0.2"):
    request = RecoverRequest(certificate_pem=certificate_pem, csr_pem=csr_pem or csr(KEY))
    return await cloud.enroller.recover(request, peer=peer)


async def test_a_gateway_whose_certificate_has_ended_gets_a_new_one_for_the_key_it_joined_with(cloud: Cloud):
    await join(cloud, await cloud.issue("eu-1"))
    enrolled = await recover(cloud, expired(cloud, days_ago=300))
    certificate = x509.load_pem_x509_certificate(enrolled.certificate_pem.encode())
    assert certificate.public_key() == KEY.public_key()
    assert subject_of(der_of_pem(enrolled.certificate_pem)).user == "system:node:eu-1"
    assert certificate.not_valid_after_utc > now_of(cloud.clock)


async def test_a_certificate_that_ended_too_long_ago_is_of_no_use(cloud: Cloud):
    await join(cloud, await cloud.issue("eu-1"))
    with pytest.raises(ForbiddenError, match="more than 365 days ago; join again"):
        await recover(cloud, expired(cloud, days_ago=366))


async def test_an_ended_certificate_is_worth_nothing_without_its_key(cloud: Cloud):
    await join(cloud, await cloud.issue("eu-1"))
    with pytest.raises(ForbiddenError, match="by another key"):
        await recover(cloud, expired(cloud, days_ago=1), csr(OTHER_KEY))


async def test_a_gateway_that_was_replaced_does_not_come_back(cloud: Cloud):
    await join(cloud, await cloud.issue("eu-1"))
    await join(cloud, await cloud.issue("eu-1", id_="9876543210"), csr(OTHER_KEY))
    with pytest.raises(ForbiddenError, match="joined again with another key"):
        await recover(cloud, expired(cloud, days_ago=1))
    await cloud.objects.delete(kind("nodes"), kind("nodes").key("", "eu-1"))
    with pytest.raises(ForbiddenError, match="not known any more"):
        await recover(cloud, expired(cloud, days_ago=1))


async def test_a_replaced_gateway_renews_nothing_though_its_certificate_is_good(cloud: Cloud):
    await join(cloud, await cloud.issue("eu-1"))
    await join(cloud, await cloud.issue("eu-1", id_="9876543210"), csr(OTHER_KEY))
    with pytest.raises(ForbiddenError, match="joined again with another key"):
        await cloud.enroller.renew("system:node:eu-1", KEY_PIN, csr(KEY))
    assert (await cloud.enroller.renew("system:node:eu-1", OTHER_KEY_PIN, csr(OTHER_KEY))).node == "eu-1"


async def test_a_renewal_gives_a_node_no_other_key(cloud: Cloud):
    await join(cloud, await cloud.issue("eu-1"))
    with pytest.raises(ForbiddenError, match="by another key than the certificate's"):
        await cloud.enroller.renew("system:node:eu-1", KEY_PIN, csr(OTHER_KEY))
    with pytest.raises(ForbiddenError, match="joined again with another key"):
        await cloud.enroller.renew("system:node:eu-1", OTHER_KEY_PIN, csr(KEY))
    await cloud.objects.create(kind("nodes"), "", {"metadata": {"name": "old"}})
    with pytest.raises(ForbiddenError, match="by another key than the certificate's"):
        await cloud.enroller.renew("system:node:old", KEY_PIN, csr(OTHER_KEY))


async def test_a_node_from_before_keys_were_remembered_recovers(cloud: Cloud):
    await cloud.objects.create(kind("nodes"), "", {"metadata": {"name": "eu-1"}})
    assert (await recover(cloud, expired(cloud, days_ago=1))).node == "eu-1"


async def test_papers_of_others_recover_nothing(cloud: Cloud, tmp_path: Path):
    await join(cloud, await cloud.issue("eu-1"))
    other = open_pki(tmp_path / "other", now=now_of(cloud.clock))
    theirs = sign_request(other.authority, csr(KEY), user="system:node:eu-1", groups=[], now=now_of(cloud.clock))
    for paper, error, words in (
        (theirs, UnauthenticatedError, "not signed by this cloud"),
        (expired(cloud, days_ago=1, user="jane"), ForbiddenError, "only a node"),
        (expired(cloud, days_ago=1, server=True), BadRequestError, "not one for a client"),
        ("nonsense", BadRequestError, "can't be read"),
    ):
        with pytest.raises(error, match=words):
            await recover(cloud, paper)


async def test_who_tries_papers_without_end_is_held_up(cloud: Cloud):
    for _ in range(FAILURES_MAX):
        with pytest.raises(BadRequestError):
            await recover(cloud, "nonsense")
    with pytest.raises(TooManyRequestsError):
        await recover(cloud, "nonsense")


def serving_csr(*names: str, key: ec.EllipticCurvePrivateKey = OTHER_KEY) -> str:
    asked = [x509.IPAddress(ipaddress.ip_address(n)) if n[:1].isdigit() else x509.DNSName(n) for n in names]
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "system:masters")])
    )
    if asked:
        builder = builder.add_extension(x509.SubjectAlternativeName(asked), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


async def test_a_gateways_own_api_is_signed_for_the_machines_names_and_serves_alone(cloud: Cloud):
    served = cloud.enroller.serving("eu-1", serving_csr("localhost", "kubernetes.default.svc", "169.254.20.11"))
    assert served.authority_pem == cloud.pki.authority.pem
    certificate = x509.load_pem_x509_certificate(served.certificate_pem.encode())
    certificate.verify_directly_issued_by(cloud.pki.authority.certificate)
    assert served_names(certificate) == {"localhost", "kubernetes.default.svc", "169.254.20.11"}
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [*usage] == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    subject = subject_of(der_of_pem(served.certificate_pem))
    assert (subject.user, subject.groups) == ("system:node:eu-1", ("system:nodes",))
    with pytest.raises(BadRequestError, match="not one for a client"):
        client_certificate(served.certificate_pem, cloud.pki.authorities)


@pytest.mark.parametrize("name", ["hub.skerry.internal", "cloud.example.org", "10.96.0.1", "192.0.2.10"])
async def test_no_other_name_is_signed_for_a_gateway(cloud: Cloud, name: str):
    with pytest.raises(ForbiddenError, match="by names of its machine alone"):
        cloud.enroller.serving("eu-1", serving_csr("localhost", name))


async def test_a_request_without_names_or_with_others_is_none(cloud: Cloud):
    with pytest.raises(BadRequestError, match="no subjectAltName"):
        cloud.enroller.serving("eu-1", serving_csr())
    with pytest.raises(BadRequestError, match="1 to 32 are given"):
        cloud.enroller.serving("eu-1", serving_csr(*(f"127.0.0.{n}" for n in range(1, 40))))
    mail = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.RFC822Name("a@example.org")])
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(mail, critical=False)
        .sign(OTHER_KEY, hashes.SHA256())
    )
    with pytest.raises(BadRequestError, match="DNS names and IP addresses"):
        cloud.enroller.serving("eu-1", request.public_bytes(serialization.Encoding.PEM).decode())
