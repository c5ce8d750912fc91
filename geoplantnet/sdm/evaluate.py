"""Skill on held-out plots: discrimination, sets of species, calibration, richness, with bootstrap intervals.

`evaluate` scores everything `HeldOut` holds. What ranks plots (AUC, AUC-PR, COR, TSS, Boyce) is taken inside each fold and
averaged over all scored (fold, species), since folds' models differ; sets and probabilities are pooled over the plots.
Intervals are percentiles of a bootstrap that draws spatial blocks, where there are ten or more, else plots: neighbours are
no independent witnesses, and drawing plots makes intervals too narrow (Roberts et al. 2017). The draws are moved so that
their median is the score of the sample: drawing with replacement repeats plots, and that alone raises AUC-PR and ECE and
lowers the Boyce index. Folds are not trained again, so an interval says how the score would vary with other plots, not with
other training data.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata

from geoplantnet.assemblages.sets import max_expected_f1
from geoplantnet.errors import UsageError
from geoplantnet.sdm import scores
from geoplantnet.sdm.held_out import HeldOut

Float = npt.NDArray[np.floating]
SetRule = Callable[[Float], npt.NDArray[np.bool_]]
"""From probabilities (plot, species) to sets (plot, species)."""


@dataclass(frozen=True, kw_only=True)
class Skill:
    """Scores of one model on one set of plots."""

    auc: float
    """Mean area under the ROC curve over the scored species and folds; NaN when none could be scored."""
    species: int
    """Species scored: at least `minimum` presences and as many absences among a fold's plots."""
    ece: float
    """Expected calibration error, all plots and species pooled, 15 equal-width bins (Naeini et al. 2015)."""
    brier: float
    """Mean squared error of the probabilities."""
    richness_bias: float
    """(sum of p - observed richness) / observed richness, over all plots."""
    plots: int

    def to_dict(self) -> dict[str, float | int | None]:
        """JSON-able: NaN becomes None."""
        return {k: (None if isinstance(v, float) and not np.isfinite(v) else v) for k, v in asdict(self).items()}


def auc_per_species(p: Float, labels: npt.NDArray[np.uint8], *, minimum: int = 5) -> Float:
    """(species,) AUC by ranks (Mann-Whitney, ties halved); NaN below `minimum` presences or absences."""
    ranks = rankdata(p, axis=0)
    present = labels.sum(axis=0).astype(float)
    absent = len(labels) - present
    with np.errstate(invalid="ignore", divide="ignore"):
        auc = ((ranks * labels).sum(axis=0) - present * (present + 1) / 2) / (present * absent)
    return np.where((present >= minimum) & (absent >= minimum), auc, np.nan)


def expected_calibration_error(p: Float, labels: npt.NDArray[np.uint8], *, bins: int = 15) -> float:
    """Mean |observed frequency - mean probability| over equal-width bins, weighted by their counts."""
    flat, hits = p.ravel().astype(float), labels.ravel().astype(float)
    if not flat.size:
        return float("nan")
    where = np.minimum((flat * bins).astype(int), bins - 1)
    gap = np.bincount(where, hits - flat, minlength=bins)
    return float(np.abs(gap).sum() / flat.size)


def skill(folds: Sequence[tuple[Float, npt.NDArray[np.uint8]]], *, minimum: int = 5) -> Skill:
    """Score held-out folds, each probabilities and presences (plots, species).

    AUC is taken inside each fold and averaged over all scored (fold, species): ranks of different folds' models are not
    compared, which would punish even prevalence for being lower where a species is held out. The rest is pooled.
    """
    within = np.stack([auc_per_species(p, labels, minimum=minimum) for p, labels in folds])
    scored = np.isfinite(within)
    p, labels = (np.concatenate(parts) for parts in zip(*folds))
    observed = float(labels.sum())
    return Skill(
        auc=float(within[scored].mean()) if scored.any() else float("nan"),
        species=int(scored.any(axis=0).sum()),
        ece=expected_calibration_error(p, labels),
        brier=float(((p - labels) ** 2).mean()) if labels.size else float("nan"),
        richness_bias=(float(p.sum()) - observed) / observed if observed else float("nan"),
        plots=len(labels),
    )


