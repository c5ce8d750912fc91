"""Names: what people wrote becomes one accepted species, or is refused with a reason."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoplantnet.errors import InputError
from geoplantnet.taxonomy import CHECKLIST, Backbone, parse_name, slug, species_list_from
from geoplantnet.taxonomy.backbone import KINDS, REASONS, own_table, spelling_key

REFERENCE = pd.DataFrame(
    {
        "species": [
            "Picea abies",
            "Athyrium filix-femina",
            "Pinus mugo",
            "Fagus sylvatica",
            "Neottia ovata",
            "Listera ovata",
            "Salix x fragilis",
            "Aria edulis",
            "Sorbus aria",
            "Campanula cochleariifolia",
            "Campanula cochlearis",
            "Sphagnum pylaesii",
            "Taraxacum sect. Ruderalia",
            "Selinum carvifolia",
            "Selinum carvifolium",
        ],
        "family": ["Pinaceae", "Athyriaceae", "Pinaceae", "Fagaceae", "Orchidaceae", "Orchidaceae", "Salicaceae"] + [None] * 8,
        "common_name_en": ["Norway Spruce"] + [None] * 14,
        "src_plantclef": [1, 1, 1, 1, 1, None, 1, 1, None, 1, 1, None, None, None, 1],
    }
)
SYNONYMS = pd.DataFrame(
    {
        "synonym": ["Neottia ovata", "Pinus montana", "Abies picea", "Pinus picea"],
        "synonym_author": ["(L.) Bluff", "Mill.", "Mill.", "auct."],
        "accepted": ["Listera ovata", "Pinus mugo subsp. mugo", "Picea abies s. l.", "Pinus mugo"],
    }
)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return Backbone(REFERENCE, SYNONYMS)


@pytest.mark.parametrize(
    ("verbatim", "genus", "epithets", "layer"),
    [
        ("K.Athyrium.filix.femina.", "Athyrium", ("filix", "femina"), "herb"),
        ("Convallaria_majalis_", "Convallaria", ("majalis",), ""),
        ("S.Cornus_sanguinea", "Cornus", ("sanguinea",), "shrub"),
        ("Pinus mugo subsp. uncinata (DC.) Domin", "Pinus", ("mugo",), ""),
        ("K.Cerastium.carinthiacum.sspaustroalpinu", "Cerastium", ("carinthiacum",), "herb"),
        ("Picea abies (L.) H. Karst.", "Picea", ("abies",), ""),
        ("Asplenium_ruta.muraria", "Asplenium", ("ruta", "muraria"), ""),
        ("Carex_elata.1", "Carex", ("elata",), ""),
        ("QUERCUS ROBUR", "Quercus", ("robur",), ""),
        ("Isoëtes echinospora Durieu", "Isoetes", ("echinospora",), ""),
    ],
)
def test_a_name_is_taken_apart(verbatim, genus, epithets, layer):
    """Separators, layers, ranks, authors, accents and capitals of the field's tables are understood."""
    parsed = parse_name(verbatim)
    assert (parsed.genus, parsed.epithets, parsed.layer, parsed.reason) == (genus, epithets, layer, "")


@pytest.mark.parametrize(
    "verbatim",
    ["Alchemilla vulgaris aggr.", "Lamium_galeobdolon_.ag._", "K.Rubus.fruticosus.s.l", "Rosa canina s. str.", "Rosa canina agg"],
)
def test_an_aggregate_is_marked(verbatim):
    """The wide and the narrow sense are seen, however they are abbreviated."""
    assert parse_name(verbatim).aggregate and not parse_name(verbatim).reason


@pytest.mark.parametrize(
    ("verbatim", "reason"),
    [
        *((v, "missing name") for v in ("", "  ", None, float("nan"), pd.NA, "nan")),
        *((v, "genus only") for v in ("Quercus", "Quercus_spec._", "Quercus sp.", "Betula spp")),
        *(
            (v, "several species pooled")
            for v in ("Populus_alba_._nigra", "Dryopteris_dilatata._spinulosa", "Rosa_canina._arvensis._spec.", "Rosa canina/arvensis")
        ),
        ("Quercus cf. robur", "uncertain identification"),
        *((v, "hybrid without a name") for v in ("Drosera_x", "Salix alba x fragilis", "Salix alba × fragilis")),
        *((v, "not a scientific name") for v in ("42", "quercus robur", "?", "Ä")),
    ],
)
def test_what_names_no_species_says_why(verbatim, reason):
    """Every kind of unusable name carries one of the documented reasons and no candidates."""
    parsed = parse_name(verbatim)
    assert parsed.reason == reason and reason in REASONS and parsed.candidates == ()


