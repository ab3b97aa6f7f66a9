"""How a persona forms is seen while it is learned, by whom it is for."""

import io
import time
import uuid
from contextlib import closing

import numpy as np
import pytest
import websocket
from PIL import Image

from miniworld import workflow
from tools.comfy_server import decode
from tools.small_world import people


@pytest.fixture(scope="module")
def learning(painter):
    """Makes a prompt that learns for some seconds, long enough for a picture."""
    files = workflow.upload(painter, people()[0], "forming")

    def make(name: str, method: str = workflow.PERSONA_MAGIC) -> dict:
        settings = {"name": name, "preset": "balanced", "steps": 17, "resolution": 64}
        changes = dict.fromkeys(workflow.LEARNERS, settings)
        return workflow.only_learning(workflow.learn_and_paint(*files, method, **changes))

    return make


@pytest.fixture
def another(painter):
    """The connection of another editor, which queues nothing."""
    with closing(websocket.create_connection(f"ws://{painter.address}/ws?clientId={uuid.uuid4().hex}")) as socket:
        yield socket


def heard(socket) -> list[str]:
    """The kinds of all that came."""
    kinds = []
    socket.settimeout(0.5)
    while True:
        try:
            kinds.append(decode(socket.recv())[0])
        except websocket.WebSocketTimeoutException:
            return kinds


def run(server, prompt: dict, **more) -> list[bytes]:
    """The pictures that who queues it gets meanwhile."""
    files = []
    ended = server.run(prompt, lambda kind, data: files.append(data["file"]) if kind == "preview" else None, **more)
    assert ended.status == "success", ended.error
    return files


@pytest.mark.parametrize("method", [workflow.PERSONA_MAGIC, workflow.KV_TOKENS])
def test_who_queued_sees_it_form_and_nobody_else(painter, learning, another, method):
    files, others = run(painter, learning("formed", method)), heard(another)
    assert files and others and "preview" not in others
    picture = np.asarray(Image.open(io.BytesIO(files[0])))
    painted, curve = np.split(picture, [picture.shape[1]])
    assert picture.shape == (512, 341, 3) and painted.std() > 20 and np.median(curve) > 250


def test_what_no_editor_queued_is_shown_to_none(painter, learning, another):
    """The host would send it to all."""
    queued = painter.submit(learning("unseen"))
    while queued not in (history := painter.get("/history")):
        time.sleep(0.2)
    assert history[queued]["status"]["status_str"] == "success"
    others = heard(another)
    assert "progress" in others and "preview" not in others
