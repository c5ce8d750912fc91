"""The ODMAP protocol of a study: Overview, Data, Model, Assessment, Prediction (Zurell et al. 2020, https://doi.org/10.1111/ecog.04960).

84 elements, 59 of them mandatory, under the authors' headings. What the manifest of a run tells is filled in; what only an author
knows is left to them, with a question in our words. The CSV has the columns of the authors' own application.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass

from geoplantnet.sdm.card import show
from geoplantnet.sdm.evaluate import METRICS, Evaluation
from geoplantnet.sdm.study import TO_FILL, Study

NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Element:
    """One element of the protocol."""

    id: str
    section: str
    subsection: str
    name: str
    mandatory: bool
    asks: str = ""
    """What an author is asked where nothing can be derived."""


def _elements() -> tuple[Element, ...]:
    """From a compact table: `* name` is mandatory, what follows a colon is the question."""
    listed = []
    for block in _TABLE.strip().split("\n\n"):
        heading, *rows = block.splitlines()
        key, section, subsection = heading.split(" | ")
        for i, row in enumerate(rows, start=1):
            name, _, asks = row.removeprefix("* ").partition(": ")
            listed.append(Element(f"{key}_{i}", section, subsection, name, row.startswith("* "), asks))
    return tuple(listed)


_TABLE = """
o_authorship | Overview | Authorship
* Study title
* Author names: who did the study?
* Contact: an e-mail address
* Study link: DOI or web address of the publication

o_objective | Overview | Model objective
* Model objective
* Target output

o_taxon | Overview | Focal Taxon
* Focal Taxon

o_location | Overview | Location
* Location: the study area by name

o_scale | Overview | Scale of Analysis
* Spatial extent
Spatial resolution
* Temporal extent
Temporal resolution
* Boundary

o_bio | Overview | Biodiversity data
* Observation type: standardised survey, citizen science, range map ...?
* Response data type

o_predictors | Overview | Predictors
* Predictor types

o_concept | Overview | Hypotheses
* Hypotheses: why should these predictors shape these species' distributions?

o_assumptions | Overview | Assumptions
* Model assumptions: are the species in equilibrium with their environment, detection complete, niches stable?

o_algorithms | Overview | Algorithms
* Modelling techniques
* Model complexity: why is a model of this size apt for these data?
* Model averaging: is there an ensemble, and how are its members weighted?

o_workflow | Overview | Workflow
* Model workflow

o_software | Overview | Software
* Software
* Code availability: where can the code and the recipe be had?
* Data availability: where can the records and predictors be had?

d_bio | Data | Biodiversity data
* Taxon names
* Taxonomic reference system
* Ecological level
* Data sources
* Sampling design: how were places and times of the surveys chosen?
* Sample size
Clipping
Scaling
Cleaning
* Absence data
* Background data
Errors and biases: detection, misidentification, positions, effort

d_part | Data | Data partitioning
* Training data
* Validation data
Test data

d_pred | Data | Predictor variables
* Predictor variables
* Data sources
* Spatial extent: of the predictors' own files
* Spatial resolution
* Coordinate reference system
* Temporal extent
Temporal resolution
Data processing
Errors and biases: known errors of the predictors
Dimension reduction

d_proj | Data | Transfer data
* Data sources
* Spatial extent
* Spatial resolution
* Temporal extent
Temporal resolution
* Models and scenarios
Data processing
* Quantification of Novelty

m_preselect | Model | Variable pre-selection
Variable pre-selection: how were the predictors chosen?

m_multicol | Model | Multicollinearity
* Multicollinearity: how was it looked for, or why need it not be?

m_settings | Model | Model settings
* Model settings (fitting)
* Model settings (extrapolation): what happens outside the range of the training data?

m_estim | Model | Model estimates
* Coefficients
Parameter uncertainty
Variable importance

m_selection | Model | Model selection - model averaging - ensembles
Model selection: how were the settings chosen, and on which data?
Model averaging
Model ensembles

m_depend | Model | Analysis and Correction of non-independence
* Spatial autocorrelation
Temporal autocorrelation: are residuals related in time?
Nested data: are plots nested in surveys, and is it accounted for?

m_threshold | Model | Threshold selection
* Threshold selection

a_perform | Assessment | Performance statistics
* Performance on training data
* Performance on validation data
* Performance on test data

a_plausibility | Assessment | Plausibility check
* Response shapes: were response curves looked at, and are they plausible?
* Expert judgement: who looked at the maps, and what did they find?

p_output | Prediction | Prediction output
* Prediction unit
Post-processing

