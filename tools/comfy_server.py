"""Drive a real ComfyUI server over its HTTP and WebSocket API: start, send prompts, follow, stop."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import websocket

from tools.environment import PACK, installed, link_pack

START_TIMEOUT = 180
PREVIEW, PROGRESS_TEXT = 1, 3  # the kinds of binary messages that carry a picture, and a node's status text
END_STATUS = {"execution_success": "success", "execution_error": "error", "execution_interrupted": "interrupted"}


class ServerDied(RuntimeError):
    """The server ended or never came up; the message holds the end of its log."""


class PromptRefused(ValueError):
    """The server refused a prompt (HTTP 400): its `error` and, by node id, its `node_errors`."""

    def __init__(self, answer: dict):
        self.error, self.node_errors = answer.get("error"), answer.get("node_errors") or {}
        details = [
            f"{node['class_type']}: {error['message']} ({error['details']})"
            for node in self.node_errors.values()
            for error in node["errors"]
        ]
        message = self.error["message"] if isinstance(self.error, dict) else str(self.error)
        super().__init__("; ".join([message, *details]))


@dataclass
class Run:
    """How one prompt went."""

    prompt_id: str
    status: str = "success"  # or "error", "interrupted"
    error: str = ""  # the exception's text
    error_node: str | None = None
    error_type: str | None = None  # the class_type of the node that failed
    outputs: dict = field(default_factory=dict)  # node id -> {"images": [...], "text": [...], ...}
    cached: list[str] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)


class ComfyServer:
    """A ComfyUI process on a folder of its own, from `with` to the end of the block.

    base: holds custom_nodes, models, input, output, user; made if absent. env: added to this
    process's environment. log: where the server's output goes (default: base/server.log).
    cpu: None asks torch. port: None takes a free one.
    packs: folders of further node packs, which this server gets besides ComfyUI-Persona. linked: whether it gets that
    from here, or base has a copy.
    The environment's COMFYUI_FRONTEND (a folder) is the frontend it serves instead of the installed one, and with
    COMFYUI_NODES2 that frontend draws "Nodes 2.0".
    """

    def __init__(
        self,
        base: Path,
        *,
        extra_args=(),
        env: dict | None = None,
        log: Path | None = None,
        cpu: bool | None = None,
        port: int | None = None,
        packs: Sequence[Path] = (),
        linked: bool = True,
    ):
        self.base, self.extra_args, self.cpu, self.port = Path(base).resolve(), extra_args, cpu, port
        self.packs, self.linked = [Path(pack).resolve() for pack in packs], linked
        self.log = Path(log) if log else self.base / "server.log"
        # Spinning threads make a machine crawl on which anything else runs.
        self.env = {"GOMP_SPINCOUNT": "0", "OMP_WAIT_POLICY": "PASSIVE", **os.environ, **(env or {})}
        self.process = None

    def __enter__(self) -> "ComfyServer":
        self._make_base()
        self.port = self.port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        cpu = not has_accelerator() if self.cpu is None else self.cpu
        command = [
            sys.executable,
            PACK / "tools/launch_comfyui.py",
            Path(installed()["host"]) / "main.py",
            *(["--cpu"] if cpu else []),
            "--base-directory",
            self.base,
            "--listen",
            "127.0.0.1",
            "--port",
            self.port,
            "--disable-api-nodes",
            "--disable-auto-launch",
            "--database-url",
            f"sqlite:///{(self.base / 'user/comfyui.db').as_posix()}",
            *(["--front-end-root", frontend] if (frontend := os.environ.get("COMFYUI_FRONTEND")) else []),
            *self.extra_args,
        ]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                env=self.env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self) -> None:
        """End the server and what it started."""
        for name in ("SIGTERM", "SIGKILL"):
            if self.process.poll() is not None:
                return
            if os.name == "nt":
                self.process.terminate()
            else:
                os.killpg(self.process.pid, getattr(signal, name))
            try:
                self.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                continue

    def get(self, path: str):
        """The JSON at `path`."""
        return json.loads(self._request(path))

    def object_info(self) -> dict:
        """Every node class the server knows."""
        return self.get("/object_info")

    def view(self, file: dict) -> bytes:
        """A file that an output names, as {"filename", "subfolder", "type"}."""
        keys = ("filename", "subfolder", "type")
        return self._request("/view?" + urlencode({key: file[key] for key in keys if key in file}))

    def upload_image(self, image: Path | str | bytes, name: str) -> str:
        """Put a picture (a path, or a file's bytes) into the input folder; returns LoadImage's name."""
        data = image if isinstance(image, bytes) else Path(image).read_bytes()
        boundary = uuid.uuid4().hex
        body = (
            (
                f'--{boundary}\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\ntrue\r\n'
                f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
                f"Content-Type: image/png\r\n\r\n"
            ).encode()
            + data
            + f"\r\n--{boundary}--\r\n".encode()
        )
        answer = json.loads(self._request("/upload/image", body, f"multipart/form-data; boundary={boundary}"))
        return "/".join(filter(None, (answer["subfolder"], answer["name"])))

    def submit(self, api_prompt: dict, extra_data: dict | None = None, client_id: str | None = None) -> str:
        """Queue a prompt in API form; returns its id. Raises PromptRefused."""
        body = {"prompt": api_prompt, "extra_data": extra_data or {}}
        if client_id:
            body["client_id"] = client_id
        try:
            return json.loads(self._request("/prompt", json.dumps(body).encode()))["prompt_id"]
        except HTTPError as error:
            if error.code != 400:
                raise
            raise PromptRefused(json.loads(error.read())) from None

    def interrupt(self, prompt_id: str) -> None:
        """Stop this prompt if it is running."""
        self._request("/interrupt", json.dumps({"prompt_id": prompt_id}).encode())

    def run(
        self,
        api_prompt: dict,
        on_event: Callable[[str, dict], None] | None = None,
        timeout: float = 600,
        extra_data: dict | None = None,
    ) -> Run:
        """Queue a prompt and follow it to its end.

        on_event(type, data) sees every event of the server, ("text", {"node", "text"}) for a node's status text and
        ("preview", {"file"}) for a picture. After `timeout` seconds the prompt is interrupted: TimeoutError.
        """
        client_id, deadline = uuid.uuid4().hex, time.monotonic() + timeout
        ws = websocket.create_connection(f"ws://{self.address}/ws?clientId={client_id}", timeout=30)
        try:
            run = Run(self.submit(api_prompt, extra_data, client_id))
            while True:
                ws.settimeout(max(0.1, deadline - time.monotonic()))
                kind, data = decode(ws.recv())
                if kind and on_event is not None:
                    on_event(kind, data)
                if data.get("prompt_id") != run.prompt_id:
                    continue
                if kind == "executing" and data["node"] is None:
                    break
                note(run, kind, data)
        except websocket.WebSocketTimeoutException:
            self.interrupt(run.prompt_id)
            raise TimeoutError(f"The prompt took longer than {timeout:.0f} s; it was interrupted.") from None
        except (websocket.WebSocketConnectionClosedException, ConnectionError):
            raise ServerDied(f"The server ended while it worked on a prompt.\n{self.log_tail()}") from None
        finally:
            ws.close()
        run.outputs = self.get(f"/history/{run.prompt_id}")[run.prompt_id]["outputs"]
        return run

    def log_tail(self, lines: int = 30) -> str:
        """The end of the server's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _make_base(self) -> None:
        for name in ("custom_nodes", "models/checkpoints", "input", "output", "user/default", "temp"):
            (self.base / name).mkdir(parents=True, exist_ok=True)
        settings = self.base / "user/default/comfy.settings.json"
        if not settings.exists():  # or the frontend opens its tutorial over the canvas
            nodes2 = {"Comfy.VueNodes.Enabled": True} if os.environ.get("COMFYUI_NODES2") else {}
            settings.write_text(json.dumps({"Comfy.TutorialCompleted": True, **nodes2}))
        if self.linked:
            link_pack(self.base / "custom_nodes")
        for pack in self.packs:
            link_pack(self.base / "custom_nodes", pack, pack.name)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if (code := self.process.poll()) is not None:
                raise ServerDied(f"ComfyUI did not start (exit code {code}).\n{self.log_tail()}")
            try:
                self.get("/system_stats")
                return
            except (URLError, ConnectionError, TimeoutError):
                time.sleep(0.1)
        raise ServerDied(f"ComfyUI did not answer within {START_TIMEOUT} s.\n{self.log_tail()}")

    def _request(self, path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
        with urlopen(Request(self.url + path, body, {"Content-Type": kind}), timeout=60) as answer:
            return answer.read()


def note(run: Run, kind: str, data: dict) -> None:
    """Write down what one event tells about a run."""
    if kind == "execution_cached":
        run.cached = list(data["nodes"])
    elif kind == "executing":
        run.executed.append(data["node"])
    elif kind in END_STATUS:
        run.status = END_STATUS[kind]
        run.error = data.get("exception_message", "").strip()
        run.error_node, run.error_type = data.get("node_id"), data.get("node_type")


def decode(message: str | bytes) -> tuple[str, dict]:
    """A WebSocket message as (type, data); ("", {}) for binary ones other than status text and pictures."""
    if isinstance(message, str):
        event = json.loads(message)
        return event["type"], event["data"]
    kind, length = struct.unpack(">II", message[:8])
    if kind == PROGRESS_TEXT:
        return "text", {"node": message[8 : 8 + length].decode(), "text": message[8 + length :].decode()}
    return ("preview", {"file": message[8:]}) if kind == PREVIEW else ("", {})


def free_port(wanted: int = 0) -> int:
    """A TCP port that nothing listens on; the wanted one if it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name != "nt")
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def has_accelerator() -> bool:
    """Whether torch finds a GPU."""
    import torch  # here: two seconds that a caller who says cpu=True need not spend

    return torch.cuda.is_available() or torch.backends.mps.is_available()
