# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules about module_utils: who imports whom, and what pure means. Each function returns findings (list of str)."""

from __future__ import annotations

import ast
import re
import sys

# A layer imports only from those above it (docs/design.md, "The house").
LAYERS = (
    "_errors", "_tlsa", "_fields", "_chain", "_rollover", "_memory", "_issuers", "_ledger", "_waivers", "_elsewhere", "_plan",
    "_operation", "_role_options", "_lineages", "_certbot", "_facts", "_dns", "_update", "_wait", "_csr", "_probe",
    "_pkix", "_gate", "_age", "_options", "_notify", "_standby_key", "_host",
)
PURE = (
    "_errors", "_tlsa", "_fields", "_chain", "_rollover", "_memory", "_issuers", "_ledger", "_waivers", "_elsewhere", "_plan",
    "_operation", "_role_options", "_lineages", "_certbot", "_facts",
)
STANDARD_LIBRARY_ONLY = tuple(layer for layer in PURE if layer != "_chain")
# Where dnspython is: the controller. Nothing that runs on a mail host may lead there.
# _host leads there too: the role installs dnspython on the host with it, and it does without when there is no answer.
CONTROLLER = ("_dns", "_update", "_wait", "_host")
# Of other packages, who may use what.
THIRD_PARTY = {"dns": ("_dns", "_update"), "cryptography": ("_chain", "_probe", "_gate", "_standby_key")}
# Ways to the world outside: files, processes, the network, clocks, chance.
IMPURE = {
    "ansible", "asyncio", "fcntl", "glob", "http", "multiprocessing", "os", "pathlib", "random", "secrets", "select",
    "selectors", "shutil", "signal", "socket", "subprocess", "tempfile", "threading", "time", "urllib",
}
IMPURE_CALLS = {"open", "input", "print", "exec", "eval"}
# What looks at the clock: a pure function is told what time it is, or is given a clock.
CLOCK = re.compile(r"\b(datetime|date)\.(now|utcnow|today)$")


def imports(tree):
    """Every import in a syntax tree: (line, relative, dotted name), where relative names are siblings (list)."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, False, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.append((node.lineno, False, node.module))
        elif isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            found.append((node.lineno, True, node.module))
        elif isinstance(node, ast.ImportFrom) and node.level == 1:
            found += [(node.lineno, True, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.lineno, True, "." * (node.level - 1) + (node.module or "")))
    return found


def _sibling(layer, name):
    """What is wrong with `layer` importing its sibling `name` (str, empty when nothing is)."""
    if name not in LAYERS:
        return f"imports {name}, which is no layer"
    if LAYERS.index(name) >= LAYERS.index(layer):
        return f"imports {name}, which is not above it"
    if name in CONTROLLER and layer not in CONTROLLER:
        return f"imports {name}, and has to run on mail hosts, which lack what that needs"
    return ""


def _outside(layer, name):
    """What is wrong with `layer` importing `name` from outside the collection (str, empty when nothing is)."""
    top = name.split(".")[0]
    if top == "ansible":
        return "imports ansible, and has to run where it is not installed"
    if top == "ansible_collections":
        return f"imports {name} by its full name, and has to import its siblings relatively"
    if layer in PURE and top in IMPURE:
        return f"imports {top}, and has to be pure"
    if top in sys.stdlib_module_names:
        return ""
    if layer in STANDARD_LIBRARY_ONLY:
        return f"imports {top}, and has to do with the standard library"
    if layer not in THIRD_PARTY.get(top, ()):
        return f"imports {top}, which is not for it"
    return ""


def _calls(tree):
    """What a pure file does without importing: builtin I/O and looks at the clock."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
            yield f"{node.lineno}: calls {node.func.id}(), and has to be pure"
        if CLOCK.search(ast.unparse(node.func)):
            yield f"{node.lineno}: looks at the clock ({ast.unparse(node.func)}), and has to be pure"


def check(layer, source):
    """Findings about the file of `layer` (str, without .py) with this source (list of str)."""
    if layer not in LAYERS:
        return [f"{layer}: is in no layer: give it its place in {__name__}.LAYERS and in docs/design.md"]
    tree = ast.parse(source)
    findings = []
    for line, relative, name in imports(tree):
        wrong = _sibling(layer, name) if relative else _outside(layer, name)
        if wrong:
            findings.append(f"{layer}:{line}: {wrong}")
    if layer in PURE:
        findings += [f"{layer}:{text}" for text in _calls(tree)]
    return findings
