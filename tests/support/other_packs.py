"""What packs do to prompts and to attention, as public ones do it: small, and by the host's own means."""

from contextlib import contextmanager

import torch
from comfy.hooks import EnumHookScope, HookGroup, TransformerOptionsHook, set_hooks_for_conditioning

from persona_core.host.clip import text_towers

COMMA = (267, 1.0)


@contextmanager
def reading_prompts_itself(clip, finds_files: bool):
    """Methods of its own on the instances of the tokenizers: with a way to look for embedding files, or without."""
    tokenizers = [tower.tokenizer for tower in text_towers(clip).towers]

    def method_for(tokenizer):
        def tokenize_with_weights(text, return_word_ids=False, **_):
            (text,) = [text] if isinstance(text, str) else text
            pairs = []
            for part in text.split(" embedding:") if finds_files else [text]:
                name, _, rest = part.partition(" ")
                found = tokenizer._try_get_embedding(name)[0] if finds_files and part is not text else None
                if found is not None:
                    pairs += [(found[n], 1.0) for n in range(found.shape[0])]
                ids = tokenizer.tokenizer(rest if found is not None else part)["input_ids"][1:-1]
                pairs += [(one, 1.0) for one in ids]
            pairs = [(tokenizer.start_token, 1.0), *pairs, (tokenizer.end_token, 1.0)]
            return [pairs + [(tokenizer.pad_token, 1.0)] * (77 - len(pairs))]

        return tokenize_with_weights

    for tokenizer in tokenizers:
        tokenizer.tokenize_with_weights = method_for(tokenizer)
    try:
        yield
    finally:
        for tokenizer in tokenizers:
            del tokenizer.tokenize_with_weights


def weighed_by_masking(sections, encode):
    """The context of a prompt whose words below weight 1 are mixed with what stands without them, and whose words above
    gain what they add. encode: makes a context of several sections, as one prompt."""
    plain = [[(token, 1.0) for token, *_ in section] for section in sections]
    weights = torch.tensor([[weight for _, weight, *_ in section] for section in sections]).reshape(1, -1, 1)
    context = encode(plain)
    changed = sorted({weight for section in sections for _, weight, *_ in section} - {1.0})
    masked = [
        [COMMA if weight == one else (token, 1.0) for token, weight, *_ in section]
        for one in changed
        for section in sections
    ]
    if not masked:
        return context
    without = encode(masked).reshape(len(changed), -1, context.shape[-1])
    below = context
    for one, variant in zip(changed, without):
        if one < 1:
            below = below * one + variant * (1 - one)
    gains = context.expand(without.shape) - without
    gains *= torch.stack([weights[0] == one for one in changed])
    below += (weights - 1).clamp_min(0) * gains.sum(0, keepdim=True)
    return below


def in_masked_style(clip):
    """A clone whose encoders weigh so: a function in the place of each one's own."""
    patched = clip.clone()
    for tower in text_towers(clip).towers:
        place = f"{tower.name}.encode_token_weights"
        own = clip.patcher.get_model_object(place)

        def encode(sections, own=own):
            return weighed_by_masking(sections, lambda these: own(these)[0]), own(sections)[1]

        patched.patcher.add_object_patch(place, encode)
    return patched


class Couple(TransformerOptionsHook):
    """Other prompts than the one it hangs on, for parts of the picture: put into each cross-attention, beside it."""

    def __init__(self, contexts=()):
        super().__init__(hook_scope=EnumHookScope.HookedOnly)
        self.contexts = contexts
        self.transformers_dict = {"patches": {"attn2_patch": [self.put_in], "attn2_output_patch": [self.mix]}}

    def clone(self):
        cloned = super().clone()
        cloned.contexts = self.contexts
        return cloned

    def put_in(self, query, keys, values, extra_options):
        rows, count = [], len(query) // len(extra_options["cond_or_uncond"])
        extra_options["couple"] = []
        for number, cond in enumerate(extra_options["cond_or_uncond"]):
            own = slice(number * count, (number + 1) * count)
            more = [] if cond == 1 else [context.repeat(count, 1, 1).to(keys.device) for context in self.contexts]
            rows.append((query[own], torch.cat([keys[own], *more])))
            extra_options["couple"].append(1 + len(more))
        queries = [one.repeat(len(these) // count, 1, 1) for one, these in rows]
        keys = torch.cat([these for _, these in rows])
        return torch.cat(queries), keys, keys

    def mix(self, out, extra_options):
        count = len(out) // sum(extra_options["couple"])
        parts = out.split([count * one for one in extra_options["couple"]])
        return torch.cat([part.unflatten(0, (-1, count)).mean(0) for part in parts])


def coupled(base, *others):
    """A conditioning with others in the layers beside it."""
    group = HookGroup()
    group.add(Couple([context for (context, _), *_ in others]))
    return set_hooks_for_conditioning(base, group, append_hooks=True)
