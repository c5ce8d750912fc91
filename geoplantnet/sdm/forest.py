"""Random Forest (Breiman 2001): of plots for all species at once, of presence-only records down-sampled species by species."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import sklearn
from joblib import Parallel, delayed
from scipy import sparse
from sklearn.tree import DecisionTreeRegressor

from geoplantnet.errors import ConfigurationError
from geoplantnet.sdm.examples import Background, ExampleMaker, Examples
from geoplantnet.sdm.sites import Float, Integers, Sites
from geoplantnet.sdm.tabular import Arrays, Tabular, part
from geoplantnet.sdm.trees import Trees

Array = npt.NDArray[np.float64]
MaxFeatures = str | float | int | None
_AT_ONCE = 2048
"""Rows at a time: they stay in cache while trees are walked, and their likeness to the sites learnt from is trees x leaf size numbers each."""


@dataclass(frozen=True, kw_only=True)
class SpeciesForests:
    """One forest a species; trees of a species stand together."""

    trees: Trees
    first: npt.NDArray[np.int64]
    """(species + 1,) where the trees of each species begin."""
    value: Array
    """(node,) share of presences in a node."""

    def predict(self, x: Float) -> Array:
        """(n, species) mean over the species' trees; 0 for a species without trees."""
        out = np.zeros((len(x), self.first.size - 1))
        for start in range(0, len(x), _AT_ONCE):
            some, own = x[start : start + _AT_ONCE], out[start : start + _AT_ONCE]
            for k in range(out.shape[1]):
                for tree in range(self.first[k], self.first[k + 1]):
                    own[:, k] += self.value[self.trees.leaves(some, tree)]
        return out / np.maximum(np.diff(self.first), 1)

    def state(self) -> Arrays:
        """Arrays to be kept."""
        return {"first": self.first, "value": self.value, **{f"trees.{k}": v for k, v in self.trees.state().items()}}

    @classmethod
    def restore(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> SpeciesForests:
        """Inverse of `state`."""
        return cls(trees=Trees(**part(arrays, "trees")), first=arrays["first"], value=arrays["value"])


@dataclass(frozen=True, kw_only=True)
class JointForest:
    """One forest for all species. A leaf keeps the sites that fell into it, not a value for every species: a prediction is
    the mean of the labels of like sites, weighted by how often they share a leaf (Meinshausen 2006), and the size on disk
    does not grow with the number of species.
    """

    trees: Trees
    share: sparse.csr_array
    """(node, site) weight of a site among those of its leaf; rows sum to 1 at leaves, are empty elsewhere."""
    labels: sparse.csr_array
    """(site, species) float64 0/1."""

    @classmethod
    def of(cls, trees: Trees, drawn: Sequence[Integers], x: Float, labels: sparse.csr_array) -> JointForest:
        """`drawn[t]` are the sites (with repeats) tree t was grown on."""
        node, site, times = [], [], []
        for tree, draw in enumerate(drawn):
            own, count = np.unique(draw, return_counts=True)
            node.append(trees.leaves(x[own], tree))
            site.append(own)
            times.append(count)
        nodes, counts = np.concatenate(node), np.concatenate(times).astype(np.float64)
        total = np.bincount(nodes, counts, minlength=trees.feature.size)
        share = sparse.csr_array((counts / total[nodes], (nodes, np.concatenate(site))), shape=(trees.feature.size, len(x)))
        return cls(trees=trees, share=share, labels=sparse.csr_array(labels, dtype=np.float64))

    def predict(self, x: Float) -> Array:
        """(n, species) mean over trees of the leaf's weighted share of presences."""
        out = np.empty((len(x), self.labels.shape[1]))
        for start in range(0, len(x), _AT_ONCE):
            some = x[start : start + _AT_ONCE]
            leaves = np.stack([self.trees.leaves(some, tree) for tree in range(len(self.trees))], axis=1)
            into = (np.ones(leaves.size), leaves.ravel(), np.arange(0, leaves.size + 1, len(self.trees)))
            like = sparse.csr_array(into, shape=(len(some), self.share.shape[0])) @ self.share
            out[start : start + _AT_ONCE] = (like @ self.labels).toarray() / len(self.trees)
        return out

    def state(self) -> Arrays:
        """Arrays to be kept."""
        arrays = {f"trees.{k}": v for k, v in self.trees.state().items()}
        for name in ("share", "labels"):
            m = getattr(self, name)
            arrays |= {f"{name}.data": m.data, f"{name}.indices": m.indices, f"{name}.indptr": m.indptr, f"{name}.shape": np.array(m.shape)}
        return arrays

    @classmethod
    def restore(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> JointForest:
        """Inverse of `state`."""
        matrices = {}
        for name in ("share", "labels"):
            m = part(arrays, name)
            matrices[name] = sparse.csr_array((m["data"], m["indices"], m["indptr"]), shape=tuple(m["shape"].tolist()))
        return cls(trees=Trees(**part(arrays, "trees")), **matrices)


def restore_forest(arrays: Mapping[str, npt.NDArray[Any]]) -> SpeciesForests | JointForest:
    """Whichever forest the arrays hold."""
    return JointForest.restore(arrays) if "share.data" in arrays else SpeciesForests.restore(arrays)


@dataclass(kw_only=True, eq=False)
class RandomForest(Tabular):
    """Random Forest.

    Plots alone: one forest of regression trees on the labels of all species at once; probabilities are shares in leaves of
    `leaf` sites or more. Plots and records: a forest a species on the examples of `ExampleMaker`, drawn by their weight.
    Presence-only: a forest a species in which every tree sees as many background sites as presences, drawn with
    replacement, and is grown to pure leaves ("down-sampled", Valavi et al. 2021 and 2022). Sampling effort is not used.

    Weights of presences (`Sites.presence_weight`) count in a forest a species; one for all species has one bootstrap, which can
    weigh sites, not a species at a site, and does without them.
    """

    name: ClassVar[str] = "random-forest"

    trees: int = 300
    leaf: int = 5
    """Fewest examples in a leaf where probabilities are wanted; presence-only trees are grown to pure leaves."""
    features: MaxFeatures = "sqrt"
    """Predictors tried at a split, as scikit-learn's `max_features`."""
    background: Background = "both"
    background_mass: float | None = None
    """Uniform background beside a target group weighs as much as so many of its sites, see `ExampleMaker`; None = every site 1."""
    records: float = 1.0
    """Weight of a presence-only record beside plots; 0 = plots alone. Without plots records are all there is, and weigh 1."""
    seed: int = 0
    n_jobs: int = 1

    forest_: SpeciesForests | JointForest = field(init=False, repr=False)
    constant_: Array = field(init=False, repr=False)
    """(species,) what is predicted where no forest was grown; NaN where one was."""

    def __post_init__(self) -> None:
        if self.trees < 1 or self.leaf < 1:
            raise ConfigurationError(f"trees and leaf must be at least 1, got {self.trees} and {self.leaf}")

    def _learn(self, sites: Sites, rows: Integers) -> list[int]:
        beside = self.records if sites.plots(rows).size else 1.0
        make = ExampleMaker(sites, rows, background=self.background, mass=self.background_mass, records=beside, seed=self.seed)
        x = np.ascontiguousarray(self._learn_table(sites, rows), np.float32)
        count = len(sites.species)
        examples = [make.of(k) for k in range(count)]
        unfitted = [k for k, e in enumerate(examples) if e is None]
        self.constant_ = np.full(count, np.nan)
        self.constant_[unfitted] = [make.constant(k) for k in unfitted]
        records = sites.records(rows) if beside > 0 else rows[:0]
        if make.of_plots and not sites.labels[records].count_nonzero():
            self.forest_ = self._joint(sites, rows, x)
            return unfitted
        grown = Parallel(n_jobs=self.n_jobs)(
            delayed(_grow)(x, e, make.rng(k), self.trees, self.leaf, self.features) for k, e in enumerate(examples) if e is not None
        )
        sizes = np.array([0 if e is None else self.trees for e in examples])
        self.forest_ = SpeciesForests(
            trees=Trees.join([trees for trees, _ in grown]),
            first=np.cumsum([0, *sizes], dtype=np.int64),
            value=np.concatenate([np.zeros(0), *(value for _, value in grown)]),
        )
        return unfitted

    def _joint(self, sites: Sites, rows: Integers, x: Float) -> JointForest:
        weight = np.ones(rows.size) if sites.weight is None else sites.weight[rows].astype(np.float64)
        plots = np.flatnonzero(sites.presence_absence[rows] & (weight > 0))
        x, labels, weight = x[plots], sparse.csr_array(sites.labels[rows[plots]]), weight[plots] / weight[plots].sum()
        draws = [np.random.default_rng([self.seed, t]).choice(plots.size, plots.size, p=weight) for t in range(self.trees)]
        y = labels.toarray().astype(np.float64)
        with sklearn.config_context(skip_parameter_validation=True):
            grown = Parallel(n_jobs=self.n_jobs)(
                delayed(_shape)(x, y, draw, self.features, self.leaf, self.seed + t) for t, draw in enumerate(draws)
            )
        return JointForest.of(Trees.join(grown), draws, x, labels)

    def _of_table(self, values: Float) -> npt.NDArray[np.floating]:
        p = self.forest_.predict(np.ascontiguousarray(self.imputation_(values), np.float32))
        return np.where(np.isnan(self.constant_), p, self.constant_)

    def _state(self) -> tuple[Arrays, dict[str, Any]]:
        arrays, facts = self._table_state()
        return {**arrays, **{f"forest.{k}": v for k, v in self.forest_.state().items()}, "constant": self.constant_}, facts

    def _restore(self, arrays: Mapping[str, npt.NDArray[Any]], facts: dict[str, Any], folder: Path) -> None:
        self._restore_table(arrays, facts)
        self.forest_, self.constant_ = restore_forest(part(arrays, "forest")), arrays["constant"]


def _grow(x: Float, e: Examples, rng: np.random.Generator, trees: int, leaf: int, features: MaxFeatures) -> tuple[Trees, Array]:
    """The forest of one species: its trees, and every node's share of presences."""
    classes = (np.flatnonzero(e.present), np.flatnonzero(~e.present)) if e.background else (np.arange(e.at.size),)
    size = int(e.present.sum()) if e.background else e.at.size
    chance = [e.weight[c] / e.weight[c].sum() for c in classes]
    own, y = x[e.at], e.present.astype(np.float64)
    grown = []
    with sklearn.config_context(skip_parameter_validation=True):
        for _ in range(trees):
            draw = np.concatenate([rng.choice(c, size, p=p) for c, p in zip(classes, chance)])
            grown.append(_tree(own[draw], y[draw], features, 1 if e.background else leaf, int(rng.integers(2**31))))
    return Trees.of(grown), np.concatenate([g.tree_.value[:, 0, 0] for g in grown])


def _shape(x: Float, y: Array, draw: Integers, features: MaxFeatures, leaf: int, seed: int) -> Trees:
    """One tree on the sites drawn, without scikit-learn's values: nodes x species of them are gigabytes in a forest of thousands of species."""
    return Trees.of([_tree(x[draw], y[draw], features, leaf, seed)])


def _tree(x: Float, y: Array, features: MaxFeatures, leaf: int, seed: int) -> DecisionTreeRegressor:
    return DecisionTreeRegressor(max_features=features, min_samples_leaf=leaf, random_state=seed).fit(x, y, check_input=False)
