# Every target works from a fresh clone on a machine with make and Python 3.10 to 3.13: it makes its own environment first.

# The first of these that is of a supported version; or say `make PYTHON=/path/to/python3.12 ...`.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.10; do \
	"$$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo "$$python" && break; done)
# MONAI Label's environment: its numpy has no wheel for Python 3.13, its other packages none of these versions for 3.10.
LABEL_PYTHON ?= $(shell for python in python3.11 python3.12 python3; do \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo "$$python" && break; done)
LABEL_VENV ?= .venv-label
LABEL_PY := $(LABEL_VENV)/bin/python
VENV ?= .venv
PY := $(VENV)/bin/python
# MONAI Deploy has an environment of its own: where its SDK is installed, every `import monai` imports it.
DEPLOY := .venv-deploy
# pylinac has an environment of its own: it wants pydicom 2.
QA := .venv-qa
# nnU-Net and KonfAI bring many packages, and are only compared with.
PEERS := .venv-peers
PHANTOM ?= catphan504
FOLDER ?=
OUTPUT ?= output
DEST ?= samples
SHAPE ?= 160,128,96
NOISE ?= 60
SCALES ?= 0 1 2 3
TRAINING ?= $(OUTPUT)/training
MINUTES ?= 0
LIMIT ?= 50MB
DATA ?=
STUDIES ?=
JOBS ?= 2
BENCHMARKS ?= memory_training memory_inference speed seams
OVERLAY ?=
ARGS ?=
INPUT ?=

# $(call config,train): the config, with the overlay of an experiment if one is given: x.json for inference, x.json and
# x_train.json for training, x_evaluate.json for evaluation, which hands x.json on to inference.
comma := ,
overlays = $(if $(filter evaluate,$(1)),,$(OVERLAY)) $(wildcard $(OVERLAY:.json=_$(1).json))
config = "['configs/$(1).json'$(foreach file,$(overlays),$(comma)'$(file)')]"

# MONAI asks for the user's name when it is imported; the user of a container may have none.
ifndef LOGNAME
export LOGNAME := $(shell id -un 2>/dev/null || id -u)
endif

# Made by npm when it has installed what the viewer's page needs.
NIIVUE := apps/viewer/node_modules/.package-lock.json

.DEFAULT_GOAL := help
.PHONY: help venv infer infer-ct view samples table1 bench bench-peers fuzz soak mutants test test-bench test-viewer deploy test-deploy label test-label qa test-qa train pairs pack lint wheel zip zoo-check bare-debian test-container clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(VENV)/.run ## Make the environment from requirements.txt

# $(call install,PYTHON,OPTIONS): install packages, and compile them on all cores; pip uses one. Some hold templates that do not compile.
define install
$(1) -m pip install --disable-pip-version-check --quiet --no-compile $(2)
@$(1) -m compileall -q -j 0 "$$($(1) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" >/dev/null 2>&1 || true
endef

# A half-made environment (interrupted, or made where Python lacks pip) is made anew.
$(VENV)/.pip:
	@test -n "$(PYTHON)" || { echo "error: found no Python 3.10 to 3.13; install one, or say make PYTHON=/path/to/python3.12"; exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV) \
		|| { echo "error: $(PYTHON) cannot make an environment; install its venv package (Debian, Ubuntu: python3-venv)"; exit 1; }
	@touch $@

$(VENV)/.run: requirements.txt | $(VENV)/.pip
	$(call install,$(PY),-r requirements.txt)
	@touch $@

$(VENV)/.zoo: requirements/zoo.txt requirements.txt | $(VENV)/.pip
	$(call install,$(PY),-r requirements/zoo.txt)
	@touch $@ $(VENV)/.run

$(VENV)/.dev: requirements/dev.txt requirements.txt | $(VENV)/.pip
	$(call install,$(PY),-r requirements/dev.txt)
	@touch $@ $(VENV)/.run

