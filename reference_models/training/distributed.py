"""The processes that train together: one alone, or those that ``torchrun`` starts.

Every process has the same weights; each takes its part of a batch. Gradients become their mean in one
all-reduce over one flat vector, in the order of the parameters, so that the sum does not depend on which
gradient was ready first. Transport is gloo on CPUs and nccl on GPUs. A process that waits longer than
`TIMEOUT` for the others gives up, so that none hangs for ever when one has died.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from evalkit.errors import TrainingError, UsageError

TIMEOUT = datetime.timedelta(minutes=30)


def world() -> tuple[int, int, int]:
    """Rank, size and rank on this machine, as the environment has them; (0, 1, 0) where it says nothing.

    Raises:
        UsageError: The variables are no whole numbers or contradict each other.
    """
    names = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": os.environ.get("RANK", "0")}
    words = {name: os.environ.get(name, usual) for name, usual in names.items()}
    try:
        rank, size, local = (int(word) for word in words.values())
    except ValueError:
        rank, size, local = -1, 0, 0
    if not 0 <= rank < size:
        said = " ".join(f"{name}={word}" for name, word in words.items())
        raise UsageError(f"{said} describe no group of processes; start them with torchrun, or unset all")
    return rank, size, local


class ProcessGroup:
    """What `reference_models.training.task.Group` asks, and what the loop needs beside it.

    Attributes:
        rank: Number of this process, from 0.
        size: How many there are.
        device: Where small messages between processes are kept.
    """

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | None = None) -> None:
        """Describes this process; `connect` does it for those of ``torchrun``."""
        self.rank, self.size = rank, size
        self.device = torch.device("cpu") if device is None else device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replaces every gradient by its mean over the processes; a missing one counts as zeros.

        Args:
            parameters: The same on every process, in the same order. Where no process has a gradient, one of
                zeros is left behind, as it is where another process has one.

        Raises:
            TrainingError: Another process died or does not answer.
        """
        if self.size == 1:
            return
        params = list(parameters)
        if not params:
            return
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in params]
        flat = torch.cat([grad.reshape(-1).to(torch.float32) for grad in grads])
        mean = self.mean(flat)
        for parameter, piece in zip(params, torch.split(mean, [g.numel() for g in grads]), strict=True):
            parameter.grad = piece.view_as(parameter).to(parameter.dtype).clone()

    def mean(self, value: Tensor) -> Tensor:
        """The mean over the processes, of the same type and shape; the tensor itself where there is one.

        Raises:
            TrainingError: Another process died or does not answer.
        """
        if self.size == 1:
            return value
        total = value.detach().clone().contiguous()
        with _answering():
            torch.distributed.all_reduce(total)
        return total / self.size

    def average_buffers(self, module: nn.Module, names: Sequence[str]) -> None:
        """Replaces running means by their mean over the processes.

        Args:
            module: A network.
            names: Last parts of the buffers' names, such as ``w_avg``.
        """
        if self.size == 1:
            return
        for name, buffer in module.named_buffers():
            if name.rpartition(".")[2] in names:
                buffer.copy_(self.mean(buffer))

    def broadcast(self, modules: Mapping[str, nn.Module]) -> None:
        """Gives every process the weights and buffers of process 0."""
        if self.size == 1:
            return
        with torch.no_grad(), _answering():
            for module in modules.values():
                for tensor in module.state_dict().values():
                    sent = tensor.contiguous()
                    torch.distributed.broadcast(sent, src=0)
                    tensor.copy_(sent)

    def barrier(self) -> None:
        """Waits until every process is here."""
        self.agree(False)

    def agree(self, flag: bool) -> bool:
        """Whether any process says so; the same answer on each."""
        if self.size == 1:
            return flag
        said = torch.tensor([float(flag)], device=self.device)
        with _answering():
            torch.distributed.all_reduce(said, op=torch.distributed.ReduceOp.MAX)
        return bool(said.item())

    def on_main(self, action: Callable[[], object]) -> None:
        """Does something on process 0 while the others wait, and fails on all where it fails.

        Raises:
            TrainingError: It failed: its own error on process 0, a short one elsewhere.
        """
        failure: BaseException | None = None
        if self.is_main:
            try:
                action()
            except Exception as error:
                failure = error
        failed = self.agree(failure is not None)
        if failure is not None:
            raise failure
        if failed:
            raise TrainingError(
                f"process {self.rank} stops because process 0 failed; read what that one says"
            )


@contextlib.contextmanager
def connect(device: torch.device, *, timeout: datetime.timedelta = TIMEOUT) -> Iterator[ProcessGroup]:
    """This process among those that train, for as long as the block lasts.

    Args:
        device: Where this process trains.
        timeout: How long to wait for the others before giving up.

    Raises:
        TrainingError: The environment contradicts itself, or the others are not to be reached.
    """
    rank, size, _ = world()
    if size == 1:
        yield ProcessGroup(device=device)
        return
    with _answering():
        torch.distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo", rank=rank, world_size=size, timeout=timeout
        )
    try:
        yield ProcessGroup(rank, size, device)
    finally:
        torch.distributed.destroy_process_group()


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    # gloo and nccl say what happened to a socket; what a user needs to know is that a process is gone.
    try:
        yield
    except (RuntimeError, ValueError) as error:
        first = (str(error).splitlines() or [""])[0][:160]
        raise TrainingError(
            f"another process of this training has stopped or does not answer ({first}); read what it said "
            "last, and start all of them again with --resume auto"
        ) from error
