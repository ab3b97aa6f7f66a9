"""A persona: what was learned of one person, pet or character, and its file.

The file is one .safetensors: the tensors that generating needs in fp16, and strings of metadata. It holds no
picture, and no embedding of one.
"""

import json
import re
import unicodedata
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from .consent import Consent
from .files import QUOTED, PersonaFileError, called, opened, shapes_in, shown, tensors_in, write_whole
from .kv_tokens import KVTokens
from .mapper import StageMapper
from .representation import Saved
from .schema import CHECKSUM, Metadata, check_layout, check_numbers, check_sum, check_widths, checksum
from .stage_vectors import StageVectors

FORMAT = "persona/1"
LAST_LAYER = "CLIP's last layer"  # in settings: as CLIP Set Last Layer counts, of the CLIP it was learned with
KINDS = {kind.kind: kind for kind in (StageMapper, StageVectors, KVTokens)}


@dataclass(frozen=True)
class Persona:
    """What was learned.

    family: the text encoder it was learned for, as "SD1.x (clip_l, 768 wide)". supercategory: the common word
    for its kind. settings, losses: how it was learned and one list of values a loss term. fingerprint: of all
    that went into learning; the same inputs have the same one. placeholder: what stands for it in prompts where
    nobody says otherwise; of its name, if it is empty. consent: who agreed that it is used.
    """

    name: str
    representation: Saved
    family: str
    supercategory: str
    settings: Mapping[str, object] = field(default_factory=dict)
    losses: Mapping[str, list[float]] = field(default_factory=dict)
    fingerprint: str = ""
    placeholder: str = ""
    consent: Consent = Consent()

    def __post_init__(self):
        if not self.placeholder:
            object.__setattr__(self, "placeholder", placeholder_of(self.name))

    @property
    def steps(self) -> int:
        """How many it was learned for; a file that others made may not say it."""
        said = self.settings.get("steps")
        return said if isinstance(said, int) and said > 0 else max(map(len, self.losses.values()), default=1)

    def not_for(self, found: str) -> ValueError:
        """What to raise where the persona meets another family. found: as "this CLIP is SD2.x"."""
        return ValueError(
            f"The persona {shown(self.name, QUOTED)} was learned for {shown(self.family, QUOTED)}, but {found}. "
            "Use a checkpoint of the persona's family, or learn the persona again with this one."
        )

    @property
    def learned(self) -> str:
        """A checksum of what was learned, the same whatever it is called and whatever else its file says."""
        tensors, metadata = self.parts()
        return checksum(tensors, {**metadata, "losses": ""})

    def small(self) -> "Persona":
        """The same persona in a smaller file, where there is one."""
        return replace(self, representation=self.representation.small())

    def as_filed(self) -> "Persona":
        """With the numbers that its file has."""
        kept = deepcopy(self.representation.exported())
        kept.load_state_dict({name: value.half().float() for name, value in kept.state_dict().items()})
        return replace(self, representation=kept)

    def parts(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The file's tensors and metadata."""
        kept = self.representation.exported()
        tensors = {name: value.detach().cpu().half().contiguous() for name, value in kept.state_dict().items()}
        metadata = {
            "format": FORMAT,
            "kind": kept.kind,
            "name": self.name,
            "placeholder": self.placeholder,
            "family": self.family,
            "supercategory": self.supercategory,
            "tokens": str(kept.tokens),
            "stages": json.dumps([kept.stages.t_lo, kept.stages.t_hi]),
            "widths": json.dumps(kept.widths),
            "settings": json.dumps(dict(self.settings)),
            "losses": json.dumps({name: thinned(values, kept.history) for name, values in self.losses.items()}),
            "fingerprint": self.fingerprint,
        }
        if noted := self.consent.fields():
            metadata["consent"] = json.dumps(noted)
        return tensors, metadata

    def to_bytes(self) -> bytes:
        """The file's content."""
        tensors, metadata = self.parts()
        return save(tensors, {**metadata, CHECKSUM: checksum(tensors, metadata)})

    def save(self, path: Path) -> Path:
        """Write the file, all of it or nothing; missing folders are made. Raises OSError."""
        return write_whole(path, self.to_bytes())

    @classmethod
    def load(cls, path: Path) -> "Persona":
        """Read a persona's file. Raises PersonaFileError with the reason, OSError."""
        try:
            with opened(path) as file:
                metadata, shapes = file.metadata() or {}, shapes_in(file)
                kind, told = kind_of(metadata, path), Metadata.of(metadata)
                check_layout(shapes, kind.layout(shapes, told.tokens, told.stages))
                check_widths(told, shapes["word"][-1])
                tensors = tensors_in(file)
            check_sum(tensors, metadata)
            check_numbers(tensors)
            representation = kind.from_tensors(tensors, told.stages, told.tokens, told.widths)
        except PersonaFileError:
            raise
        except (KeyError, ValueError, TypeError, RuntimeError, OverflowError) as error:
            raise PersonaFileError(f"{called(path)} is a damaged persona: {str(error)[:200]}.") from error
        return cls(
            name=told.name,
            representation=representation.requires_grad_(False),
            family=told.family,
            supercategory=told.supercategory,
            settings=told.settings,
            losses=told.losses,
            fingerprint=told.fingerprint,
            placeholder=told.placeholder,
            consent=told.consent,
        )


def kind_of(metadata: Mapping[str, str], path: Path) -> type[Saved]:
    """Raises PersonaFileError for a file that is none, or of a later version."""
    kind = KINDS.get(metadata.get("kind", ""))
    if metadata.get("format") == FORMAT and kind is not None:
        return kind
    known = metadata.get("format", "")
    why = "it is no persona"
    if known.startswith("persona/"):
        why = f"it says {shown(known)}, kind {shown(metadata.get('kind'))}"
    raise PersonaFileError(
        f"{called(path)} cannot be used as a persona: {why}; this version reads {FORMAT}, kind {' or '.join(KINDS)}."
    )


def placeholder_of(name: str) -> str:
    """What stands in prompts for a persona of this name: <anna_maria> for Anna Maria. web/js/graph.js does the same."""
    letters = unicodedata.normalize("NFC", name.strip().removesuffix(".safetensors").lower())
    kept = (one if one.isalnum() or unicodedata.category(one).startswith("M") else " " for one in letters)
    word = "_".join("".join(kept).split())
    return f"<{word}>" if any(map(str.isalpha, word)) else f"<persona{word and '_'}{word}>"


def own_placeholder(metadata: Mapping[str, str]) -> str:
    """The placeholder that a file's metadata tell, if it is one word; files of before do not, and have their name's."""
    told = metadata.get("placeholder", "")
    return told if re.fullmatch(r"\S+", told) else placeholder_of(metadata.get("name", ""))


def thinned(values: list[float], most: int) -> list[float]:
    """At most so many values to four digits, the last among them: a long history must not outweigh the persona."""
    stride = -(-len(values) // most) or 1
    return [float(f"{value:.4g}") for value in values[::-stride][::-1]]
