"""`geoplantnet identify`: from labelled photos to a server's answers, and training again from what people validated."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Picture
from typer.testing import CliRunner

from geoplantnet.errors import ConfigurationError, InputError, StorageError, TryAgain, UsageError
from geoplantnet.identify.classifier import checkpoint
from geoplantnet.identify.classifier.train import Training, fit
from geoplantnet.identify.engine import Identifier
from geoplantnet.identify.observations import Image, Observation, ObservationStore, Vote
from geoplantnet.identify.photo_set import PhotoSet
from geoplantnet.identify.photos import Decoder
from geoplantnet.identify.photos.squares import Squares, unreadable
from geoplantnet.identify.run_file import read_quadrats, read_run, read_truth, score_run
from geoplantnet.identify.similarity import ImageIndex
from geoplantnet.taxonomy import SpeciesList, Taxon
from pipelines.cli import app
from pipelines.identifier import Maker, network_of
from pipelines.labelled_photos import photos_of, source_of, split
from pipelines.train_identify import RECORDS, current_version, is_held_out, retrain, use, validated_photos

COLOURS = {"Rosa rubra": (220, 40, 60), "Viola caerulea": (60, 60, 220), "Primula flava": (230, 220, 40)}
QUICK = Training(backbone="small", size=32, transfer="all", epochs=12, batch=8, lr=5e-3, backbone_lr=1.0, decay=1.0, ema=0.8, seed=1)


def photo(colour, seed: int) -> bytes:
    """A JPEG of one colour on green, unlike every other."""
    rng = np.random.default_rng(seed)
    pixels = np.full((48, 56, 3), (60, 120, 50), np.int16) + rng.integers(-30, 30, (48, 56, 3))
    y, x = rng.integers(12, 30, 2)
    pixels[y - 12 : y + 14, x - 12 : x + 14] = np.array(colour) + rng.integers(-20, 20, (26, 26, 3))
    file = io.BytesIO()
    Picture.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A CSV of 3 x 16 photos."""
    folder = tmp_path_factory.mktemp("photos")
    rows = []
    for k, (name, colour) in enumerate(COLOURS.items()):
        for i in range(16):
            (folder / f"{k}-{i}.jpg").write_bytes(photo(colour, 100 * k + i))
            rows.append(
                {"file": f"{k}-{i}.jpg", "label": name, "genus": name.split()[0], "family": "F", "organ": "flower" if i % 2 else "leaf"}
            )
    pd.DataFrame(rows).to_csv(folder / "photos.csv", index=False)
    return folder / "photos.csv"


def verb(*words: object):
    """What a verb of `geoplantnet identify` came to; it must have ended well."""
    told = CliRunner().invoke(app, ["identify", *map(str, words)], catch_exceptions=False)
    assert told.exit_code == 0, told.output
    return told


def indexed(*words: object) -> str:
    """What `identify index` says, on one line."""
    return " ".join(verb("index", *words).stderr.split())