@given(
    st.one_of(
        st.text(),
        st.from_regex(r"([KSBMF]\.)?[A-Z][a-z]{2,8}[ ._][a-z]{2,8}[ ._×x]{0,3}[a-z.]{0,6}"),
        st.none(),
        st.floats(),
        st.integers(),
    )
)
def test_parsing_never_fails(value):
    """Whatever comes, parse_name answers: either candidates or a reason, never both, never neither."""
    parsed = parse_name(value)
    assert bool(parsed.candidates) != bool(parsed.reason)


@pytest.mark.parametrize(
    ("verbatim", "accepted", "status"),
    [
        ("Picea abies", "Picea abies", "accepted"),
        ("B.Picea_excelsa_", "Picea abies", "synonym"),
        ("Abies picea", "Picea abies", "synonym"),
        ("K.Athyrium.filix.femina.", "Athyrium filix-femina", "accepted"),
        ("Pinus mugo subsp. uncinata", "Pinus mugo", "accepted"),
        ("Pinus_montana_", "Pinus mugo", "aggregate"),
        ("Picea abies aggr.", "Picea abies", "aggregate"),
        ("B.Fagus_silvatica_", "Fagus sylvatica", "spelling"),
        ("Listera ovata", "Neottia ovata", "synonym"),
        ("Sorbus aria", "Aria edulis", "synonym"),
        ("Salix fragilis", "Salix x fragilis", "synonym"),
        ("Selinum carvifolia", "Selinum carvifolium", "spelling"),
        ("Salix × fragilis L.", "Salix x fragilis", "accepted"),
    ],
)
def test_one_species_has_one_name(backbone, verbatim, accepted, status):
    """Accepted names, old names, spellings, aggregates and a name of a second list all lead to the one accepted species."""
    row = backbone.resolve([verbatim]).iloc[0]
    assert (row.accepted, row.status, row.taxon_id, row.reason) == (accepted, status, slug(accepted), "")
    assert row.source


@pytest.mark.parametrize(
    ("verbatim", "reason"),
    [
        ("M.Hylocomium_spec.", "bryophyte"),
        ("Sphagnum pylaesii", "bryophyte"),
        ("M.Moose.spec", "bryophyte"),
        ("F.Krustenflechten.", "lichen"),
        ("M.Cladonia_spec.", "lichen"),
        ("Quercus_spec._", "genus only"),
        ("Pinus picea", "name not in the checklist"),
        ("Nonexistus plantus", "name not in the checklist"),
    ],
)
def test_what_is_refused_says_why(backbone, verbatim, reason):
    """Mosses, lichens, bare genera, misapplied (auct.) and unknown names stay unresolved with their reason."""
    row = backbone.resolve([verbatim]).iloc[0]
    assert (row.status, row.accepted, row.taxon_id, row.reason) == ("unresolved", "", "", reason)


def test_a_cut_name_is_completed_only_when_asked_and_unique(backbone):
    """A prefix is completed at the table's width when one species begins so; an ambiguous or a short one is not."""
    cut = "Campanula cochleariif"
    assert backbone.resolve([cut]).status.tolist() == ["unresolved"]
    assert backbone.resolve([cut], width=len(cut))[["accepted", "status"]].values.tolist() == [["Campanula cochleariifolia", "prefix"]]
    assert backbone.resolve(["Campanula cochlear"], width=10).status.tolist() == ["unresolved"]
    assert backbone.resolve([cut], width=len(cut) + 1).status.tolist() == ["unresolved"]


@settings(max_examples=10, deadline=None)
@given(st.permutations(["Picea abies", "Picea excelsa", "Quercus sp.", "Listera ovata", "Picea abies", "?"]))
def test_resolving_is_row_by_row(names):
    """The answer to a name depends on nothing but the name; rows keep their order."""
    backbone = Backbone(REFERENCE, SYNONYMS)
    together = backbone.resolve(names)
    assert together["verbatim"].tolist() == names
    for i, name in enumerate(names):
        pd.testing.assert_series_equal(together.iloc[i], backbone.resolve([name]).iloc[0], check_names=False)


def test_resolving_twice_changes_nothing(backbone):
    """An accepted name is its own accepted name."""
    names = backbone.accepted_names
    assert backbone.resolve(names)["accepted"].tolist() == names


def test_slugs_are_safe_and_ids_unique(backbone):
    """Ids are lower case ASCII words, different for different accepted names."""
    ids = [slug(n) for n in backbone.accepted_names]
    assert len(set(ids)) == len(ids)
    assert all(part.isalnum() and part.isascii() for i in ids for part in i.split("-"))
    assert slug("Salix x fragilis") != slug("Salix fragilis")
    assert slug("Picea abies") == "picea-abies"


