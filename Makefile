# make demo: the tms experiment, end to end.  make test: the default tests.  make speed: side by side with the peers.
# make results: every experiment but speed, and docs/results.md with its figures.
# Each installs what is missing into .venv; the peers, which exclude each other, into environments of their own in it.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test slow lint speed results peers clean

demo: .venv/installed
	$(BIN)/toymodels tms

test: .venv/installed-dev
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal

# one after another: some of them measure time
slow: .venv/installed-dev
	$(BIN)/python -m pytest -m slow

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

speed: .venv/installed peers
	$(BIN)/toymodels speed

EXPERIMENTS := phase_diagram geometry learning_dynamics markov_induction grokking icl_regression language \
    llc_calibration grid saturation tms_bayes wbic stages tms

results: .venv/installed
	for name in $(EXPERIMENTS); do \
	    $(BIN)/toymodels $$name --out checkpoints/default/$$name && \
	    cp checkpoints/default/$$name/figure.png docs/$$name.png || exit 1; done
	$(BIN)/toymodels results $(EXPERIMENTS:%=checkpoints/default/%) > docs/results.md

peers: .venv/peers/devinterp1/installed .venv/peers/devinterp2/installed .venv/peers/canonical/installed

.venv/peers/%/installed: experiments/benchmarks/speed/peers/%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

# canonical-interp asks for torchvision, which it does not use
.venv/peers/canonical/installed: experiments/benchmarks/speed/peers/canonical.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps canonical-interp==0.1.5
	touch $@

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[text]'
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,text]'
	touch $@

clean:
	rm -rf .venv
