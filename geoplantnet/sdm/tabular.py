"""What every estimator but the deep one shares: checks, rows in a fixed order, a table of predictors, files."""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from geoplantnet.cubes.modality import Modality
from geoplantnet.errors import InputError, ModelError
from geoplantnet.sdm.design import Imputation
from geoplantnet.sdm.estimator import Estimator
from geoplantnet.sdm.sites import Float, Integers, Sites, Table, tabulate
from geoplantnet.storage import json_text, write_beside
from geoplantnet.taxonomy.species_list import SpeciesList

Arrays = dict[str, npt.NDArray[Any]]
_ARRAYS, FACTS = "arrays.safetensors", "model.json"
_BATCH = 16_384
"""Sites predicted at once: bounds memory whatever the number asked for."""
_CELLS = 2048
"""The same of cells of a map: MaxEnt makes thousands of features of hundreds of predictors."""


@dataclass(kw_only=True, eq=False)
class Classical(Estimator):
    """An estimator whose fields are its hyper-parameters.

    Rows to learn from are a set: their order changes nothing, and sites of weight 0 are left out. Plot area is not looked at.
    One thread unless `n_jobs` says otherwise, which changes no result.
    """

    species_: SpeciesList = field(init=False, repr=False)
    """Species learnt."""
    modalities_: tuple[Modality, ...] = field(init=False, repr=False)
    """Modalities learnt from; () where predictors are not looked at."""
    unfitted_: tuple[str, ...] = field(init=False, repr=False)
    """Ids of species with nothing to learn from among the rows: predicted the same low value everywhere."""

    needs_predictors: ClassVar[bool] = True

    def fit(self, sites: Sites, rows: Integers) -> Self:
        """See `Estimator.fit`."""
        rows = np.sort(sites.positions(rows))
        if sites.weight is not None:
            rows = rows[sites.weight[rows] > 0]
        if not rows.size:
            raise InputError("no site to learn from: `rows` is empty, or all its sites weigh 0")
        self.unfitted_ = tuple(sites.species[i].taxon_id for i in self._learn(sites, rows))
        self.species_, self.modalities_ = sites.species, sites.patches.modalities if self.needs_predictors else ()
        return self

    def predict(self, sites: Sites, rows: Integers) -> Float:
        """See `Estimator.predict`. Raises ModelError for sites of another species list, too."""
        self._check(sites)
        rows = sites.positions(rows)
        out = np.empty((rows.size, len(self.species_)), np.float32)
        for start in range(0, rows.size, _BATCH):
            out[start : start + _BATCH] = np.clip(self._suitability(sites, rows[start : start + _BATCH]), 0, 1)
        return out

    def save(self, folder: str | os.PathLike[str]) -> None:
        """See `Estimator.save`."""
        self._require_fitted()
        arrays, facts = self._state()
        hyper = {k: v for k, v in asdict(self).items() if not k.endswith("_")}
        description = {
            "estimator": self.name,
            "parameters": hyper,
            "species": self.species_.to_dict(),
            "modalities": [asdict(m) for m in self.modalities_],
            "unfitted": self.unfitted_,
            "learnt": facts,
        }
        with write_beside(folder) as temporary:
            temporary.mkdir()
            (temporary / FACTS).write_text(json_text(description), encoding="utf-8")
            whole = {name: np.ascontiguousarray(value) for name, value in sorted(arrays.items())}
            (temporary / _ARRAYS).write_bytes(safetensors.numpy.save(whole))
            self._write(temporary)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """See `Estimator.load`."""
        path = Path(folder)
        try:
            d = json.loads((path / FACTS).read_text(encoding="utf-8"))
            if d["estimator"] != cls.name:
                raise ModelError(f"{path} holds a {d['estimator']!r}, not a {cls.name!r}; load it as what it is")
            model = cls(**d["parameters"])
            model.species_ = SpeciesList.from_dict(d["species"])
            model.modalities_ = tuple(Modality.from_dict(m) for m in d["modalities"])
            model.unfitted_ = tuple(d["unfitted"])
            model._restore(safetensors.numpy.load_file(path / _ARRAYS), d["learnt"], path)
        except ModelError:
            raise
        except (OSError, ValueError, KeyError, TypeError, InputError, safetensors.SafetensorError) as error:
            raise ModelError(f"no readable model of kind {cls.name!r} at {path} ({error}); fit and save it again") from error
        return model

    @abstractmethod
    def _learn(self, sites: Sites, rows: Integers) -> list[int]:
        """Learn from sorted rows; returns the positions of the species that could not be learnt."""

    @abstractmethod
    def _suitability(self, sites: Sites, rows: Integers) -> npt.NDArray[np.floating]:
        """(n, species)"""

    @abstractmethod
    def _state(self) -> tuple[Arrays, dict[str, Any]]:
        """What was learnt: arrays, and what JSON can hold."""

    @abstractmethod
    def _restore(self, arrays: Mapping[str, npt.NDArray[Any]], facts: dict[str, Any], folder: Path) -> None:
        """Take back what `_state` and `_write` gave."""

    def _write(self, folder: Path) -> None:
        """Write what is neither array nor JSON."""

    def _require_fitted(self) -> None:
        if not hasattr(self, "species_"):
            raise ModelError(f"this {self.name!r} has learnt nothing yet; call fit, or load a saved one")

    def _check(self, sites: Sites) -> None:
        self._require_fitted()
        if sites.species.hash != self.species_.hash:
            raise ModelError(
                f"the model knows {len(self.species_)} species of {self.species_.checklist}, the sites another list "
                f"({len(sites.species)} of {sites.species.checklist}); label the sites with the model's list or fit again"
            )
        self.require_modalities(sites.patches.modalities)

    def require_modalities(self, modalities: Sequence[Modality]) -> None:
        """Raises ModelError unless they hold all that the model was trained with, unchanged but for periods, of which there are as many."""
        given = {m.name: m for m in modalities}
        for m in self.modalities_:
            if m.name not in given:
                raise ModelError(f"the model was trained with modality {m.name!r}, the sites have {sorted(given)}; add it or fit again")
            if not given[m.name].learns_as(m):
                raise ModelError(f"modality {m.name!r} changed since the model was trained; fit again")


