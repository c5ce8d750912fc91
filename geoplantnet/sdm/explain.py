"""Why a model says what it says. A predict function, sites and rows -> tables of contributions, importances and responses.

Works for every model of the one interface: all it asks for is `predict(sites, rows)`. Predictors are hidden, exchanged
between sites or moved to a value by wrapping the sites' patches, so images, series and tables are treated alike.

    contributions   hide modalities: alone, drop-one, and Shapley values (Shapley 1953; Lundberg & Lee 2017, arXiv:1705.07874)
    importance      exchange a band or a modality between sites (Breiman 2001; Fisher, Rudin & Dominici 2019, JMLR 20:177)
    response        move a band to each value of its range (evaluation strip: Elith et al. 2005,
                    https://doi.org/10.1016/j.ecolmodel.2004.12.007; its mean over sites is the partial dependence of
                    Friedman 2001, its quantiles summarise the ICE curves of Goldstein et al. 2015)

What is explained is the model, not nature: correlated predictors share or hide each other's effect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from geoplantnet.cubes.modality import Modality
from geoplantnet.cubes.patches import Patch
from geoplantnet.errors import InputError, ModelError, UsageError, did_you_mean
from geoplantnet.sdm.evaluate import auc_per_species
from geoplantnet.sdm.sites import Float, Integers, Patches, Sites, Table, tabulate
from geoplantnet.taxonomy.species_list import SpeciesList

Double = npt.NDArray[np.float64]
Predict = Callable[[Sites, Integers], Float]
"""`Estimator.predict` of a fitted model: probabilities (n, species)."""
Score = Callable[[Float, npt.NDArray[np.uint8]], Double]
"""Probabilities and presences (plots, species) -> (species,) how good, the larger the better; NaN = not scored."""

EXACT = 8
"""Most modalities of which all subsets are predicted (256); above, orders are drawn."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the ICE curves, at every value of a response curve."""
QUANTILE_NAMES = tuple(f"q{100 * q:02.0f}" for q in QUANTILES)
"""Their columns: q05 ... q95."""
_CURVE = ("mean", *QUANTILE_NAMES)
_UNITS = {"1": "", "degC": "°C", "degree": "°"}
"""As people write them."""


def log_likelihood(p: Float, labels: npt.NDArray[np.uint8]) -> Double:
    """Minus log loss (species,), nats a plot, probabilities kept within [1e-6, 1 - 1e-6]. For probabilities only, not suitability."""
    q = np.clip(p.astype(np.float64), 1e-6, 1 - 1e-6)
    return np.where(labels > 0, np.log(q), np.log1p(-q)).mean(axis=0)


SCORES: Mapping[str, Score] = {"auc": lambda p, labels: auc_per_species(p, labels).astype(np.float64), "log_likelihood": log_likelihood}
"""Scores by name. Each is averaged over the species it can be told of."""


class PermutedPatches:
    """Patches of another reader, in which some channels come whole from another site.

    `channels`: by modality, which channels; all of them take the modality as it is. A band of a coarse modality comes as
    the donor's value at its own cell, since its pixels lie elsewhere.
    """

    def __init__(self, patches: Patches, channels: Mapping[str, Integers], donors: Integers) -> None:
        self.modalities, self._patches, self._channels, self._donors = patches.modalities, patches, channels, donors

    def __len__(self) -> int:
        return len(self._patches)

    def read(self, index: npt.ArrayLike) -> dict[str, Patch]:
        """Patches at positions `index`, the exchanged channels from `donors[index]`."""
        picked = np.asarray(index, np.int64)
        own, other = self._patches.read(picked), self._patches.read(self._donors[picked])
        return {**own, **{name: _take(own[name], other[name], channels) for name, channels in self._channels.items()}}