$(VENV)/.viewer: requirements/viewer.txt requirements/dev.txt requirements.txt | $(VENV)/.pip
	$(call install,$(PY),-r requirements/viewer.txt)
	@touch $@ $(VENV)/.dev $(VENV)/.run

$(DEPLOY)/.ready: requirements/deploy.txt apps/deploy/requirements.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.platform != "linux" or sys.version_info < (3, 11))' \
		|| { echo "error: MONAI Deploy needs Linux, and streaming Python 3.11 to 3.13; say make PYTHON=/path/to/python3.12"; exit 1; }
	@$(MAKE) --no-print-directory VENV=$(DEPLOY) $(DEPLOY)/.pip
	$(DEPLOY)/bin/python -m pip install --disable-pip-version-check --quiet --upgrade "pip>25.1" # which holoscan-cli demands
	$(call install,$(DEPLOY)/bin/python,-r requirements/deploy.txt)
	@touch $@

$(QA)/.ready: requirements/qa.txt
	@$(MAKE) --no-print-directory VENV=$(QA) $(QA)/.pip
	$(call install,$(QA)/bin/python,-r requirements/qa.txt)
	@touch $@

$(PEERS)/.ready: requirements/peers.txt requirements.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: KonfAI needs Python 3.11 to 3.13; say make PYTHON=/path/to/python3.12"; exit 1; }
	@$(MAKE) --no-print-directory VENV=$(PEERS) $(PEERS)/.pip
	$(call install,$(PEERS)/bin/python,-r requirements/peers.txt)
	@touch $@

$(LABEL_VENV)/.label: requirements/label.txt requirements/label-alone.txt
	@test -n "$(LABEL_PYTHON)" || { echo "error: found no Python 3.11 or 3.12; say make LABEL_PYTHON=/path/to/python3.11"; exit 1; }
	@$(LABEL_PY) -m pip --version >/dev/null 2>&1 || "$(LABEL_PYTHON)" -m venv --clear $(LABEL_VENV)
	$(call install,$(LABEL_PY),-r requirements/label.txt)
	$(call install,$(LABEL_PY),--no-deps -r requirements/label-alone.txt)
	@touch $@

$(NIIVUE): apps/viewer/package.json apps/viewer/package-lock.json
	@command -v npm >/dev/null || { echo "error: found no npm, which installs the viewer's NiiVue; install Node.js 18 or later"; exit 1; }
	npm ci --prefix apps/viewer --ignore-scripts --no-audit --no-fund
	@touch $@

# $(call newest,folder): the image in a folder of results that was written last; OME-Zarr is a folder.
newest = find "$(1)" -name '.?*' -prune -o \( -name '*.zarr' -prune -o -type f \) ! -name '*.json' ! -name '*.log' ! -name '*.csv' \
	! -name '*.html' ! -name '*.pdf' ! -name '*.report.dcm' -exec ls -td {} + 2>/dev/null | head -n 1

# $(call translate,image,folder): translate the image into the folder and draw source | result | difference. Nothing is
# removed before: what is made replaces an earlier one of its own alone.
define translate
	$(PY) -m monai.bundle run inference --config_file $(call config,inference) --dataset_dir "$(1)" --output_dir "$(2)/result" $(ARGS)
	@result=$$($(call newest,$(2)/result)); \
	test -n "$$result" || { echo "error: inference wrote nothing to $(2)/result"; exit 1; }; \
	$(PY) -m apps.preview "$(1)" "$$result" "$(2)/preview.png" >/dev/null && \
	printf 'source   %s\nresult   %s\npicture  %s\n' "$(1)" "$$result" "$(2)/preview.png" && \
	printf 'viewer   make view SOURCE="%s" RESULT="%s"\n' "$(1)" "$$result"
endef

