"""Units: what files write is read, conversions are right, and what is not believable says in which unit it would be."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from datetime import date

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from geoplantnet.errors import ConfigurationError, RasterError
from geoplantnet.sources.units import USUAL, bring, check, check_reached, conversion, convert, parse, same

JANUARY = (date(2020, 1, 1), date(2020, 2, 1))
WINTER = (date(2019, 12, 1), date(2020, 3, 1))
USUAL_UNITS = sorted({unit for family in USUAL for unit in family})


@pytest.mark.parametrize(
    ("unit", "other"),
    [
        ("degC", "Celsius"),
        ("°C", "degrees C"),
        ("K", "Kelvin"),
        ("kg m-2", "kg/m2"),
        ("kg m**-2 s**-1", "kg m-2 s-1"),
        ("mm/month", "mm month-1"),
        ("", "1"),
        ("-", "unitless"),
        ("%", "percent"),
        ("K d", "kelvin day"),
        ("pHx10", "0.1 pH"),
        ("cmol(c)/kg", "cmol kg-1"),
        ("MJ cm-2 yr-1", "MJ/cm2/year"),
        ("10 %", "10 percent"),
    ],
)
def test_units_are_written_in_many_ways(unit: str, other: str) -> None:
    """Spellings of one unit are the same unit."""
    assert same(unit, other) and parse(unit) == parse(other)


@pytest.mark.parametrize(
    ("unit", "to", "value", "expected"),
    [
        ("K", "degC", 288.15, 15),
        ("0.1 K", "degC", 2881, 14.95),
        ("0.1 K", "K", 72, 7.2),
        ("degF", "degC", 50, 10),
        ("m", "mm", 0.08, 80),
        ("kg m-2", "mm", 80, 80),
        ("%", "1", 25, 0.25),
        ("cg/cm3", "g cm-3", 135, 1.35),
        ("mmol(c)/kg", "cmol(c)/kg", 250, 25),
        ("cm3/dm3", "%", 120, 12),
        ("g/kg", "%", 230, 23),
        ("cg/kg", "g/kg", 210, 2.1),
        ("dg/kg", "g/kg", 340, 34),
        ("pHx10", "pH", 65, 6.5),
        ("km h-1", "m s-1", 36, 10),
    ],
)
def test_conversions_of_the_field(unit: str, to: str, value: float, expected: float) -> None:
    """CHELSA's tenths of a kelvin, SoilGrids' mapped units, water, wind: numbers worked out by hand."""
    np.testing.assert_allclose(convert(np.array([value, np.nan]), unit, to), [expected, np.nan], rtol=1e-6)


@pytest.mark.parametrize(
    ("unit", "to", "period", "factor"),
    [
        ("mm month-1", "mm", JANUARY, 1),
        ("mm month-1", "mm", WINTER, 3),
        ("m day-1", "mm", JANUARY, 31_000),
        ("mm/day", "mm/month", JANUARY, 31),
        ("kg m-2 s-1", "mm", JANUARY, 31 * 86_400),
        ("mm/year", "mm", (date(2019, 1, 1), date(2020, 1, 1)), 1),
        ("mm/day", "mm/month", None, 365.25 / 12),
        ("mm", "mm", JANUARY, 1),
    ],
)
def test_a_month_is_as_long_as_it_is(unit: str, to: str, period: tuple[date, date] | None, factor: float) -> None:
    """With its period a rate becomes an amount, and months have their own days."""
    line = conversion(unit, to, period=period)
    assert line.offset == 0 and line.scale == pytest.approx(factor, rel=1e-9)


@given(st.sampled_from(USUAL_UNITS), st.sampled_from(USUAL_UNITS), st.floats(-1e3, 1e3))
def test_there_and_back_is_where_it_was(unit: str, to: str, value: float) -> None:
    """Two units convert both ways, and back to the value; or neither way."""
    try:
        there = conversion(unit, to)
    except ConfigurationError:
        with pytest.raises(ConfigurationError):
            conversion(to, unit)
        return
    back = conversion(to, unit)
    assert back.scale * (there.scale * value + there.offset) + back.offset == pytest.approx(value, rel=1e-7, abs=1e-6)


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        ("kelvni", "unknown unit 'kelvni'. Did you mean 'kelvin'"),
        ("mm/mnth", "'mnth'. Did you mean 'month'"),
        ("blorp", "unknown unit 'blorp'. Write it like"),
        ("9**9**9", "is no unit"),
        ("__import__('os')", "is no unit"),
        ("1e999 m", "is no unit"),
        ("-1 K", "is no unit"),
        ("0 K", "is no unit"),
    ],
)
def test_unknown_units_name_the_nearest(unit: str, message: str) -> None:
    """A typo gets its nearest spelling; a sum, a program or a number without bounds is not worked out."""
    with pytest.raises(ConfigurationError) as caught:
        parse(unit)
    assert message in str(caught.value)


@given(st.text(max_size=40) | st.text("CKdegmkghPas%01. -/*^_²", max_size=20))
@example("_")
@example("a_" * 45 + ";")
def test_any_text_is_a_unit_or_a_configuration_error(text: str) -> None:
    """Nothing else comes out of the parser, whatever a file says."""
    with contextlib.suppress(ConfigurationError):
        assert same(text, text) and parse(text)


def test_what_measures_something_else_is_refused() -> None:
    """Mm are no degC; C is a coulomb; an amount is no rate without its period."""
    with pytest.raises(ConfigurationError, match="'mm' cannot become 'degC'"):
        conversion("mm", "degC")
    with pytest.raises(ConfigurationError, match="Did you mean 'degC' instead of 'C'"):
        conversion("C", "degC")
    with pytest.raises(ConfigurationError, match="Say the period"):
        conversion("m/day", "mm")
    with pytest.raises(ConfigurationError):
        conversion("pH", "1")


@pytest.mark.parametrize(
    ("value", "unit", "plausible", "hint"),
    [
        (285.3, "degC", (-60, 50), "plausible as K or 0.1 degC: set units: K in the source"),
        (2853, "degC", (-60, 50), "set units: 0.1 K"),
        (150, "degC", (-60, 50), "set units: 0.1 degC"),
        (12, "K", (200, 330), "set units: degC"),
        (45, "1", (0, 1), "set units: %"),
        (65, "pH", (2, 11), "set units: 0.1 pH"),
        (1350, "g cm-3", (0.1, 2.7), "set units: kg m-3"),
        (101_325, "hPa", (800, 1100), "set units: Pa"),
        (1e9, "mm", (0, 1500), "in no usual unit"),
    ],
)
def test_a_wrong_unit_is_guessed(value: float, unit: str, plausible: tuple[float, float], hint: str) -> None:
    """What is not believable says value, range, and the unit in which it would be."""
    with pytest.raises(RasterError) as caught:
        check(np.array([[value, np.nan]], np.float32), unit, plausible, what="tas")
    assert str(caught.value).startswith(f"tas: {value:.6g} is outside") and hint in str(caught.value)


def test_what_was_converted_from_a_lie_names_the_truth() -> None:
    """DegC said to be K come out at -261: the guess is made from what the file holds, not from the result."""
    with pytest.raises(RasterError, match=r"x: -261\.15 \(read as K\) is outside -60\.\.50 degC; .* set units: degC"):
        bring(np.array([12.0]), "K", "degC", (-60, 50), "x")
    with pytest.raises(RasterError, match=r"80000 \(read as m\) .* set units: mm"):
        bring(np.array([80]), "m", "mm", (0, 2500), "x", period=JANUARY)


def test_what_is_too_small_to_be_true() -> None:
    """A year without a wet month is in metres."""
    with pytest.raises(RasterError, match=r"no value exceeds 0\.2 mm, at least 5 is expected somewhere; .* set units: m"):
        check_reached(np.array([0.08, 0.2, np.nan]), "mm", 5, "pr")
    check_reached(np.array([80.0, np.nan]), "mm", 5, "pr")
    check_reached(np.array([np.nan]), "mm", 5, "pr")


def test_nothing_and_the_bounds_are_believed() -> None:
    """No value, NaN, the bounds themselves and the dust of float32 pass."""
    for values in ([], [np.nan], [0.0, 1.0], [np.float32(1) + np.finfo(np.float32).eps]):
        check(np.array(values, np.float32), "1", (0, 1), "share")


def test_pint_is_not_imported_until_needed() -> None:
    """Importing the module costs nothing of pint."""
    code = "import sys; import geoplantnet.sources.units; sys.exit('pint' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
