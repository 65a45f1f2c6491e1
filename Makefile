# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# `make help` lists the targets. Everything made goes below build/.

PYTHON ?= /usr/bin/python3
HOME ?= $(shell getent passwd $$(id -u) | cut -d: -f6)
export PYTHON HOME

BIN := $(CURDIR)/build/venv/bin
COLLECTION := $(CURDIR)/build/collections/ansible_collections/mailops/dane
# One scenario with `make molecule SCENARIO=name`; all of them without.
SCENARIO ?= $(sort $(notdir $(patsubst %/,%,$(dir $(wildcard molecule/*/molecule.yml)))))

# Ansible and molecule call one another by name; the system's own Ansible, if any, must not answer.
export PATH := $(BIN):$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/build/collections
export PYTHONDONTWRITEBYTECODE := 1
# Molecule's frames and colours stand in the way of what reads its log.
export MOLECULE_COMMAND_BORDERS := false

PYTEST = -m pytest -o junit_family=xunit2 --junit-xml=build/logs/$@.xml

.DEFAULT_GOAL := help
.PHONY: help venv constraints collection unit unit-2.18 oldpython certbots model model-short contract lint sanity sanity-2.18 molecule \
	demo demo-broken faults faults-short years years-short lab-image lab-up lab-down changelog test clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-zA-Z0-9_.-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: ## install Debian packages (as root) and make build/venv, build/venv-2.18, build/venv-oldpython
	@tests/tools/packages.sh
	@tests/tools/venv.sh build/venv tests/requirements.txt
	@tests/tools/venv.sh build/venv-2.18 tests/requirements-2.18.txt
	@tests/tools/venv.sh build/venv-oldpython tests/requirements-oldpython.txt --system-site-packages

constraints: ## write down the package versions that pip chose for the requirements of today
	@rm -rf build/venv build/venv-2.18 build/venv-oldpython tests/constraints*.txt
	@$(MAKE) --no-print-directory venv
	@tests/tools/constraints.sh

collection: venv ## build the artifact and install it under build/collections
	@tests/tools/collection.sh

unit: collection ## unit tests of the installed artifact, with ansible-core 2.19
	DANE_COLLECTION_ROOT=$(COLLECTION) $(BIN)/python $(PYTEST) tests/unit

unit-2.18: collection ## those of them that have to do with ansible-core, with 2.18
	DANE_COLLECTION_ROOT=$(COLLECTION) build/venv-2.18/bin/python $(PYTEST) tests/unit \
		$(addprefix --ignore=tests/unit/,plugins/module_utils oracle judge)

oldpython: collection ## unit tests of on-host code with Debian's own Python and cryptography
	DANE_COLLECTION_ROOT=$(COLLECTION) DANE_ON_HOST_ONLY=1 build/venv-oldpython/bin/python $(PYTEST) tests/unit

model: collection ## the model checker: worlds to the last state, random runs, every mutant of _rollover
	DANE_COLLECTION_ROOT=$(COLLECTION) $(BIN)/python tests/model/run.py

model-short: collection ## the same with a fixed sample of the mutants
	DANE_COLLECTION_ROOT=$(COLLECTION) $(BIN)/python tests/model/run.py --short

certbots: collection ## the role certbot with certbots old and new, and a real ACME server
	@for version in 1.12 1.21 5; do \
		tests/tools/venv.sh build/venv-certbot-$$version tests/requirements-certbot-$$version.txt || exit 1; \
	done
	$(BIN)/python $(PYTEST) tests/certbots

contract: venv ## tests that read the repository: layers, role defaults, Ansible traps, headers
	$(BIN)/python $(PYTEST) tests/contract

lint: collection ## ansible-lint (production), yamllint, ruff, changelog fragments
	@failed=0; \
	$(BIN)/ruff check --output-format concise . || failed=1; \
	$(BIN)/yamllint --strict . || failed=1; \
	$(BIN)/antsibull-changelog lint || failed=1; \
	NO_COLOR=1 $(BIN)/ansible-lint --offline --strict || failed=1; \
	exit $$failed

sanity: venv ## ansible-test sanity with ansible-core 2.19
	tests/sanity/run.sh build/venv

sanity-2.18: venv ## ansible-test sanity with ansible-core 2.18
	tests/sanity/run.sh build/venv-2.18

molecule: collection ## every molecule scenario, one after the other (SCENARIO=name for one)
	@test -n "$(strip $(SCENARIO))" || { echo "No scenario below molecule/" >&2; exit 1; }
	@for scenario in $(SCENARIO); do \
		echo "molecule test: $$scenario"; mkdir -p "build/molecule/$$scenario"; \
		NO_COLOR=1 $(BIN)/python tests/lab/hold.py --down $(BIN)/molecule test -s "$$scenario" </dev/null || exit 1; \
	done

demo: collection ## two real mail hosts change their keys while DANE-only senders deliver
	$(BIN)/python tests/lab/demo.py

demo-broken: collection ## the negative control: a key switched by hand too early must be seen
	$(BIN)/python tests/lab/demo_broken.py

# A host in the middle, where a case is about one.
faults: export DANE_LAB_MAIL_HOSTS = $(if $(CASES),$(if $(findstring middle,$(CASES)),3),3)
faults: collection lab-image ## everything that can go wrong, while senders deliver; long (CASES=name,... for some)
	$(BIN)/python tests/faults/run.py $(CASES)

faults-short: collection ## the most telling of the faults
	$(BIN)/python tests/faults/run.py --short

years: collection ## years of renewals, rekeys and changes of CA in an hour, by timers alone, while senders deliver
	$(BIN)/python tests/years/run.py

years-short: collection ## the same in minutes: renewals, a change of CA, restarts
	$(BIN)/python tests/years/run.py --short

lab-image: venv ## build the image of the lab's hosts, if its definition changed
	@$(PYTHON) tests/lab/lab.py image

lab-up: collection ## start the lab and leave it running
	$(BIN)/python tests/lab/lab.py up

lab-down: ## stop the lab and remove its hosts and networks (the image stays for the next time)
	@! command -v podman >/dev/null || $(PYTHON) tests/lab/lab.py down

changelog: venv ## take the fragments into CHANGELOG.md, under the version that galaxy.yml names
	$(BIN)/antsibull-changelog release --update-existing --reload-plugins

test: ## everything, cheap first; the last line counts (STEPS="unit lint" for some)
	@$(PYTHON) tests/run_all.py $(STEPS)

clean: lab-down ## stop the lab and remove build/
	rm -rf build
