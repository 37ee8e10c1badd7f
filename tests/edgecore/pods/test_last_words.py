"""What ended containers leave to be told."""

from __future__ import annotations

from pathlib import Path

from edgecore.pods.last_words import last_words, make_words_file, words_file
from tests.edgecore.pods.pods_of import container, ended

FALLING_BACK = container(terminationMessagePolicy="FallbackToLogsOnError")


def log_of(tmp_path: Path, *lines: str) -> Path:
    log = tmp_path / "0.log"
    log.write_text("".join(f"2026-01-01T00:00:00Z stdout {line}\n" for line in lines))
    return log


def test_the_file_of_a_run_comes_first_and_is_cut(tmp_path: Path) -> None:
    file = words_file(tmp_path, "app", 3)
    make_words_file(file)
    assert file.stat().st_mode & 0o777 == 0o666
    log = log_of(tmp_path, "F logged")
    assert last_words(FALLING_BACK, ended(code=0), file, log) == "", "it did its work"
    assert last_words(FALLING_BACK, ended(), file, log) == "logged\n"
    assert last_words(container(), ended(), file, log) == ""
    file.write_text("x" * 5000)
    assert last_words(FALLING_BACK, ended(), file, log) == "x" * 4096


def test_of_a_log_the_last_lines_are_told(tmp_path: Path) -> None:
    log = log_of(tmp_path, *(f"F line {number}" for number in range(200)), "P half ", "F of it")
    words = last_words(FALLING_BACK, ended(), tmp_path / "none", log)
    assert words.startswith("line 122\n") and words.endswith("line 199\nhalf of it\n")
    long = log_of(tmp_path, *(f"F {number % 10}{'y' * 200}" for number in range(50)))
    assert len(last_words(FALLING_BACK, ended(), tmp_path / "none", long)) == 2048
    assert last_words(FALLING_BACK, ended(), tmp_path / "none", tmp_path / "nowhere") == ""


def test_a_link_in_the_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the gateway")
    (tmp_path / "words").symlink_to(tmp_path / "secret")
    assert last_words(container(), ended(), tmp_path / "words", tmp_path / "nowhere") == ""
