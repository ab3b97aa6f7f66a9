"""A thousand damaged persona files: each is refused in a sentence, or is the persona that it was; and files that say
they are huge cost nothing."""

import io
import json
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from bench.damage import HEADER, WAYS, damaged
from persona_core.files import PersonaFileError
from persona_core.kv_tokens import KVTokens
from persona_core.mapper import StageMapper
from persona_core.persona import KINDS, Persona
from persona_core.schema import CHECKSUM, TABLE
from persona_core.stages import Stages

PACK = Path(__file__).resolve().parents[2]
NASTY = (
    "", " ", "null", "[]", "{}", "-1", "0", "1", "3", "1e999", "NaN", "[NaN]", "[1, 2]", "[400, 800, 900]", "[800, 400]",
    "[4e2, 8e2]", "9" * 5000, "[" * 100_000, '{"a": ' * 5000, "\0", "../../x", "a\nb", "\u202egnp.exe", "ü" * 20_000,
    "true", '"x"', '{"noise": [1, null]}', '{"noise": [true]}', '{"steps": [1]}', '{"steps": {"a": 1}}', "persona/2", "stage_mapper", "kv_tokens",
)  # fmt: skip
T = torch.tensor([0.0, 450.0, 999.0])


def personas():
    generator = torch.Generator().manual_seed(0)
    word = torch.randn(16, generator=generator)
    mapper = StageMapper(word, Stages(400, 800), 2)
    torch.nn.init.normal_(mapper.head.weight, std=0.1, generator=generator)
    tokens = KVTokens(word, torch.randn(5, 2, 16, generator=generator))
    shared = ("custom (clip_l, 16 wide)", "face", {"steps": 3}, {"noise": [0.5, 0.4]}, "a" * 32)
    return {one.kind: Persona("ann", one, *shared) for one in (mapper, mapper.requires_grad_(False).small(), tokens)}


@pytest.fixture(scope="module")
def files():
    return {kind: persona.to_bytes() for kind, persona in personas().items()}


def loaded(path, content):
    """The persona, or None where it is refused; a refusal is one short line."""
    path.write_bytes(content)
    try:
        return Persona.load(path)
    except PersonaFileError as error:
        assert len(str(error)) <= 300 and str(error).isprintable(), str(error)
        return None


def same(one, other):
    mine, theirs = (persona.representation.at(T) for persona in (one, other))
    told = "family", "supercategory", "fingerprint"
    return torch.equal(mine.keys, theirs.keys) and all(getattr(one, name) == getattr(other, name) for name in told)


def with_metadata(content, tmp_path, changes):
    path = tmp_path / "whole"
    path.write_bytes(content)
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = {**file.metadata(), **changes}
    return save(tensors, {name: text for name, text in metadata.items() if text is not None})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_a_file_with_other_bytes_is_refused_or_the_same(files, tmp_path, kind, way):
    content, chance = files[kind], random.Random(f"{kind} {way}")
    whole, refused = loaded(tmp_path / "ann.safetensors", content), 0
    assert whole is not None
    for _ in range(125):
        changed = damaged(content, way, chance)
        found = loaded(tmp_path / "ann.safetensors", changed)
        assert found is None or same(found, whole), "garbage in silence"
        refused += found is None
    assert refused > (60 if way == HEADER else 124) or changed == content


def test_a_checksum_whose_name_is_damaged_too_is_missed(files, tmp_path):
    """Or whatever else is damaged would count as a file of before, which had none."""
    for content in files.values():
        changes = {CHECKSUM: None, "checksun": "0" * 64, "family": "custom (slip_l, 16 wide)"}
        assert loaded(tmp_path / "ann.safetensors", with_metadata(content, tmp_path, changes)) is None
        assert loaded(tmp_path / "ann.safetensors", with_metadata(content, tmp_path, {CHECKSUM: None})) is not None