infer: $(VENV)/.run ## Translate a small thorax phantom; say where the result and its picture lie (no network once installed)
	@$(PY) -m bundle.examples.phantom "$(OUTPUT)/phantom/phantom.nii.gz" --shape $(SHAPE) --noise $(NOISE) >/dev/null
	$(call translate,$(OUTPUT)/phantom/phantom.nii.gz,$(OUTPUT)/phantom)

infer-ct: $(VENV)/.run ## The same on a real thorax CT, downloaded once
	@$(PY) -m bundle.examples.samples "$(DEST)" --names platipy_testcase >/dev/null
	$(call translate,$(DEST)/platipy_testcase.nii.gz,$(OUTPUT)/ct)

view: $(VENV)/.run $(NIIVUE) ## Show SOURCE=image, RESULT=translation and their difference in the browser; by default what make infer made
	@source="$(SOURCE)"; result="$(RESULT)"; \
	if test -z "$$source$$result"; then \
		source="$(OUTPUT)/phantom/phantom.nii.gz"; \
		result=$$($(call newest,$(OUTPUT)/phantom/result)); \
	fi; \
	test -n "$$source" && test -n "$$result" || { echo "error: say make view SOURCE=image RESULT=translation, or make infer first"; exit 1; }; \
	$(PY) -m apps.viewer "$$source" "$$result" $(ARGS)

samples: $(VENV)/.run ## Bring four open thorax CTs into DEST=samples (about 190 MB)
	$(PY) -m bundle.examples.samples "$(DEST)"

table1: $(VENV)/.run ## Compare with the baselines: SOURCE=sharp TARGET=soft, or DATA=soft CTs; TUNING=other soft CTs; OVERLAY=config
	@test -n "$(SOURCE)$(DATA)" || { echo "error: say make table1 SOURCE=... TARGET=... TUNING=..., or DATA=... TUNING=..."; exit 1; }
	$(PY) -m monai.bundle run evaluating --config_file $(call config,evaluate) --output_dir "$(OUTPUT)/evaluation" \
		$(if $(SOURCE),--source "$(SOURCE)") $(if $(TARGET),--target "$(TARGET)") $(if $(DATA),--dataset_dir "$(DATA)") \
		$(if $(TUNING),--tuning_dir "$(TUNING)") $(if $(OVERLAY),--overlay "$(OVERLAY)") $(ARGS)

bench: $(VENV)/.run ## Measure what docs/benchmarks.md shows: a table and a figure each; BENCHMARKS=memory_training ARGS="--limit 1GiB"
	@for name in $(BENCHMARKS); do \
		$(PY) -m benchmarks.$$name --figure "$(OUTPUT)/benchmarks/$$name.png" $(ARGS) || exit 1; \
	done

bench-peers: $(PEERS)/.ready ## Compare with MONAI, nnU-Net and KonfAI on one network: seconds, memory, seams; ARGS="--sides 128" is quick
	$(PEERS)/bin/python -m benchmarks.peers --folder "$(OUTPUT)/benchmarks" --figure "$(OUTPUT)/benchmarks/peers.png" $(ARGS)

# These three take minutes to hours, and are no part of `make test`; docs/reliability.md shows what they have found.
fuzz: $(VENV)/.dev ## Damage small files of every format for MINUTES=10, and count what becomes of them; ARGS="--only 1234"
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.fuzz --minutes $(or $(filter-out 0,$(MINUTES)),10) $(ARGS)

soak: $(VENV)/.dev ## Many runs, killed runs and runs at once for MINUTES=60; ARGS="--volumes 200 --kills 300 --pairs 100"; the same command goes on
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.soak --minutes $(or $(filter-out 0,$(MINUTES)),60) \
		--outcomes "$(OUTPUT)/soak.jsonl" $(ARGS)

mutants: $(VENV)/.dev ## Change the code in small places for MINUTES=60, and count what the tests notice; the same command goes on
	OMP_NUM_THREADS=1 nice -n 19 $(PY) -m benchmarks.mutants --minutes $(or $(filter-out 0,$(MINUTES)),60) $(ARGS)

