"""Pictures where ComfyUI keeps them: a free name in the output folder, what is written into them, the input folder."""

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import folder_paths
from comfy.cli_args import args
from torch import Tensor

from .. import watermark
from ..files import shown, write_whole
from ..photos import rgb
from ..pixels import to_pil
from ..provenance import LARGEST_PICTURE, marked_png

PLACES = {
    "yyyy": "%Y", "yy": "%y", "MM": "%m", "dd": "%d", "hh": "%H", "mm": "%M", "ss": "%S",
}  # fmt: skip
UNUSABLE = r'[/?<>\\:*|"\x00-\x1f\x7f]'  # in a file's name, as the editor has it


def check_prefix(prefix: str) -> None:
    """Raise ValueError, before hours of painting, for a prefix that leaves the output folder."""
    output = os.path.abspath(folder_paths.get_output_directory())
    try:
        place = os.path.abspath(os.path.join(output, os.path.dirname(os.path.normpath(prefix))))
        inside = os.path.commonpath((output, place)) == output and "\0" not in prefix
    except ValueError:  # another drive
        inside = False
    if not inside:
        raise ValueError(
            f"filename_prefix is {shown(prefix, 80)}, which lies outside of ComfyUI's output folder. Use a name, or "
            "folders and a name, such as people/ann."
        )


def filled_in(prefix: str, prompt: Mapping[str, Mapping]) -> str:
    """A prefix with %date:yyyy-MM-dd% and %Node.input% replaced, as editors do for ComfyUI's own nodes only."""

    def value(found: re.Match) -> str:
        asked = found[1]
        if asked.startswith("date:"):
            moment = re.sub("|".join(PLACES), lambda one: time.strftime(PLACES[one[0]]), asked.removeprefix("date:"))
            return re.sub(UNUSABLE, "_", moment)
        title, _, name = asked.rpartition(".")
        for node in prompt.values():
            called = {node.get("class_type"), (node.get("_meta") or {}).get("title")}
            if title in called and not isinstance(given := node["inputs"].get(name), (list, type(None))):
                return re.sub(UNUSABLE, "_", str(given))
        return found[0]

    return re.sub("%(date:[^%]+|[^%]+[.][^%.]+)%", value, prefix)


def save(
    images: Tensor,
    prefix: str,
    prompt: Mapping[str, Mapping],
    extra_pnginfo: Mapping[str, object] | None,
    sign: Callable[[bytes], bytes] | None,
    watermarked: bool = False,
) -> tuple[list[tuple[str, str]], int]:
    """Write pictures [B, H, W, C] as Save Image does, with the mark: the names of the files and of their folder, and
    how many carry the watermark.

    sign: given each file as it would be. watermarked: in the pixels, too. Raises ValueError, and OSError, with a
    sentence.
    """
    prefix, written = filled_in(prefix, prompt), texts(prompt, extra_pnginfo)
    check_prefix(prefix)
    output, (height, width) = folder_paths.get_output_directory(), images.shape[1:3]
    saved, carrying = [], 0
    try:
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, output, width, height)
        for number, image in enumerate(images if images.shape[-1] == 4 else rgb(images)):
            picture = to_pil(image.cpu().float())
            if watermarked:
                picture = watermark.marked(picture)
                carrying += watermark.carries(picture)
            content = marked_png(picture, written)
            file = f"{name.replace('%batch_num%', str(number))}_{counter + number:05}_.png"
            write_whole(Path(folder) / file, sign(content) if sign else content)
            saved.append((file, subfolder))
    except OSError as error:
        raise OSError(
            f"The picture could not be saved as {shown(prefix, 80)} ({error.strerror or error}). Free some space, let "
            "ComfyUI write there, or choose another filename_prefix. Then run again: nothing is painted anew."
        ) from error
    return saved, carrying


def writes_metadata() -> bool:
    """Unless ComfyUI is told to write none into pictures."""
    return not args.disable_metadata


def texts(prompt: object, extra_pnginfo: Mapping[str, object] | None) -> dict[str, str]:
    """What ComfyUI writes into a picture, unless --disable-metadata is on."""
    if not writes_metadata():
        return {}
    told = {"prompt": prompt} if prompt else {}
    return {key: json.dumps(value) for key, value in {**told, **(extra_pnginfo or {})}.items()}


def path_of(file: str) -> Path:
    """Where a picture lies that the editor names, as Load Image does. Raises ValueError."""
    name, folder = folder_paths.annotated_filepath(file)
    folder = os.path.abspath(folder or folder_paths.get_input_directory())
    place = os.path.abspath(os.path.join(folder, name))
    if not place.startswith(folder + os.sep) or not os.path.isfile(place):
        raise ValueError(f"There is no picture {shown(file, 80)} in ComfyUI's input folder. Upload it, or press R.")
    return Path(place)


def content_of(path: Path) -> bytes:
    """Raises ValueError for what is too large to be looked at, or cannot be read."""
    try:
        if path.stat().st_size > LARGEST_PICTURE:
            raise ValueError(
                f"{shown(path.name, 80)} is larger than {LARGEST_PICTURE // 2**20} MB, and is not looked at."
            )
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{shown(path.name, 80)} cannot be read ({error.strerror or error}).") from error


def uploaded() -> list[str]:
    """The pictures in the input folder."""
    folder = Path(folder_paths.get_input_directory())
    files = [file.name for file in folder.iterdir() if file.is_file()] if folder.is_dir() else []
    return sorted(folder_paths.filter_files_content_types(files, ["image"]))
