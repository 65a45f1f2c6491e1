#!/usr/bin/env bash
# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Build the collection's artifact from a clean export and install it under build/collections. Demo and tests run that,
# not the checkout by luck of a path. Nothing is rebuilt, and nothing under a running demo replaced, when nothing
# changed.
set -euo pipefail
cd "$(dirname "$0")/../.."

mkdir -p build
exec 9>build/.lock-collection
flock 9

build/venv/bin/python tests/tools/export.py build/export
wanted=$(cd build/export && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1)
stamp=build/collections/.stamp
[ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ] || exit 0

rm -rf build/artifact
build/venv/bin/ansible-galaxy collection build build/export --output-path build/artifact
# No server is asked for dependencies: community.crypto comes with the PyPI package `ansible`. That it is really
# there is checked here and not left to the first task that needs it.
mkdir -p build/collections
rm -f "$stamp"
build/venv/bin/ansible-galaxy collection install --offline --no-deps --force -p build/collections build/artifact/*.tar.gz
for venv in build/venv build/venv-2.18; do
    [ ! -e "$venv/.stamp" ] || "$venv/bin/ansible-galaxy" collection list community.crypto | grep -q '^community.crypto'
done
echo "$wanted" >"$stamp"
