"""Set-up in environments as they are: what it asks of them, and what it mends. The packages are small stand-ins on disk."""

import sys
from pathlib import Path

import pytest

from tools import environment as setup

PYTHON = Path(sys.executable)


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Puts a package of this code and version before the installed ones; returns its folder."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def make(name: str, code: str, version: str = "1.0") -> Path:
        folder, info = tmp_path / name, tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        info.mkdir()
        (folder / "__init__.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        return folder

    return make


def test_torchs_version_is_the_one_that_pip_knows(packages):
    """PyPI's own torch says 2.13.0+cu130 of itself, and no requirement can ask for that."""
    packages("torch", "__version__ = '2.13.0+cu130'", "2.13.0")
    assert setup.torch_release(PYTHON) == "2.13.0"


def test_a_torch_that_cannot_be_imported_counts_as_none(packages):
    packages("torch", "raise ImportError('libcudart')", "2.13.0")
    assert setup.torch_release(PYTHON) is None


LOADS = """
from pathlib import Path
for library in (Path(__file__).parent / "lib").glob("_torchaudio*.so"):
    raise OSError(f"{library}: undefined symbol: aoti_torch_abi_version")
"""


def test_a_torchaudio_built_for_another_torch_is_mended_and_nothing_is_lost(packages, capsys):
    lib = packages("torchaudio", LOADS) / "lib"
    lib.mkdir()
    (lib / "_torchaudio.abi3.so").write_bytes(b"compiled")
    setup.mend_torchaudio(PYTHON)
    assert [(one.name, one.read_bytes()) for one in lib.iterdir()] == [("_torchaudio.abi3.so.set-aside", b"compiled")]
    assert "undefined symbol" in capsys.readouterr().out


@pytest.mark.parametrize("code", ["raise MemoryError('no room')", "import none_such"])
def test_another_trouble_of_torchaudio_is_said(packages, code):
    lib = packages("torchaudio", code) / "lib"
    lib.mkdir()
    (lib / "_torchaudio.abi3.so").write_bytes(b"compiled")
    with pytest.raises(SystemExit, match="torchaudio cannot be imported.*(no room|none_such)"):
        setup.mend_torchaudio(PYTHON)
    assert [one.name for one in lib.iterdir()] == ["_torchaudio.abi3.so"]


def test_a_torchaudio_that_works_is_left_alone(packages):
    lib = packages("torchaudio", "") / "lib"
    lib.mkdir()
    (lib / "_torchaudio.abi3.so").write_bytes(b"compiled")
    setup.mend_torchaudio(PYTHON)
    assert [one.name for one in lib.iterdir()] == ["_torchaudio.abi3.so"]


def test_only_tests_ask_an_interpreter_that_is_used_as_it_is_for_their_packages(tmp_path):
    """A ComfyUI's own environment runs the demo without pytest and playwright."""
    (tmp_path / "requirements.txt").write_text("torch\ntorchvision\nnone-such-package>=1.0 # why\n")
    for tests in (False, True):
        with pytest.raises(SystemExit, match=r"lacks: none-such-package\.\n.*pip install none-such-package"):
            setup.check(PYTHON, tmp_path, tests)
    (tmp_path / "requirements.txt").write_text("torch\n")
    setup.check(PYTHON, tmp_path, tests=False)
