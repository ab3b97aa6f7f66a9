"""Scores as an artist reads them: a table, a sentence, the pictures with their figures."""

from collections.abc import Sequence
from statistics import mean

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .faces.extraction import CHOSEN, OTHER
from .likeness import PictureScore, Scores
from .pixels import to_pil, write

NOBODY = "no face"
STRIP, INK = (24, 24, 24), (240, 240, 240)
STRIP_LINES = 3  # letters high


def figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def table(scores: Scores, names: Sequence[str] = ()) -> str:
    """A line a picture, best first, by its name, or its number in the batch, counted from 0; the means last."""

    def line(name: str, likeness: float | None, prompt: float | None, id_prompt: float, faces: str) -> tuple[str, ...]:
        share = percent(scores.reference.share(likeness))
        return name, figure(likeness), share, figure(prompt), figure(id_prompt), faces

    lines: list[tuple[str, ...]] = [("picture", "id", "of the way", "prompt", "ID(Prompt)", "faces")]
    for number in scores.order:
        one, name = scores.pictures[number], names[number] if names else str(number)
        lines.append(line(name, one.id, one.prompt, scores.id_prompt_of(one), str(len(one.faces))))
    found = f"{scores.detect:.0%} have one"
    lines.append(line("mean", scores.id, scores.prompt, scores.id_prompt, found))
    return in_columns(lines)


def in_columns(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths)) for line in lines)


def meaning_of_id(scores: Scores) -> str:
    """What the mean likeness says, between strangers and the reference itself."""
    found, reference = sum(one.id is not None for one in scores.pictures), scores.reference
    if scores.id is None:
        return f"No face in any of {count_of(len(scores.pictures))}."
    said = f"id {scores.id:.3f}, of {count_of(found)} with a face."
    if reference.floor:
        said += (
            f" Strangers: {mean(reference.floor):.3f}, the likest of {len(reference.floor)} {max(reference.floor):.3f}."
        )
    if reference.ceiling:
        said += f" The reference itself in other light and sharpness: {mean(reference.ceiling):.3f}."
    share = reference.share(scores.id)
    return said if share is None else f"{said} So it is {share:.0%} of the way from strangers to the reference."


def meaning_of_prompt(scores: Scores, unrelated: float) -> str:
    """unrelated: the mean CLIP score of the same pictures with texts that say something else."""
    kept = sum(one.prompt is not None and one.prompt >= scores.threshold for one in scores.pictures)
    return (
        f"prompt {figure(scores.prompt)} (unrelated texts {unrelated:.3f}): {kept} of {count_of(len(scores.pictures))} "
        f"reach {scores.threshold:g}."
    )


def count_of(pictures: int) -> str:
    return f"{pictures} picture{'s' * (pictures != 1)}"


def with_figures(image: Tensor, score: PictureScore, words: list[str], letter: int) -> Image.Image:
    """image [H, W, 3] in 0..1 with each face's box and likeness, the likest green, and below it a strip with words."""
    picture = to_pil(image)
    line = max(2, min(picture.size) // 250)
    font = ImageFont.load_default(letter)
    draw = ImageDraw.Draw(picture)
    for face, likeness in zip(score.faces, score.likenesses):
        color = CHOSEN if likeness == score.id else OTHER
        draw.rectangle(face.box, outline=color, width=line)
        above = face.box[1] - 1.4 * letter  # or inside, where there is no room
        corner = max(face.box[0], 0), above if above >= 0 else face.box[1] + line
        draw.text(corner, f"{likeness:.2f}", color, font, stroke_width=max(1, line // 2), stroke_fill=(0, 0, 0))
    return over_strip(picture, words, letter)


def over_strip(picture: Image.Image, lines: list[str], letter: int) -> Image.Image:
    """The picture over a strip with two lines."""
    whole = Image.new("RGB", (picture.width, picture.height + STRIP_LINES * letter), STRIP)
    whole.paste(picture)
    place = letter // 2, picture.height + letter // 4
    ImageDraw.Draw(whole).text(place, "\n".join(lines), INK, ImageFont.load_default(letter))
    return whole


def sheet(images: Tensor, scores: Scores) -> Tensor:
    """The pictures [B, H, W, 3] of a batch with their figures, best first: [B, H + strip, W, 3]."""
    (count, height, width, _), letter = images.shape, max(12, min(images.shape[1:3]) // 20)
    shown = torch.empty(count, height + STRIP_LINES * letter, width, 3)
    for place, number in enumerate(scores.order, start=1):
        score = scores.pictures[number]
        share = scores.reference.share(score.id)
        way = "" if share is None else f", {share:.0%}"
        said = NOBODY if score.id is None else f"id {score.id:.2f}{way}"
        prompt = "" if score.prompt is None else f"prompt {score.prompt:.2f}"
        write(with_figures(images[number], score, [f"{place}. {said}", prompt], letter), shown[place - 1])
    return shown
