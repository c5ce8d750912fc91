"""Floor 2, plants read from the world: `OccurrenceSet` (events, occurrences, counted rejections), readers, quality checks, spatial splits."""

from geoplantnet.occurrences.darwin_core import (
    GRID_CRS,
    OccurrenceSet,
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
from geoplantnet.occurrences.quality import check
from geoplantnet.occurrences.splits import spatial_blocks
from geoplantnet.occurrences.surveys import read_ek, read_eu_forest, read_wet, read_ws

__all__ = [
    "GRID_CRS",
    "OccurrenceSet",
    "check",
    "concat",
    "from_records",
    "from_tables",
    "load",
    "presence_matrix",
    "read_ek",
    "read_eu_forest",
    "read_records",
    "read_wet",
    "read_ws",
    "save",
    "spatial_blocks",
    "summary",
    "validate_events",
    "validate_occurrences",
]
