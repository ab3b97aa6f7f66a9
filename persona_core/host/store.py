"""Personas on disk, in the folders that ComfyUI knows: written whole, found again, nothing lost."""

import errno
import io
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import folder_paths
import yaml
from comfy.cli_args import args
from filelock import FileLock, Timeout
from PIL import Image
from torch import Tensor

from ..file_names import is_hidden
from ..files import QUOTED, TEMPORARY, PersonaFileError, write_whole
from ..kept import EXTENSION, is_of, kept_names, places_of
from ..persona import Persona
from ..photos import rgb
from ..pixels import to_pil
from .messages import log

FOLDER = "personas"
PICTURES = (".png", ".webp", ".jpg", ".jpeg", ".preview.png")  # beside a persona's file, as ComfyUI finds them
PICTURE_SIZE = 512
RECENT = 0.2  # seconds
LOCK = ".lock"  # in each folder of personas
PATIENCE = 60  # seconds, for whoever holds it
FRESH = ".new"  # the ending of a file that is not yet whole, or not yet in its place
LEFT = re.compile(rf"\..+-(?:[0-9a-f]{{12}}\{FRESH}|[a-z0-9_]{{8}}\{TEMPORARY})")  # fresh_path, files.write_whole
LEFT_OVER = 3600  # seconds
ADVICE = (
    ({errno.ENOSPC, errno.EDQUOT, errno.EFBIG}, "Free some space"),
    ({errno.EACCES, errno.EPERM, errno.EROFS}, "Allow ComfyUI to write there, or give it another folder of personas"),
    ({errno.EBUSY}, "Wait for it, or end it if it hangs"),
    ({errno.ENAMETOOLONG, errno.ENOENT}, "Choose a shorter name"),  # the latter where Windows takes 260 letters at most
)


def register_folder() -> None:
    """Make models/personas known to ComfyUI, before the folders of extra_model_paths.yaml, but for its default."""
    ours = str(Path(folder_paths.models_dir) / FOLDER)
    folder_paths.add_model_folder_path(FOLDER, ours, is_default=not another_is_default())
    paths, _ = folder_paths.folder_names_and_paths[FOLDER]
    folder_paths.folder_names_and_paths[FOLDER] = (paths, {EXTENSION})


def another_is_default() -> bool:
    """Whether a section of extra_model_paths.yaml with a personas folder says is_default: ComfyUI keeps no note."""
    files = [Path(folder_paths.__file__).with_name("extra_model_paths.yaml")]
    files += [Path(file) for given in args.extra_model_paths_config or () for file in given]
    sections = [
        section
        for file in files
        if file.is_file()
        for section in (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).values()
    ]
    return any(section.get("is_default") and section.get(FOLDER) for section in sections if section)


def path_for(name: str) -> Path:
    """Where a persona of this checked name is written."""
    return Path(folder_paths.get_folder_paths(FOLDER)[0]) / f"{name}{EXTENSION}"


def save(persona: Persona, path: Path) -> Persona:
    """Write a persona and read it back; what the file then holds is what is returned.

    A different persona that has this name already is kept beside it, under `kept_path`. A link in the place of the file
    is replaced, not followed: a copy of what it shows is kept. Raises OSError with a sentence, and then what was there
    is still there.
    """
    with alone(persona.name, path):
        return write(persona, path)


