"""Personas on disk: Load Persona, Save Persona, Persona Info, and the folder they live in."""

from dataclasses import replace
from pathlib import Path, PurePosixPath

import folder_paths
from comfy_api.latest import io, ui
from torch import Tensor

from ..persona_core.charts import loss_chart
from ..persona_core.described import described
from ..persona_core.file_names import alike, check_name
from ..persona_core.files import QUOTED, shown
from ..persona_core.host import store
from ..persona_core.mapper import StageMapper
from ..persona_core.persona import Persona
from . import sockets

FORMS = AS_IT_IS, SMALL, MAPPER = "as it is", "small", "mapper"


def note(name: str, tooltip: str) -> io.String.Input:
    """An input for a line that the persona's file keeps. Optional, because workflows of before do not have it."""
    return io.String.Input(name, default="", tooltip=tooltip, optional=True)


def in_form(persona: Persona, form: str) -> Persona:
    """Raises ValueError with a sentence for what the persona has not."""
    if form == MAPPER and not isinstance(persona.representation, StageMapper):
        raise ValueError(
            f"The persona {shown(persona.name, QUOTED)} has no mapper to save. Set form to '{AS_IT_IS}', or learn it "
            "again with keep_mapper of Learn Persona."
        )
    return persona.small() if form == SMALL else persona


class LoadPersona(io.ComfyNode):
    """A persona's file to PERSONA."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        schema = io.Schema(
            node_id="PersonaLoad",
            display_name="Load Persona",
            **sockets.also_found_as("identity, likeness, face, same person, character, embedding"),
            category=sockets.CATEGORY,
            description="Loads a persona that was learned before. Press R after copying a file into models/personas.",
            inputs=[
                io.Combo.Input(
                    "persona_name",
                    options=store.listed(),
                    tooltip="A file in models/personas or one of its sub-folders.",
                )
            ],
            outputs=[
                sockets.Persona.Output(
                    display_name="persona", tooltip="To Apply Stage-Regulated Embedding or Persona Info."
                )
            ],
        )
        # For the gallery: ComfyUI serves pictures, but lists them nowhere.
        schema.inputs[0].extra_dict["pictures"] = store.pictured()
        return schema

    @classmethod
    def validate_inputs(cls, persona_name: str) -> bool | str:
        if store.place_of(persona_name):
            return True
        searched = ", ".join(folder_paths.get_folder_paths(store.FOLDER))
        alike_first = sorted(store.listed(), key=lambda file: not alike(file, persona_name))
        there = ", ".join(alike_first[:10]) or "no persona yet"
        return f"There is no persona {shown(persona_name, QUOTED)}. Searched: {searched}; found: {there}. Learn it, or copy its file there and press R."

    @classmethod
    def fingerprint_inputs(cls, persona_name: str) -> str:
        stat = Path(folder_paths.get_full_path_or_raise(store.FOLDER, persona_name)).stat()
        return f"{stat.st_mtime_ns} {stat.st_size}"

    @classmethod
    def execute(cls, persona_name: str) -> io.NodeOutput:
        return io.NodeOutput(Persona.load(Path(folder_paths.get_full_path_or_raise(store.FOLDER, persona_name))))


class SavePersona(io.ComfyNode):
    """PERSONA to a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaSave",
            display_name="Save Persona",
            **sockets.also_found_as("identity, character, rename, export"),
            category=sockets.CATEGORY,
            description="Saves a persona under another name or into a sub-folder. Learn Persona saves by itself.",
            is_output_node=True,
            inputs=[
                sockets.Persona.Input("persona", tooltip="The persona to save."),
                io.String.Input(
                    "name",
                    default="my_persona",
                    tooltip="The file's name in models/personas; friends/ann puts it into the sub-folder friends.",
                ),
                io.Image.Input(
                    "picture",
                    optional=True,
                    tooltip="A painted picture to show in the gallery; written beside the persona's file. Do not use the photo, unless you want it there.",
                ),
                note("consent_by", "Who agreed that this persona is used. Empty: what the persona's file says stays."),
                note(
                    "consent_on", "The day on which they agreed, as 2026-11-27. Empty: as the file says, or else today."
                ),
                note("consent_purpose", "What they agreed to, in a line. Empty: as the file says."),
                note(
                    "consent_until",
                    "The last day of their consent, as 2027-11-27. Empty: as the file says, or without end.",
                ),
                io.Combo.Input(
                    "form",
                    options=list(FORMS),
                    default=AS_IT_IS,
                    optional=True,
                    tooltip="small: what painting needs, tens of kilobytes. mapper: all that was learned, from which learning can go on; only for a persona that has it.",
                ),
            ],
            outputs=[io.String.Output(display_name="path", tooltip="Where the file lies.")],
        )

    @classmethod
    def validate_inputs(cls, form: str = AS_IT_IS) -> bool | str:
        return sockets.check_choices(form=(form, FORMS))

    @classmethod
    def execute(
        cls,
        persona: Persona,
        name: str,
        picture: Tensor | None = None,
        consent_by: str = "",
        consent_on: str = "",
        consent_purpose: str = "",
        consent_until: str = "",
        form: str = AS_IT_IS,
    ) -> io.NodeOutput:
        name = check_name(name, folders=True)
        path = store.path_for(name)
        try:
            agreed = persona.consent.changed(consent_by, consent_on, consent_purpose, consent_until)
        except ValueError as error:
            raise ValueError(
                f"The consent {error}. Say who agreed in consent_by, and write days as 2026-11-27."
            ) from error
        persona = in_form(persona, form)
        store.save(replace(persona, name=PurePosixPath(name).name, placeholder="", consent=agreed), path)
        if picture is not None:
            store.save_picture(picture[0], path)
        return io.NodeOutput(str(path), ui=ui.PreviewText(str(path)))


class PersonaInfo(io.ComfyNode):
    """What a persona is and how it was learned."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaInfo",
            display_name="Persona Info",
            **sockets.also_found_as("identity, character, metadata, loss curve"),
            category=sockets.CATEGORY,
            description="Shows how a persona was learned, as text and as a picture of its loss.",
            is_output_node=True,
            inputs=[sockets.Persona.Input("persona", tooltip="Any persona.")],
            outputs=[
                io.String.Output(display_name="text", tooltip="Its settings, one a line."),
                io.Image.Output(
                    display_name="loss", tooltip="The loss over the steps: it should fall, then level off."
                ),
            ],
        )

    @classmethod
    def execute(cls, persona: Persona) -> io.NodeOutput:
        text, chart = described(persona), loss_chart(persona.losses, persona.steps)
        return io.NodeOutput(text, chart, ui={**ui.PreviewImage(chart, cls=cls).as_dict(), "text": (text,)})


NODES = [LoadPersona, SavePersona, PersonaInfo]