@dataclass(kw_only=True, eq=False)
class FromTable(Classical):
    """A `Classical` estimator that sees its predictors as a table."""

    predictors_: tuple[str, ...] = field(init=False, repr=False)
    """Names of the table's columns."""

    def predict_table(self, table: Table) -> Float:
        """What `predict` says of places with these predictors, (n, species): for whoever has their table at hand, as of a whole tile.

        Raises ModelError before `fit`, or when the table lacks a predictor learnt from.
        """
        self._require_fitted()
        if absent := [name for name in self.predictors_ if name not in table.names]:
            raise ModelError(f"the model was trained with predictor {absent[0]!r}, the table has none; add its modality or fit again")
        values = columns(table, self.predictors_)
        out = np.empty((len(values), len(self.species_)), np.float32)
        for start in range(0, len(values), _CELLS):
            out[start : start + _CELLS] = np.clip(self._of_table(values[start : start + _CELLS]), 0, 1)
        return out

    def _suitability(self, sites: Sites, rows: Integers) -> npt.NDArray[np.floating]:
        return self._of_table(columns(tabulate(sites.patches, rows), self.predictors_))

    @abstractmethod
    def _of_table(self, values: Float) -> npt.NDArray[np.floating]:
        """(n, species) of values (n, predictor), not finite = missing."""


@dataclass(kw_only=True, eq=False)
class Tabular(FromTable):
    """One whose table has no gaps (`Imputation`)."""

    imputation_: Imputation = field(init=False, repr=False)

    def _learn_table(self, sites: Sites, rows: Integers) -> npt.NDArray[np.float64]:
        """(row, column), complete; remembers how to make the same of other sites."""
        table = tabulate(sites.patches, rows)
        if not table.names:
            raise InputError("the sites have no predictors; give them at least one modality")
        self.predictors_, self.imputation_ = table.names, Imputation.learn(table.values)
        return self.imputation_(table.values)

    def _table_state(self) -> tuple[Arrays, dict[str, Any]]:
        return {f"imputation.{k}": v for k, v in self.imputation_.state().items()}, {"predictors": self.predictors_}

    def _restore_table(self, arrays: Mapping[str, npt.NDArray[Any]], facts: dict[str, Any]) -> None:
        self.predictors_ = tuple(facts["predictors"])
        self.imputation_ = Imputation(**part(arrays, "imputation"))


def columns(table: Table, names: tuple[str, ...]) -> Float:
    """Columns of a table by name: sites may have more modalities than a model, and in another order."""
    if table.names == names:
        return table.values
    place = {name: i for i, name in enumerate(table.names)}
    return table.values[:, [place[name] for name in names]]


def part(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> Arrays:
    """The arrays named `prefix.*`, without the prefix."""
    return {name.removeprefix(f"{prefix}."): value for name, value in arrays.items() if name.startswith(f"{prefix}.")}
