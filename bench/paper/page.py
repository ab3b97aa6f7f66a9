"""The page (Markdown) of what was measured, made of the object that results.json holds, and of nothing else."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from statistics import mean
from types import SimpleNamespace

from bench.pages import markdown, with_error
from bench.paper import published
from bench.paper.results import ALL, FIGURES
from bench.paper.rows import AS_MANY, PLAIN
from bench.results import difference
from bench.stopwatch import GIGABYTE

INTRODUCTION = """# The papers' tables{of}

Written by `make bench-paper` ({date}, commit {commit}).{warning} {people}, each learned from one photo,
{prompts} prompts, {pictures} of each. Rows differ from *PersonaMagic, auto* or, below it, from *K/V tokens* only in
what their names say.

- **Prompt**: {prompt}
- **ID**: {id}
- **Detect**: the share of pictures with a face.
- **ID(Prompt)**: ID, counted 0 where there is no face or the prompt is missed{threshold}.
- **Difference**: of {difference} from *{baseline}*, the mean over people of paired differences with its 95 % interval.
  An interval that holds 0 cannot be told from chance.

Means over people ± standard error. A cell is empty where nothing was measured. Figures of another recogniser or another
CLIP are not comparable with these."""
CLIP_SCORE = "CLIP's cosine of the picture with the prompt, the common word in the person's place."
COSINE = "the mean cosine of the face's embedding with those of the references, over the pictures with a face."
OBEYED = "the share of pictures that show all that was asked for."
SCALED = "0 for a stranger, 1 for the same person drawn again; a picture without a head counts as 0."

LEARNING = """## At learning

- **Learned**, **stored**: how many numbers were learned, and how many the file holds beside the common word's.
- **SNR**: how long what the gradients of single pictures have in common is, beside what chance adds to each. It is
  measured for *auto*, and elsewhere where it is sure.
- **TE ratio**, **attention ratio**: how hard that loss pulls at the tokens at most, the photo's loss being 1.
- **Passes**: of the UNet, a picture forward and backward each. **Seconds**, **peak memory**: of learning."""

HEADINGS = "", "Prompt", "ID", "Detect", "ID(Prompt)", "difference", "people"
LEARNT: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "learned": ("learned numbers", lambda value: f"{value:,.0f}"),
    "stored": ("stored numbers", lambda value: f"{value:,.0f}"),
    "file, KB": ("file", lambda value: f"{value / 1000:.1f}"),
    "passes": ("passes", lambda value: f"{value:.0f}"),
    "seconds": ("seconds", lambda value: f"{value:.0f}" if value >= 10 else f"{value:.1f}"),
    "peak memory, GB": ("peak memory", lambda value: f"{value / GIGABYTE:.2f}"),
    "SNR": ("SNR", lambda value: f"{value:.3f}"),
    "TE ratio": ("TE ratio", lambda value: f"{value:.3g}"),
    "attention ratio": ("attention ratio", lambda value: f"{value:.3g}"),
}

Measured = Mapping[str, Mapping[int, Mapping]]  # by row, then by person


def of_sampler(found: Mapping, sampler: str) -> Measured:
    rows: dict[str, dict[int, Mapping]] = {}
    for one in found["results"]:
        if one["sampler"] == sampler:
            rows.setdefault(one["row"], {})[one["person"]] = one
    return rows


def cell(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return with_error(known) if len(known) > 1 else f"{known[0]:.3f}" if known else ""


def people_with(people: Mapping[int, Mapping], key: str) -> dict[int, SimpleNamespace]:
    """Their means, of those of whom this figure is known."""
    found = {number: one["means"][ALL] for number, one in people.items()}
    return {number: SimpleNamespace(**means) for number, means in found.items() if means[key] is not None}


def compared(found: Mapping) -> str:
    """The figure in which rows are compared: without a prompt's score, likeness."""
    asked = any(one["means"][ALL]["id_prompt"] is not None for one in found["results"])
    return "id_prompt" if asked else "id"


def baseline_of(found: Mapping) -> str:
    return AS_MANY if AS_MANY in found["rows"] else PLAIN


def against(people: Mapping[int, Mapping], others: Mapping[int, Mapping], key: str) -> str:
    middle, half = difference(*(people_with(some, key) for some in (people, others)), key)
    return "" if middle != middle else f"{middle:+.3f} ({middle - half:+.3f} to {middle + half:+.3f})"


