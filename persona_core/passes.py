"""What the models make of batches: of one task, or of several that have the same models, in one pass.

The models are frozen, and each row is computed by itself: rows of one pass may belong to different people, each with a
representation of their own. Nothing goes from one to another but rounding.
Shapes: B rows of a task's step, latents C x h x w, L tokens of a context, D its width.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from operator import itemgetter

import torch
import torch.nn.functional as F
from torch import Tensor

from .batch import Batch
from .noise import add_noise
from .representation import TokenVectors
from .task import CrossAttention, RichContexts, RichPrompts, Step, TextEncoding, TrainingTask

Ends = list[tuple[int, int]]  # where the rows of each task begin and end


@dataclass(frozen=True)
class Share:
    """A task's part of a pass."""

    task: TrainingTask
    batch: Batch


def shares_a_pass(one: TrainingTask, other: TrainingTask) -> bool:
    """Whether rows of both may go through the models at once."""
    return (
        (one.text, one.denoiser) == (other.text, other.denoiser)
        and type(one.representation) is type(other.representation)
        and one.references.latents.shape[1:] == other.references.latents.shape[1:]
        and (one.objective.reference is None) == (other.objective.reference is None)
    )


def forward(task: TrainingTask, batch: Batch) -> Step:
    """What the models make of a batch."""
    (step,) = forward_together([Share(task, batch)])
    return step


def forward_together(shares: Sequence[Share]) -> list[Step]:
    """What they make of batches of tasks of which each `shares_a_pass` with the first."""
    first, device = shares[0].task, shares[0].task.references.latents.device
    vectors = [vectors_of(share) for share in shares]
    encodings = [
        encoding.to(device).repeated(share.task.noise_multiplicity, len(share.batch.t))
        for share, encoding in zip(shares, encode_together(shares, vectors))
    ]
    clean, masks = (
        [getattr(share.task.references, name)[share.batch.picture] for share in shares] for name in ("latents", "masks")
    )
    schedule, t = first.denoiser.schedule, torch.cat([share.batch.t for share in shares])
    noise = torch.cat([share.batch.noise for share in shares])
    noisy, target = add_noise(schedule, torch.cat(clean), noise, t), schedule.target(torch.cat(clean), noise, t)
    keys = padded([encoding.keys for encoding in encodings])
    same = all(encoding.values is encoding.keys for encoding in encodings)
    values = keys if same else padded([encoding.values for encoding in encodings])
    pooled = [encoding.pooled for encoding in encodings if encoding.pooled is not None]
    contexts = [rich_contexts(share, those) for share, those in zip(shares, vectors)]
    inputs = noisy, t, keys, values
    whole = torch.cat(pooled) if pooled else None
    attentions: Sequence[CrossAttention] = ()
    if first.objective.reference is None:
        prediction = first.denoiser.predict(*inputs, pooled=whole)
    else:
        reference = padded([reference_of(share, those) for share, those in zip(shares, vectors)])
        prediction, attentions = first.denoiser.predict_watched(*inputs, reference, pooled=whole)
    ends = ends_of(len(share.batch.t) for share in shares)
    return [
        Step(
            encoding,
            prediction[begin:end],
            target[begin:end],
            mask,
            those,
            [rows_of(attention, begin, end) for attention in attentions],
            context,
        )
        for (begin, end), encoding, mask, those, context in zip(ends, encodings, masks, vectors, contexts)
    ]


def vectors_of(share: Share) -> TokenVectors:
    """What stands at the placeholder in each example of a batch, and behind those in its rich prompts."""
    task, batch = share.task, share.batch
    # The text encoder reads an example once, whatever number of noises it goes with.
    each = slice(None, None, task.noise_multiplicity)
    rich_picture = batch.picture[: len(batch.rich)]
    t, picture = torch.cat([batch.t[each], batch.rich_t]), torch.cat([batch.picture[each], rich_picture])
    return task.representation.at(t, picture)


def encode_together(shares: Sequence[Share], vectors: Sequence[TokenVectors]) -> list[TextEncoding]:
    """Each task's prompts, of which every example is one row."""
    text, each = shares[0].task.text, [slice(None, None, share.task.noise_multiplicity) for share in shares]
    prompts = [share.batch.prompts[some] for share, some in zip(shares, each)]
    rich = [share.batch.rich for share in shares]
    those = [one.keep_bypass(share.batch.keep_bypass[some]) for one, share, some in zip(vectors, shares, each)]
    if len(shares) == 1 or not text.fixed_length:
        return [text.encode(*given) for given in zip(prompts, those, rich)]
    joined = TokenVectors.joined(those, [len(some) for some in prompts])
    encoding = text.encode([*chain(*prompts)], joined, [*chain(*rich)])
    return list(parted(encoding, ends_of(map(len, prompts)), ends_of(map(len, rich))))


def parted(encoding: TextEncoding, ends: Ends, rich_ends: Ends) -> Iterator[TextEncoding]:
    """Those of each task, from one of all."""
    rich = encoding.rich
    for (begin, end), (first, last) in zip(ends, rich_ends):
        attentions = [one[first:last] for one in rich.attentions]
        its = RichPrompts(rich.persona[first:last], rich.words[first:last], attentions)
        yield replace(encoding.changed(itemgetter(slice(begin, end))), rich=its)


def rows_of(attention: CrossAttention, begin: int, end: int) -> CrossAttention:
    some = {name: getattr(attention, name)[begin:end] for name in ("queries", "keys", "reference")}
    return replace(attention, **some)


def ends_of(lengths: Iterable[int]) -> Ends:
    ends = list(accumulate(lengths, initial=0))
    return list(zip(ends, ends[1:]))


def padded(contexts: Sequence[Tensor]) -> Tensor:
    """Those [B, L, D] of all tasks, filled up with zeros behind those of shorter prompts."""
    longest = max(context.shape[1] for context in contexts)
    return torch.cat([F.pad(context, (0, 0, 0, longest - context.shape[1])) for context in contexts])


def reference_of(share: Share, vectors: TokenVectors) -> Tensor:
    """Contexts [B, L, D] of a batch's prompts with the objective's reference word."""
    reference = share.task.objective.reference
    assert reference is not None  # asked for by the objective
    return reference.contexts(share.task.text, share.batch.prompts, vectors)


def rich_contexts(share: Share, vectors: TokenVectors) -> RichContexts | None:
    """Of a batch's rich prompts, where the objective asks for them."""
    task, rich = share.task, share.batch.rich
    word = task.objective.context
    if word is None or not rich:
        return None
    those = vectors.last(len(rich))
    encoding = task.text.encode(rich, those)
    sides = (encoding.keys,) if encoding.values is encoding.keys else (encoding.keys, encoding.values)
    device = task.references.latents.device
    plain = word.contexts(task.text, rich, those)
    return RichContexts([side.to(device) for side in sides], plain.to(device), encoding.words.to(device))
