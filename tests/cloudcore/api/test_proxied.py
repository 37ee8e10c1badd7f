"""Names, headers, redirects and pages of what passes through the proxy."""

from __future__ import annotations

import pytest

from cloudcore.api.proxied import Named, Where, answered, forwarded, moved, named, page
from cloudcore.api.routing import parse_query, proxied_of, verb_of
from skerry.errors import BadRequestError

PREFIX = "/api/v1/namespaces/ns/pods/web:80/proxy"
WHERE = Where(scheme="https", host="cloud:6443", prefix=PREFIX)


def test_names_have_schemes_and_ports() -> None:
    assert named("web") == Named(scheme="", name="web", port="")
    assert named("web:80") == Named(scheme="", name="web", port="80")
    assert named("https:web:http") == Named(scheme="https", name="web", port="http")
    for wrong in ("", "ftp:web:80", "a:b:c:d", ":80"):
        with pytest.raises(BadRequestError):
            named(wrong)


def test_what_is_behind_the_proxy_stays_as_it_stands() -> None:
    target = proxied_of(PREFIX.replace(":", "%3A") + "/a//b%2Fc/")
    assert target is not None
    assert (target.namespace, target.plural, target.name, target.rest) == ("ns", "pods", "web:80", "/a//b%2Fc/")
    node = proxied_of("/api/v1/nodes/eu-1/proxy")
    assert node is not None and (node.plural, node.namespace, node.rest) == ("nodes", "", "")
    for other in (
        "/api/v1/nodes/eu-1/proxyx",
        "/api/v1/namespaces/ns/configmaps/a/proxy/",
        "/apis/x/v1/nodes/a/proxy",
    ):
        assert proxied_of(other) is None


@pytest.mark.parametrize(
    ("method", "verb"),
    [
        ("GET", "get"),
        ("HEAD", "get"),
        ("POST", "create"),
        ("PUT", "update"),
        ("PATCH", "patch"),
        ("OPTIONS", "options"),
    ],
)
def test_each_method_is_a_verb(method: str, verb: str) -> None:
    target = proxied_of(PREFIX + "/x")
    assert target is not None
    assert verb_of(method, target, parse_query("watch=true")) == verb


def test_credentials_and_what_is_of_one_connection_do_not_go_on() -> None:
    given = [
        ("Host", "cloud:6443"),
        ("Authorization", "Bearer secret"),
        ("Impersonate-User", "x"),
        ("Connection", "keep-alive, X-Mine"),
        ("X-Mine", "1"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("X-Forwarded-Host", "forged"),
        ("Cookie", "a=b"),
    ]
    found = dict(forwarded(given, WHERE, "/a?b=c", client="10.0.0.2", upgrade=False))
    assert found == {
        "Host": "cloud:6443",
        "Cookie": "a=b",
        "X-Forwarded-For": "10.0.0.1, 10.0.0.2",
        "X-Forwarded-Host": "cloud:6443",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Uri": PREFIX + "/a",
    }


def test_an_upgrade_goes_on_without_the_token_among_its_protocols() -> None:
    given = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Protocol", "chat, base64url.bearer.authorization.k8s.io.c2VjcmV0"),
    ]
    found = dict(forwarded(given, WHERE, "/", client="c", upgrade=True))
    assert (found["Connection"], found["Upgrade"], found["Sec-WebSocket-Protocol"]) == (
        "Upgrade",
        "websocket",
        "chat",
    )


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("/login", f"https://cloud:6443{PREFIX}/login"),
        ("/a/?q=1#f", f"https://cloud:6443{PREFIX}/a/?q=1#f"),
        ("http://10.1.1.1:80/x", f"https://cloud:6443{PREFIX}/x"),
        (f"{PREFIX}/x", f"https://cloud:6443{PREFIX}/x"),
        ("http://elsewhere/x", "http://elsewhere/x"),
        ("//elsewhere/x", "//elsewhere/x"),
        ("below", "below"),
        ("mailto:a@b", "mailto:a@b"),
        ("http://[broken", "http://[broken"),
    ],
)
def test_places_on_the_other_side_are_found_through_the_proxy(url: str, found: str) -> None:
    assert moved(url, WHERE, "10.1.1.1:80") == found


def test_an_answer_loses_what_is_of_one_connection_and_what_others_may_read() -> None:
    given = [("Location", "/x"), ("Keep-Alive", "5"), ("Access-Control-Allow-Origin", "*"), ("Set-Cookie", "a")]
    assert answered(given, WHERE, "h:80") == [("Location", f"https://cloud:6443{PREFIX}/x"), ("Set-Cookie", "a")]


def test_links_of_a_page_lead_through_the_proxy_and_all_else_stays() -> None:
    html = (
        "<!doctype html><HTML>\n<a class=x href='/one'>1</a><img src=/two alt=\"/no\">\n"
        '<script>var s = "<a href=\'/kept\'>";</script><!-- <a href="/kept"> --><form action="below">&amp;</form>'
    )
    base = f"https://cloud:6443{PREFIX}"
    assert page(html, WHERE, "h:80") == html.replace("'/one'", f"'{base}/one'").replace("=/two", f'="{base}/two"')


@pytest.mark.parametrize("piece", ["a", "a=", "<a ", "<!--", ' a="', "</a"])
def test_a_page_made_to_be_looked_at_for_long_is_not(piece: str) -> None:
    html = "<a " + piece * (200_000 // len(piece))
    assert page(html, WHERE, "10.0.0.7") == html
    assert len(page(html + ">", WHERE, "10.0.0.7")) < 2_000_000


def test_no_client_takes_away_what_makes_a_request_one() -> None:
    heads = [("Host", "api"), ("Connection", "Host, Content-Length, X-Own"), ("Content-Length", "3"), ("X-Own", "1")]
    names = [name for name, _ in forwarded(heads, WHERE, "/", client="10.0.0.9", upgrade=False)]
    assert names[:2] == ["Host", "Content-Length"]
    assert "X-Own" not in names
