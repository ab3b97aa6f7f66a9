"""Whether learning can go on from a persona that was learned before."""

from .files import QUOTED, shown
from .mapper import StageMapper
from .persona import Persona
from .recipes import StageMapperRecipe


def check_goes_on(persona: Persona, family: str, recipe: StageMapperRecipe) -> None:
    """Raise ValueError with a sentence where the persona has no mapper, or another than what is to be learned has.

    family: of the text encoder.
    """
    name, kept = shown(persona.name, QUOTED), persona.representation
    if not isinstance(kept, StageMapper):
        raise ValueError(
            f"Learning cannot go on from the persona {name}: its file has no mapper. Learn it again with keep_mapper, "
            "or take the link to go_on_from away."
        )
    if persona.family != family:
        raise persona.not_for(f"this CLIP is {family}")
    stages = recipe.stages
    for what, its, wanted in (
        ("supercategory", shown(persona.supercategory), shown(recipe.supercategory)),
        ("tokens", kept.tokens, recipe.tokens),
        ("stages", f"{kept.stages.t_lo} to {kept.stages.t_hi}", f"{stages.t_lo} to {stages.t_hi}"),
    ):
        if its != wanted:
            raise ValueError(
                f"Learning cannot go on from the persona {name}: {what} {its} there, {wanted} here. "
                "Give the same, or take the link to go_on_from away."
            )
