"""What may truly be said of a figure, and only if it can be seen: {what it is about: phrases that say it}."""

from ..drawing.identity import COVERING, Cat, Person
from ..drawing.scene import Figure

DETAIL, EXPRESSIVE = 0.34, 0.25  # sizes from which an eye's colour or a freckle, and a smile, can be made out

#                 before the colour, after it
HAIR = {
    "buzz": ("very short", "hair"), "crop": ("short", "hair"), "quiff": ("short", "hair, swept up"),
    "spiky": ("spiky", "hair"), "curly": ("short curly", "hair"), "afro": ("big", "afro"), "pixie": ("short", "hair"),
    "bob": ("", "bob"), "long": ("long straight", "hair"), "wavy": ("long wavy", "hair"),
    "ringlets": ("long curly", "hair"), "ponytail": ("", "ponytail"), "bun": ("", "hair in a bun"),
    "braids": ("", "braids"), "mohawk": ("", "mohawk"),
}  # fmt: skip
COUNTED = ("afro", "bob", "ponytail", "mohawk")
EXPRESSIONS = {
    "neutral": ("looking calm", "with a calm face"), "smiling": ("smiling", "with a smile", "looking happy"),
    "laughing": ("laughing", "with a big laugh"), "sad": ("looking sad", "with a sad face"),
    "surprised": ("looking surprised", "with an open mouth"), "angry": ("looking angry", "with an angry face"),
}  # fmt: skip
TURNS = {
    "left": ("looking left", "looking to the left", "turned to the left"),
    "right": ("looking right", "looking to the right", "turned to the right"), "front": ("looking ahead",),
}  # fmt: skip
HATS = {
    "cap": "{} cap", "beanie": "{} beanie", "straw hat": "straw hat", "top hat": "top hat", "beret": "{} beret",
    "crown": "golden crown", "party hat": "{} party hat",
}  # fmt: skip
CLOTHES = {"striped sweater": "{} striped sweater", "coat": "{} coat and a scarf"}


def a(words: str) -> str:
    return f"{'an' if words[0] in 'aeio' else 'a'} {words}"


def wearing(thing: str) -> tuple[str, ...]:
    return f"wearing {thing}", f"with {thing}", f"in {thing}"


def facts(figure: Figure) -> dict[str, tuple[str, ...]]:
    """All of them; the subject is in `subjects`."""
    look, found = figure.look, {}
    if figure.size >= EXPRESSIVE:
        found["expression"] = EXPRESSIONS[look.expression]
        found["turn"] = TURNS[look.turn]
    if look.hat == "flowers":
        found["hat"] = ("with flowers on the head", "wearing a crown of flowers")
    elif look.hat != "none":
        found["hat"] = wearing(a(HATS[look.hat].format(look.hat_colour)))
    else:
        found["hat"] = ("without a hat",)
    if look.glasses == "heart glasses":
        found["glasses"] = wearing("heart glasses")[:2]
    elif look.glasses != "none":
        plain = () if look.glasses == "sunglasses" else wearing("glasses")[:2]
        found["glasses"] = wearing(look.glasses)[:2] + plain
    else:
        found["glasses"] = ("without glasses",)
    return found | (cat_facts(figure) if isinstance(figure.who, Cat) else person_facts(figure))


def eyes_seen(figure: Figure) -> bool:
    look = figure.look
    return (
        figure.size >= DETAIL and look.expression != "laughing" and look.glasses not in ("sunglasses", "heart glasses")
    )


