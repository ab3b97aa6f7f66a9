"""Whether a recogniser tells the same face from others: on real photos that come inside installed packages, each varied
as Persona Score varies a reference, and on more of the same people where a folder is given.

    make bench-likeness [ARGS="--people FOLDER"]

FOLDER holds a folder a person with photos of them. Writes docs/likeness.md. A minute or more on a CPU.
"""

import argparse
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from bench.pages import made, markdown
from persona_core.charts import COLORS, Chart
from persona_core.faces import KnownFace, Recogniser, choose_recogniser
from persona_core.faces.at_hand import photos
from persona_core.likeness import varied
from persona_core.pixels import from_pil

PAGE = Path(__file__).parent.parent / "docs/likeness.md"
EXAMPLES = "comfyui_workflow_templates_media_image", "comfyui_workflow_templates_media_other"
LARGEST = 512  # pixels a side to which example pictures are brought
ANOTHER = "another photo"

TEXT = """# How well faces are told apart

Written by `make bench-likeness` ({made}), with {recogniser}.

Persona Score says how like two faces are; this page says what such a figure is worth. It is measured on real photos
that come inside packages ({sources}), with the faces in ComfyUI's
own example pictures as strangers, of which most are painted, in a photo's style.

That is a small set: {people} people and {strangers} other faces. It is no measure of the recogniser as such. It shows
that figures of the same face and of others lie apart, by how much, and what moves them.

{table}

![distributions](likeness.png)

- {overlap}
- *detected*: in how many of the pictures a face is found at all.
- Figures of two recognisers are not to be compared: strangers are about {floor:.2f} here. How far a figure is *from
  strangers to the reference*, which Persona Score tells beside each, can be.
- A face varied is nearer to itself than another photo of the same person is to it, years or a pose apart: {another}
  So the ceiling that Persona Score names is higher than what a good picture reaches.

No InsightFace pack was at hand where this was written: its licence allows research only. With one, `--packs FOLDER`
measures it.
"""


@dataclass
class Person:
    """faces: of each photo. variants: of the first, by how it was varied."""

    faces: list[KnownFace]
    variants: dict[str, KnownFace | None] = field(default_factory=dict)


def packages_people(recogniser: Recogniser) -> list[Person]:
    """Each face in the photos at hand is a person."""
    found = []
    for photo in photos().values():
        for face in recogniser.faces(photo):
            found.append(Person([face], variants_of(photo, face, recogniser)))
    return found


def folders_people(folder: Path, recogniser: Recogniser) -> list[Person]:
    """Each sub-folder is a person, whose photos have one face, or the largest is theirs."""
    found = []
    for place in sorted(one for one in folder.iterdir() if one.is_dir()):
        pictures = [opened(file) for file in sorted(place.iterdir())]
        seen = [(picture, recogniser.faces(picture)) for picture in pictures]
        known = [(picture, faces[0]) for picture, faces in seen if faces]
        if known:
            found.append(Person([face for _, face in known], variants_of(*known[0], recogniser)))
    return found


def opened(file: Path, largest: int = 1280) -> Tensor:
    picture = Image.open(file).convert("RGB")
    picture.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    return from_pil(picture)


def variants_of(photo: Tensor, face: KnownFace, recogniser: Recogniser) -> dict[str, KnownFace | None]:
    shown = {name: recogniser.faces(picture) for name, picture in varied(photo, face).items()}
    # In a wider cut a neighbour's face may be larger.
    return {name: max(faces, key=lambda one: cosine(one, face), default=None) for name, faces in shown.items()}


def example_faces(recogniser: Recogniser) -> list[KnownFace]:
    """Of ComfyUI's example pictures: the first of each template, as its others show the same people."""
    folders = [
        Path(folder)
        for package in EXAMPLES
        if (spec := find_spec(package))
        for folder in spec.submodule_search_locations or ()
    ]
    files = sorted(file for folder in folders for file in folder.glob("templates/*-1.webp"))
    return [face for file in files for face in recogniser.faces(opened(file, LARGEST))]


def cosine(one: KnownFace, other: KnownFace) -> float:
    return float(one.embedding @ other.embedding)


