"""Pictures on disk, held against photos: for one person, or for each of a table. Imports the host."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import torch

from .. import score_sheet
from ..files import QUOTED, shown, write_whole
from ..host.checkpoints import load_clip_vision, load_text_encoder
from ..host.clip_score import PromptScores
from ..host.photos import decoded
from ..host.scoring import Scored, Scorer, scores_of_prompt
from ..letters import one_line
from ..likeness import THRESHOLD
from .gallery import painted_from
from .outcomes import sentence_of
from .rows import PICTURES, READERS, read
from .storage import is_folder, read_bytes

COLUMNS = "person", "picture", "id", "of the way", "prompt", "ID(Prompt)", "faces", "error"


@dataclass(frozen=True)
class Person:
    """id: "" where it is not said. photos: places. problem: why nothing can be told, a sentence."""

    id: str
    photos: Sequence[str]
    pictures: Sequence[Path]
    problem: str = ""


@dataclass(frozen=True)
class Judged:
    """pictures: those that could be read, in the order of the scores."""

    person: Person
    scored: Scored | None = None
    pictures: Sequence[Path] = ()
    errors: Sequence[str] = field(default=())


def people_in(reference: Sequence[str], pictures: Sequence[str]) -> list[Person]:
    """reference: a table or folder, of which each row's pictures are in a folder of its id; or photos of one person.
    Raises ValueError with a sentence."""
    table = reference[0]
    if len(reference) > 1 or not (table.lower().endswith(tuple(READERS)) or is_folder(table)):
        return [Person("", reference, pictures_in(pictures))]
    if len(pictures) > 1 or not Path(pictures[0]).is_dir():
        raise ValueError("With a table of people, name one folder: the pictures of ann are in its folder ann.")
    people = []
    for row in read(table):
        folder = Path(pictures[0]) / row.id
        found = sorted(folder.glob("[!.]*")) if folder.is_dir() else []
        found = [file for file in found if file.suffix.lower() in PICTURES]
        missing = "" if found else f"There is no picture in {folder}."
        people.append(Person(row.id, row.photos, found, row.problem or missing))
    return people


def pictures_in(places: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    for place in map(Path, places):
        inside = sorted(place.glob("[!.]*")) if place.is_dir() else [place]
        found += [file for file in inside if file.suffix.lower() in PICTURES or file == place]
    if not found:
        raise ValueError(f"There is no picture in {shown(places[0], QUOTED)}.")
    return found


class Judge:
    """clip, clip_vision: the halves of one CLIP, or "". text: the prompt of all pictures; "": each says its own.
    Raises NoRecogniser, NoSuchModel."""

    def __init__(self, clip: str = "", clip_vision: str = "", text: str = "", threshold: float | None = None):
        self.scorer, self.text = Scorer(), text
        self.threshold = THRESHOLD if threshold is None else threshold
        self.clip = load_text_encoder(clip) if clip else None
        self.clip_vision = load_clip_vision(clip_vision) if clip_vision else None

    @torch.inference_mode()
    def judge(self, person: Person) -> Judged:
        try:
            if person.problem:
                raise ValueError(person.problem)
            photos = [decoded(read_bytes(place)) for place in person.photos]
            reference = self.scorer.reference(photos)
            files, errors = readable(person.pictures)
            if not files:
                return Judged(person, errors=errors)
            files, prompts = self.prompts(files, photos)
            scored = self.scorer.score(opened(files), reference, prompts, self.threshold)
            return Judged(person, scored, files, errors)
        except Exception as error:
            return Judged(person, errors=[one_line(sentence_of(error, person.id or "the reference"))])

    def prompts(self, files: Sequence[Path], photos: Sequence[torch.Tensor]) -> tuple[list[Path], PromptScores | None]:
        """The pictures, those of one prompt together, and how they show it; none where one has no prompt."""
        texts = {file: self.text or prompt_of(file) for file in files}
        if self.clip is None or not all(texts.values()):
            return list(files), None
        ordered = sorted(files, key=texts.__getitem__)
        found = [
            scores_of_prompt(opened(list(some)), photos, text, self.clip, self.clip_vision)
            for text, some in groupby(ordered, texts.__getitem__)
        ]
        parts = [one for one in found if one]
        unrelated = sum(one.unrelated * len(one.each) for one in parts) / len(ordered)
        return ordered, PromptScores(tuple(value for one in parts for value in one.each), unrelated)


def opened(files: Sequence[Path]) -> Iterator[torch.Tensor]:
    """One at a time, for there may be many."""
    return (decoded(file.read_bytes()) for file in files)


def readable(files: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Those that are pictures, and a sentence on each that is none."""
    good, errors = [], []
    for file in files:
        try:
            decoded(read_bytes(str(file)))
            good.append(file)
        except ValueError as error:
            errors.append(one_line(f"{file}: {error}"))
    return good, errors


def prompt_of(file: Path) -> str:
    """As `persona paint` has written it, with the common word in the persona's place; "" where it has not."""
    said = painted_from(file)
    prompt, placeholder, word = (str(said.get(name) or "") for name in ("prompt", "placeholder", "supercategory"))
    return prompt.replace(placeholder, word) if placeholder and word else prompt


def table_of(judged: Judged) -> str:
    """A line a picture, and what it means."""
    assert judged.scored
    names = [one_line(file.name) for file in judged.pictures]
    return f"{score_sheet.table(judged.scored.scores, names)}\n\n{judged.scored.meaning}"


def summary(judged: Sequence[Judged]) -> str:
    """A line a person."""
    lines = [("person", "id", "of the way", "prompt", "ID(Prompt)", "have a face", "pictures")]
    for one in judged:
        if one.scored:
            scores = one.scored.scores
            figures = score_sheet.figure(scores.id), score_sheet.percent(scores.reference.share(scores.id))
            more = score_sheet.figure(scores.prompt), score_sheet.figure(scores.id_prompt)
            lines.append(
                (one_line(one.person.id), *figures, *more, score_sheet.percent(scores.detect), str(len(one.pictures)))
            )
    return score_sheet.in_columns(lines)


def as_csv(judged: Sequence[Judged], path: Path) -> None:
    """Raises OSError."""
    text = io.StringIO()
    (writer := csv.writer(text, lineterminator="\n")).writerow(COLUMNS)
    for one in judged:
        scores = one.scored.scores if one.scored else None
        for file, picture in zip(one.pictures, scores.pictures if scores else ()):
            share = scores.reference.share(picture.id) if scores else None
            figures = (picture.id, share, picture.prompt, scores.id_prompt_of(picture) if scores else None)
            cells = ["" if value is None else f"{value:.4f}" for value in figures]
            writer.writerow([one.person.id, file, *cells, len(picture.faces), ""])
        writer.writerows([one.person.id, "", "", "", "", "", "", error] for error in one.errors)
    write_whole(path, text.getvalue().encode())
