"""That the device finds what it is for: take one move between devices away, and it raises as CUDA does.

A move that another one makes good is not in the lists.
"""

from functools import partial

import jobs
import pytest
from looking import curve, painted
from moves import take_away

from persona_core import batch, passes
from persona_core.host.apply import bypass, places
from persona_core.host.learn import attention_curve, denoiser, loaded, text, text_layers
from persona_core.recipes import KVTokensRecipe, StageMapperRecipe
from persona_core.representation import TokenVectors
from persona_core.task import TextEncoding, TrainingSettings

ONE = TrainingSettings(steps=1, batch_size=2)
MAPPER = StageMapperRecipe(attention_weight=3e-3, te_weight=0.5, context_weight=0.1, resolution=64, learning=ONE)
PAIRS = KVTokensRecipe(supercategory="face", te_weight=1e-3, resolution=64, learning=ONE)
learned = partial(jobs.learned, fingerprint="fingerprint")
DENOISER, TOWER, LOADED = denoiser.FrozenDenoiser, text.DifferentiableTower, loaded.LoadedModels
# By what is learned, and which models are on the CPU: what is taken away of which function.
LEARNING = [
    (MAPPER, (), LOADED.task, "latents.clone().to(device)", "latents.clone()"),
    (MAPPER, (), LOADED.task, "masks.clone().to(device)", "masks.clone()"),
    (MAPPER, (), batch.sample_batch, ".to(latents.device)", ""),
    (MAPPER, (), batch.sample_batch, ".to(latents)", ""),
    (MAPPER, (), TokenVectors.keep_bypass, ".to(self.bypass)", ""),
    (MAPPER, (), TOWER.places, ", device=self.device", ""),
    (MAPPER, (), text_layers.causal, "device=device, ", ""),
    (MAPPER, ("clip",), TextEncoding.to, "tensor.to(device)", "tensor"),
    (MAPPER, ("clip",), TextEncoding.to, "attention.to(device)", "attention"),
    (MAPPER, ("clip",), passes.forward_together, "encoding.to(device)", "encoding"),
    (MAPPER, ("clip",), passes.rich_contexts, "plain.to(device)", "plain"),
    (MAPPER, ("clip",), passes.rich_contexts, "side.to(device)", "side"),
    (MAPPER, ("clip",), TOWER.embed, "vectors.to(words)", "vectors"),
    (MAPPER, ("clip",), TOWER.encode, ".to(hidden[-1])", ""),
    (PAIRS, ("clip",), DENOISER.predict_watched, "reference.to(self.device, self.dtype)", "reference"),
]  # fmt: skip
LOOKING = [
    (painted, (), places.bias_of_all, ".to(device, dtype)", ".to(dtype)"),
    (painted, (), bypass.Moved.of.__func__, "tensor.to(x.device, torch.float32)", "tensor.float()"),
    (curve, ("clip",), attention_curve.attention_curve, "latents.clone().to(denoiser.device)", "latents.clone()"),
    (curve, (), attention_curve.attention_curve, "t.expand(draws).to(denoiser.device)", "t.expand(draws)"),
]


@pytest.mark.parametrize(("recipe", "on_cpu", "function", "move", "instead"), LEARNING)
def test_without_a_move_learning_raises(make_job, tmp_path, monkeypatch, recipe, on_cpu, function, move, instead):
    take_away(monkeypatch, function, move, instead)
    with pytest.raises(RuntimeError, match="same device"):
        learned(make_job(recipe, on_cpu=on_cpu), tmp_path)


@pytest.mark.parametrize(("look", "on_cpu", "function", "move", "instead"), LOOKING)
def test_without_a_move_looking_raises(make_job, monkeypatch, look, on_cpu, function, move, instead):
    take_away(monkeypatch, function, move, instead)
    with pytest.raises(RuntimeError, match="same device"):
        look(make_job(None, on_cpu=on_cpu))
