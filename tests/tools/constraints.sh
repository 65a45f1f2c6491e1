#!/usr/bin/env bash
# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Write tests/constraints*.txt from the environments as they are.
set -euo pipefail
cd "$(dirname "$0")/../.."

for suffix in '' -2.18 -oldpython; do
    file=tests/constraints$suffix.txt
    {
        sed -n '1,3p' tests/requirements.txt
        printf "\n# What pip chose for requirements%s.txt; made by \`make constraints\`, not by hand.\n" "$suffix"
        "build/venv$suffix/bin/python" -m pip freeze --local 2>/dev/null | grep -v '^#'
    } >"$file"
done
