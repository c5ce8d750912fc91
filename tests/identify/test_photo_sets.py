"""Sets of labelled photos: read as they lie, nothing lost silently, folds that keep a plant together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoplantnet.errors import InputError
from geoplantnet.identify import photo_set
from geoplantnet.identify.photo_set import COLUMNS, PhotoSet, join
from geoplantnet.taxonomy.species_list import SpeciesList, Taxon


def _table(species, observation):
    rows = {"image": [f"{i}.jpg" for i in range(len(species))], "species": species, "observation": observation}
    return pd.DataFrame(rows).assign(organ="", split="", author="", license="")


def _set(species, observation, n=None):
    taxa = tuple(Taxon(taxon_id=str(i), scientific_name=f"Species {i}") for i in range(n or max(species) + 1))
    return PhotoSet(species=SpeciesList(checklist="test", taxa=taxa), table=_table(species, observation))


@pytest.fixture
def plantnet(tmp_path):
    """Three classes laid out as Pl@ntNet-300K, with one fault of each kind."""
    told = {}
    for split, class_id, name, organ in [
        ("train", "1355868", "aa", "flower"),
        ("train", "1355868", "ab", "leaf"),
        ("val", "1355868", "ac", "scan"),
        ("train", "1356", "ba", "habit"),
        ("test", "99", "ca", ""),
    ]:
        file = tmp_path / "images" / split / class_id / f"{name}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"\xff\xd8")
        told[name] = {"species_id": class_id, "obs_id": name[0], "organ": organ, "author": "A", "license": "cc-by-sa", "split": split}
    (tmp_path / "images/train/1356/notes.txt").write_text("no photo")
    (tmp_path / "images/train/1356/stranger.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "images/val/1356").mkdir()
    (tmp_path / "images/val/1356/moved.jpg").write_bytes(b"\xff\xd8")
    told["moved"] = {**told["ba"], "split": "train"}
    told["gone"] = told["ba"]
    (tmp_path / "plantnet300K_metadata.json").write_text(json.dumps(told))
    names = {"1355868": "Lactuca virosa L.", "1356": "Lactuca_muralis_(L.)_Gaertn."}
    (tmp_path / "plantnet300K_species_id_2_name.json").write_text(json.dumps(names))
    return tmp_path


def test_a_folder_of_plantnet_is_read_and_every_photo_left_out_is_counted(plantnet):
    """Classes in order of their ids, names without authors; organs that are none of ours are not said; five photos in, four kinds of faults counted."""
    photos = PhotoSet.read_folder(plantnet)
    assert [(t.taxon_id, t.scientific_name, t.genus) for t in photos.species] == [
        ("99", "99", ""),
        ("1356", "Lactuca muralis", "Lactuca"),
        ("1355868", "Lactuca virosa", "Lactuca"),
    ]
    read = {Path(r["image"]).stem: (r["species"], r["organ"], r["observation"], r["split"]) for r in photos.table.to_dict("records")}
    assert read == {
        "aa": (2, "flower", "a", "train"),
        "ab": (2, "leaf", "a", "train"),
        "ac": (2, "", "a", "val"),
        "ba": (1, "habit", "b", "train"),
        "ca": (0, "", "c", "test"),
    }
    assert photos.rejected == {
        "not named as JPEG or PNG": 1,
        "not in the metadata": 1,
        "elsewhere than its metadata say": 1,
        "in the metadata without a file": 1,
    }
    assert list(photos.of_split("val").table["author"]) == ["A"] and photos.counts.tolist() == [1, 1, 3]


def test_a_folder_without_metadata_is_read_by_its_classes(plantnet):
    """Photos are observations of their own, class ids are the names, and only what is no photo is left out."""
    for name in ("plantnet300K_metadata.json", "plantnet300K_species_id_2_name.json"):
        (plantnet / name).unlink()
    photos = PhotoSet.read_folder(plantnet)
    assert len(photos) == 7 and photos.table["observation"].is_unique and photos.rejected == {"not named as JPEG or PNG": 1}
    assert [t.scientific_name for t in photos.species] == ["99", "1356", "1355868"]


def test_photos_of_one_name_are_not_one_plant(tmp_path):
    """Cameras number their files: IMG_1 of two species, and of two splits, are observations of their own."""
    for place in ("train/1", "train/2", "val/1"):
        (tmp_path / "images" / place).mkdir(parents=True)
        (tmp_path / "images" / place / "IMG_1.jpg").write_bytes(b"x")
    assert PhotoSet.read_folder(tmp_path).table["observation"].is_unique


@pytest.mark.parametrize("text", ["{", "[1, 2]", "\x00"])
def test_damaged_metadata_are_told_not_done_without(plantnet, text):
    """A typed error that names the file."""
    (plantnet / "plantnet300K_metadata.json").write_text(text)
    with pytest.raises(InputError, match=r"plantnet300K_metadata\.json"):
        PhotoSet.read_folder(plantnet)


def test_folders_without_photos_say_so(tmp_path):
    """Neither an empty folder nor one of empty classes is a set."""
    with pytest.raises(InputError, match="images/"):
        PhotoSet.read_folder(tmp_path)
    (tmp_path / "images" / "train" / "1").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no photos"):
        PhotoSet.read_folder(tmp_path)


def test_a_table_is_read_and_rows_without_label_or_file_are_counted(tmp_path):
    """Files lie beside the table; a licence in British is one; a photo without an observation is its own."""
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "b.jpg").write_bytes(b"")
    (tmp_path / "m.csv").write_text(
        "file,label,genus,licence,organ\na.jpg,Poa annua,Poa,CC0,leaf\nb.jpg,,,,\nc.jpg,Poa annua,Poa,,\nb.jpg,Bellis perennis,,,\n"
    )
    photos = PhotoSet.read_metadata(tmp_path / "m.csv")
    assert photos.rejected == {"no label": 1, "no file": 1}
    assert [t.scientific_name for t in photos.species] == ["Bellis perennis", "Poa annua"] and photos.species[1].genus == "Poa"
    assert photos.table[["license", "organ", "observation"]].values.tolist() == [["", "", "b.jpg"], ["CC0", "leaf", "a.jpg"]]


@pytest.mark.parametrize("text", ["", "name,label\n", "file,label\nx.jpg,A\n", "file,label,organ\nm.csv,A,stem\n"])
def test_tables_that_are_none_are_told(tmp_path, text):
    """Empty, without its columns, without photos that are there, with an organ there is not."""
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(InputError):
        PhotoSet.read_metadata(tmp_path / "m.csv")


def test_the_real_photos_are_read_whole(data_folder):
    """29 labels, 60 photos each, none left out."""
    if not (data_folder / "plants" / "metadata.csv").is_file():
        pytest.skip(f"no photos of plants in {data_folder}")
    photos = PhotoSet.read_metadata(data_folder / "plants" / "metadata.csv")
    assert len(photos.species) == 29 and (photos.counts == 60).all() and not photos.rejected
    assert photos.table["organ"].value_counts().to_dict() == {"flower": 1020, "habit": 720}


@given(st.data())
def test_folds_keep_plants_together_and_species_spread(data):
    """Every photo is in one fold; a plant's photos share theirs; the plants of a species differ by one at most between folds, and so do all plants."""
    plants = data.draw(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), min_size=2, max_size=30))
    species = [s for s, views in plants for _ in range(views)]
    observation = [f"o{i}" for i, (_, views) in enumerate(plants) for _ in range(views)]
    k = data.draw(st.integers(2, len(plants)))
    photos = _set(species, observation, 4)
    fold = photos.folds(k, seed=data.draw(st.integers(0, 5)))
    frame = photos.table.assign(fold=fold)
    assert len(fold) == len(photos) and fold.min() >= 0 and fold.max() < k
    assert (frame.groupby("observation")["fold"].nunique() == 1).all()
    first = frame.drop_duplicates("observation")
    whole = first.groupby("fold").size().reindex(range(k), fill_value=0)
    assert whole.max() - whole.min() <= 1
    for _, own in first.groupby("species"):
        spread = own.groupby("fold").size().reindex(range(k), fill_value=0)
        assert spread.max() - spread.min() <= 1


