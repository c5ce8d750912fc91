"""The shipped cluster files: read, checked, and turned into what Slurm and Kubernetes are given, without either."""

from __future__ import annotations

import sys

import pytest
import yaml

from geoplantnet.config.load import load_cluster
from geoplantnet.config.recipe import ClusterSection
from geoplantnet.errors import ConfigurationError, UsageError
from pipelines.context import Run
from pipelines.workers import WORKER_ENVIRONMENT, Workers, kubernetes_spec, memory_of, require_memory, slurm_cluster


@pytest.mark.parametrize("name", ["local", "slurm", "kubernetes"])
def test_shipped_clusters_are_sound_and_named_for_their_kind(name):
    """What --cluster NAME finds."""
    assert load_cluster(name).kind == name


def test_a_cluster_takes_the_place_of_the_recipes_own(reference, tmp_path):
    """By name or by file; a misspelt name is told with those there are."""
    assert Run.open(reference.recipe, store=tmp_path, cluster="slurm").recipe.cluster == load_cluster("slurm")
    file = tmp_path / "mine.yaml"
    file.write_text("workers: 7\nmemory: 3GB\n", encoding="utf-8")
    assert Run.open(reference.recipe, store=tmp_path, cluster=str(file)).recipe.cluster == ClusterSection(workers=7, memory="3GB")
    with pytest.raises(ConfigurationError, match="Did you mean 'slurm'"):
        Run.open(reference.recipe, store=tmp_path, cluster="slrum")


def test_the_slurm_job_says_cores_memory_time_and_environment(tmp_path):
    """Eight workers of 8 GB a job: one thread and 8 GB each; the user's own options and lines are kept."""
    pytest.importorskip("dask_jobqueue")
    section = load_cluster("slurm")
    options = {**section.options, "log_directory": str(tmp_path), "job_script_prologue": ["source /shared/venv/bin/activate"]}
    with slurm_cluster(section.model_copy(update={"options": options})) as cluster:
        script = cluster.job_script()
        assert cluster.scheduler.allowed_failures == 0
    for line in (
        "#SBATCH -p normal",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --mem=60G",
        "#SBATCH -t 04:00:00",
        "source /shared/venv/bin/activate",
    ):
        assert line in script, line
    assert all(f"export {name}={value}" in script for name, value in WORKER_ENVIRONMENT.items())
    worker = script.splitlines()[-1]
    assert "--nworkers 8" in worker and "--nthreads 1" in worker and "--memory-limit 7.45GiB" in worker and "--lifetime 225m" in worker


@pytest.mark.parametrize(
    ("options", "said"),
    [({"no_such": 1}, "no_such"), ({"memory": "4GB"}, "options.memory"), ({"cores": 4, "processes": 2}, "options.processes 2")],
)
def test_options_slurm_does_not_take_are_told(options, said):
    """ConfigurationError instead of a traceback of another project."""
    pytest.importorskip("dask_jobqueue")
    with pytest.raises(ConfigurationError, match=said):
        slurm_cluster(ClusterSection(kind="slurm", memory="4GB", options=options))


def test_without_sbatch_slurm_is_refused_with_what_to_do(monkeypatch):
    """It is a machine that cannot submit."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="run on a login node"):
        Workers(load_cluster("slurm"))


def test_the_kubernetes_spec_says_image_memory_volumes_and_environment():
    """One thread a pod, memory as limit and request, the store mounted in workers and scheduler; it is plain YAML."""
    pytest.importorskip("dask_kubernetes")
    spec = kubernetes_spec(load_cluster("kubernetes"))
    assert yaml.safe_load(yaml.safe_dump(spec)) == spec and spec["metadata"]["name"] == "geoplantnet"
    worker = spec["spec"]["worker"]
    assert worker["replicas"] == 64
    for role in ("worker", "scheduler"):
        pod = spec["spec"][role]["spec"]
        (container,) = pod["containers"]
        environment = {e["name"]: e["value"] for e in container["env"]}
        assert container["image"] == "registry.example.org/geoplantnet:0.1.0" and container["resources"]["limits"]["memory"] == "8000000000"
        assert environment.items() >= WORKER_ENVIRONMENT.items() and environment["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"] == "0"
        assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "geoplantnet-store"}
        assert container["volumeMounts"] == [{"name": "store", "mountPath": "/store"}]
    command = " ".join(worker["spec"]["containers"][0]["args"])
    assert "--nthreads 1" in command and "--memory-limit 8000000000" in command


def test_options_kubernetes_does_not_take_are_told():
    """ConfigurationError with the name."""
    pytest.importorskip("dask_kubernetes")
    with pytest.raises(ConfigurationError, match="no_such"):
        kubernetes_spec(ClusterSection(kind="kubernetes", memory="4GB", options={"no_such": 1}))


@pytest.mark.parametrize(("make", "module"), [(slurm_cluster, "dask_jobqueue.slurm"), (kubernetes_spec, "dask_kubernetes.operator")])
def test_a_missing_extra_is_named(monkeypatch, make, module):
    """The command that installs it."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=r"pip install 'geoplantnet\[cluster\]'"):
        make(ClusterSection(kind="slurm", memory="4GB"))


def test_memory_of_a_worker():
    """Shared out on this machine, as said elsewhere, unknown where another scheduler decides."""
    assert memory_of(ClusterSection(workers=2)) // 2 == memory_of(ClusterSection(workers=4))
    assert memory_of(ClusterSection(kind="slurm", memory="2GiB")) == 2**31
    assert memory_of(ClusterSection(scheduler="tcp://10.0.0.1:8786")) is None
    require_memory(ClusterSection(scheduler="tcp://10.0.0.1:8786"), "anything", 10**15)
    with pytest.raises(ConfigurationError, match=r"or lower cluster\.workers"):
        require_memory(ClusterSection(workers=2), "anything", 10**15)
