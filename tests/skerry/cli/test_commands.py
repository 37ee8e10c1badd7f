"""The CLI's words: options, durations, ages, kubeconfigs, and errors that say what to mend."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from skerry.cli import kubeconfig
from skerry.cli.client import error_of
from skerry.cli.logs import seconds_of
from skerry.cli.main import main
from skerry.cli.target import EXIT_NOT_FOUND, EXIT_OFFLINE, EXIT_USAGE, exit_code
from skerry.errors import AlreadyExistsError, BadRequestError, ConflictError, InvalidError, NotFoundError


def run(*args: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(args))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.mark.parametrize(
    "command", [(), ("get",), ("apply",), ("describe",), ("logs",), ("link", "cut"), ("delete",)]
)
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    code, output = run(*command, "--help")
    assert code == 0
    assert "Usage:" in output


def test_the_server_may_be_named_before_or_after_the_command(tmp_path: Path) -> None:
    for args in (["--data", str(tmp_path), "get", "pods"], ["get", "pods", "--data", str(tmp_path)]):
        code, output = run(*args)
        assert code == EXIT_NOT_FOUND
        assert "admin.kubeconfig" in output


def test_a_gateway_without_its_agent_says_so(tmp_path: Path) -> None:
    code, output = run("link", "cut", "--socket", str(tmp_path / "none.sock"))
    assert code == EXIT_OFFLINE
    assert "is edgecore running?" in output


def test_an_unknown_output_format_names_the_known_ones() -> None:
    code, output = run("get", "pods", "-o", "xml")
    assert code == EXIT_USAGE
    assert "wide" in output


def test_traffic_of_less_than_the_books_have_is_refused_with_the_reason() -> None:
    for since in ("1m", "59m", "3599s"):
        code, output = run("node", "traffic", "--since", since)
        assert code == EXIT_USAGE
        assert f"--since {since}: the books have whole hours; write 1h or more" in output


def cluster(**fields: str) -> str:
    return json.dumps(
        {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c"}}],
            "clusters": [{"name": "c", "cluster": fields}],
        }
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "not a kubeconfig"),
        ("current-context: x", "no context named 'x'"),
        ("a: [", "is not YAML"),
        ("a: 2020-13-45", "is not YAML"),
        (cluster(server="https://127.0.0.1:99999"), "Port out of range"),
        (cluster(server="https://[::1"), "server is"),
        (cluster(server="ftp://x"), "not a URL"),
        (cluster(**{"server": "https://x", "certificate-authority-data": "aGVsbG8="}), "no certificate in PEM"),
        (cluster(**{"server": "https://x", "certificate-authority-data": "//4="}), "no certificate in PEM"),
        ("\xff", "not text in UTF-8"),
    ],
)
def test_a_broken_kubeconfig_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(BadRequestError, match=message):
        kubeconfig.load(path)


def test_durations() -> None:
    assert [seconds_of(text) for text in ("90s", "15m", "2h", "1d")] == [90, 900, 7200, 86400]
    for text in ("", "s", "0s", "-1s", "10", "1w"):
        with pytest.raises(BadRequestError):
            seconds_of(text)


def test_a_status_becomes_the_error_it_stands_for() -> None:
    assert isinstance(error_of(409, {"reason": "AlreadyExists", "message": "x"}), AlreadyExistsError)
    assert isinstance(error_of(409, {"reason": "Conflict", "message": "x"}), ConflictError)
    assert isinstance(error_of(404, "page not found"), NotFoundError)
    invalid = error_of(422, {"message": "m", "details": {"causes": [{"field": "f", "reason": "r", "message": "t"}]}})
    assert isinstance(invalid, InvalidError)
    assert invalid.causes[0].field == "f"
    assert exit_code(NotFoundError("x")) == EXIT_NOT_FOUND


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_command(shell: str) -> None:
    code, output = run("completion", shell)
    assert code == 0
    assert "skerry" in output
