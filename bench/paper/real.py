"""A checkpoint and a folder of photos as a place to measure in."""

from bench.speed.host import load  # before all else of ComfyUI: it decides between GPU and CPU

from collections.abc import Callable, Mapping, Sequence  # isort: skip
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import comfy.clip_vision
import comfy.sample
import comfy.sd
import folder_paths
import torch
import utils.extra_config
from PIL import Image, ImageOps
from torch import Tensor

from bench.paper import neighbours
from bench.paper.prompts import PROMPTS, Prompt
from bench.paper.world import CannotMeasure, Painter, Sampler, Score
from persona_core import likeness
from persona_core.faces import FACE_WORDS, KnownFace, NoFaceFound, NoRecogniser, choose_pack, choose_recogniser
from persona_core.faces.at_hand import strangers
from persona_core.host import clip_score
from persona_core.host.clip import text_towers
from persona_core.host.insightface import insightface_folders
from persona_core.host.learn.latents import size_multiple
from persona_core.host.model import best_resolution, check_models, compute_dtype
from persona_core.photos import Photo, cropped
from persona_core.pixels import from_pil
from persona_core.recipes import KVTokensRecipe, StageMapperRecipe

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
PUBLISHED, USUAL = "published", "usual"
SAMPLERS = {PUBLISHED: Sampler("ddim", "ddim_uniform", 50, 7.5), USUAL: Sampler("dpmpp_2m", "karras", 25, 7.0)}
NO_CLIP = (
    "The columns Prompt and ID(Prompt) are empty: they take both halves of one CLIP, --clip and --clip-vision. "
    "Checkpoints have no image encoder, and those of SD1.x lack the text encoder's projection."
)


@dataclass(frozen=True, eq=False)
class Person:
    """photo: as learning takes it, but for its size."""

    name: str
    photo: Photo
    reference: likeness.Reference


