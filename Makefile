# make demo   set everything up, ground the bundled clips, say where the results are
# make test   lint, types, tests
# make quick  the tests that take minutes, not a quarter of an hour
# make docs   the site, into outputs/docs; a link that leads nowhere fails it
# make test-extras   what the optional packages add, with those installed
# make smoke  preparation, training and evaluation on twelve rendered clips, as a user would
# All work from a fresh clone with nothing but Python 3.11 or newer and its pip.

# The first interpreter found that is new enough; or name one: make demo PYTHON=/path/to/python
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13 python3.14 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
OUT := outputs/demo
# Nothing is compiled that is never imported; what is imported must then be kept.
INSTALL := $(PIP) install --quiet --no-compile
unexport PYTHONDONTWRITEBYTECODE
# A process a core, each with whole files: their fixtures are made once.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile
# A browser, a server and their time limits want the cores.
BROWSER := tests/web/test_page.py tests/web/test_page_visit.py

.PHONY: demo test quick docs smoke test-extras format clean test-mcp

demo: $(VENV)/.installed
	$(BIN)/stvg demo --out $(OUT)

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST) $(BROWSER:%=--ignore %)
	$(BIN)/python -m pytest $(BROWSER)

quick: $(VENV)/.installed-dev
	$(PYTEST) -m "not slow"

docs: $(VENV)/.installed-docs
	$(BIN)/mkdocs build --strict

smoke: $(VENV)/.installed-dev
	rm -rf outputs/smoke
	$(BIN)/python -m train.smoke --out outputs/smoke

# With the packages there nothing is skipped; no test needs a download or a GPU.
test-extras: $(VENV)/.installed-extras
	DS_ACCELERATOR=cpu $(PYTEST) -k "ZeRO or not training_loop" \
		tests/train/test_training_loop.py tests/tracking/test_ultralytics.py \
		tests/tracking/test_ultralytics_open.py tests/segmentation tests/vlm/test_loading.py \
		tests/vlm/test_llama_server.py tests/vlm/test_transformers_serve.py

# gradio pins an older pydantic for its MCP server than everything else wants: an environment of its
# own, which finds the other packages behind its own.
test-mcp: $(VENV)/.installed-dev
	$(PYTHON) -m venv $(VENV)/mcp
	$(VENV)/mcp/bin/python -m pip --disable-pip-version-check install --quiet --no-compile 'gradio[mcp]>=6.31' pytest
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$($(VENV)/mcp/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/others.pth"
	PYTHONPATH=. $(VENV)/mcp/bin/python -m pytest tests/web/test_mcp.py

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) outputs build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found; install one, or name it: make demo PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# opencv-python, which the tracker library asks for, needs libGL even where no window is ever
# opened. A machine without it gets the build without windows, which holds the same functions.
define check_opencv
@$(BIN)/python -c 'import cv2' 2>/dev/null || { \
	echo "This machine has no libGL; taking the OpenCV build without windows." >&2; \
	$(PIP) uninstall --quiet --yes opencv-python && $(INSTALL) opencv-python-headless; }
endef

# The stamps are older than pyproject.toml exactly when something new may have to be installed.
$(VENV)/.installed: pyproject.toml | $(VENV)/.created
	$(INSTALL) -e .
	$(check_opencv)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/.created
	$(INSTALL) -e '.[dev]'
	$(check_opencv)
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml $(VENV)/.installed
	$(INSTALL) -e '.[docs]'
	@touch $@

# sam2 comes as source and asks for torch while it is built: the one that is there will do.
$(VENV)/.installed-extras: pyproject.toml $(VENV)/.installed-dev
	SAM2_BUILD_CUDA=0 $(INSTALL) --no-build-isolation 'sam2>=1.1'
	DS_BUILD_OPS=0 $(INSTALL) -e '.[yolo,sam2,quantization]' xllamacpp gguf 'deepspeed>=0.19' \
		'transformers[serving]'
	$(check_opencv)
	@touch $@