def test_from_photos_to_an_answer(labelled, tmp_path, monkeypatch):
    """Trained, judged, indexed and opened as a server does: the colours are told apart, the run file scores as the figures, images come beside."""
    model, folder = tmp_path / "model", tmp_path / "index"
    verb("train", labelled, "--output", model, "--backbone", "small", "--size", 32, "--transfer", "all", "--epochs", 4, "--held-out", 0.25)
    verb("evaluate", model, labelled, "--run", tmp_path / "run.csv", "--json", tmp_path / "figures.json")
    figures, photos = json.loads((tmp_path / "figures.json").read_text()), photos_of(str(labelled))
    truth = {image.rpartition("/")[2]: photos.species[k].taxon_id for image, k in zip(photos.table["image"], photos.labels)}
    assert score_run(read_run(tmp_path / "run.csv"), truth)["top1"] == pytest.approx(figures["top1"])
    assert figures["photos"] == 48 and not list(tmp_path.glob(".*-state"))
    verb("index", model, labelled, "--output", folder, "--bits", 64)
    assert "0 of them new" in verb("index", model, labelled, "--output", folder).stderr
    monkeypatch.chdir(labelled.parent)
    assert "48 images, 0 of them new" in indexed(model, "photos.csv", "--output", folder), "however its path is spelled"
    corrected = pd.read_csv(labelled)
    corrected.loc[[0, 20], "organ"] = "fruit"
    corrected.assign(file=[str(labelled.parent / name) for name in corrected["file"]]).to_csv(tmp_path / "corrected.csv", index=False)
    said = indexed(model, tmp_path / "corrected.csv", "--output", folder)
    assert "0 of them new" in said and "2 were told anew" in said
    assert sum(image.organ == "fruit" for image in ImageIndex.open(folder)) == 2 and len(ImageIndex.open(folder)) == 48
    verb("index", model, labelled, "--output", folder)
    assert {image.observation for image in ImageIndex.open(folder)} == {""}, "a photo's own file is no name of an observation"
    table = pd.read_csv(labelled).assign(file=lambda t: [str(labelled.parent / f) for f in t.file])
    table["label"] = table["label"].replace("Viola caerulea", "Aster alpinus")  # a list of other species, in another order
    table.to_csv(tmp_path / "others.csv", index=False)
    assert "16 of the new are of species" in indexed(model, tmp_path / "others.csv", "--output", tmp_path / "o", "--bits", 64)
    assert {image.species for image in ImageIndex.open(tmp_path / "o")} == {"aster-alpinus", "primula-flava", "rosa-rubra"}
    (tmp_path / "floras.csv").write_text("region,taxonID\nFR,rosa-rubra\nFR,viola-caerulea\n")
    identifier = Maker(model=model, index=folder, floras=tmp_path / "floras.csv")(None)
    pixels = np.asarray(Picture.open(io.BytesIO(photo(COLOURS["Primula flava"], 7))))
    told = identifier.identify([pixels], ["flower"], project="FR", related=2)
    assert {identifier.network.species[c.species].scientific_name for c in told.candidates} == {"Rosa rubra", "Viola caerulea"}
    assert all(len(c.related) == 2 and c.related[0].image.organ == "flower" for c in told.candidates)
    (tmp_path / "one.jpg").write_bytes(photo(COLOURS["Primula flava"], 7))
    one = (model, tmp_path / "one.jpg", "--organ", "flower", "--floras", tmp_path / "floras.csv")
    answer = json.loads(verb("predict", *one, "--project", "FR", "--json").stdout)
    assert [row["score"] for row in answer["species"]] == pytest.approx([c.score for c in told.candidates], rel=1e-6)
    assert answer["project"] == "FR" and answer["evidence"] == "none" and set(answer["answer_set"]) <= {"rosa-rubra", "viola-caerulea"}
    read = verb("predict", *one, "--latitude", 46.5, "--longitude", 2.5, "--top", 1).stdout
    first = identifier.identify([pixels], ["flower"], place=(2.5, 46.5)).candidates[0].species
    assert identifier.network.species[first].scientific_name in read and "The flora of the place was asked" in read
    for wrong, why in (
        (("--organ", "petal"), "--organ petal; there are"),
        (("--latitude", 46.5), "give both"),
        (("--maps", tmp_path), "--latitude and --longitude too"),
    ):
        with pytest.raises(UsageError, match=why):
            verb("predict", model, tmp_path / "one.jpg", *wrong)
    with pytest.raises(InputError, match=r"floras\.csv cannot be read"):
        verb("predict", model, tmp_path / "floras.csv")


def test_a_run_file_answers_observations(labelled, tmp_path):
    """Photos of one plant are put together as online, and answered once; each of its own is known by its file."""
    model = tmp_path / "model"
    verb("train", labelled, "--output", model, "--backbone", "small", "--size", 32, "--transfer", "all", "--epochs", 4, "--held-out", 0.25)
    table = pd.read_csv(labelled).assign(file=lambda t: [str(labelled.parent / f) for f in t.file])
    table["observation"] = [f"{label}/{i // 3}" for label, group in table.groupby("label", sort=False) for i in range(len(group))]
    table.to_csv(tmp_path / "plants.csv", index=False)
    verb("evaluate", model, tmp_path / "plants.csv", "--run", tmp_path / "run.csv")
    photos, net = photos_of(str(tmp_path / "plants.csv")), network_of(model)
    truth = {str(o): photos.species[int(k)].taxon_id for o, k in zip(photos.table["observation"], photos.labels)}
    run = read_run(tmp_path / "run.csv")
    assert len(truth) == 18 and set(run["ObservationId"]) == truth.keys() and 0 < score_run(run, truth)["mrr"] <= 1
    table["observation"] = [f"obs{i}" for i in range(len(table))]
    table.to_csv(tmp_path / "single.csv", index=False)
    verb("evaluate", model, tmp_path / "single.csv", "--run", tmp_path / "single-run.csv")
    assert set(read_run(tmp_path / "single-run.csv")["ObservationId"]) == set(table["observation"])
    own = photos.subset(photos.table["observation"] == "Rosa rubra/1")
    with Decoder(workers=1) as decoder:
        pixels = [decoder.pixels(Path(image).read_bytes()) for image in own.table["image"]]
    told = Identifier(net).identify(pixels, own.table["organ"].tolist(), top=3)
    rows = run[run["ObservationId"] == "Rosa rubra/1"]
    assert rows["species_id"].tolist() == [net.species[c.species].taxon_id for c in told.candidates]
    np.testing.assert_allclose(rows["probability"], [c.score for c in told.candidates], rtol=1e-4, atol=1e-5)


def table_of(n: int, species: int = 4, **columns: object) -> PhotoSet:
    """N photos that need not be there."""
    listed = tuple(Taxon(taxon_id=f"s{k}", scientific_name=f"Genus s{k}", genus="Genus", family="F") for k in range(species))
    rows = pd.DataFrame(
        {"image": [f"p{i}.jpg" for i in range(n)], "species": np.arange(n) % species, "observation": [f"o{i}" for i in range(n)]}
    )
    return PhotoSet(
        species=SpeciesList(checklist="t", taxa=listed), table=rows.assign(organ="", split="", author="", license="").assign(**columns)
    )


