"""What every training here needs: a GPU if there is one, else one thread; bfloat16 where it is quick; averages,
checkpoints."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from .muon import Muon

# Not in the package: gigabytes that git does not know.
HOME = Path(__file__).resolve().parents[2] / ".comfyui/world"
CACHE, RUNS = HOME / "cache", HOME / "runs"


def one_thread() -> None:
    """Other work goes first. train_all says the same to OpenMP."""
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    os.nice(max(0, 19 - os.nice(0)))


def quick_bf16() -> bool:
    """Without these instructions bfloat16 is emulated, 45 times slower than float32."""
    return torch.cpu._is_avx512_bf16_supported()


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def quickly(x: Tensor | None = None) -> torch.autocast:
    """x: something that is computed with; without it, the processor is meant."""
    kind = "cpu" if x is None else x.device.type
    return torch.autocast(kind, torch.bfloat16, enabled=kind != "cpu" or quick_bf16(), cache_enabled=False)


def stop_if_told() -> None:
    """`touch runs/stop` ends all that is running here, each with what it has."""
    if (RUNS / "stop").exists():
        raise SystemExit("stopped by runs/stop")


class Run:
    """A training that goes on where its checkpoint is: weights, their moving average, optimizer, step, seconds."""

    def __init__(self, name: str, modules: nn.Module, rate: float, steps: int, decay: float = 0.999):
        self.folder, self.modules, self.rate, self.steps, self.decay = RUNS / name, modules, rate, steps, decay
        self.folder.mkdir(parents=True, exist_ok=True)
        self.weights = [weight for weight in modules.parameters() if weight.requires_grad]
        self.optimizer = Muon(self.weights)
        self.average = [weight.detach().clone() for weight in self.weights]
        self.step, self.spent, self.smooth = 0, 0.0, {}
        self.now, self.follow = (self.weights[0].new_zeros(()) for _ in range(2))  # the rate, and the average's
        self.path = self.folder / "state.pt"
        if self.path.exists():
            state = torch.load(self.path, map_location=self.now.device, weights_only=True)
            modules.load_state_dict(state["weights"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.average, self.step, self.spent = state["average"], state["step"], state["spent"]
        self.graph, self.process, self.saved = None, time.process_time(), time.monotonic()
        self.shown = self.saved - 1e9 * (self.step == 0)

    def seconds(self) -> float:
        """Processor time in all, of earlier calls, too."""
        return self.spent + time.process_time() - self.process

    def learn(self, losses: Callable[[], dict[str, Tensor]]) -> None:
        """One step of the sum of losses. Warm-up, constant, and down to nothing over the last third.

        On a GPU the third step is recorded and then replayed: `losses` may use nothing but tensors that stay where
        they are, and random numbers of torch's own generators."""
        self.now.fill_(self.rate * min(1, (self.step + 1) / 200, max(0.0, 3 * (1 - self.step / self.steps))))
        self.follow.fill_(1 - min(self.decay, (2 + self.step) / (11 + self.step)))
        if self.graph is not None:
            self.graph.replay()
        elif self.now.is_cuda and len(self.smooth) and self.step % 4 == 0:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.learn_once(losses)
            self.graph.replay()
        elif self.now.is_cuda:
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                self.learn_once(losses)
            torch.cuda.current_stream().wait_stream(beside)
        else:
            self.learn_once(losses)
        self.step += 1

    def learn_once(self, losses: Callable[[], dict[str, Tensor]]) -> None:
        self.optimizer.zero_grad()
        found = losses()
        sum(found.values()).backward()
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step(self.now)
        with torch.no_grad():
            apart = torch._foreach_sub(self.weights, self.average)
            torch._foreach_mul_(apart, self.follow)
            torch._foreach_add_(self.average, apart)
            for name, loss in found.items():
                loss = loss.detach().float()
                self.smooth.setdefault(name, loss.clone()).lerp_(loss, 0.02)

    def keep(self, show: Callable[[], str], minutes: float = 5.0, stop: int | None = None) -> bool:
        """Save every two minutes, call `show` on the averaged weights every few; False when there is no more to do."""
        now, last = time.monotonic(), self.step >= min(self.steps, stop or self.steps)
        told = (RUNS / "stop").exists()
        if last or told or now - self.saved > 120:
            self.saved = now
            self.save()
        stop_if_told()
        if last or now - self.shown > 60 * minutes:
            self.shown = now
            parts = "  ".join(f"{name} {value.item():.4f}" for name, value in self.smooth.items())
            with Averaged(self):
                found = show()
            print(f"step {self.step}/{self.steps}  {self.seconds() / 60:.1f} min  {parts}  | {found}", flush=True)
        return not last

    def save(self) -> None:
        state = {"weights": self.modules.state_dict(), "optimizer": self.optimizer.state_dict()}
        state |= {"average": self.average, "step": self.step, "spent": self.seconds()}
        torch.save(state, self.path.with_suffix(".new"))
        self.path.with_suffix(".new").replace(self.path)


class Averaged:
    """Within it the modules have the averaged weights."""

    def __init__(self, run: Run):
        self.run = run

    def __enter__(self) -> None:
        self.kept = [weight.detach().clone() for weight in self.run.weights]
        self.put(self.run.average)
        self.run.modules.eval()

    def __exit__(self, *error) -> None:
        self.put(self.kept)
        self.run.modules.train()

    @torch.no_grad()
    def put(self, values: list[Tensor]) -> None:
        for weight, value in zip(self.run.weights, values):
            weight.copy_(value)


def start(module: nn.Module, seed: int) -> None:
    """Seeded first weights; the host leaves its own as they lay in memory. Every residual block begins faintly."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in module.named_parameters():
        with torch.no_grad():
            if weight.ndim >= 2:
                scale = 0.2 if name.endswith(("conv2.weight", "proj_out.weight")) else 1.0
                weight.copy_(scale * torch.randn(weight.shape, generator=generator) / weight[0].numel() ** 0.5)
            else:
                weight.fill_(1.0 if name.endswith("weight") else 0.0)
