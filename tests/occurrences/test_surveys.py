"""Survey readers, on small tables in the surveys' own form and on the real ones."""

from __future__ import annotations

import zipfile

import numpy as np
import pandas as pd
import pytest

from geoplantnet.errors import OccurrenceError, UsageError
from geoplantnet.occurrences import read_ek, read_eu_forest, read_wet, read_ws, summary
from geoplantnet.taxonomy import Backbone

BACKBONE = Backbone(
    pd.DataFrame({"species": ["Picea abies", "Fagus sylvatica", "Athyrium filix-femina"]}), pd.DataFrame(columns=["synonym", "accepted"])
)
SPECIES_A_PLOT = {"swiss-ws30": 23.4, "swiss-ws200": 38.4, "swiss-ws500": 48.7, "swiss-ek": 30.8, "swiss-wet": 31.8}


@pytest.fixture
def folder(tmp_path):
    """The three surveys in small: the Federal Observatory in Bern is at 600000, 200000 of EPSG:21781."""
    pd.DataFrame(
        {
            "plot": [0, 1],
            "x.coord": [600000.0, 686000.0],
            "y.coord": [200000.0, 293000.0],
            "hoehe": [560, 855],
            "elev": [570.1, 858.7],
            "slp": [5.0, 45.0],
        }
    ).to_parquet(tmp_path / "ws_sites.parquet")
    pd.DataFrame(
        {
            "plot": [0] * 5,
            "species": ["B.Picea.abies.", "K.Picea.abies.", "K.Athyrium.filix.femina.", "M.Moose.spec", "F.Krustenflechten."],
            "value": 2.0,
        }
    ).to_parquet(tmp_path / "ws500_long.parquet")
    pd.DataFrame(
        {
            "plot": [0, 1, 2, 3],
            "Jahr": [1964, -999, 1943, 1950],
            "Hoehe_u.M.": [860, -999, 475, 500],
            "Neigung_in_Prozent": [100, -99, 0, 30],
            "Exposition": ["_SSW", "_?", "--", "NW"],
            "Y.Koordinate": [652000, 692220, 652100, -99999],
            "X.Koordinate": [177000, 284800, 244430, -99999],
        }
    ).to_parquet(tmp_path / "ek_sites.parquet")
    pd.DataFrame(
        {
            "plot": [0, 1, 2, 2, 3],
            "species": ["B.Picea_excelsa_", "Fagus_silvatica_", "Fagus_silvatica_", "Quercus_spec._", "Fagus_silvatica_"],
            "value": 2.0,
        }
    ).to_parquet(tmp_path / "ek_long.parquet")
    pd.DataFrame(
        {
            "plot": [0, 1],
            "X": [736211.3, 736176.0],
            "Y": [240694.2, 240669.7],
            "Z": [1037.8, 1030.1],
            "Area": [100 * np.pi, 50.0],
            "Datum": ["15.06.01", "01.07.99"],
        }
    ).to_parquet(tmp_path / "wet_sites.parquet")
    pd.DataFrame({"plot": [1, 1], "species": ["Picea_abies", "Sphagnum_palustre"], "value": 1.0}).to_parquet(tmp_path / "wet_long.parquet")
    return tmp_path


def test_ws_merges_layers(folder):
    """Tree and herb layer of a species are one occurrence; mosses and lichens are counted; a plot without species stays."""
    found = read_ws(folder, BACKBONE, 500)
    assert found.occurrences["taxonID"].tolist() == ["picea-abies", "athyrium-filix-femina"]
    assert dict(zip(found.rejections["reason"], found.rejections["count"])) == {
        "bryophyte": 1,
        "lichen": 1,
        "same taxon twice in one event": 1,
    }
    assert len(found.events) == 2 and set(found.events["sampling"]) == {"presence-absence"}
    assert found.events[["elevation", "slope", "sampleSizeValue"]].to_numpy().tolist() == [[560, 5, 500], [855, 45, 500]]
    np.testing.assert_allclose(found.events[["decimalLongitude", "decimalLatitude"]].iloc[0], [7.43864, 46.95108], atol=1e-4)


