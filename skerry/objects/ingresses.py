"""Ingresses, their classes, and what a gateway tells of those that it serves. Pure; keeps nothing.

networking.k8s.io/v1 as it is. Our controller's name is `skerry.dev/ingress`; what the standard leaves to whoever
carries a class out is in annotations of the IngressClass, which only an administrator may write
(docs/decisions/0390): where it is served, and the certificate for hosts that have none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from skerry.errors import BadRequestError, ProtocolError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, encode_object, maps_at, read_json, str_at, strs_at
from skerry.objects.meta import Key, annotations_of, namespace_of
from skerry.objects.names import label_1123_faults, subdomain_faults
from skerry.objects.select import LabelSelector, parse_labels

INGRESSES: Final = "ingresses.networking.k8s.io"
CLASSES: Final = "ingressclasses.networking.k8s.io"
CONTROLLER: Final = "skerry.dev/ingress"
DEFAULT_CLASS: Final = "ingressclass.kubernetes.io/is-default-class"
OLD_CLASS: Final = "kubernetes.io/ingress.class"
"""Annotation of an Ingress in place of `spec.ingressClassName`, from before that field."""
NODE_SELECTOR: Final = "skerry.dev/node-selector"
"""Annotation of an IngressClass: the gateways that serve its Ingresses. None: those whose site has endpoints."""
DEFAULT_CERTIFICATE: Final = "skerry.dev/default-tls-secret"
"""Annotation of an IngressClass: NAMESPACE/NAME of the Secret for hosts without a certificate of their own."""
SERVED: Final = "skerry.dev/ingress"
"""Annotation of a Node: what its gateway tells of the Ingresses that it serves (`IngressReport`)."""
CAN_SERVE: Final = "ingress"
"""What an agent that serves Ingresses says that it can."""
INGRESS_REPORT: Final = "ingress"
"""State of a gateway, keyed by ""."""
SERVED_MAX: Final = 1024
ADDRESSES_MAX: Final = 16
_SECRETS: Final = "secrets"
_CONFIG_MAPS: Final = "configmaps"
_SERVICES: Final = "services"


def class_name_of(ingress: JsonObject) -> str:
    """ "" for an Ingress that is of no class, which nobody serves."""
    return str_at(ingress, "spec", "ingressClassName") or annotations_of(ingress).get(OLD_CLASS, "")


def is_ours(ingress_class: JsonObject | None) -> bool:
    return str_at(ingress_class, "spec", "controller") == CONTROLLER


def is_default_class(ingress_class: JsonObject) -> bool:
    return annotations_of(ingress_class).get(DEFAULT_CLASS) == "true"


def selector_of(ingress_class: JsonObject) -> LabelSelector | None:
    """None for none. Raises `BadRequestError` for one that can't be read."""
    text = annotations_of(ingress_class).get(NODE_SELECTOR, "").strip()
    return parse_labels(text) if text else None


def default_certificate_of(ingress_class: JsonObject) -> Key | None:
    """None for none, or for what is no name."""
    namespace, sign, name = annotations_of(ingress_class).get(DEFAULT_CERTIFICATE, "").strip().partition("/")
    if not sign or label_1123_faults(namespace) or subdomain_faults(name):
        return None
    return Key(_SECRETS, namespace, name)


def parameters_of(ingress_class: JsonObject) -> Key | None:
    """The ConfigMap with defaults for annotations; None for none, or for parameters of another kind."""
    told = ingress_class.get("spec")
    group, kind = str_at(told, "parameters", "apiGroup"), str_at(told, "parameters", "kind")
    namespace, name = str_at(told, "parameters", "namespace"), str_at(told, "parameters", "name")
    if group or kind != "ConfigMap" or not namespace or not name:
        return None
    return Key(_CONFIG_MAPS, namespace, name)


def needed_by_class(ingress_class: JsonObject) -> tuple[Key, ...]:
    found = (parameters_of(ingress_class), default_certificate_of(ingress_class))
    return tuple(key for key in found if key is not None)


def backends_of(ingress: JsonObject) -> Iterator[JsonObject]:
    """Its backends, the default one first."""
    default = ingress.get("spec")
    if isinstance(default, dict) and isinstance(backend := default.get("defaultBackend"), dict):
        yield backend
    for rule in maps_at(ingress, "spec", "rules"):
        for path in maps_at(rule, "http", "paths"):
            backend = path.get("backend")
            if isinstance(backend, dict):
                yield backend


def services_of(ingress: JsonObject) -> tuple[Key, ...]:
    """The Services behind it, each once."""
    namespace = namespace_of(ingress)
    names = dict.fromkeys(str_at(backend, "service", "name") for backend in backends_of(ingress))
    return tuple(Key(_SERVICES, namespace, name) for name in names if name)


def secrets_of(ingress: JsonObject) -> tuple[Key, ...]:
    """The Secrets with its certificates, each once."""
    namespace = namespace_of(ingress)
    names = dict.fromkeys(str_at(each, "secretName") for each in maps_at(ingress, "spec", "tls"))
    return tuple(Key(_SECRETS, namespace, name) for name in names if name)


class IngressReport(Frozen):
    """What a gateway serves, and where it is reached: state, told when it changes."""

    addresses: tuple[str, ...]
    served: tuple[str, ...]
    """`namespace/name/uid` of each, in their order."""

    def encode(self) -> bytes:
        return encode_object({"addresses": [*self.addresses], "served": [*self.served]})

    @classmethod
    def decode(cls, body: JsonObject) -> IngressReport:
        """Raises `ProtocolError` for more than a gateway can serve."""
        addresses, served = strs_at(body, "addresses"), strs_at(body, "served")
        if len(served) > SERVED_MAX or len(addresses) > ADDRESSES_MAX:
            raise ProtocolError(f"{INGRESS_REPORT}: more than {SERVED_MAX} Ingresses or {ADDRESSES_MAX} addresses")
        if any(len(each) > 400 for each in (*addresses, *served)):
            raise ProtocolError(f"{INGRESS_REPORT}: a name or an address is too long")
        return cls(addresses=tuple(addresses), served=tuple(served))


NOTHING_SERVED: Final = IngressReport(addresses=(), served=())


def served_by(node: JsonObject | None) -> IngressReport:
    """What the gateway told last, as its Node has it."""
    text = annotations_of(node).get(SERVED, "") if node is not None else ""
    if not text:
        return NOTHING_SERVED
    try:
        told = read_json(text)
        return IngressReport.decode(told) if isinstance(told, dict) else NOTHING_SERVED
    except (BadRequestError, ProtocolError):
        return NOTHING_SERVED  # written by hand
