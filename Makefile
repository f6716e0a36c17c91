# make train [ARGS="--config.grpo.max_steps=10"] [WORKDIR=runs/default] [EXTRA=cuda|tpu]
# make install [EXTRA=cuda|tpu]
# make weights                                          pretrained parts, and weights/smol put together of them
# make smol [DATA=FILE.csv] [WORKDIR=runs/smol]         weights, a cold start on your own sentences, evaluation, page
# make plan [PRESET=msa_thinker] [ARGS="--config.topology=v5e:4x4"]
# make test | test-kill | test-browser | test-slow | test-aot | test-tfds | lint | clean
# make hashes                                           after a pin of the requirements was changed
#
# Needs python3 (3.11 is what is tested) with pip; everything else goes into .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
WORKDIR ?= runs/default
KILLS ?= 40
# tests spend their time in the compiler: it optimizes little there (slow proofs take the programs that users get)
FAST_COMPILE := --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false \
	--xla_cpu_parallel_codegen_split_count=1
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check -q
# what lies here has no hash, and so is installed apart from what comes from the index
OURSELVES := $(PIP) install --no-deps --no-build-isolation -e .

.PHONY: train install weights smol plan test test-kill test-browser test-slow test-aot test-tfds lint hashes clean

train: $(VENV)/.run$(EXTRA)
	$(PY) -m emsa_jax.main --config=configs/grpo.py --workdir=$(WORKDIR) $(ARGS)

install: $(VENV)/.run$(EXTRA)
	@echo "installed; for the commands of the README: . $(VENV)/bin/activate"

weights: $(VENV)/.run
	$(PY) tools/weights.py
	test -d weights/smol || $(PY) -m emsa_jax.main --config=configs/assemble.py --config.out=weights/smol \
		--config.text=weights/smollm2-135m-instruct --config.audio=weights/whisper-base

smol: WORKDIR = runs/smol
smol: $(if $(findstring :,$(DATA)),,$(DATA)) weights  # a file that is missing is told before anything is fetched
	@$(if $(DATA),,echo "note: no DATA=FILE.csv is given: smol learns the words of puppets, where they often mislead")
	$(PY) -m emsa_jax.main --config=configs/sft.py:smol --workdir=$(WORKDIR) \
		--config.data=$(or $(DATA),puppets:en) $(ARGS)

plan: $(VENV)/.run $(VENV)/.aot
	PYTHONPATH=$(VENV)/aot $(PY) -m emsa_jax.main --config=configs/plan.py$(addprefix :,$(PRESET)) $(ARGS)

test: $(VENV)/.dev
	XLA_FLAGS="$(FAST_COMPILE)" $(PY) -m pytest -n 2 --dist loadscope --no-loadscope-reorder $(ARGS)

test-kill: $(VENV)/.dev
	KILLS=$(KILLS) $(PY) -m pytest tests/jobs/test_kill.py -s $(ARGS)

test-browser: $(VENV)/.browser
	$(PY) -m pytest -m browser $(ARGS)

test-slow: $(VENV)/.dev
	$(PY) -m pytest -m slow $(ARGS)

test-aot: $(VENV)/.dev $(VENV)/.aot
	$(PY) -m pytest -m aot -n 2 --dist load tests/aot $(ARGS)

test-tfds: $(VENV)/.dev $(VENV)/.tfds
	PYTHONPATH=$(VENV)/tfds $(PY) -m pytest -m tfds $(ARGS)

lint: $(VENV)/.lint
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m vulture

hashes:  # needs uv
	python3 tools/hash_requirements.py

clean:  # keeps runs/ and weights/
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# where ensurepip is not installed (Debian's bare python3), the machine's own pip fills the environment
$(PY):
	$(PYTHON) -m venv $(VENV) || { $(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $(PY) install pip; }

$(VENV)/.run$(EXTRA): requirements.txt pyproject.toml | $(PY)
	@echo "installing what training needs into $(VENV) (no torch); it takes some minutes"
	$(PIP) install --require-hashes -r requirements.txt
	$(OURSELVES)
	$(if $(EXTRA),$(PIP) install -e .[$(EXTRA)] --no-build-isolation)
	@touch $@

$(VENV)/.dev: requirements-dev.txt requirements.txt pyproject.toml | $(PY)
	@echo "installing what the tests need into $(VENV): torch==2.13.0 for the CPU, transformers' and PEFT's referees"
	@echo "(where pip does not find torch==2.13.0+cpu: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make test)"
	$(PIP) install --require-hashes -r requirements-dev.txt
	$(OURSELVES)
	@touch $@

$(VENV)/.lint: requirements-dev.txt | $(PY)
	sed -n '/^\(ruff\|vulture\)==/,/[^\\]$$/p' requirements-dev.txt > $(VENV)/lint.txt
	$(PIP) install --require-hashes -r $(VENV)/lint.txt
	@touch $@

$(VENV)/.browser: requirements-browser.txt $(VENV)/.dev
	command -v chromium > /dev/null || { apt-get update -qq && apt-get install -y -qq chromium; }
	$(PIP) install --require-hashes -r requirements-browser.txt
	@touch $@

$(VENV)/.aot: requirements-aot.txt | $(PY)
	@echo "installing the compilers for TPU and GPU into $(VENV)/aot"
	rm -rf $(VENV)/aot
	$(PIP) install --require-hashes --no-deps --target $(VENV)/aot -r requirements-aot.txt
	@touch $@

$(VENV)/.tfds: requirements-tfds.txt | $(PY)
	@echo "installing tensorflow-datasets and TensorFlow into $(VENV)/tfds"
	rm -rf $(VENV)/tfds
	$(PIP) install --require-hashes --no-deps --target $(VENV)/tfds -r requirements-tfds.txt
	@touch $@
