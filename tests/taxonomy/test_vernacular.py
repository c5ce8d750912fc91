"""Common names: from the reference and from Darwin Core tables, each once, in its language, with its source."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from geoplantnet.errors import InputError
from geoplantnet.taxonomy import Backbone, NameTable, SpeciesList, common_names
from geoplantnet.taxonomy.vernacular import language_code, tidy_name

BACKBONE = Backbone(
    pd.DataFrame(
        {
            "species": ["Abies alba", "Fagus sylvatica", "Larix decidua"],
            "common_name_en": ["European Silver-fir", None, None],
            "common_name_de": ["Weiß-Tanne", "Rot-Buche", None],
        }
    ),
    pd.DataFrame({"synonym": ["Abies pectinata"], "accepted": ["Abies alba"]}),
)
SPECIES = SpeciesList(checklist="test", taxa=tuple(BACKBONE.taxon(name) for name in ("Fagus sylvatica", "Abies alba", "Larix decidua")))


def told(found: pd.DataFrame) -> list[tuple[str, ...]]:
    return [*found.itertuples(index=False, name=None)]


def test_the_reference_names_in_each_language() -> None:
    """Every column common_name_xx is a language; species follow the list, an unknown name is no row."""
    assert told(common_names(SPECIES, BACKBONE)) == [
        ("fagus-sylvatica", "Rot-Buche", "de", "species reference"),
        ("abies-alba", "Weiß-Tanne", "de", "species reference"),
        ("abies-alba", "European Silver-fir", "en", "species reference"),
    ]
    assert [row[1] for row in told(common_names(SPECIES, None))] == ["European Silver-fir"]


def test_tables_of_names_lead_by_synonyms(tmp_path: Path) -> None:
    """A name of a synonym is the accepted species'; one that stands already is not repeated, one of another plant left out, and tabs part columns."""
    (tmp_path / "names.txt").write_text(
        "scientificName\tvernacularName\tlanguage\n"
        "Abies pectinata DC.\t sapin\u00a0 blanc\tfra\nAbies alba\teuropean silver-fir\teng\nAbies alba\tsapin pectiné\tfr-CH\n"
        "Quercus robur\tchêne\tfr\nLarix decidua\t\tfr\n",
        encoding="utf-8",
    )
    table = NameTable(names=tmp_path / "names.txt", source="A flora (2020)")
    found = common_names(SPECIES, BACKBONE, [table])
    assert told(found[found["language"] == "fr"]) == [
        ("abies-alba", "sapin blanc", "fr", "A flora (2020)"),
        ("abies-alba", "sapin pectiné", "fr", "A flora (2020)"),
    ]
    assert "larix-decidua" not in set(found["taxonID"]) and (found["language"] == "en").sum() == 1


def test_taxa_may_stand_in_a_table_of_their_own(tmp_path: Path) -> None:
    """A Darwin Core archive's extension names taxa by their id: the taxon table says which, by its accepted name."""
    (tmp_path / "taxa.csv").write_text(
        "taxonID,scientificName,acceptedNameUsage\n7,Abies pectinata,Abies alba Mill.\n8,Fagus sylvatica L.,\n"
    )
    (tmp_path / "names.csv").write_text("taxonID,vernacularName,language\n7,abete bianco,it\n8,faggio,ita\n9,nessuno,it\n")
    table = NameTable(names=tmp_path / "names.csv", taxa=tmp_path / "taxa.csv", source="Una flora")
    found = common_names(SPECIES, BACKBONE, [table])
    assert told(found[found["language"] == "it"]) == [
        ("fagus-sylvatica", "faggio", "it", "Una flora"),
        ("abies-alba", "abete bianco", "it", "Una flora"),
    ]


def test_languages_and_names_are_tidied() -> None:
    """Codes of three letters, tags and words become ISO 639-1; what cannot be seen goes, and no name is endless."""
    assert [language_code(word) for word in ("FRE", "fr_CH", "Français", "eng", "de", "", "gsw")] == [
        "fr",
        "fr",
        "fr",
        "en",
        "de",
        "",
        "gsw",
    ]
    assert tidy_name("  a\u200b\tb\n ") == "a b" and len(tidy_name("x" * 900)) == 200


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    """Missing file, missing column and bytes that are no text name the file and what to write."""
    with pytest.raises(InputError, match="cannot be read"):
        common_names(SPECIES, BACKBONE, [NameTable(names=tmp_path / "none.csv", source="x")])
    (tmp_path / "names.csv").write_text("name,language\na,b\n")
    with pytest.raises(InputError, match="has no column 'vernacularName'"):
        common_names(SPECIES, BACKBONE, [NameTable(names=tmp_path / "names.csv", source="x")])
    (tmp_path / "names.csv").write_bytes(b"vernacularName,language,scientificName\n\xff\xfe\n")
    with pytest.raises(InputError, match="UTF-8"):
        common_names(SPECIES, BACKBONE, [NameTable(names=tmp_path / "names.csv", source="x")])


def test_real_names_of_the_union_list() -> None:
    """The list of invasive species of Union concern, as it is published, names its plants in English and French."""
    folder = Path(os.environ.get("GEOPLANTNET_DATA", "../shared/data"), "reference")
    if not (folder / "union_list_dwc_vernacular.csv").is_file():
        pytest.skip(f"{folder} holds no Union list")
    backbone = Backbone.read(folder / "species_reference.csv", folder / "synonyms_germansl.csv")
    species = SpeciesList(checklist="test", taxa=tuple(backbone.taxon(name) for name in ("Ailanthus altissima", "Abies alba")))
    table = NameTable(names=folder / "union_list_dwc_vernacular.csv", taxa=folder / "union_list_dwc_taxon.csv", source="Union list")
    found = common_names(species, backbone, [table])
    of_ailanthus = found[(found["taxonID"] == "ailanthus-altissima") & (found["source"] == "Union list")]
    assert {"en", "fr"} <= set(of_ailanthus["language"]) and (found["vernacularName"] == "European Silver-fir").sum() == 1
