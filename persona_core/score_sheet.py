"""Scores as an artist reads them: a table, a sentence, the pictures with their figures."""

from statistics import mean

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .faces.extraction import CHOSEN, OTHER
from .likeness import PictureScore, Reference, Scores
from .pixels import from_pil, to_pil

NOBODY = "no face"
STRIP, INK = (24, 24, 24), (240, 240, 240)


def figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def table(scores: Scores) -> str:
    """A line a picture, best first, by its number in the batch, counted from 0; the means last."""
    lines = [("picture", "id", "prompt", "ID(Prompt)", "faces")]
    for number in scores.order:
        one = scores.pictures[number]
        of_prompt = figure(scores.id_prompt_of(one))
        lines.append((str(number), figure(one.id), figure(one.prompt), of_prompt, str(len(one.faces))))
    share = f"{scores.detect:.0%} have one"
    lines.append(("mean", figure(scores.id), figure(scores.prompt), figure(scores.id_prompt), share))
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths)) for line in lines)


def meaning_of_id(scores: Scores, reference: Reference) -> str:
    """What the mean likeness says, between strangers and the reference itself."""
    found = sum(one.id is not None for one in scores.pictures)
    if scores.id is None:
        return f"No face in any of {found_in(len(scores.pictures))}."
    parts = []
    if reference.floor:
        parts.append(
            f"strangers {mean(reference.floor):.3f}, the nearest of {len(reference.floor)} {max(reference.floor):.3f}"
        )
    if reference.ceiling:
        parts.append(f"the reference itself in other light and sharpness {mean(reference.ceiling):.3f}")
    share = reference.share(scores.id)
    way = "" if share is None else f": {share:.0%} of the way"
    return f"id {scores.id:.3f}, of {found_in(found)} with a face ({'; '.join(parts)}){way}."


def meaning_of_prompt(scores: Scores, unrelated: float) -> str:
    """unrelated: the mean CLIP score of the same pictures with texts that say something else."""
    kept = sum(one.prompt is not None and one.prompt >= scores.threshold for one in scores.pictures)
    return (
        f"prompt {figure(scores.prompt)} (unrelated texts {unrelated:.3f}): {kept} of {found_in(len(scores.pictures))} "
        f"reach {scores.threshold:g}."
    )


def found_in(pictures: int) -> str:
    return f"{pictures} picture{'s' * (pictures != 1)}"


def with_figures(image: Tensor, score: PictureScore, place: int) -> Tensor:
    """image [H, W, 3] in 0..1 with each face's box and likeness, the likest green, and below it a strip with the
    picture's figures. place: from 1, the best."""
    picture = to_pil(image)
    line, letter = max(2, min(picture.size) // 250), max(12, min(picture.size) // 25)
    font = ImageFont.load_default(letter)
    draw = ImageDraw.Draw(picture)
    for face, likeness in zip(score.faces, score.likenesses):
        color = CHOSEN if likeness == score.id else OTHER
        draw.rectangle(face.box, outline=color, width=line)
        corner = max(face.box[0], 0) + 2 * line, max(face.box[1], 0) + line
        draw.text(corner, f"{likeness:.2f}", color, font, stroke_width=max(1, line // 2), stroke_fill=(0, 0, 0))
    said = [f"{place}.", NOBODY if score.id is None else f"id {score.id:.2f}"]
    said += [f"prompt {score.prompt:.2f}"] if score.prompt is not None else []
    return from_pil(over_strip(picture, said, font, letter))


def over_strip(picture: Image.Image, words: list[str], font: ImageFont.ImageFont, letter: int) -> Image.Image:
    """The picture over a strip with the words, in two lines, so that small pictures have room for them."""
    whole = Image.new("RGB", (picture.width, picture.height + 3 * letter), STRIP)
    whole.paste(picture)
    lines = " ".join(words[:2]), " ".join(words[2:])
    ImageDraw.Draw(whole).text((letter // 2, picture.height + letter // 4), "\n".join(lines), INK, font)
    return whole


def sheet(images: Tensor, scores: Scores) -> Tensor:
    """The pictures [B, H, W, 3] of a batch with their figures, best first: [B, H + strip, W, 3]."""
    places = enumerate(scores.order, start=1)
    return torch.stack([with_figures(images[number], scores.pictures[number], place) for place, number in places])
