"""What an ended container left to be told in its pod's status: a file of its own, or the end of its log.

(Kubernetes API: terminationMessagePath, terminationMessagePolicy.) The file is below the pod's directory, one for
each run, and goes with the pod.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from edgecore.pods.containers import all_of, has_failed
from edgecore.pods.port import ContainerState
from skerry.objects.json import JsonObject, str_at

FILE_BYTES_MAX: Final = 4096
LOG_BYTES_MAX: Final = 2048
LOG_LINES_MAX: Final = 80
DEFAULT_PATH: Final = "/dev/termination-log"


class LastWords:
    """Of one pod's runs. Keeps what they said: each is read once."""

    def __init__(self, directory: Path, logs: Path) -> None:
        """The pod's own."""
        self._directory = directory
        self._logs = logs
        self._words: dict[str, str] = {}

    def of(self, pod: JsonObject, runs: Iterable[ContainerState]) -> Mapping[str, str]:
        """What those that have ended left to be told, by id."""
        ended = {state.id: state for state in runs if state.phase == "exited"}
        specs = {one.name: one.spec for one in all_of(pod)}
        for state in ended.values():
            if state.id not in self._words and state.name in specs:
                file = words_file(self._directory, state.name, state.attempt)
                log = self._logs / state.name / f"{state.attempt}.log"
                self._words[state.id] = last_words(specs[state.name], state, file, log)
        self._words = {each: words for each, words in self._words.items() if each in ended}
        return self._words


def words_file(directory: Path, name: str, attempt: int) -> Path:
    """Where a run leaves its words; `directory` is the pod's own."""
    return directory / "containers" / name / str(attempt)


def make_words_file(file: Path) -> None:
    """For whatever user the container has. Raises `OSError`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    file.chmod(0o666)


def last_words(spec: JsonObject, run: ContainerState, file: Path, log: Path) -> str:
    """Of a run that has ended; "" for nothing."""
    words = _head(file)
    if words or str_at(spec, "terminationMessagePolicy") != "FallbackToLogsOnError" or not has_failed(run):
        return words
    return _tail(log)


def _head(file: Path) -> str:
    try:
        # It was the container's to write: it may be a link now, or a pipe that nobody writes to.
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        return os.read(fd, FILE_BYTES_MAX).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(fd)


def _tail(log: Path) -> str:
    """The last lines of a log in CRI's format, without times."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            # Times and tags are not told: what is read is more than what is kept.
            file.seek(max(size - LOG_BYTES_MAX - LOG_LINES_MAX * 64, 0))
            entries = file.read().split(b"\n")[-LOG_LINES_MAX - 1 :]
    except OSError:
        return ""
    text = b""
    for entry in entries:
        _, _, rest = entry.partition(b" ")
        _, _, rest = rest.partition(b" ")
        tag, space, line = rest.partition(b" ")
        if space:
            text += line if tag == b"P" else line + b"\n"
    return text[-LOG_BYTES_MAX:].decode(errors="replace")