def agreement(p: Float, truth: Float) -> dict[str, float]:
    """How predicted probabilities follow known true ones, both (cells, species).

    `pooled` is Pearson's r over all cells and species; `per_species` the median of the species' own r (their maps);
    `mean_error` the mean |p - truth|.
    """
    a, b = p.astype(np.float64), truth.astype(np.float64)
    da, db = a - a.mean(axis=0), b - b.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        own = (da * db).sum(axis=0) / np.sqrt((da**2).sum(axis=0) * (db**2).sum(axis=0))
    own = own[np.isfinite(own)]
    return {
        "pooled": float(np.corrcoef(a.ravel(), b.ravel())[0, 1]),
        "per_species": float(np.median(own)) if own.size else 0.0,
        "mean_error": float(np.abs(a - b).mean()),
    }


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A score as tables and reports name it."""

    key: str
    title: str
    better: Literal["higher", "lower", "zero"]
    words: str
    """Definition and source, a sentence."""
    lowest: float = 0.0
    highest: float = 1.0


METRICS = (
    Metric(
        key="auc",
        title="AUC-ROC",
        better="higher",
        words="chance that a plot with the species ranks above one without; .5 is a coin (Hanley and McNeil 1982)",
    ),
    Metric(key="auc_pr", title="AUC-PR", better="higher", words="average precision; its floor is the prevalence (Davis and Goadrich 2006)"),
    Metric(
        key="auc_pr_above_chance",
        title="AUC-PR above chance",
        better="higher",
        lowest=-np.inf,
        words="(AUC-PR - prevalence) / (1 - prevalence): 0 for a random ranking, 1 for a perfect one",
    ),
    Metric(
        key="cor",
        title="COR",
        better="higher",
        lowest=-1.0,
        words="point-biserial correlation of probability and presence (Elith et al. 2006)",
    ),
    Metric(key="tss", title="TSS", better="higher", lowest=-1.0, words="sensitivity + specificity - 1 (Allouche et al. 2006)"),
    Metric(
        key="boyce",
        title="Boyce index",
        better="higher",
        lowest=-1.0,
        words="continuous Boyce index, moving window, Spearman's r (Hirzel et al. 2006)",
    ),
    Metric(
        key="samples_f1",
        title="samples-F1",
        better="higher",
        words="F1 of each plot's set, averaged: Sorensen's similarity; what GeoLifeCLEF scores",
    ),
    Metric(key="micro_f1", title="micro-F1", better="higher", words="F1 of all (plot, species) pairs pooled"),
    Metric(key="macro_f1", title="macro-F1", better="higher", words="mean F1 over species found in the plots"),
    Metric(key="jaccard", title="Jaccard", better="higher", words="shared species over all species of set and plot, averaged over plots"),
    Metric(
        key="set_size_bias",
        title="set size bias",
        better="zero",
        lowest=-1.0,
        highest=np.inf,
        words="(species in the sets - species found) / species found: why the size of a set is no richness",
    ),
    Metric(
        key="richness_bias",
        title="richness bias",
        better="zero",
        lowest=-1.0,
        highest=np.inf,
        words="(sum of p - species found) / species found",
    ),
    Metric(
        key="richness_rmse",
        title="richness RMSE",
        better="lower",
        highest=np.inf,
        words="root mean squared error of the sum of p against the species found on a plot, species",
    ),
    Metric(
        key="ece",
        title="ECE",
        better="lower",
        words="expected calibration error, 15 equal-width bins, all species pooled (Naeini et al. 2015)",
    ),
    Metric(key="brier", title="Brier score", better="lower", words="mean squared error of the probabilities (Brier 1950)"),
)
RANKING = ("auc", "auc_pr", "auc_pr_above_chance", "cor", "tss", "boyce")
"""Metrics taken a species and fold at a time; the others concern all species of a plot."""
PREVALENCE_CLASSES = (0.0, 0.02, 0.1, 0.3, 1.0)
"""Bounds of the classes that species are told apart by: their share of the held-out plots, lower bound included."""
LEVEL = 0.95
MINIMUM_BLOCKS = 10


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A score with its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, draws: Float, lowest: float = -np.inf, highest: float = np.inf) -> Estimate:
        """From values (draw,), the first of which is the sample itself; ends are kept within `lowest` and `highest`.

        No interval where half the draws, or the sample, have no value.
        """
        value, drawn = float(draws[0]), draws[1:][np.isfinite(draws[1:])]
        if not np.isfinite(value) or not drawn.size or drawn.size < (len(draws) - 1) / 2:
            return cls(value=value, low=float("nan"), high=float("nan"))
        low, middle, high = np.quantile(drawn, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2])
        moved = np.clip([value + low - middle, value + high - middle], lowest, highest)
        return cls(value=value, low=float(moved[0]), high=float(moved[1]))


@dataclass(frozen=True, kw_only=True)
class PrevalenceClass:
    """Skill on the species of one class of prevalence."""

    low: float
    high: float
    species: int
    """Scored."""
    scores: Mapping[str, Estimate]
    """The metrics of `RANKING`."""

    @property
    def title(self) -> str:
        """Such as "2-10 %"."""
        return f"{100 * self.low:g}-{100 * self.high:g} %"


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """One bin of a reliability diagram."""

    count: int
    """(plot, species) pairs in it."""
    predicted: float
    """Mean probability."""
    observed: Estimate
    """Share of them found."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything `evaluate` found. The first model is the one that maps; the others are baselines."""

    plots: int
    species: int
    scored_species: int
    """With at least `minimum` presences and as many absences among a fold's plots."""
    folds: int
    presences: int
    minimum: int
    resampled: Literal["blocks", "plots"]
    units: int
    """How many of them there are to draw from."""
    draws: int
    seed: int
    threshold: Literal["other folds", "same plots"]
    """Where the threshold of TSS was chosen: on other folds' held-out plots, or, with a single fold, on the scored plots (optimistic)."""
    scores: Mapping[str, Mapping[str, Estimate]]
    """Model -> metric -> estimate."""
    differences: Mapping[str, Mapping[str, Estimate]]
    """Baseline -> metric -> first model minus baseline, on the same draws; of biases, the first's distance from 0 minus the other's."""
    classes: Mapping[str, tuple[PrevalenceClass, ...]]
    reliability: Mapping[str, tuple[ReliabilityBin, ...]]
    """Bins that hold anything."""
    per_species: pd.DataFrame
    """A row a model and species: taxonID, scientificName, presences, prevalence, folds scored, AUC with its interval, ..."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, without the species' table; NaN becomes None."""
        plain = {f: getattr(self, f) for f in ("plots", "species", "scored_species", "folds", "presences", "minimum", "draws", "seed")}
        plain |= {"resampled": self.resampled, "units": self.units, "level": LEVEL, "tss_threshold": self.threshold}
        nested = {
            "scores": {m: {k: asdict(e) for k, e in s.items()} for m, s in self.scores.items()},
            "differences": {m: {k: asdict(e) for k, e in s.items()} for m, s in self.differences.items()},
            "prevalence_classes": {m: [asdict(c) for c in classes] for m, classes in self.classes.items()},
            "reliability": {m: [asdict(b) for b in bins] for m, bins in self.reliability.items()},
        }
        return plain | _finite(nested)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def maxexp(p: Float) -> npt.NDArray[np.bool_]:
    """Sets (plot, species) of the largest expected F1, plot by plot; see `assemblages.sets`."""
    return np.asarray(max_expected_f1(np.ascontiguousarray(p.T.astype(np.float32))[:, :, None]))[:, :, 0].T


