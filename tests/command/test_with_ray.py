"""`persona learn --ray`: a cluster on this machine, of which a worker is killed."""

import os
import secrets
import subprocess
import sys
import time

import pytest

from bench.many import workers_of
from persona_core.command.plan import Plan
from persona_core.command.results import LEARNED, lines_in
from persona_core.command.rows import Row
from persona_core.command.with_ray import ClusterError, learn_with_ray
from persona_core.persona import Persona
from tools import random_checkpoint
from tools.environment import PACK, installed

PEOPLE = 6


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return random_checkpoint.build(tmp_path_factory.mktemp("models") / "random.ckpt")


@pytest.fixture
def environment():
    """What decides how sums are rounded; Ray's key, of which it would otherwise leave one in the home folder."""
    own = {"OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return {**os.environ, "COMFYUI_PATH": installed()["host"], **own}


@pytest.fixture
def learn(people, checkpoint, environment):
    """Starts `persona learn` on a table of PEOPLE."""

    def start(out, *options, **said) -> subprocess.Popen:
        usual = {"crop_to_face": "no", **said}
        table = people(*({"id": f"p{number}", "train_seed": number, **usual} for number in range(PEOPLE)))
        command = sys.executable, "-m", "tools.persona", "learn", table, "--out", out, "--checkpoint", checkpoint
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen([*command, "--cpu", *options], cwd=PACK, env=environment, **pipe)

    return start


def test_a_killed_workers_people_are_learned_too_once_each_and_as_without_ray(learn, tmp_path):
    alone, many = tmp_path / "alone", tmp_path / "many"
    command = learn(many, "--ray", "--workers", "2")
    while len(lines_in(many / "results.csv")) < 2:
        assert command.poll() is None, command.stdout.read()
        time.sleep(0.1)
    workers_of(command)[0].kill()
    said, _ = command.communicate(timeout=120)
    assert not command.returncode and f"{PEOPLE} learned, 0 there already, 0 failed." in said, said
    lines = lines_in(many / "results.csv")
    assert sorted((one["id"], one["status"]) for one in lines) == [(f"p{number}", LEARNED) for number in range(PEOPLE)]
    assert learn(alone).wait(timeout=120) == 0
    for path in alone.glob("*.safetensors"):
        assert (many / path.name).is_file() and Persona.load(many / path.name).learned == Persona.load(path).learned
    assert len(list(many.glob("*.safetensors"))) == PEOPLE


@pytest.mark.skipif(os.name == "nt", reason="no such signals")
def test_being_told_to_end_ends_it_without_waiting_for_anybody(learn, tmp_path):
    command = learn(tmp_path / "out", "--ray", steps=20_000)
    while not list(tmp_path.glob("out/.p*.lock")):
        assert command.poll() is None, command.stdout.read()
        time.sleep(0.1)
    command.terminate()
    said, _ = command.communicate(timeout=60)
    assert command.returncode == 143 and "Run it again to go on." in said and "SIGTERM received" not in said, said


def test_no_cluster_is_a_sentence(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ClusterError, match="No Ray cluster at auto"):
        next(learn_with_ray(Plan("personas"), [Row("ann")], "auto"))
