"""What newer hosts do otherwise, imitated: prompts, learning and painting come out as they do here."""

from dataclasses import replace

import comfy.model_management
import newer_hosts
import pack
import pytest
import tiny_models
import torch
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete
from jobs import learned, tensors
from recording import encode, sample

from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import TABLE
from persona_core.host.clip import UnsupportedModel
from persona_core.host.learn.attention_curve import attention_curve
from persona_core.table import AppliedPersona

ANN, PLAIN = "a photo of <ann>, smiling", "a photo of a tree"


@pytest.fixture(scope="module")
def nodes():
    return pack.load().nodes


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "z_image"])
def test_a_placeholder_is_known_where_the_tokenizer_answers_in_three(monkeypatch, family, make_persona_of):
    taught = apply_to_clip(tiny_models.clip(family), AppliedPersona(make_persona_of(family)), "<ann>")
    usual = {key: taught.tokenize(f"{ANN} in (snow:1.2)")[key] for key in taught.tokenize("")}
    newer_hosts.answer_in_three(monkeypatch)
    found = taught.tokenize(f"{ANN} in (snow:1.2)")
    assert found.keys() == usual.keys()
    for key, sections in usual.items():
        kinds = [[(type(token), weight) for token, weight, *_ in section] for section in sections]
        assert kinds == [[(type(token), weight) for token, weight, *_ in section] for section in found[key]]
        assert sum(not isinstance(token, int) for section in found[key] for token, *_ in section) == 4


def test_an_embedding_file_beside_it(monkeypatch, tmp_path, ann):
    """The host's own answer for it passes unchanged."""
    newer_hosts.answer_in_three(monkeypatch)
    torch.save({"string_to_param": {"*": torch.ones(2, 64)}}, tmp_path / "kind.pt")
    taught = apply_to_clip(tiny_models.clip(embeddings=str(tmp_path)), AppliedPersona(ann), "<ann>")
    [section] = taught.tokenize("<ann> and embedding:kind , embedding:absent here")["l"]
    assert sum(not isinstance(token, int) for token, *_ in section) == 4 + 2


@pytest.mark.parametrize("lent", [("model",), ("model", "clip")])
def test_learning_where_weights_are_lent_is_learning(job, monkeypatch, tmp_path, lent):
    usual = learned(job, tmp_path, name="usual")
    newer_hosts.lend_weights(monkeypatch, job.model)
    if "clip" in lent:
        newer_hosts.lend_weights(monkeypatch, job.clip.patcher, again=lambda: tiny_models.clip().patcher)
    found = learned(job, tmp_path, name="lent", fingerprint="any")
    assert found.losses == usual.losses
    for name, value in tensors(usual).items():
        torch.testing.assert_close(tensors(found)[name], value)


def test_a_lora_is_learned_with_where_weights_are_lent(job, monkeypatch, tmp_path):
    key = "diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight"
    patched = job.model.clone()
    patched.add_patches({key: ("diff", (torch.ones_like(patched.get_model_object(key)),))})
    job = replace(job, model=patched)
    usual = learned(job, tmp_path, name="usual")
    newer_hosts.lend_weights(monkeypatch, patched)
    found = learned(job, tmp_path, name="lent", fingerprint="any")
    assert found.losses == usual.losses


def test_learning_after_painting_where_weights_are_lent(job, applied, monkeypatch, tmp_path):
    newer_hosts.lend_weights(monkeypatch, job.model)
    newer_hosts.keep_what_painting_borrowed(monkeypatch)
    sample(job.model, encode(applied, PLAIN), encode(applied, ""), steps=2)
    persona = learned(job, tmp_path, fingerprint="any")
    assert len(persona.losses["noise"]) == job.recipe.learning.steps


def test_the_stages_of_a_model_that_lends_its_weights(job, monkeypatch):
    """Nothing is learned there, so nothing need be read again."""
    arguments = job.model, job.clip, job.vae, job.photos[0], "face", 250, 1, 0, lambda *_: None
    usual = attention_curve(*arguments)
    kind = newer_hosts.lend_weights(monkeypatch, job.model)
    found = attention_curve(*arguments)
    assert torch.equal(found.iou, usual.iou) and torch.equal(found.maps, usual.maps) and kind.read_again == 0


@pytest.mark.parametrize("part", ["MODEL", "CLIP"])
def test_a_loader_that_cannot_say_how_to_read_again_gets_a_sentence(job, monkeypatch, tmp_path, part):
    patcher = {"MODEL": job.model, "CLIP": job.clip.patcher}[part]
    newer_hosts.lend_weights(monkeypatch, patcher)
    patcher.cached_patcher_init = None
    with pytest.raises(UnsupportedModel, match=f"loader of this {part} does not say.*Load Checkpoint"):
        learned(job, tmp_path, fingerprint="any")


def test_what_was_read_again_for_learning_is_not_kept(job, monkeypatch, tmp_path):
    kind = newer_hosts.lend_weights(monkeypatch, job.model)
    comfy.model_management.unload_all_models()
    learned(job, tmp_path, fingerprint="any")
    assert kind.read_again == 1 and comfy.model_management.loaded_models() == []


def test_what_holds_on_to_lent_weights_gets_a_sentence(job, monkeypatch, tmp_path):
    block = job.model.model.diffusion_model.middle_block
    job.model.add_object_patch("diffusion_model.middle_block.forward", block.forward)
    newer_hosts.lend_weights(monkeypatch, job.model)
    with pytest.raises(
        UnsupportedModel, match=r"into this MODEL \(diffusion_model.middle_block.forward\).*as it is loaded"
    ):
        learned(job, tmp_path, fingerprint="any")


