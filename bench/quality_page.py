"""Results of the quality measurement as a page: the table and the contact sheets."""

from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev

import torch
from safetensors.torch import load_file

from bench.pages import made, markdown, with_error
from bench.results import (
    BASELINES,
    CEILING,
    FLOOR,
    OUT_OF_REACH,
    UNLEARNED,
    People,
    Results,
    baseline_of,
    difference,
    floor_of,
    leaks,
    lost,
    mean_of,
    out_of_reach,
)
from miniworld.measuring.asking import prompts_for
from miniworld.measuring.scoring import LEAKS
from miniworld.sheet import sheet

SHOWN = 4  # subjects on each contact sheet
ASKED_FOR = "place", "time", "hat", "hat colour", "glasses", "clothes", "colour", "expression", "turn", "light"
CEILINGS = {"person": CEILING, "cat": "named_cat"}

INTRODUCTION = """# How well it works, measured in a small world

Written by `make bench-quality` ({made}). It says nothing about how good pictures of real checkpoints are: it says
whether the method does what it should, and what each of its parts is worth, where both can be measured.

The world is made of drawn people and cats, 128 pixels wide. A small latent diffusion model of the kind of SD1.5 that
knows a thousand of them by name runs in ComfyUI. Others, whom it has never seen, are learned from one drawing each and
painted in the prompts below. Everything was learned {settings}.

- **ID similarity**: 0 = a stranger, 1 = the same person drawn again, told by an encoder that has seen drawings only.
- **From floor to ceiling**: the same, where 0 % is the plain prompt and 100 % somebody whom the model knows by name.
- **Prompt accuracy**: the share of pictures that show all that was asked for (the first prompt asks for nothing).
- **ID(Prompt)**: ID similarity, counted 0 where the prompt was missed. Beside it how far people are apart (standard
  deviation), and the mean difference from Textual Inversion for the same person after as many passes, with its 95 %
  interval: at the learning rate of its paper, 0.005, and at a slower one, 0.002.
- **Lost**: the share of people whose ID similarity stays below {out_of_reach}, and the worst of them.
- **Leak**: how much of the photo turns up unasked, the mean of its scene, expression, turn, light and clothes. 0 = as
  with the plain prompt, 1 = always.
- **Passes**: of the UNet while learning, a picture forward and backward each.
- **Seconds**: of learning, on one CPU core each.

Means over people ± standard error. An interval that holds 0 cannot be told from chance.
{prompts}"""

SHEETS = """## The pictures

In each row the photo that was learned, then the prompts, all with the same seed; of the first four."""

HEADINGS = (
    "", "ID similarity", "from floor to ceiling", "prompt accuracy", "ID(Prompt)", "its spread",
    "against Textual Inversion at 0.005", "and at 0.002", "lost", "worst", "leak", "passes", "seconds", "file, KB",
    "people",
)  # fmt: skip


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
        rival = None if row.startswith((*BASELINES, "cat")) else baseline_of(row, baseline, results)
        if rival is None:
            found.append("")
            continue
        middle, half = difference(results[row], results[rival], "identity_if_obeyed")
        found.append(f"{middle:+.3f} ({middle - half:+.3f} to {middle + half:+.3f})")
    return found


def kind_of(row: str) -> str:
    return "cat" if "cat" in row.split("_") else "person"


def table(results: Results, titles: Mapping[str, str]) -> str:
    """The table as Markdown, of kinds whose floor and ceiling are there."""
    lines = [HEADINGS, ["---"] * len(HEADINGS)]
    for row, people in results.items():
        found, is_learned, kind = list(people.values()), row not in UNLEARNED, kind_of(row)
        floor, ceiling = (mean_of(results[one], "likeness") for one in (floor_of(kind), CEILINGS[kind]))
        likeness, scores = ([getattr(one, key) for one in found] for key in ("likeness", "identity_if_obeyed"))
        lines.append([
            titles[row],
            with_error(likeness),
            f"{(mean(likeness) - floor) / (ceiling - floor):.0%}",
            with_error([result.obeyed for result in found]),
            with_error(scores),
            f"{stdev(scores):.2f}" if len(scores) > 1 else "",
            *(against_baselines(row, results) if is_learned else [""] * len(BASELINES)),
            f"{lost(people):.0%}",
            f"{min(likeness):.2f}",
            leak_of(results, row, floor_of(kind)) if is_learned else "",
            str(found[0].passes) if is_learned else "",
            f"{mean_of(people, 'seconds'):.0f}" if is_learned else "",
            f"{found[0].size / 1000:.1f}" if is_learned else "",
            str(len(found)),
        ])  # fmt: skip
    return markdown(lines)


def leak_of(results: Results, row: str, floor: str) -> str:
    """The mean over the kinds of leak that all photos may have, with its error over people, and each kind's."""
    by_kind = leaks(results, row, floor)
    each = [mean(values) for values in zip(*(by_kind[kind] for kind in LEAKS if kind in by_kind))]
    return f"{with_error(each)} ({', '.join(f'{kind} {mean(values):.2f}' for kind, values in by_kind.items())})"


def who_is_lost(results: Results) -> str:
    """Those whom none of the ways to learn a person reaches."""
    rows = [row for row in results if row not in UNLEARNED and kind_of(row) == "person"]
    people = out_of_reach(results, rows) if rows else []
    numbers = ", ".join(map(str, people)) or "nobody"
    return f"Below {OUT_OF_REACH} in every row of people: {numbers} of {len(results[FLOOR])}."


def about_the_instruments(figures: Mapping) -> str:
    """What they get wrong, on drawings of people and things that they had not seen."""
    drawn, painted, read = figures["eer"], figures["through the VAE"]["eer"], figures["accuracy"]
    facts = ", ".join(f"{fact} {read[fact]:.1%}" for fact in ASKED_FOR)
    heads = figures["detection"]
    return (
        "The instruments, on drawings that they had not seen: equal error rate of identity "
        f"{drawn['all']:.1%}, {drawn['both']:.1%} where turn and expression are others, {painted['all']:.1%} through "
        f"the painter's VAE, {drawn['cats']:.1%} of cats; {heads['recall']:.1%} of heads are found, and "
        f"{heads['precision']:.1%} of those found are heads. Read right: {facts}."
    )


def write(
    page: Path, results: Results, titles: Mapping[str, str], folder: Path, settings: str, figures: Mapping
) -> None:
    """The page (Markdown) and, in a folder of its name beside it, a contact sheet for every row.

    folder: where the results' pictures lie. settings: how was learned and painted. figures: the instruments' own.
    """
    sheets = page.with_suffix("")
    prompts = "".join(f"\n{number}. `{prompt.format('<ann>')}`" for number, prompt in enumerate(prompts_for(), 1))
    introduction = INTRODUCTION.format(settings=settings, made=made(), prompts=prompts, out_of_reach=OUT_OF_REACH)
    parts = [introduction, about_the_instruments(figures), table(results, titles)]
    parts += [who_is_lost(results), SHEETS]
    for row, people in results.items():
        shown = [load_file(folder / f"{row}-{person:02}.safetensors")["shown"] for person in sorted(people)[:SHOWN]]
        sheet(torch.cat(shown) / 255, len(shown[0]), sheets / f"{row}.jpg", enlarge=1)
        parts.append(f"### {titles[row]}\n\n![{row}]({sheets.name}/{row}.jpg)")
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
