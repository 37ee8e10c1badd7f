"""What annotations ask of the proxy, as far as we do it. Pure: texts in, options and faults out.

The names are those of ingress-nginx (`nginx.ingress.kubernetes.io/`), under which people have them; the same below
`ingress.skerry.dev/` come first. What is asked for and not done is always said. Where what is not done would protect
an app (authentication, a snippet that nobody here understands, a range of addresses that can't be read), the Ingress
is refused: an app must not be open because an annotation was passed over.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

from skerry.frozen import Frozen, replace

PREFIXES: Final = ("nginx.ingress.kubernetes.io/", "ingress.skerry.dev/")
"""A later one has the say."""
Protocol: TypeAlias = Literal["http", "https", "grpc", "grpcs"]
RANGES_MAX: Final = 256
SECONDS_MAX: Final = 7 * 86_400
VALUE_LENGTH_MAX: Final = 8192
_SIZES: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_PROTOCOLS: Final[Mapping[str, Protocol]] = {
    "HTTP": "http",
    "AUTO_HTTP": "http",
    "HTTPS": "https",
    "GRPC": "grpc",
    "GRPCS": "grpcs",
}
_PROTECTING: Final = re.compile(
    r"auth-.*|.*snippet|satisfy|.*modsecurity.*|enable-global-auth|enable-access-log-filter|canary"
    r"|proxy-ssl-secret|proxy-ssl-verify"
)
"""What an Ingress with it must not be served without."""
_COOKIE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_URL: Final = re.compile(r"[A-Za-z0-9._~:/?#@!&()*+,;=%\[\]-]{1,1024}")
_PATH: Final = re.compile(r"/[A-Za-z0-9._~/-]{0,255}")
_CAPTURE: Final = re.compile(r"(/[A-Za-z0-9._~/-]{0,255})\$([12])")


class Sticky(Frozen):
    """A cookie by which a client stays with its pod."""

    name: str = "INGRESSCOOKIE"
    age_s: int = 0
    """0: as long as the browser runs."""
    secure: bool = False
    same_site: Literal["", "Lax", "Strict", "None"] = ""


class Redirect(Frozen):
    """Where clients are sent instead."""

    url: str
    code: int


class Rewrite(Frozen):
    """The path that the app is asked for."""

    path: str
    capture: int = 0
    """Of the path's pattern, what follows `path`; 0: nothing does, whatever was asked for."""


class Options(Frozen):
    """Of one Ingress, or of a whole class."""

    ssl_redirect: bool = True
    """Where the host has a certificate."""
    force_ssl_redirect: bool = False
    """And where it has none."""
    rewrite: Rewrite | None = None
    body_bytes_max: int = 0
    """0: any."""
    protocol: Protocol = "http"
    allowed: tuple[str, ...] = ()
    """Networks; () for all."""
    denied: tuple[str, ...] = ()
    sticky: Sticky | None = None
    redirect: Redirect | None = None
    passthrough: bool = False
    """TLS goes to the app as it is: nobody here has its key, nor sees a request."""
    connect_s: int = 5
    answer_s: int = 60
    """How long an app may be silent, or not take what is sent."""


class Fault(Frozen):
    """Something that is not done as it was asked for."""

    name: str
    why: str
    refuses: bool = False
    """Nothing of the Ingress is served."""

    @property
    def text(self) -> str:
        return f"annotation {self.name}: {self.why}"


class _BadValueError(ValueError):
    """Inside this module: says what a value has to be."""


def options_of(annotations: Mapping[str, str], defaults: Mapping[str, str]) -> tuple[Options, tuple[Fault, ...]]:
    """`defaults` have names without a prefix (a class's ConfigMap)."""
    told = dict(defaults)
    for prefix in PREFIXES:
        told |= {name.removeprefix(prefix): value for name, value in annotations.items() if name.startswith(prefix)}
    options, faults = Options(), list[Fault]()
    for name, value in sorted(told.items()):
        try:
            options = _applied(options, name, value.strip()[:VALUE_LENGTH_MAX])
        except _BadValueError as error:
            refuses = name in _MUST_BE_READ
            faults.append(Fault(name=name, why=f"{value[:80]!r}: {error}{_served(refuses=refuses)}", refuses=refuses))
        except KeyError:
            refuses = _PROTECTING.fullmatch(name) is not None and value not in ("false", "off")
            faults.append(Fault(name=name, why=f"not supported{_served(refuses=refuses)}", refuses=refuses))
    return options, tuple(_unused(told, faults))


def _unused(told: Mapping[str, str], faults: list[Fault]) -> Iterator[Fault]:
    yield from faults
    if told.get("use-regex") == "true" and "rewrite-target" not in told:
        yield Fault(name="use-regex", why="not supported: paths are Exact or Prefix")
    if "affinity" not in told:
        for name in sorted(told):
            if name.startswith("session-cookie-"):
                yield Fault(name=name, why="of no use without affinity: cookie")


def _served(*, refuses: bool) -> str:
    return "; the Ingress is not served without it" if refuses else "; ignored"


def _applied(options: Options, name: str, value: str) -> Options:
    """Raises `KeyError` for an annotation that is not known here, `_BadValueError`."""
    return _READERS[name](options, value)


# --- one annotation each ----------------------------------------------------------------------------------


def _boolean(value: str) -> bool:
    if value not in ("true", "false"):
        raise _BadValueError("write true or false")
    return value == "true"


def _seconds(value: str) -> int:
    text = value.removesuffix("s")
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= SECONDS_MAX):
        raise _BadValueError(f"write seconds from 1 to {SECONDS_MAX}")
    return int(text)


