"""Which proxy is used, for whom, and that its password is told to nobody else."""

from __future__ import annotations

import pytest

from skerry.errors import InvalidError
from skerry.transport.proxy import Proxy, proxy_of, refusal_of


def test_the_setting_goes_before_the_environment() -> None:
    environ = {"HTTPS_PROXY": "http://env:3128"}
    assert str(proxy_of("http://own:8080", environ, host="cloud")) == "http://own:8080"
    assert str(proxy_of("", environ, host="cloud")) == "http://env:3128"
    assert proxy_of("none", environ, host="cloud") is None
    assert proxy_of("", {}, host="cloud") is None


@pytest.mark.parametrize("spared", ["cloud.example", "example", ".example", "a, cloud.example", "*", "CLOUD.example"])
def test_no_proxy_spares_hosts_as_other_programs_have_it(spared: str) -> None:
    environ = {"https_proxy": "http://env:3128", "NO_PROXY": spared}
    assert proxy_of("", environ, host="cloud.example") is None
    assert proxy_of("http://own:1", environ, host="cloud.example"), "what is said to us in so many words counts"


def test_no_proxy_for_a_similar_name_spares_nobody() -> None:
    assert proxy_of("", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "loud.example,other"}, host="cloud.example")


def test_a_password_goes_to_the_proxy_and_into_no_text() -> None:
    proxy = proxy_of("http://site%40x:s%3Acret@proxy.example:3128", {}, host="cloud")
    assert proxy == Proxy(scheme="http", host="proxy.example", port=3128, user="site@x", password="s:cret")
    assert proxy is not None
    assert proxy.url == "http://site%40x:s%3Acret@proxy.example:3128"
    assert "cret" not in f"{proxy} {proxy!r}"


@pytest.mark.parametrize(
    "text", ["socks5://u:secret@p:1", "http://u:secret@p:99999", "http://", "http://u:secret@p/x"]
)
def test_what_is_no_http_proxy_is_refused_without_repeating_a_password(text: str) -> None:
    with pytest.raises(InvalidError, match="--proxy: this is not") as refused:
        proxy_of(text, {}, host="cloud")
    assert "secret" not in str(refused.value)


def test_ports_and_ipv6_have_their_usual_form() -> None:
    assert str(proxy_of("p.example", {}, host="c")) == "http://p.example:80"
    assert str(proxy_of("https://p.example", {}, host="c")) == "https://p.example:443"
    assert str(proxy_of("http://[fd00::1]:3128", {}, host="c")) == "http://[fd00::1]:3128"


def test_who_asks_is_told_in_the_basic_scheme_and_nobody_is_nobody() -> None:
    proxy = Proxy(scheme="http", host="p", port=1, user="Aladdin", password="open sesame")
    assert proxy.authorization == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "the example of RFC 7617"
    assert Proxy(scheme="http", host="p", port=1).authorization == ""


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (0, ""),
        (502, " (502)"),
        (401, " (401): it wants another user or password; see --proxy"),
        (407, " (407): it wants another user or password; see --proxy"),
        (403, " (403): it has to allow CONNECT to cloud:10443"),
    ],
)
def test_what_a_proxy_refuses_is_said_with_what_to_do(status: int, why: str) -> None:
    proxy = Proxy(scheme="http", host="p", port=1, user="u", password="s3cret")
    assert refusal_of(proxy, status, "cloud:10443") == f"the proxy http://p:1 opens no way{why}"
