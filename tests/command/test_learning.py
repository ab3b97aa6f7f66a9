"""Rows to personas, in this process."""

from pathlib import Path
from types import SimpleNamespace

import folder_paths
import fsspec
import pack
import pytest
import torch
from jobs import alike, moved, tensors
from PIL import Image

from persona_core import training
from persona_core.command import learning
from persona_core.command.plan import Plan
from persona_core.command.results import FAILED, LEARNED, THERE
from persona_core.command.rows import read
from persona_core.command.stopping import Stopped
from persona_core.host.photos import opened
from persona_core.persona import Persona


def states(results) -> dict[str, str]:
    return {one.id: one.status for one in results}


def hidden(folder) -> list[str]:
    return [file.name for file in folder.glob(".*") if file.name != ".lock"]


def test_what_is_learned_is_found_again_and_left_alone(people, learner, tmp_path):
    rows = read(str(people({"id": "ann"}, {"id": "bob", "train_seed": 1})))
    [ann, bob] = learner.learn(rows)
    assert (
        (ann.status, ann.steps, ann.passes) == (LEARNED, 2, 2)
        and ann.seconds > 0
        and ann.fingerprint != bob.fingerprint
    )
    files = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in tmp_path.glob("personas/*.safetensors")}
    assert states(learner.learn(rows)) == {"ann": THERE, "bob": THERE} and len(files) == 2
    assert files == {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}
    assert not hidden(tmp_path / "personas")
    assert str(tmp_path).encode() not in files[tmp_path / "personas/ann.safetensors"][1]


@pytest.mark.parametrize("method", ["learn", "kv"])
def test_what_a_node_has_learned_is_found_by_the_command(method, people, learner, tmp_path, monkeypatch, photo):
    """The same inputs have the same fingerprint, with the defaults of either."""
    nodes = pack.load("command_pack").nodes
    node = {"learn": nodes.learn.LearnPersona, "kv": nodes.kv_tokens.FaceWiseKVTokens}[method]
    own = [str(tmp_path / "personas")], {".safetensors"}
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "personas", own)
    monkeypatch.setattr(nodes.training.ui, "PreviewImage", lambda *given, **named: SimpleNamespace(as_dict=dict))
    fast = {"steps": 1, "batch_size": 1, "resolution": 64}
    defaults = {one.id: one.default for one in node.define_schema().inputs if getattr(one, "default", None) is not None}
    models, image = learner.models, opened([photo.read_bytes()])
    wired = {"model": models.model, "clip": models.clip, "vae": models.vae, "image": image, "name": "ann"}
    with torch.inference_mode():
        learned = node.execute(**defaults | fast | wired)[0]
    row = {"tokens": "", "te_weight": ""} | fast | {"id": "ann", "method": method}
    [found] = learner.learn(read(str(people(row))))
    assert (found.status, found.fingerprint) == (THERE, learned.fingerprint)


def test_a_row_that_cannot_be_learned_is_a_sentence_and_no_end(people, learner, tmp_path, monkeypatch, caplog):
    (tmp_path / "text.png").write_text("no picture")
    table = people(
        {"id": "gone", "photo": "gone.png"}, {"id": "text", "photo": "text.png"}, {"id": "word", "supercategory": "pumpernickelsuppe"},
        {"id": "ann"}, {"id": "bug"}, {"id": "full"}, {"id": "bob", "train_seed": 1}, {"id": "small", "resolution": 512},
    )  # fmt: skip
    train = learning.train_personas

    def failing(wanted, *given):
        names = [one.job.name for one in wanted]
        if "bug" in names:
            raise KeyError("a bug")
        if "full" in names:
            raise MemoryError("Learning needs more memory than there is.")
        return train(wanted, *given)

    monkeypatch.setattr(learning, "train_personas", failing)
    results = {one.id: one for one in learner.learn(read(str(table)))}
    failed = {name: one.error for name, one in results.items() if one.status == FAILED}
    assert "There is no" in failed.pop("gone") and "no picture" in failed.pop("text")
    assert "pumpernickelsuppe" in failed.pop("word") and failed.pop("bug") == "KeyError: 'a bug'"
    assert any(line.startswith("small: What is learned of picture 0 is about") for line in caplog.messages)
    assert "more memory" in failed.pop("full") and not failed and len(results) == 8
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [KeyError]
    assert not hidden(tmp_path / "personas")


