# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""tests/unit/conftest.py picks the tests of on-host code for `make oldpython`: too few would go unnoticed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "unit" / "conftest.py"
UTILS = "ansible_collections.mailops.dane.plugins.module_utils"


@pytest.mark.parametrize("source, expected", [
    (f"from {UTILS} import _chain", True),
    (f"from {UTILS}._gate import deploy\nimport subprocess", True),
    (f"import {UTILS}._tlsa", True),
    (f"from {UTILS} import _chain, _dns\nimport dns.message", True),
    (f"from {UTILS} import _chain, _wait", False),
    (f"def test():\n    from {UTILS}._update import change", False),
    (f"from {UTILS} import _chain\nfrom ansible.module_utils import basic", False),
    (f"from {UTILS} import _chain\nfrom ansible_collections.mailops.dane.plugins.modules import chain_deploy", False),
    ("import json", False),
])
def test_selection(tmp_path, source, expected):
    spec = importlib.util.spec_from_file_location("unit_conftest", CONFTEST)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    file = tmp_path / "test_x.py"
    file.write_text(source)
    assert module.tests_on_host_code(file) is expected
