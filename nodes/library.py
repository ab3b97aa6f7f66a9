"""Personas on disk: Load Persona, Save Persona, Persona Info, and the folder they live in."""

import re
import tempfile
import uuid
from dataclasses import replace
from pathlib import Path, PurePosixPath

import folder_paths
import yaml
from comfy.cli_args import args
from comfy_api.latest import io, ui
from filelock import FileLock

from ..persona_core.charts import loss_chart
from ..persona_core.host.telling import log
from ..persona_core.persona import Persona, PersonaFileError
from . import sockets

FOLDER, EXTENSION = "personas", ".safetensors"
LOCK = ".lock"  # in each folder of personas


def register_folder() -> None:
    """Make models/personas known to ComfyUI, before the folders that extra_model_paths.yaml names, but for its default."""
    ours = str(Path(folder_paths.models_dir) / FOLDER)
    folder_paths.add_model_folder_path(FOLDER, ours, is_default=not another_is_default())
    paths, _ = folder_paths.folder_names_and_paths[FOLDER]
    folder_paths.folder_names_and_paths[FOLDER] = (paths, {EXTENSION})


def another_is_default() -> bool:
    """Whether a section of extra_model_paths.yaml with a personas folder says is_default. ComfyUI keeps no note of it."""
    files = [Path(folder_paths.__file__).with_name("extra_model_paths.yaml")]
    files += [Path(file) for given in args.extra_model_paths_config or () for file in given]
    sections = [
        section
        for file in files
        if file.is_file()
        for section in (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).values()
    ]
    return any(section.get("is_default") and section.get(FOLDER) for section in sections if section)


def check_name(name: str, folders: bool) -> str:
    """A persona's name without its extension. folders: whether "friends/ann" is one. Raises ValueError."""
    parts = PurePosixPath(name.strip().replace("\\", "/").removesuffix(EXTENSION)).parts
    if not parts:
        raise ValueError("The persona's name is empty. Give it one, such as 'ann': the file will be ann.safetensors.")
    if len(parts) > 1 and not folders:
        raise ValueError(
            f"The name '{name}' must be a plain name without folders, such as '{parts[-1]}'. Save Persona can put it into a sub-folder."
        )
    for part in parts:
        if (
            part in (".", "..", "/")
            or re.search(r"[<>:\"/\\|?*\x00-\x1f]", part)
            or len(part.encode()) > 120
            or part[0] in " ."
            or part[-1] in " ."
        ):
            raise ValueError(
                f"'{part}' in the name '{name}' cannot be a file's name. Use letters, digits, spaces, '-' and '_'."
            )
    return "/".join(parts)


def path_for(name: str) -> Path:
    """Where a persona of this checked name is written."""
    return Path(folder_paths.get_folder_paths(FOLDER)[0]) / f"{name}{EXTENSION}"


def save(persona: Persona, path: Path) -> Persona:
    """Write a persona and read it back; what the file then holds is what is returned.

    A different persona that has this name already is kept beside it, under `kept_path`. Raises OSError with a
    sentence, and then what was there is still there.
    """
    fresh = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:12]}.new")
    try:
        persona.save(fresh)
        saved = Persona.load(fresh)
        with FileLock(path.with_name(LOCK)):  # another ComfyUI may save into this folder; a killed one frees the lock
            keep_other(path, persona.fingerprint)
            fresh.replace(path)
        return saved
    except OSError as error:
        raise cannot_save(persona.name, path, error) from error
    finally:
        if fresh.is_file():  # not where a file stands in the place of a folder
            fresh.unlink()


