"""The photo in the server's input folder."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def uploaded(server, photo):
    return server.upload_image(photo, "photo.png")


@pytest.fixture
def texts():
    """An on_event that collects what the nodes say."""

    class Texts(list):
        def __call__(self, kind, data):
            if kind == "text":
                self.append(data["text"])

    return Texts()
