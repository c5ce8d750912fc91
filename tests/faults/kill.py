"""Kill a run at random moments, run it again to the end, and compare every byte with a run that was left alone.

    python tests/faults/kill.py RECIPE --runs 20 --seed 0

Each round starts `geoplantnet run RECIPE` on an empty store in a process group of its own and kills it with SIGKILL at a
moment drawn uniformly from the duration of the unkilled run: in turns the whole group, and the parent alone, whose
workers may then still be writing. The second run has its imports behind it and starts within milliseconds of the kill.
All files but locks and the ledger's timings must be identical, and nothing may be left over. Ends with 1 when a round
was not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from geoplantnet.storage import files_of, sha256
from pipelines.ledger import Ledger
from pipelines.run import STAGES

ROOT = Path(__file__).parents[2]
WAITING = "import sys, pipelines.run; from pipelines.cli import main; print('ready', flush=True); sys.stdin.readline(); main()"
TIMINGS = ("seconds", "cpu_seconds", "peak_memory", "seal")


def start(recipe: str, store: Path, log: Path) -> subprocess.Popen[str]:
    """A run that has imported everything and waits for a line on its standard input."""
    command = [sys.executable, "-c", WAITING, "run", recipe, "--store", str(store)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with log.open("w") as stream:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=stream, stderr=stream, text=True, env=environment, start_new_session=True
        )


def go(run: subprocess.Popen[str], log: Path) -> None:
    """Let a waiting run begin, as soon as it waits."""
    while "ready" not in log.read_text() and run.poll() is None:
        time.sleep(0.05)
    assert run.stdin is not None
    run.stdin.write("\n")
    run.stdin.close()


def content(store: Path) -> dict[str, object]:
    """What must be equal: SHA-256 of every file; of a ledger record all but its timings."""
    found: dict[str, object] = {}
    for file in files_of(store):
        name = file.relative_to(store).as_posix()
        if name in (".lock", ".writers"):
            continue
        if name.startswith("ledger/") and file.suffix == ".json":
            record = json.loads(file.read_text(encoding="utf-8"))
            found[name] = {k: v for k, v in record.items() if k not in TIMINGS}
        else:
            found[name] = sha256(file)
    return found


def reached(store: Path) -> str:
    """The stage a killed run was in: the last one with records."""
    counts = {name: len(list((store / "ledger" / name).glob("*.json"))) for name in STAGES}
    last = [name for name, count in counts.items() if count]
    return f"{last[-1]} {counts[last[-1]]} done" if last else "nothing done"


def differences(reference: dict[str, object], store: Path) -> list[str]:
    """Files that differ, are missing or are too many, and assets that are not as recorded."""
    now = content(store)
    faults = [f"{name} {'differs' if name in reference else 'is left over'}" for name, value in now.items() if reference.get(name) != value]
    faults += [f"{name} is missing" for name in reference if name not in now]
    return faults + [damage.message for damage in Ledger(store).damage()]


def lives_on(group: int, seconds: float = 10) -> bool:
    """Whether any process of a group is still there after a while."""
    for _ in range(int(seconds * 10)):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.1)
    return True


def round_of(recipe: str, folder: Path, moment: float, whole: bool, limit: float, reference: dict[str, object]) -> tuple[str, list[str]]:
    """One kill and the run after it: the stage reached, and what is wrong."""
    store, logs = folder / "store", (folder / "victim.log", folder / "heir.log")
    victim, heir = (start(recipe, store, log) for log in logs)
    go(victim, logs[0])
    try:
        victim.wait(moment)
        stage = "ended before the kill"
    except subprocess.TimeoutExpired:
        if whole:
            os.killpg(victim.pid, signal.SIGKILL)
        else:
            victim.kill()
        stage = reached(store)
    victim.wait()
    go(heir, logs[1])
    try:
        code = heir.wait(limit)
    except subprocess.TimeoutExpired:
        os.killpg(heir.pid, signal.SIGKILL)
        return stage, [f"the second run did not end within {limit:.0f} s"]
    faults = [] if code == 0 else [f"the second run ended with {code}: {logs[1].read_text()[-500:]}"]
    for name, run in (("killed", victim), ("second", heir)):
        if lives_on(run.pid):
            faults.append(f"processes of the {name} run live on")
            os.killpg(run.pid, signal.SIGKILL)
    return stage, faults + differences(reference, store)


def main() -> int:
    """Exit code: 0 when every round was identical."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a recipe: a YAML file, or the name of a shipped one")
    parser.add_argument("--runs", type=int, default=20, help="how many kills")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    asked = parser.parse_args()
    chance = random.Random(asked.seed)
    with tempfile.TemporaryDirectory(prefix="kill-") as scratch:
        log = Path(scratch) / "log"
        first = start(asked.recipe, Path(scratch) / "reference", log)
        go(first, log)
        began = time.monotonic()
        if first.wait():
            print(log.read_text(), file=sys.stderr)
            return 1
        duration = time.monotonic() - began
        reference = content(Path(scratch) / "reference")
        print(f"reference: {duration:.1f} s, {len(reference)} files", flush=True)
        identical = 0
        for n in range(asked.runs):
            whole, moment = n % 2 == 0, chance.uniform(0, duration)
            folder = Path(scratch) / f"{n:02d}"
            folder.mkdir()
            stage, faults = round_of(asked.recipe, folder, moment, whole, 10 * duration + 60, reference)
            identical += not faults
            verdict = "identical" if not faults else f"NOT IDENTICAL: {'; '.join(faults[:5])}"
            print(f"{n + 1:3d}  {'group ' if whole else 'parent'} killed at {moment:6.2f} s  {stage:<22}  {verdict}", flush=True)
            shutil.rmtree(folder)
    print(f"{identical} of {asked.runs} identical")
    return 0 if identical == asked.runs else 1


if __name__ == "__main__":
    sys.exit(main())