@contextmanager
def alone(name: str, path: Path) -> Iterator[None]:
    """No other ComfyUI saves there meanwhile; one that is killed frees the lock. Raises OSError with a sentence."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(LOCK), timeout=PATIENCE, mode=0o666):  # each user of a shared folder may lock it
            yield
    except Timeout:
        held = OSError(errno.EBUSY, f"another ComfyUI has held {LOCK} there for {PATIENCE} seconds")
        raise cannot_save(name, path, held) from None
    except OSError as error:
        raise cannot_save(name, path, error) from error


def write(persona: Persona, path: Path) -> Persona:
    """As `save`, by whoever is alone there."""
    fresh = fresh_path(path)
    try:
        clear_leftovers(path.parent)
        persona.save(fresh)
        saved = Persona.load(fresh)
        put(fresh, path, keep_other(path, saved))
        look_for_pictures.cache_clear()  # one may lie there already
        return saved
    finally:
        with suppress(OSError):  # it has its place, or could not even be looked for
            fresh.unlink()


def fresh_path(path: Path) -> Path:
    """Where what will lie at `path` is written: a name of its own for each writer."""
    return path.with_name(f".{path.stem}-{uuid.uuid4().hex[:12]}{FRESH}")


def clear_leftovers(folder: Path) -> None:
    """Take away what killed writers left: nobody writes for an hour. Unfinished learning is none of it."""
    for file in folder.glob(".*"):
        if LEFT.fullmatch(file.name):
            with suppress(OSError):  # another's, or another ComfyUI was first
                if time.time() - file.stat().st_mtime > LEFT_OVER:
                    file.unlink()


def keep_settings(persona: Persona, settings: Mapping[str, object]) -> bool:
    """Write more settings into the persona's own files, in whichever folders; False where it has none.

    Raises OSError as `save`.
    """
    names = [file for file in listed() if is_of(Path(file).name, persona.name, persona.fingerprint)]
    places = [path for name in names if (path := place_of(name))]
    found = [(saved, path) for path in places if (saved := read(path)) and saved.learned == persona.learned]
    for saved, path in found:
        if not settings.items() <= saved.settings.items():
            with alone(saved.name, path):
                now = read(path) if path.is_file() else None  # another may have saved there meanwhile
                if now and now.learned == persona.learned:
                    write(replace(now, settings={**now.settings, **settings}), path)
    return bool(found)


def check_writable(name: str, path: Path) -> None:
    """Raise OSError with a sentence, before hours of learning, where a persona could not be saved."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = fresh_path(path)
        fresh.touch()
        fresh.unlink()
    except OSError as error:
        raise cannot_save(name, path, error) from error
    with alone(name, path):
        pass


def cannot_save(name: str, path: Path, error: OSError) -> OSError:
    advice = next((what for kinds, what in ADVICE if error.errno in kinds), "Choose another name")
    why = error.strerror or error
    place = str(path) if len(str(path)) <= QUOTED else f"{str(path)[:QUOTED]}..."
    return OSError(f"The persona '{name}' could not be saved to {place} ({why}). {advice}, then run again.")


def keep_other(path: Path, persona: Persona) -> Path | None:
    """Where what is at `path` is kept, if that is not this persona; None if there is no other.

    The same fingerprint does not make it the same: files say what they like, and another machine learns other numbers.
    """
    if not (path.is_file() or path.is_symlink()):
        return None
    other = read(path)
    if other and other.learned == persona.learned:
        return None
    kept = kept_path(path, other)
    if not path.is_symlink():
        kept.unlink(missing_ok=True)  # the same persona, or a link to it
        with suppress(OSError):  # so that there is one under the name at each moment; exFAT has no such links
            os.link(path, kept)
    elif other and not is_own(kept):  # a link may lead to the only copy, or to what changes later
        write_whole(kept, path.read_bytes())
    return kept


def put(fresh: Path, path: Path, kept: Path | None) -> None:
    """Put what is written into its place; what was there is then at `kept`, with its pictures. Raises OSError, and then
    all is where it was."""
    try:
        if kept:
            move_pictures(path, kept)  # first: whoever is killed here leaves no picture beside somebody else
            if not os.path.lexists(kept):
                path.replace(kept)
        fresh.replace(path)
    except OSError:  # such as where Windows has the file open
        if kept:
            move_pictures(kept, path)
            if not os.path.lexists(path):
                kept.replace(path)
        raise


