"""How long and how fast to learn: as a preset says, or as the gradients of the pictures themselves tell.

Near its word a token can learn only what the gradients of single pictures have in common. If that is s times as long as
what chance adds to each, then after n pictures the token points into the person's direction with a cosine of
sqrt(s^2 n / (1 + s^2 n)). So n follows from s, which can be measured on any checkpoint while it learns. Where that
leads, there may be more to learn, in other directions: a second look tells.

The same cosine is not the same luck. Chance that is spread over thousands of directions hardly shows in pictures; in a
few, which are those that the model is most sensitive to, it makes another face of each seed. How many there are can be
measured too, and where they are few, more pictures are learned from, in shorter steps.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from .signal_meter import SignalMeter
from .task import TrainingSettings, TrainingTask

if TYPE_CHECKING:
    from .progress import Progress


@dataclass(frozen=True)
class Care:
    """How carefully a persona is learned.

    least, enough: pictures of a round are least + (enough / s)^2; the first few are Adam's, whose first steps have one
    length for all numbers, whatever their gradients. pace: how far a token moves in a step of two pictures, in spreads
    of its word, at s = 1; in proportion to s, so that tokens come as far in the end whatever s is. again: pictures of
    the second look are (again / s)^2. longer, unsure: how many times as many pictures as before are learned from after
    that, at most: where it finds a signal, and where chance hides whether there is one.
    """

    least: float
    enough: float
    pace: float
    again: float
    longer: float
    unsure: float


# Where chance has many directions: for a cosine of 0.957 if every picture counted alike, which is 0.95 with a rate that
# falls. And where it has few: as many as make a face the same with every seed.
USUAL = Care(least=11.0, enough=3.3, pace=0.8, again=1.5, longer=3.0, unsure=1.0)
CAREFUL = Care(least=70.0, enough=4.5, pace=0.15, again=3.3, longer=0.5, unsure=0.0)
FEW_DIRECTIONS = 64  # halfway between both
PICTURES = 2  # of a step that goes at that pace
LEAST_SIGNAL, MOST_SIGNAL = 0.02, 1.0
# Pictures that are looked at before anything moves: more where chance has few directions, as it can look like a strong
# signal there, and as long as the signal is not sure.
LOOK, CAREFUL_LOOK, LONGEST_LOOK = 8, 24, 256
# Pictures of the second look at least; and how much of the signal must be left, as chance has moved tokens too.
LOOK_AGAIN, MORE = 4, 0.4
# Of the minutes, after which the speed is known, and which a look may take at most.
WARM, LOOKING = 0.1, 0.2


class Budget:
    """How many steps, and each one's learning rate: as the settings say."""

    def __init__(self, settings: TrainingSettings):
        self.settings = settings

    def steps(self, progress: Progress) -> int:
        """In all, as far as is known after so much progress."""
        return self.settings.steps

    def learning_rate(self, progress: Progress) -> float:
        """Of the next step."""
        return self.settings.learning_rate_at(progress.step)

    def highest_rate(self, progress: Progress) -> float:
        """With which learning begins, or would but for the warm-up."""
        return self.settings.learning_rate

    def look(self, progress: Progress) -> SignalMeter | None:
        """What the next step's gradients are to be shown to, if it is a look."""
        meter = progress.meter
        return meter if meter.count < LOOK else None

    def knows(self, progress: Progress) -> bool:
        """Whether it is known how many steps there are."""
        return True

    def in_time(self, progress: Progress) -> bool:
        """Whether learning that ends there has all the steps that it wants."""
        return True


