"""Which strings may be names, labels and keys, and why others may not.

The rules and their words are Kubernetes' (apimachinery `pkg/api/validate/content`): clients and conformance tests
compare the texts. Every check returns the reasons for a refusal, none when the string is good. Pure; keeps nothing.
"""

from __future__ import annotations

import re
from typing import Final

LABEL_LENGTH_MAX: Final = 63
SUBDOMAIN_LENGTH_MAX: Final = 253
PORT_NAME_LENGTH_MAX: Final = 15

_LABEL_1123: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = _LABEL_1123 + r"(\." + _LABEL_1123 + ")*"
_LABEL_1035: Final = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE: Final = "(" + _QUALIFIED + ")?"
_CONFIG_KEY: Final = "[-._a-zA-Z0-9]+"

_LABEL_1123_RE: Final = re.compile(_LABEL_1123)
_SUBDOMAIN_RE: Final = re.compile(_SUBDOMAIN)
_LABEL_1035_RE: Final = re.compile(_LABEL_1035)
_QUALIFIED_RE: Final = re.compile(_QUALIFIED)
_LABEL_VALUE_RE: Final = re.compile(_LABEL_VALUE)
_CONFIG_KEY_RE: Final = re.compile(_CONFIG_KEY)
_PORT_NAME_RE: Final = re.compile("[-a-z0-9]+")

_LABEL_1123_TEXT: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character"
)
_SUBDOMAIN_TEXT: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)
_LABEL_1035_TEXT: Final = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
    "start with an alphabetic character, and end with an alphanumeric character"
)
_QUALIFIED_TEXT: Final = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_LABEL_VALUE_TEXT: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
_CONFIG_KEY_TEXT: Final = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"


def label_1123_faults(text: str) -> list[str]:
    """RFC 1123 label: names of namespaces, containers, volumes."""
    faults = _too_long(text, LABEL_LENGTH_MAX)
    if not _LABEL_1123_RE.fullmatch(text):
        # A name with dots is told about the rule it was probably meant for, as Kubernetes does.
        if _SUBDOMAIN_RE.fullmatch(text):
            return [*faults, "must not contain dots"]
        faults.append(_explained(_LABEL_1123_TEXT, _LABEL_1123, "my-name", "123-abc"))
    return faults


def subdomain_faults(text: str) -> list[str]:
    """RFC 1123 subdomain: names of most kinds of objects."""
    faults = _too_long(text, SUBDOMAIN_LENGTH_MAX)
    if not _SUBDOMAIN_RE.fullmatch(text):
        faults.append(_explained(_SUBDOMAIN_TEXT, _SUBDOMAIN, "example.com"))
    return faults


def label_1035_faults(text: str) -> list[str]:
    """RFC 1035 label: names of services."""
    faults = _too_long(text, LABEL_LENGTH_MAX)
    if not _LABEL_1035_RE.fullmatch(text):
        faults.append(_explained(_LABEL_1035_TEXT, _LABEL_1035, "my-name", "abc-123"))
    return faults


def qualified_name_faults(text: str) -> list[str]:
    """`[prefix/]name`: keys of labels and annotations, finalizers, resource names, taint keys."""
    parts = text.split("/")
    if len(parts) > 2:
        shape = _explained(_QUALIFIED_TEXT, _QUALIFIED, "MyName", "my.name", "123-abc")
        return [
            f"a valid label key {shape} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]
    faults: list[str] = []
    if len(parts) == 2:
        prefix = parts[0]
        reasons = subdomain_faults(prefix) if prefix else ["must be non-empty"]
        faults += [f"prefix part {reason}" for reason in reasons]
    name = parts[-1]
    if not name:
        faults.append("name part must be non-empty")
    faults += [f"name part {reason}" for reason in _too_long(name, LABEL_LENGTH_MAX)]
    if not _QUALIFIED_RE.fullmatch(name):
        faults.append("name part " + _explained(_QUALIFIED_TEXT, _QUALIFIED, "MyName", "my.name", "123-abc"))
    return faults


def label_key_faults(text: str) -> list[str]:
    """A label key is a qualified name."""
    return qualified_name_faults(text)


def label_value_faults(text: str) -> list[str]:
    faults = _too_long(text, LABEL_LENGTH_MAX)
    if not _LABEL_VALUE_RE.fullmatch(text):
        faults.append(_explained(_LABEL_VALUE_TEXT, _LABEL_VALUE, "MyValue", "my_value", "12345"))
    return faults


def config_key_faults(text: str) -> list[str]:
    """A key of a ConfigMap's or a Secret's data: it becomes a file's name, so the path steps are refused."""
    faults = _too_long(text, SUBDOMAIN_LENGTH_MAX)
    if not _CONFIG_KEY_RE.fullmatch(text):
        faults.append(_explained(_CONFIG_KEY_TEXT, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    if text == ".":
        faults.append("must not be '.'")
    elif text == "..":
        faults.append("must not be '..'")
    elif text.startswith(".."):
        faults.append("must not start with '..'")
    return faults


def finalizer_faults(text: str) -> list[str]:
    """A finalizer is a qualified name; only Kubernetes' own have no prefix."""
    faults = qualified_name_faults(text)
    if not faults and "/" not in text and text not in STANDARD_FINALIZERS:
        return ["name is neither a standard finalizer name nor is it fully qualified"]
    return faults


STANDARD_FINALIZERS: Final = frozenset({"kubernetes", "orphan", "foregroundDeletion"})


def port_name_faults(text: str) -> list[str]:
    """IANA service name (RFC 6335), in lower case."""
    faults = _too_long(text, PORT_NAME_LENGTH_MAX)
    if not _PORT_NAME_RE.fullmatch(text):
        faults.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not any("a" <= char <= "z" for char in text):
        faults.append("must contain at least one letter (a-z)")
    if "--" in text:
        faults.append("must not contain consecutive hyphens")
    if text.startswith("-") or text.endswith("-"):
        faults.append("must not begin or end with a hyphen")
    return faults


_OWN_LABELS: Final = frozenset(
    {
        "kubernetes.io/hostname",
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
        "node-role.kubernetes.io/edge",
    }
)
_OWN_PREFIXES: Final = ("kubelet.kubernetes.io", "node.kubernetes.io")


def node_may_label(key: str) -> bool:
    """Whether a node may give itself the label: Kubernetes' NodeRestriction admission, and the role that every
    gateway has. Anything else under kubernetes.io and k8s.io, `node-restriction.kubernetes.io/` above all, is the
    cloud's to give, because workloads that mustn't come to every node are steered by it."""
    prefix = key.rpartition("/")[0]
    if not any(prefix == domain or prefix.endswith("." + domain) for domain in ("kubernetes.io", "k8s.io")):
        return True
    return key in _OWN_LABELS or any(prefix == own or prefix.endswith("." + own) for own in _OWN_PREFIXES)


def _too_long(text: str, length_max: int) -> list[str]:
    return [f"must be no more than {length_max} characters"] if len(text.encode()) > length_max else []


def _explained(text: str, pattern: str, *examples: str) -> str:
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{text} (e.g. {shown}regex used for validation is '{pattern}')"
