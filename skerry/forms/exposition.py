"""Prometheus' text format 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from skerry.frozen import Frozen

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Sample(Frozen, kw_only=False):
    """One line."""

    value: float
    labels: tuple[tuple[str, str], ...] = ()
    suffix: str = ""
    """Of a histogram's lines: `_bucket`, `_sum`, `_count`."""
    at_ms: int = 0
    """When it was so; 0: now."""


class Family(Frozen, kw_only=False):
    """All samples of one name."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    samples: tuple[Sample, ...]


def exposition(families: Iterable[Family]) -> bytes:
    """The page. A family without samples is not named."""
    lines: list[str] = []
    for family in families:
        if not family.samples:
            continue
        lines += [f"# HELP {family.name} {_help(family.help)}", f"# TYPE {family.name} {family.type}"]
        lines += [_line(family.name, sample) for sample in family.samples]
    return ("\n".join(lines) + "\n").encode()


def gauge(name: str, text: str, value: float) -> Family:
    return Family(name, "gauge", text, (Sample(value),))


def counter(name: str, text: str, value: float) -> Family:
    return Family(name, "counter", text, (Sample(value),))


def histogram(name: str, text: str, *, bounds: tuple[float, ...], counts: list[int], total: float) -> Family:
    """`counts`: of each bound those up to it and over the one before, and last those over all."""
    assert len(counts) == len(bounds) + 1
    samples: list[Sample] = []
    below = 0
    for bound, count in zip((*bounds, float("inf")), counts, strict=True):
        below += count
        samples.append(Sample(below, (("le", _number(bound)),), "_bucket"))
    return Family(name, "histogram", text, (*samples, Sample(total, (), "_sum"), Sample(below, (), "_count")))


def _line(name: str, sample: Sample) -> str:
    labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in sample.labels)
    shown = f"{name}{sample.suffix}{{{labels}}}" if labels else f"{name}{sample.suffix}"
    return f"{shown} {_number(sample.value)}" + (f" {sample.at_ms}" if sample.at_ms else "")


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(float(value))


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