p_uncertainty | Prediction | Uncertainty quantification
Algorithmic uncertainty
Input data uncertainty: what do errors of records and predictors do to the maps?
Parameter uncertainty
* Scenario uncertainty
* Novel environments: how are places unlike the training data shown or treated?
"""
ELEMENTS = _elements()


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The elements with their values, in the protocol's order; None where an author has to fill one in."""

    values: Mapping[str, str | None]
    """Element id -> value."""

    @property
    def open(self) -> tuple[Element, ...]:
        """Mandatory elements an author still has to fill in."""
        return tuple(e for e in ELEMENTS if e.mandatory and self.values[e.id] is None)

    def to_csv(self) -> str:
        """The table section, subsection, element, Value."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(("section", "subsection", "element", "Value"))
        table.writerows((e.section, e.subsection, e.name, self._said(e)) for e in ELEMENTS)
        return text.getvalue()

    def to_markdown(self) -> str:
        """The protocol to read; mandatory elements are marked with an asterisk."""
        derived, wanted = sum(v is not None for v in self.values.values()), sum(e.mandatory for e in ELEMENTS)
        lines = [
            "# ODMAP protocol",
            "",
            "Reporting protocol for species distribution models (Zurell et al. 2020, <https://doi.org/10.1111/ecog.04960>). "
            f"{derived} of {len(ELEMENTS)} elements were derived from the recipe and the run's manifest; of the {wanted} mandatory ones (*) "
            f"{len(self.open)} are left for the author.",
        ]
        section = subsection = ""
        for e in ELEMENTS:
            if e.section != section:
                lines += ["", f"## {e.section}"]
            if (e.section, e.subsection) != (section, subsection):
                lines += ["", f"### {e.subsection}", ""]
            section, subsection = e.section, e.subsection
            value = self._said(e)
            lines.append(f"- **{e.name}**{'*' if e.mandatory else ''}: {value if self.values[e.id] is not None else f'_{value}_'}")
        return "\n".join(lines) + "\n"

    def _said(self, element: Element) -> str:
        value = self.values[element.id]
        return value if value is not None else f"[{TO_FILL}] {element.asks}".rstrip()


def protocol(study: Study, evaluation: Evaluation | None = None, *, importance: str | None = None) -> Protocol:
    """What the study's manifest and its evaluation tell. `importance`: how variable importance was assessed, where it was."""
    known = {**_overview(study), **_data(study), **_model(study, importance), **_assessment(study, evaluation), **_prediction(study)}
    return Protocol(values={e.id: known.get(e.id) or None for e in ELEMENTS})


def _overview(study: Study) -> dict[str, str]:
    west, south, east, north = study.lonlat
    versions = ", ".join(f"{name} {version}" for name, version in study.software.items())
    sampling = ", ".join(f"{kind} ({count:,} events)" for kind, count in study.events.items())
    return {
        "o_authorship_1": study.title,
        "o_objective_1": "Mapping and interpolation",
        "o_objective_2": f"probability of presence of every species on a plot of {study.plot_area:g} m2; from it species sets and "
        f"biodiversity indicators ({', '.join(study.indicators)})",
        "o_taxon_1": f"{len(study.species):,} species of {_families(study)}",
        "o_scale_1": f"{west:.4f}, {east:.4f}, {south:.4f}, {north:.4f} (xmin, xmax, ymin, ymax; degrees, WGS 84)",
        "o_scale_2": f"{study.cell_size / 1000:g} km",
        "o_scale_3": f"{study.interval[0]} to {study.interval[1]} (moments the predictions stand for)",
        "o_scale_4": "one map for the whole period",
        "o_scale_5": f"rectangle ({study.tiles:,} tiles of {study.tile_size / 1000:g} km)",
        "o_bio_2": sampling,
        "o_predictors_1": "; ".join(p.modality.title or p.modality.name for p in study.learnt),
        "o_algorithms_1": study.algorithm,
        "o_workflow_1": "Records are checked and named; predictors are brought onto one lattice; the model is fitted on the training folds and scored "
        "on held-out spatial blocks; "
        + (
            "after each fold was held out in turn, the model that maps is fitted on all data"
            if study.every_fold
            else "the model that maps has not seen the held-out fold"
        )
        + "; every cell is predicted, and sets and indicators are derived from the probabilities.",
        "o_software_1": versions,
    }


