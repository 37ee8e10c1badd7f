"""What annotations ask for, and what is said of those that are not carried out."""

from __future__ import annotations

import pytest

from edgecore.network.ingress.annotations import Options, Redirect, Rewrite, Sticky, options_of

NGINX = "nginx.ingress.kubernetes.io/"


def read(**told: str) -> Options:
    options, faults = options_of({NGINX + name.replace("_", "-"): value for name, value in told.items()}, {})
    assert not faults
    return options


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ({"ssl_redirect": "false"}, Options(ssl_redirect=False)),
        ({"proxy_body_size": "8m"}, Options(body_bytes_max=8 << 20)),
        ({"proxy_body_size": "0"}, Options()),
        ({"proxy_read_timeout": "10"}, Options(answer_s=10)),
        ({"proxy_read_timeout": "10", "proxy_send_timeout": "3600s"}, Options(answer_s=3600)),
        ({"proxy_connect_timeout": "2"}, Options(connect_s=2)),
        ({"backend_protocol": "GRPC"}, Options(protocol="grpc")),
        ({"whitelist_source_range": "10.0.0.1/8, fd00::/8"}, Options(allowed=("10.0.0.0/8", "fd00::/8"))),
        ({"denylist_source_range": "192.0.2.7"}, Options(denied=("192.0.2.7/32",))),
        ({"rewrite_target": "/x"}, Options(rewrite=Rewrite(path="/x"))),
        ({"affinity": "cookie", "session_cookie_name": "r"}, Options(sticky=Sticky(name="r"))),
        (
            {"permanent_redirect": "https://e.example/%41"},
            Options(redirect=Redirect(url="https://e.example/%41", code=301)),
        ),
        (
            {"permanent_redirect": "http://e.example", "permanent_redirect_code": "308"},
            Options(redirect=Redirect(url="http://e.example", code=308)),
        ),
        ({"temporal_redirect": "http://e.example"}, Options(redirect=Redirect(url="http://e.example", code=302))),
    ],
)
def test_what_is_known_is_carried_out(told: dict[str, str], wanted: Options):
    assert read(**told) == wanted


@pytest.mark.parametrize(
    ("name", "value", "refuses"),
    [
        ("auth-type", "basic", True),
        ("auth-url", "http://x", True),
        ("configuration-snippet", "deny all;", True),
        ("ssl-passthrough", "yes", True),
        ("canary", "true", True),
        ("canary", "false", False),
        ("whitelist-source-range", "10.0.0.0/99", True),
        ("backend-protocol", "FCGI", True),
        ("rewrite-target", "/x'; quit", True),
        ("limit-rps", "5", False),
        ("proxy-read-timeout", "soon", False),
        ("proxy-body-size", "many", False),
        ("ssl-redirect", "maybe", False),
        ("session-cookie-name", "x", False),
        ("permanent-redirect", "javascript:alert(1)", False),
    ],
)
def test_what_is_not_carried_out_is_said_and_what_protects_is_not_passed_over(name: str, value: str, refuses: bool):
    _, faults = options_of({NGINX + name: value}, {})
    (fault,) = faults
    assert (fault.name, fault.refuses) == (name, refuses)


def test_the_ingress_comes_before_its_class_and_our_own_prefix_before_the_other():
    annotations = {f"{NGINX}proxy-read-timeout": "2", "ingress.skerry.dev/proxy-read-timeout": "3"}
    options, _ = options_of(annotations, {"proxy-read-timeout": "1", "proxy-connect-timeout": "4"})
    assert (options.answer_s, options.connect_s) == (3, 4)
