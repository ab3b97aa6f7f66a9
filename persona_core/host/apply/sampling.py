"""While sampling: K and V of a persona's rows from the prompt's table, at the t of the step.

The conditioning itself carries the mechanism, as a hook of the host, so a MODEL that was not routed through
Apply still paints the persona; a MODEL that was, carries it too, for nodes that keep only the context tensor
of a conditioning, and where the host lends weights: there, conditionings have no hook. Both together do it once.

What diffusers does with a cross-attention processor, a patch of the host's cross-attention does here.
"""

import uuid
from collections.abc import Sequence

import comfy.hooks
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor, allclose

from ...table import Place
from ..messages import warn
from ..model import discrete_timestep
from .adapted import keep_from_adapter, sides_adapted, without_padding
from .context import FOLLOWING, PersonaContext, Table
from .places import PLACES, Followed, with_places, within
from .steps import tell_of_steps
from .values import RUN, TIMESTEP, VALUES, WRITTEN, Run, give_values

SIGMAS = 3  # the place among what a whole sampling is given
LENGTH = "num_tokens"  # what some transformers are told beside the context
TABLE = "persona_table"  # in a conditioning's dict
PLACEHOLDERS = "persona_placeholders"  # in a MODEL's transformer options: those of every Apply before it
ROUNDING = 1e-6
WARNED = "persona_warned"  # in the transformer options of one run


def attach(table: Table, hooked: bool = True) -> tuple[PersonaContext, dict]:
    """The context of a conditioning whose rows follow the table, and what its dict needs for it.

    hooked: whether it brings what follows the table to any MODEL; without, only a MODEL out of Apply follows.
    """
    return PersonaContext.of(table), {TABLE: table, **({"hooks": GROUP} if hooked else {})}


def apply_to_model(model: ModelPatcher, placeholder: str) -> ModelPatcher:
    """A clone of `model` that follows the tables of conditionings which lost their dict, and misses `placeholder`."""
    patched = model.clone()
    options = patched.model_options.setdefault("transformer_options", {})
    options[PLACEHOLDERS] = {*options.get(PLACEHOLDERS, ()), placeholder}
    if TABLE not in options.get("wrappers", {}).get(WrappersMP.CALC_COND_BATCH, {}):
        patched.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, TABLE, follow_tables)
        patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, TABLE, warn_of_absent)
    return patched


def warn_of_absent(executor, *args, **kwargs):
    """Wrapper of a whole sampling run: a persona that is not in the picture must not go unnoticed.

    Neither one whose placeholder was forgotten or misspelt, nor one that another node has lost.
    """
    guider = executor.class_obj
    options, conds = guider.model_options.setdefault("transformer_options", {}), conditionings(guider)
    if options.get(WARNED):  # the hook and the MODEL may both bring us here, or a sampling within this one
        keep(conds)
        return executor(*args, **kwargs)
    options[WARNED] = True
    contexts = [(cond, cond.get(name)) for cond in conds for name in ("cross_attn", "cross_attn_controlnet")]
    tables = [table for table in (table_of(*one) for one in contexts) if table]
    gone = lost(conds)
    if gone:
        warn(
            f"A node between text encoder and sampler changed a conditioning with {' or '.join(sorted(gone))} in a way "
            "that the persona cannot follow: there, the common word stands. Encode the prompt behind that node."
        )
    missing = options.get(PLACEHOLDERS, set()).difference(gone, *(table.placeholders for table in tables))
    # Others' hooks may bring prompts of their own: which, is known in the end.
    others = any(hook != HOOK for cond in conds if cond.get("hooks") is not None for hook in cond["hooks"].hooks)
    if not others:
        warn_of_missing(missing)
    tell_of_steps(guider.model_patcher.get_model_object("model_sampling"), args[SIGMAS], tables)
    run = RUN.set(Run())
    keep(conds)
    try:
        result = executor(*args, **kwargs)
        if others:
            warn_of_missing(missing - RUN.get(Run()).brought)
        return result
    finally:
        RUN.reset(run)


def warn_of_missing(placeholders: set[str]) -> None:
    if placeholders:
        warn(
            f"No prompt of this sampler holds {' or '.join(sorted(placeholders))}: it paints without that persona. Put "
            "it into the prompt; if it is there, a node on the way has lost it: encode it with CLIP Text Encode."
        )


def keep(conds: Sequence[dict]) -> None:
    """From an adapter in the MODEL, what follows a table in this run; without one, nobody would adapt it."""
    run = RUN.get(None)
    for cond in conds if run else ():
        if table_of(cond, cond.get("cross_attn")):
            keep_from_adapter(cond, run.targets)


def conditionings(guider) -> list[dict]:
    return [cond for group in guider.conds.values() for cond in group or []]


def lost(conds: list[dict]) -> set[str]:
    """The placeholders of conditionings whose context is something else now; a zeroed one is meant to be empty."""
    contexts = [(cond, cond.get("cross_attn")) for cond in conds]
    changed = [
        context.table if isinstance(context, PersonaContext) else cond.get(TABLE)
        for cond, context in contexts
        if context is not None and table_of(cond, context) is None and context.any()
    ]
    return set().union(*(table.placeholders for table in changed if table is not None))


