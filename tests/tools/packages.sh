#!/usr/bin/env bash
# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Install the Debian packages that tests/debian-packages.txt names and this machine lacks. No service that a package
# brings is started: the machine is only the place where the lab's containers run.
set -euo pipefail
cd "$(dirname "$0")/../.."

missing=()
while read -r package; do
    case $package in '' | '#'*) continue ;; esac
    # Asked for its state, not its name: a removed package that left its configuration is still known to dpkg.
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done <tests/debian-packages.txt
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "Cannot install Debian packages as $(id -un): run as root: apt-get install ${missing[*]}" >&2
    exit 1
fi

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 0755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi

export DEBIAN_FRONTEND=noninteractive
install=(apt-get install -y -q --no-install-recommends "${missing[@]}")
# Package lists may be missing, or too old for the files they name to be still there: one retry with new ones.
if ! compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null || ! "${install[@]}"; then
    apt-get update -q
    "${install[@]}"
fi
