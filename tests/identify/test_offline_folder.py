"""The exported folder: the net's own answers without torch, the engine's own answers by the runner alone, no damaged file believed."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from geoplantnet.errors import InputError, IntegrityError, ModelError
from geoplantnet.identify.classifier.backbones import make_backbone
from geoplantnet.identify.classifier.model import PhotoClassifier, TorchNetwork
from geoplantnet.identify.classifier.onnx_export import export, parity
from geoplantnet.identify.engine import Identifier
from geoplantnet.identify.network import Card
from geoplantnet.identify.offline import OnnxNetwork
from geoplantnet.identify.photos import Decoder
from geoplantnet.identify.projects import Project, Projects
from geoplantnet.taxonomy import SpeciesList, Taxon

SPECIES = SpeciesList(
    checklist="test",
    taxa=tuple(Taxon(taxon_id=f"t{i}", scientific_name=f"Genus{i // 2} s{i}", genus=f"Genus{i // 2}", family="F") for i in range(7)),
)
PROJECTS = Projects(species=SPECIES, items=(Project(id="few", title="A few", species=np.array([1, 2, 5])),))
NAMES = {"fr": {"t1": ["la une"]}}
BLOCKED = """
import runpy, sys
allowed = {"numpy", "PIL", "onnxruntime"}
import numpy, PIL.Image, PIL.ImageOps, onnxruntime
for name in ("torch", "onnx", "scipy", "pandas", "geoplantnet", "pipelines", "sklearn", "pydantic", "rasterio"):
    assert name not in sys.modules, name
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def network():
    """An untrained net that knows organs and rejects, with everything a card says set to something."""
    torch.manual_seed(3)
    card = Card(
        name="n",
        version="2",
        backbone="small",
        size=48,
        temperature=1.7,
        organs=True,
        rejects=True,
        view_weights={"flower": 2.5},
        view_gain=0.8,
        plant_threshold=0.3,
    )
    model = PhotoClassifier(make_backbone("small"), len(SPECIES), card).eval()
    for head in (model.species, model.organs, model.plant):
        torch.nn.init.normal_(head.weight, std=8.0)
    return TorchNetwork(model, SPECIES)


