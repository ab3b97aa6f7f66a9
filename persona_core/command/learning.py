"""Learning the people of a table, each row to a result. Imports the host: see `Plan.learner`."""

import errno
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from ..consent import Consent
from ..host import checkpoints, store
from ..host.learn.jobs import JOBS, Models
from ..host.learn.run import TrainingJob, train_persona
from ..host.messages import log
from ..host.photos import opened
from ..persona import Persona
from ..progress import Progress
from .claims import Claim
from .likeness_check import BY, PROMPTS, SCORE, WAY, LikenessCheck
from .plan import Plan
from .results import FAILED, LEARNED, THERE, Result
from .row_log import about_the_row
from .rows import Row
from .shelf import shelf_of
from .storage import read_bytes

FULL = {errno.ENOSPC, errno.EDQUOT}
PAUSE = 1.0  # seconds between two looks whether another command has learned a persona
Watch = Callable[[str, Progress], None]
SNR = "signal to noise of one picture"  # in a persona's settings


class DiskFull(OSError):
    """Whatever comes next could not be saved either."""


@dataclass(frozen=True)
class Prepared:
    """A row, ready to be learned by us and nobody else."""

    row: Row
    job: TrainingJob
    fingerprint: str
    path: str
    unfinished: Path
    claim: Claim


class Learner:
    """Learns rows, one after the other, with models that are loaded once."""

    def __init__(self, plan: Plan):
        self.plan, self.shelf = plan, shelf_of(plan.out)
        store.register_folder()
        self.models = models_of(plan)
        self.check = LikenessCheck(self.models, plan.scored_with or PROMPTS) if plan.score else None

    @torch.inference_mode()  # as the host runs nodes; of a generator, only while it runs
    def learn(
        self,
        rows: Sequence[Row],
        on_step: Callable[[str, Progress], None] = lambda name, progress: None,
        check_stop: Callable[[], None] = lambda: None,
    ) -> Iterator[Result]:
        """A result for each row, as soon as it is known.

        on_step: is told of each step, and of whose learning. check_stop: what it raises between two steps, if that is
        no Exception, ends the run; what is unfinished is kept. Raises DiskFull, behind the result of the row it met.
        """

        def watch(name: str, progress: Progress) -> None:
            on_step(name, progress)
            check_stop()

        by_id = {row.id: row for row in rows}
        for result in self.learn_each(rows, watch, check_stop):
            yield self.scored(by_id[result.id], result, check_stop)

    def learn_each(self, rows: Iterable[Row], watch: Watch, check_stop: Callable[[], None]) -> Iterator[Result]:
        """As `learn`, without scores."""
        ready: list[Prepared] = []
        elsewhere: list[Row] = []
        for row in rows:
            made = self.prepare(row)
            if isinstance(made, Prepared):
                ready.append(made)
            elif made is None:
                elsewhere.append(row)
            else:
                yield made
            if len(ready) == self.plan.at_once:
                yield from self.learn_together(ready, watch)
                ready = []
        yield from self.learn_together(ready, watch)
        for row in elsewhere:  # one at a time: who holds one claim and waits for another may wait for ever
            while (made := self.prepare(row)) is None:
                check_stop()
                time.sleep(PAUSE)
            yield from self.learn_together([made], watch) if isinstance(made, Prepared) else [made]

    @about_the_row
    def prepare(self, row: Row) -> Prepared | Result | None:
        """Ready to be learned, or what became of it already; None where another command learns it just now."""
        try:
            if row.problem:
                raise ValueError(row.problem)
            image, mask = opened(map(read_bytes, row.photos)), opened_masks(row)
            job = JOBS[row.method](self.models, row.id, image, mask, **row.settings)
            fingerprint = job.fingerprint()
            unfinished = self.shelf.unfinished(row.id, fingerprint)
            claim = Claim(unfinished)
            if there := self.find(row, fingerprint):
                claim.tidy()
                return there
            self.shelf.check_writable(row.id)
            if not claim.take():
                return None
            if there := self.find(row, fingerprint):  # whoever had the claim has learned it
                claim.give_back()
                return there
            return Prepared(row, job, fingerprint, self.shelf.place(row.id), unfinished, claim)
        except Exception as error:
            return failed(row, error)

    def find(self, row: Row, fingerprint: str) -> Result | None:
        found = self.shelf.find(row.id, fingerprint)
        return told(row, THERE, *found) if found else None

    def scored(self, row: Row, result: Result, check_stop: Callable[[], None]) -> Result:
        """With the score that the persona's file keeps, or a new one, which it then keeps."""
        found = self.shelf.find(row.id, result.fingerprint) if self.check and result.status != FAILED else None
        if not self.check or not found:
            return result
        persona, place = found
        kept = persona.settings
        if kept.get(BY) != self.check.by:
            try:
                kept = self.check(persona, opened(map(read_bytes, row.photos)), check_stop)
                if place == self.shelf.place(row.id):  # and not what had to make room for another of its name
                    self.shelf.save(replace(persona, settings={**persona.settings, **kept}))
            except Exception as error:
                return replace(result, error=f"Not scored: {sentence_of(error, row.id)}")
        score, share = (value if isinstance(value := kept.get(name), float) else None for name in (SCORE, WAY))
        return replace(result, score=score, share=share)

    def learn_together(self, ready: Sequence[Prepared], watch: Watch) -> Iterator[Result]:
        """Learn, save and tell. Claims are given back, whatever happens."""
        try:
            began = time.monotonic()
            for index, learned in self.train(ready, watch):
                one = ready[index]
                try:
                    if isinstance(learned, Exception):
                        raise learned
                    persona = self.save(one, learned)
                    yield replace(told(one.row, LEARNED, persona, one.path), seconds=round(time.monotonic() - began, 3))
                except Exception as error:
                    yield failed(one.row, error)
                    if is_full(error):
                        raise DiskFull(f"The run stops, because the disk is full. {error}") from error
                one.claim.give_back()
                began = time.monotonic()
        finally:
            for one in ready:
                one.claim.give_back()

    def train(self, ready: Sequence[Prepared], watch: Watch) -> Iterator[tuple[int, Persona | Exception]]:
        """What is learned of each, or why it is not."""
        for index, one in enumerate(ready):
            learned: Persona | Exception
            try:
                learned = train_persona(one.job, one.fingerprint, one.unfinished, partial(watch, one.row.id))
            except Exception as error:
                learned = error
            yield index, learned

    def save(self, one: Prepared, persona: Persona) -> Persona:
        """With the consent that the row notes."""
        if one.row.consent:
            lines = {"by": "", "on": "", "purpose": "", "until": "", **one.row.consent}
            persona = replace(persona, consent=Consent().changed(**lines))
        saved = self.shelf.save(persona)
        one.unfinished.unlink(missing_ok=True)
        return saved