def test_a_schedule_of_ones_own_is_learned_with_where_weights_are_lent(job, monkeypatch, tmp_path, applied):
    """It is put into the model too, and lies there after painting, but holds on to no weight."""
    zsnr = ModelSamplingDiscrete().patch(job.model, "eps", True)[0]
    job = replace(job, model=zsnr)
    usual = learned(job, tmp_path, name="usual")
    newer_hosts.lend_weights(monkeypatch, zsnr)
    sample(zsnr, encode(applied, PLAIN), encode(applied, ""), steps=2)
    assert learned(job, tmp_path, name="lent", fingerprint="any").losses == usual.losses


def test_an_sdxl_persona_is_learned_with_a_clip_out_of_apply(monkeypatch, tmp_path, job, make_persona_of):
    """Its pooled text comes from the text encoders that were read anew, not from those that are lent."""
    clip = tiny_models.clip("sdxl")
    taught = apply_to_clip(clip, AppliedPersona(make_persona_of("sdxl")), "<ann>")
    job = replace(job, model=tiny_models.model(sdxl=True), clip=taught)
    usual = learned(job, tmp_path, name="usual", fingerprint="any")
    newer_hosts.lend_weights(monkeypatch, taught.patcher, again=lambda: tiny_models.clip("sdxl").patcher)
    asked = []
    for tower in (clip.cond_stage_model.clip_l, clip.cond_stage_model.clip_g):
        tower.register_forward_hook(lambda *_: asked.append(1))
    found = learned(job, tmp_path, name="lent", fingerprint="any")
    assert found.losses == usual.losses and not asked


class TestClipHooks:
    """Set CLIP Hooks takes a CLIP whose patcher has weights of its own, where they are lent; the host then encodes with
    the others all the same."""

    @staticmethod
    def hooked(clip):
        clone = clip.clone()
        clone.patcher = clip.patcher.clone(disable_dynamic=True)
        return clone

    @pytest.fixture
    def lent(self, clip, monkeypatch):
        newer_hosts.lend_weights(monkeypatch, clip.patcher, again=lambda: tiny_models.clip().patcher)
        return clip

    def test_before_apply_the_persona_is_painted(self, lent, ann, applied):
        taught = apply_to_clip(self.hooked(lent), AppliedPersona(ann), "<ann>")
        found, usual = (encode(one, ANN)[0] for one in (taught, applied))
        assert torch.equal(found[0], usual[0]) and torch.equal(found[1][TABLE].at(500)[1], usual[1][TABLE].at(500)[1])

    def test_after_apply_it_is_said_and_no_tensor_of_ours_comes_to_the_unet(self, lent, ann, caplog):
        taught = self.hooked(apply_to_clip(lent, AppliedPersona(ann), "<ann>"))
        context = encode(taught, ANN)[0][0]
        assert type(context) is torch.Tensor and torch.isfinite(context).all()
        assert [record.message.partition(" past")[0] for record in caplog.records] == ["A text encoder was given <ann>"]


class TestPainting:
    """A conditioning with hooks makes the host paint on another copy of a MODEL that lends its weights."""

    @pytest.fixture
    def lending(self, model, monkeypatch):
        newer_hosts.paint_hooks_on_a_delegate(monkeypatch)
        kind = newer_hosts.lend_weights(monkeypatch, model)
        return model, kind

    def apply(self, nodes, model, clip, ann):
        return nodes.apply.ApplyStageRegulatedEmbedding.execute(
            model, clip, ann, "<ann>", 1.0, "supercategory", "persona"
        ).result

    def test_a_routed_model_paints_as_usual_and_is_not_read_again(self, nodes, lending, clip, ann):
        usual_model, usual_clip = self.apply(nodes, tiny_models.model(), clip, ann)
        usual = sample(usual_model, encode(usual_clip, ANN), encode(usual_clip, "lowres"))
        model, kind = lending
        routed, taught = self.apply(nodes, model, clip, ann)
        positive, negative = encode(taught, ANN), encode(taught, "lowres")
        assert TABLE in positive[0][1] and "hooks" not in positive[0][1]
        painted = sample(routed, positive, negative)
        assert kind.read_again == 0 and torch.equal(painted, usual)
        assert not torch.equal(painted, sample(model, encode(clip, ANN), encode(clip, "lowres")))

    def test_a_model_past_apply_ends_in_an_error_that_says_so(self, nodes, lending, clip, ann):
        model, kind = lending
        _, taught = self.apply(nodes, model, clip, ann)
        with pytest.raises(RuntimeError, match=r"Nothing follows the persona <ann>.*the MODEL that comes out of Apply"):
            sample(model, encode(taught, ANN), encode(taught, "lowres"))
        assert kind.read_again == 0
        assert torch.isfinite(sample(model, encode(taught, PLAIN), encode(taught, "lowres"))).all()

    def test_a_persona_that_another_node_lost_is_said_once(self, nodes, lending, clip, ann, caplog):
        model, _ = lending
        routed, taught = self.apply(nodes, model, clip, ann)
        context, extra = encode(taught, ANN)[0]
        sample(routed, [[torch.from_numpy(context.numpy() + 1.0), extra]], encode(taught, "lowres"))
        [record] = caplog.records
        assert "changed a conditioning with <ann> in a way" in record.message

    def test_other_models_keep_their_hooks(self, nodes, model, clip, ann):
        """So that one past Apply still paints the persona."""
        assert "hooks" in encode(self.apply(nodes, model, clip, ann)[1], ANN)[0][1]
