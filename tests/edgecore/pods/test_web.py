"""How probes and hooks write their requests."""

from __future__ import annotations

import pytest

from edgecore.pods.web import Url, redirected, request_headers, target_of
from skerry.errors import InvalidError

HERE = Url(scheme="http", host="10.0.0.7", port=80, target="/a")


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/"),
        ("healthz", "/healthz"),
        ("/a?b=c", "/a?b=c"),
        ("/a#b", "/a"),
        ("/a b/é", "/a%20b/%C3%A9"),
        ("/%20", "/%20"),
    ],
)
def test_a_path_becomes_a_target(path: str, target: str) -> None:
    assert target_of(path) == target


def test_a_request_says_who_asks_unless_the_manifest_says_it() -> None:
    assert request_headers(HERE, (), agent="kube-probe/1") == (
        ("Host", "10.0.0.7:80"),
        ("User-Agent", "kube-probe/1"),
        ("Accept", "*/*"),
        ("Connection", "close"),
    )
    said = (("host", "example.org"), ("user-agent", ""), ("Accept", "text/html"), ("X", "1"), ("X", "2"))
    assert request_headers(HERE, said, agent="kube-probe/1") == (
        ("Host", "example.org"),
        ("Accept", "text/html"),
        ("X", "1"),
        ("X", "2"),
        ("Connection", "close"),
    )


def test_a_redirect_is_followed_from_where_it_was_found() -> None:
    assert str(redirected(HERE, "b?c")) == "http://10.0.0.7:80/b?c"
    assert str(redirected(HERE, "https://[::1]/x")) == "https://[::1]:443/x"
    for location in ("ftp://x/", "https://", "http://x:99999/"):
        with pytest.raises(InvalidError, match="it points to"):
            redirected(HERE, location)