@pytest.fixture(scope="module")
def photos():
    """40 squares with shapes and colours."""
    rng = np.random.default_rng(2)
    blocks = rng.integers(0, 256, (40, 6, 6, 3)).repeat(8, axis=1).repeat(8, axis=2)
    return np.clip(blocks + rng.integers(-20, 20, blocks.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(network, photos, tmp_path_factory):
    """Of 32-bit weights, with projects and names."""
    where = tmp_path_factory.mktemp("offline") / "model"
    export(network, where, int8=False, calibration=photos, projects=PROJECTS, names=NAMES)
    return where


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Five photos as files: a JPEG, one that EXIF turns, a PNG with alpha, one of 16 bits, one of grey with a transparent shade."""
    where, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(8)
    made = []
    for i, size in enumerate([(90, 130), (200, 120), (64, 64)]):
        pixels = rng.integers(0, 256, (size[0] // 10 + 1, size[1] // 10 + 1, 3), np.uint8).repeat(10, 0).repeat(10, 1)[: size[0], : size[1]]
        image = Image.fromarray(pixels)
        path = where / f"{i}.{'png' if i == 2 else 'jpg'}"
        if i == 2:
            image.putalpha(Image.fromarray(rng.integers(0, 256, size, np.uint8)))
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(path, **({"exif": exif} if i == 1 else {}))
        made.append(path)
    grey = rng.integers(0, 65536, (9, 8), np.uint16).repeat(10, 0).repeat(10, 1)
    Image.fromarray(grey).save(where / "deep.png")
    Image.fromarray((grey >> 8).astype(np.uint8)).save(where / "shade.png", transparency=int(grey[0, 0] >> 8))
    return [*made, where / "deep.png", where / "shade.png"]


def run(folder, *words):
    """What the runner prints, where nothing but onnxruntime, NumPy and Pillow can be imported."""
    return subprocess.run(
        [sys.executable, "-c", BLOCKED, str(folder / "identify.py"), *map(str, words)], capture_output=True, text=True, check=False
    )


def test_floats_answer_as_the_net(network, photos, folder):
    """To 1e-4, for one photo and many."""
    ours = OnnxNetwork(folder)
    assert ours.card == network.card and ours.species.hash == SPECIES.hash
    for some in (photos[:1], photos):
        lost = parity(network(some), ours(some), 1.0)
        assert lost["largest_difference"] < 1e-4 and lost["least_cosine"] > 1 - 1e-4, lost
        np.testing.assert_allclose(network(some).organs, ours(some).organs, atol=1e-4)
        np.testing.assert_allclose(network(some).plant, ours(some).plant, atol=1e-4)


def test_eight_bits_say_what_they_lose(network, photos, tmp_path):
    """The loss in the card is that of the photos that did not calibrate, every fourth; the graph is smaller."""
    told = export(network, tmp_path / "m", int8=True, calibration=photos)
    seen = parity(network(photos[3::4]), OnnxNetwork(tmp_path / "m")(photos[3::4]), network.card.temperature)
    card = json.loads((tmp_path / "m" / "card.json").read_text())
    assert card["parity"]["largest_difference"] == pytest.approx(seen["largest_difference"], abs=1e-6) and told["bits"] == 8
    assert seen["least_cosine"] > 0.95 and seen["same_first"] >= 0.8 and told["photos"] == 10
    whole = export(network, tmp_path / "w", int8=False)
    assert told["milliseconds"] > 0 and told["milliseconds_before"] > 0 and "milliseconds" not in card["parity"]
    assert told["megabytes"] < whole["megabytes"] / 2 and whole["largest_difference"] < 1e-4
    with pytest.raises(InputError, match="at least 16"):
        export(network, tmp_path / "n", int8=True, calibration=photos[:3])
    assert not (tmp_path / "n").exists()


@pytest.mark.parametrize("asked", [{}, {"project": "few"}, {"project": "best"}, {"organs": ["flower", "leaf", "flower", "", "bark"]}])
def test_the_runner_answers_as_the_engine(folder, files, asked):
    """Five photos, decoded by the server's decoder there and by the runner here: scores to 1e-5, organs, genera, common names."""
    with Decoder(workers=1) as decoder:
        pixels = [decoder.pixels(file.read_bytes()) for file in files]
    told = Identifier(OnnxNetwork(folder), projects=PROJECTS).identify(
        pixels, asked.get("organs", ()), project=asked.get("project", "all"), top=7
    )
    words = [word for organ in asked.get("organs", ()) for word in ("--organ", organ or "auto")] + [
        "--project",
        asked.get("project", "all"),
    ]
    ended = run(folder, *files, *words, "--json")
    assert ended.returncode == 0, ended.stderr[-2000:]
    answer = json.loads(ended.stdout)
    assert [row["taxonID"] for row in answer["species"]] == [SPECIES[c.species].taxon_id for c in told.candidates]
    np.testing.assert_allclose([row["score"] for row in answer["species"]], [c.score for c in told.candidates], atol=1e-5)
    np.testing.assert_allclose([s for _, s in answer["genus"]], [s for _, s in told.genera], atol=1e-5)
    assert [organ for organ, _ in answer["organs"]] == [organ for organ, _ in told.organs] and answer["rejected"] == told.rejected
    assert all(row["names"] == {"fr": NAMES["fr"].get(row["taxonID"], [])} for row in answer["species"])


def test_the_runner_knows_organs_as_the_engine_does_without_a_head_for_them(network, files, tmp_path):
    """Where the net cannot tell organs, the reader's word is told, and "other" where there is none."""
    model = PhotoClassifier(make_backbone("small"), len(SPECIES), dataclasses.replace(network.card, organs=False)).eval()
    export(TorchNetwork(model, SPECIES), tmp_path / "m", int8=False)
    for organs in ((), ("flower", ""), ("", "bark")):
        with Decoder(workers=1) as decoder:
            told = Identifier(OnnxNetwork(tmp_path / "m")).identify([decoder.pixels(file.read_bytes()) for file in files[:2]], organs)
        ended = run(tmp_path / "m", *files[:2], *[word for organ in organs for word in ("--organ", organ or "auto")], "--json")
        answer = json.loads(ended.stdout)
        assert [tuple(pair) for pair in answer["organs"]] == [(organ, pytest.approx(score)) for organ, score in told.organs]
        np.testing.assert_allclose([row["score"] for row in answer["species"]], [c.score for c in told.candidates], atol=1e-5)


@pytest.mark.parametrize("kind", ["xmp", "long", "broken", "text"])
def test_the_runner_turns_photos_as_the_server_does(folder, tmp_path, kind):
    """By EXIF's tag alone, a SHORT or a LONG: not by XMP, and not at all by what cannot be read."""
    pixels = np.random.default_rng(5).integers(0, 256, (9, 12, 3), np.uint8).repeat(10, 0).repeat(10, 1)
    tag = {
        "long": b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x04\0\0\0\x01\0\0\0\x06\0\0\0\0",
        "broken": b"MM\0*\0\0\0\x08\0\x09\x01\x12\0\x02\xff\xff\xff\xff\xff\xff\xff\xff",
        "text": b"no TIFF at all",
    }.get(kind)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="r" xmlns:tiff="t"><rdf:Description tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    photo = tmp_path / "photo.jpg"
    Image.fromarray(pixels).save(photo, **({"exif": b"Exif\0\0" + tag} if tag else {"xmp": xmp}))
    with Decoder(workers=1) as decoder:
        told = Identifier(OnnxNetwork(folder)).identify([decoder.pixels(photo.read_bytes())])
    ended = run(folder, photo, "--json")
    assert ended.returncode == 0, ended.stderr[-2000:]
    answer = json.loads(ended.stdout)
    assert [row["taxonID"] for row in answer["species"]] == [SPECIES[c.species].taxon_id for c in told.candidates]
    np.testing.assert_allclose([row["score"] for row in answer["species"]], [c.score for c in told.candidates], atol=1e-5)


def test_a_transformer_is_quantised_too_and_what_cannot_be_is_told(photos, tmp_path, monkeypatch):
    """Its layers have weights of 8 bits, the heads have not; a net without such a layer is refused, with the way out."""
    transformers = pytest.importorskip("transformers")
    config = transformers.Dinov2Config(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=48, patch_size=12
    ).to_diff_dict()
    card = Card(name="t", version="1", backbone="dinov2:x", size=48, organs=True, rejects=True)
    net = TorchNetwork(PhotoClassifier(make_backbone("dinov2:x", pretrained=False, config=config), len(SPECIES), card).eval(), SPECIES)
    told = export(net, tmp_path / "m", int8=True, calibration=photos)
    graph = onnx.load(str(tmp_path / "m" / "model.onnx")).graph
    small = {one.name for one in graph.initializer if one.data_type == onnx.TensorProto.INT8 and len(one.dims) == 2}
    assert len(small) >= 8 and not any(head in name for name in small for head in ("species", "organs", "plant"))
    assert told["megabytes"] < export(net, tmp_path / "w", int8=False)["megabytes"] and told["least_cosine"] > 0.9
    monkeypatch.setattr("geoplantnet.identify.classifier.onnx_export._FLOATS", 99)
    model = PhotoClassifier(make_backbone("small"), len(SPECIES), Card(name="s", version="1", backbone="small", size=48)).eval()
    with pytest.raises(InputError, match="--float"):
        export(TorchNetwork(model, SPECIES), tmp_path / "n", int8=True, calibration=photos)


def test_a_processor_that_computes_otherwise_is_found_out(network, photos, files, tmp_path):
    """Where the picture of squares does not come out as it did, slower sums are used, and the answers are the same; else the quick ones."""
    export(network, tmp_path / "m", int8=True, calibration=photos)
    quick = OnnxNetwork(tmp_path / "m")
    assert not quick.exact
    card = json.loads((tmp_path / "m" / "card.json").read_text())
    card["probe"]["logits"] = [1.1 * value + 0.5 for value in card["probe"]["logits"]]
    shutil.copytree(tmp_path / "m", tmp_path / "other")
    (tmp_path / "other" / "card.json").write_text(json.dumps(card))
    slow = OnnxNetwork(tmp_path / "other")
    assert slow.exact
    np.testing.assert_allclose(slow(photos).logits, quick(photos).logits, atol=0.05 * np.abs(quick(photos).logits).max())
    told = [json.loads(run(tmp_path / name, files[0], "--json").stdout)["species"] for name in ("m", "other")]
    assert [row["taxonID"] for row in told[0]] == [row["taxonID"] for row in told[1]]


def test_the_loss_is_that_of_photos_held_out(network, photos, tmp_path):
    """Where they are given: what calibrates does not judge."""
    told = export(network, tmp_path / "m", int8=True, calibration=photos[:24], held=photos[24:])
    seen = parity(network(photos[24:]), OnnxNetwork(tmp_path / "m")(photos[24:]), network.card.temperature)
    assert told["photos"] == 16 and told["largest_difference"] == pytest.approx(seen["largest_difference"], abs=1e-6)


def test_the_runner_says_what_is_wrong(folder, files, tmp_path):
    """An unknown project, organs that do not fit, six photos, a file that is no photo."""
    assert "few" in run(folder, files[0], "--project", "more").stderr
    assert "one to five" in run(folder, *files, "--organ", "leaf").stderr
    assert "one to five" in run(folder, *files, *files).stderr
    assert (
        "invalid choice" in run(folder, files[0], "--organ", "root").stderr and "at least 1" in run(folder, files[0], "--top", "0").stderr
    )
    (tmp_path / "x.jpg").write_bytes(b"GIF89a")
    (tmp_path / "cut.jpg").write_bytes(files[0].read_bytes()[:900])
    for name in ("x.jpg", "cut.jpg", "none.jpg"):
        ended = run(folder, tmp_path / name)
        assert ended.returncode != 0 and "cannot be read" in ended.stderr and "Traceback" not in ended.stderr
    (tmp_path / "long.jpg").write_bytes(files[0].read_bytes() + bytes(20_000_000))
    assert "20,000,000 bytes" in run(folder, tmp_path / "long.jpg").stderr
    assert run(folder, files[0]).stdout.count("%") == 7
    assert len((folder / "identify.py").read_text().splitlines()) <= 150, "a page that can be read through"


def test_a_damaged_folder_is_not_believed(network, folder, tmp_path):
    """A flipped bit in any file it reads, labels of another net, no card: typed errors; the runner refuses them too."""
    (tmp_path / "photo.jpg").write_bytes(_jpeg())
    for name in ("model.onnx", "labels.json", "names.json", "projects.json"):
        copy = tmp_path / name.replace(".", "-")
        shutil.copytree(folder, copy)
        data = bytearray((copy / name).read_bytes())
        data[len(data) // 2] ^= 1
        (copy / name).write_bytes(data)
        with pytest.raises((IntegrityError, ModelError)):
            OnnxNetwork(copy)
        assert f"{name} is not as it was written" in run(copy, tmp_path / "photo.jpg").stderr
    with pytest.raises(ModelError, match="were expected"):
        OnnxNetwork.of_graph(folder / "model.onnx", network.card, SpeciesList(checklist="test", taxa=SPECIES.taxa[:5]))
    with pytest.raises(ModelError, match="identify export"):
        OnnxNetwork(tmp_path)


def _jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (60, 60), "green").save(file, "JPEG")
    return file.getvalue()