def evaluate(
    held_out: HeldOut, *, draws: int = 200, seed: int = 0, minimum: int = 5, rules: Mapping[str, SetRule] | None = None
) -> Evaluation:
    """Score every model of the held-out predictions.

    `draws` bootstrap resamples, the same for all models, so that their differences have intervals too. `rules` names the
    set rule of a model; MaxExp otherwise. Raises UsageError for a rule of an unknown model or less than one draw.

    Time and memory grow with draws x plots, and for what ranks plots with the number of species.
    """
    if draws < 1:
        raise UsageError(f"intervals need one draw at least, got {draws}")
    rules = rules or {}
    if unknown := sorted(set(rules) - set(held_out.p)):
        raise UsageError(f"set rules are given for {', '.join(unknown)}; the models are {', '.join(held_out.p)}")
    labels, folds = held_out.found(), list(held_out.folds())
    resampled, unit = _units(held_out)
    weights = _weights(unit, draws, seed)
    share = labels.mean(axis=0)
    pairs = {name: _pairs(p.astype(np.float32), labels, folds, weights, minimum) for name, p in held_out.p.items()}
    values: dict[str, dict[str, Float]] = {}
    for name, p in held_out.p.items():
        exact = p.astype(np.float32)
        sets = scores.set_scores(rules.get(name, maxexp)(exact), labels, weights)
        level = scores.calibration(exact, labels, weights)
        values[name] = pairs[name].means() | sets._asdict() | level._asdict()
    first, *others = held_out.p
    return Evaluation(
        plots=len(held_out),
        species=len(held_out.species),
        scored_species=len(set(pairs[first].species)),
        folds=len(folds),
        presences=int(labels.sum()),
        minimum=minimum,
        resampled=resampled,
        units=int(unit.max()) + 1,
        draws=draws,
        seed=seed,
        threshold="other folds" if len(folds) > 1 else "same plots",
        scores={name: _estimates(v) for name, v in values.items()},
        differences={name: {m.key: Estimate.of(_difference(m, values[first], values[name])) for m in METRICS} for name in others},
        classes={name: _classes(found, share) for name, found in pairs.items()},
        reliability={name: _reliability(p.astype(np.float32), labels, weights) for name, p in held_out.p.items()},
        per_species=pd.concat([_per_species(name, found, held_out, labels) for name, found in pairs.items()], ignore_index=True),
    )


