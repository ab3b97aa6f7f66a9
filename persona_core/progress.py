"""How far learning is, and what going on from there needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .files import Shape, shown
from .loss_scale import LossScale
from .schema import LARGEST_NUMBER, check_layout
from .signal_meter import SignalMeter
from .task import TrainingTask

MOMENTS = "exp_avg", "exp_avg_sq"  # AdamW's, each as large as its parameter


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
    def kept(self) -> int:
        """Steps done when its tensors were kept, from which learning goes on."""
        return int(self.tensors["step"]) if self.tensors else 0

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
        del values[progress.kept :]
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
    return {key.removeprefix(f"{kind}."): value for key, value in tensors.items() if key.startswith(f"{kind}.")}


def check_fit(progress: Progress, task: TrainingTask) -> None:
    """Raise ValueError where learning of a task could not go on from what a file holds. Nothing is changed by then."""
    tensors, step = progress.tensors, progress.step
    if progress.losses.keys() != task.objective.terms.keys():
        raise ValueError(f"its losses are of {shown(sorted(progress.losses), 80)}")
    check_layout({name: tuple(value.shape) for name, value in tensors.items()}, layout(progress, task))
    least: dict[str, float] = {"step": step, "scale.value": 1e-30, **dict.fromkeys(("seconds", "scale.finite"), 0)}
    most: dict[str, float] = {"step": step}
    for number in range(2):
        name = f"meter {number}"
        least[f"{name}.steps"], most[f"{name}.steps"] = rows(tensors, name) / task.settings.batch_size, step
    for index, (name, parameter) in enumerate(task.representation.named_parameters()):
        value = tensors[f"parameter.{name}"]
        least[f"parameter.{name}"], most[f"parameter.{name}"] = -LARGEST_NUMBER, LARGEST_NUMBER
        if f"optimizer.{index}.step" in tensors:
            least |= {f"optimizer.{index}.step": 1, f"optimizer.{index}.exp_avg_sq": 0}
            most[f"optimizer.{index}.step"] = step
        elif not torch.equal(value, parameter.detach().to(value)):
            raise ValueError(f"it holds no optimizer's state of {shown(name)}, which has moved")
    for name, value in tensors.items():
        lowest = least.get(name, 0 if name.startswith("pull.") else -torch.inf)
        if ((value < lowest) | (value > most.get(name, torch.inf))).any():
            raise ValueError(f"its {shown(name)} cannot be")


def layout(progress: Progress, task: TrainingTask) -> dict[str, Shape]:
    """The shapes of a snapshot's tensors. A parameter that never had a gradient has no optimizer's state."""
    tensors, learned = progress.tensors, task.representation
    shapes: dict[str, Shape] = dict.fromkeys(("step", "seconds", "scale.value", "scale.finite"), ())
    shapes |= {f"pull.{name}": () for name in task.objective.terms if f"pull.{name}" in tensors}
    for index, (name, parameter) in enumerate(learned.named_parameters()):
        shape = shapes[f"parameter.{name}"] = tuple(parameter.shape)
        if part(tensors, f"optimizer.{index}"):
            shapes |= {f"optimizer.{index}.{moment}": shape for moment in MOMENTS}
            shapes[f"optimizer.{index}.step"] = ()
    first = torch.tensor([learned.stages.t_lo], device=learned.word.device)
    with torch.no_grad():
        width = sum(side[0].numel() for side in learned.at(first, torch.zeros_like(first)).sides)
    for number in range(2):
        count = rows(tensors, name := f"meter {number}")
        shapes |= {f"{name}.steps": (), f"{name}.gradients": (count, width if count else 0)}
    return shapes


def rows(tensors: Mapping[str, Tensor], meter: str) -> int:
    """How many pictures' gradients a meter's tensors say they are."""
    given = tensors.get(f"{meter}.gradients")
    return len(given) if given is not None and given.ndim else 0
