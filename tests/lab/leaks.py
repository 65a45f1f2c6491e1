# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Did a private key leave its host? A search for the keys themselves, in every form that Ansible gives to text.

The test process reads the keys into its memory, and only there: nothing here prints or writes one. What is found is
named by a label, so that a failing test does not show a key either.
"""

from __future__ import annotations

import base64
import os
import pathlib

from cryptography.hazmat.primitives import serialization
from snapshot import execute

KEY_PLACES = "/etc/letsencrypt/archive /etc/postfix /var/lib/mailops-dane /etc/ssl/private"
PRINT_KEYS = rf"find {KEY_PLACES} -type f -exec sed -n '/BEGIN .*PRIVATE KEY/,/END .*PRIVATE KEY/p' {{}} + 2>/dev/null"
# Larger files are disk images and archives of packages.
LARGEST = 50_000_000
# Not searched: what is installed and not written by a run, and the disks of the hosts themselves.
PRUNED = {"venv", "venv-2.18", "venv-oldpython", ".git", "containers"}


def keys_of(host):
    """The private keys that a mail host (short name) has now: list of PEM text, each once."""
    keys, lines = [], []
    for line in execute(host, PRINT_KEYS).splitlines():
        lines = [line] if "BEGIN" in line else [*lines, line]
        if "END" in line:
            keys.append("\n".join(lines) + "\n")
    return sorted(set(keys))


def needles(keys, secrets=()):
    """What to look for: {bytes: label} for keys (list of PEM text) and other secrets (list of str)."""
    wanted = {}
    for number, pem in enumerate(keys):
        for needle in _forms(pem):
            wanted[needle] = f"key {number}"
    for number, secret in enumerate(secrets):
        for needle in (secret.encode(), base64.b64encode(secret.encode()).rstrip(b"=")):
            wanted[needle] = f"secret {number}"
    return wanted


def _forms(pem):
    """A key as lines of PEM, as BASE64 of PEM text (so the module slurp gives it), and its secret number."""
    # Not the first line: it begins alike in all keys of a kind.
    yield from (line.encode() for line in pem.strip().splitlines()[2:-1][:2] if len(line) > 20)
    text = pem.encode()
    for shift in range(3):
        start = len(text) // 6 * 3 + shift
        yield base64.b64encode(text[start:start + 45])
    numbers = serialization.load_pem_private_key(text, None).private_numbers()
    value = getattr(numbers, "private_value", None) or numbers.p
    octets = value.to_bytes((value.bit_length() + 7) // 8, "big")
    yield octets[:32]
    yield octets[:32].hex().encode()
    yield octets[:32].hex().upper().encode()
    # `openssl -text` breaks the line after 15 octets: one of two neighbours is whole.
    yield from (octets[start:start + 7].hex(":").encode() for start in (8, 15))
    yield str(value)[:40].encode()


def found_in(data, wanted):
    """Which of the needles are in text or bytes: sorted labels."""
    if isinstance(data, str):
        data = data.encode(errors="replace")
    return sorted({label for needle, label in wanted.items() if needle in data})


def found_in_files(roots, wanted, since):
    """The files below the roots, written since an epoch, with a needle in them: {path: labels}."""
    found = {}
    for path in _files(roots, since):
        try:
            labels = found_in(path.read_bytes(), wanted)
        except OSError:
            continue
        if labels:
            found[str(path)] = labels
    return found


def _files(roots, since):
    for root in roots:
        for directory, names, files in os.walk(root):
            names[:] = [name for name in names if name not in PRUNED]
            for name in files:
                path = pathlib.Path(directory, name)
                try:
                    about = path.lstat()
                except OSError:
                    continue
                # The time of the last change of the inode: no copy that keeps other times hides from it.
                if path.is_file() and not path.is_symlink() and about.st_ctime >= since and about.st_size < LARGEST:
                    yield path
