"""Captions of scenes in ordinary words, and the people who have a name."""

import random

from torch import Tensor

from persona_core.prompts import PHOTO_PROMPTS

from .world import CHOICES, EYES, HAIRS, TRAITS, Scene, people

# Each is one token of CLIP's vocabulary.
NAMES = """
emma james anna john maria david sarah michael laura peter julia robert alice thomas lucy william sophie george olivia
charles emily henry chloe edward grace frank hannah oscar lily jack rose leo ruby max ella adam mia simon zoe paul eva
mark nina luke clara daniel amy kevin kate brian jane eric lisa martin helen oliver claire victor diana felix elena
hugo irene ivan judy kurt linda marcus molly nathan nora patrick paula ralph rachel samuel sandra steven susan teresa
tony vera walter wendy andrew angela arthur betty bruce carmen carl carol chris cindy derek donna dylan ethan fiona
gary gloria harry heather jason jenny jesse joan joseph karen keith kyle larry leah lewis louis marshall kimberly
dustin bobby katherine marco brent lara bryan rachael ellen arun pamela edith douglas lillian michelle allison alexa
skylar jessica sabrina amanda jeff dennis michele wesley sanjay patty mabel brandon daphne otto bianca ibrahim terri
jeremy toni eileen jennifer raymond connie roberto roger bruno lauren geoff joshua kenny henri amelia leonard mario
erin cynthia danny lucia omar marilyn gina wilbur brittany constance abby leonardo yvonne amir fernando miriam jared
pablo francisco sidney jackie megan samantha laurie delia geoffrey raul morris logan alejandro cecilia gwen monica
craig emmanuel greta mateo willie margot dora louie dorothy jonathan jill sara alicia rebecca kristen neha kenneth
steve alberto nigel isaac francesca frances stephen seth duncan shelby ezra eleanor warren jamie hailey valerie herman
isaiah phil shelly juan arnold shawn julio annie nelson abdul melanie luca benjamin peggy pierre vanessa denise miguel
roland clark liam ingrid barry trish aisha abigail lars anthony ethel chelsea shannon tamara brett lionel deepak bryce
abraham tommy cora diego frankie stephanie kendra carlos taylor vince anastasia greg alyssa karla jake garrett
lorraine bernard hassan casey gregory gabriel johnny abel joyce alfred rene neil tracy
""".split()  # noqa: SIM905
NAMED = 1  # the seed of the named people; every other seed is someone else

SUBJECTS = ("person", "face")
# As an artist may write it, beside the prompts that a persona learns with.
PLAIN_PROMPTS = ("a {}", "the {}", "a photo of a {}", "a photo of the {}")
NAME_PROMPTS = ("{}", "a photo of {}", "a picture of {}", "a portrait of {}", "a photo of a {}", "a {}")


def named_people() -> Tensor:
    """Identities [len(NAMES), len(TRAITS)], in the order of NAMES."""
    return people(len(NAMES), NAMED)


def attribute_phrases(kind: str, value: str) -> tuple[str, ...]:
    """What may be said of an attribute; nothing that is not there is called by name."""
    if kind == "background":
        return tuple(f"{link} a {value} background" for link in ("on", "in front of", "with"))
    if kind == "hat":
        thing = {"none": "hat", "crown": "crown"}.get(value, f"{value} hat")
        return ("without a hat",) if value == "none" else (f"wearing a {thing}", f"with a {thing}", f"in a {thing}")
    if kind == "glasses":
        return {
            "none": ("without glasses",),
            "round": ("wearing round glasses", "with round glasses", "wearing glasses", "with glasses"),
            "dark": ("wearing dark glasses", "with dark glasses", "wearing sunglasses", "with sunglasses"),
        }[value]
    return {
        "neutral": ("with a neutral face", "looking calm"),
        "smiling": ("smiling", "with a smile", "looking happy"),
        "sad": ("looking sad", "with a sad face"),
        "surprised": ("looking surprised", "with an open mouth"),
    }[value]


# What most pictures lack is mentioned less often.
MENTION = {"none": 0.25, "neutral": 0.4}


def nearest(ramp, x: float) -> str | None:
    """The name of the colour at x in 0..1 of a ramp, or None between two names."""
    at = x * (len(ramp) - 1)
    return list(ramp)[round(at)] if abs(at - round(at)) < 0.34 else None


def describing_words(identity) -> list[str]:
    """Phrases that are true of a person: the part of an identity that has words. identity: [len(TRAITS)]."""
    trait = dict(zip(TRAITS, map(float, identity)))
    hair, eyes = nearest(HAIRS, trait["hair_colour"]), nearest(EYES, trait["eye_colour"])
    length = {True: "long", False: "short"}.get(
        trait["hair_length"] > 0.5 if abs(trait["hair_length"] - 0.5) > 0.1 else None
    )
    found = [
        (hair, f"with {hair} hair"),
        (length, f"with {length} hair"),
        (hair and length, f"with {length} {hair} hair"),
        (eyes, f"with {eyes} eyes"),
        (trait["skin"] < 0.25, "with pale skin"),
        (trait["skin"] > 0.75, "with dark skin"),
        (trait["beard"] > 0.65, "with a beard"),
        (trait["beard"] < 0.45, "without a beard"),
        (trait["width"] < 0.3, "with a thin face"),
        (trait["width"] > 0.7, "with a wide face"),
        (trait["eye_size"] < 0.25, "with small eyes"),
        (trait["eye_size"] > 0.75, "with big eyes"),
    ]
    return [phrase for true, phrase in found if true]


def caption(scene: Scene, row: int, name: str | None, chance: random.Random) -> str:
    """One of the many true captions of a picture."""
    attributes = {kind: list(values)[int(getattr(scene, kind)[row])] for kind, values in CHOICES.items()}
    phrases = [
        chance.choice(attribute_phrases(kind, value))
        for kind, value in attributes.items()
        if chance.random() < MENTION.get(value, 0.65)
    ]
    words = describing_words(scene.identity[row])
    chance.shuffle(words)
    if chance.random() < (0.15 if name else 0.7):
        phrases += words[: chance.randint(1, 3)]
    chance.shuffle(phrases)
    bank = chance.choice((NAME_PROMPTS, PHOTO_PROMPTS) if name else (PLAIN_PROMPTS, PHOTO_PROMPTS))
    return said(chance.choice(bank).format(name or chance.choice(SUBJECTS)), phrases, chance)


def said(beginning: str, phrases: list[str], chance: random.Random) -> str:
    text = beginning
    for index, phrase in enumerate(phrases):
        links = (" ", ", ") if index == 0 else (", ", " and ", " ")
        text += chance.choice(links) + phrase
    return text


def vocabulary() -> list[str]:
    """Every word that a caption can hold."""
    texts = [", and", "hair eyes skin beard", "thin wide face", "long short big small pale dark"]
    texts += [*SUBJECTS, *NAMES, *PLAIN_PROMPTS, *NAME_PROMPTS, *PHOTO_PROMPTS, *HAIRS, *EYES]
    texts += [text for kind, values in CHOICES.items() for value in values for text in attribute_phrases(kind, value)]
    return sorted({word for text in texts for word in text.replace("{}", " ").replace(",", " , ").split()})
