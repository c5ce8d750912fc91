"""Floor 2, Darwin Core Archives: tables of text, `meta.xml` that says what their columns mean, `eml.xml` that says what the data set is.

layout    a table of an archive, and `meta.xml` both ways (Darwin Core text guide, TDWG 2009, http://rs.tdwg.org/dwc/terms/guides/text/)
eml       what the data set is, in EML 2.2.0 of GBIF's profile 1.3
writer    chunks of tables -> one zip, in bounded memory
reader    an archive of anybody, or a GBIF download -> `OccurrenceSet`
"""

from geoplantnet.occurrences.archive.eml import LICENSES, Coverage, DatasetDescription, eml
from geoplantnet.occurrences.archive.layout import Field, Table, cleaned, meta_xml, read_meta, short_name, term_uri
from geoplantnet.occurrences.archive.reader import read_archive
from geoplantnet.occurrences.archive.writer import Written, write_archive

__all__ = [
    "LICENSES",
    "Coverage",
    "DatasetDescription",
    "Field",
    "Table",
    "Written",
    "cleaned",
    "eml",
    "meta_xml",
    "read_archive",
    "read_meta",
    "short_name",
    "term_uri",
    "write_archive",
]
