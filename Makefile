# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

PYTHON ?= /usr/bin/python3
export PYTHON

.PHONY: venv
venv:
	tests/tools/packages.sh
	tests/tools/venv.sh build/venv tests/requirements.txt
	tests/tools/venv.sh build/venv-2.18 tests/requirements-2.18.txt
	tests/tools/venv.sh build/venv-oldpython tests/requirements-oldpython.txt --system-site-packages
