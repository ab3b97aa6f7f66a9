"""What a watermark of Save Generated Picture stands, what it costs, and how often one is found where there is none: in
photos that come inside installed packages, and in ComfyUI's own example pictures, of which most are painted.

    make bench-watermark [ARGS="--pictures 60 --unmarked 600"]

Writes docs/watermark.md. Some ten minutes on a CPU.
"""

import argparse
import io
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from math import comb
from pathlib import Path
from statistics import mean, median, stdev

import numpy as np
from PIL import Image, ImageEnhance
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from bench.pages import made, markdown
from persona_core.watermark import AGREE, SMALLEST, WORD, agreeing, marked

PAGE = Path(__file__).parent.parent / "docs/watermark.md"
PHOTOS = {
    "skimage": "data/astronaut.png data/chelsea.png data/coffee.png data/rocket.jpg data/hubble_deep_field.jpg "
    "data/retina.jpg data/motorcycle_left.png data/ihc.png",
    "insightface": "data/images/t1.jpg",
}
EXAMPLES = "comfyui_workflow_templates_media_image", "comfyui_workflow_templates_media_other"
LARGEST = 1024  # pixels a side to which larger ones are brought

TEXT = """# What a watermark stands

Written by `make bench-watermark` ({made}).

Save Generated Picture writes it where its `watermark` is on, with blind-watermark; [provenance](provenance.md) says
what it is for. How many of {photos} photos (scikit-image's and insightface's) and of {painted} of ComfyUI's example
pictures, most of them painted, {smallest} to {largest} pixels a side, are read as marked: at least {agree} of {bits}
bits agree.

{table}

- **It stands no cut** and no mirror, and seldom another brightness, as the table shows. Nor is it made to stand anybody
  who wants it away, or a model that paints over it.
- **It can be seen** by who looks closely where a picture is smooth, as a sky is: 33 x 33 tiles, a shade or two apart.
  In the median PSNR is {psnr}, SSIM {ssim}.
- **False finds**: of {unmarked} pictures and cut-outs without a watermark {false} were read as marked. In them
  {agreeing} bits agree, {most} at the most; of tossed coins {coins} would. The word was chosen by a hash,
  without regard to pictures. By chance, {agree} of its bits agree once in {once:.0f} million.
- Where large parts of a picture are white or black, it is read less often: no shade is left there. So it is in small
  pictures, of which there are many here ({small} of {all} are less than 512 pixels wide or high).
"""


def as_file(picture: Image.Image, kind: str, quality: int) -> Image.Image:
    content = io.BytesIO()
    picture.save(content, kind, quality=quality)
    return Image.open(content).convert("RGB")


def sized(picture: Image.Image, times: float) -> Image.Image:
    size = [round(side * times) for side in picture.size]
    return picture.resize((size[0], size[1]), Image.Resampling.LANCZOS)


def cut(picture: Image.Image, share: float, left: float = 0.3, top: float = 0.3) -> Image.Image:
    """So much of each side; left, top: how much of what is cut away lies there."""
    width, height = (round(side * share) for side in picture.size)
    x, y = round((picture.width - width) * left), round((picture.height - height) * top)
    return picture.crop((x, y, x + width, y + height))


def brighter(picture: Image.Image, times: float) -> Image.Image:
    return ImageEnhance.Brightness(picture).enhance(times)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "as saved": lambda one: one,
    "JPEG 90": lambda one: as_file(one, "JPEG", 90),
    "JPEG 75": lambda one: as_file(one, "JPEG", 75),
    "JPEG 50": lambda one: as_file(one, "JPEG", 50),
    "JPEG 30": lambda one: as_file(one, "JPEG", 30),
    "WebP 80": lambda one: as_file(one, "WEBP", 80),
    "three quarters of its size": lambda one: sized(one, 0.75),
    "half its size": lambda one: sized(one, 0.5),
    "half its size and back": lambda one: sized(one, 0.5).resize(one.size, Image.Resampling.LANCZOS),
    "half its size, JPEG 75, as a messenger does": lambda one: as_file(sized(one, 0.5), "JPEG", 75),
    "twice its size, JPEG 75": lambda one: as_file(sized(one, 2), "JPEG", 75),
    "10 % brighter": lambda one: brighter(one, 1.1),
    "10 % darker": lambda one: brighter(one, 0.9),
    "turned by 1 degree": lambda one: one.rotate(1, Image.Resampling.BICUBIC),
    "cut to 98 % a side": lambda one: cut(one, 0.98),
    "cut to 90 % a side": lambda one: cut(one, 0.9),
    "cut to 80 % a side": lambda one: cut(one, 0.8),
    "mirrored": lambda one: one.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def files(package: str, patterns: Iterable[str]) -> list[Path]:
    """Of a package that is installed; it is not imported for it."""
    spec = find_spec(package)
    folders = map(Path, spec.submodule_search_locations or ()) if spec else ()
    return sorted(file for folder in folders for pattern in patterns for file in folder.glob(pattern))


