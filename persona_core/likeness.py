"""Is it her? Likeness of painted faces with a reference, as SeFi-IDE measures it (arXiv 2402.00631, section 4.1), and
what its figures mean: strangers are the floor, the reference itself in other light or sharpness the ceiling.

Figures of different recognisers are not to be compared; how far from floor to ceiling they lie is.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import mean

import torch
from PIL import Image, ImageFilter
from torch import Tensor

from .faces import Face, KnownFace, NoFaceFound, Recogniser, square_crop
from .photos import jittered, rgb
from .pixels import from_pil, to_pil

THRESHOLD = 0.23  # of the CLIP score, as published: from there on people took a picture for what was asked
FRAME = 320  # pixels a side, at most, of the cuts round a face in which it is varied
MOST = 4  # references that are varied


@dataclass(frozen=True, eq=False)
class Reference:
    """Whose face it should be, and what a figure is to be held against.

    embeddings: [R, D], one a reference picture. ceiling, floor: the likenesses of the references themselves, varied,
    and of other people.
    """

    embeddings: Tensor
    ceiling: tuple[float, ...] = ()
    floor: tuple[float, ...] = ()

    def likeness(self, face: KnownFace) -> float:
        """The mean cosine of a face's embedding with the references', -1..1."""
        return float((self.embeddings @ face.embedding).mean())

    def share(self, likeness: float | None) -> float | None:
        """How far it lies from the floor, 0, to the ceiling, 1; None where one of the three is not known."""
        if likeness is None or not self.floor or not self.ceiling:
            return None
        low, high = mean(self.floor), mean(self.ceiling)
        return (likeness - low) / (high - low) if high > low else None


@dataclass(frozen=True)
class PictureScore:
    """faces: of a picture, largest first. likenesses: of each with the reference. prompt: its CLIP score, if asked."""

    faces: tuple[Face, ...]
    likenesses: tuple[float, ...]
    prompt: float | None = None

    @property
    def id(self) -> float | None:
        """The likeness of the face that is most like the reference; None without a face."""
        return max(self.likenesses, default=None)


@dataclass(frozen=True)
class Scores:
    """Of the pictures of a batch, in its order, with what they were held against. threshold: the CLIP score from which
    on a picture counts as showing what its prompt asks for."""

    pictures: tuple[PictureScore, ...]
    reference: Reference
    threshold: float = THRESHOLD

    def id_prompt_of(self, picture: PictureScore) -> float:
        """ID, counted 0 where there is no face or the prompt is missed. Without a prompt: ID, 0 without a face."""
        missed = picture.prompt is not None and picture.prompt < self.threshold
        return 0.0 if picture.id is None or missed else picture.id

    @property
    def id(self) -> float | None:
        """The mean over the pictures with a face; None where no picture has one."""
        found = [one.id for one in self.pictures if one.id is not None]
        return mean(found) if found else None

    @property
    def detect(self) -> float:
        """The share of pictures with a face."""
        return mean(bool(one.faces) for one in self.pictures)

    @property
    def prompt(self) -> float | None:
        """The mean CLIP score; None where it was not asked for."""
        asked = [one.prompt for one in self.pictures if one.prompt is not None]
        return mean(asked) if asked else None

    @property
    def id_prompt(self) -> float:
        """SeFi-IDE's ID(Prompt): the mean over all pictures."""
        return mean(map(self.id_prompt_of, self.pictures))

    @property
    def order(self) -> list[int]:
        """The pictures' numbers, best first: by ID(Prompt), then by ID, those without a face behind their equals."""
        rank = [(self.id_prompt_of(one), -2.0 if one.id is None else one.id) for one in self.pictures]
        return sorted(range(len(rank)), key=lambda number: rank[number], reverse=True)


def make_reference(
    images: Sequence[Tensor],
    strangers: Sequence[KnownFace],
    recogniser: Recogniser,
    on_picture: Callable = lambda: None,
) -> Reference:
    """Of pictures [H, W, 3] in 0..1, in each of which the largest face is theirs.

    strangers: other people's faces. One that is as like as the reference varied is left out: it is theirs.
    on_picture: called after each. Raises NoFaceFound for a picture without a face.
    """
    faces = []
    for number, image in enumerate(images):
        found = recogniser.faces(image)
        if not found:
            raise NoFaceFound(
                f"No face was found in reference picture {number} (counted from 0). Use a photo in which the face is "
                "larger, upright and looks at the camera."
            )
        faces.append(found[0])
        on_picture()
    embeddings = torch.stack([face.embedding for face in faces])
    reference = Reference(embeddings)
    ceiling = []
    for image, face in list(zip(images, faces))[:MOST]:
        for picture in varied(image, face).values():
            if again := recogniser.faces(picture):
                ceiling.append(reference.likeness(again[0]))
        on_picture()
    floor = [reference.likeness(one) for one in strangers]
    return Reference(embeddings, tuple(ceiling), tuple(one for one in floor if one < min(ceiling, default=1.0)))


def score(
    images: Iterable[Tensor],
    reference: Reference,
    recogniser: Recogniser,
    prompts: Sequence[float] | None = None,
    threshold: float = THRESHOLD,
    on_picture: Callable = lambda: None,
) -> Scores:
    """Of pictures [H, W, 3] in 0..1. prompts: the CLIP score of each, or None. on_picture: called after each."""
    scored = []
    for number, image in enumerate(images):
        faces = tuple(recogniser.faces(rgb(image)))
        likenesses = tuple(map(reference.likeness, faces))
        scored.append(PictureScore(faces, likenesses, None if prompts is None else prompts[number]))
        on_picture()
    return Scores(tuple(scored), reference, threshold)


def varied(image: Tensor, face: Face) -> dict[str, Tensor]:
    """What a photo [H, W, 3] in 0..1 of a face still is: cut otherwise, in other light, mirrored, blurred, smaller,
    as a poor JPEG. By what was done."""
    height, width = image.shape[:2]

    def cut(margin: float) -> Image.Image:
        x0, y0, x1, y1 = square_crop(face, height, width, margin)
        picture = to_pil(image[y0:y1, x0:x1])
        picture.thumbnail((FRAME, FRAME), Image.Resampling.LANCZOS)
        return picture

    usual = cut(0.6)
    light = from_pil(usual)
    half = usual.resize([max(1, side // 2) for side in usual.size], Image.Resampling.LANCZOS)
    return {
        "closer": from_pil(cut(0.3)),
        "wider": from_pil(cut(1.0)),
        "brighter": jittered(light, 1.3, 1, 1),
        "darker": jittered(light, 0.6, 1, 1),
        "grey": jittered(light, 1, 1, 0),
        "mirrored": light.flip(1),
        "blurred": from_pil(usual.filter(ImageFilter.GaussianBlur(usual.width / 100))),
        "smaller": from_pil(half.resize(usual.size, Image.Resampling.BICUBIC)),
        "JPEG": from_pil(as_jpeg(usual)),
    }


def as_jpeg(picture: Image.Image, quality: int = 30) -> Image.Image:
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=quality)
    return Image.open(content).convert("RGB")