def test_folds_are_the_same_for_a_seed_and_others_for_another():
    """Same seed, same folds; fewer observations than folds is an error."""
    photos = _set([0] * 20 + [1] * 20, [str(i) for i in range(40)])
    assert (photos.folds(4, 7) == photos.folds(4, 7)).all() and (photos.folds(4, 7) != photos.folds(4, 8)).any()
    with pytest.raises(InputError, match="from 2 to 40"):
        photos.folds(41)


def test_parts_put_together_are_the_whole():
    """A mask and its complement, or positions, in any order; lists that differ do not mix."""
    photos = _set([0, 1, 1, 2], ["a", "b", "b", "c"])
    mask = np.array([True, False, True, False])
    both = join([photos.subset(mask), photos.subset(~mask)])
    assert sorted(both.table["image"]) == sorted(photos.table["image"]) and both.species == photos.species
    assert list(photos.subset([3, 0]).labels) == [2, 0]
    with pytest.raises(InputError, match="different lists"):
        join([photos, _set([0], ["a"])])


@pytest.mark.parametrize(
    "change",
    [{"species": [0, 9]}, {"species": [-1, 0]}, {"organ": ["stem", ""]}, {"split": ["dev", ""]}, *({c: None} for c in COLUMNS)],
)
def test_tables_that_break_the_contract_are_refused(change):
    """A species, organ or split there is not, and each missing column."""
    photos = _set([0, 1], ["a", "b"])
    ((column, values),) = change.items()
    table = photos.table.drop(columns=column) if values is None else photos.table.assign(**{column: values})
    with pytest.raises(InputError):
        PhotoSet(species=photos.species, table=table)


