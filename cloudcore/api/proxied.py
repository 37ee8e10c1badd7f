"""What a proxy does to requests and answers that pass through it, as kube-apiserver does it. Pure.

Sources: apimachinery `pkg/util/proxy` (`transport.go`, `upgradeaware.go`), apimachinery `pkg/util/net`
(`SplitSchemeNamePort`), Go's `net/http/httputil` for headers that belong to one connection.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from html.parser import HTMLParser
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from skerry.errors import BadRequestError
from skerry.frozen import Frozen

Headers = Sequence[tuple[str, str]]

_ONE_CONNECTION: Final = frozenset(
    {
        *("connection", "proxy-connection", "keep-alive", "proxy-authenticate", "proxy-authorization"),
        *("te", "trailer", "transfer-encoding", "upgrade", "expect"),
    }
)
_NEEDED: Final = frozenset({"host", "content-length"})
"""What no client makes a header of this connection alone: without it there is no request."""
_OURS: Final = ("authorization", "impersonate-")
"""Credentials for the API, and nobody else's business."""
_CORS: Final = frozenset(f"access-control-allow-{name}" for name in ("credentials", "headers", "methods", "origin"))
_URLS: Final = {
    "a": ("href",),
    "applet": ("codebase",),
    "area": ("href",),
    "audio": ("src",),
    "base": ("href",),
    "blockquote": ("cite",),
    "body": ("background",),
    "button": ("formaction",),
    "command": ("icon",),
    "del": ("cite",),
    "embed": ("src",),
    "form": ("action",),
    "frame": ("longdesc", "src"),
    "head": ("profile",),
    "html": ("manifest",),
    "iframe": ("longdesc", "src"),
    "img": ("longdesc", "src", "usemap"),
    "input": ("src", "usemap", "formaction"),
    "ins": ("cite",),
    "link": ("href",),
    "object": ("classid", "codebase", "data", "usemap"),
    "q": ("cite",),
    "script": ("src",),
    "source": ("src",),
    "track": ("src",),
    "video": ("poster", "src"),
}
_ATTRIBUTE: Final = re.compile(
    r"""(?<![^\s"'/])([^\s"'<>/=]{1,32})(\s{0,32}=\s{0,32})("[^"]*"|'[^']*'|[^\s"'=<>`]+)"""
)
"""Bounded, and tried where a name begins alone: whoever writes the page must not choose how long it is looked at."""


class Named(Frozen):
    """`NAME`, `NAME:PORT` or `SCHEME:NAME:PORT`, as the name of what is proxied to."""

    scheme: str
    name: str
    port: str


def named(text: str) -> Named:
    """Raises `BadRequestError`."""
    parts = text.split(":")
    scheme, name, port = {1: ("", *parts, ""), 2: ("", *parts), 3: tuple(parts)}.get(len(parts), ("?", "", ""))
    if not name or scheme not in ("", "http", "https"):
        raise BadRequestError(f"invalid request {text!r}: write NAME, NAME:PORT or http[s]:NAME:PORT")
    return Named(scheme=scheme, name=name, port=port)


class Where(Frozen):
    """Where the client sees what is proxied."""

    scheme: str
    host: str
    prefix: str
    """The path of the proxy subresource, without a slash at its end."""


def forwarded(headers: Headers, where: Where, path: str, *, client: str, upgrade: bool) -> list[tuple[str, str]]:
    """A request's headers as they go on: without what belongs to this connection, and without credentials."""
    names = {"connection"} if upgrade else _listed(headers) - _NEEDED
    kept = [
        (name, value)
        for name, value in headers
        if not (name.lower() in _ONE_CONNECTION or name.lower() in names or name.lower().startswith(_OURS))
    ]
    kept = [(name, value) for name, value in kept if name.lower() != "sec-websocket-protocol"]
    offered = [value for name, value in headers if name.lower() == "sec-websocket-protocol"]
    protocols = [each.strip() for value in offered for each in value.split(",")]
    shown = [each for each in protocols if each and not each.startswith("base64url.bearer.authorization.k8s.io.")]
    if shown:
        kept.append(("Sec-WebSocket-Protocol", ", ".join(shown)))
    if upgrade:
        kept += [("Connection", "Upgrade"), *((name, value) for name, value in headers if name.lower() == "upgrade")]
    before = [value for name, value in kept if name.lower() == "x-forwarded-for"]
    kept = [(name, value) for name, value in kept if not name.lower().startswith("x-forwarded-")]
    return [
        *kept,
        ("X-Forwarded-For", ", ".join([*before, client])),
        ("X-Forwarded-Host", where.host),
        ("X-Forwarded-Proto", where.scheme),
        ("X-Forwarded-Uri", where.prefix + path.partition("?")[0]),
    ]


def answered(headers: Headers, where: Where, target: str) -> list[tuple[str, str]]:
    """An answer's headers as the client gets them. `target`: by what host the other side was asked."""
    names = _listed(headers)
    kept: list[tuple[str, str]] = []
    for name, value in headers:
        low = name.lower()
        if low in _ONE_CONNECTION or low in names or low in _CORS:
            continue
        kept.append((name, moved(value, where, target) if low == "location" else value))
    return kept


def _listed(headers: Headers) -> set[str]:
    """Names that Connection makes this connection's own."""
    values = [value for name, value in headers if name.lower() == "connection"]
    return {each.strip().lower() for value in values for each in value.split(",")} - {""}


def moved(url: str, where: Where, target: str) -> str:
    """A URL of the other side's, as the client finds it; one of another host, or a relative one, as it is."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    other = parts.netloc not in ("", target, where.host)
    if other or not parts.path.startswith("/") or parts.scheme not in ("", "http", "https"):
        return url
    path = parts.path
    if path != where.prefix and not path.startswith(where.prefix + "/"):
        path = posixpath.normpath(where.prefix + path) + ("/" if path.endswith("/") else "")
    return urlunsplit((where.scheme, where.host, path, parts.query, parts.fragment))


class _Tags(HTMLParser):
    """Finds the tags that have URLs, and what they become."""

    def __init__(self, where: Where, target: str) -> None:
        super().__init__(convert_charrefs=False)
        self._where = where
        self._target = target
        self.found: list[tuple[tuple[int, int], str, str]] = []
        """Line and column, the tag as it stands, and the one in its place."""

    def handle_starttag(self, tag: str, attrs: Iterable[tuple[str, str | None]]) -> None:
        wanted, raw = _URLS.get(tag, ()), self.get_starttag_text()
        if not wanted or raw is None:
            return

        def placed(found: re.Match[str]) -> str:
            name, sign, value = found.groups()
            if name.lower() not in wanted:
                return found[0]
            quoted = value[0] in "\"'"
            mark = value[0] if quoted else '"'
            text = value[1:-1] if quoted else value
            return f"{name}{sign}{mark}{moved(text.strip(), self._where, self._target)}{mark}"

        head = 1 + len(tag)
        new = raw[:head] + _ATTRIBUTE.sub(placed, raw[head:])
        if new != raw:
            self.found.append((self.getpos(), raw, new))


def page(html: str, where: Where, target: str) -> str:
    """A page whose links lead through the proxy."""
    tags = _Tags(where, target)
    tags.feed(html)  # up to what does not end: behind it a browser finds no tag either, and looking on costs squares
    begins = [0]
    for line in html.split("\n"):
        begins.append(begins[-1] + len(line) + 1)
    pieces: list[str] = []
    at = 0
    for (line, column), raw, new in tags.found:
        begin = begins[line - 1] + column
        pieces += (html[at:begin], new)
        at = begin + len(raw)
    return "".join((*pieces, html[at:]))
