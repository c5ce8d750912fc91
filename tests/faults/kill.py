"""Kill a run at random moments, look at what it left, run it again to the end, and compare every byte with a run that was left alone.

    python tests/faults/kill.py RECIPE --runs 20 --seed 0
    python tests/faults/kill.py RECIPE --runs 200 --after train

Each round starts `geoplantnet run RECIPE` in a process group of its own and kills it with SIGKILL at a moment drawn uniformly
from the duration of the unkilled run: in turns the whole group, and the parent alone, whose workers may then still be
writing. With `--after STAGE` the store holds what comes up to that stage, and the kills fall on what follows it.

Looked at is what the kill left, as it stood when the second run started, milliseconds later: each asset at its final path must be
whole, and what the ledger vouches for must be as it says. After the second run all files but locks and the ledger's timings must be
identical to the unkilled run's, and nothing may be left over. Ends with 1 when a round was not.

The unkilled run is an ordinary one. The others are forks of this process, and their workers forks of them: what takes seconds, the
imports, is done once.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

import dask
import psutil

from geoplantnet.storage import files_of, sha256
from pipelines.cli import main as command_line
from pipelines.context import Run
from pipelines.flow import execute
from pipelines.ledger import Ledger
from pipelines.run import STAGES
from pipelines.workers import WORKER_ENVIRONMENT

ROOT = Path(__file__).parents[2]
LOCKS = (".lock", ".writers")
TIMINGS = ("seconds", "cpu_seconds", "peak_memory", "seal")
FORK = multiprocessing.get_context("fork")


@dataclass
class Found:
    """What came of all rounds."""

    rounds: int = 0
    """Kills: a run that was faster than its moment is not counted, and another is begun."""
    identical: int = 0
    """Rounds whose second run ended with the bytes of the unkilled one and left nothing over."""
    cut: int = 0
    """Rounds in which the kill fell into a write: a temporary was left."""
    whole: int = 0
    """Assets found whole at their final paths, in all."""
    partial: list[str] = field(default_factory=list)
    """Assets at their final paths that were not."""
    damage: list[str] = field(default_factory=list)
    """What `verify` found in killed stores."""
    stages: Counter[str] = field(default_factory=Counter)
    """Rounds by the stage the kill fell into."""


@dataclass(frozen=True)
class Unkilled:
    """The run that was left alone."""

    content: dict[str, object]
    assets: dict[str, str]
    """SHA-256 of every asset that a record names, by path."""
    duration: float
    """Seconds of what is killed."""


def start(recipe: str, store: Path, log: Path) -> multiprocessing.process.BaseProcess:
    """A run that begins at once."""
    run = FORK.Process(target=_run, args=(recipe, store, log))
    run.start()
    with suppress(PermissionError, ProcessLookupError):  # it does so itself; who comes first cannot be known
        os.setpgid(run.pid, run.pid)
    return run


def become_a_worker() -> None:
    """Give this process the environment of workers, which will be forks of it. It is read when a process starts: start again, once."""
    if not WORKER_ENVIRONMENT.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **WORKER_ENVIRONMENT})
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})


def _run(recipe: str, store: Path, log: Path) -> None:
    os.setpgid(0, 0)
    with log.open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    _serve_forks()
    sys.argv = ["geoplantnet", "run", recipe, "--store", str(store)]
    try:
        command_line()
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def _serve_forks() -> None:
    """Be the fork server of multiprocessing: it would be a new interpreter, which knows nothing and imports for seconds."""
    resource_tracker.ensure_running()
    address = f"\0geoplantnet-kill-{os.getpid()}"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    alive, own = os.pipe()
    server = os.fork()
    if server == 0:
        os.close(own)
        try:
            forkserver.main(listener.detach(), alive, [])
        finally:
            os._exit(0)
    os.close(alive)
    listener.close()
    known = forkserver._forkserver
    known._forkserver_address, known._forkserver_alive_fd, known._forkserver_pid = address, own, server


def content(store: Path) -> dict[str, object]:
    """What must be equal: SHA-256 of every file; of a ledger record all but its timings."""
    found: dict[str, object] = {}
    for file in files_of(store):
        name = file.relative_to(store).as_posix()
        if name in LOCKS:
            continue
        if name.startswith("ledger/") and file.suffix == ".json":
            record = json.loads(file.read_text(encoding="utf-8"))
            found[name] = {k: v for k, v in record.items() if k not in TIMINGS}
        else:
            found[name] = sha256(file)
    return found


def reached(store: Path, unkilled: Unkilled) -> tuple[str, int, int]:
    """The stage a killed run was in, how many of its tasks were done, and of how many: the first stage that lacks any."""
    counts = {}
    for stage in STAGES:
        due = sum(name.startswith(f"ledger/{stage}/") for name in unkilled.content)
        counts[stage] = len(list((store / "ledger" / stage).glob("*.json"))), due
    return next(((stage, done, due) for stage, (done, due) in counts.items() if done < due), ("closing", 0, 0))


def differences(unkilled: Unkilled, store: Path) -> list[str]:
    """Files that differ, are missing or are too many, and assets that are not as recorded."""
    now, then = content(store), unkilled.content
    faults = [f"{name} {'differs' if name in then else 'is left over'}" for name, value in now.items() if then.get(name) != value]
    faults += [f"{name} is missing" for name in then if name not in now]
    return faults + [damage.message for damage in Ledger(store).damage()]


def frozen(store: Path, copy: Path) -> bool:
    """Keep a store as it stands, by links, which takes milliseconds; whether there were temporaries, which are left out.

    A worker that outlived its parent may be at work: what it renames meanwhile is there or not, and nothing is ever written in place.
    """
    cut = False
    for folder, directories, files in os.walk(store):
        cut = cut or any(name.startswith(".tmp-") for name in [*directories, *files])
        directories[:] = [name for name in directories if not name.startswith(".tmp-")]
        here = copy / Path(folder).relative_to(store)
        here.mkdir(parents=True, exist_ok=True)
        for name in files:
            if not name.startswith(".tmp-"):
                os.link(Path(folder, name), here / name)
    return cut


def look(left: Path, unkilled: Unkilled, found: Found) -> list[str]:
    """What is wrong with what a kill left: assets that are not whole, and records of what is not so."""
    partial = []
    for name, digest in unkilled.assets.items():
        if (left / name).exists():
            if sha256(left / name) == digest:
                found.whole += 1
            else:
                partial.append(f"{name} is not whole")
    damage = [f"verify: {fault.message}" for fault in Ledger(left).damage()]
    found.partial += partial
    found.damage += damage
    return partial + damage


def lives_on(group: int, seconds: float = 10) -> bool:
    """Whether any process of a group is still there after a while."""
    given_up = time.monotonic() + seconds
    while any(_is_of(process, group) for process in psutil.process_iter()):
        if time.monotonic() > given_up:
            return True
        time.sleep(0.05)
    return False


def _is_of(process: psutil.Process, group: int) -> bool:
    """A process of the group that can still do something: one that has ended may wait a while for somebody to notice."""
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def round_of(recipe: str, folder: Path, moment: float, whole: bool, unkilled: Unkilled, found: Found) -> tuple[str, list[str]] | None:
    """One kill in `folder/store` and the run after it: the stage reached, and what is wrong. None for a run that ended before its moment."""
    store, left, logs = folder / "store", folder / "left", (folder / "victim.log", folder / "heir.log")
    victim = start(recipe, store, logs[0])
    victim.join(moment)
    if victim.exitcode == 0:
        return None
    if victim.exitcode is not None:
        return "not killed", [f"the run ended by itself, with {victim.exitcode}: {logs[0].read_text()[-500:]}"]
    if whole:
        os.killpg(victim.pid, signal.SIGKILL)
    else:
        victim.kill()
    victim.join()
    found.cut += frozen(store, left) if store.exists() else False
    heir = start(recipe, store, logs[1])
    name, done, due = reached(left, unkilled)
    found.stages[name] += 1
    stage = f"{name}, {done} of {due} done" if due else "all was done"
    faults = look(left, unkilled, found)
    heir.join(limit := 10 * unkilled.duration + 60)
    if heir.exitcode is None:
        os.killpg(heir.pid, signal.SIGKILL)
        return stage, [*faults, f"the second run did not end within {limit:.0f} s"]
    if heir.exitcode:
        faults.append(f"the second run ended with {heir.exitcode}: {logs[1].read_text()[-500:]}")
    for name, run in (("killed", victim), ("second", heir)):
        if lives_on(run.pid):
            faults.append(f"processes of the {name} run live on")
            os.killpg(run.pid, signal.SIGKILL)
    return stage, faults + differences(unkilled, store)


def unkilled_run(recipe: str, scratch: Path, after: str | None) -> Unkilled | None:
    """An ordinary run, in `scratch/reference`, and what every round starts from, in `scratch/before`; None when it failed."""
    reference, before = scratch / "reference", scratch / "before"
    began = time.monotonic()
    command = [sys.executable, "-m", "pipelines.cli", "run", recipe, "--store", str(reference)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    if ended.returncode:
        print(ended.stdout, ended.stderr, file=sys.stderr)
        return None
    duration = time.monotonic() - began
    assets = {output.path: output.sha256 for record in Ledger(reference).records() for output in record.outputs}
    unkilled = Unkilled(content(reference), assets, duration)
    shutil.copytree(reference, scratch / "warm")
    warm_up(Run.open(recipe, store=scratch / "warm"))
    before.mkdir()
    if after:
        shutil.copytree(reference, before, dirs_exist_ok=True)
        take_away(before, list(STAGES)[list(STAGES).index(after) + 1 :])
    shutil.copytree(before, scratch / "timed")
    began = time.monotonic()
    timed = start(recipe, scratch / "timed", scratch / "log")
    timed.join()
    duration = time.monotonic() - began
    if wrong := differences(unkilled, scratch / "timed"):
        print(f"a fork does not make what an ordinary run makes: {wrong[:5]}\n{(scratch / 'log').read_text()}", file=sys.stderr)
        return None
    return Unkilled(unkilled.content, assets, duration)


def warm_up(run: Run) -> None:
    """Map a tile here: libraries set themselves up at the first call, for seconds, and need not in every fork.

    The threads this leaves are those of zarr, which knows of forks, and they are idle.
    """
    for name in ("map", "indicators", "publish"):
        execute(STAGES[name], run, run.tiles[0], mark="")


def take_away(store: Path, stages: Sequence[str]) -> None:
    """Make a store as it was before some stages: without their products and records."""
    ledger = Ledger(store)
    for stage in stages:
        for record in list(ledger.records(stage)):
            for output in record.outputs:
                path = store / output.path
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            ledger.forget(stage, record.key)


def main() -> int:
    """Exit code: 0 when every round was identical."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a recipe: a YAML file, or the name of a shipped one")
    parser.add_argument("--runs", type=int, default=20, help="how many kills")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--after", choices=list(STAGES)[:-1], help="the kills fall on the stages after this one; without it on all")
    parser.add_argument("--json", type=Path, help="also write what came of it here")
    asked = parser.parse_args()
    become_a_worker()
    chance, found = random.Random(asked.seed), Found()
    with tempfile.TemporaryDirectory(prefix="kill-") as name:
        scratch = Path(name)
        unkilled = unkilled_run(asked.recipe, scratch, asked.after)
        if unkilled is None:
            return 1
        print(f"unkilled: {unkilled.duration:.1f} s, {len(unkilled.content)} files", flush=True)
        while found.rounds < asked.runs:
            whole, moment = found.rounds % 2 == 0, chance.uniform(0, unkilled.duration)
            folder = scratch / "round"
            shutil.copytree(scratch / "before", folder / "store")
            ended = round_of(asked.recipe, folder, moment, whole, unkilled, found)
            shutil.rmtree(folder)
            if ended is None:
                continue
            stage, faults = ended
            found.rounds += 1
            found.identical += not faults
            verdict = "identical" if not faults else f"NOT IDENTICAL: {'; '.join(faults[:5])}"
            print(f"{found.rounds:3d}  {'group ' if whole else 'parent'} killed at {moment:6.2f} s  {stage:<24}  {verdict}", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps({**vars(found), "stages": dict(found.stages)}, indent=1) + "\n", encoding="utf-8")
    print(f"{found.cut} kills fell into a write; {found.whole} assets stood at their final paths, {len(found.partial)} of them not whole")
    print(f"{found.identical} of {found.rounds} identical")
    return 0 if found.identical == found.rounds else 1


if __name__ == "__main__":
    sys.exit(main())