@pytest.mark.parametrize(
    ("written", "name", "genus"),
    [
        ("Lactuca_virosa_L.", "Lactuca virosa", "Lactuca"),
        ("Pelargonium_x_hortorum_L.H.Bailey", "Pelargonium × hortorum", "Pelargonium"),
        ("Mentha × piperita L.", "Mentha × piperita", "Mentha"),
        ("Daucus_carota_subsp._sativus_(Hoffm.)_Arcang.", "Daucus carota subsp. sativus", "Daucus"),
        ("Daucus carota L. subsp. sativus (Hoffm.) Arcang.", "Daucus carota subsp. sativus", "Daucus"),
        ("Anthurium Schott", "Anthurium", "Anthurium"),
        ("Phalaenopsis x Blume", "Phalaenopsis", "Phalaenopsis"),
        ("", "17", ""),
    ],
)
def test_names_keep_what_tells_species_apart(written, name, genus):
    """Authors go; the sign of a hybrid and what is below a species stay, so that no two classes become one."""
    taxon = photo_set._taxon_named(written, "17")
    assert (taxon.scientific_name, taxon.genus, taxon.taxon_id) == (name, genus, "17")


def test_a_table_that_contradicts_itself_is_told_or_counted(tmp_path):
    """Blank cells take nothing away; two genera, or two spellings, of a label are errors; a photo listed again, or under two labels, is counted."""
    for i in range(6):
        (tmp_path / f"{i}.jpg").write_bytes(b"x")
    good = "file,label,genus,family\n0.jpg,Quercus robur,Quercus,Fagaceae\n1.jpg,Quercus robur ,,\n./1.jpg,Quercus robur,,\n2.jpg,Acer campestre,Acer,\n"
    table = tmp_path / "t.csv"
    table.write_text(good + "3.jpg,Acer campestre,,\n3.jpg,Quercus robur,,\n4.jpg,  ,,\n")
    photos = PhotoSet.read_metadata(table)
    assert [(t.scientific_name, t.genus, t.family) for t in photos.species] == [
        ("Acer campestre", "Acer", ""),
        ("Quercus robur", "Quercus", "Fagaceae"),
    ]
    assert len(photos) == 3 and photos.rejected == {"no label": 1, "listed twice": 1, "listed under several labels": 2}
    table.write_text(good + "3.jpg,Quercus robur,Acer,\n")
    with pytest.raises(InputError, match="genus Acer and in Quercus"):
        PhotoSet.read_metadata(table)
    table.write_text(good + "3.jpg,quercus robur,,\n")
    with pytest.raises(InputError, match="two ways"):
        PhotoSet.read_metadata(table)
