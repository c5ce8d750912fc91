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
from geoplantnet.sdm.study import NETWORK, TO_FILL, Study

NOT_APPLICABLE = "not applicable"
_AGAINST_SITES = {"deep_maxent", "full_weighted"}
"""Losses of `sdm.losses` that set a record's site against other sites."""
_BEYOND = {
    "glm": "predictors are held inside the range learnt from",
    "maxent": "features are held inside the range learnt from",
    "random-forest": "beyond the range learnt from the answer stays that of its edge",
    "boosting": "beyond the range learnt from the answer stays that of its edge",
}
"""What models of a table say of a place unlike those they learnt from."""
_LINEAR = {"glm", "maxent"}
_COLUMNS = "each modality at the cell and, where its window is wider, its mean over the window"


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
    known = {
        **_overview(study),
        **_data(study),
        **_model(study, evaluation, importance),
        **_assessment(study, evaluation),
        **_prediction(study),
    }
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
        "o_scale_5": f"{study.tiles:,} square tile{'s' * (study.tiles > 1)} of {study.tile_size / 1000:g} km",
        "o_bio_2": sampling,
        "o_predictors_1": "; ".join(p.modality.title or p.modality.name for p in study.learnt),
        "o_algorithms_1": study.algorithm,
        "o_algorithms_3": study.averaging or f"{NOT_APPLICABLE}: one {study.noun} is mapped",
        "o_workflow_1": "Records are checked and named; predictors are brought onto one lattice; the model is fitted on the training folds and scored "
        f"on held-out spatial blocks; {study.fitted}; every cell is predicted, and sets and indicators are derived from the probabilities.",
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
    still = ", ".join(p.modality.name for p in study.learnt if not p.modality.time)
    times += f"; {still}: one state each, without a date in the recipe" if times and still else ""
    standard = ", ".join(p.modality.name for p in study.learnt if NETWORK in study.kinds and p.modality.normalisation == "standard")
    tables = ", ".join(kind for kind in study.kinds if kind != NETWORK)
    reduced = ["none before the network, which learns its own encoding of every modality"] if NETWORK in study.kinds else []
    reduced += [f"{tables}: {_COLUMNS}"] if tables else []
    scaled = (
        f"; channels of {standard} are standardised by the mean and standard deviation of training sites, and stop {study.clip:g} standard deviations off"
        if standard
        else ""
    )
    measured = ", ".join(study.settings.get("measured", ()))
    return {
        "d_bio_1": f"{len(study.species):,} species, listed in the model's species axis",
        "d_bio_2": study.species.checklist,
        "d_bio_3": "species and communities",
        "d_bio_4": "; ".join(f"{r.dataset}: {r.used:,} of {r.read:,} records used" for r in study.records)
        + (f". Credit: {credit}" if credit else ""),
        "d_bio_6": f"{study.plots:,} presence-absence plots and {study.presence_only_sites:,} presence-only sites; presences and prevalence of every species "
        "are in the table of species",
        "d_bio_7": " ".join(study.clipping) or "none: no record is refused for where it lies",
        "d_bio_8": "none: every record keeps its own place; predictors are read there, at their own resolution",
        "d_bio_9": " ".join(study.filters) + (f" Records refused: {rejected}." if rejected else ""),
        "d_bio_10": f"{plots:,} plots whose survey was complete: a species not recorded there counts as absent"
        if plots
        else f"{NOT_APPLICABLE}: no absences were used",
        "d_bio_11": _background(study),
        "d_part_1": "all sites outside the held-out fold"
        + (f" and more than {study.buffer:g} m from its plots" if study.buffer else "")
        + f"; spatial blocks of {study.block / 1000:g} km dealt to {study.folds} folds. For maps: {study.fitted}",
        "d_part_2": f"presence-absence plots{tested} of {'every fold in turn' if study.every_fold else 'one fold'}: spatial block cross-validation (Roberts et al. 2017)",
        "d_part_3": f"{NOT_APPLICABLE}: no data beyond the held-out folds",
        "d_pred_1": "; ".join(f"{p.modality.name}: {', '.join(p.modality.long_names or p.modality.bands)}" for p in study.learnt),
        "d_pred_2": "; ".join(
            f"{p.modality.name}: {p.source}" + (f" ({p.modality.credit})" if p.modality.credit else "") for p in study.learnt
        )
        + (f". Credit: {credit}" if credit else ""),
        "d_pred_4": f"as brought onto the lattice: {resolutions}",
        "d_pred_5": study.crs,
        "d_pred_6": times,
        "d_pred_7": times,
        "d_pred_8": f"each modality is resampled onto a lattice of {study.crs} that nests with cells of {study.cell_size} m{scaled}"
        + (f". At plots, {measured} are as they were measured there, where they were" if measured else ""),
        "d_pred_10": "; ".join(reduced),
        **_transfer(study),
        "d_proj_8": _novelty(study),
    }


