"""Quantities are exact and have one written form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import InvalidError
from skerry.objects.quantity import canonical, parse_quantity


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("0", "0"),
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("100Mi", "100Mi"),
        ("1.5Ki", "1536"),
        ("0.5Ki", "512"),
        ("0.5Mi", "512Ki"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("12e1", "120"),
        ("1E", "1E"),
        ("1000k", "1M"),
        ("-0.5", "-500m"),
        ("+3", "3"),
        (".5", "500m"),
        ("5.", "5"),
        ("0.1n", "1n"),
        ("1u", "1u"),
        ("1.2345678901", "1234567891n"),
        ("1e50", "9223372036854775807e0"),
        ("123e-9999999", "1e-9"),
        ("100E", "9223372036854775807"),
    ],
)
def test_the_canonical_form_is_gos(written, expected):
    assert canonical(written) == expected.removesuffix("e0")


@pytest.mark.parametrize("value", [2, 0.5, 1e21, 1e-7])
def test_plain_numbers_are_quantities(value):
    assert parse_quantity(canonical(value)).nano == min(round(value * 10**9), (2**63 - 1) * 10**9)


@pytest.mark.parametrize(
    "text", ["", "x", "1 ", "1KB", "1ki", "--1", "1e", "1.2.3", "9" * 101, "1e12345678901", "\u0661"]
)
def test_other_texts_are_refused(text):
    with pytest.raises(InvalidError, match="quantities must match the regular expression"):
        parse_quantity(text)


def test_amounts_compare_and_add_across_suffixes():
    assert parse_quantity("1Ki").nano == parse_quantity("1024").nano
    assert parse_quantity("999Mi") < parse_quantity("1Gi")
    assert parse_quantity("1") <= parse_quantity("1000m")
    assert str(parse_quantity("500m") + parse_quantity("0.5")) == "1"
    assert str(parse_quantity("1Gi") - parse_quantity("24Mi")) == "1000Mi"
    assert parse_quantity("100m").millis == 100
    assert parse_quantity("1001m").units == 2


@given(st.integers(-(10**15), 10**15), st.sampled_from(["n", "u", "m", "", "k", "M", "Ki", "Mi", "Gi", "e3", "e-3"]))
def test_the_canonical_form_keeps_the_amount_and_is_its_own_canonical_form(number, suffix):
    quantity = parse_quantity(f"{number}{suffix}")
    assert parse_quantity(str(quantity)).nano == quantity.nano
    assert canonical(str(quantity)) == str(quantity)
