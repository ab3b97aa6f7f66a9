"""`persona learn --score`: what is painted is NASA's portrait itself, so that its score is known."""

import pytest
from PIL import Image

from persona_core.command import learning, likeness_check
from persona_core.command.plan import Plan
from persona_core.command.results import LEARNED, THERE, Results
from persona_core.command.rows import read
from persona_core.command.stopping import Stopped
from persona_core.faces.recognition import NoRecogniser
from persona_core.host.apply.pictures import Sampling
from persona_core.host.photos import decoded
from persona_core.persona import Persona


@pytest.fixture
def scoring(learner, tmp_path, monkeypatch, photo):
    """A learner that scores with two prompts; asked holds those that were painted, by the model it has."""
    portrait = decoded(photo.read_bytes()) * 0.8
    asked, paint = [], likeness_check.paint

    def painted(model, vae, positive, negative, seeds, sampling, on_step):
        asked.append((seeds[0], paint(model, vae, positive, negative, seeds, sampling, on_step).shape))
        return portrait[None]

    monkeypatch.setattr(likeness_check, "usual_sampling", lambda model: Sampling(steps=1, width=64, height=64))
    monkeypatch.setattr(likeness_check, "paint", painted)
    made = learning.Learner(
        Plan(str(tmp_path / "personas"), score=True, scored_with=("a photo of <ann>", "{} laughing"))
    )
    made.asked = asked
    return made


def test_who_is_learned_is_painted_and_scored_once(people, learner, scoring, tmp_path):
    rows = read(str(people({"id": "ann"})))
    [plain] = learner.learn(rows)
    assert plain.score is None and plain.status == LEARNED
    before = Persona.load(tmp_path / "personas/ann.safetensors")
    results = Results(tmp_path / "results.csv")
    results.add(plain)
    [scored] = scoring.learn(rows)
    assert scoring.asked == [(1, (1, 64, 64, 3)), (2, (1, 64, 64, 3))]
    assert scored.status == THERE and scored.score > 0.95 and 0.5 < scored.share < 1.2
    saved = Persona.load(tmp_path / "personas/ann.safetensors")
    assert saved.settings["score"] == scored.score and saved.learned == before.learned
    results.add(scored)
    line = results.last["ann"]
    assert (line["status"], line["score"], line["seconds"]) == (LEARNED, str(scored.score), str(plain.seconds))
    content = (tmp_path / "personas/ann.safetensors").read_bytes()
    [again] = scoring.learn(rows)
    assert (
        again == scored and len(scoring.asked) == 2 and (tmp_path / "personas/ann.safetensors").read_bytes() == content
    )


def test_who_is_learned_is_told_of_where_scoring_is_stopped(people, scoring):
    def check_stop():
        if scoring.asked:
            raise Stopped(2)

    rows, known = read(str(people({"id": "ann"}, {"id": "bob"}))), []
    with pytest.raises(Stopped):
        scoring.learn(rows, check_stop=check_stop, on_result=known.append)
    assert [(one.id, one.status, one.score) for one in known] == [("ann", LEARNED, None), ("bob", LEARNED, None)]
    assert [(one.status, one.score > 0.95) for one in scoring.learn(rows)] == [(THERE, True)] * 2


def test_who_cannot_be_scored_is_learned_all_the_same(people, scoring, tmp_path):
    Image.new("RGB", (64, 64), "white").save(tmp_path / "white.png")
    Image.new("L", (64, 64), 255).save(tmp_path / "all.png")
    [result] = scoring.learn(read(str(people({"id": "ann", "photo": "white.png", "mask": "all.png"}))))
    assert result.status == LEARNED and result.score is None and not scoring.asked
    assert result.error.startswith("Not scored: No face was found")


def test_without_a_recogniser_nothing_is_learned(learner, tmp_path, monkeypatch):
    def none(folders):
        raise NoRecogniser("Nothing is installed that tells faces apart.")

    monkeypatch.setattr("persona_core.host.scoring.choose_recogniser", none)
    with pytest.raises(NoRecogniser):
        learning.Learner(Plan(str(tmp_path / "personas"), score=True))