@pytest.mark.parametrize("share", [0.1, 0.25, 0.3, 0.4, 0.5])
def test_as_much_is_held_out_as_was_asked_and_no_species_is_lost(share):
    """To a photo or two; what has one observation alone is learnt from."""
    photos = table_of(200)
    learn, judge = split(photos, share, 0)
    assert len(learn) + len(judge) == 200 and abs(len(judge) / 200 - share) < 0.02
    learn, judge = split(table_of(44, species=40), share, 0)
    assert learn.table["species"].nunique() == 40 and set(judge.table["species"]) <= {0, 1, 2, 3}


def test_what_is_to_test_teaches_nothing():
    """Train and test: validation comes out of train. Train, val and test: as said. A plant on two sides teaches nothing. No train: it is told."""
    said = np.where(np.arange(60) % 3 == 0, "test", "train")
    learn, judge = split(table_of(60, split=said), 0.25, 0)
    assert set(learn.table["split"]) == set(judge.table["split"]) == {"train"} and len(learn) + len(judge) == 40 and len(judge) == 10
    said = np.where(np.arange(60) % 3 == 1, "val", said)
    learn, judge = split(table_of(60, split=said), 0.25, 0)
    assert set(learn.table["split"]) == {"train"} and set(judge.table["split"]) == {"val"} and len(learn) == len(judge) == 20
    both = table_of(60, split=said, observation=[f"o{i // 5}" for i in range(60)])
    with pytest.raises(InputError, match="no plant is in train alone"):
        split(both, 0.25, 0)
    mixed = both.table.assign(split=np.where(both.table["observation"].isin(["o1", "o2", "o3"]), "train", both.table["split"]))
    learn, judge = split(dataclasses.replace(both, table=mixed), 0.25, 0)
    assert set(learn.table["observation"]) == {"o1", "o2", "o3"} and not set(judge.table["observation"]) & {"o1", "o2", "o3"}
    with pytest.raises(InputError, match="no plant is in train alone"):
        split(table_of(60, split="test"), 0.25, 0)


def test_a_master_and_experts_are_trained_judged_and_indexed(labelled, tmp_path):
    """By genus, by family and at random, from the command line; a server opens them as any other."""
    common = ("--backbone", "small", "--size", 32, "--transfer", "all", "--epochs", 2, "--held-out", 0.25)
    verb("train", labelled, "--output", tmp_path / "net", "--partition", "random:2", *common)
    verb("evaluate", tmp_path / "net", labelled, "--json", tmp_path / "figures.json")
    assert json.loads((tmp_path / "figures.json").read_text())["photos"] == 48
    assert "48 of them new" in indexed(tmp_path / "net", labelled, "--output", tmp_path / "index", "--bits", 64)
    told = Maker(model=tmp_path / "net", index=tmp_path / "index")(None).identify([np.zeros((40, 40, 3), np.uint8)], top=3, related=1)
    assert sum(c.score for c in told.candidates) == pytest.approx(1, abs=1e-5) and all(c.related for c in told.candidates)
    verb("train", labelled, "--output", tmp_path / "genera", "--partition", "genus", *common)
    assert len(network_of(tmp_path / "genera").species) == 3
    named = ("--partition", "random:2", "--name", "flora", "--version", "7", *common)
    assert "rejected_plants" in verb("train", labelled, "--output", tmp_path / "named", *named).stderr
    assert network_of(tmp_path / "named").card.version == "7" and network_of(tmp_path / "named").card.name.startswith("flora")
    for wrong in (
        ("--partition", "colour"),
        ("--partition", "random:1"),
        ("--device", "nonsense"),
        ("--loss-option", "k"),
        ("--negatives", tmp_path / "typo", "--partition", "genus"),
    ):
        asked = ["identify", "train", str(labelled), "--output", str(tmp_path / "x"), *map(str, (*common, *wrong))]
        assert CliRunner().invoke(app, asked).exit_code != 0 and not (tmp_path / "x").exists(), wrong
    with pytest.raises(UsageError, match="without --partition"):
        CliRunner().invoke(
            app, ["identify", "export", str(tmp_path / "net"), "--output", str(tmp_path / "f"), "--float"], catch_exceptions=False
        )