class RealWorld:
    def __init__(
        self,
        checkpoint: Path,
        photos: Path,
        people: int | None,
        supercategory: str,
        resolution: int,
        clip: Path | None,
        clip_vision: Path | None,
        batch: int,
        prompts: Sequence[Prompt] = PROMPTS,
        samplers: Mapping[str, Sampler] = SAMPLERS,
    ):
        if supercategory.lower() not in FACE_WORDS:
            words = ", ".join(sorted(FACE_WORDS))
            raise CannotMeasure(f"{supercategory!r} has no face to recognise. Give one of: {words}.")
        if (clip is None) != (clip_vision is None):
            raise CannotMeasure("The CLIP score takes both halves of one CLIP: give --clip and --clip-vision.")
        self.supercategory, self.prompts, self.samplers, self.batch = supercategory, prompts, samplers, batch
        if (paths := Path(folder_paths.base_path, "extra_model_paths.yaml")).is_file():
            utils.extra_config.load_extra_path_config(str(paths))
        self.models = loaded(checkpoint, supercategory)
        model, _, vae = self.models
        self.resolution = resolution or best_resolution(model)
        self.multiple = size_multiple(model, vae)
        try:
            self.recogniser = choose_recogniser(insightface_folders())
        except NoRecogniser as error:
            raise CannotMeasure(str(error)) from error
        self.people = self.find_people(photos, people)
        self.names = [person.name for person in self.people]
        self.facts = [
            {name: mean(values) if values else None for name, values in sides.items()}
            for sides in ({"ceiling": one.reference.ceiling, "floor": one.reference.floor} for one in self.people)
        ]
        self.neighbours, self.notes = neighbours.installed(model)
        self.scorer = self.load_scorer(clip, clip_vision)
        files = filter(None, (checkpoint, *found_photos(photos), clip, clip_vision))
        sizes = [(file.name, file.stat().st_size) for file in files]
        self.made_of = [*sizes, self.resolution, batch]
        self.about = {
            "world": "a checkpoint and photos",
            "family": text_towers(self.models[1]).family,
            "precision": str(compute_dtype(model)).removeprefix("torch."),
            "recogniser": self.recogniser.name,
            "threshold of the CLIP score": likeness.THRESHOLD if self.scorer else None,
        }

    def find_people(self, folder: Path, most: int | None) -> list[Person]:
        """Those in whose photo a face is found; of the others it is said who they are."""
        people, recipe = [], StageMapperRecipe(supercategory=self.supercategory)
        pack = choose_pack(insightface_folders())
        known: list[tuple[str, list[Tensor], Photo]] = []
        for name, files in photo_files(folder).items():
            if len(known) == most:
                break
            images = {file.name: opened(file) for file in files}
            for file, image in list(images.items()):
                if not self.recogniser.faces(image):
                    print(f"{file}: no face is found, so it is left out.", flush=True)
                    del images[file]
            if not images:
                continue
            learned, *others = images.values()
            try:
                (photo,) = cropped(learned[None], None, recipe, True, pack)
            except NoFaceFound:
                print(f"{next(iter(images))}: the detector that cuts the face out finds none, so {name} is left out.")
                continue
            known.append((name, others or [learned], photo))
        if not known:
            raise CannotMeasure(
                f"There is no photo with a face in {folder.name}: put one a person into it, or a folder a person."
            )
        faces = [self.recogniser.faces(images[0])[0] for _, images, _ in known]
        for number, (name, images, photo) in enumerate(known):
            others: list[KnownFace] = [*strangers(self.recogniser), *faces[:number], *faces[number + 1 :]]
            people.append(Person(name, photo, likeness.make_reference(images, others, self.recogniser)))
        return people

    def load_scorer(self, clip: Path | None, clip_vision: Path | None) -> tuple | None:
        """Both halves of a CLIP and each prompt's embedding, if they are given; a note if not."""
        if clip is None or clip_vision is None:
            self.notes.append(NO_CLIP)
            return None
        text, vision = comfy.sd.load_clip([str(clip)]), comfy.clip_vision.load(str(clip_vision))
        asked = [prompt.text.replace("{}", self.supercategory) for prompt in self.prompts]
        try:
            *embedded, described = clip_score.embed_texts(text, [*asked, clip_score.DESCRIPTION])
            shown = clip_score.embed_images(vision, self.people[0].photo.image[None])
            likest = float(clip_score.clip_scores(described[None], shown))
        except ValueError as error:
            raise CannotMeasure(str(error)) from error
        if likest < clip_score.BELONG:
            self.notes.append(
                f"Prompt and ID(Prompt) mean nothing here: a photo is not like its description ({likest:.2f}), so "
                "--clip and --clip-vision are not two halves of one CLIP, or the text encoder lacks its projection."
            )
            print(self.notes[-1], flush=True)
        return vision, dict(zip(self.prompts, embedded))

    def photo(self, number: int) -> Photo:
        return self.people[number].photo.resized(self.resolution, self.multiple)

    @torch.inference_mode()
    def paint(
        self,
        painter: Painter,
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
        sampler: Sampler,
        on_prompt: Callable[[], None],
    ) -> Tensor:
        vae, painted = self.models[2], []
        side = self.resolution // self.multiple * self.multiple // vae.spacial_compression_decode()
        negative = self.models[1].encode_from_tokens_scheduled(self.models[1].tokenize(""))
        for prompt in prompts:
            positive = painter.encode(painter.says(prompt))
            for first in range(0, len(seeds), self.batch):
                some = seeds[first : first + self.batch]
                noise = torch.stack([noise_of(seed, vae.latent_channels, side) for seed in some])
                latents = comfy.sample.sample(
                    painter.model, noise, sampler.steps, sampler.guidance, sampler.name, sampler.scheduler, positive,
                    negative, torch.zeros_like(noise), disable_pbar=True, seed=some[0],
                )  # fmt: skip
                painted.append(vae.decode(latents).movedim(-1, 1).clamp(0, 1).float().cpu())
            on_prompt()
        return torch.cat(painted)

    def score(self, pictures: Tensor, prompts: Sequence[Prompt], number: int) -> list[Score]:
        images, asked = pictures.movedim(1, -1), None
        if self.scorer:
            vision, texts = self.scorer
            shown = clip_score.embed_images(vision, images)
            asked = [float(texts[prompt] @ one) for prompt, one in zip(prompts, shown)]
        found = likeness.score(images, self.people[number].reference, self.recogniser, asked)
        return [
            Score(one.id, one.prompt, float(bool(one.faces)), found.id_prompt_of(one) if asked else None)
            for one in found.pictures
        ]


def loaded(checkpoint: Path, supercategory: str) -> tuple:
    """MODEL, CLIP, VAE. Raises CannotMeasure."""
    try:
        models = load(checkpoint)
        check_models(*models, KVTokensRecipe(supercategory=supercategory))  # of one token, as some of the rows
    except Exception as error:  # the host's loaders raise what they like
        raise CannotMeasure(f"{checkpoint.name} cannot be used: {error}") from error
    return models


def noise_of(seed: int, channels: int, side: int) -> Tensor:
    return torch.randn(channels, side, side, generator=torch.Generator().manual_seed(seed))


def photo_files(folder: Path) -> dict[str, list[Path]]:
    """By person: a photo, or the photos of a sub-folder, of which the first by name is learned."""
    people = {}
    for one in sorted(folder.iterdir()):
        if one.is_file() and one.suffix.lower() in PICTURES:
            people[one.name] = [one]
        elif one.is_dir() and not one.name.startswith("."):
            people[one.name] = sorted(file for file in one.iterdir() if file.suffix.lower() in PICTURES)
    return {name: files for name, files in people.items() if files}


def found_photos(folder: Path) -> list[Path]:
    return [file for files in photo_files(folder).values() for file in files]


def opened(file: Path) -> Tensor:
    """A photo as Load Image reads it, [H, W, 3]. Raises CannotMeasure."""
    try:
        return from_pil(ImageOps.exif_transpose(Image.open(file)).convert("RGB"))
    except OSError as error:
        raise CannotMeasure(f"{file.name} cannot be read as a picture: {error}.") from error
