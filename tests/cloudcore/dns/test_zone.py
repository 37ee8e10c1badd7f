"""Zones: what is refused, what is warned of, files in and out, directories."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcore.dns.library import Library
from cloudcore.dns.zone import Zone, warnings
from cloudcore.dns.zonefile import parse_zone, read_zone, write_zone
from skerry.dns.names import name_of, text_of
from skerry.errors import InvalidError, UnavailableError
from tests.cloudcore.dns.conftest import ZONE

HEAD = "@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a.test.\n"
ORIGIN = name_of("example.com")


def test_a_zone_survives_its_file(zone: Zone) -> None:
    assert parse_zone(write_zone(zone), zone.origin) == zone


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("@ 60 NS a", "SOA"),
        ("@ 60 SOA a b 1 2 3 4 5", "no NS"),
        (HEAD + "x 60 CNAME a\nx 60 A 192.0.2.1", "CNAME"),
        (HEAD + "x 60 CNAME a\nx 60 CNAME b", "CNAME"),
        (HEAD + "other.test. 60 A 192.0.2.1", "other.test"),
        (HEAD + "x 60 SOA a b 1 2 3 4 5", "SOA"),
        (HEAD + "x 60 A 192.0.2.300", "line 3"),
        (HEAD + "x 60 NOTYPE 1", ".+"),
        (HEAD + "$INCLUDE /etc/passwd", ".+"),
        (HEAD + "x 60 CH A 192.0.2.1", ".+"),
        ("\0", ".+"),
    ],
)
def test_what_is_no_zone_is_refused_with_a_reason(text: str, said: str) -> None:
    with pytest.raises(InvalidError, match=said):
        parse_zone(text, ORIGIN)


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        parse_zone(HEAD + text, ORIGIN)
    except InvalidError as error:
        assert str(error)


def test_slips_of_the_pen_are_warned_of() -> None:
    text = HEAD + "@ 60 MX 1 gone\n@ 60 MX 2 alias\nalias 60 CNAME a\n"
    text += "sub 60 NS a.test.\nx.sub 60 TXT t\nsub 60 TXT t"
    said = "\n".join(warnings(parse_zone(text, ORIGIN)))
    words = [
        "gone.example.com., which has no address",
        "alias.example.com., which is an alias",
        "x.sub",
        "is delegated",
    ]
    assert [word for word in words if word not in said] == []


def test_records_of_a_set_have_the_least_of_their_ttls() -> None:
    zone = parse_zone(HEAD + "x 60 A 192.0.2.1\nx 30 A 192.0.2.2", ORIGIN)
    assert zone.nodes[name_of("x.example.com")][1].ttl == 30


def test_a_file_says_by_its_name_or_its_origin_which_zone_it_is(tmp_path: Path) -> None:
    (tmp_path / "example.com.zone").write_text(HEAD)
    assert read_zone(tmp_path / "example.com.zone").origin == ORIGIN
    (tmp_path / "any.zone").write_text("; a comment\n$TTL 5\n$ORIGIN 2.0.192.in-addr.arpa. ; here\n" + HEAD)
    assert text_of(read_zone(tmp_path / "any.zone").origin) == "2.0.192.in-addr.arpa."
    (tmp_path / "any").write_text(HEAD)
    with pytest.raises(InvalidError, match="ORIGIN"):
        read_zone(tmp_path / "any")


def test_a_directory_is_read_again_as_far_as_it_has_changed(tmp_path: Path) -> None:
    library, path, other = Library(tmp_path), tmp_path / "example.com.zone", name_of("example.org")
    path.write_text(ZONE)
    (tmp_path / "example.org.zone").write_text(HEAD)
    first = library.load()
    assert sorted(map(text_of, first.zones)) == ["example.com.", "example.org."] and len(first.changed) == 2
    assert library.load().changed == ()
    path.write_text(ZONE.replace("192.0.2.2", "192.0.2.22"))
    again = library.load()
    assert again.changed == ("example.com.",)
    assert again.zones[other] is first.zones[other]
    path.unlink()
    assert library.load().changed == ("example.com.",)


def test_a_file_that_is_no_zone_any_more_keeps_what_it_was(tmp_path: Path) -> None:
    library = Library(tmp_path)
    path = tmp_path / "example.com.zone"
    path.write_text(HEAD)
    library.load()
    path.write_text("rubbish")
    loaded = library.load()
    assert ORIGIN in loaded.zones and "what it was is served" in loaded.problems[0]
    assert "example.com.zone" in loaded.problems[0]


def test_two_files_of_one_zone_are_a_problem(tmp_path: Path) -> None:
    (tmp_path / "example.com.zone").write_text(HEAD)
    (tmp_path / "z.zone").write_text("$ORIGIN example.com.\n" + HEAD)
    assert "another file" in Library(tmp_path).load().problems[0]


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="none"):
        Library(tmp_path / "none").load()


def test_a_mark_before_the_first_line_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "example.com.zone").write_bytes(b"\xef\xbb\xbf$TTL 60\r\n" + HEAD.replace("\n", "\r\n").encode())
    assert read_zone(tmp_path / "example.com.zone").origin == ORIGIN