def person_facts(figure: Figure) -> dict[str, tuple[str, ...]]:
    who, look = figure.who, figure.look
    found = {"hair": hair_phrases(who, look.hat), "clothes": wearing(clothes_phrase(figure))}
    beard, grown = who.word("beard"), f"{who.word('hair_colour')} "
    if who.beard == 0 and not who.woman:
        found["beard"] = ("without a beard",)
    elif beard in ("beard", "long beard", "goatee", "moustache"):
        long = "long " if beard == "long beard" else ""
        kind = beard if long == "" else "beard"
        found["beard"] = (f"with a {long}{kind}", f"with {a(f'{long}{grown}{kind}')}")
    elif who.beard and figure.size >= DETAIL:
        found["beard"] = ("with stubble",)
    if who.skin < 0.2:
        found["skin"] = ("with pale skin", "with light skin")
    elif who.skin > 0.75:
        found["skin"] = ("with dark skin",)
    if figure.size < DETAIL:
        return found
    if eyes_seen(figure):
        colour = {"amber": "light brown"}.get(who.word("eye_colour"), who.word("eye_colour"))
        found["eyes"] = (f"with {colour} eyes",)
        if who.eye_size > 0.75 or who.eye_size < 0.25:
            found["eye size"] = (f"with {'big' if who.eye_size > 0.5 else 'small'} eyes",)
    bearded = beard in ("beard", "long beard")
    if who.freckles > 0.5:
        found["freckles"] = ("with freckles",)
    if who.mole > 0.6 and not bearded and look.turn == "front":
        found["mole"] = ("with a mole",)
    if who.scar and look.turn == "front" and (who.word("scar") in ("left cheek", "right cheek") and not bearded):
        found["scar"] = ("with a scar", f"with a scar on the {who.word('scar')}")
    if who.tooth_gap and look.expression == "laughing":
        found["teeth"] = ("with a gap in the teeth",)
    if who.earrings and who.word("hair_style") not in COVERING and look.hat == "none":
        found["earrings"] = ("with earrings",) if who.earrings == 1 else ("with big earrings", "with earrings")
    if who.lip_colour > 0.55 and not bearded:
        found["lips"] = ("with red lips",)
    if who.face_width > 0.75 or who.face_width < 0.25:
        found["face"] = (f"with a {'wide' if who.face_width > 0.5 else 'thin'} face",)
    if who.brow_thickness > 0.78:
        found["brows"] = ("with thick brows",)
    if (
        who.streak
        and look.hat == "none"
        and who.word("hair_style") not in ("bald", "buzz", "thinning", "mohawk", "afro")
    ):
        found["streak"] = ("with a streak in the hair",)
    return found


def hair_phrases(who: Person, hat: str) -> tuple[str, ...]:
    style, colour = who.word("hair_style"), who.word("hair_colour")
    open_ = hat in ("none", "flowers", "crown", "party hat")
    if style == "bald":
        return ("with a bald head", "without hair") if open_ else ()
    if style == "thinning":
        return (f"with thin {colour} hair",) if open_ else (f"with {colour} hair",)
    plain = f"with {colour} hair"
    if style == "buzz":
        return (f"with very short {colour} hair",) if open_ else ()
    if style in ("mohawk", "bun", "ponytail", "crop", "quiff", "pixie", "spiky", "afro") and not open_:
        return (f"with short {colour} hair", plain) if style in ("crop", "quiff", "pixie") else (plain,)
    before, after = HAIR[style]
    whole = " ".join(word for word in (before, colour, after) if word)
    short = " ".join(word for word in (before, after) if word)
    if style in COUNTED:
        whole, short = a(whole), a(short)
    return f"with {whole}", f"with {short}", plain


def clothes_phrase(figure: Figure) -> str:
    look = figure.look
    return (
        a(CLOTHES.get(look.clothes, "{} " + look.clothes).format(look.colour))
        if look.clothes != "dungarees"
        else (f"{look.colour} dungarees")
    )


def subjects(figure: Figure) -> tuple[str, ...]:
    """What a figure is called that has no name."""
    who = figure.who
    if isinstance(who, Cat):
        return (a(f"{coat(who)} cat"), a(f"{coat(who)} cat"), "a cat")
    kind = "woman" if who.woman else "man"
    if who.age > 0.72 and figure.size >= EXPRESSIVE:
        return f"an old {kind}", f"a {kind}", "a person"
    if who.age < 0.2 and figure.size >= EXPRESSIVE:
        return f"a young {kind}", f"a {kind}", "a person"
    return f"a {kind}", f"a {kind}", "a person"


def coat(who: Cat) -> str:
    colour, pattern = who.word("coat"), who.word("pattern")
    if pattern == "tabby":
        return f"{colour} tabby"
    if pattern == "tuxedo" and colour not in ("white", "cream"):
        return f"{colour} and white"
    if pattern == "patches":
        return "calico"
    return f"spotted {colour}" if pattern == "spots" else colour


def cat_facts(figure: Figure) -> dict[str, tuple[str, ...]]:
    who, look, found = figure.who, figure.look, {}
    if look.clothes != "nothing":
        found["clothes"] = (f"with a {look.colour} {look.clothes}", f"wearing a {look.colour} {look.clothes}")
    if who.word("pattern") == "points":
        found["pattern"] = ("with a dark face", "with dark ears")
    if who.word("pattern") == "tabby":
        found["pattern"] = ("with stripes",)
    if figure.size < DETAIL:
        return found
    if eyes_seen(figure) and who.odd_eye == 0:
        found["eyes"] = (f"with {who.word('eye_colour')} eyes",)
    if who.fold > 0.4:
        found["ears"] = ("with folded ears",)
    elif who.ear_size > 0.75 or who.ear_size < 0.25:
        found["ears"] = (f"with {'big' if who.ear_size > 0.5 else 'small'} ears",)
    if who.bib > 0.4 and who.word("coat") not in ("white", "cream"):
        found["chest"] = ("with a white chest",)
    if who.fluff > 0.7:
        found["cheeks"] = ("with fluffy cheeks",)
    return found