def _data(study: Study) -> dict[str, str]:
    rejected = "; ".join(f"{reason}: {count:,}" for reason, count in study.rejected.items())
    credit = "; ".join(study.attribution)
    plots = study.events.get("presence-absence", 0)
    tested = f" of {', '.join(study.tested_on)}" if study.tested_on else ""
    resolutions = "; ".join(f"{p.modality.name} {p.modality.resolution:g} m" for p in study.learnt)
    times = "; ".join(
        f"{p.modality.name}: {p.modality.time.count} {p.modality.time.step}s from {p.modality.time.first}"
        for p in study.learnt
        if p.modality.time
    )
    scaled = (
        "; channels are standardised by the mean and standard deviation of training sites" if any(p.scaling for p in study.learnt) else ""
    )
    here = f"{NOT_APPLICABLE}: the maps use the predictors, sources and period the model was trained with"
    return {
        "d_bio_1": f"{len(study.species):,} species, listed in the model's species axis",
        "d_bio_2": study.species.checklist,
        "d_bio_3": "species and communities",
        "d_bio_4": "; ".join(f"{r.dataset}: {r.used:,} of {r.read:,} records used" for r in study.records)
        + (f". Credit: {credit}" if credit else ""),
        "d_bio_6": f"{study.plots:,} presence-absence plots and {study.presence_only_sites:,} presence-only sites; presences and prevalence of every species "
        "are in the table of species",
        "d_bio_9": " ".join(study.filters) + (f" Records refused: {rejected}." if rejected else ""),
        "d_bio_10": f"{plots:,} plots whose survey was complete: a species not recorded there counts as absent"
        if plots
        else f"{NOT_APPLICABLE}: no absences were used",
        "d_bio_11": _background(study),
        "d_part_1": f"all sites outside the held-out fold; spatial blocks of {study.block / 1000:g} km dealt to {study.folds} folds",
        "d_part_2": f"presence-absence plots{tested} of {'every fold in turn' if study.every_fold else 'one fold'}: spatial block cross-validation (Roberts et al. 2017)",
        "d_pred_1": "; ".join(f"{p.modality.name}: {', '.join(p.modality.long_names or p.modality.bands)}" for p in study.learnt),
        "d_pred_2": "; ".join(
            f"{p.modality.name}: {p.source}" + (f" ({p.modality.credit})" if p.modality.credit else "") for p in study.learnt
        )
        + (f". Credit: {credit}" if credit else ""),
        "d_pred_4": f"as brought onto the lattice: {resolutions}",
        "d_pred_5": study.crs,
        "d_pred_6": times,
        "d_pred_7": times,
        "d_pred_8": f"each modality is resampled onto a lattice of {study.crs} that nests with cells of {study.cell_size} m{scaled}",
        "d_pred_10": "none before the model, which learns its own encoding of every modality",
        **{f"d_proj_{i}": here for i in range(1, 9)},
    }


def _model(study: Study, importance: str | None) -> dict[str, str]:
    settings = ", ".join(f"{name} {value}" for name, value in study.settings.items())
    return {
        "m_settings_1": f"{study.algorithm}. Steps: {'; '.join(study.steps)}. Settings: {settings}; seed {study.seed}",
        "m_estim_1": f"{NOT_APPLICABLE}: a network's weights are not read singly"
        + (f" ({study.parameters:,} of them)" if study.parameters else ""),
        "m_estim_3": importance or "",
        "m_depend_1": f"validation by spatial blocks of {study.block / 1000:g} km; residuals are not modelled",
        "m_threshold_1": "species sets by the largest expected F1 of each cell (MaxExp), which has no threshold to tune; TSS uses each species' threshold of "
        "largest TSS on the other folds' held-out plots",
    }


def _assessment(study: Study, evaluation: Evaluation | None) -> dict[str, str]:
    if evaluation is None:
        return {}
    name, scored = next(iter(evaluation.scores.items()))
    said = "; ".join(f"{m.title} {show(scored[m.key], m)}" for m in METRICS)
    return {
        "a_perform_1": "not computed: fit to training data says nothing of held-out places",
        "a_perform_2": f"{name}, {evaluation.plots:,} held-out plots, {evaluation.scored_species:,} of {evaluation.species:,} species scored, 95 % intervals from "
        f"{evaluation.draws} bootstrap draws of {evaluation.resampled}: {said}",
        "a_perform_3": f"{NOT_APPLICABLE}: no data beyond the held-out folds",
    }


def _prediction(study: Study) -> dict[str, str]:
    return {
        "p_output_1": f"probability of presence (0 to 1) on a plot of {study.plot_area:g} m2, a cell of {study.cell_size} m",
        "p_uncertainty_4": f"{NOT_APPLICABLE}: no scenarios",
    }


def _background(study: Study) -> str:
    said = [f"{study.background:,} sites drawn uniformly over the mapped tiles"] if study.background else []
    said += ["the presence-only sites of a data set are each other's target-group background"] if study.events.get("presence-only") else []
    return "; ".join(said) or f"{NOT_APPLICABLE}: no background was used"


def _families(study: Study) -> str:
    families = {t.family for t in study.species if t.family}
    return f"{len(families)} families" if families else "unrecorded families"