def test_experts_of_what_a_net_confuses(labelled, tmp_path):
    """Groups by the confusion of a net that knows some of the species; what taught the parts is said; one expert or all may be asked."""
    common = ("--backbone", "small", "--size", 32, "--transfer", "all", "--epochs", 1, "--held-out", 0.25)
    table = pd.read_csv(labelled).assign(file=lambda t: [str(labelled.parent / f) for f in t.file])
    table[table["label"] != "Rosa rubra"].to_csv(tmp_path / "two.csv", index=False)
    verb("train", tmp_path / "two.csv", "--output", tmp_path / "flat", *common)
    grouped = ("--partition", "confusion:2", "--confused-by", tmp_path / "flat")
    said = " ".join(verb("train", labelled, "--output", tmp_path / "net", *grouped, *common).stderr.split())
    learnt = int(re.search(r"(\d+) photos of 3 species to learn from", said)[1])
    told = [verb("evaluate", tmp_path / "net", labelled, "--experts", n, "--json", tmp_path / f"{n}.json").stderr for n in (1, 0)]
    assert all(f"{learnt} of these 48 photos taught the classifier" in " ".join(one.split()) for one in told)
    one, every = (json.loads((tmp_path / f"{n}.json").read_text()) for n in (1, 0))
    assert one["photos"] == every["photos"] == 48
    assert network_of(tmp_path / "net", experts=0).k is None and network_of(tmp_path / "net").k == 2
    net = network_of(tmp_path / "net")
    group = {taxon.taxon_id: k for taxon, k in zip(net.species, net.partition.of)}
    assert group["primula-flava"] == group["viola-caerulea"] != group["rosa-rubra"], "which the flat net cannot confuse with any"
    for wrong, why in (
        (("--partition", "confusion:2"), "--confused-by"),
        (("--partition", "genus", "--confused-by", tmp_path / "flat"), "confusion:N"),
    ):
        with pytest.raises(UsageError, match=why):
            verb("train", labelled, "--output", tmp_path / "x", *wrong, *common)
    with pytest.raises(UsageError, match="one net"):
        verb("evaluate", tmp_path / "flat", labelled, "--experts", 1)
    strangers = pd.read_csv(labelled).assign(file=table["file"], label=lambda t: "Aster " + t.label.str.split().str[1])
    strangers.to_csv(tmp_path / "strangers.csv", index=False)
    with pytest.raises(InputError, match="no photo held out"):
        verb("train", tmp_path / "strangers.csv", "--output", tmp_path / "x", *grouped, *common)


def test_no_password_is_kept_or_told():
    """Of a store's address, in a checkpoint's record and in messages; a file's full path is, whatever it was called by."""
    assert source_of("postgresql+psycopg://ada:secret@db.example/plants") == "postgresql+psycopg://ada:***@db.example/plants"
    assert source_of("some.csv") == str(Path("some.csv").resolve())


def test_damaged_photos_are_counted_and_what_taught_is_said(labelled, tmp_path):
    """One cut photo ends no training; figures on photos that taught say so; a loss takes its options."""
    (tmp_path / "cut.jpg").write_bytes((labelled.parent / "0-0.jpg").read_bytes()[:600])
    table = pd.read_csv(labelled).assign(file=lambda t: [str(labelled.parent / f) for f in t.file])
    table = pd.concat([table, table.iloc[:1].assign(file="cut.jpg")])
    table.to_csv(tmp_path / "p.csv", index=False)
    options = ("--backbone", "small", "--size", 32, "--transfer", "all", "--epochs", 1, "--loss", "top_k", "--loss-option", "k=2")
    said = " ".join(verb("train", tmp_path / "p.csv", "--output", tmp_path / "m", *options).stderr.split())
    learnt, held = map(int, re.search(r"(\d+) photos of 3 species to learn from, (\d+) held out", said).groups())
    assert "left out: 1 photos, no whole JPEG or PNG" in said and learnt + held == 48 and 8 <= held <= 11
    told = " ".join(verb("evaluate", tmp_path / "m", tmp_path / "p.csv", "--json", tmp_path / "f.json").stderr.split())
    assert f"{learnt} of these 48 photos taught the classifier" in told
    assert 0 <= json.loads((tmp_path / "f.json").read_text())["rejected_plants"] <= 1
    assert "taught" not in verb("evaluate", tmp_path / "m", labelled).stderr, "another source, of which nothing is known"


