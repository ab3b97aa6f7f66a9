"""What a placeholder may be, and where in a prompt it is found."""

import pytest
import tiny_models
import torch
from recording import encode_one

from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import TABLE
from persona_core.table import AppliedPersona


def test_a_placeholder_that_is_a_word_does_not_touch_longer_words(clip, ann):
    applied = apply_to_clip(clip, AppliedPersona(ann), "ann")
    assert TABLE not in encode_one(applied, "a planned annual holiday")[1]
    assert torch.equal(encode_one(applied, "ann's (ann:1.2)")[0], encode_one(clip, "face's (face:1.2)")[0])


@pytest.mark.parametrize(
    ("placeholder", "text", "found"),
    [
        ("安", "雪中的安微笑", True),
        ("あん", "雪の中のあんが笑う", True),
        ("แอน", "ภาพถ่ายของแอนในหิมะ", True),
        ("анна", "фото анна, снег", True),
        ("анна", "фото анналы", False),
        ("김안", "눈 속의 김안", True),
    ],
)
def test_a_placeholder_of_another_script(clip, ann, placeholder, text, found):
    applied = apply_to_clip(clip, AppliedPersona(ann), placeholder)
    assert (TABLE in encode_one(applied, text)[1]) == found


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("a photo of embedding:<ann> in snow", "a photo of <ann> in snow"),
        ("a photo of (embedding:<ann>:1.2), smiling", "a photo of (<ann>:1.2), smiling"),
        ("embedding:<ann>", "<ann>"),
        ("embedding:<ann>smiling", "<ann> smiling"),
        ("embedding:bob in snow", "bob in snow"),
    ],
)
def test_a_placeholder_written_as_if_it_were_an_embedding_file(clip, ann, make_persona, text, same_as):
    both = apply_to_clip(apply_to_clip(clip, AppliedPersona(ann), "<ann>"), AppliedPersona(make_persona("bob")), "bob")
    (found, extra), (usual, _) = encode_one(both, text), encode_one(both, same_as)
    assert torch.equal(found, usual) and len(extra[TABLE].placeholders) == 1


def test_an_embedding_file_of_a_placeholders_name_stays_that_file(tmp_path, ann):
    for name in ("ann", "my-ann"):
        torch.save({"string_to_param": {"*": torch.ones(1, 64)}}, tmp_path / f"{name}.pt")
    clip = tiny_models.clip(embeddings=str(tmp_path))
    applied = apply_to_clip(clip, AppliedPersona(ann), "ann")
    for text in ("embedding:ann in snow", "in snow, embedding:my-ann"):
        assert TABLE not in encode_one(applied, text)[1] and torch.equal(
            encode_one(applied, text)[0], encode_one(clip, text)[0]
        )
    assert encode_one(applied, "ann beside embedding:my-ann")[1][TABLE].placeholders == {"ann"}


def test_placeholders_do_not_touch_the_marks_of_others(clip, make_persona):
    names = {
        "<ann>": make_persona("ann"),
        "persona": make_persona("bob", seed=9),
        "embedding": make_persona("cy", seed=8),
    }
    chained = clip
    for placeholder, persona in names.items():
        chained = apply_to_clip(chained, AppliedPersona(persona), placeholder)
    tokens = chained.tokenize("<ann>, persona, (embedding:1.2), persona-1")["l"][0]
    subjects = [token.subject.placeholder for token, _ in tokens if not isinstance(token, int)]
    assert subjects[::4] == ["<ann>", "persona", "embedding", "persona"]


@pytest.mark.parametrize(
    ("placeholder", "says"),
    [
        ("", "must not be empty"),
        (" <ann>", "begin or end"),
        ("a:b", "colons"),
        ("(ann)", "brackets"),
        ("1.2", "hold a letter"),
        ("<ann>s", "cannot be told from"),
        ("my ann", "one word, without spaces"),
        ("<ann\u00a0lee>", "one word, without spaces"),
        ("<img src=x onerror=window.hit=1>", "one word, without spaces"),
        ("<svg/onload=hit>", "quotes or '='"),
        ("'ann'", "quotes or '='"),
        ('"ann"', "quotes or '='"),
    ],
)
def test_placeholders_that_cannot_work(applied, ann, placeholder, says):
    with pytest.raises(ValueError, match=says):
        apply_to_clip(applied, AppliedPersona(ann), placeholder)
