"""Keys of ServiceAccount tokens: made, rotated, retired, and tokens by each."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from cloudcore.pki import token_command
from cloudcore.pki.directory import open_pki
from cloudcore.pki.service_tokens import EXTENDED_S, ServiceTokens
from cloudcore.pki.serving import now_of
from cloudcore.pki.token_keys import FORMER_MAX, TokenKeys, new_token_keys, rotated, token_keys_in, without
from skerry.clocks import ManualClock, SeededIds
from skerry.errors import InvalidError, NotFoundError, UnauthenticatedError
from skerry.objects.account_tokens import TokenReader, algorithm_of, keys_in

CLOCK = ManualClock()


def tokens(keys: TokenKeys) -> ServiceTokens:
    return ServiceTokens(keys, CLOCK, SeededIds(1))


def sign(keys: TokenKeys) -> str:
    issuer = tokens(keys)
    return issuer.sign(issuer.new_claims(namespace="a", account="b", account_uid="u", audiences=(), valid_s=600))


def test_all_keys_are_one_text_that_is_read_back():
    keys = rotated(rotated(new_token_keys(), "RS256"), "ES256")
    read = token_keys_in(keys.pem)
    assert read.ids == keys.ids
    assert [algorithm_of(key) for key in read.public] == ["ES256", "RS256", "ES256"]
    assert read.pem == keys.pem
    assert keys.pem.count("PRIVATE") == 2, "the former keys sign no more"


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_a_token_by_a_former_key_is_good_until_that_is_retired(algorithm: str):
    first = new_token_keys("RS256" if algorithm == "RS256" else "ES256")
    token = sign(first)
    second = rotated(first, "ES256")
    assert tokens(second).verify(token).account == "b"
    assert tokens(second).is_ours(token)
    retired = without(second, first.ids[0])
    assert not tokens(retired).is_ours(token)
    with pytest.raises(UnauthenticatedError, match="invalid bearer token"):
        tokens(retired).verify(token)
    with pytest.raises(NotFoundError, match="no former key"):
        without(second, second.ids[0])


def test_whoever_has_the_published_set_reads_the_tokens():
    keys = rotated(new_token_keys("RS256"), "ES256")
    published = tokens(keys).key_set
    reader = TokenReader(keys_in(published))
    for each in (keys, TokenKeys(key=keys.key)):
        assert reader.read(sign(each)).user == "system:serviceaccount:a:b"
    with pytest.raises(UnauthenticatedError):
        reader.read(sign(new_token_keys()))
    with pytest.raises(InvalidError, match="JWK"):
        keys_in({"keys": [{"alg": "ES256", "kty": "EC"}]})
    assert keys_in({"keys": [{"alg": "EdDSA", "kty": "OKP"}]}) == {}


def test_a_token_that_claims_another_algorithm_of_a_known_key_is_refused():
    """The confusion by which a public key is taken for a secret (RFC 8725 section 2.1)."""
    import jwt

    keys = new_token_keys()
    payload = {"sub": "system:serviceaccount:a:b", "iss": "https://kubernetes.default.svc"}
    forged = jwt.encode(payload, "x" * 32, algorithm="HS256", headers={"kid": keys.ids[0]})
    with pytest.raises(UnauthenticatedError):
        tokens(keys).verify(forged)


def test_an_extended_token_lives_for_a_year_and_says_when_it_should_be_renewed():
    issuer = tokens(new_token_keys())
    claims = issuer.new_claims(namespace="a", account="b", account_uid="u", audiences=(), valid_s=3607, extended=True)
    assert claims.expires_s - claims.issued_s == EXTENDED_S
    assert claims.warn_after_s - claims.issued_s == 3607
    assert issuer.verify(issuer.sign(claims)) == claims


def test_a_token_of_a_secret_has_no_end():
    issuer = tokens(new_token_keys())
    token = issuer.of_secret(namespace="a", account="b", account_uid="u", secret="s")
    CLOCK.advance(10 * EXTENDED_S)
    claims = issuer.verify(token)
    assert claims.bound is not None
    assert (claims.bound.kind, claims.bound.name) == ("Secret", "s")


@pytest.mark.parametrize("text", ["", "x", "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----"])
def test_nonsense_is_no_key(text: str):
    with pytest.raises(ValueError, match=r".+"):
        token_keys_in(text)


def test_a_weak_key_is_refused():
    weak = TokenKeys(key=rsa.generate_private_key(public_exponent=65537, key_size=1024))
    with pytest.raises(ValueError, match="2048 bits or more"):
        token_keys_in(weak.pem)


def test_rotations_are_bounded():
    keys = new_token_keys()
    for _ in range(FORMER_MAX):
        keys = rotated(keys, "ES256")
    with pytest.raises(InvalidError, match="retire some first"):
        rotated(keys, "ES256")


def test_the_command_lists_rotates_and_retires(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    first = open_pki(tmp_path, now=now_of(CLOCK)).token_keys.ids[0]
    data = ["--data", str(tmp_path)]
    assert token_command.main(["rotate", *data, "--algorithm", "RS256"]) == 0
    assert f"tokens by {first} stay good" in capsys.readouterr().out
    assert token_command.main(["list", *data]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[1:] == ["signs", "RS256"]
    assert lines[2].split() == [first, "former", "ES256"]
    assert token_command.main(["retire", *data, "none"]) == 1
    assert "no former key" in capsys.readouterr().err
    assert token_command.main(["retire", *data, first]) == 0
    assert len(open_pki(tmp_path, now=None).token_keys.ids) == 1
    assert token_command.main(["list", "--data", str(tmp_path / "none")]) == 1


def test_the_same_claims_are_the_same_token():
    """Signed without chance (RFC 6979): a weak source of it gives no key away."""
    issuer = tokens(new_token_keys())
    one, two = (issuer.of_secret(namespace="a", account="b", account_uid="u", secret="s") for _ in range(2))
    assert one == two
    assert issuer.verify(one).account == "b"
