# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copy the repository's files (tracked, and untracked but not ignored) into a directory: export.py DIRECTORY

What is built and checked must be what a clone would hold, not what happens to lie about in the working tree. Files
that are the same stay untouched, so that caches in the target survive; files that are gone from the repository go.
"""

from __future__ import annotations

import filecmp
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def repository_files():
    """The paths a commit of everything would hold, relative to the repository (sorted list of Path)."""
    listing = subprocess.run(
        ["git", "-c", f"safe.directory={REPOSITORY}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, check=True, capture_output=True, text=True,
    ).stdout
    names = {Path(name) for name in listing.split("\0") if name}
    # A file deleted and not yet committed is still listed.
    return sorted(name for name in names if (REPOSITORY / name).is_file())


def export(target):
    """Make `target` (Path) hold the repository's files and nothing else."""
    wanted = repository_files()
    keep = set(wanted)
    for found in sorted(target.rglob("*"), reverse=True):
        name = found.relative_to(target)
        if found.is_dir() and not found.is_symlink():
            if name.parts[0] != ".git" and not any(found.iterdir()):
                found.rmdir()
        elif name not in keep and name.parts[0] != ".git" and name.parts[:2] != ("tests", "output"):
            found.unlink()
    for name in wanted:
        source, copy = REPOSITORY / name, target / name
        if copy.is_file() and copy.stat().st_mode == source.stat().st_mode and filecmp.cmp(source, copy, shallow=False):
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, copy)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    export(Path(sys.argv[1]).resolve())