def main_table(found: Mapping, sampler: str) -> str:
    rows, baseline = of_sampler(found, sampler), baseline_of(found)
    lines: list[Sequence[str]] = [HEADINGS, ("---",) * len(HEADINGS)]
    for name, people in rows.items():
        cells = [cell([one["means"][ALL][figure] for one in people.values()]) for figure in FIGURES]
        other = "" if name == baseline else against(people, rows.get(baseline, {}), compared(found))
        lines.append((found["rows"][name], *cells, other, str(len(people))))
    return markdown(lines)


def learning_table(found: Mapping) -> str:
    lines: list[Sequence[str]] = [("", *LEARNT), ("---",) * (1 + len(LEARNT))]
    for name, title in found["rows"].items():
        facts = {one["person"]: one["learning"] for one in found["results"] if one["row"] == name and one["learning"]}
        if facts:
            known = ([one[key] for one in facts.values() if one[key] is not None] for key, _ in LEARNT.values())
            cells = (form(mean(values)) if values else "" for values, (_, form) in zip(known, LEARNT.values()))
            lines.append((title, *cells))
    return markdown(lines)


def kinds_table(found: Mapping, sampler: str, figure: str) -> str:
    """A figure of each row by the kind of prompt."""
    kinds = list(dict.fromkeys(prompt["kind"] for prompt in found["settings"]["prompts"]))
    lines: list[Sequence[str]] = [("", *kinds), ("---",) * (1 + len(kinds))]
    for name, people in of_sampler(found, sampler).items():
        each = ([one["means"][kind][figure] for one in people.values()] for kind in kinds)
        lines.append((found["rows"][name], *map(cell, each)))
    return markdown(lines)


def introduction(found: Mapping) -> str:
    world, settings = found["world"], found["settings"]
    made_up, pictures = world["world"].startswith("the made-up"), settings["pictures of each prompt"]
    threshold, people = world.get("threshold of the CLIP score"), len({one["person"] for one in found["results"]})
    return INTRODUCTION.format(
        of=" in the made-up world" if made_up else "",
        warning=f" **This is {world['world']}.**" if made_up else "",
        date=date.today(),
        commit=found["made by"]["commit"],
        people=f"{people} {'person' if people == 1 else 'people'}",
        prompts=len(settings["prompts"]),
        pictures=f"{pictures} picture{'s' * (pictures > 1)}",
        prompt=OBEYED if made_up else CLIP_SCORE,
        id=SCALED if made_up else COSINE,
        threshold=f" (its score is under {threshold:g})" if threshold else "",
        difference="ID(Prompt)" if compared(found) == "id_prompt" else "ID",
        baseline=found["rows"].get(baseline_of(found), "plain word"),
    )


def what_figures_mean(found: Mapping) -> str:
    """Floor and ceiling of ID, where it has any."""
    sides = {name: cell([one.get(name) for one in found["people"]]) for name in ("floor", "ceiling")}
    if not all(sides.values()):
        return ""
    return (
        f"What an ID means here, told by {found['world']['recogniser']}: other people give {sides['floor']} (floor), "
        f"the references themselves in other light, cut or sharpness {sides['ceiling']} (ceiling)."
    )


def settings_list(found: Mapping) -> str:
    told = {**found["world"], **found["made by"]}
    told |= {name: value for name, value in found["settings"].items() if name not in ("prompts", "samplers")}
    lines = [f"- {name}: {value}" for name, value in told.items() if value not in (None, "")]
    prompts = [f"{n}. {one['kind']}: `{one['text']}`" for n, one in enumerate(found["settings"]["prompts"], 1)]
    return "\n".join(("## Settings", "", *lines, "", "The prompts:", "", *prompts))


def page(found: Mapping, sheets: Sequence[str] = ()) -> str:
    """sheets: of contact sheets, where they lie beside the page."""
    parts = [introduction(found), what_figures_mean(found), *found["notes"]]
    for name, sampler in found["settings"]["samplers"].items():
        how = f"{sampler['name']}, {sampler['scheduler']}, {sampler['steps']} steps, guidance {sampler['guidance']:g}"
        parts += [f"## Painted as {name}: {how}", main_table(found, name)]
        for figure, title in (("id_prompt", "ID(Prompt)"), ("id", "ID")):
            if figure == compared(found):
                parts += [f"{title} by what the prompt asks for:", kinds_table(found, name, figure)]
    parts += [LEARNING, learning_table(found), published.tables(), settings_list(found)]
    if sheets:
        parts.append("## Pictures\n\nThey are likenesses of the people: think before you send them.")
        parts += [f"![{sheet}]({sheet})" for sheet in sheets]
    return "\n\n".join(filter(None, parts)) + "\n"
