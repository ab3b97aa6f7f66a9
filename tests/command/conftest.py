"""A table of people with the settings that take least, and a learner with tiny models."""

import csv
import shutil

import pytest
import tiny_models

from persona_core.command import learning
from persona_core.command.plan import Plan
from persona_core.host.learn.jobs import Models

LEAST = {"steps": 2, "batch_size": 1, "resolution": 64, "tokens": 1, "te_weight": 0.0}


@pytest.fixture
def people(tmp_path, photo):
    """Writes a CSV of these rows, each with what LEAST says, and a photo if it names none; returns its path."""

    def write(*rows: dict):
        shutil.copy(photo, tmp_path / "face.png")
        rows = [{"photo": "face.png", **LEAST, **row} for row in rows]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        with (tmp_path / "people.csv").open("w", newline="", encoding="utf-8-sig") as file:
            (writer := csv.DictWriter(file, columns)).writeheader()
            writer.writerows(rows)
        return tmp_path / "people.csv"

    return write


@pytest.fixture
def learner(tmp_path, monkeypatch):
    """Of personas in a folder."""
    models = Models(tiny_models.model(), tiny_models.clip(), tiny_models.vae())
    monkeypatch.setattr(learning, "models_of", lambda plan: models)
    return learning.Learner(Plan(str(tmp_path / "personas")))
