"""Where personas are put: a folder, or one of an object store. Imports the host."""

import hashlib
import tempfile
from pathlib import Path

from ..files import PersonaFileError
from ..host import store
from ..host.learn import reuse
from ..host.learn.run import TrainingJob
from ..host.messages import log
from ..kept import EXTENSION, kept_names
from ..persona import Persona
from . import storage


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

    def find(self, job: TrainingJob, fingerprint: str) -> tuple[Persona, str] | None:
        """What was learned of the same inputs, and where it is."""
        persona, path = store.find(job.name, fingerprint, job.is_kept_by, [self.path])
        return (persona, str(path)) if persona else None

    def check_writable(self, name: str) -> None:
        """Raises OSError with a sentence."""
        store.check_writable(name, Path(self.place(name)))

    def save(self, job: TrainingJob, persona: Persona) -> Persona:
        """What is then in the file; another of its name is kept. Raises OSError with a sentence."""
        return reuse.save(job, persona, Path(self.place(persona.name)), None)


class Bucket(Folder):
    """Behind a URL, where files are written whole or not at all. What is unfinished lies in a folder of this machine,
    and nobody else knows of it: two machines that are given one person both learn it."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        super().__init__(Path.home() / ".cache/persona" / hashlib.sha256(self.url.encode()).hexdigest()[:16])

    def place(self, name: str) -> str:
        return f"{self.url}/{name}{EXTENSION}"

    def find(self, job: TrainingJob, fingerprint: str) -> tuple[Persona, str] | None:
        for called in (job.name, next(kept_names(job.name, fingerprint))):
            there = self.read(called)
            if there and there.fingerprint == fingerprint and job.is_kept_by(there):
                return there, self.place(called)
        return None

    def check_writable(self, name: str) -> None:
        self.path.mkdir(parents=True, exist_ok=True)

    def save(self, job: TrainingJob, persona: Persona) -> Persona:
        persona = job.form_of(persona)
        place, other = self.place(persona.name), self.read(persona.name)
        try:
            if other and other.learned != persona.learned:
                kept = self.place(next(kept_names(persona.name, other.fingerprint)))
                storage.write_bytes(kept, other.to_bytes())
            storage.write_bytes(place, persona.to_bytes())
        except storage.Unreachable as error:
            raise OSError(f"The persona '{persona.name}' could not be saved: {error}") from error
        return persona

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


def shelf_of(place: str) -> Folder:
    return Bucket(place) if storage.is_url(place) else Folder(Path(place).expanduser().absolute())