def test_several_in_one_pass_are_who_they_are_alone(people, learner, tmp_path, monkeypatch):
    """Seven people, three at once, one of whom cannot be learned: nobody notices the others."""
    rows = [{"id": f"p{number}", "train_seed": number, "steps": 1 + number % 3} for number in range(7)]
    rows[3]["caption"] = "word " * 99
    rows = read(str(people(*rows)))
    together, passes, own = learning.Learner(Plan(str(tmp_path / "together"), at_once=3)), [], training.forward_together
    monkeypatch.setattr(training, "forward_together", lambda shares: passes.append(len(shares)) or own(shares))
    found, alone = together.learn(rows), learner.learn(rows)
    assert states(found) == states(alone) == {one.id: FAILED if one.id == "p3" else LEARNED for one in rows}
    assert max(passes) == 3 and all(one.seconds > 0 for one in found if one.status == LEARNED)
    for one in alone:
        if one.status == LEARNED:
            pair = Persona.load(Path(one.file)), Persona.load(tmp_path / f"together/{one.id}.safetensors")
            start = {name: torch.zeros_like(value) for name, value in tensors(pair[0]).items()}
            assert alike(*(moved(persona.representation, start) for persona in pair))
    assert not hidden(tmp_path / "together")


def test_it_goes_on_where_it_was_stopped(people, learner, tmp_path):
    rows = read(str(people({"id": "ann", "steps": 4})))
    [whole] = learning.Learner(Plan(str(tmp_path / "whole"))).learn(rows)
    steps = []

    def stop():
        if len(steps) == 3:
            raise Stopped(2)

    with pytest.raises(Stopped):
        list(learner.learn(rows, lambda name, progress: steps.append(progress.step), stop))
    [partial] = hidden(tmp_path / "personas")
    assert partial.endswith(".partial")
    [result] = learner.learn(rows, lambda name, progress: steps.append(progress.step))
    assert steps == [1, 2, 3, 4] and result.status == LEARNED and not hidden(tmp_path / "personas")
    assert (
        Persona.load(tmp_path / "personas/ann.safetensors").learned
        == Persona.load(tmp_path / "whole/ann.safetensors").learned
    )
    assert result.fingerprint == whole.fingerprint


def test_consent_is_noted_in_the_file(people, learner, tmp_path):
    [result] = learner.learn(read(str(people({"id": "ann", "consent_by": "Ann", "consent_until": "2099-01-31"}))))
    consent = Persona.load(tmp_path / "personas/ann.safetensors").consent
    assert result.status == LEARNED and (consent.by, consent.until) == ("Ann", "2099-01-31") and consent.on


def test_consent_that_is_given_later_is_noted_and_nothing_learned_again(people, learner, tmp_path):
    [before] = learner.learn(read(str(people({"id": "ann"}))))
    learned = Persona.load(Path(before.file)).learned
    said = {"consent_by": "Ann", "consent_on": "2026-11-27"}
    for more in ({}, {"consent_until": "2099-01-31"}, {}):
        [result] = learner.learn(read(str(people({"id": "ann"})), said | more))
        assert result.status == THERE and len(list(tmp_path.glob("personas/*.safetensors"))) == 1
    persona = Persona.load(Path(before.file))
    assert persona.learned == learned and str(persona.consent) == "Ann, on 2026-11-27, until 2099-01-31"


