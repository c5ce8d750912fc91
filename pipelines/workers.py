"""Who does the work: worker processes on this machine, jobs of a batch system, pods, or a Dask cluster that is already there.

Workers are alike everywhere: one thread each, a memory limit, the same environment, and a scheduler that gives a task up at
the first worker it takes down (`flow` counts and tries again). All of them see the store at the same path.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from typing import Any

import dask
from dask.utils import parse_bytes
from distributed import Client, LocalCluster
from distributed.system import MEMORY_LIMIT

from geoplantnet.config.recipe import ClusterSection
from geoplantnet.errors import ConfigurationError, InputError, UsageError

PATIENCE = 20.0
"""Seconds to wait for a scheduler to answer."""
WITHOUT_WORKERS = "120s"
"""How long a task waits for a worker when all of this machine's have gone and none comes back; then it has failed."""
WORKER_ENVIRONMENT = {
    # A worker that gives freed arrays back to the system pays for the same pages again and again: training took 7 times longer.
    "MALLOC_TRIM_THRESHOLD_": "2000000000",
    "MALLOC_MMAP_THRESHOLD_": "2000000000",
    # One thread a task; training sets its own, which sleep rather than spin while they wait for a core.
    "OMP_WAIT_POLICY": "PASSIVE",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
_SCHEDULER = {"distributed.scheduler.allowed-failures": 0, "distributed.worker.daemon": True}


class Workers:
    """A cluster and a client on it, until closed."""

    def __init__(self, section: ClusterSection) -> None:
        self._open = ExitStack()
        self.cluster: Any = None
        try:
            if section.scheduler:
                self.client = _connected(section.scheduler)
            else:
                self.cluster = self._open.enter_context(_CLUSTERS[section.kind](section))
                self.client = Client(self.cluster)
            self._open.enter_context(self.client)
        except BaseException:
            self._open.close()
            raise

    @property
    def threads(self) -> int:
        """Tasks that can be done at once now."""
        return sum(self.client.nthreads().values())

    @property
    def alive(self) -> bool:
        """Whether the scheduler is still there."""
        return self.client.status in ("running", "connecting")

    def close(self) -> None:
        """Let workers and scratch space go."""
        self._open.close()


def memory_of(section: ClusterSection) -> int | None:
    """Bytes a worker may use; None where a running cluster decides."""
    if section.scheduler:
        return None
    return MEMORY_LIMIT // section.workers if section.memory == "auto" else parse_bytes(section.memory)


def require_memory(section: ClusterSection, what: str, needed: int) -> None:
    """Raise ConfigurationError when a worker cannot hold the largest task."""
    given = memory_of(section)
    if given is not None and needed > given:
        raise ConfigurationError(
            f"cluster.memory: a task of {what} needs about {needed / 1e9:.1f} GB, a worker has {given / 1e9:.1f} GB; "
            f"raise cluster.memory{' or lower cluster.workers' if section.memory == 'auto' else ''}"
        )


def slurm_cluster(section: ClusterSection) -> Any:
    """dask-jobqueue's SLURMCluster of a section, no job submitted yet (`.job_script()` shows one). Raises UsageError, ConfigurationError."""
    try:
        from dask_jobqueue.slurm import SLURMCluster
    except ImportError as error:
        raise _missing(error) from error
    options = {"cores": 1, **section.options}
    processes = options.setdefault("processes", options["cores"])
    given = {"memory", "n_workers"} & set(options)
    if given or processes != options["cores"]:
        wrong = f"options.{min(given)}" if given else f"options.processes {processes} with {options['cores']} cores"
        raise ConfigurationError(f"cluster: {wrong}: workers, memory and one thread a worker are said outside of `options`; drop it")
    exports = [f"export {name}={value}" for name, value in WORKER_ENVIRONMENT.items()]
    options["job_script_prologue"] = [*exports, *options.get("job_script_prologue", ())]
    options["memory"] = f"{parse_bytes(section.memory) * processes} B"
    with dask.config.set({**_SCHEDULER, "distributed.scheduler.no-workers-timeout": None}):  # jobs may wait in the queue for hours
        try:
            return SLURMCluster(**options)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"cluster.options: SLURMCluster refuses them: {error}") from error


