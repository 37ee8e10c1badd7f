"""Whether a text of completion indexes is one (`validateIndexesFormat` of `pkg/apis/batch/validation`). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)


def indexes_fault(text: str, completions: int) -> tuple[int, str]:
    """How many indexes it has, and what is wrong with it; "" for nothing."""
    total, last = 0, -1
    for low, high, fault in _spans(text, completions):
        if fault:
            return 0, fault
        if last >= low:
            return 0, f"non-increasing order, previous: {last}, current: {low}"
        total, last = total + high - low + 1, high
    return total, ""


def overlap_fault(completed: str, failed: str, completions: int) -> str:
    """What is wrong with an index that is in both; parts that are none are told of elsewhere."""
    done = [(low, high) for low, high, fault in _spans(completed, completions) if not fault]
    lost = [(low, high) for low, high, fault in _spans(failed, completions) if not fault]
    mine = theirs = 0
    while mine < len(done) and theirs < len(lost):
        (low, high), (lost_low, lost_high) = done[mine], lost[theirs]
        if low <= lost_high and lost_low <= high:
            return f"failedIndexes and completedIndexes overlap at index: {max(low, lost_low)}"
        if low <= lost_low:
            mine += 1
        else:
            theirs += 1
    return ""


def _spans(text: str, completions: int) -> Iterator[tuple[int, int, str]]:
    """First and last of each part, and what is wrong with it."""
    for part in text.split(",") if text else ():
        ends = part.split("-")
        if len(ends) > 2:
            why = "violates the requirement that an index interval can have at most two parts separated by '-'"
            yield 0, 0, f'the fragment "{part}" {why}'
            continue
        fault = next((found for found in (_end_fault(end, completions) for end in ends) if found), "")
        if fault:
            yield 0, 0, fault
            continue
        low, high = int(ends[0]), int(ends[-1])
        if len(ends) == 2 and low >= high:
            fault = f"non-increasing order, previous: {low}, current: {high}"
        yield low, high, fault


def _end_fault(text: str, completions: int) -> str:
    if not _NUMBER.fullmatch(text):
        return f'cannot convert string to integer for index: "{text}"'
    return f'too large index: "{text}"' if int(text) >= completions else ""