def _transfer(study: Study) -> dict[str, str]:
    """The predictors of maps that are not of the time and sources learnt from."""
    if not study.scenarios:
        here = f"{NOT_APPLICABLE}: the maps use the predictors, sources and period the model was trained with"
        return {f"d_proj_{i}": here for i in range(1, 8)}
    return {
        "d_proj_1": "; ".join(f"{s.name}: {', '.join(s.differs)}" for s in study.scenarios)
        + ". What is not named is as the model was trained with",
        "d_proj_2": "that of the maps",
        "d_proj_3": "that of the predictors learnt from",
        "d_proj_4": "; ".join(f"{s.name}: {s.interval[0]} to {s.interval[1]}" for s in study.scenarios),
        "d_proj_5": "one map for the whole period of each scenario",
        "d_proj_6": _scenarios(study),
        "d_proj_7": "that of the predictors learnt from, with the changes that are named applied to every value (delta-change)",
    }


def _scenarios(study: Study) -> str:
    """Names, titles, intervals, and which predictors differ and how."""
    return "; ".join(f"{s.name} ({s.title}, {s.interval[0]} to {s.interval[1]}): {', '.join(s.differs)}" for s in study.scenarios)


def _model(study: Study, evaluation: Evaluation | None, importance: str | None) -> dict[str, str]:
    settings = ", ".join(f"{name} {value}" for name, value in study.settings.items())
    encoded = study.learnt if NETWORK in study.kinds else ()
    standard = ", ".join(p.modality.name for p in encoded if p.modality.normalisation == "standard")
    whole = ", ".join(p.modality.name for p in encoded if p.modality.normalisation != "standard")
    steps = f"Steps: {'; '.join(study.steps)}. " if study.steps else ""
    by_range = f", a side taken from the range of autocorrelation, {study.autocorrelation / 1000:.3g} km" if study.autocorrelation else ""
    return {
        "m_settings_1": f"{study.algorithm}. {steps}Settings: {settings}; seed {study.seed}",
        "m_settings_2": "; ".join(
            (
                [f"{standard}: values more than {study.clip:g} standard deviations from the training mean count as that far off"]
                if standard
                else []
            )
            + ([f"{whole}: taken as they are, however far from the training data"] if whole else [])
            + [f"{kind}: {_BEYOND[kind]}" for kind in study.kinds if kind in _BEYOND]
        )
        + ". Probabilities are mapped there, too"
        + (", and cells outside the area of applicability are marked" if study.dissimilarity is not None else ""),
        "m_estim_1": f"{NOT_APPLICABLE}: a network's weights are not read singly"
        + (f" ({study.parameters:,} of them)" if study.parameters else "")
        if NETWORK in study.kinds
        else f"{NOT_APPLICABLE}: trees have none"
        if not _LINEAR & set(study.kinds)
        else f"of {' and '.join(sorted(_LINEAR & set(study.kinds)))}: in the model's folder, species by species; not listed here",
        "m_estim_2": _spread(study),
        "m_estim_3": importance or "",
        "m_selection_2": study.averaging or f"{NOT_APPLICABLE}: one {study.noun} is mapped",
        "m_selection_3": f"{study.members} {study.noun}s of {'one kind' if len(study.kinds) == 1 else ' and '.join(study.kinds)}; {study.fitted}"
        if study.members > 1
        else f"{NOT_APPLICABLE}: one {study.noun} is mapped",
        "m_depend_1": f"validation by spatial blocks of {study.block / 1000:g} km{by_range}; residuals are not modelled",
        "m_threshold_1": "species sets by the largest expected F1 of each cell (MaxExp), which has no threshold to tune; TSS uses each species' threshold of "
        f"largest TSS on {_thresholded_on(study, evaluation)}",
    }


def _thresholded_on(study: Study, evaluation: Evaluation | None) -> str:
    """Where thresholds of TSS come from: other folds, where there are others."""
    others = evaluation.threshold == "other folds" if evaluation else study.every_fold
    return "the other folds' held-out plots" if others else "the very plots it is scored on, which flatters it: one fold was held out"


