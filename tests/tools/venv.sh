#!/usr/bin/env bash
# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Make or renew a virtual environment: venv.sh DIRECTORY REQUIREMENTS [option of python -m venv ...]
# Idempotent: a stamp in the directory holds the digest of everything it was made from.
set -euo pipefail
cd "$(dirname "$0")/../.."

directory=$1
requirements=$2
shift 2
python=${PYTHON:-/usr/bin/python3}
constraints=${requirements%/*}/constraints${requirements#*/requirements}
pip_options=(-r "$requirements")
[ ! -e "$constraints" ] || pip_options+=(-c "$constraints")

wanted=$({ "$python" -V; echo "$directory $*"; cat "$requirements"; [ ! -e "$constraints" ] || cat "$constraints"; } |
    sha256sum | cut -d' ' -f1)
[ "$(cat "$directory/.stamp" 2>/dev/null || true)" != "$wanted" ] || exit 0

# Two makes at once (a lab in one terminal, tests in another) must not build into the same directory.
mkdir -p build
exec 9>"build/.lock-$(basename "$directory")"
flock 9
[ "$(cat "$directory/.stamp" 2>/dev/null || true)" != "$wanted" ] || exit 0

# An environment with the right interpreter is brought up to date in place: others may be using it.
if [ ! -x "$directory/bin/python" ] || [ "$("$directory/bin/python" -V)" != "$("$python" -V)" ]; then
    rm -rf "$directory"
    "$python" -m venv "$@" "$directory"
fi
"$directory/bin/python" -m pip install -q --disable-pip-version-check --no-input "${pip_options[@]}"
echo "$wanted" >"$directory/.stamp"
