"""Learning the people of a table, each row to a result. Imports the host: see `Plan.learner`."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from ..consent import LINES, Consent
from ..host import checkpoints, store
from ..host.learn.jobs import JOBS, Models
from ..host.learn.run import TrainingJob, Wanted, train_personas
from ..host.messages import log
from ..host.photos import opened
from ..persona import Persona
from ..progress import Progress
from .claims import PAUSE, Claim
from .likeness_check import BY, PROMPTS, SCORE, WAY, LikenessCheck
from .outcomes import DiskFull, failed, is_full, sentence_of, told
from .plan import Plan
from .results import FAILED, LEARNED, THERE, Result
from .row_log import about_the_row
from .rows import Row
from .shelf import shelf_of
from .storage import read_bytes

Watch = Callable[[str, Progress], None]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A row, ready to be learned once the claim is ours."""

    row: Row
    job: TrainingJob
    fingerprint: str
    path: str
    unfinished: Path
    claim: Claim


class Learner:
    """Learns rows, so many at once as the plan says, with models that are loaded once."""

    def __init__(self, plan: Plan):
        self.plan, self.shelf = plan, shelf_of(plan.out)
        store.register_folder()
        self.models = models_of(plan).for_many()
        self.check = LikenessCheck(self.models, plan.scored_with or PROMPTS) if plan.score else None

    @torch.inference_mode()  # as the host runs nodes
    def learn(
        self,
        rows: Sequence[Row],
        on_step: Callable[[str, Progress], None] = lambda name, progress: None,
        check_stop: Callable[[], None] = lambda: None,
        on_result: Callable[[Result], None] = lambda result: None,
    ) -> list[Result]:
        """A result for each row, which on_result is given as soon as it is known.

        on_step: is told of each step, and of whose learning. check_stop: what it raises between two steps, if that is
        no Exception, ends the run; what is unfinished is kept. Raises DiskFull, behind the result of the row it met.
        """
        results: list[Result] = []
        self.models.load()  # or each wave would bring its own

        def watch(name: str, progress: Progress) -> None:
            on_step(name, progress)
            check_stop()

        by_id = {row.id: row for row in rows}

        def tell(result: Result) -> None:
            try:
                result = self.scored(by_id[result.id], result, check_stop)
            finally:  # who is learned is told of, also where it stops before they are scored
                results.append(result)
                on_result(result)

        ready: list[Prepared] = []
        elsewhere: list[Row] = []
        try:
            for row in rows:
                made = self.prepare(row)
                if isinstance(made, Prepared):
                    ready.append(made)
                elif made is None:
                    elsewhere.append(row)
                else:
                    tell(made)
                if len(ready) == self.plan.wave:
                    self.learn_wave(ready, watch, tell)
                    ready.clear()
                check_stop()
            self.learn_wave(ready, watch, tell)
        finally:
            for one in ready:
                one.claim.give_back()
        for row in elsewhere:  # one at a time: who holds one claim and waits for another may wait for ever
            seen = self.look_at(row)
            while (made := self.claimed(seen)) is None:
                check_stop()
                time.sleep(PAUSE)
            if isinstance(made, Prepared):
                self.learn_wave([made], watch, tell)
            else:
                tell(made)
        return results

    def prepare(self, row: Row) -> Prepared | Result | None:
        """Ready to be learned, or what became of it already; None where another command learns it just now."""
        return self.claimed(self.look_at(row))

    @about_the_row
    def look_at(self, row: Row) -> Prepared | Result:
        """With its photos read, and faces found."""
        try:
            if row.problem:
                raise ValueError(row.problem)
            image, mask = opened(map(read_bytes, row.photos)), opened_masks(row)
            job = JOBS[row.method](self.models, row.id, image, mask, **row.settings)
            fingerprint = job.fingerprint()
            unfinished = self.shelf.unfinished(row.id, fingerprint)
            return Prepared(row, job, fingerprint, self.shelf.place(row.id), unfinished, Claim(unfinished))
        except Exception as error:
            return failed(row, error)

    def claimed(self, one: Prepared | Result) -> Prepared | Result | None:
        """As `prepare`."""
        if isinstance(one, Result):
            return one
        try:
            if there := self.find(one):
                one.claim.tidy()
                return there
            self.shelf.check_writable(one.row.id)
            if not one.claim.take():
                return None
            if there := self.find(one):  # whoever had the claim has learned it
                one.unfinished.unlink(missing_ok=True)
                one.claim.give_back()
                return there
            return one
        except Exception as error:
            one.claim.give_back()
            return failed(one.row, error)

    def find(self, one: Prepared) -> Result | None:
        """What is there already, with the consent that the row notes now."""
        persona, place = self.shelf.find(one.row.id, one.fingerprint, one.job.is_kept_by) or (None, "")
        if persona is None:
            return None
        if one.row.consent and (noted := agreed(persona.consent, one.row)) != persona.consent:
            persona = replace(persona, consent=noted)
            self.shelf.note(persona, place)
        return told(one.row, THERE, persona, place)

    def learn_wave(self, ready: Sequence[Prepared], watch: Watch, tell: Callable[[Result], None]) -> None:
        """Learn, and tell each as soon as it is known; where they are scored, once the models are free to paint."""
        if not self.check:
            self.learn_together(ready, watch, tell)
            return
        found: list[Result] = []
        try:
            self.learn_together(ready, watch, found.append)
        finally:
            with ExitStack() as each:  # of them is told of, whatever stops one's score
                for result in reversed(found):
                    each.callback(tell, result)

    def scored(self, row: Row, result: Result, check_stop: Callable[[], None]) -> Result:
        """With the score that the persona's file keeps, or a new one, which it then keeps."""
        found = self.shelf.find(row.id, result.fingerprint) if self.check and result.status != FAILED else None
        if not self.check or not found:
            return result
        persona, place = found
        kept = persona.settings
        if kept.get(BY) != self.check.by:
            check_stop()  # before a face is looked for
            try:
                kept = self.check(persona, opened(map(read_bytes, row.photos)), check_stop)
                if place == self.shelf.place(row.id):  # and not what had to make room for another of its name
                    self.shelf.save(replace(persona, settings={**persona.settings, **kept}))
            except Exception as error:
                return replace(result, error=f"{result.error} Not scored: {sentence_of(error, row.id)}".strip())
        score, share = (value if isinstance(value := kept.get(name), float) else None for name in (SCORE, WAY))
        return replace(result, score=score, share=share)

    def learn_together(self, ready: Sequence[Prepared], watch: Watch, tell: Callable[[Result], None]) -> None:
        """Learn, save and tell. Claims are given back, whatever happens."""
        left = {one.unfinished: one for one in ready}  # each a file of its own, by its claim
        seconds: dict[Prepared, float] = {}
        ended: list[Exception] = []

        def after_step(one: Prepared, progress: Progress) -> None:
            seconds[one] = progress.seconds
            watch(one.row.id, progress)

        def done(wanted: Wanted, learned: Persona | Exception) -> None:
            one = left.pop(wanted.unfinished)
            result, trouble = self.result_of(one, learned, seconds.get(one, 0.0))
            one.claim.give_back()
            try:
                tell(result)
                if is_full(trouble):
                    raise DiskFull(f"The run stops, because the disk is full. {trouble}") from trouble
            except Exception as error:
                ended.append(error)
                raise

        def warn(name: str, trouble: str) -> None:
            log.warning("%s: %s", name, trouble)

        wanted = [
            Wanted(one.job, one.fingerprint, one.unfinished, partial(after_step, one), partial(warn, one.row.id))
            for one in ready
        ]
        try:
            train_personas(wanted, self.plan.at_once, done)
        except Exception as error:
            if ended:
                raise
            if len(left) == 1:
                done(next(one for one in wanted if one.unfinished in left), error)
            elif not left:  # all are told of; but something is wrong
                log.warning("After learning:", exc_info=error)
            # Each alone, from where they are: whose fault it was is not known.
            for one in list(left.values()):
                self.learn_together([one], watch, tell)
        finally:
            for one in ready:
                one.claim.give_back()

    def result_of(self, one: Prepared, learned: Persona | Exception, seconds: float) -> tuple[Result, Exception | None]:
        """Once it is saved; and what went wrong."""
        try:
            if isinstance(learned, Exception):
                raise learned
            persona = self.save(one, learned)
            return replace(told(one.row, LEARNED, persona, one.path), seconds=round(seconds, 3)), None
        except Exception as error:
            return failed(one.row, error), error

    def save(self, one: Prepared, persona: Persona) -> Persona:
        """With the consent that the row notes."""
        persona = replace(persona, consent=agreed(persona.consent, one.row))
        saved = self.shelf.save(persona, one.job.form_of)
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


def agreed(before: Consent, row: Row) -> Consent:
    """With what the row notes, as Save Persona notes it."""
    return before.changed(**{line: row.consent.get(line, "") for line in LINES})