def test_layers_have_one_cover(folder):
    """Tree and herb layer, both "+", overlap independently; a step the scale does not have is counted and its species kept."""
    found = read_ws(folder, BACKBONE, 500).occurrences
    assert found["organismQuantity"].tolist() == ["+ | +", "+"]
    np.testing.assert_allclose(found["abundance"], [100 * (1 - 0.995**2), 0.5])
    pd.read_parquet(folder / "ws500_long.parquet").assign(value=9.0).to_parquet(folder / "ws500_long.parquet")
    again = read_ws(folder, BACKBONE, 500)
    assert len(again.occurrences) == 2 and again.occurrences["abundance"].isna().all()
    unread = again.rejections[again.rejections["table"] == "quantities"]
    assert unread[["reason", "count", "example"]].to_numpy().tolist() == [["unknown Braun-Blanquet code", 3, "step 9"]]


def test_ek_reads_the_old_form(folder):
    """Percent to degrees, winds to degrees, marks of missing to NaN, rounding to uncertainty, no coordinates to a counted refusal."""
    found = read_ek(folder, BACKBONE)
    assert found.events["eventID"].tolist() == ["swiss-ek:0", "swiss-ek:1", "swiss-ek:2"]
    np.testing.assert_allclose(found.events["slope"], [45.0, np.nan, 0.0])
    np.testing.assert_allclose(found.events["aspect"], [202.5, np.nan, np.nan])
    np.testing.assert_allclose(found.events["year"], [1964, np.nan, 1943])
    np.testing.assert_allclose(found.events["elevation"], [860, np.nan, 475])
    np.testing.assert_allclose(found.events["coordinateUncertaintyInMeters"], [707.1, 7.1, 7.1])
    assert found.occurrences["scientificName"].tolist() == ["Picea abies", "Fagus sylvatica", "Fagus sylvatica"]
    assert summary(found)[["table", "read", "used", "rejected"]].to_numpy().tolist() == [["events", 4, 3, 1], ["occurrences", 5, 3, 2]]


def test_wet_reads_area_and_year(folder):
    """Two-digit years find their century; the patch's area gives plot size and uncertainty; mosses without a layer mark are known by genus."""
    found = read_wet(folder, BACKBONE)
    assert found.events["year"].tolist() == [2001, 1999] and found.events["coordinateUncertaintyInMeters"].tolist() == [10.0, 4.0]
    assert found.rejections["reason"].tolist() == ["bryophyte"] and found.events["slope"].isna().all()


def test_eu_forest_cells(tmp_path):
    """One event a cell, the bounds are half open and counted, edges and corners are less certain."""
    rows = "X,Y,COUNTRY,SPECIES NAME\n4100500,2600500,A,Picea abies\n4100500,2600500,A,Fagus sylvatica\n4100500,2600500,A,Picea abies\n"
    rows += "4101000,2600500,A,Picea abies\n4101000,2601000,A,Picea abies\n4200000,2600500,A,Picea abies\n"
    with zipfile.ZipFile(tmp_path / "forest.zip", "w") as archive:
        archive.writestr("EUForestspecies.csv", rows)
    found = read_eu_forest(tmp_path / "forest.zip", BACKBONE, (4_100_000, 2_600_000, 4_200_000, 2_700_000))
    assert found.events["coordinateUncertaintyInMeters"].tolist() == [707, 1118, 1414]
    assert summary(found)[["table", "read", "used"]].to_numpy().tolist() == [["events", 4, 3], ["occurrences", 6, 4]]
    assert set(found.rejections["reason"]) == {"outside the asked bounds", "same taxon twice in one event"}
    assert found.events["year"].isna().all()


def test_absent_or_wrong_files_are_named(tmp_path):
    """A folder without the survey, a file that is no zip and an unknown plot area say what is wanted."""
    with pytest.raises(OccurrenceError, match=r"ws_sites\.parquet cannot be read"):
        read_ws(tmp_path, BACKBONE)
    with pytest.raises(UsageError, match="30, 200, 500"):
        read_ws(tmp_path, BACKBONE, 100)
    (tmp_path / "forest.zip").write_text("no zip")
    with pytest.raises(OccurrenceError, match=r"EUForestspecies\.csv"):
        read_eu_forest(tmp_path / "forest.zip", BACKBONE)