@pytest.mark.parametrize("name", [*TABLE, "format", "kind", CHECKSUM])
def test_a_field_that_says_something_else_is_refused_or_is_sane(files, tmp_path, name):
    for kind, content in files.items():
        whole = personas()[kind]
        for value in (*NASTY, None):
            for others in ({}, {CHECKSUM: None}):  # as files of before, which nothing but the schema guards
                found = loaded(tmp_path / "ann.safetensors", with_metadata(content, tmp_path, {**others, name: value}))
                if found is not None:
                    vectors = found.representation.at(T)
                    assert vectors.keys.isfinite().all() and vectors.keys.shape == whole.representation.at(T).keys.shape
                    assert len(found.placeholder.split()) == 1 and found.steps > 0


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_that_do_not_belong_to_it_are_refused_before_they_are_read(files, tmp_path, kind):
    path = tmp_path / "whole"
    path.write_bytes(files[kind])
    with safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del metadata[CHECKSUM]
    word = tensors["word"]
    wrong = [
        {"more": torch.ones(1)}, {"word": word[None]}, {"word": word[:8]}, {"word": word * torch.nan},
        {"word": word.double() * 1e300}, {"word": (word * 1e4)}, {"word": word.to(torch.int64)}, {"word": None},
    ]  # fmt: skip
    for changes in wrong:
        changed = {name: one for name, one in {**tensors, **changes}.items() if one is not None}
        assert loaded(tmp_path / "ann.safetensors", save(changed, metadata)) is None, changes
    assert loaded(tmp_path / "ann.safetensors", save(tensors, metadata)) is not None


HUGE = """
import json, resource, sys
from pathlib import Path
sys.path.insert(0, {pack!r})
from persona_core.files import PersonaFileError
from persona_core.persona import KINDS, Persona
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for file in sorted(Path({folder!r}).glob("*.safetensors")):
    try:
        Persona.load(file)
        print("loaded", file.name)
    except PersonaFileError as error:
        assert len(str(error)) <= 300
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux' peak memory")
def test_files_that_say_they_are_huge_cost_nothing(files, tmp_path):
    """Of 1.4 MB some took gigabytes, or seconds."""
    for number, changes in enumerate((
        {"tokens": "4000"}, {"tokens": "64"}, {"widths": json.dumps([1] * 100_000)},
        {"losses": json.dumps({"noise": [0.5] * 1_000_000})}, {"settings": json.dumps({str(n): n for n in range(100_000)})},
    )):  # fmt: skip
        (tmp_path / f"{number}.safetensors").write_bytes(with_metadata(files["stage_mapper"], tmp_path, changes))
    pairs = {"word": torch.zeros(16).half(), "vectors": torch.zeros(1000, 2, 16).half()}
    with safe_open(tmp_path / "0.safetensors", "pt") as file:
        metadata = {**file.metadata(), "kind": "kv_tokens", "tokens": "1"}
    (tmp_path / "pairs.safetensors").write_bytes(save(pairs, metadata))
    sparse_file(tmp_path / "sparse.safetensors", metadata, 6 * 2**30)
    (tmp_path / "header.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    code = HUGE.format(pack=str(PACK), folder=str(tmp_path))
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert "loaded" not in ended.stdout and int(ended.stdout.split()[-1]) < 120, ended.stdout


def sparse_file(path, metadata, size):
    """A tensor of that many bytes which takes none of the disk."""
    layout = {"__metadata__": metadata, "word": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    header = json.dumps(layout).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)


class Bomb:
    """Runs where it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.mark.parametrize("write", [lambda bomb: pickle.dumps(bomb), lambda bomb: saved_by_torch(bomb)])
def test_a_pickle_that_is_called_a_persona_is_not_run(tmp_path, write):
    content = write(Bomb(tmp_path / "run"))
    assert loaded(tmp_path / "ann.safetensors", content) is None and not (tmp_path / "run").exists()
    torch.load(io.BytesIO(content), weights_only=False) if content[:2] == b"PK" else pickle.loads(content)
    assert (tmp_path / "run").exists(), "it would have run"


def saved_by_torch(one) -> bytes:
    torch.save(one, content := io.BytesIO())
    return content.getvalue()
