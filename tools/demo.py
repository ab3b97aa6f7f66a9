"""Learn a persona from one photo and paint with it, in a real ComfyUI; results go to demo/."""

import os
import sys


def main() -> None:
    if os.environ.get("CHECKPOINT"):
        from tools import demo_checkpoint as demo
    else:
        from tools import demo_small_world as demo
    demo.main()
    print("\nIn the browser:\n  make serve\nthen open the address it prints.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nStopped.")
