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
from PIL import Image, ImageOps

HERE = Path(__file__).resolve().parent
ORGANS = ["leaf", "flower", "fruit", "bark", "habit", "other"]
LARGEST = 25_000_000  # pixels
DOUBT = 0.02  # as geoplantnet.identify.fusion says of these three
ALIKE, DIFFERENT = 4.0, 12.0


def read(name):
    return json.loads((HERE / name).read_text(encoding="utf-8"))


def square(path, size):
    """The central square, upright, as the net sees it."""
    with Image.open(path, formats=("JPEG", "PNG")) as image:
        if image.width * image.height > LARGEST:
            sys.exit(f"{path}: more than {LARGEST:,} pixels; save it smaller")
        photo = ImageOps.exif_transpose(image)
        if photo.mode in ("RGBA", "LA", "P", "PA") and (photo.mode != "P" or "transparency" in photo.info):
            over = Image.new("RGBA", photo.size, "white")
            over.alpha_composite(photo.convert("RGBA"))
            photo = over
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
    share = 1 / kin.sum(axis=1)
    u = w * share
    differ = max(u.sum() ** 2 / (u**2 / share).sum(), 1.0)
    doubt = DOUBT * (1 - 1 / differ)
    with np.errstate(divide="ignore"):
        each = np.logaddexp(np.log1p(-doubt) + log_p, np.log(doubt / log_p.shape[1]))
    return log_softmax(differ**gain * (u / u.sum()) @ each)


def log_softmax(x):
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def identify(paths, organs=(), project="all", top=10):
    """What the photos show, as `--json` prints it."""
    card, species = read("card.json"), read("labels.json")["taxa"]
    if hashlib.sha256((HERE / "model.onnx").read_bytes()).hexdigest() != card["files"]["model.onnx"]:
        sys.exit("model.onnx is not as it was written; bring back a copy of this folder")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    net = onnxruntime.InferenceSession(str(HERE / "model.onnx"), options, providers=["CPUExecutionProvider"])
    pixels = np.stack([square(path, card["size"]) for path in paths])
    logits, _, shows, plant = (part.astype(float) for part in net.run(["logits", "features", "organs", "plant"], {"pixels": pixels}))
    if not card["organs"]:
        shows = np.full(shows.shape, 1 / len(ORGANS))
    seen = [(ORGANS[int(row.argmax())], float(row.max())) for row in shows]
    for i, organ in enumerate(organs):
        if organ in ORGANS:
            shows[i] = np.eye(len(ORGANS))[ORGANS.index(organ)]
    plants = plant >= card["plant_threshold"] if card["rejects"] else np.ones(len(plant), bool)
    weights = shows @ np.array([card["view_weights"].get(organ, 1.0) for organ in ORGANS]) * (plants if plants.any() else 1)
    log_p = fuse(log_softmax(logits / card["temperature"]), weights, alike(pixels), card["view_gain"])
    if project != "all":
        known = {p["id"]: p["species"] for p in (read("projects.json")["projects"] if (HERE / "projects.json").is_file() else [])}
        if project not in known:
            sys.exit(f"no project {project!r}; this folder has {', '.join(['all', *known])}")
        if known[project] is not None:
            outside = np.setdiff1d(np.arange(len(log_p)), known[project])
            log_p[outside] = -np.inf
            log_p = log_softmax(log_p)
    p = np.exp(log_p)
    order = [int(k) for k in np.argsort(-p, kind="stable")[:top] if p[k] > 0 or project == "all"]
    names = read("names.json")
    sums: dict[str, dict[str, float]] = {"genus": {}, "family": {}}
    for taxon, value in zip(species, p.tolist()):
        for rank, mine in sums.items():
            if taxon[rank] and value > 0:
                mine[taxon[rank]] = mine.get(taxon[rank], 0.0) + value
    return {
        "model": f"{card['name']} {card['version']}",
        "project": project,
        "rejected": not plants.any(),
        "organs": seen,
        "species": [
            {**species[k], "score": float(p[k]), "names": {lang: told.get(species[k]["taxonID"], []) for lang, told in names.items()}}
            for k in order
        ],
        **{rank: sorted(mine.items(), key=lambda pair: -pair[1])[:top] for rank, mine in sums.items()},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--organ", action="append", default=[], help="what each photo shows, in order; auto: the net looks")
    parser.add_argument("--project", default="all", help="limit the answer to a flora")
    parser.add_argument("--top", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if len(asked.photos) > 5 or (asked.organ and len(asked.organ) != len(asked.photos)):
        sys.exit("one to five photos of one plant, and an --organ for each or none")
    told = identify(asked.photos, asked.organ, asked.project, asked.top)
    if asked.json:
        print(json.dumps(told, ensure_ascii=False, indent=1))
        return
    if told["rejected"]:
        print("These photos hardly show a plant.")
    for row in told["species"]:
        print(
            f"{row['score']:6.1%}  {row['scientificName']} ({row['family']})  {', '.join(n for names in row['names'].values() for n in names[:1])}".rstrip()
        )


if __name__ == "__main__":
    main()
