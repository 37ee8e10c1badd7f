"""Settings: one frozen class per daemon, read once from flags, `SKERRY_*` variables and a file.

What wins, first to last: a flag, a variable, the file, the default. A setting has one name in all three:
`https_port` is `--https-port`, `SKERRY_HTTPS_PORT` and `https_port:` in the file. A value that can't be
understood is refused with the place it came from; nothing is guessed. The module keeps nothing.

    class CloudSettings(Settings):
        data: Path = setting(help="directory for everything that is kept")
        https_port: int = setting(6443, help="TCP port of the API; 0 means any", low=0, high=65535)
"""

from __future__ import annotations

import argparse
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, dataclass_transform

from skerry.errors import InvalidError
from skerry.frozen import Frozen

T = TypeVar("T")

PREFIX: Final = "SKERRY_"
_REQUIRED: Final = object()
"""In the place of a default."""
_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})


class _About(Frozen):
    """What a field says of itself beside its type and default."""

    help: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    default: object
    """`_REQUIRED` where there is none."""


def setting(
    default: object = _REQUIRED,
    *,
    help: str,  # noqa: A002 - argparse's word, and the reader's
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] = (),
) -> Any:
    """A field of `Settings`; without a default it must be given.

    `low` and `high` bound numbers (inclusive); `choices` lists the texts allowed.
    """
    return _About(help=help, low=low, high=high, choices=tuple(choices), default=default)


if TYPE_CHECKING:

    @dataclass_transform(frozen_default=True, kw_only_default=True)
    class Settings: ...

else:

    class _SettingsType(type(Frozen)):
        def __new__(cls, name, bases, body, **options):
            said = {key: value for key, value in body.items() if isinstance(value, _About)}
            for key, about in said.items():
                if about.default is _REQUIRED:
                    del body[key]
                else:
                    body[key] = about.default
            return super().__new__(cls, name, bases, body | {"_said": said}, **options)

    class Settings(Frozen, metaclass=_SettingsType):
        """What a program can be told: a Frozen whose fields are made by `setting`. (As a dataclass of seventy fields
        it took seven milliseconds of each start.)"""


class Described(Frozen):
    """One setting, for a reference page."""

    name: str
    variable: str
    default: str
    help: str


def described(cls: type[object], prefix: str = PREFIX) -> list[Described]:
    """Every setting of a class of them, in order; `prefix` begins its variables."""
    return [
        Described(
            name=name,
            variable=prefix + name.upper(),
            default="required" if about.default is _REQUIRED else _shown(about.default),
            help=about.help,
        )
        for name, about, _ in _fields(cls)
    ]


def add_arguments(parser: argparse.ArgumentParser, cls: type[object], prefix: str = PREFIX) -> None:
    """One flag for each setting, and `--config FILE`."""
    parser.add_argument("--config", metavar="FILE", help="YAML file with settings, by the names of these flags")
    for name, about, kind in _fields(cls):
        flag = "--" + name.replace("_", "-")
        default = "required" if about.default is _REQUIRED else f"default {_shown(about.default)}"
        text = f"{about.help} ({default}; {prefix}{name.upper()})".replace("%", "%%")
        if kind is bool:
            parser.add_argument(flag, dest=name, action=argparse.BooleanOptionalAction, default=None, help=text)
        elif kind is tuple:
            parser.add_argument(flag, dest=name, action="append", metavar="VALUE", default=None, help=text)
        else:
            metavar = "|".join(about.choices) or _METAVARS.get(kind, "TEXT")
            parser.add_argument(flag, dest=name, metavar=metavar, default=None, help=text)


def resolve(cls: type[T], flags: Mapping[str, object], environ: Mapping[str, str], prefix: str = PREFIX) -> T:
    """The settings that flags (`vars()` of parsed arguments), variables and the file named by `--config` or
    `SKERRY_CONFIG` give together; `prefix` stands for SKERRY_ where a program has variables of its own.

    Raises `InvalidError` naming every setting at fault and where it was given.
    """
    named = flags.get("config") or environ.get(f"{prefix}CONFIG")
    values: dict[str, object] = {}
    given: Mapping[str, object] = _read_file(cls, Path(str(named))) if named else {}
    problems: list[str] = []
    for name, about, kind in _fields(cls):
        variable = prefix + name.upper()
        flag = flags.get(name)
        if flag is not None:
            source, raw = "--" + name.replace("_", "-"), flag
        elif variable in environ:
            source, raw = variable, environ[variable]
        elif given.get(name) is not None:  # `name:` and nothing behind it, or null: not set
            source, raw = f"{name} in {named}", given[name]
        else:
            if about.default is _REQUIRED:
                problems.append(f"--{name.replace('_', '-')} (or {variable}) is required: {about.help}")
            continue
        try:
            values[name] = _understood(kind, about, raw)
        except ValueError as error:
            problems.append(f"{source}: {error}")
    if problems:
        raise InvalidError("; ".join(problems))
    return cls(**values)