class MovedPatches:
    """Patches of another reader, in which channels of one band are moved so that their mean at a site's cell is one value.

    All pixels and dates move alike and stop at what is plausible of the band: relief, texture and season stay the site's own
    (as in the delta change method of climate studies, Hay et al. 2000). A band that is one number simply becomes the value.
    Where it is unknown at the site's cell, the value holds everywhere.
    """

    def __init__(self, patches: Patches, modality: str, channels: Integers, value: float) -> None:
        self.modalities, self._patches = patches.modalities, patches
        self._modality, self._channels, self._value = modality, channels, value
        m = next(m for m in patches.modalities if m.name == modality)
        self._limits = m.plausible[int(channels[0]) % len(m.bands)] or (-np.inf, np.inf)

    def __len__(self) -> int:
        return len(self._patches)

    def read(self, index: npt.ArrayLike) -> dict[str, Patch]:
        """Patches at positions `index`, the channels moved."""
        read = self._patches.read(index)
        patch = read[self._modality]
        own, at_cell = patch.values[:, self._channels].astype(np.float64), _at_cell(patch, self._channels)
        known = np.isfinite(at_cell)
        count = known.sum(axis=1)
        mean = np.where(known, at_cell, 0).sum(axis=1) / np.maximum(count, 1)
        moved = np.clip(own + (self._value - mean)[:, None, None, None], *self._limits)
        moved[count == 0] = self._value
        values = patch.values.copy()
        values[:, self._channels] = moved
        return {**read, self._modality: replace(patch, values=values)}