test: $(VENV)/.dev ## Run the tests
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(JOBS) -m "not bench" $(ARGS)

test-bench: $(VENV)/.dev ## Test that the benchmarks run, on small images (minutes)
	OMP_NUM_THREADS=1 $(PY) -m pytest -m bench $(ARGS)

test-viewer: $(VENV)/.viewer $(NIIVUE) ## Test the viewer in headless Chromium (CHROMIUM=/path/to/it); leaves a picture of it
	OMP_NUM_THREADS=1 VIEWER_PICTURE="$(OUTPUT)/viewer/viewer.png" $(PY) -m pytest tests/apps/test_viewer.py tests/apps/test_viewer_page.py $(ARGS)
	@echo "picture  $(OUTPUT)/viewer/viewer.png"

deploy: $(DEPLOY)/.ready ## Translate the CT series in the DICOM folder INPUT by the MONAI Deploy application, into OUTPUT
	@test -n "$(INPUT)" || { echo "error: say make deploy INPUT=folder OUTPUT=folder"; exit 1; }
	$(DEPLOY)/bin/python apps/deploy -i "$(INPUT)" -o "$(OUTPUT)"

test-deploy: $(DEPLOY)/.ready ## Test that application; DEPLOY_SERIES=folder takes a CT series of your own besides
	OMP_NUM_THREADS=1 $(DEPLOY)/bin/python -m pytest tests/apps/test_deploy.py $(ARGS)

label: $(LABEL_VENV)/.label ## Serve the images in STUDIES=folder by MONAI Label on loopback, for 3D Slicer and others
	@test -n "$(STUDIES)" || { echo "error: say make label STUDIES=folder_of_images"; exit 1; }
	@$(LABEL_PY) -m apps.label "$(STUDIES)" --folder "$(OUTPUT)/label" $(ARGS)

test-label: $(LABEL_VENV)/.label ## Test MONAI Label's real server and the Slicer module's logic; LABEL_CT=real CT to translate besides
	OMP_NUM_THREADS=2 $(LABEL_PY) -m pytest tests/apps/test_label*.py tests/apps/test_slicer.py $(ARGS)

# Without FOLDER: a simulated phantom, whose soft reconstruction is known, is measured beside.
qa: $(VENV)/.run $(QA)/.ready ## Translate a phantom's DICOM series FOLDER=folder and measure HU, MTF and noise; PHANTOM=catphan504, acr ...
	@folder="$(FOLDER)"; target=""; \
	if test -z "$$folder"; then \
		folder="$(OUTPUT)/qa/$(PHANTOM)/sharp"; target="$(OUTPUT)/qa/$(PHANTOM)/soft"; \
		if ! test -e "$(OUTPUT)/qa/$(PHANTOM)"; then \
			mkdir -p "$(OUTPUT)/qa" && made=$$(mktemp -d "$(OUTPUT)/qa/.part_XXXXXX") || exit 1; \
			$(PY) -m apps.qa.simulate "$$made" --phantom "$(PHANTOM)" >/dev/null || exit 1; \
			mv "$$made" "$(OUTPUT)/qa/$(PHANTOM)" || exit 1; \
		fi; \
	fi; \
	result="$(OUTPUT)/qa/result/$(PHANTOM)/$$(basename "$$folder")"; \
	$(PY) -m monai.bundle run inference --config_file $(call config,inference) --dataset_dir "$$folder" \
		--output_dir "$$result" --check_input warn $(ARGS) || exit 1; \
	$(QA)/bin/python -m apps.qa "$$folder" "$$result" $${target:+--target "$$target"} --phantom "$(PHANTOM)" \
		--output "$(OUTPUT)/qa"

test-qa: $(VENV)/.dev $(QA)/.ready ## Test that, on simulated phantoms
	OMP_NUM_THREADS=1 $(PY) -m pytest tests/apps/test_qa.py $(ARGS)

