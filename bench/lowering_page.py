"""Results of what lowers likeness, and of what helps, as a page: tables, and a contact sheet of one person."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

import torch
from safetensors.torch import load_file
from torch import Tensor

from bench.choices import Group
from bench.pages import made, markdown, with_error
from bench.quality_page import scores
from bench.results import CEILING, FLOOR, Results, interval
from bench.ways import table
from miniworld.measuring.asking import prompts_for
from miniworld.sheet import sheet

# On the contact sheet: of the photos, and of the prompts.
PHOTOS = "as_learned", "quarter", "afar", "afar_cropped", "sunglasses", "sunglasses_told", "hat", "unmasked"
SHOWN = 0, 4, 7, 15
REPAIRS = ("sunglasses", "sunglasses_told"), ("afar", "afar_cropped")  # a bad photo, and what is done about it

INTRODUCTION = """# What lowers likeness, and what helps, measured in a small world

Written by `make bench-lowering` ({made}). What it means for artists is told in [Is it her?](is-it-her.md). It says
nothing about how good pictures of real checkpoints are.

People {first} to {last} of the split *release*, whom no choice has seen, learned with Learn Persona's defaults (*auto*,
four tokens, with the mask, but the photo not cropped) where a row says nothing else. Prompts and scores as in
[quality.md](quality.md): likeness is 0 for a stranger and 1 for the same person drawn again. Means over people ±
standard error; in brackets the mean difference for the same person from the row named above the table, with its 95 %
interval. One that holds 0 cannot be told from chance. *Lost*: below a likeness of 0.6. *Leak*: how much of the photo
turns up unasked, 0 as with the plain word."""

PROMPTS = """## The prompt

The same people, from the photo as it should be: of each prompt {pictures} pictures a person ({each} of each of {seeds}
training seeds). Beside it people whom the model knows by a name, one picture each: what they lose is the painter's or
the instrument's. In brackets the difference from `a photo of a <ann>`. This world knows no painting styles; night is
the nearest to one."""

CHOOSING = """## Choosing

