"""Floor 2, plants read from the world: `OccurrenceSet` (events, occurrences, counted rejections), readers, quality checks, abundance, spatial splits
and their size, thinning, what is known of sampling effort, what records show of a species. `archive` reads and writes Darwin Core Archives.
"""

from geoplantnet.occurrences.abundance import abundance_weights
from geoplantnet.occurrences.autocorrelation import (
    AutocorrelationRange,
    Variogram,
    autocorrelation_range,
    block_size,
    presence_axes,
    presence_range,
    variogram,
)
from geoplantnet.occurrences.background import Effort, TargetGroup, effort, target_group
from geoplantnet.occurrences.darwin_core import (
    GRID_CRS,
    OccurrenceSet,
    abundance_matrix,
    concat,
    from_records,
    from_tables,
    load,
    presence_matrix,
    read_records,
    save,
    summary,
    validate_events,
    validate_occurrences,
)
from geoplantnet.occurrences.habitats import DominanceRule, dominant_habitats, majority_habitats
from geoplantnet.occurrences.quality import check, in_tiles, share_inside, thinned
from geoplantnet.occurrences.rarity import range_squares, specialisation
from geoplantnet.occurrences.record_counts import COUNT_COLUMNS, record_counts
from geoplantnet.occurrences.splits import presences_by_fold, region_folds, spatial_blocks, survey_groups, training_rows
from geoplantnet.occurrences.surveys import read_ek, read_eu_forest, read_wet, read_ws
from geoplantnet.occurrences.thinning import thin, thin_labels, thin_to_grid

__all__ = [
    "COUNT_COLUMNS",
    "GRID_CRS",
    "AutocorrelationRange",
    "DominanceRule",
    "Effort",
    "OccurrenceSet",
    "TargetGroup",
    "Variogram",
    "abundance_matrix",
    "abundance_weights",
    "autocorrelation_range",
    "block_size",
    "check",
    "concat",
    "dominant_habitats",
    "effort",
    "from_records",
    "from_tables",
    "in_tiles",
    "load",
    "majority_habitats",
    "presence_axes",
    "presence_matrix",
    "presence_range",
    "presences_by_fold",
    "range_squares",
    "read_ek",
    "read_eu_forest",
    "read_records",
    "read_wet",
    "read_ws",
    "record_counts",
    "region_folds",
    "save",
    "share_inside",
    "spatial_blocks",
    "specialisation",
    "summary",
    "survey_groups",
    "target_group",
    "thin",
    "thin_labels",
    "thin_to_grid",
    "thinned",
    "training_rows",
    "validate_events",
    "validate_occurrences",
    "variogram",
]
