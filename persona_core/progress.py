"""How far learning is, and what going on from there needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .loss_scale import LossScale
from .signal_meter import SignalMeter


@dataclass
class Progress:
    """How far learning is, and all that going on from there needs.

    losses: one list a loss term, one value a step. tensors: parameters and the optimizer's state, as they were when
    they were kept. meters: of the pictures' gradients in the first look and in the second. pulls: how hard each other
    loss term than the noise's has pulled at the tokens at most, in the steps in which that was looked at. seconds: of
    learning, all runs together. aside: seconds of this run that were for something else, which must not change what is
    learned in so many minutes. planned: steps in all, 0 as long as that is not known. in_time: whether it had all the
    steps that it wanted.
    """

    losses: dict[str, list[float]] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    meters: tuple[SignalMeter, SignalMeter] = field(default_factory=lambda: (SignalMeter(), SignalMeter()))
    pulls: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    aside: float = 0.0
    planned: int = 0
    in_time: bool = True

    @property
    def step(self) -> int:
        """Steps done."""
        return len(next(iter(self.losses.values()), []))

    @property
    def meter(self) -> SignalMeter:
        """Of the first look."""
        return self.meters[0]


class LossNotFinite(ArithmeticError):
    """A loss term or its gradient became NaN or infinite."""


def snapshot(
    progress: Progress, representation: nn.Module, optimizer: torch.optim.Optimizer, scale: LossScale
) -> dict[str, Tensor]:
    """Parameters, optimizer, loss scale and what was measured as one flat dict of CPU tensors."""
    tensors: dict[str, Tensor] = {f"parameter.{name}": value for name, value in representation.named_parameters()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in values.items()}
    tensors |= {"scale.value": torch.tensor(scale.value), "scale.finite": torch.tensor(scale.finite)}
    for number, meter in enumerate(progress.meters):
        tensors |= {f"meter {number}.{name}": value for name, value in meter.tensors().items()}
    tensors |= {f"pull.{name}": torch.tensor(pull, dtype=torch.float64) for name, pull in progress.pulls.items()}
    tensors["step"], tensors["seconds"] = torch.tensor(progress.step), torch.tensor(progress.seconds)
    return {name: value.detach().cpu().clone() for name, value in tensors.items()}


def restore(progress: Progress, representation: nn.Module, optimizer: torch.optim.Optimizer, scale: LossScale) -> None:
    """Undo `snapshot`. What was learned since then is forgotten: its losses too."""
    tensors = progress.tensors
    for values in progress.losses.values():
        del values[int(tensors["step"]) :]
    with torch.no_grad():
        for name, parameter in representation.named_parameters():
            parameter.copy_(tensors[f"parameter.{name}"])
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        kind, _, name = key.partition(".")
        if kind == "optimizer":
            index, _, moment = name.partition(".")
            state.setdefault(int(index), {})[moment] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    first, again = (SignalMeter.of(part(tensors, f"meter {number}")) for number in range(2))
    progress.meters, progress.seconds = (first, again), tensors["seconds"].item()
    progress.pulls = {name: value.item() for name, value in part(tensors, "pull").items()}
    if scale.enabled:
        scale.value, scale.finite = tensors["scale.value"].item(), int(tensors["scale.finite"])


def part(tensors: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    """Those of one kind, by the rest of their names."""
    return {key.partition(".")[2]: value for key, value in tensors.items() if key.startswith(f"{kind}.")}