def test_quadrats_are_answered_and_scored(labelled, tmp_path):
    """Photos of two and of three colours, cut into squares; a damaged one is told; of a flora, nothing else is named."""
    net = fit(photos_of(str(labelled)), QUICK).network
    net.model.card = dataclasses.replace(net.card, plant_threshold=0.0)  # twelve epochs hardly teach what a plant is
    checkpoint.save(net, tmp_path / "net")
    (tmp_path / "plots").mkdir()
    truth = {"a": ["Rosa rubra", "Viola caerulea"], "b": ["Rosa rubra", "Viola caerulea", "Primula flava"]}
    for plot, names in truth.items():
        shown = [Picture.open(io.BytesIO(photo(COLOURS[name], 900 + i))).resize((128, 128)) for i, name in enumerate(names)]
        whole = Picture.new("RGB", (128 * len(shown), 128))
        for i, one in enumerate(shown):
            whole.paste(one, (128 * i, 0))
        whole.save(tmp_path / "plots" / f"{plot}.png")
    (tmp_path / "plots" / "cut.jpg").write_bytes(photo((1, 2, 3), 1)[:300])
    options = ("--run", tmp_path / "run.csv", "--tile-size", 128, "--tile-stride", 128)
    said = "".join(verb("survey", tmp_path / "net", tmp_path / "plots", *options).stderr.split())
    assert "2quadrats,1leftout,2.5specieseach" in said and "cut.jpg" in said
    rows = [f"{plot},{name.lower().replace(' ', '-')}" for plot, names in truth.items() for name in names]
    (tmp_path / "truth.csv").write_text("quadrat,taxonID\n" + "\n".join(rows))
    verb("score", tmp_path / "run.csv", tmp_path / "truth.csv", "--json", tmp_path / "f1.json")
    assert json.loads((tmp_path / "f1.json").read_text())["f1"] == 1
    (tmp_path / "floras.csv").write_text("region,taxonID\nFR,rosa-rubra\n")
    only = ("--floras", tmp_path / "floras.csv", "--project", "FR", "--tile-size", 128)
    verb("survey", tmp_path / "net", tmp_path / "plots" / "a.png", "--run", tmp_path / "fr.csv", *only)
    assert read_quadrats(tmp_path / "fr.csv") == {"a": ("rosa-rubra",)}
    (tmp_path / "a.png").write_bytes((tmp_path / "plots" / "a.png").read_bytes())
    for wrong, why in (
        ([tmp_path / "plots", tmp_path / "a.png"], "both called a"),
        ([tmp_path / "nowhere"], "nothing at"),
        ([tmp_path / "plots" / "cut.jpg"], "none can be read"),
        ([tmp_path / "net"], "no photos"),
        ([tmp_path / "a.png", "--project", "FR"], "--floras"),
    ):
        with pytest.raises((InputError, UsageError), match=why):
            verb("survey", tmp_path / "net", *wrong, "--run", tmp_path / "x.csv")


def test_what_is_readable_can_be_read(tmp_path):
    """Photos as large as those of plots teach too: one of 30 megapixels ends no training, one of more than 50 is counted before it begins."""
    for name, shape in (("large", (6000, 5000)), ("vast", (9000, 6000))):
        Picture.new("RGB", shape, (10, 120, 30)).save(tmp_path / f"{name}.jpg")
    images = [str(tmp_path / "large.jpg"), str(tmp_path / "vast.jpg")]
    assert unreadable(images).tolist() == [False, True]
    with Squares(images[:1], 32) as squares:
        assert squares[[0]].shape == (1, 32, 32, 3)


def test_run_files_are_scored(tmp_path):
    """Of observations by mrr and top-1, of quadrats by F1; a truth that does not fit is told."""
    (tmp_path / "run.csv").write_text("ObservationId;species_id;probability;rank\no1;a;0.9;1\no1;b;0.1;2\no2;a;0.6;1\no2;b;0.4;2\n")
    (tmp_path / "truth.csv").write_text("observation,taxonID\no1,a\no2,b\n")
    verb("score", tmp_path / "run.csv", tmp_path / "truth.csv", "--json", tmp_path / "s.json")
    assert json.loads((tmp_path / "s.json").read_text()) == {"mrr": 0.75, "macro_mrr": 0.75, "top1": 0.5, "macro_top1": 0.5}
    (tmp_path / "q.csv").write_text('quadrat_id,species_ids\nq1,"[a, b]"\n')
    (tmp_path / "plots.csv").write_text("quadrat,species_id\nq1,a\nq2,c\n")
    verb("score", tmp_path / "q.csv", tmp_path / "plots.csv", "--json", tmp_path / "s.json")
    assert json.loads((tmp_path / "s.json").read_text())["f1"] == pytest.approx(1 / 3)
    (tmp_path / "plots.csv").write_text("quadrat,species_id,transect\nq1,a,t1\nq2,c,t1\n")
    verb("score", tmp_path / "q.csv", tmp_path / "plots.csv", "--json", tmp_path / "s.json")
    assert json.loads((tmp_path / "s.json").read_text())["f1_of_transects"] == pytest.approx(1 / 3)
    (tmp_path / "bad.csv").write_text('ObservationId;species_id;probability;rank\no1;"a' + "x" * 200_000)
    with pytest.raises(InputError, match="cannot be read as CSV"):
        read_run(tmp_path / "bad.csv")
    with pytest.raises(InputError, match="taxonID were expected"):
        read_truth(tmp_path / "run.csv")


def test_a_server_does_not_do_without_what_it_was_told_of(tmp_path):
    """An index that is not there."""
    with pytest.raises(InputError, match="identify index"):
        Maker(model=tmp_path, index=tmp_path / "nowhere")(None)


def test_what_is_no_set_of_photos_is_said():
    """A path that is not there names the three kinds that are taken."""
    with pytest.raises(InputError, match="Pl@ntNet-300K"):
        photos_of("/nowhere/at/all")