def models_of(plan: Plan) -> Models:
    """Raises NoSuchModel."""
    if plan.checkpoint:
        model, clip, vae = checkpoints.load_checkpoint(plan.checkpoint)
        vae = checkpoints.load_vae(plan.vae) if plan.vae else vae
    else:
        model = checkpoints.load_diffusion_model(plan.diffusion_model)
        clip = checkpoints.load_text_encoder(plan.text_encoder, plan.text_encoder_type or checkpoints.TEXT_TYPE)
        vae = checkpoints.load_vae(plan.vae)
    return Models(model, clip, vae, checkpoints.load_clip_vision(plan.clip_vision) if plan.clip_vision else None)


def opened_masks(row: Row) -> torch.Tensor | None:
    """[M, H, W], of how white each is."""
    return opened(map(read_bytes, row.masks)).mean(-1) if row.masks else None


def told(row: Row, status: str, persona: Persona, path: str) -> Result:
    settings = persona.settings
    batch, snr = settings.get("batch size"), settings.get(SNR)
    return Result(
        row.id,
        status,
        path,
        persona.fingerprint,
        snr=snr if isinstance(snr, float) else None,
        steps=persona.steps,
        passes=persona.steps * batch if isinstance(batch, int) else None,
    )


def failed(row: Row, error: Exception) -> Result:
    return Result(row.id, FAILED, error=sentence_of(error, row.id))


def sentence_of(error: Exception, name: str) -> str:
    """What nobody foresaw is in the log, too, and whose it was."""
    if isinstance(error, (ValueError, OSError, MemoryError, ArithmeticError)) and str(error):
        return str(error)
    log.warning("'%s' failed:", name, exc_info=error)
    return f"{type(error).__name__}: {error}"


def is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        error = error.__cause__
    return False
