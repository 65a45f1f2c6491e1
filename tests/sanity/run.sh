#!/usr/bin/env bash
# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# ansible-test sanity on a clean export, with the core of one virtual environment: run.sh build/venv [option...]
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
venv=$root/$1
shift
export PATH=$venv/bin:/usr/bin:/bin:/usr/sbin:/sbin

# ansible-test wants a tree .../ansible_collections/NAMESPACE/NAME; caches and results stay inside it.
name=$(basename "$venv")
tree=$root/build/sanity/$name/ansible_collections/mailops/dane
mkdir -p "$tree"
"$root/build/venv/bin/python" tests/tools/export.py "$tree"
# It lists files with git; in the tree's place the repository's own .gitignore hides everything.
[ -d "$tree/.git" ] || git init -q "$tree"

# ansible-test fetches a pip installer for the small environments it makes from a host of its own, which not every
# machine can reach. It looks into a cache under HOME first: give it a HOME whose cache holds an equal of our own.
home=$root/build/sanity/$name/home
mkdir -p "$home/.ansible/test/cache"
pip_version=$("$venv/bin/python" - <<'PYTHON'
from ansible_test._internal import python_requirements
from ansible_test._internal.host_configs import NativePythonConfig
import sys
version = "%d.%d" % sys.version_info[:2]
print(python_requirements.get_venv_packages(NativePythonConfig(version=version, path=sys.executable))["pip"])
PYTHON
)
cp tests/sanity/get_pip.py "$home/.ansible/test/cache/get_pip_${pip_version//./_}.py"
# pip's own settings and cache, where the user has some, stay in force.
for part in .config .pip .cache; do
    [ ! -e "${HOME:-/}/$part" ] || ln -sfn "$HOME/$part" "$home/$part"
done

cd "$tree"
HOME=$home ansible-test sanity --color no "$@"
