"""Units of predictors: read their names, convert between them, and doubt them.

A unit is written as people of the field write it: `degC`, `K`, `mm`, `kg m-2`, `mm month-1`, `m/day`, `%`, `1`, `K d`, `cg/cm3`. A
number before it is a coding: `0.1 K` is an integer that counts tenths of a kelvin. Differences of temperature are in K; degC is a
temperature. One kg m-2 of water is one mm. pint knows the units; it is imported when the first unit is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from geoplantnet.errors import ConfigurationError, RasterError, did_you_mean
from geoplantnet.grid.time_axis import Period

if TYPE_CHECKING:
    import pint

Limits: TypeAlias = tuple[float, float]
"""Lowest and highest believable value, both included."""

USUAL = (
    ("degC", "K", "0.1 K", "0.1 degC", "0.01 degC", "0.01 K", "degF"),
    ("K", "0.1 K", "0.01 K"),
    ("mm", "m", "cm", "0.1 mm", "0.01 mm", "km", "ft"),
    ("mm day-1", "m day-1", "mm month-1", "mm year-1", "kg m-2 s-1"),
    ("m s-1", "km h-1", "0.1 m s-1", "knot"),
    ("1", "%", "permille", "0.0001", "0.004", "0.001"),
    ("degree", "radian"),
    ("g kg-1", "%", "dg kg-1", "cg kg-1", "mg kg-1"),
    ("g cm-3", "cg cm-3", "kg m-3"),
    ("cmol kg-1", "mmol kg-1"),
    ("pH", "0.1 pH"),
    ("hPa", "Pa", "kPa"),
    ("W m-2", "J m-2 day-1", "MJ m-2 day-1", "kJ m-2 day-1"),
)
"""Units and codings that files of this field hold, by kind: what a value is tried in when it is not believable in the stated one."""

_NAMES = (
    *("kelvin", "celsius", "degC", "degree_Celsius", "degF", "fahrenheit", "metre", "meter", "millimetre", "millimeter", "centimetre"),
    *("kilometre", "kilogram", "gram", "percent", "permille", "degree", "radian", "second", "minute", "hour", "day", "month", "year"),
    *("pascal", "hectopascal", "joule", "megajoule", "watt", "mole", "pH", "dimensionless", "mm", "cm", "km", "kg", "hPa", "mm/month"),
)
_SPELT = {
    "": "dimensionless",
    "-": "dimensionless",
    "unitless": "dimensionless",
    "none": "dimensionless",
    "fraction": "dimensionless",
    "(0 - 1)": "dimensionless",
    "Celsius": "degC",
    "deg C": "degC",
    "deg_C": "degC",
    "degrees C": "degC",
    "degree C": "degC",
    "degrees Celsius": "degC",
    "degrees celsius": "degC",
    "Kelvin": "kelvin",
    "degrees K": "kelvin",
    "pHx10": "0.1 pH",
    "pH*10": "0.1 pH",
    "pH x 10": "0.1 pH",
    "vol%": "percent",
    "m of water equivalent": "m",
    "degrees_C": "degC",
}
"""Spellings of files that pint does not read, or reads as something else."""

_LONGEST = 100  # characters of a unit: no real one is longer
_FACTOR = re.compile(r"([ *./]*)([A-Za-z][A-Za-z_]*+)\^?([-+]?[0-9])?")
_UNIT = re.compile(rf"(?P<step>[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)?(?P<factors>(?:{_FACTOR.pattern.replace('(', '(?:')})*)")

_MEANT = {"C": "degC", "F": "degF", "M": "m", "c": "degC", "Mm": "mm", "MM": "mm"}
"""Units that exist but are hardly ever meant."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A conversion: value * scale + offset."""

    scale: float
    offset: float = 0.0

    def __call__(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Converted in double precision: float32 of the same shape."""
        if self == Line(scale=1.0):
            return np.asarray(values, np.float32)
        return (np.asarray(values, np.float64) * self.scale + self.offset).astype(np.float32)


def parse(unit: str) -> str:
    """The unit in pint's own spelling, such as 'millimeter / month'. Raises ConfigurationError with the nearest name for an unknown one."""
    quantity = _quantity(unit)
    return str(quantity.units) if quantity.magnitude == 1 else f"{quantity.magnitude:g} {quantity.units}"


def same(unit: str, other: str) -> bool:
    """Whether two spellings mean one unit. Raises ConfigurationError."""
    one, two = _quantity(unit), _quantity(other)
    return one.magnitude == two.magnitude and one.units == two.units


def conversion(unit: str, to: str, *, period: Period | None = None) -> Line:
    """How values in `unit` become values in `to`. Raises ConfigurationError for unknown units and for two that measure different things.

    `period` is what a value stands for. With it a rate becomes the amount of the period (`m day-1` -> `mm`: times its days), and a month
    or a year that a unit names is the period's own: 31 days long in January. Without it a month is a twelfth of 365.25 days.
    """
    if unit == to or same(unit, to):
        return Line(scale=1.0)
    have, want = _quantity(unit), _quantity(to)
    if period is not None:
        have, want = (_of_period(q, period) for q in (have, want))
        if _is_rate_of(have, want):
            have = have * _registry().Quantity((period[1] - period[0]).days, "day")
    if _is_water(have, want):
        have = have / _registry().Quantity(1000.0, "kg/m**3")
    elif _is_water(want, have):
        want = want / _registry().Quantity(1000.0, "kg/m**3")
    if have.dimensionality != want.dimensionality:
        hint = next((f" Did you mean {_MEANT[u]!r} instead of {u!r}?" for u in (unit, to) if u in _MEANT), "")
        rate = " Say the period a value stands for, or write both as rates." if _is_rate_of(have, want) else ""
        raise ConfigurationError(f"{unit!r} cannot become {to!r}: they measure different things.{hint}{rate}")
    if not (have._is_multiplicative and want._is_multiplicative):
        zero, one = (have.__class__(v * have.magnitude, have.units).to(want.units).magnitude / want.magnitude for v in (0.0, 1.0))
        return Line(scale=_round(one - zero), offset=_round(zero))
    return Line(scale=_round(have.to(want.units).magnitude / want.magnitude))


def convert(values: npt.NDArray[Any], unit: str, to: str, *, period: Period | None = None) -> npt.NDArray[np.float32]:
    """Values (any shape) from one unit into another, float32. See `conversion`."""
    return conversion(unit, to, period=period)(values)


def check(values: npt.NDArray[Any], unit: str, plausible: Limits, what: str) -> None:
    """Raise RasterError when a finite value (any shape) lies outside the plausible range, bounds included, of its unit.

    When all values would lie inside had they been written in another usual unit, the error says in which.
    """
    bring(values, unit, unit, plausible, what)


def bring(
    values: npt.NDArray[Any], unit: str, to: str, plausible: Limits | None, what: str, *, period: Period | None = None
) -> npt.NDArray[np.float32]:
    """Values (any shape) from the unit they are said to be in into another, float32, and believable there.

    Raises ConfigurationError as `conversion` does; RasterError when a finite value lies outside the plausible range (in `to`, bounds
    included), with the usual unit in which all would lie inside, where there is one.
    """
    converted = convert(values, unit, to, period=period)
    if plausible is None:
        return converted
    low, high = plausible
    slack = 1e-6 * (high - low)  # a mean of ones in float32 may exceed one
    least, most = _extremes(converted)
    if least > most or (least >= low - slack and most <= high + slack):
        return converted
    value = least if least < low - slack else most
    said = "" if same(unit, to) else f" (read as {unit})"
    found = f"{what}: {value:.6g}{said} is outside {low:g}..{high:g}{'' if to == '1' else f' {to}'}"
    others = _would_fit(*_extremes(values), unit, to, plausible, period)
    if others:
        raise RasterError(f"{found}; it would be plausible as {' or '.join(others)}: set units: {others[0]} in the source")
    raise RasterError(f"{found}, and in no usual unit; its units, scale, offset or nodata are not what was said")


def check_reached(values: npt.NDArray[Any], unit: str, least: float, what: str) -> None:
    """Raise RasterError when all finite values (any shape) stay below `least`, in `unit`: a year without a wet month is in metres."""
    most = _extremes(values)[1]
    if np.isfinite(most) and most < least:
        others = [u for u in _would_fit(most, most, unit, unit, (least, np.inf), None) if conversion(u, unit).offset == 0]
        hint = f"; it would be plausible as {' or '.join(others)}: set units: {others[0]} in the source" if others else ""
        raise RasterError(f"{what}: no value exceeds {most:.4g} {unit}, at least {least:g} is expected somewhere{hint}")


def _extremes(values: npt.NDArray[Any]) -> tuple[float, float]:
    """Least and largest finite or infinite value; (inf, -inf) where there is none."""
    ends = (f.reduce(values, axis=None, initial=i, dtype=np.float64) for f, i in ((np.fmin, np.inf), (np.fmax, -np.inf)))
    least, most = (float(end) for end in ends)
    return least, most


def _would_fit(least: float, most: float, unit: str, to: str, plausible: Limits, period: Period | None) -> list[str]:
    """Usual units in which values as they were read would be plausible in `to`, at most two, the likeliest first."""
    fits: list[str] = []
    kin = [family for family in USUAL if any(same(to, member) for member in family)]
    for other in dict.fromkeys(member for family in (*kin, *USUAL) for member in family):
        if same(other, unit):
            continue
        try:
            line = conversion(other, to, period=period)
        except ConfigurationError:  # measures something else
            continue
        if all(plausible[0] <= value * line.scale + line.offset <= plausible[1] for value in (least, most)):
            fits.append(other)
    return fits[:2]


def _is_rate_of(have: pint.Quantity[Any], want: pint.Quantity[Any]) -> bool:
    if not have._is_multiplicative:
        return False
    amount = have * _registry().Quantity(1.0, "day")
    return amount.dimensionality == want.dimensionality or _is_water(amount, want)


def _is_water(have: pint.Quantity[Any], want: pint.Quantity[Any]) -> bool:
    """Whether one is a mass of water on an area (in a time) and the other its depth (in that time)."""
    if not (have._is_multiplicative and want._is_multiplicative):
        return False
    in_time = {"[mass]": 1, "[length]": -2}
    mass, depth = dict(have.dimensionality), dict(want.dimensionality)
    return mass.pop("[time]", 0) == depth.pop("[time]", 0) and mass == in_time and depth == {"[length]": 1}


def _of_period(quantity: pint.Quantity[Any], period: Period) -> pint.Quantity[Any]:
    """A unit whose months and years are those of the period."""
    start, end = period
    months = (end.year - start.year) * 12 + end.month - start.month
    if months < 1 or start.day != 1 or end.day != 1:
        return quantity
    days = (end - start).days
    own = {"month": days / months, "year": days / months * 12}
    for name, power in quantity.unit_items():
        if name in own:
            quantity = quantity * _registry().Quantity(own[name], "day") ** power / _registry().Quantity(1.0, name) ** power
    return quantity


def _round(value: float) -> float:
    """Without the dust of a chain of conversions, so that K -> degC is -273.15 and g/kg -> % is 0.1."""
    return float(f"{float(value):.12g}")


@cache
def _quantity(unit: str) -> pint.Quantity[Any]:
    """A unit as a quantity: its magnitude is the coding's step. Raises ConfigurationError.

    The text is taken apart here, and pint is asked for single names only: its own parser evaluates whatever sum is written.
    """
    registry = _registry()
    text = " ".join(unit.split())
    text = _SPELT.get(text, text).replace("(c)", "").replace("°C", "degC").replace("%", "percent").replace("**", "^")
    match = _UNIT.fullmatch(text) if len(text) <= _LONGEST else None
    step = float(match["step"] or 1) if match else 0.0
    if match is None or not (0 < step < np.inf):
        raise ConfigurationError(f"{unit[:80]!r} is no unit; write it like degC, mm, kg m-2, mm month-1, 0.1 K, % or 1")
    units = registry.Unit("dimensionless")
    for slash, name, power in _FACTOR.findall(match["factors"]):
        known = name if name in registry else None
        if known is None:
            hint = did_you_mean(name, _NAMES) or " Write it like degC, mm, kg m-2, mm month-1, 0.1 K, % or 1."
            raise ConfigurationError(f"unknown unit {unit[:80]!r}{f': {name[:80]!r}' if name != unit else ''}.{hint}")
        units = units * registry.Unit(known) ** (int(power or 1) * (-1 if slash.strip() else 1))
    return registry.Quantity(step, units)


@cache
def _registry() -> pint.UnitRegistry[Any]:
    import pint

    registry: pint.UnitRegistry[Any] = pint.UnitRegistry()
    registry.define("pH = [acidity]")
    return registry
