"""Results of the quality measurement as a page: the table and the contact sheets."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file

from bench.pages import made, markdown, with_error
from bench.results import BASELINES, CEILING, FLOOR, People, Results, baseline_of, difference, leak, mean_of
from miniworld.measuring import PROMPTS
from miniworld.sheet import sheet

SHOWN = 4  # people on each contact sheet

INTRODUCTION = """# How well it works, measured in a small world

Written by `make bench-quality` ({made}). It says nothing about how good pictures of real checkpoints are: it says
whether the method does what it should, and what each of its parts is worth, where both can be measured.

The world is made of drawn faces, 32 pixels wide. A small diffusion model that knows 300 of its people by name runs
in ComfyUI. People whom it has never seen are learned from one drawing each and painted in the prompts below.
Everything was learned with {settings}. Pictures were painted in bfloat16.
{pairs}
- **ID similarity**: 0 = a stranger, 1 = the same person drawn again, told by an encoder that has seen drawings only.
  On drawings of strangers its cosine is {same_mean:.2f} ± {same_std:.2f} (standard deviation) for the same person and
  {other_mean:.2f} ± {other_std:.2f} for two people; equal error rate {equal_error_rate:.1%}.
- **From floor to ceiling**: the same, where 0 % is the plain prompt and 100 % a person whom the model knows by name.
- **Prompt accuracy**: the share of pictures that show all that was asked for (prompt 1 asks for nothing), told by a
  reader that on drawings is right about the background in {background:.1%}, hat {hat:.1%}, glasses {glasses:.1%},
  expression {expression:.1%}.
- **ID(Prompt)**: ID similarity, counted 0 where the prompt was missed. Beside it, the mean difference from Textual
  Inversion for the same person after as many UNet passes, with its 95 % interval: at the learning rate of its paper,
  0.005, and at a slower one, 0.002.
- **Leak**: how much of the photo's background and of the face's place in it turns up unasked. 0 = as with the plain
  prompt, 1 = always.
- **Passes**: of the UNet while learning, each forward and backward.
- **Seconds**: of learning, on one CPU core each.

Means over people ± standard error.
{prompts}"""

PAIRS = """
K/V tokens were learned at rate 0.005 without TE, from the same prompts as the others and from the photo as it is,
where the row does not say otherwise: so rows differ in the method, not in what it is given. Their node begins at
*person*, with prompts that speak of a face, and with variants of the photo.
"""

SHEETS = """## The pictures

In each row the photo that was learned, then prompts 1 to 8, all with the same seed; of the first four people."""


def scores(people: People, reference: People | None) -> list[str]:
    """ID similarity, prompt accuracy and ID(Prompt) as cells, with the differences from a reference, if any."""
    cells = []
    for key in ("likeness", "obeyed", "identity_if_obeyed"):
        cell = with_error([getattr(result, key) for result in people.values()])
        if reference is not None:
            middle, half = difference(people, reference, key)
            cell += f" ({middle:+.3f}: {middle - half:+.3f} to {middle + half:+.3f})"
        cells.append(cell)
    return cells


def against_baselines(row: str, results: Results) -> list[str]:
    """The differences in ID(Prompt) from each of the BASELINES after as much learning, with their 95 % intervals."""
    found = []
    for baseline in BASELINES:
        rival = None if row.startswith(BASELINES) else baseline_of(row, baseline, results)
        if rival is None:
            found.append("")
            continue
        middle, half = difference(results[row], results[rival], "identity_if_obeyed")
        found.append(f"{middle:+.3f} ({middle - half:+.3f} to {middle + half:+.3f})")
    return found


HEADINGS = (
    "", "ID similarity", "from floor to ceiling", "prompt accuracy", "ID(Prompt)",
    "against Textual Inversion at 0.005", "and at 0.002", "leak", "passes", "seconds", "file, KB", "people",
)  # fmt: skip


def table(results: Results, titles: Mapping[str, str]) -> str:
    """The table as Markdown. The rows FLOOR and CEILING must be there."""
    floor, ceiling = (mean_of(results[row], "likeness") for row in (FLOOR, CEILING))
    lines = [HEADINGS, ["---"] * len(HEADINGS)]
    for row, people in results.items():
        found, learned = list(people.values()), row not in (FLOOR, CEILING)
        way = (mean_of(people, "likeness") - floor) / (ceiling - floor)
        lines.append([
            titles[row],
            with_error([result.likeness for result in found]),
            f"{way:.0%}",
            with_error([result.obeyed for result in found]),
            with_error([result.identity_if_obeyed for result in found]),
            *(against_baselines(row, results) if learned else [""] * len(BASELINES)),
            with_error(leak(results, row)) if learned else "",
            str(found[0].passes) if learned else "",
            f"{mean_of(people, 'seconds'):.0f}" if learned else "",
            f"{found[0].size / 1000:.1f}" if learned else "",
            str(len(found)),
        ])  # fmt: skip
    return markdown(lines)


def write(
    page: Path, results: Results, titles: Mapping[str, str], folder: Path, settings: str, figures: Mapping[str, float]
) -> None:
    """The page (Markdown) and, in a folder of its name beside it, a contact sheet for every row.

    folder: where the results' pictures lie. settings: how was learned and painted. figures: the instruments' own.
    """
    sheets = page.with_suffix("")
    prompts = "".join(f"\n{number}. `{prompt.format('<ann>')}`" for number, prompt in enumerate(PROMPTS, 1))
    pairs = PAIRS if any(row.startswith("kv") for row in results) else ""
    introduction = INTRODUCTION.format(settings=settings, made=made(), prompts=prompts, pairs=pairs, **figures)
    parts = [introduction, table(results, titles), SHEETS]
    for row, people in results.items():
        shown = [load_file(folder / f"{row}-{person:02}.safetensors")["shown"] for person in sorted(people)[:SHOWN]]
        sheet(torch.cat(shown) / 255, 1 + len(PROMPTS), sheets / f"{row}.png", enlarge=2)
        parts.append(f"### {titles[row]}\n\n![{row}]({sheets.name}/{row}.png)")
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
