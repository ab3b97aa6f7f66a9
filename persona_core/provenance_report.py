"""What a picture's file says of where it comes from, in sentences, and how far that is to be believed."""

from collections.abc import Mapping

from .content_credentials import INSTALL, TRUSTED, Credentials
from .files import shown
from .provenance import Told
from .watermark import WORD, Sought

MOST = 20  # personas that are named


def describe(
    told: Told, signed: Credentials | None, personas: list[Mapping[str, object]], sought: Sought | None = None
) -> str:
    """A line a fact. personas: as `nodes/picture_info` wrote them into a picture, or as anybody did. sought: of a
    watermark; None where it is not spoken of."""
    believed = signed if signed is not None and signed.state in ("Valid", "Trusted") else None
    facts = {
        "marked as generated": mark(told, believed, bool(sought and sought.found)),
        "signed": signature(signed),
        "made with": tool(told, believed),
        "a likeness was used": likeness(believed, bool(personas)),
        "personas": names(believed, personas),
        **({"watermark": watermark(sought)} if sought else {}),
    }
    return "\n".join(f"{fact}: {said}" for fact, said in facts.items())


def mark(told: Told, signed: Credentials | None, in_pixels: bool) -> str:
    places = ["its metadata"] * told.generated + ["its signed record"] * bool(signed and signed.generated)
    places += ["its pixels"] * in_pixels
    if places:
        return f"yes, in {' and in '.join(places)}"
    other = f" (its metadata says {shown(told.source_type)})" if told.source_type else ""
    return f"no{other}. That proves nothing: a mark is lost where a picture is saved again or sent by a messenger"


def watermark(sought: Sought) -> str:
    if sought.unread:
        return f"not looked for ({sought.unread})"
    if sought.found:
        return (
            f"yes, its pixels say that it is generated ({sought.agreeing} of {len(WORD)} bits agree). But anybody can "
            "write that into any picture"
        )
    return "none found. That proves nothing: few pictures have one. It stands JPEG and another size, but no cut"


def signature(signed: Credentials | None) -> str:
    if signed is None:
        return "no"
    if signed.state == "Unchecked":
        return f"perhaps. It has Content Credentials, which cannot be checked here: {INSTALL}"
    by = shown(signed.signer, 120) if signed.signer else "somebody who is not named"
    if signed.state == "Trusted":
        return f"yes, by {by}, whom this machine trusts. The file is as it was signed"
    if signed.state == "Valid":
        return (
            f"yes, in the name of {by}. The file is as it was signed, but nobody whom this machine trusts ({TRUSTED}) "
            "says that the name is right"
        )
    why = f" ({', '.join(shown(one, 120) for one in signed.faults[:3])})" if signed.faults else ""
    return f"NOT VALID{why}: the file was changed after {by} signed it, or they did not. Do not believe what it says"


def tool(told: Told, signed: Credentials | None) -> str:
    named = (signed and signed.tool) or told.tool
    return shown(named, 80) if named else "not said"


def likeness(signed: Credentials | None, named: bool) -> str:
    if signed is not None and signed.likeness is not None:
        return f"{'yes' if signed.likeness else 'no'}, says the signed record"
    return "yes, says its metadata" if named else "not said"


def names(signed: Credentials | None, personas: list[Mapping[str, object]]) -> str:
    said = [f"{shown(one, 80)}, says the signed record" for one in (signed.personas if signed else ())]
    said += [applied(one) for one in personas]
    more = f"; and {len(said) - MOST} more" if len(said) > MOST else ""
    return "; ".join(said[:MOST]) + more if said else "none named"


def applied(persona: Mapping[str, object]) -> str:
    """As one Apply had it."""
    name, placeholder, strength = (persona.get(key) for key in ("persona", "placeholder", "strength"))
    said = [shown(name, 80) if name else "one without a name"]
    said += [f"as {shown(placeholder)}"] if placeholder else []
    said += [f"with strength {shown(strength)}"] if strength is not None else []
    return " ".join(said)