@pytest.fixture
def store(tmp_path):
    """A store of photos of two species, validated by three people; one species more that nobody else looked at."""
    path = tmp_path / "store.sqlite"
    with ObservationStore.open(path, create=True) as opened:
        opened.add_taxa(
            "test",
            [Taxon(taxon_id=name.lower().replace(" ", "-"), scientific_name=name, genus=name.split()[0], family="F") for name in COLOURS],
        )
        for k, name in enumerate(COLOURS):
            for i in range(14):
                add(opened, name, f"{k}-{i}", people=3 if k < 2 else 1)
        opened.aggregate()
    return path


def test_an_index_of_a_store_follows_it(store, tmp_path, labelled):
    """Made again it has nothing new; what was taken back is taken out, and nothing is looked at twice."""
    model, folder = tmp_path / "model", tmp_path / "index"
    with ObservationStore.open(store) as opened:
        for i in range(14):  # so that all three species are validated: what an index's codes are learnt from is not too little
            for user in ("ada", "bob"):
                opened.vote(Vote(observation_id=f"2-{i}", user_id=user, kind="determination", value="primula-flava", key=f"{user}-2-{i}"))
        opened.aggregate()
    verb("train", labelled, "--output", model, "--backbone", "small", "--size", 32, "--transfer", "head", "--epochs", 1, "--held-out", 0.25)
    assert "42 images, 42 of them new" in indexed(model, store, "--output", folder, "--bits", 64)
    assert "42 images, 0 of them new" in indexed(model, store, "--output", folder)
    with ObservationStore.open(store) as opened:
        opened.withdraw("0-3", "author")
    told = indexed(model, store, "--output", folder)
    assert "41 images, 0 of them new" in told and "1 were taken out" in told
    assert "0-3" not in {image.observation for image in ImageIndex.open(folder)}


def add(store: ObservationStore, name: str, key: str, people: int) -> None:
    """An observation with a photo, and so many people's vote for its name."""
    image = Image(data=photo(COLOURS[name], int(key.replace("-", ""))), organ="flower")
    store.add_observation(
        Observation(observation_id=key, user_id="author", license="https://creativecommons.org/licenses/by/4.0/"), [image]
    )
    for user in ("author", "ada", "bob")[:people]:
        store.vote(Vote(observation_id=key, user_id=user, kind="determination", value=name.lower().replace(" ", "-"), key=f"{user}-{key}"))


def test_only_what_people_validated_teaches(store):
    """Others are counted; who is held out is so by its id alone."""
    found = validated_photos(str(store)).photos
    assert [taxon.scientific_name for taxon in found.species] == ["Rosa rubra", "Viola caerulea"] and len(found) == 28
    assert found.rejected == {"observation not validated": 14}
    assert [is_held_out(o) for o in found.table["observation"]] == [s == "test" for s in found.table["split"]]
    assert 0.15 < np.mean([is_held_out(str(i)) for i in range(2000)]) < 0.25


def test_training_again(store, tmp_path):
    """Nothing new, nothing done; a further validated species makes a version that is judged beside the last on the same photos; going back is a name."""
    models = tmp_path / "models"
    first = retrain(str(store), models, QUICK, minimum=4)
    assert first.trained and first.promoted and current_version(models) == "0001"
    again = retrain(str(store), models, QUICK, minimum=4)
    assert not again.trained and again.version == "0001" and "nothing new" in again.words
    with ObservationStore.open(store) as opened:
        for i in range(14):
            for user in ("ada", "bob"):
                opened.vote(Vote(observation_id=f"2-{i}", user_id=user, kind="determination", value="primula-flava", key=f"{user}-2-{i}"))
        opened.aggregate()
    second = retrain(str(store), models, QUICK, minimum=4)
    assert "photos taught the classifier" in " ".join(verb("evaluate", models / second.version, store).stderr.split())
    record = json.loads((models / RECORDS).read_text())[1]
    assert second.trained and record["photos"]["held_out"] == sum(is_held_out(f"{k}-{i}") for k in range(3) for i in range(14))
    assert record["promoted"] == (record["top1"] >= record["top1_of_current"]) and current_version(models) == second.version
    use(models, "0001")
    assert current_version(models) == "0001"
    with pytest.raises(InputError, match="0001, 0002"):
        use(models, "7")
    (models / "current").write_text("0009\n")
    with pytest.raises(StorageError, match="0009"):
        current_version(models)


