"""An HTTP proxy between a gateway and its cloud: where it is, and who may use it. Pure.

TLS goes end to end through the proxy's tunnel (CONNECT, RFC 9110 section 9.3.6), so it sees the cloud's address and
nothing else. Its password is in none of the texts made here.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import quote, unquote, urlsplit

from skerry.errors import InvalidError
from skerry.frozen import Frozen


class Proxy(Frozen):
    """One proxy. Its text is without user and password."""

    scheme: str
    """`http`, or `https` for TLS to the proxy itself."""
    host: str
    port: int
    user: str = ""
    password: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def __repr__(self) -> str:
        """Without the password, so that no log ever holds it."""
        return f"Proxy({self})"

    @property
    def authorization(self) -> str:
        """Who asks, as HTTP's Basic scheme (RFC 7617); "" for nobody."""
        if not self.user:
            return ""
        return f"Basic {base64.b64encode(f'{self.user}:{self.password}'.encode()).decode()}"

    @property
    def url(self) -> str:
        """With everything that it wants to know: for the connection alone."""
        scheme, _, place = str(self).partition("://")
        if not self.user:
            return f"{scheme}://{place}"
        return f"{scheme}://{quote(self.user, safe='')}:{quote(self.password, safe='')}@{place}"


def proxy_of(setting: str, environ: Mapping[str, str], *, host: str) -> Proxy | None:
    """The proxy for a cloud at `host`: what the setting says, else what HTTPS_PROXY says unless NO_PROXY names the
    host; `none` for none. Raises `InvalidError` for what is no proxy, without repeating a password."""
    if setting == "none":
        return None
    if setting:
        return _read(setting, "--proxy")
    for name in ("https_proxy", "HTTPS_PROXY"):
        if environ.get(name) and not _spared(host, environ):
            return _read(environ[name], name)
    return None


def refusal_of(proxy: Proxy, status: int, address: str) -> str:
    """What it means that a proxy does not connect us to an address, and what is to be done. `status` is HTTP's, 0 for
    an answer that is none."""
    if status in (401, 407):
        why = f" ({status}): it wants another user or password; see --proxy"
    elif status == 403:
        why = f" (403): it has to allow CONNECT to {address}"
    else:
        why = f" ({status})" if status else ""
    return f"the proxy {proxy} opens no way{why}"


def _read(text: str, name: str) -> Proxy:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        host = parts.hostname or ""
    except ValueError:
        raise InvalidError(f"{name}: this is not a proxy's address; write http://[USER:PASSWORD@]HOST:PORT") from None
    if parts.scheme not in ("http", "https") or not host or parts.path not in ("", "/"):
        raise InvalidError(
            f"{name}: this is not an HTTP proxy's address; write http://[USER:PASSWORD@]HOST:PORT, or none"
        )
    return Proxy(scheme=parts.scheme, host=host, port=port, user=user, password=password)


def _spared(host: str, environ: Mapping[str, str]) -> bool:
    """NO_PROXY, as other programs read it: names, their parents with or without a dot, or `*` for all."""
    text = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    for each in (part.strip().lower().lstrip(".") for part in text.split(",")):
        if each and (each == "*" or host.lower() == each or host.lower().endswith(f".{each}")):
            return True
    return False