def kept_path(path: Path, other: Persona | None) -> Path:
    """Where a persona goes that has to make room for another of its name; None: what cannot be read."""
    names = kept_names(path.stem, other.fingerprint if other else "")
    places = (path.with_name(f"{name}{EXTENSION}") for name in names)
    return next(place for place in places if not os.path.lexists(place) or (other and is_same(place, other)))


def is_own(place: Path) -> bool:
    """Whether a file is there, and not a link to one."""
    return place.is_file() and not place.is_symlink()


def is_same(place: Path, persona: Persona) -> bool:
    return bool((there := read(place)) and there.learned == persona.learned)


def move_pictures(path: Path, kept: Path) -> None:
    """What lies beside `path` shows the persona that is now at `kept`. Somebody may look at it, and hold it fast."""
    for picture, mine in zip(pictures_of(path), pictures_of(kept), strict=True):
        try:
            if picture.is_file():
                picture.replace(mine)
        except OSError as error:
            log.warning("'%s' shows the persona that is now %s: %s", picture.name, kept.name, error)


def pictures_of(path: Path) -> list[Path]:
    """Where the picture of the persona at `path` may lie."""
    return [path.with_name(f"{path.stem}{ending}") for ending in PICTURES]


def pictured() -> dict[str, float]:
    """The personas that have a picture, by their names in ComfyUI's list, and when it was last changed.

    The host asks for a node's schema many times in a prompt: folders are looked through once in RECENT seconds.
    """
    return look_for_pictures(tuple(folder_paths.get_folder_paths(FOLDER)), time.monotonic() // RECENT)


@lru_cache(maxsize=1)
def look_for_pictures(roots: tuple[str, ...], moment: float) -> dict[str, float]:
    found = {}
    for root in reversed(roots):  # of two of one name, ComfyUI takes the first
        for folder, _, files in os.walk(root, followlinks=True):
            for file in files:
                place = os.path.join(folder, file)
                ending = next((one for one in reversed(PICTURES) if file.endswith(one)), None)
                if ending and not file.startswith(".") and os.path.isfile(place):
                    name = os.path.relpath(place.removesuffix(ending), root)
                    with suppress(OSError):  # it has gone meanwhile
                        found[f"{name}{EXTENSION}"] = os.path.getmtime(place)
    return found


def save_picture(image: Tensor, path: Path) -> None:
    """Write a picture [H, W, C] beside the persona at `path`, small and without metadata. Raises OSError."""
    picture = to_pil(rgb(image).cpu().float())
    picture.thumbnail((PICTURE_SIZE, PICTURE_SIZE), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    picture.save(content, "PNG")
    place = pictures_of(path)[0]
    try:
        write_whole(place, content.getvalue())
        look_for_pictures.cache_clear()
    except OSError as error:
        raise cannot_save(path.stem, place, error) from error


def listed() -> list[str]:
    """The personas in ComfyUI's list."""
    files = folder_paths.get_filename_list(FOLDER)
    return [file for file in files if not is_hidden(file)]


def place_of(file: str) -> Path | None:
    """Where a file in ComfyUI's list lies; None where there is none. Links are followed, as ComfyUI does."""
    place = folder_paths.get_full_path(FOLDER, file)
    return Path(place) if place and not is_hidden(file) else None


def find(
    name: str, fingerprint: str, suits: Callable[[Persona], bool] = bool, folders: Iterable[Path] | None = None
) -> tuple[Persona, Path] | tuple[None, None]:
    """The persona of this name, now or earlier, that was learned from the same inputs and suits, and its file. folders:
    those to look in; None: ComfyUI's."""
    for root in map(Path, folder_paths.get_folder_paths(FOLDER)) if folders is None else folders:
        for path in places_of(root, name, fingerprint):
            saved = read(path) if path.is_file() else None
            if saved and saved.fingerprint == fingerprint and suits(saved):
                return saved, path
    return None, None


def read(path: Path) -> Persona | None:
    """None where it cannot be read, which the log says."""
    try:
        return Persona.load(path)
    except (PersonaFileError, FileNotFoundError) as error:
        log.warning("%s", error)
        return None
