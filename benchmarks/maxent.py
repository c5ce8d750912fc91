"""MaxEnt on the field's worked example, the three-toed sloth Bradypus variegatus: ours beside elapid, and beside maxnet's optimum.

Two data sets: elapid's table of presences and background, and dismo's rasters of the Americas with the presences of Phillips et
al. (2006), where whole maps are compared. elapid is called directly. maxnet's formulas (Phillips et al. 2017) are written out
again here, sharing no code with ours or elapid's, and solved by another method, accelerated proximal gradients.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import elapid
import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from scipy.special import expit

from benchmarks.rows import Row, main
from geoplantnet.cubes import TablePatches
from geoplantnet.sdm.evaluate import auc_per_species
from geoplantnet.sdm.maxent import MaxEnt, Penalty
from geoplantnet.sdm.sites import BACKGROUND, Sites
from geoplantnet.taxonomy import SpeciesList, Taxon

matplotlib.use("Agg")
from matplotlib import pyplot as plt

DATA = Path(os.environ.get("GEOPLANTNET_DATA", Path(__file__).parent.parent.parent / "shared" / "data")) / "classic_sdm"
SLOTH = SpeciesList(checklist="dismo", taxa=(Taxon(taxon_id="bradypus", scientific_name="Bradypus variegatus"),))
KNOTS = 10
Array = npt.NDArray[np.float64]


def measure(quick: bool) -> list[Row]:
    """Both data sets; `quick` solves the reference less far."""
    table = pd.read_csv(DATA / "bradypus.csv.gz")
    present = table.pop("presence").to_numpy() == 1
    predictors = table.drop(columns="ecoreg").to_numpy(np.float32).astype(np.float64)
    rows = compare("table of 116 + 1,000 sites, all classes", predictors, present, predictors, "lqph", quick)[0]
    values, inside, at = rasters()
    rng = np.random.default_rng(0)
    background = values[rng.choice(len(values), 2000 if quick else len(values), replace=False)]
    x, present = np.concatenate([values[at], background]), np.arange(at.size + len(background)) < at.size
    for classes in ("lq", "lqph"):
        own, maps = compare(f"map of {len(values):,} cells, {classes}", x, present, values, classes, quick)
        rows += own
    picture(maps, inside)
    return rows


def compare(
    what: str, x: Array, present: npt.NDArray[np.bool_], everywhere: Array, classes: str, quick: bool
) -> tuple[list[Row], dict[str, Array]]:
    """Ours against both references: correlation over `everywhere`, and difference of AUC at the sites."""
    maps: dict[str, Array] = {}
    rows = []
    references: tuple[tuple[Penalty, str, Callable[[Array], Array]], ...] = (
        ("elapid", f"elapid {elapid.__version__} called directly", by_elapid(x, present, classes)),
        ("maxnet", "maxnet's optimum by proximal gradients", by_maxnet(x, present, classes, 20_000 if quick else 200_000)),
    )
    for penalty, name, reference in references:
        ours = by_us(x, present, classes, penalty)
        own, other = ours(everywhere), reference(everywhere)
        r = float(np.corrcoef(own, other)[0, 1])
        auc = [float(auc_per_species(p(x)[:, None], present[:, None].astype(np.uint8))[0]) for p in (ours, reference)]
        apart = abs(auc[0] - auc[1])
        largest = float(np.abs(own - other).max())
        rows += [
            Row(name=f"{what}: correlation of maps, penalty {penalty}", value=r, unit="r", reference=f"{name}; largest difference {largest:.4f}", target=">= .99", ok=r >= 0.99),
            Row(name=f"{what}: AUC, penalty {penalty}", value=auc[0], unit="", reference=f"{name}: {auc[1]:.4f}", target="equal within .002", ok=apart <= 0.002),
        ]  # fmt: skip
        maps |= {f"ours, penalty {penalty}": own, name: other}
    (_, fallback), (_, optimum) = list(maps.items())[1::2]
    apart = float(np.corrcoef(fallback, optimum)[0, 1])
    rows.append(
        Row(
            name=f"{what}: the two references with each other",
            value=apart,
            unit="r",
            reference="elapid without glmnet has one penalty for all features",
        )
    )
    return rows, maps


def by_us(x: Array, present: npt.NDArray[np.bool_], classes: str, penalty: Penalty) -> Callable[[Array], Array]:
    """Our estimator, from sites as any other model gets them."""

    def sites(values: Array, found: npt.NDArray[np.bool_]) -> Sites:
        names = tuple(f"x{i}" for i in range(values.shape[1]))
        return Sites(
            species=SLOTH,
            patches=TablePatches(pd.DataFrame(values, columns=list(names)), {"predictors": names}),
            labels=sparse.csr_array(found[:, None].astype(np.uint8)),
            presence_absence=np.zeros(len(values), bool),
            group=np.where(found, 0, BACKGROUND),
            xy=np.zeros((len(values), 2)),
        )

    model = MaxEnt(classes=classes, penalty=penalty, knots=KNOTS, limit=10**9).fit(sites(x, present), np.arange(len(x)))
    return lambda v: model.predict(sites(v, np.zeros(len(v), bool)), np.arange(len(v)))[:, 0].astype(np.float64)


def by_elapid(x: Array, present: npt.NDArray[np.bool_], classes: str) -> Callable[[Array], Array]:
    """What elapid itself predicts, fitted as its documentation does."""
    model = elapid.MaxentModel(
        feature_types=classes, n_hinge_features=KNOTS, beta_multiplier=1.0, n_cpus=1, random_state=0, use_sklearn=True
    )
    model.fit(x, present.astype(int))
    return model.predict


def by_maxnet(x: Array, present: npt.NDArray[np.bool_], classes: str, steps: int) -> Callable[[Array], Array]:
    """Features, penalties, weights of 1 and 100, the lasso, entropy and cloglog, as maxnet has them. Its features are not
    scaled to [0, 1] as here; its penalties are proportional to each feature's spread, so that the scale cancels.
    """
    low, high = x.min(axis=0), x.max(axis=0)
    i, j = np.triu_indices(x.shape[1], k=1)

    def raw(values: Array) -> tuple[Array, npt.NDArray[np.str_]]:
        v = np.clip(values, low, high)
        blocks = {"l": v, "q": v**2, "p": v[:, i] * v[:, j]}
        if "h" in classes:
            knots = np.linspace(low, high, KNOTS)
            rising = [np.clip((v - k) / (high - k), 0, 1) for k in knots[:-1]]
            falling = [np.clip((v - low) / (k - low), 0, 1) for k in knots[1:]]
            blocks["h"] = np.concatenate(rising + falling, axis=1)
        used = [(c, blocks[c]) for c in "lqph" if c in classes]
        return np.concatenate([b for _, b in used], axis=1), np.concatenate([np.repeat(c, b.shape[1]) for c, b in used])

    learnt, kind = raw(x)
    least, span = learnt.min(axis=0), np.ptp(learnt, axis=0)

    def features(values: Array) -> Array:
        return np.clip((raw(values)[0] - least) / span, 0, 1)

    z = features(x)
    n = int(present.sum())
    tables = {
        "l": ([0, 10, 30, 100], [1, 1, 0.2, 0.05]),
        "q": ([0, 10, 17, 30, 100], [1.3, 0.8, 0.5, 0.25, 0.05]),
        "p": ([0, 10, 17, 30, 100], [2.6, 1.6, 0.9, 0.55, 0.05]),
    }
    polynomial = np.interp(n, *tables["p" if "p" in classes else "q" if "q" in classes else "l"])
    spread = z[present].std(axis=0, ddof=1)
    strength = np.where(kind == "h", 0.5, polynomial) * spread / np.sqrt(n)
    hinges = np.where(kind == "h", 0.5 * np.maximum(spread, 1 / np.sqrt(n)) / np.sqrt(n), 0)
    penalty = n * np.maximum(np.maximum(strength, hinges), 0.001 * np.ptp(z, axis=0))
    slope = proximal_gradients(z, present, np.where(present, 1.0, 100.0), penalty, steps)
    eta = z[~present] @ slope
    share = np.exp(eta - eta.max())
    normaliser = np.log(share.sum()) + eta.max()
    share /= share.sum()
    entropy = -(share * np.log(share)).sum()
    return lambda v: 1 - np.exp(-np.exp(features(v) @ slope - normaliser + entropy))


def proximal_gradients(z: Array, present: npt.NDArray[np.bool_], weight: Array, penalty: Array, steps: int) -> Array:
    """FISTA with restarts (Beck & Teboulle 2009; O'Donoghue & Candes 2015) on the L1-penalised weighted logistic loss, the
    intercept solved for at every step so that the residuals sum to zero.
    """
    y = present.astype(np.float64)
    b = momentum = np.zeros(z.shape[1])
    b0, t = float(np.log(weight @ y / (weight @ (1 - y)))), 1.0
    step = 1e-3

    def gradient(at: Array, start: float) -> tuple[Array, float, float]:
        linear, c = z @ at, start
        for _ in range(50):
            p = expit(linear + c)
            move = float((weight @ (p - y)) / (weight @ (p * (1 - p))))
            c -= move
            if abs(move) < 1e-12:
                break
        eta = linear + c
        return z.T @ (weight * (expit(eta) - y)), float(weight @ (np.logaddexp(0, eta) - y * eta)), c

    for _ in range(steps):
        g, value, b0 = gradient(momentum, b0)
        while True:
            towards = momentum - step * g
            new = np.sign(towards) * np.maximum(np.abs(towards) - step * penalty, 0)
            change = new - momentum
            _, then, _ = gradient(new, b0)
            if then <= value + g @ change + change @ change / (2 * step) + 1e-12 * abs(value):
                break
            step /= 2
        if (momentum - new) @ (new - b) > 0:
            t = 1.0
        following = (1 + np.sqrt(1 + 4 * t * t)) / 2
        momentum, moved = new + (t - 1) / following * (new - b), float(np.abs(new - b).max())
        b, t, step = new, following, step * 1.02
        if moved < 1e-9:
            break
    return b


def rasters() -> tuple[Array, npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """The eight climate layers on land of dismo (cell, predictor), where land is (192, 186), and the presences' cells among it."""
    folder = DATA / "dismo_ex"
    names = ("bio1", "bio12", "bio16", "bio17", "bio5", "bio6", "bio7", "bio8")
    layers = np.stack([np.fromfile(folder / f"{name}.gri", "<i2").reshape(192, 186) for name in names]).astype(np.float64)
    inside = layers.min(axis=0) > -32768
    number = np.full(inside.shape, -1)
    number[inside] = np.arange(inside.sum())
    points = pd.read_csv(folder / "bradypus.csv")
    cells = number[np.floor((40 - points["lat"]) * 2).astype(int), np.floor((points["lon"] + 125) * 2).astype(int)]
    return layers[:, inside].T, inside, cells[cells >= 0]


def picture(maps: dict[str, Array], inside: npt.NDArray[np.bool_]) -> None:
    """The maps side by side as build/maxent.png, to be looked at."""
    figure, axes = plt.subplots(1, len(maps), figsize=(5 * len(maps), 5), layout="constrained")
    for axis, (title, values) in zip(axes, maps.items()):
        image = np.full(inside.shape, np.nan)
        image[inside] = values
        drawn = axis.imshow(image, vmin=0, vmax=1, extent=(-125, -32, -56, 40))
        axis.set_title(title)
    figure.colorbar(drawn, ax=axes, label="suitability (cloglog)")
    folder = Path(__file__).parent.parent / "build"
    folder.mkdir(exist_ok=True)
    figure.savefig(folder / "maxent.png", dpi=80)


if __name__ == "__main__":
    main(measure)
