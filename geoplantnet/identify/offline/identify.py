"""Identify plants on photos with the files of this folder: python identify.py PHOTO ... [--organ leaf ...] [--project ID] [--top 10] [--json]

Needs onnxruntime, numpy and Pillow, and no network. Up to five photos of one plant give one answer.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

HERE = Path(__file__).resolve().parent
ORGANS = ["leaf", "flower", "fruit", "bark", "habit", "other"]
LARGEST = 25_000_000, 20_000_000  # pixels, bytes
DOUBT, ALIKE, DIFFERENT = 0.02, 4.0, 12.0  # as geoplantnet.identify.fusion says
TURNS = dict(zip((2, 4, 8, 3, 6, 5, 7), Image.Transpose))  # by EXIF's orientation


def read(name, card):
    """The bytes of a file, as it was written."""
    data = (HERE / name).read_bytes() if (HERE / name).is_file() else b""
    if hashlib.sha256(data).hexdigest() != card["files"][name]:
        sys.exit(f"{name} is not as it was written; bring back a copy of this folder")
    return data


def square(path, size):
    """The central square, upright, as the net sees it: of 16 bits the upper 8, what is transparent over white."""
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            if image.width * image.height > LARGEST[0] or Path(path).stat().st_size > LARGEST[1]:
                sys.exit(f"{path}: more than {LARGEST[0]:,} pixels or {LARGEST[1]:,} bytes; save it smaller")
            image.info = {name: image.info[name] for name in ("exif", "transparency") if name in image.info}  # EXIF alone turns a photo
            try:
                turn = TURNS.get(image.getexif().get(274) or 1)
            except Exception:  # what cannot be read says nothing
                turn = None
            photo = image.copy() if turn is None else image.transpose(turn)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        sys.exit(f"{path} cannot be read as a JPEG or PNG ({error}); save it anew")
    if photo.mode.startswith("I"):
        photo = Image.fromarray((np.asarray(photo) >> 8).astype(np.uint8))
    elif photo.has_transparency_data:
        over, photo = photo.convert("RGBA"), Image.new("RGB", photo.size, "white")
        photo.paste(over, mask=over.getchannel("A"))
    photo = photo.convert("RGB")
    side = min(photo.size)
    left, top = (photo.width - side) / 2, (photo.height - side) / 2
    return np.asarray(photo.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)))


def alike(pixels):
    """(n, n): 1 for the same photo, 0 for another."""
    n, size = len(pixels), pixels.shape[1]
    edges = np.linspace(0, size, min(16, size) + 1).astype(int)[:-1]
    sums = np.add.reduceat(np.add.reduceat(pixels, edges, axis=1, dtype=float), edges, axis=2)
    widths = np.diff([*edges, size]).astype(float)
    thumbs = (sums / (widths[:, None, None] * widths[None, :, None])).reshape(n, -1)
    apart = np.sqrt(((thumbs[:, None] - thumbs[None]) ** 2).mean(axis=2))
    return np.clip((DIFFERENT - apart) / (DIFFERENT - ALIKE), 0, 1)


def fuse(log_p, weights, same, gain):
    """Ln p of one plant from ln p (n, species) of n photos."""
    some = weights > 0
    log_p, w, kin = log_p[some], weights[some], same[np.ix_(some, some)]
    u = w / kin.sum(axis=1)
    differ = max(u.sum() ** 2 / (u * w).sum(), 1.0)
    doubt = DOUBT * (1 - 1 / differ)
    each = np.logaddexp(np.log1p(-doubt) + log_p, np.log(max(doubt, 1e-300) / log_p.shape[1]))
    return log_softmax(differ**gain * (u / u.sum()) @ each)


def log_softmax(x):
    return (below := x - x.max(axis=-1, keepdims=True)) - np.log(np.exp(below).sum(axis=-1, keepdims=True))


def identify(paths, organs=(), project="all", top=10):
    """What the photos show, as `--json` prints it."""
    card = json.loads((HERE / "card.json").read_text(encoding="utf-8"))
    species, names = json.loads(read("labels.json", card))["taxa"], json.loads(read("names.json", card))
    projects = json.loads(read("projects.json", card))["projects"] if "projects.json" in card["files"] else []
    floras = {"all": None, "best": None} | {flora["id"]: flora["species"] for flora in projects}
    if project not in floras:
        sys.exit(f"no project {project!r}; this folder has {', '.join(floras)}")
    model, size = read("model.onnx", card), card["size"]
    squares, wanted = np.array(card["probe"]["squares"], np.uint8).repeat(32, 0).repeat(32, 1)[:size, :size], card["probe"]["logits"]
    onnxruntime.set_default_logger_severity(3)
    for exact in "01":  # on processors without VNNI quick sums of 8 bits overflow: a picture of squares tells
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.x64quantprecision", exact)
        net = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        told = net.run(["logits"], {"pixels": squares[None]})[0][0, : len(wanted)]
        if np.linalg.norm(told - wanted) <= 0.08 * np.linalg.norm(wanted):
            break
    pixels = np.stack([square(path, size) for path in paths])
    logits, _, shows, plant = (part.astype(float) for part in net.run(["logits", "features", "organs", "plant"], {"pixels": pixels}))
    shows = shows if card["organs"] else np.full(shows.shape, 1 / len(ORGANS))
    seen = [(ORGANS[int(row.argmax())], float(row.max())) if card["organs"] else ("other", 1 / len(ORGANS)) for row in shows]
    for i, organ in enumerate(organs):
        if organ != "auto":
            shows[i] = np.eye(len(ORGANS))[ORGANS.index(organ)]
            seen[i] = seen[i] if card["organs"] else (organ, 1.0)
    plants = plant >= card["plant_threshold"] if card["rejects"] else np.ones(len(plant), bool)
    weights = shows @ np.array([card["view_weights"].get(organ, 1.0) for organ in ORGANS]) * (plants if plants.any() else 1)
    log_p = fuse(log_softmax(logits / card["temperature"]), weights, alike(pixels), card["view_gain"])
    own = np.arange(len(log_p)) if floras[project] is None else np.array(floras[project], int)
    p = np.zeros(len(log_p))
    p[own] = np.exp(log_softmax(log_p[own])) if len(own) else 0.0
    order = own[np.argsort(-p[own], kind="stable")][:top].tolist()
    sums: dict[str, dict[str, float]] = {"genus": {}, "family": {}}
    for taxon, value in zip(species, p.tolist()):
        for rank, mine in sums.items():
            if taxon[rank] and value > 0:
                mine[taxon[rank]] = mine.get(taxon[rank], 0.0) + value
    common = [{lang: told.get(species[k]["taxonID"], []) for lang, told in names.items()} for k in order]
    return {
        "model": f"{card['name']} {card['version']}",
        "project": project,
        "rejected": not plants.any(),
        "organs": seen,
        "species": [{**species[k], "score": float(p[k]), "names": named} for k, named in zip(order, common)],
        **{rank: sorted(mine.items(), key=lambda pair: -pair[1])[:top] for rank, mine in sums.items()},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--organ", action="append", default=[], choices=[*ORGANS, "auto"], help="of each photo; auto: the net looks")
    parser.add_argument("--project", default="all", help="limit the answer to a flora")
    parser.add_argument("--top", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if len(asked.photos) > 5 or (asked.organ and len(asked.organ) != len(asked.photos)) or asked.top < 1:
        said = f"{len(asked.photos)} photos, {len(asked.organ)} --organ, --top {asked.top}"
        sys.exit(f"{said}: one to five photos of one plant, an --organ for each or none, and a --top of at least 1 were expected")
    told = identify(asked.photos, asked.organ, asked.project, asked.top)
    if asked.json:
        print(json.dumps(told, ensure_ascii=False, indent=1))
        sys.exit()
    if told["rejected"]:
        print("These photos hardly show a plant.")
    for row in told["species"]:
        common = ", ".join(names[0] for names in row["names"].values() if names)
        print(f"{row['score']:6.1%}  {row['scientificName']} ({row['family']})  {common}".rstrip())
