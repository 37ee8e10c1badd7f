"""Where the cloud is and who we are there: kubeconfig files, as kubectl reads them.

Only what Skerry writes and people commonly have is understood: a server, its CA, and a client certificate or a
bearer token. Exec and auth-provider plugins are refused by name rather than ignored.
"""

from __future__ import annotations

import base64
import binascii
import ssl
import tempfile
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from skerry.errors import BadRequestError, NotFoundError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, bool_at, dig, maps_at, str_at


class Cluster(Frozen):
    """One way to reach one API server."""

    host: str
    port: int
    path: str
    tls: ssl.SSLContext | None
    token: str
    namespace: str
    ca_pem: bytes
    context: str


def load(path: Path, context: str = "") -> Cluster:
    """Read the kubeconfig at `path`. Raises `NotFoundError` and `BadRequestError` that say what to mend."""
    import yaml  # here, because the commands that talk to a local agent never need it

    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFoundError(
            f"no kubeconfig at {path}: name one with --kubeconfig, or the cloud's data directory with --data"
        ) from None
    except OSError as error:
        raise BadRequestError(f"can't read the kubeconfig {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadRequestError(f"{path} is not a kubeconfig: it is not text in UTF-8") from error
    try:
        config = cast(Json, yaml.safe_load(text))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadRequestError(f"{path} is not YAML: {error}") from error
    if not isinstance(config, dict):
        raise BadRequestError(f"{path} is not a kubeconfig: it should be a map with clusters, users and contexts")
    return _cluster(path, config, context)


def _cluster(path: Path, config: JsonObject, context_name: str) -> Cluster:
    name = context_name or str_at(config, "current-context")
    context = _named(path, config, "contexts", name, "context")
    cluster = _named(path, config, "clusters", str_at(context, "cluster"), "cluster")
    user_name = str_at(context, "user")
    user = _named(path, config, "users", user_name, "user") if user_name else {}
    for plugin in ("exec", "auth-provider"):
        if plugin in user:
            raise BadRequestError(f"{path}: user {user_name!r} uses {plugin}, which skerry does not run")
    scheme, host, port, prefix = _address(path, str_at(cluster, "server"))
    ca = _data(path, cluster, "certificate-authority")
    tls = _tls(path, cluster, user, ca) if scheme == "https" else None
    return Cluster(
        host=host,
        port=port or (443 if tls else 80),
        path=prefix,
        tls=tls,
        token=_token(path, user),
        namespace=str_at(context, "namespace") or "default",
        ca_pem=ca,
        context=name,
    )


def _address(path: Path, text: str) -> tuple[str, str, int, str]:
    """Scheme, host, port (0: the scheme's own) and path of a server."""
    try:
        server = urlsplit(text)
        port = server.port or 0
    except ValueError as error:
        raise BadRequestError(f"{path}: clusters[].cluster.server is {text!r}: {error}") from error
    if server.scheme not in ("http", "https") or not server.hostname:
        raise BadRequestError(f"{path}: clusters[].cluster.server is {text!r}, not a URL")
    return server.scheme, server.hostname, port, server.path.rstrip("/")


def _named(path: Path, config: JsonObject, section: str, name: str, word: str) -> JsonObject:
    for entry in maps_at(config, section):
        if str_at(entry, "name") == name:
            value = dig(entry, word)
            return value if isinstance(value, dict) else {}
    known = ", ".join(str_at(entry, "name") for entry in maps_at(config, section)) or "none"
    raise BadRequestError(f"{path}: no {word} named {name!r} in {section} (there: {known})")


def _data(path: Path, section: JsonObject, field: str) -> bytes:
    """A PEM given inline as base64 (`field`-data) or as a file beside the kubeconfig."""
    inline = str_at(section, f"{field}-data")
    if inline:
        try:
            return base64.b64decode(inline, validate=True)
        except binascii.Error as error:
            raise BadRequestError(f"{path}: {field}-data is not base64") from error
    file = str_at(section, field)
    return _read(path, file, field) if file else b""


def _read(path: Path, file: str, field: str) -> bytes:
    try:
        return (path.parent / file).read_bytes()
    except OSError as error:
        raise BadRequestError(f"{path}: {field} names {file}: {error.strerror}") from error


def _token(path: Path, user: JsonObject) -> str:
    file = str_at(user, "tokenFile")
    if file:
        return _read(path, file, "tokenFile").decode().strip()
    return str_at(user, "token")


def _tls(path: Path, cluster: JsonObject, user: JsonObject, ca: bytes) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=ca.decode("ascii") if ca else None)
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise BadRequestError(f"{path}: certificate-authority holds no certificate in PEM") from error
    if bool_at(cluster, "insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate = _data(path, user, "client-certificate")
    key = _data(path, user, "client-key")
    if certificate and key:
        _load_chain(path, context, certificate, key)
    return context


def _load_chain(path: Path, context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """`ssl` loads keys from files only; the file is private (0600) and gone before this returns."""
    with tempfile.NamedTemporaryFile(prefix="skerry-", suffix=".pem") as file:
        file.write(certificate + b"\n" + key)
        file.flush()
        try:
            context.load_cert_chain(file.name)
        except ssl.SSLError as error:
            raise BadRequestError(f"{path}: client certificate and key don't fit together") from error