@pytest.mark.parametrize(
    ("one", "other"),
    [("Pinus silvestris", "Pinus sylvestris"), ("Molinia coerulea", "Molinia caerulea"), ("Rhamnus pumilus", "Rhamnus pumila")],
)
def test_spelling_variants_share_a_key(one, other):
    """Latin y and i, ae and oe, and gender endings are one spelling."""
    assert spelling_key(one) == spelling_key(other)
    assert spelling_key("Pinus nigra") != spelling_key("Pinus mugo")


def test_species_list_holds_the_frequent_ones(backbone):
    """A species list is sorted by name, holds genus, family and vernacular name, and only species with enough records."""
    species = species_list_from(["Picea abies"] * 3 + ["Fagus sylvatica"] * 2 + ["Aria edulis"], backbone, minimum=2)
    assert [t.scientific_name for t in species] == ["Fagus sylvatica", "Picea abies"]
    assert species.checklist == CHECKLIST
    spruce = species[species.index_of("Picea abies")]
    assert (spruce.taxon_id, spruce.genus, spruce.family, spruce.vernacular_name) == ("picea-abies", "Picea", "Pinaceae", "Norway Spruce")
    with pytest.raises(InputError, match="9 records or more"):
        species_list_from(["Picea abies"], backbone, minimum=9)


def test_bad_tables_are_refused(tmp_path):
    """Missing columns, unknown kinds, doubled rows and absent files name what is wrong."""
    with pytest.raises(InputError, match="species reference has no column 'species'"):
        Backbone(REFERENCE.rename(columns={"species": "name"}), SYNONYMS)
    with pytest.raises(InputError, match="synonym table has no column 'accepted'"):
        Backbone(REFERENCE, SYNONYMS.drop(columns="accepted"))
    row = {"verbatim": "A b", "accepted": "Picea abies", "kind": "synonym", "source": "x"}
    with pytest.raises(InputError, match="'A b' twice"):
        Backbone(REFERENCE, SYNONYMS, pd.DataFrame([row, row]))
    with pytest.raises(InputError, match="kind 'guess'"):
        Backbone(REFERENCE, SYNONYMS, pd.DataFrame([row | {"kind": "guess"}]))
    with pytest.raises(InputError, match="is not there"):
        Backbone.read(tmp_path / "a.csv", tmp_path / "b.csv")


def test_own_rows_without_a_target_are_named():
    """An own row whose species the reference lacks has no effect and is reported, not guessed."""
    own = pd.DataFrame([{"verbatim": "Old name", "accepted": "Missing species", "kind": "synonym", "source": "x"}])
    backbone = Backbone(REFERENCE, SYNONYMS, own)
    assert backbone.unused == ["Old name"]
    assert backbone.resolve(["Old name"]).status.tolist() == ["unresolved"]


def test_shipped_table_is_sound():
    """The shipped table is sorted, unique, of known kinds, and every row cites a source; only rejections lack a species."""
    table = own_table()
    assert table["verbatim"].is_unique and table["verbatim"].tolist() == sorted(table["verbatim"])
    assert set(table["kind"]) <= set(KINDS) and (table["source"].str.len() > 5).all()
    leads = ~table["kind"].isin(["bryophyte", "lichen", "indeterminate"])
    assert ((table["accepted"] != "") == leads).all()
    moved = table[table["kind"].isin(["synonym", "spelling", "aggregate"])]
    assert not set(moved["accepted"]) & set(moved["verbatim"]), "a chain of synonyms: lead straight to the accepted name"


def test_shipped_table_fits_the_reference(data_folder):
    """With the real lists every shipped row has its effect, ids are unique, and every accepted name resolves to itself."""
    folder = data_folder / "reference"
    backbone = Backbone.read(folder / "species_reference.csv", folder / "synonyms_germansl.csv")
    assert backbone.unused == []
    names = backbone.accepted_names
    assert len({slug(n) for n in names}) == len(names) > 10_000
    assert backbone.resolve(names)["accepted"].tolist() == names


@pytest.mark.parametrize(("table", "at_least"), [("ek", 0.99), ("ws500", 0.99), ("wet", 0.99)])
def test_survey_names_are_covered(data_folder, table, at_least):
    """Of the presences that name one vascular plant species, the backbone resolves nearly all."""
    folder = data_folder / "reference"
    backbone = Backbone.read(folder / "species_reference.csv", folder / "synonyms_germansl.csv")
    counts = pd.read_parquet(data_folder / "swiss_plots_dave" / f"{table}_long.parquet")["species"].value_counts()
    rows = backbone.resolve(counts.index).assign(n=counts.to_numpy())
    named = rows[~rows["reason"].isin([*REASONS, "bryophyte", "lichen", "indeterminate"])]
    assert named.loc[named["status"] != "unresolved", "n"].sum() / named["n"].sum() >= at_least
