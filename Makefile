# Every target does its own set-up, which costs about a second once all is there.
PYTHON ?= python3
ARGS ?=
RUN = "$$($(PYTHON) scripts/setup.py --print python)"

.PHONY: demo test test-all test-host contract comfy-test bench-quality bench-sliders bench-presets bench-sampling bench-speed serve setup lint clean

demo: setup
	@$(RUN) scripts/demo.py

test:
	@$(PYTHON) scripts/setup.py --browser
	@$(RUN) -m pytest $(ARGS)

test-all:
	@$(PYTHON) scripts/setup.py --browser
	@$(RUN) -m pytest -m "" $(ARGS)

# The tests in another ComfyUI, HOST=path, in an environment of its own; ARGS="--frontends 1.49.6 1.58.1" for its browser.
test-host:
	@$(PYTHON) scripts/test_host.py $(HOST) $(ARGS)

# Only whether a ComfyUI (COMFYUI_PATH) has what the pack needs of it.
contract: setup
	@$(RUN) -m pytest tests/host/test_contract.py $(ARGS)

# The public checks of node packs, on what is published.
comfy-test: setup
	@$(RUN) scripts/comfy_test.py $(ARGS)

bench-quality: setup
	@$(RUN) -m tests.miniworld.quality $(ARGS)

bench-sliders: setup
	@$(RUN) -m tests.miniworld.sliders $(ARGS)

bench-presets: setup
	@$(RUN) -m tests.miniworld.presets $(ARGS)

bench-sampling: setup
	@$(RUN) scripts/bench_sampling.py $(ARGS)

bench-speed: setup
	@$(RUN) scripts/bench_speed.py $(ARGS)

serve: setup
	@$(RUN) scripts/serve.py

setup:
	@$(PYTHON) scripts/setup.py

lint: setup
	@$(RUN) -m ruff check .

clean:
	rm -rf .venv .comfyui demo .pytest_cache .ruff_cache
