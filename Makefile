# Thin over `spean …`: everything here also works without make (see CONTRIBUTING).
PY := .venv/bin/python
.DEFAULT_GOAL := help
# Some machines forbid it, and then every start compiles everything again.
unexport PYTHONDONTWRITEBYTECODE

help:
	@echo "make up          start everything on this machine (Ctrl-C stops)"
	@echo "make demo        play a day at a border post against what is running"
	@echo "make doctor      what is wrong with this machine, and how to mend it"
	@echo "make kafka       start a real local Kafka"
	@echo "make clean       delete data and keys (asks first)"
	@echo "make test        set up and run the tests (15 minutes on 2 cores)"
	@echo "make test-long   faults, many seeds, model tests"
	@echo "make soak        who is told what, then faults of every kind, for hours (SPEAN_PROPERTY_MINUTES, SPEAN_SOAK_MINUTES, SPEAN_SOAK_BUS=kafka)"
	@echo "make screenshots a picture of every page in every language, to look at"
	@echo "make first-time  from nothing to an accepted referral by clicking, counted"
	@echo "make weights     how many bytes each page is on the line"
	@echo "make bench       measure everything beside its floor (15 minutes): docs/benchmarks.md"
	@echo "make cluster     what docker-compose.yml starts, on the loopback and without Docker (Ctrl-C stops)"
	@echo "make lint        read the source without running it"
	@echo "make deps        system packages for tests on a real Kafka and in a browser"

.venv/runtime: requirements.lock deploy/environment.sh
	@sh deploy/environment.sh requirements.lock .venv/runtime

.venv/dev: requirements-dev.lock deploy/environment.sh
	@sh deploy/environment.sh requirements-dev.lock .venv/dev

up: .venv/runtime
	@$(PY) -m services.cli up

demo: .venv/runtime
	@$(PY) -m services.cli demo

doctor: .venv/runtime
	@$(PY) -m services.cli doctor

clean: .venv/runtime
	@$(PY) -m services.cli clean

kafka: .venv/runtime
	@$(PY) -m deploy.kafka.local up --nodes 1

screenshots: .venv/dev
	@$(PY) -m tests.browser.screenshots screenshots

first-time: .venv/dev
	@$(PY) -m tests.browser.first_time

weights: .venv/dev
	@$(PY) -m tests.browser.weights

bench: .venv/dev
	@$(PY) -m bench

cluster: .venv/dev
	@$(PY) -m deploy.cluster

deps:
	@sh deploy/system.sh --now

test: .venv/dev
	@sh deploy/system.sh
	@sh deploy/check.sh
	@sh deploy/tests.sh quick

test-long: .venv/dev
	@sh deploy/system.sh
	@rm -f .faults.jsonl
	@SPEAN_FAULTS=$(CURDIR)/.faults.jsonl sh deploy/tests.sh long
	@$(PY) -m tests.faults.figures .faults.jsonl

soak: .venv/dev
	@SPEAN_PROPERTY_MINUTES=$${SPEAN_PROPERTY_MINUTES:-30} $(PY) -m pytest -m long -q tests/integration/test_disclosure_property.py
	@$(PY) -m tests.faults.soak

lint: .venv/dev
	@sh deploy/check.sh

.PHONY: help up demo doctor clean kafka screenshots first-time weights bench cluster deps test test-long soak lint
