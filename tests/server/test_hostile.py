"""What SECURITY.md says that others cannot do: with a workflow, from a web page, with a question to the server."""

import json
import time
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

import pytest
from gallery import put_persona
from prompts import workflow

from tools.comfy_server import PromptRefused


def ask(server, path: str, body: bytes | None = None, **headers: str):
    return urlopen(Request(server.url + path, body, headers), timeout=30)


@pytest.fixture(scope="module")
def outside(server):
    """A persona that is not in the folder of personas; ways to say where it is."""
    file = put_persona(server.base / "models/secret.safetensors")
    (server.base / "models/personas/inside").mkdir(parents=True, exist_ok=True)
    yield ["../secret.safetensors", "inside/../../secret.safetensors", "..\\secret.safetensors", str(file)]
    file.unlink()


def test_a_workflow_loads_no_persona_from_outside_of_the_folder(server, outside):
    for name in outside:
        with pytest.raises(PromptRefused, match="There is no persona"):
            server.submit(workflow("load_and_generate", {"PersonaLoad": {"persona_name": name}}))
        with pytest.raises(HTTPError, match="404"):  # what the gallery asks
            ask(server, f"/view_metadata/personas?{urlencode({'filename': name})}")


EVIL = {"Origin": "https://evil.example", "Content-Type": "text/plain"}  # what a form of any page may send


@pytest.mark.parametrize("path", ["/persona/check?node=PersonaLearn&input=name&value=x", "/object_info/PersonaLoad"])
def test_another_web_page_reads_nothing(server, path):
    with pytest.raises(HTTPError, match="403"):
        ask(server, path, **EVIL)
    answer = ask(server, path, Origin=server.url)
    assert answer.status == 200 and "Access-Control-Allow-Origin" not in answer.headers


def test_another_web_page_queues_nothing(server):
    before = len(server.get("/history"))
    with pytest.raises(HTTPError, match="403"):
        ask(server, "/prompt", json.dumps({"prompt": workflow("load_and_generate")}).encode(), **EVIL)
    queue = server.get("/queue")
    assert len(server.get("/history")) == before and not queue["queue_running"] and not queue["queue_pending"]


CHECKED = [
    ("PersonaLearn", "name"), ("PersonaLearn", "supercategory"), ("PersonaKVTokens", "reference_word"),
    ("PersonaApply", "placeholder"), ("PersonaSave", "name"), ("PersonaSave", "consent_on"),
]  # fmt: skip


LONG = 800  # letters: in a query they are up to nine times as long, and the server takes 8 kB


@pytest.mark.parametrize("filling", ["x", "a ", "<img src=x> ", "../", "((a:1.1", "界"])
def test_a_long_value_gets_a_short_answer(server, filling):
    for node, name in CHECKED:
        value = (filling * LONG)[:LONG]
        began = time.monotonic()
        wrong = server.get(f"/persona/check?{urlencode({'node': node, 'input': name, 'value': value})}")["wrong"]
        assert len(wrong) < 600 and (wrong or name == "placeholder"), (node, name, wrong)
        assert time.monotonic() - began < 5, (node, name)


def test_a_huge_question_is_refused_and_the_server_lives_on(server):
    with pytest.raises((HTTPError, URLError)) as found:  # before all of it is sent
        server.get(f"/persona/check?node=PersonaLearn&input=name&value={'x' * 1_000_000}")
    assert getattr(found.value, "code", 400) in (400, 414)
    assert server.get("/persona/check") == {"wrong": ""}


def test_who_may_use_the_server_is_not_given_a_personas_file(server):
    """By any of the host's addresses that give away files. Newer hosts with --enable-assets do; see SECURITY.md."""
    file = put_persona(server.base / "models/personas/inside/asked_for.safetensors")
    content = file.read_bytes()
    place = file.relative_to(server.base).as_posix()
    for path in (
        f"/view?{urlencode({'filename': f'../{place}', 'type': 'output'})}",
        f"/view?{urlencode({'filename': file.name, 'subfolder': '../models/personas/inside', 'type': 'input'})}",
        f"/userdata/{quote(f'../../{place}', safe='')}",
        "/experiment/models/preview/personas/0/inside/asked_for.safetensors",
    ):
        try:
            assert content[:200] not in ask(server, path).read(), path
        except HTTPError as error:
            assert error.code in (400, 403, 404), path
    file.unlink()
