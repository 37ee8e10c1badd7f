import argparse
from pathlib import Path

import pytest

from skerry.errors import InvalidError
from skerry.settings import Settings, add_arguments, resolve, setting, suspects


class Own(Settings):
    data: Path = setting(help="where everything is kept")
    https_port: int = setting(6443, help="port of the API", low=0, high=65535)
    log_level: str = setting("info", help="how much to say", choices=("debug", "info"))
    names: tuple[str, ...] = setting((), help="more names")
    quiet: bool = setting(default=False, help="say less")
    ratio: float = setting(0.5, help="share", low=0, high=1)


def parsed(*argv: str) -> dict[str, object]:
    parser = argparse.ArgumentParser()
    add_arguments(parser, Own)
    return vars(parser.parse_args(list(argv)))


def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(tmp_path: Path):
    file = tmp_path / "skerry.yaml"
    file.write_text("https_port: 1\nlog-level: debug\nnames: [a, b]\nquiet: true\nratio: 1\n")
    environ = {"SKERRY_HTTPS_PORT": "2", "SKERRY_RATIO": "0.25", "SKERRY_CONFIG": str(file)}
    assert resolve(Own, parsed("--data", "/d", "--https-port", "3"), environ) == Own(
        data=Path("/d"), https_port=3, log_level="debug", names=("a", "b"), quiet=True, ratio=0.25
    )
    assert resolve(Own, parsed("--data", "/d"), environ).https_port == 2
    assert resolve(Own, parsed("--data", "/d", "--config", str(file)), {}).https_port == 1
    assert resolve(Own, parsed("--data", "/d"), {}) == Own(data=Path("/d"))


def test_null_in_the_file_is_not_set(tmp_path: Path):
    file = tmp_path / "skerry.yaml"
    file.write_text("data: /d\nhttps_port: null\nlog-level:\nnames: ~\n")
    assert resolve(Own, parsed("--config", str(file)), {}) == Own(data=Path("/d"))
    file.write_text("data: null\n")
    with pytest.raises(InvalidError, match=r"--data .* is required"):
        resolve(Own, parsed("--config", str(file)), {})
    file.write_text("data: /d\nnames: [a, null]\n")
    with pytest.raises(InvalidError, match=r"names in .*: one of the items is empty"):
        resolve(Own, parsed("--config", str(file)), {})


def test_lists_come_from_repeated_flags_or_commas():
    assert resolve(Own, parsed("--data", "d", "--names", "a,b", "--names", "c"), {}).names == ("a", "b", "c")
    assert resolve(Own, parsed("--data", "d"), {"SKERRY_NAMES": "a, b"}).names == ("a", "b")


@pytest.mark.parametrize(
    ("argv", "environ", "said"),
    [
        ((), {}, "--data (or SKERRY_DATA) is required: where everything is kept"),
        (("--data", "d", "--https-port", "http"), {}, "--https-port: 'http' is not a whole number"),
        (("--data", "d"), {"SKERRY_HTTPS_PORT": "70000"}, "SKERRY_HTTPS_PORT: 70000 is above 65535"),
        (("--data", "d"), {"SKERRY_HTTPS_PORT": "-1"}, "SKERRY_HTTPS_PORT: -1 is below 0"),
        (("--data", "d"), {"SKERRY_LOG_LEVEL": "loud"}, "SKERRY_LOG_LEVEL: 'loud' is not one of debug, info"),
        (("--data", "d"), {"SKERRY_QUIET": "maybe"}, "SKERRY_QUIET: 'maybe' is neither true nor false"),
        (("--data", "d", "--ratio", "half"), {}, "--ratio: 'half' is not a number"),
        (("--data", "d", "--ratio", "nan"), {}, "--ratio: 'nan' is not a number"),
        (("--data", "d"), {"SKERRY_RATIO": "inf"}, "SKERRY_RATIO: 'inf' is not a number"),
        (("--data", ""), {}, "--data: a path is wanted, not an empty text"),
    ],
)
def test_a_value_that_can_not_be_understood_is_refused_with_its_place(
    argv: tuple[str, ...], environ: dict[str, str], said: str
):
    with pytest.raises(InvalidError) as caught:
        resolve(Own, parsed(*argv), environ)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("htps_port: 1", "unknown setting 'htps_port'; did you mean https_port?"),
        ("- a", "must map names to values"),
        ("a: [", "is not YAML"),
        ("a: 2020-13-45", "is not YAML"),
        ("https_port: true", "is not a whole number"),
        ("log_level: [info]", "one text is wanted"),
    ],
)
def test_a_file_that_can_not_be_understood_is_refused(tmp_path: Path, text: str, said: str):
    file = tmp_path / "skerry.yaml"
    file.write_text(text)
    with pytest.raises(InvalidError, match=said.replace("?", r"\?")):
        resolve(Own, parsed("--data", "d", "--config", str(file)), {})
    with pytest.raises(InvalidError, match="cannot read the settings file"):
        resolve(Own, parsed("--data", "d", "--config", str(tmp_path / "none.yaml")), {})


def test_help_names_the_variable_the_default_and_whether_it_is_required():
    parser = argparse.ArgumentParser()
    add_arguments(parser, Own)
    text = " ".join(parser.format_help().split())
    assert "port of the API (default 6443; SKERRY_HTTPS_PORT)" in text
    assert "where everything is kept (required; SKERRY_DATA)" in text
    assert "--no-quiet" in text


def test_a_variable_that_nearly_spells_a_setting_is_pointed_out():
    environ = {"SKERRY_HTPS_PORT": "1", "SKERRY_HTTPS_PORT": "1", "SKERRY_KUBECONFIG": "k", "HTPS_PORT": "1"}
    said = "SKERRY_HTPS_PORT is not a setting and has no effect; did you mean SKERRY_HTTPS_PORT?"
    assert suspects(Own, environ) == [said]


def test_a_map_in_the_file_is_a_list_of_names_with_values(tmp_path: Path):
    file = tmp_path / "skerry.yaml"
    file.write_text("data: /d\nnames: {memory.available: 64Mi, nodefs.available: 10%}\n")
    found = resolve(Own, parsed("--config", str(file)), {}).names
    assert found == ("memory.available=64Mi", "nodefs.available=10%")
    file.write_text("data: /d\nnames: {a: [b]}\n")
    with pytest.raises(InvalidError, match=r"names in .*: one text is wanted"):
        resolve(Own, parsed("--config", str(file)), {})
