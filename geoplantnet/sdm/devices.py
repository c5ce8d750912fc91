"""Where training runs: one device here, or several, each with a process of its own, through Lightning Fabric."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal, Protocol, cast

import torch
import torch.multiprocessing

from geoplantnet.errors import ConfigurationError, ModelError

Accelerator = Literal["auto", "cpu", "cuda"]
Precision = Literal["32", "bf16"]


PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others before it gives them up."""


class Placement(Protocol):
    """The part of a training plan that says where it runs."""

    @property
    def accelerator(self) -> Accelerator: ...

    @property
    def devices(self) -> int: ...

    @property
    def precision(self) -> Precision: ...


def kind_of(accelerator: Accelerator) -> Literal["cpu", "cuda"]:
    """`auto` is CUDA where there is any. Raises ConfigurationError when CUDA is asked for and absent."""
    present = torch.cuda.is_available()
    if accelerator == "cuda" and not present:
        raise ConfigurationError("accelerator is cuda, but torch finds no CUDA device here; use auto or cpu, or install torch with CUDA")
    return "cuda" if present and accelerator != "cpu" else "cpu"


def mapping_precision(asked: Literal["auto", "32", "bf16"], accelerator: Accelerator = "cpu") -> Precision:
    """`auto` is bf16 where this processor multiplies it in hardware (AVX-512 BF16 or AMX), and on CUDA, else 32 bits.

    By what the processor can do, not by a race: the same machine decides the same way every time.
    """
    if asked != "auto":
        return asked
    if kind_of(accelerator) == "cuda":
        return "bf16"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "32"


@contextmanager
def others(placement: Placement, work: Callable[..., object], *arguments: object) -> Iterator[int]:
    """Beside this process (rank 0) run `work(rank, port, *arguments)` in one process a further device; yields the port.

    They are new processes, since a forked one cannot use CUDA: arguments must pickle, and a script that trains needs its
    `if __name__ == "__main__"`. They end with this block, however it ends.
    """
    if placement.devices > 1 and kind_of(placement.accelerator) == "cuda" and torch.cuda.device_count() < placement.devices:
        raise ConfigurationError(
            f"devices is {placement.devices}, but there are {torch.cuda.device_count()} CUDA devices here; ask for fewer"
        )
    port = _free_port() if placement.devices > 1 else 0
    context = torch.multiprocessing.get_context("spawn")
    started = [context.Process(target=_further, args=(work, rank, port, *arguments), daemon=True) for rank in range(1, placement.devices)]
    for process in started:
        process.start()
    try:
        yield port
        for rank, process in enumerate(started, start=1):
            process.join()
            if process.exitcode:
                raise ModelError(f"the process of device {rank} ended with code {process.exitcode}; see its message above, and train again")
    finally:
        for process in started:
            process.kill()
            process.join()
        if started:
            _part_from_the_others()


def _further(work: Callable[..., object], rank: int, port: int, *arguments: object) -> None:
    try:
        work(rank, port, *arguments)
    finally:
        _part_from_the_others()


def _part_from_the_others() -> None:
    """Ends the threads that talk to them: a process that exits while one still runs may abort (gloo: "terminate called")."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def fabric_of(placement: Placement, rank: int, port: int) -> Any:
    """The launched `lightning_fabric.Fabric` of this process: its device, its precision, and the others' gradients."""
    # Imported here: predicting and mapping do without these two seconds.
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment
    from lightning_fabric.strategies import DDPStrategy

    class Ranked(LightningEnvironment):
        """One machine whose processes `others` has started."""

        main_address = "127.0.0.1"
        main_port = port
        creates_processes_externally = True

        def local_rank(self) -> int:
            return rank

    kind = kind_of(placement.accelerator)
    strategy: Any = "auto"
    if placement.devices > 1:
        # A step without plots does not use the exponent of plot area, one without records not every bias.
        strategy = DDPStrategy(
            cluster_environment=Ranked(),
            process_group_backend="nccl" if kind == "cuda" else "gloo",
            timeout=PATIENCE,
            find_unused_parameters=True,
        )
    precision = cast(Any, {"32": "32-true", "bf16": "bf16-mixed"}[placement.precision])
    fabric = Fabric(accelerator=kind, devices=placement.devices, strategy=strategy, precision=precision)
    fabric.launch()
    return fabric


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
