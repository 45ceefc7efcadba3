# make demo: the whole pipeline on drawn memes.  make test: everything that is checked.
SHELL := bash
PY := .venv/bin/python
MEMEFLY := .venv/bin/memefly
DEMO ?= demo
IMAGES ?= 900
UNIT := $(PY) -m pytest tests -q -n 2 --dist loadfile --ignore tests/e2e --ignore tests/components
LONG := tests/lanes tests/e2e tests/training tests/test_tracking.py tests/components tests/serving
LONGEST_FIRST := $(LONG) $(filter-out $(LONG),$(patsubst %/,%,$(wildcard tests/*/)) $(wildcard tests/test_*.py))

.PHONY: help setup demo test unit lint docs stress bench lock fonts clean

help:
	@echo "make demo    draw sample memes, run the whole pipeline on them, caption new ones ($(DEMO)/)"
	@echo "make test    lint, unit tests, then the pipeline end to end"
	@echo "make unit    the tests that need no TFX, under a minute"
	@echo "make lint    ruff (style, formatting), mypy (types), deptry (requirements), the site's links and references"
	@echo "make docs    the site of docs/, with the library's reference, into site/"
	@echo "make stress  bad pictures, records and ROOTs in bulk, from seeds; minutes"
	@echo "make bench   the side-by-side measurements in benchmarks/"
	@echo "make setup   the virtual environment in .venv (the others call it); LANE=1.21 | 1.16 chooses, GPU=1 brings CUDA"
	@echo "make lock    resolve requirements/*.txt anew from setup.py"
	@echo "make fonts   bring the fonts of memes anew, at the versions in requirements/fonts.sh"

setup:
	@LANE="$(LANE)" GPU="$(GPU)" bash requirements/setup.sh

demo: setup
	@test -e $(DEMO)/data || { echo "drawing $(IMAGES) sample memes"; $(MEMEFLY) sample $(DEMO)/data --images $(IMAGES) --seed 0; }
	@test -e $(DEMO)/new || $(MEMEFLY) sample $(DEMO)/new --images 3 --seed 2026
	@$(MEMEFLY) run --data $(DEMO)/data --root $(DEMO)/pipeline --config demo
	@echo; echo "three memes it has never seen:"
	@$(MEMEFLY) caption --model $(DEMO)/pipeline/serving/captioner $(DEMO)/new/images/*.png

# Long tests wait often, for files, servers and processes: three at a time keep two cores busy.
# SECOND=1: as the second lane of CI, without what was checked in the first and does not depend on a lane.
test: setup $(if $(SECOND),,lint)
	@$(UNIT) -m "not slow $(if $(SECOND),and not once)"
	@$(PY) -m pytest $(LONGEST_FIRST) -m "slow $(if $(SECOND),and not once)" -q -n 3 --dist loadfile --no-loadscope-reorder

unit: setup
	@$(UNIT) -m "not slow"

lint: setup
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy --no-error-summary
	@bash requirements/unused.sh
	@$(MAKE) -s docs

docs: setup
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet

stress: setup
	@$(PY) tests/stress
	@MEMEFLY_CASES=100 $(PY) -m pytest tests/serving/test_openapi.py -q

bench: setup
	@$(PY) -m benchmarks

lock:
	bash requirements/lock.sh

fonts: setup
	bash requirements/fonts.sh

clean:
	rm -rf $(DEMO) site .pytest_cache .ruff_cache .hypothesis