def _difference(m: Metric, own: Mapping[str, Float], other: Mapping[str, Float]) -> Float:
    if m.better == "zero":
        return np.abs(own[m.key]) - np.abs(other[m.key])
    return own[m.key] - other[m.key]


def _estimates(values: Mapping[str, Float]) -> dict[str, Estimate]:
    """Of the metrics that have values (draw,)."""
    return {m.key: Estimate.of(values[m.key], m.lowest, m.highest) for m in METRICS if m.key in values}


def _units(held_out: HeldOut) -> tuple[Literal["blocks", "plots"], npt.NDArray[np.int64]]:
    """What is drawn, and which of them (0, 1 ...) every plot belongs to."""
    if held_out.block is not None:
        blocks, unit = np.unique(held_out.block, return_inverse=True)
        if len(blocks) >= MINIMUM_BLOCKS:
            return "blocks", unit.reshape(-1)
    return "plots", np.arange(len(held_out))


def _weights(unit: npt.NDArray[np.int64], draws: int, seed: int) -> Float:
    """How often each plot counts (1 + draws, plot); the first row is the sample itself."""
    n = int(unit.max()) + 1
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
    return np.vstack([np.ones(len(unit)), counts[:, unit]])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pairs:
    """Scores of every scored (fold, species) pair: `values` metric -> (draw, pair)."""

    species: npt.NDArray[np.int64]
    values: Mapping[str, Float]

    def means(self, keep: npt.NDArray[np.bool_] | slice = slice(None)) -> dict[str, Float]:
        """Metric -> (draw,): mean over pairs that have a value in the draw."""
        return {name: _mean(v[:, keep]) for name, v in self.values.items()}


