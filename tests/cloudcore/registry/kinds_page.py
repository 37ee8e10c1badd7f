"""The page that lists the kinds served, as the table of kinds has them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cloudcore.registry.kinds import builtin_kinds
from skerry.objects.scheme import Kind

PAGE: Final = Path(__file__).parents[3] / "docs" / "reference" / "kinds.md"
_HEAD: Final = """# Kinds served, and who acts on them

Every kind below is stored, validated, defaulted, watched and published as Kubernetes 1.36 does it; devices are
KubeEdge's. *Acted on: no* means that nothing in this control plane acts on such objects yet: they are kept and
served, and whoever creates one is told in a warning. Kinds of CustomResourceDefinitions come on top; their
`x-kubernetes-validations` (CEL) are kept and published, but not evaluated. Which of Kubernetes' conformance tests
hold is on [a page of its own](conformance.md).

This page is written by `docs/tools/make_kinds_page.py` from `cloudcore/registry/kinds.py`.

| Kind | Resource | Version | Short | Subresources | Acted on |
|---|---|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    return _HEAD + "".join(_row(kind) for kind in builtin_kinds())


def _row(kind: Kind) -> str:
    acted_on = "answers" if kind.verbs == ("create",) else "yes" if kind.acted_on else "no"
    short, below = ", ".join(kind.short_names), ", ".join(sorted(kind.subresources))
    return f"| {kind.kind} | {kind.resource} | {kind.version} | {short} | {below} | {acted_on} |\n"
