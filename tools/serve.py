"""Run ComfyUI with the pack, on the demo's folder, until Ctrl-C."""

import os
import signal
import sys

from tools.comfy_server import ComfyServer, free_port

DEFAULT_PORT = 8188


def prepared() -> tuple[dict, str]:
    """The server's folder and packs as the demo has them, and what to open in it."""
    if os.environ.get("CHECKPOINT"):
        from tools.demo_checkpoint import BASE, place_checkpoint

        return {"base": BASE}, f"Templates > ComfyUI-Persona; the checkpoint is {place_checkpoint()}"
    from tools.small_world import BASE, GRAPH, NODE_PACK, place_photo

    place_photo()
    return (
        {"base": BASE, "packs": [NODE_PACK]},
        f"Templates > {NODE_PACK.name} > {GRAPH.stem}, which runs without a checkpoint",
    )


def main() -> None:
    folder, opening = prepared()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the server ends with us
    port = int(os.environ.get("PORT", 0)) or free_port(DEFAULT_PORT)
    print(f"Starting ComfyUI (a few seconds); its log is {folder['base'] / 'server.log'}", flush=True)
    with ComfyServer(**folder, port=port, extra_args=("--preview-method", "auto")) as server:
        print(
            f"\n  {server.url}\n\nOpen it, and there {opening}.\n"
            f"Pictures go to {server.base / 'output'}. Ctrl-C ends the server.",
            flush=True,
        )
        try:
            server.process.wait()
        except KeyboardInterrupt:
            print("\nEnding ComfyUI.")


if __name__ == "__main__":
    main()