def test_what_a_kill_left_beside_a_persona_goes(people, learner, tmp_path):
    rows = read(str(people({"id": "ann"})))
    [result] = learner.learn(rows)
    learner.shelf.unfinished("ann", result.fingerprint).touch()
    assert states(learner.learn(rows)) == {"ann": THERE} and not hidden(tmp_path / "personas")


def test_a_mask_and_several_photos(people, learner, tmp_path, photo):
    Image.new("L", (512, 512), 255).save(tmp_path / "all.png")
    table = people(
        {"id": "ann", "photo": "face.png;face.png", "mask": "all.png", "supercategory": "cat", "crop_to_face": "no"}
    )
    job = learner.prepare(read(str(table))[0])
    job.claim.give_back()
    assert len(job.job.photos) == 2 and job.job.photos[0].mask.min() > 0.99


def test_who_is_learned_elsewhere_waits_and_is_found(people, learner, tmp_path, monkeypatch):
    """As by another command: its claim is held until it has learned."""
    rows = read(str(people({"id": "ann"}, {"id": "bob", "train_seed": 1})))
    other = learning.Learner(Plan(str(tmp_path / "personas")))
    with torch.inference_mode():
        held = other.prepare(rows[0])
        assert learner.prepare(rows[0]) is None
    monkeypatch.setattr(learning, "PAUSE", 0.0)
    waited, told, looks, reads, own = [], [], [], [], learning.read_bytes
    monkeypatch.setattr(learning, "read_bytes", lambda place: reads.append(place) or own(place))

    def check_stop():
        looks.append(True)
        if len(looks) > 99 and (
            not waited
            and not (tmp_path / "personas/ann.safetensors").exists()
            and (tmp_path / "personas/bob.safetensors").exists()
        ):
            waited.append(True)
            with torch.inference_mode():
                other.learn_together([held], lambda name, progress: None, told.append)

    assert list(states(learner.learn(rows, check_stop=check_stop)).items()) == [
        ("bob", LEARNED),
        ("ann", THERE),
    ] and states(told) == {"ann": LEARNED}
    assert len(reads) == 3  # and not at each look


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no such place, in which nobody may write")
def test_a_store_that_cannot_be_written_is_told_before_anything_is_learned(people, learner, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    steps, there = [], learning.Learner(Plan("file:///proc/personas"))
    results = there.learn(read(str(people({"id": "ann"}, {"id": "bob"}))), on_step=lambda *step: steps.append(step))
    assert [one.status for one in results] == [FAILED] * 2 and not steps
    assert all("cannot be written" in one.error for one in results)


def test_photos_and_personas_of_an_object_store(people, learner, tmp_path, photo, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    store = fsspec.filesystem("memory")
    store.pipe_file("/photos/ann.png", photo.read_bytes())
    there = learning.Learner(Plan("memory://personas"))
    table = people({"id": "ann", "photo": "memory://photos/ann.png"})
    [result] = there.learn(read(str(table)))
    assert (result.status, result.file) == (LEARNED, "memory://personas/ann.safetensors")
    assert states(there.learn(read(str(table)))) == {"ann": THERE}
    assert states(there.learn(read(str(table), {"consent_by": "Ann"}))) == {"ann": THERE}
    assert there.shelf.read("ann").consent.by == "Ann"
    [here] = learner.learn(read(str(table)))
    assert there.shelf.read("ann").learned == Persona.load(Path(here.file)).learned
    [other] = there.learn(read(str(table), {"caption": "in a hat"}))
    assert other.status == LEARNED and len(store.ls("/personas", detail=False)) == 2
    assert states(there.learn(read(str(table)))) == {"ann": THERE} and not list(tmp_path.glob(".cache/persona/*/.*"))
    [row] = read("memory://photos")
    assert (row.id, row.photos) == ("ann", ("memory://photos/ann.png",))
    assert not [file for file in store.ls("/personas", detail=False) if not file.endswith(".safetensors")]
    store.rm("/personas", recursive=True)
    store.rm("/photos", recursive=True)
