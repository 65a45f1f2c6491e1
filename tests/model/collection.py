# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection is made importable as for the unit tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

PATH = Path(__file__).resolve().parents[1] / "unit" / "conftest.py"
if "ansible_collections.mailops.dane" not in sys.modules:
    specification = importlib.util.spec_from_file_location("collection_for_the_model", PATH)
    specification.loader.exec_module(importlib.util.module_from_spec(specification))