def _assessment(study: Study, evaluation: Evaluation | None) -> dict[str, str]:
    if evaluation is None:
        return {}
    name, scored = next(iter(evaluation.scores.items()))
    said = "; ".join(f"{m.title} {show(scored[m.key], m)}" for m in METRICS)
    of_whom = " (the folds' own models; their mean, which is mapped, is not scored)" if study.every_fold and study.members_of_folds else ""
    return {
        "a_perform_1": "not computed: fit to training data says nothing of held-out places",
        "a_perform_2": f"{name}{of_whom}, {evaluation.plots:,} held-out plots, {evaluation.scored_species:,} of {evaluation.species:,} species scored, 95 % intervals from "
        f"{evaluation.draws} bootstrap draws of {evaluation.resampled}: {said}",
        "a_perform_3": f"{NOT_APPLICABLE}: no data beyond the held-out folds",
    }


def _prediction(study: Study) -> dict[str, str]:
    return {
        "p_output_1": f"probability of presence (0 to 1) on a plot of {study.plot_area:g} m2, a cell of {study.cell_size} m",
        "p_output_2": " ".join((*study.post_processing, "Species sets are those of the largest expected F1 (MaxExp).")),
        "p_uncertainty_1": "not quantified: one kind of model is mapped"
        if len(study.kinds) == 1
        else f"not quantified: of {' and '.join(study.kinds)} the mean alone is mapped",
        "p_uncertainty_3": _spread(study),
        "p_uncertainty_4": f"not quantified beyond the scenarios themselves, each mapped by the same model: {_scenarios(study)}"
        if study.scenarios
        else f"{NOT_APPLICABLE}: no scenarios",
        "p_uncertainty_5": _novelty(study)
        + (". Both are layers beside the maps, whose probabilities are not masked there" if study.dissimilarity is not None else ""),
    }


def _spread(study: Study) -> str:
    if study.members == 1:
        return f"not computed: one {study.noun} is mapped"
    if not study.kept_apart:
        return "not computed: maps keep the mean of the members alone"
    return (
        f"the standard deviation between the {study.members} members is a band of every indicator that is a number; members differ by "
        f"{', '.join(study.differ_by) or 'nothing recorded'}, so it leaves out what none of them knows"
    )


def _novelty(study: Study) -> str:
    """How cells unlike the training data are found."""
    if study.dissimilarity is None:
        return "not quantified: no two folds could be compared, so that nothing says which dissimilarity is too much"
    share = "" if study.extrapolated is None else f" ({100 * study.extrapolated:.0f} % of the mapped cells)"
    return (
        "dissimilarity index of every cell to the plots learnt from, predictors weighted by their importance, and area of applicability (Meyer & Pebesma "
        f"2021): cells of an index above {study.dissimilarity:.3g} are outside{share}"
    )


def _background(study: Study) -> str:
    """What presence-only records are told apart from, by each kind of model."""
    said = [_background_of_network(study)] if NETWORK in study.kinds else []
    for kind in (kind for kind in study.kinds if kind != NETWORK):
        if kind == "maxent":
            said.append(
                f"maxent: plots without the species, other sites of the data sets that recorded it, and {study.background:,} sites drawn "
                "uniformly over the mapped tiles"
            )
        elif study.settings.get("records", study.settings.get(f"{kind}.records")) == 0:
            said.append(f"{kind}: none; it learns from plots alone")
        else:
            said.append(f"{kind}: none; absences are those of plots, beside which presences of records say where, not how often")
    return "; ".join(said)


def _background_of_network(study: Study) -> str:
    """It follows from the loss that records are learnt by."""
    if not study.record_losses:
        return f"{NOT_APPLICABLE}: no step of training sets records against a background"
    said = []
    if set(study.record_losses) & _AGAINST_SITES:
        said += [f"{study.background:,} sites drawn uniformly over the mapped tiles"] if study.background else []
        said += (
            ["the presence-only sites of a data set are each other's target-group background"] if study.events.get("presence-only") else []
        )
        if cell := study.settings.get("target_group"):
            said.append(
                f"sites of records of species that are not modelled are background of their data set, one in every square of {cell:g} m"
            )
    if "presence_absence" in study.record_losses:
        said.append("a species not recorded at a presence-only site counts as absent there")
    return (
        "; ".join(said)
        or f"{NOT_APPLICABLE}: records are learnt as shares of species at their own sites ({', '.join(study.record_losses)})"
    )


def _families(study: Study) -> str:
    families = {t.family for t in study.species if t.family}
    return f"{len(families)} families" if families else "unrecorded families"
