# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long a key has been known: since the first certificate for it. Private to this collection.

A key has no date in it. File times lie: a renewal with the same key writes the key file anew, and so do backups. The
ledger forgets what nobody can see any more. What a certification authority once signed stays true, so the age of a key
is counted from *not before* of the earliest certificate for it that can be found. Newer certbots remove old
certificates from a lineage (2.11 and 5.0 keep the last five beside the one in use, 2.1 keeps all), which would make a
key younger with every renewal. So that one certificate is kept, beside the ledger.

It is the least age: of a key that was in use before, with certificates that are gone, nobody knows more.

A standby key lies ready for a year before it is served, and that year wears nothing out. So a key that is found in the
chain file of a host which served another one when it was last looked at counts from that look on.
"""

from __future__ import annotations

import contextlib
import glob
import os
import time

from . import _chain, _gate
from ._errors import ChainError


def known_since(state_dir, chain_file, lineages, write=True, clock=time.time):
    """Since when the key in the chain file is known to be served; of several keys, the oldest: they are changed together.

    :param state_dir: the directory of the ledger; the first certificate is kept below it.
    :param chain_file: the file that the daemon reads. :param lineages: certbot's directories ``live/NAME``.
    :param write: False keeps nothing (check mode). :param clock: gives the time (epoch seconds).
    :returns: epoch seconds (int), or None: there is no chain file, or no certificate in it.
    :raises LedgerError: the certificate could not be kept.
    """
    # Before any of them is kept: of the keys of one file none took the place of another one.
    known = _known(state_dir)
    return min((_since(state_dir, served, lineages, known, write, clock) for served in _leaves(chain_file)), default=None)


def _since(state_dir, served, lineages, known, write, clock):
    spki = _chain.spki_digest(served.spki)
    kept, stamp = first_certificate(state_dir, spki), _stamp(state_dir, spki)
    since = _stamped(stamp, clock())
    if since is None and known and spki not in known:
        since = int(clock())
        if write:
            _gate.keep(stamp, f"{since}\n".encode())
    places = [kept] + [path for lineage in lineages for path in _certificates_of(lineage)]
    same_key = [served] + [leaf for leaf in map(_leaf, places) if leaf is not None and leaf.spki == served.spki]
    first = min(same_key, key=lambda leaf: leaf.not_before)
    if write and _leaf(kept) != first:
        _gate.keep(kept, first.pem().encode())
    return first.not_before if since is None else since


def first_certificate(state_dir, spki):
    """Where the first certificate of a key is kept (path). They are small, and few: none is ever removed."""
    return os.path.join(state_dir, "first", spki + ".pem")


def keys_of(lineages):
    """The keys of the newest certificates in certbot's directories ``live/NAME`` (sorted list of SHA-256 digests)."""
    leaves = [_leaf(os.path.join(lineage, "cert.pem")) for lineage in lineages]
    return sorted({_chain.spki_digest(leaf.spki) for leaf in leaves if leaf is not None})


def _stamp(state_dir, spki):
    # Beside the first certificate: since when the key is served, where another one was before it.
    return os.path.join(state_dir, "first", spki + ".served")


def _stamped(path, now):
    with contextlib.suppress(OSError, ValueError):
        with open(path, encoding="ascii") as stream:
            # A clock that was ahead for a while must not make a key young for ever.
            return min(int(stream.read(20)), int(now))
    return None


def _known(state_dir):
    # The keys of which a first certificate is kept: whatever was served before.
    first = os.path.join(glob.escape(state_dir), "first", "*.pem")
    return {os.path.basename(path)[:-len(".pem")] for path in glob.glob(first)}


def _certificates_of(lineage):
    """Every certificate that certbot has of a lineage: those in its archive, where ``live`` points to (list of paths)."""
    archive = os.path.dirname(os.path.realpath(os.path.join(lineage, "cert.pem")))
    return sorted(glob.glob(os.path.join(glob.escape(archive), "cert*.pem")))


def _leaf(path):
    return next(_leaves(path), None)


def _leaves(path):
    # What cannot be read says nothing about the key; who serves it or renews it says so.
    with contextlib.suppress(ChainError, OSError, ValueError):
        with open(path, encoding="utf-8") as stream:
            for chain in _chain.load_chains(stream.read(), path):
                yield chain[0]