def check_writable(name: str, path: Path) -> None:
    """Raise OSError with a sentence, before hours of learning, where a persona could not be saved."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise cannot_save(name, path, error) from error


def cannot_save(name: str, path: Path, error: OSError) -> OSError:
    why = error.strerror or error
    return OSError(
        f"The persona '{name}' could not be saved to {path} ({why}). Free some space or choose another name, "
        "then run again."
    )


def kept_path(path: Path, fingerprint: str) -> Path:
    """Where a persona goes that had to make room for another of its name."""
    return path.with_name(f"{path.stem}.{fingerprint[:8]}{EXTENSION}")


def keep_other(path: Path, fingerprint: str) -> None:
    if not path.is_file():
        return
    try:
        other = Persona.load(path).fingerprint
    except PersonaFileError:
        other = "damaged"
    if other != fingerprint:
        path.rename(kept_path(path, other))


def find(name: str, fingerprint: str) -> tuple[Persona | None, Path | None]:
    """The persona of this name, now or earlier, that was learned from the same inputs, and its file."""
    own = Path(f"{name}{EXTENSION}")
    for file in (own.name, kept_path(own, fingerprint).name):
        if place := folder_paths.get_full_path(FOLDER, file):
            try:
                persona = Persona.load(Path(place))
            except PersonaFileError as error:
                log.warning("'%s' is passed over: %s", file, error)
                continue
            if persona.fingerprint == fingerprint:
                return persona, Path(place)
    return None, None


class LoadPersona(io.ComfyNode):
    """A persona's file to PERSONA."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaLoad",
            display_name="Load Persona",
            category=sockets.CATEGORY,
            description="Loads a persona that was learned before. Press R after copying a file into models/personas.",
            inputs=[
                io.Combo.Input(
                    "persona_name",
                    options=folder_paths.get_filename_list(FOLDER),
                    tooltip="A file in models/personas or one of its sub-folders.",
                )
            ],
            outputs=[
                sockets.Persona.Output(
                    display_name="persona", tooltip="To Apply Stage-Regulated Embedding or Persona Info."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, persona_name: str) -> bool | str:
        if folder_paths.get_full_path(FOLDER, persona_name):
            return True
        searched = ", ".join(folder_paths.get_folder_paths(FOLDER))
        there = ", ".join(folder_paths.get_filename_list(FOLDER)[:10]) or "no persona yet"
        return f"There is no persona '{persona_name}'. Searched: {searched}; found: {there}. Learn it, or copy its file there and press R."

    @classmethod
    def fingerprint_inputs(cls, persona_name: str) -> str:
        stat = Path(folder_paths.get_full_path_or_raise(FOLDER, persona_name)).stat()
        return f"{stat.st_mtime_ns} {stat.st_size}"

    @classmethod
    def execute(cls, persona_name: str) -> io.NodeOutput:
        return io.NodeOutput(Persona.load(Path(folder_paths.get_full_path_or_raise(FOLDER, persona_name))))


class SavePersona(io.ComfyNode):
    """PERSONA to a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaSave",
            display_name="Save Persona",
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
            ],
            outputs=[io.String.Output(display_name="path", tooltip="Where the file lies.")],
        )

    @classmethod
    def execute(cls, persona: Persona, name: str) -> io.NodeOutput:
        name = check_name(name, folders=True)
        path = path_for(name)
        save(replace(persona, name=PurePosixPath(name).name), path)
        return io.NodeOutput(str(path), ui=ui.PreviewText(str(path)))


class PersonaInfo(io.ComfyNode):
    """What a persona is and how it was learned."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaInfo",
            display_name="Persona Info",
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
        text, chart = describe(persona), loss_chart(persona.losses, persona.settings["steps"])
        return io.NodeOutput(text, chart, ui={**ui.PreviewImage(chart, cls=cls).as_dict(), "text": (text,)})


def describe(persona: Persona) -> str:
    """A persona's facts, one a line."""
    facts = {
        "name": persona.name,
        **persona.representation.facts(),
        "learned for": persona.family,
        "supercategory": persona.supercategory,
        **persona.settings,
        "last losses": ", ".join(f"{name} {values[-1]:.4g}" for name, values in persona.losses.items() if values),
        "fingerprint": persona.fingerprint,
    }
    return "\n".join(f"{name}: {value}" for name, value in facts.items())


NODES = [LoadPersona, SavePersona, PersonaInfo]
