"""A persona painted by a compiled model."""

from functools import partial

import pytest
import tiny_models
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras.nodes_torch_compile import TorchCompileModel
from neighbours import STEPS
from recording import encode, sample

from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import apply_to_model
from persona_core.table import AppliedPersona

BLOCK = "diffusion_model.middle_block.1.transformer_blocks.0"


@pytest.mark.parametrize("mask", [None, torch.eye(8)], ids=["no mask", "a mask"])
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_compiled_model_paints_the_same_and_is_compiled_once(whole, mask, model, clip, free):
    torch._dynamo.reset()
    free(8e9)  # attention in pieces asks for it, and is compiled anew where it is another
    knowing = apply_to_clip(clip, AppliedPersona(tiny_models.persona(clip), mask=mask), "<ann>")
    prompts = encode(knowing, "a photo of <ann> in snow"), encode(clip, "lowres")
    paint = partial(sample, positive=prompts[0], negative=prompts[1], steps=STEPS)
    routed, graphs = apply_to_model(model, "<ann>"), []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward  # traced, but no machine code: the node's own backends take minutes

    compiled = TorchCompileModel.execute(routed, backend)[0]
    if not whole:
        set_torch_compile_wrapper(compiled, backend, keys=[BLOCK])
    torch.testing.assert_close(paint(compiled), paint(routed), atol=1e-3, rtol=1e-3)
    traced = len(graphs)
    assert traced
    paint(compiled)
    assert len(graphs) == traced
