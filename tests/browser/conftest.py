"""The graph editor in a real browser."""

import pytest
from editor import opened

from tools.environment import installed
from tools.graph_workflows import open_browser


@pytest.fixture(scope="module")  # not session: its event loop would be in the way of other tests' loops
def browser():
    if not installed()["chromium"]:
        pytest.skip("no Chromium or Chrome: install one, or name it in CHROMIUM and run set-up again")
    with open_browser() as running:
        yield running


@pytest.fixture
def page(browser, server, photo):
    """The editor of the running server, with the photo in the input folder."""
    server.upload_image(photo, "photo.png")
    with opened(browser, server.url) as page:
        yield page