class MeasuredBudget(Budget):
    """As many steps as the signal in the gradients asks for; at most those of the settings, and their minutes. The
    learning rate follows from the signal too, unless the settings have one.

    Steps are a look, in which nothing moves, a round of learning, a second look, and if that finds a signal, a round of
    learning from it.
    reach, pieces, apart: of what is learned, see Learnable. examples: of a step.
    """

    def __init__(self, settings: TrainingSettings, reach: float, examples: float, pieces: int = 1, apart: float = 1):
        super().__init__(settings)
        self.reach, self.examples, self.pieces, self.apart = reach, examples, pieces, apart

    def steps(self, progress: Progress) -> int:
        most = self.most(progress)
        return min(most, self.wanted(progress)) if self.knows(progress) else most

    def knows(self, progress: Progress) -> bool:
        return not self.looks(progress)

    def wanted(self, progress: Progress) -> int:
        """Steps in all, after the first look."""
        first = progress.meter
        return first.steps + self.round(first) + self.second_look(first) + self.second_round(progress)

    def in_time(self, progress: Progress) -> bool:
        wanted = math.inf if looks(progress.meter) else self.wanted(progress)
        return not self.settings.minutes or progress.step >= min(self.settings.steps, wanted)

    def learning_rate(self, progress: Progress) -> float:
        if self.look(progress) is not None:
            return 0.0
        first, again = progress.meters
        began, steps, signal = first.steps, self.round(first), first.signal_to_noise
        if progress.step >= began + steps:
            began, steps = began + steps + again.steps, self.second_round(progress)
            signal = min(signal, again.signal_to_noise if again.sure_of_some else again.most_signal_to_noise)
        steps = min(steps, self.most(progress) - began)
        return self.rate(signal, first) * max(0.0, 1 - (progress.step - began) / max(1, steps))

    def highest_rate(self, progress: Progress) -> float:
        return self.rate(progress.meter.signal_to_noise, progress.meter)

    def rate(self, signal: float, look: SignalMeter) -> float:
        """Of the first step after a look that found so much signal."""
        # More pictures a step are fewer steps, and have less chance in their mean: of a step of Adam's, which has one
        # length, more is the person.
        signal = min(signal, MOST_SIGNAL)
        more = self.examples / PICTURES
        more *= (1 + self.examples * signal**2) / (1 + PICTURES * signal**2)
        return self.settings.learning_rate or pace(signal * math.sqrt(more), self.care(look)) / self.reach

    def look(self, progress: Progress) -> SignalMeter | None:
        first, again = progress.meters
        if self.looks(progress):
            return first
        at_the_end = progress.step >= first.steps + self.round(first)
        return again if at_the_end and again.steps < self.second_look(first) else None

    def looks(self, progress: Progress) -> bool:
        """Whether the first look is not over; what it takes too long for must do with what is known."""
        longest = 60 * LOOKING * self.settings.minutes
        tired = longest and progress.seconds > longest and progress.meter.count >= LOOK
        return looks(progress.meter) and not tired

    def most(self, progress: Progress) -> int:
        """Steps that are allowed."""
        most, seconds = self.settings.steps, 60 * self.settings.minutes
        # Not by what the first steps took, which are slow: how long they take must not change what is learned.
        if seconds and progress.seconds > WARM * seconds:
            most = min(most, math.floor(progress.step * seconds / progress.seconds))
        return most

    def round(self, meter: SignalMeter, care: Care | None = None) -> int:
        """Steps of learning after a look, by what it found; as many as are allowed where that is nothing. The shortest
        look is among them: Adam has seen it. Of many pictures each, they are no fewer than a clear signal asks for: in
        one step a token goes only so far."""
        signal, care = meter.signal_to_noise, care or self.care(meter)
        if not signal:
            return self.settings.steps
        steps = math.ceil(self.pictures(signal, care) / self.examples)
        return max(steps, math.ceil(self.pictures(max(signal, MOST_SIGNAL), care) / PICTURES))

    def pictures(self, signal: float, care: Care) -> float:
        """Of a round."""
        return self.pieces * care.least + self.apart * (care.enough / signal) ** 2 - LOOK

    def second_look(self, first: SignalMeter) -> int:
        """Steps of it."""
        signal = first.signal_to_noise
        if not signal:
            return math.ceil(LOOK_AGAIN / self.examples)
        # A careful one may be longer than a usual one only as far as any look may.
        longest = max(LONGEST_LOOK, (USUAL.again / signal) ** 2)
        pictures = min((self.care(first).again / signal) ** 2, longest)
        return math.ceil(max(LOOK_AGAIN, pictures) / self.examples)

    def second_round(self, progress: Progress) -> int:
        """Steps of learning after the second look; none before that is over."""
        first, again = progress.meters
        if again.steps < self.second_look(first) or again.most_signal_to_noise < MORE * first.signal_to_noise:
            return 0
        care, steps = self.care(first), self.round(first)
        if again.sure_of_some:
            return min(self.round(again, care), math.ceil(care.longer * steps))
        return round(care.unsure * steps)

    def care(self, meter: SignalMeter) -> Care:
        """What a look asks for. Pieces have each a chance of their own, and even out."""
        share = 1 / (1 + (meter.directions / FEW_DIRECTIONS) ** 4) / self.apart
        both = zip(astuple(USUAL), astuple(CAREFUL))
        return Care(*((1 - share) * usual + share * careful for usual, careful in both))


def looks(meter: SignalMeter) -> bool:
    """Whether the first look is not over."""
    if meter.count < LOOK or (meter.directions < FEW_DIRECTIONS and meter.count < CAREFUL_LOOK):
        return True
    return not meter.sure and meter.count < LONGEST_LOOK


def pace(signal: float, care: Care = USUAL) -> float:
    """How far a token moves in the first step after a look that found this signal, in spreads of its word."""
    return care.pace * min(max(signal, LEAST_SIGNAL), MOST_SIGNAL)


def budget_of(task: TrainingTask) -> Budget:
    settings, learned = task.settings, task.representation
    if not settings.measured:
        return Budget(settings)
    examples = settings.batch_size / task.noise_multiplicity
    return MeasuredBudget(settings, learned.reach, examples, learned.pieces, learned.apart)