def _mean(values: Float) -> Float:
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(axis=1) / np.where(known.any(axis=1), known.sum(axis=1), np.nan)


def _pairs(p: Float, labels: npt.NDArray[np.uint8], folds: Sequence[npt.NDArray[np.int64]], weights: Float, minimum: int) -> _Pairs:
    species, parts = [], []
    for rows in folds:
        found = labels[rows].sum(axis=0, dtype=int)
        scored = np.flatnonzero((found >= minimum) & (len(rows) - found >= minimum))
        others = np.setdiff1d(np.arange(len(p)), rows) if len(folds) > 1 else rows
        q, y, w = p[np.ix_(rows, scored)], labels[np.ix_(rows, scored)], weights[:, rows]
        threshold = scores.best_threshold(p[np.ix_(others, scored)], labels[np.ix_(others, scored)])
        ranked = scores.ranking(q, y, w)
        parts.append(
            {
                "auc": ranked.auc,
                "auc_pr": ranked.auc_pr,
                "auc_pr_above_chance": scores.above_chance(ranked.auc_pr, scores.prevalence(y, w)),
                "cor": scores.correlation(q, y, w),
                "tss": scores.true_skill(q, y, threshold, w),
                "boyce": scores.boyce(q, y, w),
            }
        )
        species.append(scored)
    return _Pairs(species=np.concatenate(species), values={k: np.concatenate([part[k] for part in parts], axis=1) for k in RANKING})


def _classes(pairs: _Pairs, share: Float) -> tuple[PrevalenceClass, ...]:
    classes = []
    for low, high in itertools.pairwise(PREVALENCE_CLASSES):
        inside = (share >= low) & ((share < high) | (high == 1))
        keep = inside[pairs.species]
        classes.append(PrevalenceClass(low=low, high=high, species=len(set(pairs.species[keep])), scores=_estimates(pairs.means(keep))))
    return tuple(classes)


def _reliability(p: Float, labels: npt.NDArray[np.uint8], weights: Float) -> tuple[ReliabilityBin, ...]:
    count, mass, hits = (weights @ part for part in scores.binned(p, labels))
    with np.errstate(invalid="ignore", divide="ignore"):
        observed, predicted = hits / count, mass[0] / count[0]
    return tuple(
        ReliabilityBin(count=int(count[0, b]), predicted=float(predicted[b]), observed=Estimate.of(observed[:, b], 0, 1))
        for b in np.flatnonzero(count[0])
    )


def _per_species(name: str, pairs: _Pairs, held_out: HeldOut, labels: npt.NDArray[np.uint8]) -> pd.DataFrame:
    """Means over the folds in which a species was scored; NaN for a species that was in none."""
    n = len(held_out.species)
    own = {key: np.full((len(next(iter(pairs.values.values()))), n), np.nan) for key in RANKING}
    for k in np.unique(pairs.species):
        for key, mean in pairs.means(pairs.species == k).items():
            own[key][:, k] = mean
    auc = [Estimate.of(own["auc"][:, k], 0, 1) for k in range(n)]
    p = held_out.p[name].astype(np.float32)
    return pd.DataFrame(
        {
            "model": name,
            "taxonID": [t.taxon_id for t in held_out.species],
            "scientificName": [t.scientific_name for t in held_out.species],
            "family": [t.family for t in held_out.species],
            "presences": labels.sum(axis=0, dtype=int),
            "prevalence": labels.mean(axis=0),
            "mean_probability": p.mean(axis=0, dtype=float),
            "folds": np.bincount(pairs.species, minlength=n),
            "auc": [e.value for e in auc],
            "auc_low": [e.low for e in auc],
            "auc_high": [e.high for e in auc],
            **{key: own[key][0] for key in RANKING if key != "auc"},
            "threshold_max_tss": scores.best_threshold(p, labels),
        }
    )
