"""What Persona Info tells of how learning went."""

import math

import torch

from ...budget import budget_of
from ...noise import log_snr
from ...progress import Progress
from ...task import TrainingTask

LOG_SNR = "log-SNR at"

SNR, ENDED = "signal to noise of one picture", "ended by"  # in a persona's settings


def found(task: TrainingTask, progress: Progress) -> dict[str, object]:
    """By names, as a persona's settings."""
    meter, again = progress.meters
    told: dict[str, object] = {"steps": progress.step, **stage_as_noise(task)}
    if task.settings.measured:
        told["learning rate"] = float(f"{budget_of(task).highest_rate(progress):.3g}")
    if task.settings.measured or meter.sure:
        told[SNR] = round(meter.signal_to_noise, 3)
        if math.isfinite(meter.directions):
            told["directions of chance"] = max(1, round(meter.directions))
    if again.count:
        told["and at the second look"] = round(again.signal_to_noise, 3)
    if not progress.in_time:
        told[ENDED] = f"its {task.settings.minutes:g} minutes"
    for name, pull in progress.pulls.items() if meter.pull else ():
        if name not in task.objective.relative:  # which pull as hard as they are told to
            told[f"pull of the {name} loss, the photo's being 1"] = float(f"{pull / meter.pull:.3g}")
    return told


def stage_as_noise(task: TrainingTask) -> dict[str, object]:
    """The stage's ends in what means the same in every model."""
    stages = task.representation.stages
    with torch.inference_mode(False):  # as the schedule was made
        ends = torch.tensor([stages.t_lo, stages.t_hi], device=task.references.latents.device)
        ratios = log_snr(task.denoiser.schedule, ends).tolist()
    return {f"{LOG_SNR} {name}": round(one, 3) for name, one in zip(("t_lo", "t_hi"), ratios) if math.isfinite(one)}
