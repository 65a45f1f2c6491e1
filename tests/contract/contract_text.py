# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules about the text of every file: header, no trace of a machine, no registry by name."""

from __future__ import annotations

import re

SOURCES = (".py", ".sh", ".yml", ".yaml", ".j2", ".toml", ".cfg", ".ini", ".conf", ".cnf", ".zone")
SOURCE_NAMES = ("Makefile", "run", ".gitignore", ".yamllint", ".ansible-lint", "Containerfile")
# Written by a tool at every release.
GENERATED = ("changelogs/changelog.yaml", "CHANGELOG.md")
HEADER = (
    "Copyright (c) 2026 the mailops.dane authors",
    "GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)",
    "SPDX-License-Identifier: GPL-3.0-or-later",
)
HEADER_LINES = 8
# Put together here, so that this file does not name what it looks for.
REGISTRIES = tuple(".".join(labels) for labels in (
    ("docker", "io"), ("quay", "io"), ("ghcr", "io"), ("gcr", "io"), ("registry", "access", "redhat", "com"),
    ("pypi", "org"), ("files", "pythonhosted", "org"), ("galaxy", "ansible", "com"),
    ("deb", "debian", "org"), ("security", "debian", "org"), ("snapshot", "debian", "org"),
))
START = r"(?<![\w.}-])"
MACHINE_PATHS = tuple(re.compile(pattern) for pattern in (
    START + "/[w]ork/", START + r"/[U]sers/\w", r"\.[p]yenv\b", r"/tmp/[s]pec\b",
))
# Hosts in the lab, and only those, have users with homes that we know.
HOMES = (re.compile(START + "/[r]oot/"), re.compile(START + r"/[h]ome/\w"))
HOMES_ALLOWED = ("tests/lab/", "molecule/")


def is_source(path):
    """Whether a file of this path (str, relative) is one that people write."""
    name = path.rsplit("/", 1)[-1]
    return path not in GENERATED and (name.endswith(SOURCES) or name in SOURCE_NAMES)


def header_findings(path, text):
    """The file lacks the header's lines at its top. An empty file needs none."""
    top = "\n".join(text.splitlines()[:HEADER_LINES])
    if not is_source(path) or not text.strip():
        return []
    missing = [line for line in HEADER if line not in top]
    return [f"{path}: not at the top: {'; '.join(missing)}"] if missing else []


def machine_findings(path, text):
    """Paths of somebody's machine, and hosts of registries: the tools' own settings name those."""
    findings = []
    for number, line in enumerate(text.splitlines(), 1):
        patterns = MACHINE_PATHS if path.startswith(HOMES_ALLOWED) else (*MACHINE_PATHS, *HOMES)
        found = [match.group() for match in (pattern.search(line) for pattern in patterns) if match]
        found += [host for host in REGISTRIES if host in line.lower()]
        findings += [f"{path}:{number}: names {what}" for what in found]
    return findings
