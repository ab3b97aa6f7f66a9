"""Files of the first release stay readable: a persona that somebody learned is never lost to an update."""

import pytest
import torch
from prompts import FIRST_RELEASE

from persona_core.persona import Persona

# The first three numbers of K, V and the bypass at three timesteps, as that release gave them.
VECTORS = {
    "stage_mapper": {
        100: ([0.0131, 0.02603, -0.015096], [0.0131, 0.02603, -0.015096], [0.089734, 0.061951, -0.069761]),
        600: ([0.01336, 0.025895, -0.015575], [0.01336, 0.025895, -0.015575], [0.088958, 0.062127, -0.068899]),
        900: ([0.013246, 0.025973, -0.015357], [0.013246, 0.025973, -0.015357], [0.08907, 0.06193, -0.068646]),
    },
    "kv_tokens": {
        100: ([0.012474, -0.000074, -0.004936], [0.01207, -0.004692, -0.004715], None),
        600: ([0.013756, -0.005966, -0.010307], [0.013695, -0.005878, -0.003242], None),
        900: ([0.009003, -0.005032, -0.009583], [0.009003, -0.005032, -0.009583], None),
    },
}


@pytest.mark.parametrize("kind", VECTORS)
def test_a_persona_of_the_first_release_is_the_same_today(kind, tmp_path):
    persona = Persona.load(FIRST_RELEASE / f"{kind}.safetensors")
    assert (persona.name, persona.family) == (kind, "SD1.x (clip_l, 768 wide)")
    assert persona.supercategory == {"stage_mapper": "face", "kv_tokens": "person"}[kind]
    assert persona.settings["steps"] == 3 == len(persona.losses["noise"]) and persona.fingerprint == "0" * 32
    again = Persona.load(persona.save(tmp_path / "again.safetensors"))
    for t, expected in VECTORS[kind].items():
        for one in (persona, again):
            found = one.representation.at(torch.tensor([float(t)]))
            for side, numbers in zip((found.keys, found.values, found.bypass), expected, strict=True):
                assert (side is None) == (numbers is None)
                assert side is None or side[0, 0, :3].tolist() == pytest.approx(numbers, abs=2e-6)
