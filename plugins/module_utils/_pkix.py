# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether clients that know nothing of DANE accept a chain: MTA-STS (RFC 8461 section 4.2), submission, IMAP.

They trust roots of their own, look at dates and names, and get the intermediates from the server alone. The ``openssl``
program is asked what it makes of a chain, with the roots of this host or those that the operator names: it is on every
host, and what is in ``cryptography`` for it is newer than what mail hosts have. Private to this collection.

What is decided here never needs more than the chain that is served is worth: a host with a private authority is not
locked out (``auto``).
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import warnings

from . import _chain
from ._errors import ChainError

MODES = ("auto", "warn", "require", "off")
SECONDS = 30
# In the last week, or the last sixth of a short life, no old certificate is worth keeping: both are refused soon after.
LAST_SECONDS = 7 * 86400
LAST_PART = 6
# Where the distributions that we know have them in PEM form.
SYSTEM = "/etc/ssl/certs"
PEM_SUFFIXES = (".pem", ".crt", ".cer")
_ERROR = re.compile(r"^error [0-9]+ at ([0-9]+) depth lookup: *(.*)$", re.MULTILINE)


def objection(mode, certificates, base_domains, served, trust_store, now, verify=None):
    """Whether PKIX clients are a reason against a chain.

    ``auto`` asks that it be no worse than what is served: each name that PKIX clients accept now has to stay accepted. It
    gives way when the certificate that is served is about to end, because senders that verify by usage 2 heed its dates.

    :param mode: one of ``MODES``. :param certificates: the chain to be served, the leaf first (list of ``_chain.Certificate``).
    :param base_domains: names that clients know the host by. :param served: the chain that is served now (list, may be empty).
    :param trust_store: a PEM file, or a directory as ``openssl rehash`` leaves it; empty takes that of the system.
    :param now: epoch seconds. :param verify: for tests; :func:`problem`.
    :returns: a sentence to warn with, or an empty string.
    :raises ChainError: it must not be served.
    """
    verify = verify or problem
    if mode == "off":
        return ""
    wrong = {name: why for name in base_domains for why in [verify(certificates, name, trust_store)] if why}
    if mode == "auto":
        wrong = {name: why for name, why in wrong.items() if _accepted(served, name, trust_store, verify)}
    if not wrong:
        return ""
    said = "; ".join(f"for {name}: {why}" for name, why in sorted(wrong.items()))
    what = f"clients that verify without DANE (MTA-STS, submission) would refuse the chain {said}"
    if mode == "warn" or mode == "auto" and _ending(served[0], now):
        return what
    more = ", and they accept the one that is served" if mode == "auto" else ""
    raise ChainError(
        f"Cannot use certificate {certificates[0].title!r} from {certificates[0].label!r}: {what}{more}. See that the "
        "lineage's chain.pem holds every intermediate, and that dane_trust_store knows the root; or set dane_pkix to warn",
        pkix=wrong)


def _accepted(served, name, trust_store, verify):
    # A certificate that signed itself is trusted on its own host, as Debian's snakeoil is, and nowhere else.
    return bool(served) and served[0].subject != served[0].issuer and not verify(served, name, trust_store)


def _ending(leaf, now):
    return leaf.not_after - now < min(LAST_SECONDS, (leaf.not_after - leaf.not_before) / LAST_PART)


def problem(certificates, name, trust_store=""):
    """Why a PKIX client would refuse a chain for a name (str), or an empty string.

    :param certificates: as presented, the leaf first. :param trust_store: see :func:`objection`.
    """
    if trust_store and not os.path.exists(trust_store):
        return f"the trust store {trust_store!r} does not exist"
    try:
        with tempfile.TemporaryDirectory(prefix="dane-pkix-") as directory:
            return _verdict(certificates, name, trust_store, directory)
    except (OSError, subprocess.TimeoutExpired) as exc:
        return f"openssl cannot be asked: {exc}"


def _verdict(certificates, name, trust_store, directory):
    leaf, others = (os.path.join(directory, part) for part in ("leaf.pem", "others.pem"))
    for path, held in ((leaf, certificates[:1]), (others, certificates[1:])):
        with open(path, "w", encoding="ascii") as stream:
            stream.writelines(one.pem() for one in held)
    command = ["openssl", "verify", "-purpose", "sslserver", "-verify_hostname", name]
    command += ["-untrusted", others] if certificates[1:] else []
    done = subprocess.run(
        [*command, leaf], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS,
        check=False, env=_environment(trust_store, os.path.join(directory, "none")))
    said = done.stdout.decode("utf-8", "replace")
    if not done.returncode:
        return ""
    found = _ERROR.search(said)
    return f"{found.group(2)} (depth {found.group(1)})" if found else f"openssl verify fails: {said.strip()[-300:]}"


def _environment(trust_store, nothing):
    if not trust_store:
        return None
    # By the environment and not by options: which option keeps the system's roots out depends on the version.
    file, directory = (nothing, trust_store) if os.path.isdir(trust_store) else (trust_store, nothing)
    return {**os.environ, "SSL_CERT_FILE": file, "SSL_CERT_DIR": directory}


def roots(certificates, trust_store=""):
    """The trusted roots that may have issued one of these certificates (list of ``_chain.Certificate``).

    By their names; ``_chain.order`` looks at the rest. What cannot be read in a directory is passed over.

    :param trust_store: a PEM file or a directory with such files; empty takes the system's.
    :raises ChainError: it cannot be read.
    """
    wanted = {one.issuer for one in certificates}
    return [root for root in _trusted(trust_store or SYSTEM) if root.subject == root.issuer and root.subject in wanted]


def _trusted(place):
    if not os.path.isdir(place):
        return _certificates(place)
    found = []
    # A directory of the distribution has each of them twice.
    for name in sorted(os.listdir(place)):
        if name.endswith(PEM_SUFFIXES):
            with contextlib.suppress(ChainError):
                found += _certificates(os.path.join(place, name))
    return list(dict.fromkeys(found))


def _certificates(path):
    try:
        with open(path, "rb") as stream, warnings.catch_warnings():
            # Old roots have serial numbers that cryptography frowns upon.
            warnings.simplefilter("ignore")
            return _chain.load_certificates(stream.read(), path)
    except OSError as exc:
        raise ChainError(f"Cannot read the trusted roots in {path!r}: {exc.strerror}; dane_trust_store names others") from exc
