"""The papers' tables by one command: `python -m bench.paper`. See docs/paper.md."""