def opened(places: Iterable[Path]) -> list[Image.Image]:
    """Those that are large enough."""
    found = []
    for place in places:
        with Image.open(place) as picture:
            one = picture.convert("RGB")
        one.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
        if min(one.size) >= SMALLEST:
            found.append(one)
    return found


def spread_over(pictures: Sequence[Image.Image], count: int) -> list[Image.Image]:
    """So many of them, evenly: a template's pictures lie beside each other and are alike."""
    return [pictures[round(at)] for at in np.linspace(0, len(pictures) - 1, min(count, len(pictures)))]


def unmarked(pictures: Sequence[Image.Image], count: int) -> list[Image.Image]:
    """So many, the later ones parts of the same pictures."""
    places = [None, (0.8, 0, 0), (0.8, 1, 1), (0.6, 0.5, 0.5), (0.6, 0, 1), (0.6, 1, 0)]
    return [one if place is None else cut(one, *place) for place in places for one in pictures][:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=60, help="how many example pictures are marked")
    parser.add_argument("--unmarked", type=int, default=600, help="how many pictures without a watermark are read")
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    photos = opened(file for package, names in PHOTOS.items() for file in files(package, names.split()))
    examples = opened(file for package in EXAMPLES for file in files(package, ["templates/*.webp"]))
    groups = [photos, spread_over(examples, args.pictures)]

    bits: dict[str, list[list[int]]] = {name: [[] for _ in groups] for name in CHANGES}
    likeness: list[tuple[float, float]] = []
    for number, group in enumerate(groups):
        for picture in group:
            carrying = marked(picture)
            one, other = np.asarray(picture), np.asarray(carrying)
            likeness.append((peak_signal_noise_ratio(one, other), structural_similarity(one, other, channel_axis=2)))
            for name, change in CHANGES.items():
                bits[name][number].append(agreeing(change(carrying)))
    none = [agreeing(one) for one in unmarked([*photos, *examples], args.unmarked)]

    psnr, ssim = zip(*likeness)
    text = TEXT.format(
        made=made(), photos=len(photos), painted=len(groups[1]), smallest=SMALLEST, largest=LARGEST, agree=AGREE,
        bits=len(WORD), table=table(bits), psnr=ends(psnr, 1, " dB"), ssim=ends(ssim, 3), unmarked=len(none),
        false=sum(one >= AGREE for one in none) or "none", agreeing=f"{mean(none):.1f} ± {stdev(none):.1f}",
        most=max(none), coins=f"{len(WORD) / 2:.0f} ± {len(WORD) ** 0.5 / 2:.1f}", once=1e-6 / by_chance(),
        small=sum(min(one.size) < 512 for group in groups for one in group), all=len(psnr),
    )  # fmt: skip
    args.page.write_text(text, encoding="utf-8")
    print(text)


def ends(values: Sequence[float], digits: int, unit: str = "") -> str:
    """Median, lowest and highest."""
    return f"{median(values):.{digits}f}{unit} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def by_chance() -> float:
    """How likely tossed coins agree in so many bits."""
    return sum(comb(len(WORD), wrong) for wrong in range(len(WORD) - AGREE + 1)) / 2 ** len(WORD)


def table(bits: dict[str, list[list[int]]]) -> str:
    lines: list[Sequence[str]] = [("", "photos", "painted", "bits in the median", "fewest"), ("---",) * 5]
    for name, groups in bits.items():
        shares = [f"{sum(one >= AGREE for one in group)} of {len(group)}" for group in groups]
        every = [one for group in groups for one in group]
        lines.append((name, *shares, f"{median(every):.0f}", str(min(every))))
    return markdown(lines)


if __name__ == "__main__":
    main()
