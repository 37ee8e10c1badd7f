"""Plans of bandwidth: what they say at what time, in which zone, and what is said of those that make no sense."""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import InvalidError
from skerry.objects.bandwidth import (
    PARTS_MAX,
    RATE_MAX,
    RATE_MIN,
    TEXT_MAX,
    Rates,
    bandwidth_text,
    changes_ms,
    parse_bandwidth,
    rate_text,
    rates_at,
    shown_bandwidth,
)
from skerry.objects.times import time_text

DAYS = "06:00-22:00 64kbit, 22:00-06:00 1mbit; else unlimited"


def ms(text: str, zone: str = "UTC", *, fold: int = 0) -> int:
    """`2026-11-23 06:00` (a Monday) on the wall clock of a zone."""
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp() * 1000)


@pytest.mark.parametrize(
    ("time", "rate"),
    [("05:59", 125_000), ("06:00", 8000), ("21:59", 8000), ("22:00", 125_000), ("00:00", 125_000)],
)
def test_a_rule_holds_from_its_first_minute_to_the_last_before_its_end(time: str, rate: int) -> None:
    plan = parse_bandwidth(DAYS)
    assert plan.at(ms(f"2026-11-23 {time}")) == Rates(up=rate, down=rate)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("64kbit", 8000),
        ("64kbit/s", 8000),
        ("64Kbit", 8000),
        ("1.5mbit", 187_500),
        ("8000bit", 1000),
        ("1gbit", 125_000_000),
        ("20kB/s", 20_000),
        ("20KB/s", 20_000),
        ("1MB/s", 1_000_000),
        ("1KiB/s", 1024),
        ("1MiB/s", 1 << 20),
        ("500B/s", 500),
        ("pause", 0),
        ("0", 0),
        ("0kbit", 0),
        ("unlimited", None),
        ("else 64kbit", 8000),
    ],
)
def test_rates_have_units(text: str, rate: int | None) -> None:
    assert parse_bandwidth(text).at(0) == Rates(up=rate, down=rate)


def test_hours_over_midnight_belong_to_the_day_on_which_they_begin() -> None:
    plan = parse_bandwidth("fri 22:00-06:00 pause; 1mbit")
    assert plan.at(ms("2026-11-27 22:00")).up == 0
    assert plan.at(ms("2026-11-28 05:59")).up == 0
    assert plan.at(ms("2026-11-28 06:00")).up == 125_000
    assert plan.at(ms("2026-11-28 22:00")).up == 125_000
    assert plan.at(ms("2026-11-27 05:00")).up == 125_000


def test_days_are_named_alone_as_ranges_over_the_weekend_and_together() -> None:
    def days(word: str) -> list[int]:
        plan = parse_bandwidth(f"{word} 64kbit")
        return [day for day in range(7) if plan.at(ms(f"2026-11-{23 + day} 12:00")).up == 8000]

    assert days("wed") == [2]
    assert days("mon-fri") == [0, 1, 2, 3, 4]
    assert days("sat-mon") == [0, 5, 6]
    assert days("mon+wed+fri-sat") == [0, 2, 4, 5]
    assert days("Mon-Sun") == [0, 1, 2, 3, 4, 5, 6]


def test_the_first_rule_that_speaks_of_a_direction_counts() -> None:
    plan = parse_bandwidth("up 64kbit; sat-sun up pause down 1mbit; 06:00-22:00 down 128kbit up 32kbit")
    assert plan.at(ms("2026-11-28 12:00")) == Rates(up=0, down=125_000)
    assert plan.at(ms("2026-11-23 12:00")) == Rates(up=4000, down=16_000), "what always holds comes last"
    assert plan.at(ms("2026-11-23 23:00")) == Rates(up=8000, down=None)


def test_hours_are_those_of_the_clock_on_the_site_s_wall() -> None:
    """Summer time in Berlin ended on 2026-10-25 at 03:00, which was 02:00 again."""
    plan = parse_bandwidth("zone Europe/Berlin; 06:00-22:00 64kbit")
    assert plan.at(ms("2026-10-24 04:00")).up == 8000, "06:00 in summer"
    assert plan.at(ms("2026-10-26 04:00")).up is None
    assert plan.at(ms("2026-10-26 05:00")).up == 8000
    twice = parse_bandwidth("zone Europe/Berlin; 02:00-03:00 64kbit")
    first = ms("2026-10-25 02:30", "Europe/Berlin")
    assert twice.at(first).up == twice.at(first + 3_600_000).up == 8000, "the hour that comes twice, twice"
    assert twice.at(first + 2 * 3_600_000).up is None
    spring = parse_bandwidth("zone Europe/Berlin; 02:30-05:00 64kbit")
    assert spring.at(ms("2026-03-29 01:00")).up == 8000, "at 03:00, as there is no 02:30"
    assert spring.at(ms("2026-03-29 00:59")).up is None


def test_where_nobody_knows_the_time_the_strictest_of_all_rates_holds() -> None:
    plan = parse_bandwidth("06:00-22:00 64kbit; sun up pause; else down unlimited")
    assert plan.at(None) == Rates(up=0, down=8000)
    assert parse_bandwidth("unlimited").at(None) == Rates()


