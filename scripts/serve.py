"""Run ComfyUI with the pack, on the demo's folder, until Ctrl-C."""

import os
import signal
import sys

from comfy_server import ComfyServer, free_port

from demo import BASE, place_checkpoint

DEFAULT_PORT = 8188


def main() -> None:
    checkpoint, _ = place_checkpoint()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the server ends with us
    port = int(os.environ.get("PORT", 0)) or free_port(DEFAULT_PORT)
    print(f"Starting ComfyUI (a few seconds); its log is {BASE / 'server.log'}", flush=True)
    with ComfyServer(BASE, port=port) as server:
        print(
            f"\n  {server.url}\n\nOpen it, and there Templates > ComfyUI-Persona; the checkpoint is "
            f"{checkpoint}.\nPictures go to {BASE / 'output'}. Ctrl-C ends the server.",
            flush=True,
        )
        try:
            server.process.wait()
        except KeyboardInterrupt:
            print("\nEnding ComfyUI.")


if __name__ == "__main__":
    main()