def _bytes(value: str) -> int:
    found = re.fullmatch(r"([0-9]{1,12})([kmg]?)", value.lower(), re.ASCII)
    if found is None:
        raise _BadValueError("write a size, as 8m; 0 for any")
    return min(int(found[1]) * _SIZES[found[2]], 1 << 50)


def _ranges(value: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for text in value.split(","):
        try:
            found[str(ipaddress.ip_network(text.strip(), strict=False))] = None
        except ValueError:
            raise _BadValueError(f"{text.strip()[:60]!r} is no network, as 192.0.2.0/24") from None
    if len(found) > RANGES_MAX:
        raise _BadValueError(f"more than {RANGES_MAX} networks")
    return tuple(found)


def _protocol(value: str) -> Protocol:
    found = _PROTOCOLS.get(value.upper())
    if found is None:
        raise _BadValueError(f"write one of {', '.join(_PROTOCOLS)}")
    return found


def _redirect(options: Options, value: str, code: int) -> Options:
    try:
        parts = urlsplit(value)
    except ValueError:
        parts = urlsplit("")
    if not _URL.fullmatch(value) or parts.scheme not in ("http", "https") or not parts.netloc:
        raise _BadValueError("write a URL, http://… or https://…, percent-encoded")
    return replace(options, redirect=Redirect(url=value, code=code))


def _permanent(options: Options, value: str) -> Options:
    code = 301 if options.redirect is None else options.redirect.code
    return _redirect(options, value, code)


def _temporary(options: Options, value: str) -> Options:
    return options if options.redirect and options.redirect.url else _redirect(options, value, 302)


def _permanent_code(options: Options, value: str) -> Options:
    if value not in ("301", "302", "303", "307", "308"):
        raise _BadValueError("write 301, 302, 303, 307 or 308")
    if options.redirect is None:
        return options  # without permanent-redirect, which comes before it, it says nothing
    return replace(options, redirect=replace(options.redirect, code=int(value)))


def _rewrite(options: Options, value: str) -> Options:
    if _PATH.fullmatch(value):
        return replace(options, rewrite=Rewrite(path=value))
    found = _CAPTURE.fullmatch(value)
    if found is None:
        raise _BadValueError("write a path, or one with $1 or $2 at its end")
    return replace(options, rewrite=Rewrite(path=found[1], capture=int(found[2])))


def _affinity(options: Options, value: str) -> Options:
    if value != "cookie":
        raise _BadValueError("write cookie")
    return replace(options, sticky=options.sticky or Sticky())


def _cookie_name(options: Options, value: str) -> Options:
    if not _COOKIE.fullmatch(value):
        raise _BadValueError("write letters, digits, - and _")
    return options if options.sticky is None else replace(options, sticky=replace(options.sticky, name=value))


def _same_site(value: str) -> Literal["Lax", "Strict", "None"]:
    if value not in ("Lax", "Strict", "None"):
        raise _BadValueError("write Lax, Strict or None")
    return value


def _cookie(**changes: Callable[[str], object]) -> Callable[[Options, str], Options]:
    ((field, read),) = changes.items()

    def apply(options: Options, value: str) -> Options:
        found = read(value)
        return (
            options if options.sticky is None else replace(options, sticky=replace(options.sticky, **{field: found}))
        )

    return apply


def _one(**changes: Callable[[str], object]) -> Callable[[Options, str], Options]:
    ((field, read),) = changes.items()
    return lambda options, value: replace(options, **{field: read(value)})


def _sending(options: Options, value: str) -> Options:
    """Reading and sending have one timeout at the proxy: the longer of the two."""
    return replace(options, answer_s=max(_seconds(value), options.answer_s))


def _as_is(options: Options, _value: str) -> Options:
    """What is so anyway, or is read together with another."""
    return options


_READERS: Final[Mapping[str, Callable[[Options, str], Options]]] = {
    "affinity": _affinity,
    "affinity-mode": _as_is,
    "allowlist-source-range": _one(allowed=_ranges),
    "backend-protocol": _one(protocol=_protocol),
    "denylist-source-range": _one(denied=_ranges),
    "force-ssl-redirect": _one(force_ssl_redirect=_boolean),
    "permanent-redirect": _permanent,
    "permanent-redirect-code": _permanent_code,
    "proxy-body-size": _one(body_bytes_max=_bytes),
    "proxy-connect-timeout": _one(connect_s=_seconds),
    "proxy-read-timeout": _one(answer_s=_seconds),
    "proxy-send-timeout": _sending,
    "rewrite-target": _rewrite,
    "session-cookie-expires": _as_is,
    "session-cookie-max-age": _cookie(age_s=_seconds),
    "session-cookie-name": _cookie_name,
    "session-cookie-samesite": _cookie(same_site=_same_site),
    "session-cookie-secure": _cookie(secure=_boolean),
    "ssl-passthrough": _one(passthrough=_boolean),
    "ssl-redirect": _one(ssl_redirect=_boolean),
    "temporal-redirect": _temporary,
    "use-regex": _as_is,
    "whitelist-source-range": _one(allowed=_ranges),
}
"""In alphabetical order they are read: `affinity` before its cookie, a redirect before its code."""
_MUST_BE_READ: Final = frozenset(
    {
        "allowlist-source-range",
        "denylist-source-range",
        "whitelist-source-range",
        "rewrite-target",
        "backend-protocol",
        "ssl-passthrough",
    }
)
"""Without these an app would be open, or be asked for something else than was meant."""
