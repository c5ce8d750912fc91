"""Label aggregation at size: ours beside peerannot on the same votes, 9 million votes, every strategy, and a vote that changes.

    python -m benchmarks.votes_speed [--quick] --json FILE

CPU seconds of one process, from arrays of votes (ours, the better of two runs) or a dictionary of them (peerannot, one run) to labels;
compiled code is loaded before.
Votes are as Pl@ntNet's are spread (Lefort et al. 2024, arXiv:2406.03356: 9.0 million votes, 6.7 million observations, 823 thousand
users, 11,425 species): the author votes on every observation, few others do, and people's diligence and species have long tails.
--quick: a twentieth of the votes.

peerannot 0.0.1.post43 runs in an environment of its own, without torch, which its rule does not need:

    python3.11 -m venv .venv-peerannot
    .venv-peerannot/bin/pip install numpy tqdm && .venv-peerannot/bin/pip install --no-deps peerannot==0.0.1.post43
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.rows import Row, main
from geoplantnet.identify.votes import STRATEGIES, Change, Incremental, PlantNet, Votes

ROOT = Path(__file__).parent.parent
PEERANNOT = "GEOPLANTNET_PEERANNOT"
"""Environment variable: the Python of an environment that holds peerannot. Without it, `.venv-peerannot` of the checkout."""
MILLION = {"observations": 730_000, "users": 100_000, "species": 11_000, "votes": 1_000_000}
FULL = {"observations": 6_700_000, "users": 823_000, "species": 11_425, "votes": 9_000_000}
CHANGES = 500
_TAIL = 50
"""How far the tails of diligence and of species are from the steepest, 1 / rank."""
_THEIRS = """
import json, sys, time, types
from pathlib import Path
import importlib.metadata, importlib.util
home = Path(importlib.util.find_spec("peerannot").origin).parent
for name, folder in (("peerannot.models", home / "models"), ("peerannot.models.aggregation", home / "models" / "aggregation")):
    module = types.ModuleType(name)  # the package's own __init__ imports torch for its other strategies
    module.__path__ = [str(folder)]
    sys.modules[name] = module
import numpy as np
from peerannot.models.aggregation.plantnet import PlantNet
held, authors = np.load(sys.argv[1]), sys.argv[2]
answers = {i: {} for i in range(int(held["observations"]))}
for i, u, s in zip(held["observation"].tolist(), held["user"].tolist(), held["said"].tolist()):
    answers[i][u] = s
