# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make ``ansible_collections.mailops.dane`` importable from where it lies, without an ansible_collections tree.

DANE_COLLECTION_ROOT names another place, such as the installed artifact; without it the checkout is tested.
Works where ansible is not installed at all, as on a mail host: the code under test there must not need it.
"""

from __future__ import annotations

import ast
import importlib
import os
import sys
import types
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(os.environ.get("DANE_COLLECTION_ROOT") or Path(__file__).resolve().parents[2])


def _namespace(name, path):
    """Register a package `name` (str) whose modules are found in the directory `path` (Path)."""
    package = types.ModuleType(name)
    package.__path__ = [str(path)]
    sys.modules[name] = package
    parent, _dot, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, package)


def _install():
    if not (ROOT / "plugins" / "module_utils").is_dir():
        raise pytest.UsageError(f"No collection at {ROOT}: check DANE_COLLECTION_ROOT")
    try:
        # Other collections (community.crypto) may be needed by what is tested: keep the real package where it exists.
        importlib.import_module("ansible_collections")
    except ImportError:
        _namespace("ansible_collections", ROOT / "does-not-exist")
    _namespace("ansible_collections.mailops", ROOT / "does-not-exist")
    _namespace("ansible_collections.mailops.dane", ROOT)
    for part in ("plugins", "plugins.module_utils", "plugins.modules", "plugins.action", "plugins.doc_fragments"):
        _namespace(f"ansible_collections.mailops.dane.{part}", ROOT.joinpath(*part.split(".")))


MODULE_UTILS = "ansible_collections.mailops.dane.plugins.module_utils"
ON_CONTROLLER = {"_update", "_wait"}


def _imports(path):
    """Every module that the file `path` (Path) imports, anywhere in it, as dotted names (set)."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def tests_on_host_code(path):
    """Whether the test file `path` (Path) tests code that runs on mail hosts and needs nothing of the controller."""
    imports = _imports(path)
    library = {name[len(MODULE_UTILS) + 1:].split(".")[0] for name in imports if name.startswith(f"{MODULE_UTILS}.")}
    controller = any(name.split(".")[0] in ("ansible", "testinfra") for name in imports) or any(
        name.startswith(f"ansible_collections.mailops.dane.plugins.{part}") for name in imports
        for part in ("modules", "action"))
    return bool(library) and not library & ON_CONTROLLER and not controller


def pytest_ignore_collect(collection_path):
    """With DANE_ON_HOST_ONLY=1 (`make oldpython`) leave out what a mail host neither runs nor has libraries for."""
    if os.environ.get("DANE_ON_HOST_ONLY") == "1" and collection_path.name.startswith("test_"):
        return True if not tests_on_host_code(collection_path) else None
    return None


# Under `ansible-test units` the collection loader has the real thing already.
if "ansible_collections.mailops.dane" not in sys.modules:
    _install()


# Property tests: the same examples at each run, so that a change is judged by what it changes. DANE_EXAMPLES=20 takes
# twenty times as many, at random, for whoever goes looking (see CONTRIBUTING.md). Never a deadline: machines are slow.
MORE_EXAMPLES = int(os.environ.get("DANE_EXAMPLES") or 1)
hypothesis.settings.register_profile(
    "dane", max_examples=100 * MORE_EXAMPLES, derandomize=MORE_EXAMPLES == 1, database=None, deadline=None,
    print_blob=MORE_EXAMPLES > 1, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("dane")


@pytest.fixture(scope="session")
def collection_root():
    """The directory of the collection under test (Path)."""
    return ROOT
