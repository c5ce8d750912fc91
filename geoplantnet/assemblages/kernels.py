"""The inner loops of one pass over a tile, compiled by numba: 2.5e9 probabilities a tile of 10,000 species go through them.

Arrays are C-contiguous: p is (cell, species), float32. Exponential and logarithm are Cephes' polynomials (Moshier 1989, Methods and
Programs for Mathematical Functions), within 1e-6 of the exact value, because they turn into vector instructions; the library's do not.
The first call compiles (seconds) and keeps the machine code beside this file, or in the user's cache where that is read-only.
"""

# mypy: disable-error-code="call-arg,no-untyped-def,var-annotated"

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_F = np.float32
_FAST = {"contract", "reassoc", "nsz", "arcp", "nnan", "ninf"}
_LANES = 16
"""Species looked at in one go for whether any of them may be in a set."""


def compiled(*signatures, **options):
    """Compile a function, for some types of arguments where they are given, and keep its machine code where there is a place to."""
    types: Any = (list(signatures),) if signatures else ()

    def decorate(function):
        try:
            return njit(*types, error_model="numpy", nogil=True, cache=True, **options)(function)  # type: ignore[call-overload]
        except RuntimeError:  # neither beside this file nor in a home may anything be written: compile anew in every process
            return njit(*types, error_model="numpy", nogil=True, **options)(function)

    return decorate


