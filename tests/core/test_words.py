"""A word that the text encoder splits: the persona's tokens begin at its tokens, and stay on their spheres."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from persona_core.files import PersonaFileError
from persona_core.kv_tokens import TokenExpander
from persona_core.mapper import OFFSET, StageMapper, learning_units
from persona_core.names import FIRST, starts
from persona_core.persona import Persona
from persona_core.representation import initializers, spread
from persona_core.stages import Stages
from persona_core.table import AppliedPersona

T = torch.tensor([400.0, 700.0])
WIDTHS = 8, 16
WORD = torch.randn(2, 24, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0], [3.0]])
FOUR = WORD[[0, 1, 1, 1]]
LENGTHS = [part.norm(dim=-1) for part in FOUR.split(WIDTHS, -1)]


@pytest.fixture
def mapper():
    units = learning_units(initializers(WORD, 4), initializers(WORD, 4), WIDTHS)
    made = StageMapper(WORD, Stages(), 4, widths=WIDTHS, unit=units[0], bypass_unit=units[1])
    generator = torch.Generator().manual_seed(1)
    for head in (made.head, made.bypass_head):
        torch.nn.init.normal_(head.weight, std=0.01, generator=generator)
    return made.requires_grad_(False)


def test_tokens_begin_at_the_words_in_order_and_at_its_last():
    assert torch.equal(initializers(WORD, 4), FOUR) and torch.equal(initializers(WORD, 2), WORD)
    torch.testing.assert_close(StageMapper(WORD, Stages(), 4, widths=WIDTHS).at(T).keys, FOUR.expand(2, 4, 24))
    word = WORD[0]
    assert initializers(word, 4) is word  # of one token everything is as it was


def test_each_stays_on_the_sphere_of_the_token_that_it_began_at(mapper):
    vectors = mapper.at(T)
    for part, lengths in zip(vectors.keys.split(WIDTHS, -1), LENGTHS, strict=True):
        torch.testing.assert_close(part.norm(dim=-1), lengths.expand(2, 4))
    assert torch.cosine_similarity(vectors.keys, FOUR, dim=-1).max() < 0.999
    half = AppliedPersona(Persona("ann", mapper, "SD1.x", "axolotl"), strength=0.5).vectors(700)
    between = torch.nn.functional.normalize((vectors.keys[1] + FOUR)[:, :8] / 2, dim=-1) * LENGTHS[0][:, None]
    torch.testing.assert_close(half.keys[0, :, :8], between)


def test_a_learning_rate_moves_each_by_its_own_spread():
    unit, _ = learning_units(initializers(WORD, 4), initializers(WORD, 4), WIDTHS)
    torch.testing.assert_close(unit[2], OFFSET * spread(WORD[1], WIDTHS))
    assert not torch.allclose(unit[0], unit[1])


def test_it_is_saved_and_read_back(mapper, tmp_path):
    ann = Persona("ann", mapper, "custom (clip_l + clip_g, 24 wide)", "axolotl")
    path = ann.save(tmp_path / "ann.safetensors")
    assert load_file(path)["word"].shape == (2, 24)
    read = Persona.load(path).representation
    found, expected = read.at(T), mapper.at(T)
    torch.testing.assert_close(found.keys, expected.keys, atol=5e-3, rtol=5e-3)
    torch.testing.assert_close(found.bypass, expected.bypass, atol=5e-3, rtol=5e-3)
    again = Persona.load(Persona("ann", read, ann.family, "axolotl").save(path)).representation.state_dict()
    assert all(torch.equal(again[name], value) for name, value in read.state_dict().items())


@pytest.mark.parametrize("kind", ["stage_mapper", "kv_tokens"])
@pytest.mark.parametrize("shape", [(1, 24), (5, 24), (2, 2, 12), (0, 24), (2, 0), (64, 24), (24, 2), ()])
def test_a_file_with_a_word_of_another_shape_is_refused(mapper, tmp_path, shape, kind):
    made = mapper if kind == "stage_mapper" else TokenExpander(WORD[0], widths=WIDTHS)
    path = Persona("ann", made, "custom (clip_l + clip_g, 24 wide)", "axolotl").save(tmp_path / "ann.safetensors")
    tensors = {**load_file(path), "word": torch.ones(shape).half()}
    metadata = {**Persona.load(path).parts()[1], "tokens": "4" if kind == "stage_mapper" else "1"}
    save_file(tensors, path, metadata)
    with pytest.raises(PersonaFileError, match="its (word|tensor)"):
        Persona.load(path)
    if kind == "kv_tokens":
        save_file({**tensors, "word": WORD.half()}, path, metadata)
        with pytest.raises(PersonaFileError, match=r"its word has the shape \[2, 24\]"):
            Persona.load(path)


def test_numbers_that_are_none_are_refused(mapper, tmp_path):
    path = Persona("ann", mapper, "custom (clip_l + clip_g, 24 wide)", "axolotl").save(tmp_path / "ann.safetensors")
    word = WORD.half()
    word[1, 3] = torch.nan
    save_file({**load_file(path), "word": word}, path, Persona.load(path).parts()[1])
    with pytest.raises(PersonaFileError, match="its tensor word holds what are no sane numbers"):
        Persona.load(path)


def test_a_word_of_more_tokens_than_there_are_is_refused():
    for make in (lambda: StageMapper(WORD, Stages(), 1), lambda: TokenExpander(WORD)):
        with pytest.raises(ValueError, match="a word of 2 tokens has no room in 1"):
            make()


def test_where_tokens_start_at_names_the_others_start_at_their_own():
    found = starts(4, WORD, lambda names: torch.full((len(names), 24), 1.0 if names == FIRST else 2.0))
    assert torch.equal(found, torch.stack([torch.full((24,), 1.0), torch.full((24,), 2.0), WORD[1], WORD[1]]))
