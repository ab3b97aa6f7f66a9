"""Where personas are put: a folder, or one of an object store. Imports the host."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ..files import PersonaFileError
from ..host import store
from ..host.learn import reuse
from ..host.messages import log
from ..kept import EXTENSION, kept_names
from ..persona import Persona
from . import storage

FORMS = 2  # of one persona: small, and with the mapper


class Folder:
    """On this machine, or shared by several."""

    def __init__(self, path: Path):
        self.path = path

    def place(self, name: str) -> str:
        """Where a persona of this name is."""
        return str(self.path / f"{name}{EXTENSION}")

    def unfinished(self, name: str, fingerprint: str) -> Path:
        """The file of unfinished learning."""
        return reuse.unfinished_at(self.path / f"{name}{EXTENSION}", fingerprint)

    def find(self, name: str, fingerprint: str, suits: Callable[[Persona], bool] = bool) -> tuple[Persona, str] | None:
        """What was learned of the same inputs, and suits, and where it is."""
        persona, path = store.find(name, fingerprint, suits, [self.path])
        return (persona, str(path)) if persona else None

    def check_writable(self, name: str) -> None:
        """Raises OSError or ValueError with a sentence."""
        store.check_writable(name, Path(self.place(name)))

    def save(self, persona: Persona, form: reuse.Form = reuse.as_it_is) -> Persona:
        """What is then in the file; another of its name is kept. Raises OSError with a sentence."""
        before, _ = self.find(persona.name, persona.fingerprint) or (None, "")
        return reuse.save(persona, Path(self.place(persona.name)), before, form)

    def note(self, persona: Persona, place: str) -> None:
        """Write what is at a place again, with other notes. Raises OSError with a sentence."""
        store.save(persona, Path(place))


class Bucket(Folder):
    """Behind a URL, where files are written whole or not at all. What is unfinished lies in a folder of this machine,
    and nobody else knows of it: two machines that are given one person both learn it."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        self.is_writable = False
        super().__init__(Path.home() / ".cache/persona" / hashlib.sha256(self.url.encode()).hexdigest()[:16])

    def place(self, name: str) -> str:
        return f"{self.url}/{name}{EXTENSION}"

    def find(self, name: str, fingerprint: str, suits: Callable[[Persona], bool] = bool) -> tuple[Persona, str] | None:
        return next((found for found in self.alike(name, fingerprint) if suits(found[0])), None)

    def alike(self, name: str, fingerprint: str) -> Iterator[tuple[Persona, str]]:
        """Those of the same inputs, under the names under which they are looked for."""
        for called in (name, *islice(kept_names(name, fingerprint), FORMS)):
            there = self.read(called)
            if there and there.fingerprint == fingerprint:
                yield there, self.place(called)

    def check_writable(self, name: str) -> None:
        if not self.is_writable:
            storage.check_writable(self.url)
            self.path.mkdir(parents=True, exist_ok=True)
            self.is_writable = True

    def save(self, persona: Persona, form: reuse.Form = reuse.as_it_is) -> Persona:
        with saved_or_a_sentence(persona):
            other = self.read(persona.name)
            before, _ = self.find(persona.name, persona.fingerprint) or (None, "")
            persona = replace(form(persona), consent=reuse.agreed(persona, before))
            if other and other.learned != persona.learned:
                storage.write_bytes(self.kept_place(other, persona.name), other.to_bytes())
            storage.write_bytes(self.place(persona.name), persona.to_bytes())
        return persona

    def note(self, persona: Persona, place: str) -> None:
        with saved_or_a_sentence(persona):
            storage.write_bytes(place, persona.to_bytes())

    def kept_place(self, other: Persona, name: str) -> str:
        """Where who has to make room goes: where nothing is, or the same."""
        for kept in kept_names(name, other.fingerprint):
            content = storage.read_if_there(self.place(kept))
            if content is None or ((there := self.read(kept)) and there.learned == other.learned):
                return self.place(kept)
        raise AssertionError  # there is always a next name

    def read(self, name: str) -> Persona | None:
        """None where there is none that can be read. Raises Unreachable."""
        content = storage.read_if_there(self.place(name))
        if content is None:
            return None
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{name}{EXTENSION}"
            file.write_bytes(content)
            try:
                return Persona.load(file)
            except PersonaFileError as error:
                log.warning("%s", error)
                return None


@contextmanager
def saved_or_a_sentence(persona: Persona) -> Iterator[None]:
    """Raises OSError where an object store cannot be reached."""
    try:
        yield
    except storage.Unreachable as error:
        raise OSError(f"The persona '{persona.name}' could not be saved: {error}") from error


def shelf_of(place: str) -> Folder:
    return Bucket(place) if storage.is_url(place) else Folder(storage.path_of(place).absolute())
