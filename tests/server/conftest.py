"""The photo in the server's input folder."""

import pytest
import torch
from prompts import CHECKPOINT


@pytest.fixture(scope="session", autouse=True)
def uploaded(server, photo):
    return server.upload_image(photo, "photo.png")


@pytest.fixture
def texts():
    """An on_event that collects what the nodes say: how far they are, at last, and warnings."""

    class Texts(list):
        def __call__(self, kind, data):
            if kind in ("text", "persona.notice"):
                self.append(data["text"])
            elif kind == "executed":
                self.extend((data["output"] or {}).get("persona_notice", []))

    return Texts()


@pytest.fixture
def checkpoint_without(server):
    """Makes CHECKPOINT without the weights of one part; CheckpointLoaderSimple loads that without complaint."""

    def make(part: str) -> str:
        folder = server.base / "models/checkpoints"
        state = torch.load(folder / CHECKPOINT, weights_only=True)["state_dict"]
        kept = {key: value for key, value in state.items() if not key.startswith(part)}
        torch.save({"state_dict": kept}, folder / f"no_{part}ckpt")
        return f"no_{part}ckpt"

    return make