size = {"n_classes": int(held["species"]), "n_workers": int(held["users"])}
began = time.process_time()
rule = PlantNet(answers, AI="ignored", authors=authors, alpha=0.5, beta=0.2, **size)
rule.run()
spent = time.process_time() - began
labels = np.asarray(rule.labels_hat, np.int32)
np.save(sys.argv[3], np.stack([labels, np.asarray(rule.valid, np.int32)]))
print(json.dumps({"seconds": spent, "version": importlib.metadata.version("peerannot")}))
"""


def table(*, observations: int, users: int, species: int, votes: int, seed: int = 8) -> dict[str, Any]:
    """The arguments of `Votes`, in no order."""
    random = np.random.default_rng(seed)
    author = _ranked(random, users, observations)
    truth = _ranked(random, species, observations)
    more = int((votes - observations) * 1.2)
    where = np.concatenate([np.arange(observations), random.integers(0, observations, more)])
    who = np.concatenate([author, _ranked(random, users, more)])
    first = np.sort(np.unique(where * np.int64(users) + who, return_index=True)[1])[:votes]
    where, who = where[first], who[first]
    skill = random.beta(5, 1.5, users)
    alike = (truth[where] // 4 * 4 + random.integers(0, 4, len(where))) % species  # mistakes are made within small genera
    said = np.where(random.random(len(where)) < skill[who], truth[where], alike)
    order = random.permutation(len(where))
    return {
        "observation": where[order].astype(np.int32),
        "user": who[order].astype(np.int32),
        "species": said[order].astype(np.int32),
        "author": author.astype(np.int32),
        "n_users": users,
        "n_species": species,
    }


def _ranked(random: np.random.Generator, n: int, size: int) -> npt.NDArray[np.int64]:
    """Of 0 to n - 1, the first most often."""
    share = 1 / (np.arange(n) + _TAIL)
    return random.choice(n, size, p=share / share.sum())


def beside_peerannot(sizes: dict[str, int]) -> list[Row]:
    """Ours and theirs on the same votes."""
    given = table(**sizes)
    PlantNet().aggregate(Votes(**table(observations=100, users=20, species=10, votes=150)))
    began = time.process_time()
    votes = Votes(**given)
    found = PlantNet().aggregate(votes)
    seconds = time.process_time() - began
    what = f"{len(votes):,} votes on {sizes['observations']:,} observations: "
    python = Path(os.environ.get(PEERANNOT, ROOT / ".venv-peerannot" / "bin" / "python"))
    if not python.exists():
        told = "peerannot is not installed: see the first lines of benchmarks/votes_speed.py"
        return [Row(name=what + "Pl@ntNet's rule, CPU", value=seconds, unit="s", reference=told, target=">= 100x faster", ok=False)]
    with tempfile.TemporaryDirectory() as folder:
        held, authors, out = (str(Path(folder) / name) for name in ("votes.npz", "authors.txt", "labels.npy"))
        arrays = {"observation": votes.observation, "user": votes.user, "said": votes.species}
        np.savez(held, **arrays, observations=sizes["observations"], users=sizes["users"], species=sizes["species"])
        np.savetxt(authors, votes.author, fmt="%i")
        command = [str(python), "-c", _THEIRS, held, authors, out]
        run = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        theirs = json.loads(run.stdout)
        label, valid = np.load(out)
    again = time.process_time()
    PlantNet().aggregate(Votes(**given))
    seconds = min(seconds, time.process_time() - again)
    name = f"peerannot {theirs['version']}"
    ratio = theirs["seconds"] / seconds
    return [
        Row(
            name=what + "Pl@ntNet's rule, CPU",
            value=seconds,
            unit="s",
            reference=f"{name}: {theirs['seconds']:.3g} s, {ratio:.0f} times as long",
            target=">= 100x faster",
            ok=ratio >= 100,
        ),
        Row(
            name=what + "labels that are theirs",
            value=100 * float((label == found.label).mean()),
            unit="%",
            reference=f"{name} judges its first labels for ever",
        ),
        Row(
            name=what + "labels and validity that are theirs",
            value=100 * float(((label == found.label) & (valid.astype(bool) == found.valid)).mean()),
            unit="%",
            reference=f"valid: {100 * found.valid.mean():.1f} % ours, {100 * valid.mean():.1f} % theirs, which count votes on one's own invalid observations too",
        ),
    ]


def whole_flora(sizes: dict[str, int], quick: bool) -> list[Row]:
    """The size of the published flora, in a process of its own, so that its memory is its own."""
    command = [sys.executable, "-m", "benchmarks.votes_speed", "--alone", json.dumps(sizes)]
    measured = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout)
    what = f"{measured['votes']:,} votes on {sizes['observations']:,} observations: "
    told = f"{measured['iterations']} iterations, cycle {measured['cycle']}, {100 * measured['valid']:.1f} % valid"
    limits = ("", "") if quick else ("< 30 s", "< 3 GB")
    return [
        Row(
            name=what + "Pl@ntNet's rule, CPU",
            value=measured["seconds"],
            unit="s",
            reference=told,
            target=limits[0],
            ok=measured["seconds"] < 30,
        ),
        Row(
            name=what + "most memory of the process",
            value=measured["memory"],
            unit="GB",
            reference=f"{measured['before']:.2f} GB after making up the votes",
            target=limits[1],
            ok=measured["memory"] < 3,
        ),
    ]


def _alone(sizes: dict[str, int]) -> None:
    PlantNet().aggregate(Votes(**table(observations=100, users=20, species=10, votes=150)))
    given = table(**sizes)
    before = _most_memory()
    began = time.process_time()
    votes = Votes(**given)
    found = PlantNet().aggregate(votes)
    told = {"seconds": time.process_time() - began, "votes": len(votes), "memory": _most_memory(), "before": before}
    print(json.dumps({**told, "iterations": found.iterations, "cycle": found.cycle, "valid": float(found.valid.mean())}))


def _most_memory() -> float:
    """Peak resident memory of this process, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def strategies(votes: Votes) -> list[Row]:
    """Each by name, of its default parameters."""
    found = []
    for name, strategy in STRATEGIES.items():
        began = time.process_time()
        result = strategy().aggregate(votes)
        seconds = time.process_time() - began
        end = "converged" if result.converged else result.notes[0]
        told = f"{result.iterations} iteration{'s' * (result.iterations > 1)}, {end}"
        found.append(Row(name=f"{len(votes):,} votes: {name}, CPU", value=seconds, unit="s", reference=told))
    return found


def changes(votes: Votes) -> list[Row]:
    """One vote after the other is put in, changed or withdrawn: by anybody, and by those who vote most."""
    began = time.process_time()
    engine = Incremental(votes, PlantNet())
    whole = time.process_time() - began
    random = np.random.default_rng(1)
    spent: dict[str, list[float]] = {"somebody": [], "who votes, as often as they do": []}
    for who, seconds in spent.items():
        for _ in range(CHANGES):
            user = int(random.integers(votes.n_users)) if who == "somebody" else int(votes.user[random.integers(len(votes))])
            observation = int(random.integers(votes.n_observations))
            species = int(votes.species[random.integers(len(votes))]) if random.random() < 0.9 else -1
            began = time.process_time()
            engine.change(Change(votes=[(observation, user, species)]))
            seconds.append(time.process_time() - began)
    full, kept = PlantNet().aggregate(engine.votes()), engine.aggregation
    same = all(getattr(full, n).tobytes() == getattr(kept, n).tobytes() for n in ("label", "valid", "confidence", "agreement", "weight"))
    told = "the same as a full run after all of them, bit for bit" if same else "NOT the same as a full run"
    rows = []
    for who, seconds in spent.items():
        middle, late = (1000 * float(np.quantile(seconds, q)) for q in (0.5, 0.99))
        name = f"{len(votes):,} votes: one vote changes, of {who}, CPU: "
        rows.append(Row(name=name + "median", value=middle, unit="ms", reference=told, target="< 10 ms", ok=same and middle < 10))
        rows.append(Row(name=name + "99 of 100 within", value=late, unit="ms", reference=f"starting takes {whole:.2f} s"))
    return rows


def rows(quick: bool) -> list[Row]:
    """All of it."""
    million, full = ({k: v // 20 for k, v in sizes.items()} if quick else sizes for sizes in (MILLION, FULL))
    votes = Votes(**table(**million))
    return [*beside_peerannot(million), *whole_flora(full, quick), *strategies(votes), *changes(votes)]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--alone"]:
        _alone(json.loads(sys.argv[2]))
    else:
        main(rows)
