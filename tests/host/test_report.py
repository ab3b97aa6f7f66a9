"""What is told while learning, and of how it ended."""

import re
from dataclasses import replace

from looks import meter_of

from persona_core.host.learn import report
from persona_core.host.learn.run import train_persona
from persona_core.progress import Progress
from persona_core.recipes import MEASURED
from persona_core.signal_meter import SignalMeter


def test_minutes_that_ended_learning_are_told_and_kept(job, tmp_path):
    trouble = []
    hurried = replace(job, recipe=replace(job.recipe, learning=replace(MEASURED, minutes=0.002)))
    persona = train_persona(hurried, "hurried", tmp_path / "a.partial", lambda progress: None, trouble.append)
    assert persona.settings["ended by"] == "its 0.002 minutes" and "allow more minutes" in trouble[0]
    assert persona.steps < MEASURED.steps


def test_while_it_looks_at_the_photo_no_time_left_is_made_up(job, monkeypatch):
    told = []
    monkeypatch.setattr(report, "tell", told.append)
    monkeypatch.setattr(report, "PAUSE", -1.0)
    reporter = report.Reporter(replace(job, recipe=replace(job.recipe, learning=MEASURED)))
    looked = meter_of(16, 1.0), SignalMeter()
    for planned in (0, 0, 30):
        reporter(Progress({"noise": [1.0, 1.0]}, meters=looked, planned=planned))
    assert ["looking at the photo" in line for line in told] == [False, True, True, False]
    assert not any("left" in line and "follows" not in line for line in told[:3]) and "step 2/30" in told[-1]
    [half] = re.findall(r"a look at the photo is (\d+)% signal", told[-1])
    assert 45 <= int(half) <= 55