def test_a_retraining_that_was_killed_goes_on(store, tmp_path, monkeypatch):
    """In its middle it goes on from the last epoch; between its use and its record, the version in use is what the next one is judged beside."""
    models, seen = tmp_path / "models", []

    def killed(epoch, loss):
        seen.append(epoch)
        if epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retrain(str(store), models, QUICK, minimum=4, on_epoch=killed)
    assert list(models.glob(".state-*")) and not current_version(models)
    monkeypatch.setattr("pipelines.train_identify.write_json", lambda *_: (_ for _ in ()).throw(OSError("killed")))
    with pytest.raises(OSError, match="killed"):
        retrain(str(store), models, QUICK, minimum=4, on_epoch=lambda epoch, loss: seen.append(epoch))
    assert seen == [1, 2, 3, *range(4, QUICK.epochs + 1)] and current_version(models) == "0001"
    monkeypatch.undo()
    before = (models / "0001" / "classifier.safetensors").read_bytes()
    with ObservationStore.open(store) as opened:  # labels go bad before it is tried again
        for k in range(2):
            for i in range(14):
                for user in ("author", "ada", "bob"):
                    wrong = list(COLOURS)[1 - k if i % 2 else k].lower().replace(" ", "-")
                    opened.vote(Vote(observation_id=f"{k}-{i}", user_id=user, kind="determination", value=wrong, key=f"{user}-x{k}-{i}"))
        opened.aggregate()
    told = retrain(str(store), models, QUICK, minimum=4)
    (record,) = json.loads((models / RECORDS).read_text())
    assert told.trained and record["version"] == "0002" and (models / "0001" / "classifier.safetensors").read_bytes() == before
    assert record["promoted"] == (record["top1"] >= record["top1_of_current"]) == (current_version(models) == "0002")
    assert not list(models.glob(".state-*"))


def test_one_retraining_at_a_time(store, tmp_path):
    """A second is told to wait, and takes nothing away from the first."""

    def second(epoch, loss):
        with pytest.raises(TryAgain, match="another process"):
            retrain(str(store), tmp_path / "models", QUICK, minimum=4)

    assert retrain(str(store), tmp_path / "models", dataclasses.replace(QUICK, epochs=1), minimum=4, on_epoch=second).promoted


def test_levels_make_no_version_of_nothing_new(store, tmp_path):
    """What a training is made of is known again, numbers in a row too."""
    training = dataclasses.replace(QUICK, epochs=1, levels=(1.0, 0.5, 0.25))
    assert retrain(str(store), tmp_path / "models", training, minimum=4).trained
    assert not retrain(str(store), tmp_path / "models", training, minimum=4).trained


def test_a_photo_of_two_observations_is_on_one_side(store):
    """Given twice, once of an observation that is held out, it teaches nothing, and is counted."""
    held = next(f"{k}-{i}" for k in range(2) for i in range(14) if is_held_out(f"{k}-{i}"))
    fresh = next(f"twin-{n}" for n in range(99) if not is_held_out(f"twin-{n}"))
    k, i = map(int, held.split("-"))
    name = list(COLOURS)[k]
    with ObservationStore.open(store) as opened:
        image = Image(data=photo(COLOURS[name], int(f"{k}{i}")), organ="flower")
        opened.add_observation(
            Observation(observation_id=fresh, user_id="author", license="https://creativecommons.org/licenses/by/4.0/"), [image]
        )
        for user in ("author", "ada", "bob"):
            opened.vote(
                Vote(observation_id=fresh, user_id=user, kind="determination", value=name.lower().replace(" ", "-"), key=f"{user}-twin")
            )
        opened.aggregate()
    found = validated_photos(str(store)).photos
    assert fresh not in set(found.table["observation"]) and held in set(found.table["observation"])
    assert found.rejected["photo of an observation held out, too"] == 1


def test_a_folder_that_is_not_there_is_told_before_anything_is_learnt(labelled, tmp_path):
    """Photos that show no plant are read first."""
    told = CliRunner().invoke(
        app,
        [
            "identify",
            "train",
            str(labelled),
            "--output",
            str(tmp_path / "m"),
            "--backbone",
            "small",
            "--size",
            "32",
            "--negatives",
            str(tmp_path / "typo"),
        ],
    )
    assert told.exit_code != 0 and "epoch 1" not in told.output and not list(tmp_path.iterdir())