@pytest.fixture(scope="module")
def real(data_folder):
    reference = data_folder / "reference"
    backbone = Backbone.read(reference / "species_reference.csv", reference / "synonyms_germansl.csv")
    plots = data_folder / "swiss_plots_dave"
    sets = [*(read_ws(plots, backbone, area) for area in (30, 200, 500)), read_ek(plots, backbone), read_wet(plots, backbone)]
    return {s.events["datasetID"].iloc[0]: s for s in sets}


def test_real_surveys_balance(real, data_folder):
    """Rows of the files = rows used + rows counted, and the species a plot agree with the surveys."""
    plots = data_folder / "swiss_plots_dave"
    for name, found in real.items():
        short = name.removeprefix("swiss-")
        sites = pd.read_parquet(plots / f"{'ws' if short.startswith('ws') else short}_sites.parquet")
        long = pd.read_parquet(plots / f"{short}_long.parquet")
        assert summary(found)["read"].tolist() == [len(sites), len(long)]
        assert len(found.occurrences) / len(found.events) == pytest.approx(SPECIES_A_PLOT[name], abs=0.1)


def test_cover_of_the_forest_plots_is_read(real):
    """Every presence of the forest surveys has a cover; read as Braun-Blanquet's steps the dominant species covers a third to three
    quarters on average, and r is used by the releves only. Steps of the mires are kept, as no cover.
    """
    for name in ("swiss-ws30", "swiss-ws200", "swiss-ws500", "swiss-ek"):
        rows = real[name].occurrences
        assert rows["abundance"].between(0.1, 100).all() and set(rows["organismQuantityType"]) == {"Braun-Blanquet scale"}
        assert ("r" in set(rows["organismQuantity"])) == (name == "swiss-ek")
        assert 33 < rows.groupby("eventID")["abundance"].max().mean() < 75
        assert (real[name].rejections["table"] != "quantities").all()
    mires = real["swiss-wet"].occurrences
    assert mires["abundance"].isna().all() and set(mires["organismQuantityType"]) == {"ordinal scale"}
    assert set(mires["organismQuantity"].str.split(" | ", regex=False).explode()) == {"1", "2", "3", "4"}


def test_nested_plots_hold_one_another(real):
    """What grows on 30 m2 grows on the 200 and 500 m2 around them: species counts never fall with area, and nearly all pairs nest."""
    pairs = {
        a: set(
            map(tuple, real[f"swiss-ws{a}"].occurrences.assign(e=lambda t: t["eventID"].str.split(":").str[1])[["e", "taxonID"]].to_numpy())
        )
        for a in (30, 200, 500)
    }
    assert len(pairs[30]) < len(pairs[200]) < len(pairs[500])
    assert len(pairs[30] - pairs[500]) / len(pairs[30]) < 0.01


def test_coordinates_agree_with_the_given_degrees(real, data_folder):
    """An oracle: longitude and latitude computed beside the tables agree with ours to a millionth of a degree."""
    for name, file in (("swiss-ek", "ek_sites"), ("swiss-wet", "wet_sites"), ("swiss-ws500", "ws_sites")):
        sites = pd.read_parquet(data_folder / "swiss_plots_dave" / f"{file}.parquet").dropna(subset=["lon"])
        np.testing.assert_allclose(real[name].events["decimalLongitude"], sites["lon"], atol=1e-6)
        np.testing.assert_allclose(real[name].events["decimalLatitude"], sites["lat"], atol=1e-6)


def test_old_and_new_survey_share_their_species(real):
    """By accepted name, far more species are frequent (30 plots or more) in both surveys than a naive join of names finds (about 190)."""
    counts = [real[n].occurrences["taxonID"].value_counts() for n in ("swiss-ek", "swiss-ws500")]
    shared = set(counts[0].index[counts[0] >= 30]) & set(counts[1].index[counts[1] >= 30])
    assert {"picea-abies", "fagus-sylvatica", "aria-edulis", "veronica-urticifolia"} <= shared and len(shared) >= 220
