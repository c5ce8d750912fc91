"""One interface for every species distribution model, from prevalence to the deep-SDM.

scikit-learn's habits where they fit: what the constructor takes are hyper-parameters and are kept as they are; `fit`
returns the model; what was learnt ends with an underscore; a fixed seed gives the same model. Sites and rows take the
place of X and y, since predictors are patches and labels are sparse.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from geoplantnet.sdm.explain import Explanation, explain_predictions
from geoplantnet.sdm.sites import Float, Integers, Sites


class Estimator(ABC):
    """A species distribution model of all species of a list."""

    name: ClassVar[str]
    """As recipes and tables call it."""
    unfitted_: tuple[str, ...]
    """Ids of species with nothing to learn from among the rows `fit` was given, in the list's order."""

    @abstractmethod
    def fit(self, sites: Sites, rows: Integers) -> Self:
        """Learn from the sites at positions `rows`, or where a mask `rows` is True: plots, records, background, as the model can use them.

        Raises InputError when the rows hold nothing it can learn from, UsageError for rows that are no sites; so do the others.
        """

    @abstractmethod
    def predict(self, sites: Sites, rows: Integers) -> Float:
        """(n, species) in [0, 1]: probability of presence where plots were learnt from, else relative suitability.

        The species are those of the fit. Raises ModelError before `fit`, or when the sites lack a modality.
        """

    def explain(self, sites: Sites, rows: Integers, **how: Any) -> Explanation:
        """What the model builds on at the sites `rows`: modalities, bands, responses.

        Keywords and errors are those of `explain.explain_predictions`.
        """
        return explain_predictions(self.predict, sites, rows, **how)

    @abstractmethod
    def save(self, folder: str | os.PathLike[str]) -> None:
        """Commit the fitted model as a folder of safetensors (or the library's own text) and JSON, never pickle."""

    @classmethod
    @abstractmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """The model `save` wrote. Raises ModelError when the folder holds none."""
