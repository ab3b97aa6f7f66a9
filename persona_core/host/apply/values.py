"""V of a persona's rows, written into what a cross-attention layer is given: the host knows one context for K and V."""

import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field

import comfy.hooks
import torch
from comfy.utils import repeat_to_batch_size
from torch import Tensor, equal

from .adapted import Targets
from .context import PersonaContext
from .places import warn_of_parts

RUN = ContextVar("run")  # of this sampling: a Run
# In the transformer options of one step: its timestep; {uuid of a conditioning: contexts of K and V}; and, while nobody
# else may change it, what was last written: the context that a layer gave, and V of all rows.
TIMESTEP, VALUES, WRITTEN = "persona_timestep", "persona_values", "persona_written"


@dataclass
class Run:
    """What one sampling run comes to know. brought: the placeholders of what other packs' patches gave the layers.
    groups: the hooks of others by themselves, for each set of them. known: what `places.once` has made. targets: see
    `adapted.Targets`."""

    brought: set[str] = field(default_factory=set)
    groups: dict[frozenset, comfy.hooks.HookGroup] = field(default_factory=dict)
    known: dict = field(default_factory=dict)
    targets: Targets = field(default_factory=dict)


@torch.compiler.disable  # uuids are new in each run, and compiled code would be made anew for them
def give_values(query, keys, values, extra_options, **more):
    """Cross-attention patch: write the V context into the rows whose conditioning has one. more: what transformers tell
    beside, which take a dict."""
    query, keys, values = with_values(query, keys, values, extra_options)
    return {"q": query, "k": keys, "v": values} if more else (query, keys, values)


def with_values(query, keys, values, extra_options):
    contexts, t = extra_options.get(VALUES), extra_options.get(TIMESTEP)
    if isinstance(keys, PersonaContext):  # out of another conditioning, which a pack's patch has put in before us
        run = RUN.get(Run())
        run.brought.update(keys.table.placeholders)
        if keys.table.places_at(t):
            warn_of_parts(run.known)
        keys = keys.table.at(t)[0].to(query)
    if isinstance(values, PersonaContext):
        values = values.table.at(t)[1].to(query)
    if not contexts:
        return query, keys, values
    written = extra_options[WRITTEN]
    if written and written["given"] is values:
        return query, keys, written["values"]
    # Of this pass: another pack may have taken some of the latents only, since `follow_tables` saw them all.
    batch, given = len(extra_options["sigmas"]), values
    rows = [slice(start, start + batch) for start in range(0, len(query), batch)]
    known = [(row, contexts[one]) for row, one in zip(rows, of_rows(rows, given, extra_options)) if one in contexts]
    if not known:
        return query, keys, values
    values = values.clone()  # the host hands in one tensor for both
    for row, (_, value) in known:
        # The host repeats contexts of different lengths until they fit one batch.
        values[row] = repeat_to_batch_size(repeated(value, given), batch)
    if written is not None:
        written |= {"given": given, "values": values}
    return query, keys, values


def of_rows(rows: list[slice], given: Tensor, extra_options: dict) -> list[uuid.UUID | None]:
    """Of which conditioning each batch of rows is. Packs that paint in tiles or regions have rows of their own: there,
    it is told from the context of K that they were given."""
    uuids, contexts = extra_options.get("uuids") or [], extra_options[VALUES]
    if len(uuids) == len(rows):
        return uuids
    known = {which: repeated(keys, given) for which, (keys, _) in contexts.items()}
    return [next((which for which, keys in known.items() if equal(given[row][:1], keys)), None) for row in rows]


def repeated(context: Tensor, given: Tensor) -> Tensor:
    """A context [1, L, D] as long as the given rows are."""
    return context.to(given).repeat(1, given.shape[1] // context.shape[1], 1)