def _at_cell(patch: Patch, channels: Integers) -> Double:
    """(n, channel): values at the sites' own cells."""
    values = patch.values[:, channels].astype(np.float64)
    if patch.weight_y is None or patch.weight_x is None:
        return values[:, :, values.shape[2] // 2, values.shape[3] // 2]
    return np.einsum("nyi,ncij,nxj->nc", patch.weight_y, values, patch.weight_x)


def _take(own: Patch, other: Patch, channels: Integers) -> Patch:
    if channels.size == own.values.shape[1]:
        return other
    values = own.values.copy()
    if other.weight_y is None or other.weight_x is None:
        values[:, channels] = other.values[:, channels]
    else:
        values[:, channels] = _at_cell(other, channels)[:, :, None, None]
    return replace(own, values=values)


def predictors_of(modalities: Sequence[Modality]) -> tuple[str, ...]:
    """`modality.band` of every band, in order."""
    return tuple(f"{m.name}.{band}" for m in modalities for band in m.bands)


def channels_of(modalities: Sequence[Modality], name: str) -> tuple[str, Integers]:
    """The modality and channels that a name means: a modality, `modality.band` (all dates), or `modality.band@date`.

    Raises UsageError for a name that is none of them.
    """
    known: dict[str, tuple[str, Integers]] = {}
    for m in modalities:
        place = np.arange(int(np.prod(m.axes))).reshape(-1, len(m.bands))  # (time, band): time is the slower axis
        known[m.name] = m.name, place.ravel()
        for b, band in enumerate(m.bands):
            known[f"{m.name}.{band}"] = m.name, place[:, b]
            known.update({f"{m.name}.{band}@{t}": (m.name, place[t, b : b + 1]) for t in range(m.times)})
    if name not in known:
        raise UsageError(f"no predictor {name!r}; there are {', '.join(predictors_of(modalities))}.{did_you_mean(name, known)}")
    return known[name]


@dataclass(frozen=True, kw_only=True, eq=False)
class Contributions:
    """What each modality adds to a score, and to every prediction."""

    table: pd.DataFrame
    """A row a modality. `alone`: score with it only, minus with none. `drop_one`: score with all, minus without it. `shapley`:
    its Shapley value, which over the modalities sum to score with all minus with none; `share`: of that sum."""
    with_all: float
    """Score with every modality."""
    with_none: float
    """Score with none: what the model says of a place it knows nothing of."""
    species: pd.DataFrame
    """(taxon, modality) Shapley values of each species' own score, NaN where not scored; their mean is `table.shapley`."""
    predictions: Float
    """(modality, n, species) Shapley values of the predictions; with `baseline` they sum to the prediction with all."""
    baseline: Float
    """(n, species) predictions with no modality."""
    subsets: int
    """How many sets of modalities were predicted."""
    exact: bool
    """Whether these were all; else Shapley values are means over drawn orders, whose sums still hold."""


def modality_contributions(
    predict: Predict,
    sites: Sites,
    rows: Integers,
    *,
    score: str = "auc",
    species: Integers | None = None,
    orders: int = 64,
    seed: int = 0,
) -> Contributions:
    """Contributions of modalities to the score on the plots among `rows`, and to the predictions there.

    Each set of modalities is predicted once: 2^m times for m <= EXACT modalities; above, for `orders` random orders, each
    with its reverse (Mitchell et al. 2022, JMLR 23:43). `species` are those whose predictions are taken apart (None = all):
    they cost 4 bytes a modality, plot and species. Raises InputError without plots or a species that can be scored,
    ModelError when the model has no answer with some modality hidden.
    """
    names = [m.name for m in sites.patches.modalities]
    plots, labels, rate = _scored(sites, rows, score)
    kept = np.arange(len(sites.species)) if species is None else species
    exact = len(names) <= EXACT
    coefficient = _all_subsets(len(names)) if exact else _drawn_orders(len(names), orders, seed)
    everything = 2 ** len(names) - 1
    for i in range(len(names)):
        for subset in (0, everything, 1 << i, everything & ~(1 << i)):
            coefficient.setdefault(subset, np.zeros(len(names)))
    found: dict[int, Double] = {}
    parts = np.zeros((len(names), plots.size, kept.size), np.float32)
    own = np.zeros((len(names), len(sites.species)))
    baseline = np.zeros((plots.size, kept.size), np.float32)
    for subset, weights in sorted(coefficient.items()):
        hidden = [name for i, name in enumerate(names) if not subset >> i & 1]
        p = _predicted(predict, sites.masked(hidden), plots, f"without {', '.join(hidden)}" if hidden else "with all modalities")
        found[subset] = rate(p, labels)
        for player in np.flatnonzero(weights):
            parts[player] += np.float32(weights[player]) * p[:, kept]
            own[player] += weights[player] * found[subset]
        if not subset:
            baseline = p[:, kept].astype(np.float32)
    total = {subset: float(np.nanmean(values)) for subset, values in found.items()}
    gain = total[everything] - total[0]
    table = pd.DataFrame({"modality": names})
    table["alone"] = [total[1 << i] - total[0] for i in range(len(names))]
    table["drop_one"] = [total[everything] - total[everything & ~(1 << i)] for i in range(len(names))]
    table["shapley"] = np.nanmean(own, axis=1)
    table["share"] = table["shapley"] / gain if gain else np.nan
    return Contributions(
        table=table,
        with_all=total[everything],
        with_none=total[0],
        species=_by_taxon(sites.species, own.T, names),
        predictions=parts,
        baseline=baseline,
        subsets=len(coefficient),
        exact=exact,
    )


def _all_subsets(m: int) -> dict[int, Double]:
    """Subset (bits) -> how much its value adds to each player's Shapley value: +-|S|! (m - |S| - 1)! / m!, S without the player."""
    weight = [math.factorial(k) * math.factorial(m - k - 1) / math.factorial(m) for k in range(m)]
    out = {}
    for subset in range(2**m):
        inside, size = (subset >> np.arange(m)) & 1, subset.bit_count()
        out[subset] = np.where(inside == 1, weight[size - 1], -weight[min(size, m - 1)])
    return out


def _drawn_orders(m: int, orders: int, seed: int) -> dict[int, Double]:
    """The same by random orders of the players, each with its reverse: what a player adds to those before it, on average."""
    rng = np.random.default_rng(seed)
    out: dict[int, Double] = {}
    for _ in range(orders):
        order = rng.permutation(m)
        for walk in (order, order[::-1]):
            subset = 0
            for i in walk.tolist():
                after = subset | 1 << i
                for which, sign in ((subset, -1), (after, 1)):
                    out.setdefault(which, np.zeros(m))[i] += sign / (2 * orders)
                subset = after
    return out


@dataclass(frozen=True, kw_only=True, eq=False)
class Importance:
    """How much a score falls when predictors are exchanged between sites."""

    table: pd.DataFrame
    """A row a predictor: `name`, `importance` (mean fall of the score), `sd` over the repeats; the most important first."""
    species: pd.DataFrame
    """(taxon, name) mean fall of each species' own score, NaN where not scored."""

    def only(self, names: Sequence[str]) -> Importance:
        """That of some of the predictors."""
        return Importance(table=self.table[self.table["name"].isin(names)].reset_index(drop=True), species=self.species.loc[:, list(names)])

    def of(self, names: Sequence[str]) -> Double:
        """Importance of some predictors (n,), in that order. Raises UsageError for one that was not asked about."""
        known = self.table.set_index("name")["importance"]
        if absent := [name for name in names if name not in known.index]:
            raise UsageError(f"the importance of {absent[0]!r} was not computed.{did_you_mean(absent[0], known.index)}")
        return known.loc[list(names)].to_numpy(np.float64)


def permutation_importance(
    predict: Predict,
    sites: Sites,
    rows: Integers,
    names: Sequence[str],
    *,
    score: str = "auc",
    repeats: int = 5,
    blocks: Integers | None = None,
    seed: int = 0,
) -> Importance:
    """Importance of predictors (bands, dates or whole modalities, see `channels_of`) on the plots among `rows`.

    Patches are exchanged whole between the plots; `blocks` (site,) keeps the exchange within spatial blocks, which tells
    what a predictor explains beyond where a plot lies. A repeat uses one exchange for all predictors, so an importance
    does not depend on which others are asked about. Costs a prediction a name and repeat. Raises as `modality_contributions`,
    and UsageError for an unknown name or no repeats.
    """
    if repeats < 1:
        raise UsageError(f"permutation importance needs at least one repeat, got {repeats}")
    channels = {name: channels_of(sites.patches.modalities, name) for name in names}
    plots, labels, rate = _scored(sites, rows, score)
    best = rate(_predicted(predict, sites, plots, "with all modalities"), labels)
    exchanges = _exchanges(len(sites), plots, None if blocks is None else blocks[plots], repeats, seed)
    fall = np.empty((len(names), repeats, len(sites.species)))
    for i, (modality, which) in enumerate(channels.values()):
        for r, donors in enumerate(exchanges):
            other = replace(sites, patches=PermutedPatches(sites.patches, {modality: which}, donors))
            fall[i, r] = best - rate(_predicted(predict, other, plots, f"with {names[i]} exchanged"), labels)
    each = fall[..., np.isfinite(best)].mean(axis=2)  # (name, repeat)
    table = pd.DataFrame({"name": list(names), "importance": each.mean(axis=1), "sd": each.std(axis=1, ddof=1) if repeats > 1 else np.nan})
    return Importance(
        table=table.sort_values("importance", ascending=False, kind="stable", ignore_index=True),
        species=_by_taxon(sites.species, fall.mean(axis=1).T, names),
    )


def _exchanges(n: int, plots: Integers, blocks: Integers | None, repeats: int, seed: int) -> list[Integers]:
    """For each repeat, the donor (site,) of every site: a permutation of the plots, within their blocks."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(repeats):
        donors, order = np.arange(n), rng.permutation(plots.size)
        if blocks is None:
            donors[plots] = plots[order]
        else:
            donors[plots[np.argsort(blocks, kind="stable")]] = plots[order[np.argsort(blocks[order], kind="stable")]]
        out.append(donors)
    return out


def most_important(importance: Importance, training: Table, count: int) -> list[str]:
    """The bands, at most so many, that matter most: the best of every modality, then the best of all. In order of importance.

    (Bands of an image tell much the same, and would crowd out climate and terrain.) Only such as matter at all, and that some
    training site knows at its cell.
    """
    at_cell = [training.names[j] for j in np.flatnonzero(np.isfinite(training.values).any(axis=0))]
    known = {column.partition("@")[0] for column in at_cell if not column.endswith(" mean")}
    table = importance.table
    names = [name for name in table.loc[table["importance"] > 0, "name"] if name in known]
    of_modality: dict[str, str] = {}
    for name in names:
        of_modality.setdefault(name.partition(".")[0], name)
    chosen = list(dict.fromkeys([*of_modality.values(), *names]))[:count]
    return [name for name in names if name in chosen]


def importance_weights(importance: Importance, modalities: Sequence[Modality]) -> Double:
    """Weights (predictor,) of `tabulate`'s columns for `Applicability.fit`, from the importance of every modality.

    A modality weighs what exchanging it whole costs, and its columns share that alike: the squares of their weights sum to its
    importance squared. Meyer & Pebesma (2021) weigh each predictor by its own importance; but where many tell the same (nineteen
    of bioclimate), exchanging one costs nothing, and a place of unknown climate looks known (benchmarks/experiments/virtual.py:
    beyond one degree of the known climate 64 % of cells were flagged, and 92 % with these weights). Negative importance counts as 0.
    """
    weights = []
    for m in modalities:
        columns = len(m.bands) * max(m.times, 1) * (2 if m.window > 1 else 1)
        weights.append(np.full(columns, max(float(importance.of([m.name])[0]), 0.0) / math.sqrt(columns)))
    return np.concatenate(weights)


@dataclass(frozen=True, kw_only=True, eq=False)
class Responses:
    """How predictions change along bands, all else as observed."""

    predictors: pd.DataFrame
    """A row a predictor: `predictor`, `title` and `unit` for people, and what the training sites have of it at their cells (the
    mean over dates): `low`, `q05` ... `q95`, `high`."""
    species: pd.DataFrame
    """A row a predictor, value and taxon: `predictor`, `value`, `taxon_id`, `mean` (partial dependence), `q05` ... `q95` (of the
    sites' own curves), `inside` (the training range)."""
    richness: pd.DataFrame
    """The same of the sum of p over all species, without `taxon_id`."""
    sites: int
    """Whose curves these are."""


def response_curves(
    predict: Predict,
    sites: Sites,
    rows: Integers,
    predictors: Sequence[str],
    *,
    training: Table,
    species: Integers | None = None,
    points: int = 30,
    values: npt.ArrayLike | None = None,
    sample: int = 200,
    seed: int = 0,
) -> Responses:
    """Move one band at a time at (a seeded `sample` of) the sites at `rows`, see `MovedPatches`.

    Values are `points` even steps over the range the band has at cells of `training` (`tabulate` of the training sites; the
    mean over dates unless a date is named), or `values`; those outside that range are not predicted: NaN, `inside` False.
    `species`: positions, None = all; richness is always that of all.

    Raises UsageError for an unknown predictor or a whole modality, InputError without sites or for a band that no training
    site knows.
    """
    rows = sites.positions(rows)
    if not rows.size or points < 2:
        raise InputError(f"a response curve needs sites and at least 2 points, got {rows.size} and {points}")
    chosen = rows if rows.size <= sample else np.sort(np.random.default_rng(seed).choice(rows, sample, replace=False))
    kept = np.arange(len(sites.species)) if species is None else species
    taxa = [sites.species[k].taxon_id for k in kept]
    about, curves, richness = [], [], []
    for name in predictors:
        modality, channels = channels_of(sites.patches.modalities, name)
        known = _observed(training, name)
        low, high = float(known.min()), float(known.max())
        title, unit = _label(sites.patches.modalities, name)
        observed = zip(QUANTILE_NAMES, np.quantile(known, QUANTILES).tolist())
        about.append({"predictor": name, "title": title, "unit": unit, "low": low, **dict(observed), "high": high})
        for value in np.linspace(low, high, points) if values is None else np.asarray(values, np.float64):
            inside = bool(low <= value <= high)
            found, total = np.full((len(QUANTILES) + 1, kept.size), np.nan), np.full((len(QUANTILES) + 1, 1), np.nan)
            if inside:
                moved = replace(sites, patches=MovedPatches(sites.patches, modality, channels, float(value)))
                p = _predicted(predict, moved, chosen, f"with {name} at {value:g}").astype(np.float64)
                found, total = _summary(p[:, kept]), _summary(p.sum(axis=1, keepdims=True))
            at = {"predictor": name, "value": float(value)}
            curves.append(pd.DataFrame({**at, "taxon_id": taxa, **dict(zip(_CURVE, found)), "inside": inside}))
            richness.append({**at, **dict(zip(_CURVE, total[:, 0].tolist())), "inside": inside})
    return Responses(
        predictors=pd.DataFrame(about, columns=["predictor", "title", "unit", "low", *QUANTILE_NAMES, "high"]),
        species=pd.concat(curves, ignore_index=True)
        if curves
        else pd.DataFrame(columns=["predictor", "value", "taxon_id", *_CURVE, "inside"]),
        richness=pd.DataFrame(richness, columns=["predictor", "value", *_CURVE, "inside"]),
        sites=int(chosen.size),
    )


def _summary(p: Double) -> Double:
    """(1 + quantiles, m): mean and quantiles over the sites of (n, m)."""
    return np.concatenate([p.mean(axis=0)[None], np.quantile(p, QUANTILES, axis=0)])


def _observed(training: Table, name: str) -> Double:
    """What the training sites have of a band at their cells, those that know it; its mean over dates."""
    dates = [name, *(column for column in training.names if column.rpartition("@")[0] == name and not column.endswith(" mean"))]
    columns = [j for j, column in enumerate(training.names) if column in dates]
    if not columns:
        raise UsageError(
            f"no band {name!r} among the training predictors ({', '.join(training.names)}).{did_you_mean(name, training.names)}"
        )
    values = training.values[:, columns].astype(np.float64)
    known = np.isfinite(values)
    sites = known.any(axis=1)
    if not sites.any():
        raise InputError(f"no training site knows {name!r}: its response has no range")
    return np.where(known, values, 0).sum(axis=1)[sites] / known.sum(axis=1)[sites]


def _label(modalities: Sequence[Modality], name: str) -> tuple[str, str]:
    """A band's name for people and its unit ("" = a plain number)."""
    modality, channels = channels_of(modalities, name)
    m = next(m for m in modalities if m.name == modality)
    band = int(channels[0]) % len(m.bands)
    date = f", date {name.rpartition('@')[2]}" if "@" in name else ", mean of the dates" if m.times > 1 else ""
    title = m.long_names[band] if m.long_names[band] != m.bands[band] else f"{m.name}.{m.bands[band]}"
    return title + date, _UNITS.get(m.units[band], m.units[band])


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """What `Estimator.explain` found."""

    species: SpeciesList
    score: str
    """Name of the score explained, of SCORES."""
    plots: int
    """Plots it was taken on."""
    contributions: Contributions
    modalities: Importance
    """Permutation importance of whole modalities."""
    predictors: Importance
    """Permutation importance of bands."""
    responses: Responses
    """Along the most important bands."""


def explain_predictions(
    predict: Predict,
    sites: Sites,
    rows: Integers,
    *,
    training: Integers | None = None,
    score: str = "auc",
    predictors: Sequence[str] | None = None,
    curves: int = 6,
    repeats: int = 5,
    sample: int = 200,
    points: int = 30,
    blocks: Integers | None = None,
    seed: int = 0,
) -> Explanation:
    """Explain a model at the sites `rows`: contributions of modalities, importance of modalities and bands, responses.

    `rows` had best be held out: importance on training plots tells what was learnt by heart. `training` are the rows fitted
    on, whose ranges the response curves keep to (None = `rows`). `predictors`: bands to ask about (None = all); the `curves`
    most important of them get response curves, over `sample` sites and `points` values. Predicts 2^m + repeats * (m +
    bands) times the plots and curves * points times the sample. Raises as the functions it calls.
    """
    names = predictors_of(sites.patches.modalities) if predictors is None else tuple(predictors)
    asked: dict[str, Any] = {"score": score, "repeats": repeats, "blocks": blocks, "seed": seed}
    bands = permutation_importance(predict, sites, rows, names, **asked)
    table = tabulate(sites.patches, rows if training is None else training)
    return Explanation(
        species=sites.species,
        score=score,
        plots=int(sites.plots(rows).size),
        contributions=modality_contributions(predict, sites, rows, score=score, seed=seed),
        modalities=permutation_importance(predict, sites, rows, [m.name for m in sites.patches.modalities], **asked),
        predictors=bands,
        responses=response_curves(
            predict, sites, rows, most_important(bands, table, curves), training=table, points=points, sample=sample, seed=seed
        ),
    )


def _scored(sites: Sites, rows: Integers, score: str) -> tuple[Integers, npt.NDArray[np.uint8], Score]:
    """The plots among the rows, what was found there, and the score, which at least one species has."""
    if score not in SCORES:
        raise UsageError(f"no score {score!r}; there are {', '.join(SCORES)}.{did_you_mean(score, SCORES)}")
    plots = sites.plots(rows)
    if not plots.size:
        raise InputError("no presence-absence plot among the rows: nothing to score a model by; give plots held out of training")
    labels, rate = sites.found(plots), SCORES[score]
    if not np.isfinite(rate(np.full(labels.shape, 0.5, np.float32), labels)).any():
        raise InputError(f"no species of {len(sites.species)} has presences and absences enough among {plots.size} plots; give more plots")
    return plots, labels, rate


def _predicted(predict: Predict, sites: Sites, rows: Integers, how: str) -> Float:
    p = predict(sites, rows)
    if p.shape != (rows.size, len(sites.species)):
        raise ModelError(
            f"the model predicted {p.shape} for {rows.size} sites and {len(sites.species)} species; use the sites it was fitted on"
        )
    if not np.isfinite(p).all():
        raise ModelError(
            f"the model has no answer for {int((~np.isfinite(p)).any(axis=1).sum())} of {rows.size} sites {how}; let it impute"
        )
    return p


def _by_taxon(species: SpeciesList, values: Double, names: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(values, index=pd.Index([t.taxon_id for t in species], name="taxon_id"), columns=list(names))