@intrinsic
def _truncated(context, x):
    """float32 -> int32, toward zero; numba's own conversion goes by 64 bits, which keeps a loop scalar."""

    def generate(context, builder, signature, arguments):
        return builder.fptosi(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


@intrinsic
def _floating(context, n):
    """int32 -> float32."""

    def generate(context, builder, signature, arguments):
        return builder.sitofp(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def _power_of_two(context, n):
    """2**n as float32, for -126 <= n <= 127."""

    def generate(context, builder, signature, arguments):
        exponent = builder.add(arguments[0], ir.Constant(ir.IntType(32), 127))
        return builder.bitcast(builder.shl(exponent, ir.Constant(ir.IntType(32), 23)), ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def _bits(context, x):
    """The bits of a float32 as int32."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


@intrinsic
def _of_bits(context, n):
    """An int32's bits as float32."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@njit(fastmath=_FAST, error_model="numpy", inline="always")
def _sigmoid(z):
    z = _F(-80) if z < _F(-80) else z
    z = _F(80) if z > _F(80) else z
    n = _truncated(z * _F(-1.44269504088896341))
    f = _floating(n)
    r = -z - f * _F(0.693359375) + f * _F(2.12194440e-4)
    y = _F(1.9875691500e-4)
    y = y * r + _F(1.3981999507e-3)
    y = y * r + _F(8.3334519073e-3)
    y = y * r + _F(4.1665795894e-2)
    y = y * r + _F(1.6666665459e-1)
    y = y * r + _F(5.0000001201e-1)
    y = y * r * r + r + _F(1)
    return _F(1) / (_F(1) + y * _power_of_two(n))


@njit(fastmath=_FAST, error_model="numpy", inline="always")
def _log(x):
    """Natural logarithm of a normal positive float32."""
    bits = _bits(x)
    e = (bits - np.int32(0x3F3504F3)) >> np.int32(23)
    m = _of_bits(np.int32(bits - np.int32(e << np.int32(23)))) - _F(1)
    y = _F(7.0376836292e-2)
    y = y * m + _F(-1.1514610310e-1)
    y = y * m + _F(1.1676998740e-1)
    y = y * m + _F(-1.2420140846e-1)
    y = y * m + _F(1.4249322787e-1)
    y = y * m + _F(-1.6668057665e-1)
    y = y * m + _F(2.0000714765e-1)
    y = y * m + _F(-2.4999993993e-1)
    y = y * m + _F(3.3333331174e-1)
    return (y * m * m * m - _F(0.5) * m * m) + m + _F(e) * _F(0.69314718056)


@compiled(fastmath=_FAST)
def from_integers(high, low, step, bias, availability, p):
    """256 high + low, int32 products of `SixteenBits` -> p."""
    for c in range(p.shape[0]):
        a, h, o, out = availability[c], high[c], low[c], p[c]
        for k in range(p.shape[1]):
            out[k] = a * _sigmoid((_floating(h[k]) * _F(256) + _floating(o[k])) * step[k] + bias[k])


@compiled(fastmath=_FAST)
def from_floats(product, bias, availability, p):
    """Products z . w, float32 -> p."""
    for c in range(p.shape[0]):
        a, z, out = availability[c], product[c], p[c]
        for k in range(p.shape[1]):
            out[k] = a * _sigmoid(z[k] + bias[k])


@compiled(fastmath=_FAST)
def map_of_integers(z, valid, weights, bias, availability, out):
    """One species over int8 latents (y, x, d): p where valid, written to out (y, x)."""
    for y in range(z.shape[0]):
        for x in range(z.shape[1]):
            if valid[y, x]:
                cell, total = z[y, x], _F(0)
                for i in range(weights.size):
                    total += _F(cell[i]) * weights[i]
                out[y, x] = availability[y, x] * _sigmoid(total + bias)


@compiled(fastmath=_FAST)
def add_totals(p, q, mass, variance, entropy, first, second):
    """Add the sums over species of p, p (1 - p), p ln p and p (1 - p) times ln p and its square to (cell,) float64; write p (1 - p) to q."""
    for c in range(p.shape[0]):
        row, spread = p[c], q[c]
        m, v, e, f, s = _F(0), _F(0), _F(0), _F(0), _F(0)
        for k in range(p.shape[1]):
            x = row[k]
            y = x * (_F(1) - x)
            spread[k] = y
            m += x
            v += y
            logarithm = _log(max(x, _F(1e-37)))
            e += x * logarithm
            y *= logarithm
            f += y
            s += y * logarithm
        mass[c] += m
        variance[c] += v
        entropy[c] += e
        first[c] += f
        second[c] += s


@compiled(fastmath=_FAST)
def add_change(before, after, gain, loss, mass):
    """Add the sums over species of what p rises, of what it falls and of p before to (cell,) float64."""
    for c in range(before.shape[0]):
        a, b = before[c], after[c]
        up, down, m = _F(0), _F(0), _F(0)
        for k in range(before.shape[1]):
            step = b[k] - a[k]
            up += max(step, _F(0))
            down += max(-step, _F(0))
            m += a[k]
        gain[c] += up
        loss[c] += down
        mass[c] += m


@compiled()
def to_absence(p):
    """Turn p into ln(1 - p) in place, as exact for the smallest p as for large ones; p = 1 counts as the double below 1."""
    for c in range(p.shape[0]):
        row = p[c]
        for k in range(p.shape[1]):
            x = row[k]
            u = _F(1) - x
            # What rounding took from 1 - x is given back; reassociation would take it for nothing, so this one is compiled without.
            lost = (_F(1) - u) - x
            u = max(u, _F(2.0**-53))
            row[k] = _log(u) + lost / u


@compiled(fastmath=_FAST)
def add_columns(p, out):
    """Add the sum over cells to (species,) float32."""
    for c in range(p.shape[0]):
        row = p[c]
        for k in range(p.shape[1]):
            out[k] += row[k]


@compiled()
def gather_candidates(p, first, cut, species, values, count):
    """Append the species of this block with p > cut[cell]: their numbers (from `first` on) and p, `count` a cell."""
    width = p.shape[1]
    whole = width - width % _LANES
    for c in range(p.shape[0]):
        limit, j, row, own, own_p = cut[c], count[c], p[c], species[c], values[c]
        for start in range(0, whole, _LANES):
            largest = _F(0)
            for k in range(start, start + _LANES):
                largest = max(largest, row[k])
            if largest > limit:
                for k in range(start, start + _LANES):  # writes every one and keeps those above: no branch to predict
                    own[j], own_p[j] = first + k, row[k]
                    j += row[k] > limit
        for k in range(whole, width):
            if row[k] > limit:
                own[j], own_p[j] = first + k, row[k]
                j += 1
        count[c] = j


@compiled()
def best_thresholds(values, count, mass, cut, threshold, short):
    """MaxExp's threshold (see `sets`) from the candidates, by Newton's steps; `short` marks cells whose root may lie below their cut.

    There the threshold is a lower bound of the root, to be the next cut.
    """
    for c in range(mass.size):
        root = _F(0)
        while True:
            size, total = 0, 0.0
            for j in range(count[c]):
                if values[c, j] > root:
                    size += 1
                    total += np.float64(values[c, j])
            both = size + mass[c]
            exact = total / both if both > 0 else 0.0
            step = _F(exact)
            if np.float64(step) > exact:  # the nearest float32 not above it
                step = _of_bits(np.int32(_bits(step) - np.int32(1)))
            if not step > root:
                break
            root = step
        threshold[c] = root
        short[c] = root < cut[c] and mass[c] > 0


@compiled()
def take_members(species, values, count, threshold, weights, sums, size, ids, bytes_):
    """Candidates above the threshold, packed one cell after the other: ids, p in 255ths (at least 1); `size` a cell.

    Adds weights (sum, species) of members to sums (sum, cell). Returns how many members there are.
    """
    done = 0
    for c in range(count.size):
        before = done
        for j in range(count[c]):
            x = values[c, j]
            if x > threshold[c]:
                k = species[c, j]
                ids[done] = k
                bytes_[done] = max(1, np.int64(x * _F(255) + _F(0.5)))
                for g in range(weights.shape[0]):
                    sums[g, c] += weights[g, k]
                done += 1
        size[c] = done - before
    return done


@compiled()
def place(cells, size, species, p, start, all_species, all_p):
    """Copy packed sets of some cells to where each cell's begin in those of all."""
    at = 0
    for i in range(cells.size):
        to, n = start[cells[i]], size[i]
        all_species[to : to + n] = species[at : at + n]
        all_p[to : to + n] = p[at : at + n]
        at += n


@compiled()
def add_sets(cells, weight, start, steps, first, out):
    """Add each cell's weight to the species of its set, out (species,) float64; `steps` are those from member `first` on (see `cell_sets`).

    Sums in the order of the cells, so that they are those of bincount to the last bit. False where a species is not in the list.
    """
    for i in range(cells.size):
        k, w = np.int64(0), weight[i]
        for j in range(start[cells[i]] - first, start[cells[i] + 1] - first):
            k += np.int64(steps[j])
            if k >= out.size:
                return False
            out[k] += w
    return True