def same(people: Sequence[Person]) -> dict[str, list[float | None]]:
    """Cosines of each person's first face with itself varied, and with their other photos; None: not found."""
    found: dict[str, list[float | None]] = {}
    for person in people:
        for name, face in person.variants.items():
            found.setdefault(name, []).append(None if face is None else cosine(person.faces[0], face))
        for one, other in itertools.combinations(person.faces, 2):
            found.setdefault(ANOTHER, []).append(cosine(one, other))
    return found


def others(people: Sequence[Person], strangers: Iterable[KnownFace]) -> list[float]:
    """Cosines of each person's faces, as they are and varied, with everybody else's."""
    found = []
    strangers = list(strangers)
    for person in people:
        mine = [*person.faces, *(face for face in person.variants.values() if face)]
        theirs = [*strangers, *(face for other in people if other is not person for face in other.faces)]
        found += [cosine(one, other) for one in mine for other in theirs]
    return found


def table(alike: Mapping[str, Sequence[float | None]], unlike: Sequence[float]) -> str:
    lines: list[Sequence[str]] = [("", "pairs", "detected", "lowest", "median", "highest"), ("---",) * 6]
    for name, values in alike.items():
        found = [one for one in values if one is not None]
        ends = [f"{one:.3f}" for one in (min(found), float(np.median(found)), max(found))]
        lines.append((f"the same face, {name}", str(len(values)), f"{len(found) / len(values):.0%}", *ends))
    ends = [f"{one:.3f}" for one in (min(unlike), float(np.median(unlike)), max(unlike))]
    lines.append(("**another face**", str(len(unlike)), "", *ends))
    return markdown(lines)


def overlap(alike: Sequence[float], unlike: Sequence[float]) -> str:
    """Where the two lie apart, or how much of them does not."""
    low, high = min(alike), max(unlike)
    if low > high:
        return f"They do not overlap: the same face is never below {low:.3f}, another never above {high:.3f}."
    cuts = np.unique([*alike, *unlike])
    missed, taken = (np.array([rate(cut) for cut in cuts]) for rate in (
        lambda cut: np.mean(np.array(alike) < cut), lambda cut: np.mean(np.array(unlike) >= cut),
    ))  # fmt: skip
    best = np.abs(missed - taken).argmin()
    return (
        f"They overlap: the same face goes down to {low:.3f}, another up to {high:.3f}. Cut at {cuts[best]:.3f}, "
        f"{missed[best]:.1%} of the same are taken for others, {taken[best]:.1%} of others for the same."
    )


def chart(alike: Sequence[float], unlike: Sequence[float], bins: int = 40) -> Image.Image:
    edges = np.linspace(min([*alike, *unlike]), 1.0, bins + 1)
    shares = [np.histogram(values, edges)[0] / len(values) for values in (alike, unlike)]
    drawn = Chart("cosine: the same face (blue), another (red)", "cosine in hundredths", (100 * edges[0], 100),
                  (0, float(max(map(max, shares)))))  # fmt: skip
    drawn.axes()
    for share, color in zip(shares, COLORS):
        drawn.curve((100 * (edges[1:] + edges[:-1]) / 2).tolist(), share.tolist(), color, 3)
    return drawn.image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=Path, help="a folder with a folder a person")
    parser.add_argument("--packs", type=Path, nargs="*", default=[], help="models/insightface folders")
    parser.add_argument("--sources", default="scikit-image's and insightface's", help="for the page: whose photos")
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    recogniser = choose_recogniser(args.packs)
    people = packages_people(recogniser)
    people += folders_people(args.people, recogniser) if args.people else []
    strangers = example_faces(recogniser)
    alike, unlike = same(people), others(people, strangers)
    itself = [one for name, values in alike.items() if name != ANOTHER for one in values if one is not None]
    photographed = [one for one in alike.get(ANOTHER, ()) if one is not None]
    another = "no other photo of them was at hand."
    if photographed:
        another = f"{np.median(photographed):.3f} in the median, against {np.median(itself):.3f}."
    chart(itself + photographed, unlike).save(args.page.with_suffix(".png"))
    text = TEXT.format(
        made=made(), recogniser=recogniser.name, sources=args.sources, people=len(people),
        strangers=len(strangers), table=table(alike, unlike),
        overlap=overlap(itself + photographed, unlike), floor=float(np.median(unlike)), another=another,
    )  # fmt: skip
    args.page.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
