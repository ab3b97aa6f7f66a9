"""Draw, train and examine everything, two things at a time.

    python -m miniworld.training.train_all

Call it again and it goes on where it was. runs/NAME.log has a part's figures, runs/NAME.done says that it is over.
To stop: `touch` runs/stop (states are saved at once; remove that file before the next call). The weights come to
miniworld/weights.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from .learning import RUNS

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0", "OMP_WAIT_POLICY": "PASSIVE"}


class Stopped(Exception):
    """A part failed or was told to stop; it says which."""


class Lane(threading.Thread):
    """Parts, one after the other."""

    def __init__(self, learn: Callable[[], None]):
        super().__init__()
        self.learn, self.ended = learn, False

    def run(self) -> None:
        try:
            self.learn()
        except Stopped as stopped:
            print(f"stopped: see {RUNS}/{stopped}.log", flush=True)
        finally:
            self.ended = True


def part(name: str, module: str, *options: str) -> None:
    """Run `module` to its end, unless it has ended before."""
    if not done(name).exists():
        call(name, module, *options)
        done(name).touch()


def call(log: str, module: str, *options: str) -> None:
    command = [sys.executable, "-m", f"{__package__}.{module}", *options]
    with (RUNS / f"{log}.log").open("a") as file:
        environment = {**os.environ, **ENVIRONMENT}
        if subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment).returncode:
            raise Stopped(log)


def done(name: str) -> Path:
    return RUNS / f"{name}.done"


def wait_for(name: str, lane: Lane) -> None:
    """Until that part of the other lane is done."""
    while not done(name).exists():
        if lane.ended:
            raise Stopped(name)
        time.sleep(5)


def learn_pictures() -> None:
    """The VAE, latents, and the painter on one core until `words` is through."""
    part("vae_pieces", "train_vae", "vae", "--stop", "5000")
    wait_for("join", words)
    part("vae", "train_vae", "vae")
    part("latents", "encode")
    wait_for("text", words)
    if not done("words").exists():
        call("unet", "train_unet", "unet", "--until", str(done("words")))


def learn_words() -> None:
    """The instruments, the text encoder, and the instruments again, now also with pictures as the VAE rebuilds them."""
    part("face_1", "train_instruments", "face", "--round", "1", "--steps", "2600")
    part("figure_1", "train_instruments", "figure", "--round", "1", "--steps", "1500")
    part("scene_1", "train_instruments", "scene", "--round", "1", "--steps", "1200")
    part("join", "train_instruments", "join", "--round", "1")
    part("text", "train_text", "text")
    wait_for("vae", pictures)
    part("rebuilt_views", "encode", "--rebuild", "views", "--count", "16000")
    part("rebuilt_scenes", "encode", "--rebuild", "scenes", "--count", "16000")
    part("face_2", "train_instruments", "face", "--steps", "10000")
    part("figure_2", "train_instruments", "figure", "--steps", "6000")
    part("scene_2", "train_instruments", "scene", "--steps", "3000")
    part("join_2", "train_instruments", "join")
    part("exam", "examination", "--save")
    part("exam_vae", "examination", "--vae", str(RUNS / "vae/vae.safetensors"), "--save")
    done("words").touch()


pictures, words = LANES = Lane(learn_pictures), Lane(learn_words)


def main() -> None:
    RUNS.mkdir(parents=True, exist_ok=True)
    part("drawn", "dataset", "--processes", "2")
    for lane in LANES:
        lane.start()
    for lane in LANES:
        lane.join()
    if not done("words").exists():
        raise Stopped("words")
    part("unet", "train_unet", "unet", "--threads", "2")
    WEIGHTS.mkdir(exist_ok=True)
    for file in ("unet/painter", "vae/vae", "instruments"):
        shutil.copy(RUNS / f"{file}.safetensors", WEIGHTS)
    # The flow painter learns from the painter that is in WEIGHTS now.
    part("qwen", "train_qwen", "qwen")
    part("transformer", "train_transformer", "transformer", "--threads", "2")
    shutil.copy(RUNS / "transformer/flow_painter.safetensors", WEIGHTS)


if __name__ == "__main__":
    try:
        main()
    except Stopped as stopped:
        sys.exit(f"not done: {stopped}")