def test_no_verb_replaces_what_it_did_not_write(labelled, tmp_path, monkeypatch):
    """Photos, notes, the folder one is in: refused before anything is read; what a verb wrote itself is made anew."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for file in labelled.parent.iterdir():
        (photos / file.name).write_bytes(file.read_bytes())
    before = sorted(file.name for file in photos.iterdir())
    train = ("train", photos / "photos.csv", "--backbone", "small", "--size", 32, "--epochs", 1)
    monkeypatch.chdir(photos)
    for wanted in (photos, ".", "..", photos / "photos.csv"):
        told = CliRunner().invoke(app, ["identify", *map(str, train), "--output", str(wanted)])
        assert isinstance(told.exception, UsageError) and "name" in str(told.exception), wanted
    assert sorted(file.name for file in photos.iterdir()) == before
    model, field = tmp_path / "model", tmp_path / "field"
    for _ in range(2):
        verb(*train, "--output", model)
        verb("export", model, "--output", field, "--float")
    (field / "flower.jpg").write_bytes(b"mine")
    told = CliRunner().invoke(app, ["identify", "export", str(model), "--output", str(field), "--float"])
    assert isinstance(told.exception, UsageError) and "flower.jpg" in str(told.exception) and (field / "flower.jpg").read_bytes() == b"mine"
    for option in ("--run", "--json"):
        told = CliRunner().invoke(app, ["identify", "evaluate", str(model), str(photos / "photos.csv"), option, str(field)])
        assert told.exit_code and (field / "flower.jpg").is_file(), option


def test_an_export_leaves_out_what_training_left_out(labelled, tmp_path):
    """A damaged photo: counted, and the same photos held out as in training. Names that are none are told."""
    rows = pd.read_csv(labelled)
    rows["file"] = [str(labelled.parent / file) for file in rows["file"]]
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    rows = pd.concat([rows.iloc[:5], rows.iloc[[0]].assign(file=str(tmp_path / "broken.jpg")), rows.iloc[5:]])
    rows.to_csv(tmp_path / "photos.csv", index=False)
    model = tmp_path / "model"
    verb("train", tmp_path / "photos.csv", "--output", model, "--backbone", "small", "--size", 32, "--epochs", 1)
    told = verb("export", model, "--output", tmp_path / "field", "--photos", tmp_path / "photos.csv")
    assert "broken.jpg" in told.output.replace("\n", "")
    for text in ("{bad", "[]", '{"en": {"rosa-rubra": "Rose"}}'):
        (tmp_path / "names.json").write_text(text)
        told = CliRunner().invoke(
            app, ["identify", "export", str(model), "--output", str(tmp_path / "f"), "--float", "--names", str(tmp_path / "names.json")]
        )
        assert isinstance(told.exception, InputError) and "names.json" in str(told.exception), text
    told = CliRunner().invoke(app, ["identify", "export", str(model), "--output", str(tmp_path / "f"), "--float", "--index", str(tmp_path)])
    assert isinstance(told.exception, UsageError) and "no index" in str(told.exception)


def test_scores_of_other_ids_are_told(tmp_path):
    """Names in the truth and ids in the run: every score would be 0, and nobody would know why."""
    (tmp_path / "run.csv").write_text("ObservationId;species_id;probability;rank\na;rosa-rubra;0.9;1\n")
    (tmp_path / "truth.csv").write_text("observation,taxonID\na,Rosa rubra\n")
    told = " ".join(verb("score", tmp_path / "run.csv", tmp_path / "truth.csv").output.split())
    assert "no species is in both" in told and "'Rosa rubra'" in told and "'rosa-rubra'" in told
    (tmp_path / "truth.csv").write_text("observation,taxonID\na,rosa-rubra\n")
    assert "in both" not in verb("score", tmp_path / "run.csv", tmp_path / "truth.csv").output


def test_what_cannot_be_is_told_before_photos_are_read(tmp_path):
    """A backbone, stages, a loss, levels: the table of photos, which is not there, is not asked."""
    for wrong, why in (
        (("--backbone", "efficientnet-lite9"), "no backbone 'efficientnet-lite9'"),
        (("--backbone", "small", "--frozen", 99), "frozen is 99"),
        (("--loss", "focale"), "focale"),
        (("--levels", "1,0.5"), "three numbers"),
        (("--levels", "1,-1,0"), "levels"),
    ):
        for verb_of in (
            ("train", tmp_path / "no.csv", "--output", tmp_path / "m"),
            ("retrain", tmp_path / "no.sqlite", "--models", tmp_path / "v"),
        ):
            if "--frozen" in wrong and verb_of[0] == "retrain":
                continue
            with pytest.raises((UsageError, ConfigurationError), match=re.escape(why)):
                verb(*verb_of, *wrong)
    (tmp_path / "german.csv").write_text("file;label\na.jpg;Rosa rubra\n")
    with pytest.raises(InputError, match="parted by semicolons"):
        verb("train", tmp_path / "german.csv", "--output", tmp_path / "m", "--backbone", "small")


def test_what_a_training_says(labelled, tmp_path, monkeypatch):
    """That it goes on, that another one was begun there, that few photos make no temperature; genus and family may be learnt too."""
    asked = (
        "train",
        labelled,
        "--output",
        tmp_path / "m",
        "--backbone",
        "small",
        "--size",
        32,
        "--transfer",
        "all",
        "--levels",
        "1,0.5,0.25",
    )

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save", killed)
        CliRunner().invoke(app, ["identify", *map(str, (*asked, "--epochs", 2))])
    assert (tmp_path / ".m-state").is_dir() and not (tmp_path / "m").exists()
    with pytest.raises(ConfigurationError, match="epochs 2, now 3"):
        verb(*asked, "--epochs", 3)
    said = " ".join(verb(*asked, "--epochs", 2).stderr.split())
    assert "2 of 2 epochs were done before" in said and "no temperature was learnt: 9 photos held out are too few" in said
    assert not (tmp_path / ".m-state").exists() and checkpoint.provenance(tmp_path / "m")["training"]["levels"] == [1.0, 0.5, 0.25]
    parted = (*asked, "--epochs", 1, "--partition", "random:2")
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save", killed)
        CliRunner().invoke(app, ["identify", *map(str, parted)])
    with pytest.raises(ConfigurationError, match="parts of a training of other photos, options or groups"):
        verb(*parted, "--seed", 1)