def kubernetes_spec(section: ClusterSection) -> dict[str, Any]:
    """The DaskCluster resource of a section. `options`: those of make_cluster_spec (dask-kubernetes), and `volumes` and
    `volume_mounts` of every pod, as Kubernetes spells them. Raises UsageError, ConfigurationError.
    """
    try:
        from dask_kubernetes.operator import make_cluster_spec
    except ImportError as error:
        raise _missing(error) from error
    options = {"name": "geoplantnet", **section.options}
    options.pop("namespace", None)
    volumes, mounts = options.pop("volumes", []), options.pop("volume_mounts", [])
    settings = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0", "DASK_DISTRIBUTED__WORKER__DAEMON": "True"}
    options["env"] = {**WORKER_ENVIRONMENT, **settings, **options.get("env", {})}
    memory = str(parse_bytes(section.memory))
    amount = {"cpu": "1", "memory": memory}
    options.setdefault("resources", {"requests": amount, "limits": amount})
    # The nanny ends a worker near its limit, and says so, before Kubernetes ends the pod.
    options.setdefault("worker_command", f"dask worker --nthreads 1 --memory-limit {memory}")
    try:
        spec: dict[str, Any] = make_cluster_spec(n_workers=section.workers, **options)
    except TypeError as error:
        raise ConfigurationError(f"cluster.options: make_cluster_spec refuses them: {error}") from error
    for role in ("worker", "scheduler"):
        pod = spec["spec"][role]["spec"]
        if volumes:
            pod["volumes"] = volumes
            pod["containers"][0]["volumeMounts"] = mounts
    return spec


@contextmanager
def _local(section: ClusterSection) -> Iterator[LocalCluster]:
    settings = {
        **_SCHEDULER,
        "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
        "distributed.scheduler.no-workers-timeout": WITHOUT_WORKERS,
    }
    with ExitStack() as open_:
        scratch = open_.enter_context(tempfile.TemporaryDirectory(prefix="geoplantnet-"))
        with signals_stay_here(), dask.config.set(settings):
            cluster = LocalCluster(
                n_workers=section.workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=section.memory,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                local_directory=scratch,
                silence_logs=50,
            )
        yield open_.enter_context(cluster)


@contextmanager
def _slurm(section: ClusterSection) -> Iterator[Any]:
    if shutil.which("sbatch") is None:
        raise UsageError("a cluster of kind slurm submits jobs with sbatch, which is not on this machine; run on a login node")
    with slurm_cluster(section) as cluster:
        cluster.adapt(minimum=section.workers, maximum=section.workers)  # a job that reached its wall time is followed by another
        yield cluster


@contextmanager
def _kubernetes(section: ClusterSection) -> Iterator[Any]:
    spec = kubernetes_spec(section)
    from dask_kubernetes.operator import KubeCluster

    with KubeCluster(custom_cluster_spec=spec, namespace=section.options.get("namespace"), quiet=True) as cluster:
        yield cluster


_CLUSTERS = {"local": _local, "slurm": _slurm, "kubernetes": _kubernetes}


def _connected(address: str) -> Client:
    try:
        return Client(address, timeout=PATIENCE)
    except OSError as error:
        raise InputError(f"no Dask scheduler answers at {address} ({error}); start one, or drop cluster.scheduler") from error


def _missing(error: ImportError) -> UsageError:
    return UsageError(f"this cluster needs the cluster extra ({error.name} is missing): pip install 'geoplantnet[cluster]'")


@contextmanager
def signals_stay_here() -> Iterator[None]:
    """Workers started inside never see SIGINT and SIGTERM.

    Ctrl-C and batch systems signal the whole process group, but only the run may act: it lets the workers end their
    tasks. Processes inherit the blocked mask; what arrives meanwhile is delivered to this one afterwards.
    """
    resource_tracker.ensure_running()  # multiprocessing's helper unblocks both when it starts, so it must have started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