# $(call unfinished,SCALE): whether a training left a checkpoint, or the record that its weights are not final.
unfinished = { ls "$(TRAINING)"/resume_$(1)_* || grep '^    "finished": false' "$(TRAINING)/scale_$(1).json"; } >/dev/null 2>&1

train: $(VENV)/.run ## Train all scales and gather the weights: DATA=folder (without: the sample CTs), OVERLAY=config; MINUTES=9 stops after 9 minutes, rerun to continue
	@test -n "$(DATA)" || $(PY) -m bundle.examples.samples "$(DEST)" --names lidc_0001,platipy_testcase,totalseg_aorta
	@for scale in $(SCALES); do \
		if test -f "$(TRAINING)/scale_$$scale.pt" && ! $(call unfinished,$${scale}); then \
			echo "scale $$scale is trained already: $(TRAINING)/scale_$$scale.pt"; continue; \
		fi; \
		$(PY) -m monai.bundle run training --config_file $(call config,train) --dataset_dir "$(or $(DATA),$(DEST))" \
			--output_dir "$(TRAINING)" --scale $$scale --max_minutes $(MINUTES) $(ARGS) || exit 1; \
		if $(call unfinished,$${scale}); then \
			echo "scale $$scale stopped after $(MINUTES) minutes; the same command goes on"; exit 0; \
		fi; \
	done; \
	$(PY) -m monai.bundle run gather --config_file $(call config,train) --dataset_dir "$(or $(DATA),$(DEST))" --output_dir "$(TRAINING)" $(ARGS)

pairs: $(VENV)/.run ## Make noise for training CTs in projections, once: DATA=folder, OVERLAY=configs/low_dose.json; the same command resumes
	@test -n "$(DATA)" || { echo "error: say make pairs DATA=folder_of_soft_cts"; exit 1; }
	$(PY) -m monai.bundle run pairs --config_file $(call config,train) --dataset_dir "$(DATA)" --output_dir "$(TRAINING)" $(ARGS)

pack: $(VENV)/.run ## Make a data set small enough to travel: DATA=folder, DEST=folder, LIMIT=50MB
	@test -n "$(DATA)" || { echo "error: say make pack DATA=folder DEST=folder LIMIT=50MB"; exit 1; }
	$(PY) -m bundle.training.data.packing "$(DATA)" "$(DEST)" --limit $(LIMIT)

lint: $(VENV)/.dev ## Check style (ruff), types (mypy) and that arrows between folders point downwards (import-linter)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports

wheel: $(VENV)/.pip ## Build dist/*.whl, which pip and pipx install: the command ct-kernel-translation, the bundle, its weights
	$(PY) -m pip wheel --disable-pip-version-check --quiet --no-deps --wheel-dir dist .
	@ls dist/*.whl

zip: $(VENV)/.run ## Pack what a submission to the MONAI Model Zoo holds
	$(PY) -m apps.zoo pack --output "$(OUTPUT)"

zoo-check: $(VENV)/.zoo ## Check it as the zoo's CI does, unpacked (no network once installed; ARGS=--index asks for its packages)
	OMP_NUM_THREADS=1 $(PY) -m apps.zoo check $(ARGS)

bare-debian: ## As root on Debian: in a bare Debian (mmdebstrap), clone and run make infer and make test; ARGS="'make infer'" others
	apps/container/bare_debian.sh $(ARGS)

test-container: ## As root on Debian: run the Dockerfile's lines in a bare Debian, without Docker, and try what they make; ARGS=TORCH_INDEX=
	"$(PYTHON)" -m apps.container $(ARGS)

clean: ## Remove results and caches; the environment and the samples stay
	rm -rf "$(OUTPUT)" eval .pytest_cache .mypy_cache .hypothesis
	find . -path './$(VENV)*' -prune -o -type d \( -name __pycache__ -o -name .ruff_cache \) -exec rm -rf {} +
