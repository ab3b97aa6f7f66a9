# Every target does its own set-up, which costs about a second once all is there.
PYTHON ?= python3
ARGS ?=
RUN = "$$($(PYTHON) -m tools.environment --print python)"

.PHONY: demo check test test-all test-host contract comfy-test bench-quality bench-pairs bench-gradient bench-sliders bench-choices bench-likeness bench-luck bench-budget bench-lowering bench-sampling bench-speed bench-memory bench-paper bench-trust bench-watermark bench-flow bench-many serve setup lint clean

demo: setup
	@$(RUN) -m tools.demo

# In a minute or two: the core in torch alone, style, types.
check: setup
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy persona_core/*.py persona_core/faces persona_core/command
	@$(RUN) -m pytest tests/core --noconftest -q

# Two files at a time, on a thread each, in the order of tests/conftest.py.
test:
	@$(PYTHON) -m tools.environment --browser
	@OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-all:
	@$(PYTHON) -m tools.environment --browser
	@$(RUN) -m pytest -m "" $(ARGS)

# The tests in another ComfyUI, HOST=path, in an environment of its own; ARGS="--frontends 1.49.6 1.58.1" for its browser.
test-host:
	@$(PYTHON) -m tools.try_host $(HOST) $(ARGS)

# Only whether a ComfyUI (COMFYUI_PATH) has what the pack needs of it.
contract: setup
	@$(RUN) -m pytest tests/host/test_contract.py $(ARGS)

# The public checks of node packs, on what is published.
comfy-test: setup
	@$(RUN) -m tools.comfy_test $(ARGS)

bench-quality: setup
	@$(RUN) -m bench.quality $(ARGS)

bench-pairs: setup
	@$(RUN) -m bench.pairs $(ARGS)

bench-gradient: setup
	@$(RUN) -m bench.gradient $(ARGS)

bench-sliders: setup
	@$(RUN) -m bench.sliders $(ARGS)

bench-choices: setup
	@$(RUN) -m bench.choices $(ARGS)

bench-likeness: setup
	@$(RUN) -m bench.likeness $(ARGS)

bench-luck: setup
	@$(RUN) -m bench.luck $(ARGS)

bench-flow: setup
	@$(RUN) -m bench.flow $(ARGS)

bench-budget: setup
	@$(RUN) -m bench.budget $(ARGS)

bench-lowering: setup
	@$(RUN) -m bench.lowering $(ARGS)

bench-sampling: setup
	@$(RUN) -m bench.sampling $(ARGS)

bench-speed: setup
	@$(RUN) -m bench.speed $(ARGS)

bench-memory: setup
	@$(RUN) -m bench.memory $(ARGS)

# On a checkpoint and photos of your own: CHECKPOINT=path PHOTOS=folder, or in the made-up world: ARGS=--world.
bench-paper: setup
	@$(RUN) -m bench.paper $(ARGS)

bench-trust: setup
	@$(RUN) -m bench.trust $(ARGS)

bench-watermark: setup
	@$(RUN) -m bench.watermark $(ARGS)

# On a Ray cluster of this machine.
bench-many: setup
	@$(RUN) -m bench.many $(ARGS)

serve: setup
	@$(RUN) -m tools.serve

setup:
	@$(PYTHON) -m tools.environment

lint: setup
	@$(RUN) -m ruff check .

clean:
	rm -rf .venv .comfyui demo .mypy_cache .pytest_cache .ruff_cache