def test_a_zone_that_this_machine_does_not_know_makes_a_plan_strict_or_is_refused() -> None:
    text = "zone Europe/Nowhere; 06:00-22:00 64kbit; else unlimited"
    with pytest.raises(InvalidError, match="no time zone"):
        parse_bandwidth(text)
    plan = parse_bandwidth(text, any_zone=True)
    assert plan.at(ms("2026-11-23 23:00")) == Rates(up=8000, down=8000)
    assert shown_bandwidth([plan], ms("2026-11-23 23:00"))["timeUnknown"] is True


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "says nothing; write 64kbit"),
        (" ;, ", "says nothing"),
        ("64kb", "part 1 ('64kb'): '64kb' has no unit that is known; write 64kbit, 1.5mbit, 20kB/s"),
        ("64kb/s", "has no unit that is known"),
        ("1mbit; 06:00-25:00 64kbit", "part 2 ('06:00-25:00 64kbit'): '06:00-25:00' is not within 00:00 to 24:00"),
        ("06:60-07:00 64kbit", "not within"),
        ("24:00-06:00 64kbit", "not within"),
        ("06:00-06:00 64kbit", "leave the hours out for the whole day"),
        ("6:00 64kbit", "are no hours; write 06:00-22:00"),
        ("06:00-22:00", "a rate is missing"),
        ("mon-foo 64kbit", "'foo' is no day; write mon, mon-fri or mon+wed+fri"),
        ("monday 64kbit", "'monday' is no day"),
        ("up", "is no rate"),
        ("up 1mbit down", "a rate is missing after down"),
        ("up 1mbit up 2mbit", "up is given twice"),
        ("sideways 1mbit", "'sideways' is not understood"),
        ("1mbit else 2mbit", "'1mbit' is not understood"),
        ("1mbit; else up 2mbit", "a rate for up at all other times was given before"),
        ("zone", "write zone NAME"),
        ("zone Europe/Berln; 1mbit", "did you mean Europe/Berlin?"),
        ("zone ../../etc/passwd; 1mbit", "no time zone"),
        ("zone UTC; zone UTC; 1mbit", "named twice"),
        ("zone UTC", "names a time zone and no rate"),
        ("5bit", "not within 1kbit to 10gbit"),
        ("99gbit", "not within"),
        ("-5kbit", "is no rate"),
        ("1e9bit", "is no rate"),
        (";".join(["06:00-07:00 1mbit"] * (PARTS_MAX + 1)), "parts are over"),
        ("x" * (TEXT_MAX + 1), "characters are over"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place_and_a_way_out(text: str, says: str) -> None:
    with pytest.raises(InvalidError, match=re.escape(says)) as caught:
        parse_bandwidth(text, source="--bandwidth")
    assert str(caught.value).startswith("--bandwidth")


@given(st.text(alphabet="0123456789:-,;+/ .abdefikmnoprstuwxBKMZ\n", max_size=60))
def test_any_text_is_a_plan_or_refused(text: str) -> None:
    try:
        plan = parse_bandwidth(text, any_zone=True)
    except InvalidError:
        return
    for at_ms in (None, 0, ms("2026-11-28 12:00"), 253_402_300_799_999):
        rates = plan.at(at_ms)
        for rate in (rates.up, rates.down):
            assert rate is None or rate == 0 or RATE_MIN <= rate <= RATE_MAX


@given(st.one_of(st.none(), st.just(0), st.integers(RATE_MIN, RATE_MAX)))
def test_a_rate_is_written_as_it_is_read(rate: int | None) -> None:
    assert parse_bandwidth(rate_text(rate)).at(0).up == rate


def test_of_several_plans_the_lowest_rate_holds() -> None:
    plans = [parse_bandwidth("up 64kbit; 06:00-22:00 down pause"), parse_bandwidth("32kbit")]
    assert rates_at(plans, ms("2026-11-23 12:00")) == Rates(up=4000, down=0)
    assert rates_at(plans, ms("2026-11-23 23:00")) == Rates(up=4000, down=4000)
    assert rates_at([], 0) == Rates()


def test_what_holds_is_shown_with_when_it_ends() -> None:
    plan = parse_bandwidth("zone Europe/Berlin; mon-fri 06:00-22:00 up 64kbit down 1mbit")
    shown = shown_bandwidth([plan], ms("2026-11-27 20:30:30"))
    assert shown == {"plan": plan.text, "up": "64kbit", "down": "1mbit", "until": "2026-11-27T21:00:00Z"}
    assert bandwidth_text(shown) == "up 64kbit, down 1mbit, until 2026-11-27T21:00:00Z"
    weekend = changes_ms([plan], ms("2026-11-27 21:00"))
    assert weekend is not None and time_text(weekend) == "2026-11-30T05:00:00Z"
    assert "strictest" in bandwidth_text(shown_bandwidth([plan], None))
    assert "until" not in shown_bandwidth([parse_bandwidth("64kbit")], 0)
    assert shown_bandwidth([], 0) == {}
    assert bandwidth_text({}) == ""
