# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stand-in for the pip installer that ansible-test would download: the pip that Python brings, then what was asked."""

from __future__ import annotations

import ensurepip
import subprocess
import sys

# The options of the real installer that are not pip's.
OWN_OPTIONS = {"--no-setuptools", "--no-wheel"}

if __name__ == "__main__":
    ensurepip.bootstrap(default_pip=True)
    arguments = [argument for argument in sys.argv[1:] if argument not in OWN_OPTIONS]
    sys.exit(subprocess.run([sys.executable, "-m", "pip", "install", "-q", *arguments], check=False).returncode)
