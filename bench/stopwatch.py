"""Seconds, peak memory and the name of the machine, for the benchmarks. Memory on Linux only."""

import ctypes
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TypeVar

import torch

MEGABYTE, GIGABYTE = 2**20, 2**30
KEEPING_MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "1000000000000"}
Measured = TypeVar("Measured")


def restart_with_keeping_malloc() -> None:
    """Begin the script again with a malloc that keeps what is freed, on a Linux without GPU.

    glibc's returns big blocks to the kernel after each step and gets them zeroed anew; that costs learning, which holds
    on to much, more than a plain forward pass, and would be measured as if it were computing.
    """
    missing = any(os.environ.get(name) != value for name, value in KEEPING_MALLOC.items())
    if sys.platform == "linux" and not torch.cuda.is_available() and missing:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **KEEPING_MALLOC})


def wait() -> None:
    """Until the GPU has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(run: Callable[[], object]) -> float:
    wait()
    began = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - began


def by_turns(
    runs: Mapping[str, Callable[[], Measured]], repeats: int, warm_up: Iterable[str] | None = None
) -> dict[str, list[Measured]]:
    """What each run returns, once a round, forwards and backwards by turns: whatever else the machine does meets all.

    warm_up: the names of those that run once before, uncounted; all if None.
    """
    for name in runs if warm_up is None else warm_up:
        print(f"  warm-up: {name}", flush=True)
        runs[name]()
    found: dict[str, list[Measured]] = {name: [] for name in runs}
    for number in range(repeats):
        for name in list(runs)[:: -1 if number % 2 else 1]:
            found[name].append(runs[name]())
            took = f": {found[name][-1]:.3g} s" if isinstance(found[name][-1], float) else ""
            print(f"  round {number + 1} of {repeats}: {name}{took}", flush=True)
    return found


def ratios(tops: Sequence[float], bottoms: Sequence[float]) -> list[float]:
    """Of each round."""
    return [top / bottom for top, bottom in zip(tops, bottoms, strict=True)]


def spread(values: Sequence[float], form: str = "#.3g") -> str:
    """The median, and the least and the greatest."""
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def forget_peak() -> None:
    """Both keep the highest memory until told to forget: Linux that of a process, torch that on a GPU."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        give_back_what_is_free()
        Path("/proc/self/clear_refs").write_text("5")


def give_back_what_is_free() -> None:
    """To the kernel: a malloc that keeps it would count what was before."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def peak_memory() -> int:
    """Bytes: of a GPU what torch had allocated, else what of the process was in memory."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else resident("VmHWM")


def memory_now() -> int:
    return torch.cuda.memory_allocated() if torch.cuda.is_available() else resident("VmRSS")


def resident(field: str) -> int:
    return int(Path("/proc/self/status").read_text().split(f"{field}:")[1].split()[0]) * 1024


def machine() -> str:
    """What it was measured on."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    information = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    models = [line.split(":")[1].strip() for line in information.splitlines() if line.startswith("model name")]
    threads = torch.get_num_threads()
    return f"{models[0] if models else 'CPU'}, {len(models)} cores, {threads} threads, torch {torch.__version__}"