The same pictures. Chosen is by likeness to the one photo, which is all that an artist has; told is likeness to the same
person's other drawings, and the difference from the mean of all that there was to choose from. Seeds are chosen by
half of their pictures and told by the other half. The eye that chooses is the one that measures: with two different
ones the gain would be less."""


def stacked(tried: Sequence[Sequence[Mapping[str, Tensor]]]) -> dict[str, Tensor]:
    """Series of people and seeds as [people, seeds, pictures, prompts]."""
    return {name: torch.stack([torch.stack([one[name] for one in seeds]) for seeds in tried]) for name in tried[0][0]}


def with_interval(values: Sequence[float]) -> str:
    middle, half = interval(values)
    return f"{middle:+.3f}: {middle - half:+.3f} to {middle + half:+.3f}"


def by_prompt(found: Mapping[str, Tensor], ceiling: Tensor) -> str:
    """Prompts as Markdown, from the one that costs most likeness to the one that costs least. ceiling: [people,
    prompts]."""
    likeness, obeyed = (found[name].mean((1, 2)) for name in ("likeness", "obeyed"))
    lines: list[Sequence[str]] = [("", "ID similarity", "prompt accuracy", "somebody known by a name"), ("---",) * 4]
    for at in likeness.mean(0).argsort().tolist():
        told = with_error(likeness[:, at].tolist())
        if at:
            told += f" ({with_interval((likeness[:, at] - likeness[:, 0]).tolist())})"
        known = with_error(ceiling[:, at].tolist())
        prompt = list(prompts_for())[at].format("<ann>")
        lines.append((f"`{prompt}`", told, f"{obeyed[:, at].mean():.2f}" if at else "", known))
    return markdown(lines)


def best_pictures(found: Mapping[str, Tensor]) -> Tensor:
    """By how much the picture of each prompt that is most like the photo is above all of them: [people]."""
    likeness = found["likeness"]
    chosen = likeness.gather(2, found["to_photo"].argmax(2, keepdim=True))
    return (chosen - likeness.mean(2, keepdim=True)).mean((1, 2, 3))


def best_seeds(found: Mapping[str, Tensor]) -> Tensor:
    """By how much the seed whose pictures are most like the photo is above all seeds, in other pictures: [people]."""
    likeness, to_photo = (
        torch.stack([half.mean((2, 3)) for half in found[name].chunk(2, 2)]) for name in ("likeness", "to_photo")
    )  # [halves, people, seeds]
    chosen = likeness.flip(0).gather(2, to_photo.argmax(2, keepdim=True))[..., 0]
    return (chosen - likeness.flip(0).mean(2)).mean(0)


def apart(found: Mapping[str, Tensor]) -> float:
    """The standard deviation of the pictures of one prompt and persona, as a root mean square."""
    return found["likeness"].var(2).mean().sqrt().item()


def choosing(found: Mapping[str, Tensor]) -> str:
    _, seeds, pictures, _ = found["likeness"].shape
    lines = [("", "ID similarity, above all"), ("---", "---")]
    lines.append((f"the best of {pictures} pictures of a prompt", with_interval(best_pictures(found).tolist())))
    lines.append((f"the best of {seeds} training seeds", with_interval(best_seeds(found).tolist())))
    spread = f"Pictures of one prompt and persona differ by a standard deviation of {apart(found):.2f}."
    return f"{markdown(lines)}\n\n{spread}"


def ends(results: Results) -> str:
    """What there is to be reached."""
    titles = {FLOOR: "the plain word, whoever it paints", CEILING: "somebody whom the model knows by a name"}
    lines: list[Sequence[str]] = [("", "ID similarity", "prompt accuracy", "ID(Prompt)"), ("---",) * 4]
    lines += [(title, *scores(results[row], None)) for row, title in titles.items()]
    return markdown(lines)


def repairs(results: Results, photos: Group) -> str:
    """What was done about a bad photo, against the bad photo."""
    shown = []
    for bad, mended in REPAIRS:
        ways = {row: photos.ways[row] for row in (bad, mended)}
        shown.append(f"In brackets the difference from *{ways[bad].title}*.\n\n{table(results, ways, bad)}")
    worn = {row: "hat" if row == "hat" else "glasses" for row in (*REPAIRS[0], "hat")}
    shares = (mean(one.leaks[what] for one in results[row].values()) for row, what in worn.items())
    told = "The photo's sunglasses are in {:.0%} of the pictures unasked; told, in {:.0%}. Its hat is in {:.0%}."
    shown.append(told.format(*shares))
    return "\n\n".join(shown)


def photo_sheet(folder: Path, person: int, file: Path) -> None:
    """A row for each photo of a person: the photo, then what was painted of it."""
    columns = [0, *(1 + prompt for prompt in SHOWN)]
    rows = [load_file(folder / f"{row}-{person:02}.safetensors")["shown"][columns] for row in PHOTOS]
    sheet(torch.cat(rows) / 255, len(columns), file, enlarge=1)


def write(
    page: Path,
    sheets: Path,
    folder: Path,
    groups: Sequence[Group],
    results: Results,
    tried: Sequence[Sequence[Mapping[str, Tensor]]],
    ceiling: Tensor,
) -> None:
    """The page, and the contact sheet in the folder `sheets`. folder: where the results lie. groups: tables, the
    photo's first. tried: series of people and seeds. ceiling: likeness [people, prompts] of those known by name."""
    photos, found, people = groups[0], stacked(tried), sorted(results[FLOOR])
    _, seeds, pictures, _ = found["likeness"].shape
    parts = [INTRODUCTION.format(made=made(), first=people[0], last=people[-1]), ends(results)]
    for group in groups:
        against = f"In brackets the difference from *{group.ways[group.against].title.replace('*', '')}*."
        parts.append(f"## {group.title}\n\n{against}\n\n{table(results, group.ways, group.against)}")
        if group is photos:
            parts.append(repairs(results, photos))
    parts.append(PROMPTS.format(pictures=seeds * pictures, each=pictures, seeds=seeds))
    parts += [by_prompt(found, ceiling), CHOOSING, choosing(found)]
    photo_sheet(folder, people[0], sheets / "photo.jpg")
    asked = ", ".join(f"`{list(prompts_for())[at].format('<ann>')}`" for at in SHOWN)
    shown = "; ".join(photos.ways[row].title for row in PHOTOS)
    parts.append(f"## One person\n\nFrom top to bottom: {shown}. The photo, then {asked}.")
    parts.append(f"![One person, learned from each photo]({sheets.name}/photo.jpg)")
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