def suspects(cls: type[object], environ: Mapping[str, str]) -> list[str]:
    """A line for each `SKERRY_*` variable that is no setting but nearly spells one: surely a slip of the pen.

    Others are left in peace: they may be the other daemon's or a script's own.
    """
    known = [PREFIX + "CONFIG", *(each.variable for each in described(cls))]
    lines: list[str] = []
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            by_rest = {each.removeprefix(PREFIX): each for each in known}
            import difflib  # only who errs pays

            close = difflib.get_close_matches(name.removeprefix(PREFIX), by_rest, n=1, cutoff=0.8)
            lines += [f"{name} is not a setting and has no effect; did you mean {by_rest[each]}?" for each in close]
    return lines


def _read_file(cls: type[object], path: Path) -> Mapping[str, object]:
    import yaml  # costs memory that a gateway without a settings file should not pay

    try:
        loaded: object = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidError(f"cannot read the settings file {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidError(f"the settings file {path} is not YAML: {error}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise InvalidError(f"the settings file {path} must map names to values")
    given = {str(key).replace("-", "_"): value for key, value in cast("dict[object, object]", loaded).items()}
    known = [name for name, _, _ in _fields(cls)]
    for name in given:
        if name not in known:
            import difflib

            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise InvalidError(f"the settings file {path} names an unknown setting {name!r}{hint}")
    return given


@cache
def _fields(cls: type[object]) -> list[tuple[str, _About, type]]:
    """Names of the fields, with what they say and the plain type of their annotation."""
    hints = typing.get_type_hints(cls)
    said = cast("dict[str, _About]", getattr(cls, "_said", {}))
    found: list[tuple[str, _About, type]] = []
    for name, about in said.items():
        kind = typing.get_origin(hints[name]) or hints[name]
        assert kind in _READERS, f"{cls.__name__}.{name} has a type that no reader is known for"
        found.append((name, about, kind))
    return found


def _understood(kind: type, about: _About, raw: object) -> object:
    """The value in its type and within its bounds; ValueError in words for people."""
    value = _READERS[kind](raw)
    if about.choices and value not in about.choices:
        raise ValueError(f"{value!r} is not one of {', '.join(about.choices)}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if about.low is not None and value < about.low:
            raise ValueError(f"{value} is below {about.low}")
        if about.high is not None and value > about.high:
            raise ValueError(f"{value} is above {about.high}")
    return value


def _read_int(raw: object) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    try:
        return int(str(raw).strip(), 10)
    except ValueError:
        raise ValueError(f"{raw!r} is not a whole number") from None


def _read_float(raw: object) -> float:
    try:
        value = math.nan if isinstance(raw, bool) else float(str(raw).strip())
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{raw!r} is not a number")
    return value


def _read_bool(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    text = str(raw).strip().lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ValueError(f"{raw!r} is neither true nor false")


def _read_str(raw: object) -> str:
    if raw is None:
        raise ValueError("one of the items is empty")
    if isinstance(raw, dict | list | tuple):
        raise ValueError("one text is wanted, not a list or a map")
    return str(raw)


def _read_path(raw: object) -> Path:
    text = _read_str(raw)
    if not text:
        raise ValueError("a path is wanted, not an empty text")
    return Path(text).expanduser()


def _read_list(raw: object) -> tuple[str, ...]:
    """A list from a file or repeated flags; commas separate within one text. A map's items are NAME=VALUE."""
    if isinstance(raw, dict):
        pairs = cast("dict[object, object]", raw).items()
        return tuple(f"{_read_str(name)}={_read_str(value)}" for name, value in pairs)
    items = cast("list[object]", raw) if isinstance(raw, list) else [raw]
    return tuple(part.strip() for item in items for part in _read_str(item).split(",") if part.strip())


_READERS: Final[Mapping[type, Callable[[object], object]]] = {
    int: _read_int,
    float: _read_float,
    bool: _read_bool,
    str: _read_str,
    Path: _read_path,
    tuple: _read_list,
}
_METAVARS: Final[Mapping[type, str]] = {int: "N", float: "N", Path: "PATH"}


def _shown(default: object) -> str:
    if isinstance(default, tuple):
        return ",".join(str(item) for item in cast("tuple[object, ...]", default)) or "none"
    return str(default) if default != "" else "none"