def follow_tables(executor, model, conds, x_in, timestep, model_options):
    """Wrapper of the host's calc_cond_batch: give every conditioning with a table its K context for this t.

    V goes to `give_values` by the conditioning's uuid, because the host knows one context only.
    """
    options = model_options.get("transformer_options", {})
    if VALUES in options:  # the hook and the MODEL both brought us here
        return executor(model, conds, x_in, timestep, model_options)
    t = discrete_timestep(model.model_sampling, timestep[:1])
    values: dict[uuid.UUID, tuple[Tensor, Tensor]] = {}
    places: dict[uuid.UUID, list[Place]] = {}
    conds = [
        None if group is None else [at_timestep(cond, t, values, places, x_in, number, model) for cond in group]
        for number, group in enumerate(conds)
    ]
    patches = options.get("patches", {})
    # First, so that others which change V (hypernetworks) find what they are to change.
    attention = [give_values, *patches.get("attn2_patch", [])]
    options = {**options, TIMESTEP: t, VALUES: values, "patches": {**patches, "attn2_patch": attention}}
    options[WRITTEN] = {} if len(attention) == 1 else None
    if places:
        replaced = options.get("patches_replace", {})
        options["patches_replace"] = {
            **replaced,
            "attn2": with_places(replaced.get("attn2", {}), model.diffusion_model),
        }
        options[PLACES] = Followed(places, RUN.get(Run()).known)
    following = FOLLOWING.set(True)
    try:
        return executor(model, conds, x_in, timestep, {**model_options, "transformer_options": options})
    finally:
        FOLLOWING.reset(following)


def table_of(cond: dict, context: Tensor | None) -> Table | None:
    """Of a context that still is what was encoded, or was computed from such by known operations.

    Whoever made a plain tensor of it left the table in the conditioning's dict.
    """
    if isinstance(context, PersonaContext):
        table = context.table
    else:
        table = cond.get(TABLE) if context is cond.get("cross_attn") else None
    return table if table is not None and context is not None and same(context, table.base) else None


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are alike in all, but for how a number is rounded."""
    kinds = [(tensor.shape, tensor.dtype, tensor.device) for tensor in (one, other)]
    return kinds[0] == kinds[1] and allclose(one, other, rtol=ROUNDING, atol=ROUNDING**2)


def at_timestep(cond: dict, t: float, values: dict, places: dict, latents: Tensor, group: int, model) -> dict:
    """A conditioning as it is at t; the same dict if it has no table.

    group: the number of the guider's list that it is in. model: the host's. values: gets the contexts of K and V under
    the conditioning's uuid, on the device of the UNet: once a step, not once a layer. places: gets those of its
    personas.
    """
    if cond.get("hooks") is not None:
        cond = {**cond, "hooks": without_ours(cond["hooks"])}
    for name, one in cond["model_conds"].items():  # CLIP Text Encode Controlnet, or pooled text that a pack made
        if name != "c_crossattn" and isinstance(getattr(one, "cond", None), PersonaContext):
            cond = with_context(cond, name, one.cond.table.at(t)[0])  # none knows a V of its own
    # Not the dict's context: an area's conditioning is copied into the opposite list with that list's context.
    context = cond["model_conds"]["c_crossattn"].cond if "c_crossattn" in cond["model_conds"] else None
    table = table_of(cond, context)
    if table is None:
        lost_and_told = isinstance(context, PersonaContext)
        return with_context(cond, "c_crossattn", context.as_subclass(Tensor)) if lost_and_told else cond
    keys, value = table.at(t)
    stands = keys is not table.base
    keys, value = sides_adapted(model, RUN.get(Run()).targets.get(id(context)), keys, value, latents.device)
    cond = with_context(cond, "c_crossattn", without_padding(keys) if LENGTH in cond["model_conds"] else keys)
    # Another one for the copy of an area in the opposite list; the same at each step, for nodes that compare steps.
    cond["uuid"] = uuid.uuid5(cond["uuid"], str(group))
    if stands:
        values[cond["uuid"]] = keys.to(latents.device), value.to(latents.device)
    if kept := within(table.places_at(t), cond, tuple(latents.shape[-2:]), RUN.get(Run()).known):
        places[cond["uuid"]] = kept
    return cond


def without_ours(hooks: comfy.hooks.HookGroup) -> comfy.hooks.HookGroup | None:
    """The hooks but for ours, which has done its work: the same group for the same hooks, as the host lets positive and
    negative share a batch by it."""
    rest = [hook for hook in hooks.hooks if hook != HOOK]
    if not rest:
        return None
    group = RUN.get(Run()).groups.setdefault(frozenset(rest), comfy.hooks.HookGroup())
    for hook in rest if not group.hooks else ():
        group.add(hook)
    return group


def with_context(cond: dict, name: str, context: Tensor) -> dict:
    """A copy of a conditioning that gives the model another context."""
    model_conds = {**cond["model_conds"]}
    model_conds[name] = model_conds[name]._copy_with(context)
    if LENGTH in model_conds and name == "c_crossattn":
        model_conds[LENGTH] = model_conds[LENGTH]._copy_with(context.shape[1])
    return {**cond, "model_conds": model_conds}


HOOK = comfy.hooks.TransformerOptionsHook(
    {
        "wrappers": {
            WrappersMP.CALC_COND_BATCH: {TABLE: [follow_tables]},
            WrappersMP.OUTER_SAMPLE: {TABLE: [warn_of_absent]},
        }
    },
    hook_scope=comfy.hooks.EnumHookScope.AllConditioning,
)
# One instance for the process: the host merges equal hooks, so many personas are still one wrapper.
GROUP = comfy.hooks.HookGroup()
GROUP.add(HOOK)
