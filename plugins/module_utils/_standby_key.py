# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A standby key that is kept elsewhere: made on the mail host, encrypted to its operator, and gone from there.

Private to this collection. No Ansible here.

What stays is one file: the public key, by which the host knows what to keep published, and the private key as an encrypted
message (CMS, RFC 5652), which ``openssl cms -decrypt`` reads past the rest. The private key itself is in the memory of two
processes, this one and openssl, for as long as they run; it is never in a file, an argument or a message.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
from typing import FrozenSet, NamedTuple

from . import _chain
from ._errors import ChainError
from ._tlsa import DANE_EE, MTYPES, SPKI, Combination, Record, compute

if _chain.HAS_CRYPTOGRAPHY:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

ALGORITHMS = ("ecdsa", "rsa")
RSA_BITS = 2048
SECONDS = 60
SUFFIX = ".cms.pem"
# Authenticated encryption came with OpenSSL 3.0, and Debian 11, or the operator, may have less. This does not show
# tampering, but the digest of the key that comes out does, and that is published.
CIPHER = "-aes-256-cbc"
HEADER = """\
Standby key of {name} ({algorithm}), SHA-256 of the public key:
  {digest}
Encrypted to:
{readers}To have it, where the operator's own key is, and never on the mail host:
  umask 077
  openssl cms -decrypt -inform PEM -in THIS.FILE -recip OPERATOR.pem -inkey OPERATOR.key -out STANDBY.key
  openssl pkey -in STANDBY.key -pubout -outform DER | openssl sha256
The latter has to say the digest above. Bring STANDBY.key to the mail host when it is wanted, not before.
"""
_MESSAGE = re.compile(r"^-----BEGIN CMS-----\n[A-Za-z0-9+/=\n]+-----END CMS-----\n", re.MULTILINE)
_PRIVATE = re.compile(r"^-----BEGIN [A-Z ]*PRIVATE KEY-----", re.MULTILINE)
_NOT_PLAIN = re.compile(r"[^ -~]")


class StandbyKey(NamedTuple):
    """What a mail host knows of a standby key that it does not have. ``spki`` is the SHA-256 of the public key."""

    path: str
    algorithm: str
    spki: str
    matches: FrozenSet[Record]

    def to_dict(self):
        """The JSON form; ``chain`` is like one of ``_chain.describe``, as far as it goes without a certificate."""
        # A chain is known by its certificates; this one has none yet.
        chain = {"id": self.spki, "spki": self.spki, "algorithm": self.algorithm,
                 "matches": sorted(map(str, self.matches)), "issuer_records": []}
        return {"path": self.path, "algorithm": self.algorithm, "spki": self.spki, "chain": chain}


# ---------------------------------------------------------------------------------------------------------- recipients


def load_recipients(text, label, now=None):
    """The certificates that a key may be encrypted to (list of ``_chain.Certificate``, at least one).

    :param text: PEM (str or bytes), one certificate or several. :param label: the file's name, for messages.
    :param now: epoch seconds, where they have to be in force; None lets their dates be.
    :raises ChainError: none in there, or one that nothing can be encrypted to.
    """
    found = _chain.load_certificates(text, label)
    if not found:
        raise ChainError(f"Cannot use {label!r} as recipient: found no certificate in PEM form in it, expected that of the "
                         "operator who keeps the standby key")
    for certificate in found:
        problem = _recipient_problem(certificate, now)
        if problem:
            raise ChainError(f"Cannot encrypt to certificate {certificate.title!r} from {label!r}: {problem}",
                             certificate=certificate.title)
    return found


def _recipient_problem(certificate, now):
    needed = {"rsa": ("key_encipherment", "keyEncipherment"), "ecdsa": ("key_agreement", "keyAgreement")}.get(
        certificate.algorithm)
    if needed is None:
        return f"its key is {certificate.algorithm}, expected an RSA or an EC key"
    usage = certificate.extension(x509.KeyUsage)
    # RFC 5280 section 4.2.1.3: where it is there, it says what the key is for.
    if usage is not None and not getattr(usage, needed[0]):
        return f"its key usage lacks {needed[1]}, which a recipient with an {certificate.algorithm} key needs"
    if certificate.algorithm == "rsa" and certificate.x509.public_key().key_size < RSA_BITS:
        return f"its RSA key has {certificate.x509.public_key().key_size} bits, expected {RSA_BITS} or more"
    if now is not None and not certificate.in_force(now):
        when = "has expired" if now >= certificate.not_after else "is not valid yet"
        return f"it {when}; name one that is in force in dane_standby_recipient"
    return ""


# ------------------------------------------------------------------------------------------------------- what is there


def read(text, path):
    """What a file of :func:`file_text` says of its key (:class:`StandbyKey`).

    :raises ChainError: it is not that, is truncated, or holds a private key that is not encrypted.
    """
    if _PRIVATE.search(text):
        raise ChainError(f"Cannot use {path!r}: it holds a private key that is not encrypted, so this host has that standby "
                         "key; remove the file, and another is made")
    if not _MESSAGE.search(text):
        raise ChainError(f"Cannot use {path!r}: found no encrypted key (CMS, in PEM form) in it, expected what this module "
                         "wrote; put the exported copy in its place, or remove it, and another is made")
    return _known(_chain.public_key_of(text, path), path)


def _known(spki, path):
    records = {compute(Combination(DANE_EE, SPKI, mtype), None, spki).brief() for mtype in MTYPES.values()}
    return StandbyKey(path, _chain.key_algorithm(spki), _chain.spki_digest(spki), frozenset(records))


def kept(directory, algorithms, used=()):
    """The standby keys of which a directory has files: those to keep, and those that are no standby any more.

    :param algorithms: one key of each is kept, the newest. :param used: digests of keys that are, or were, served, or that
        must not be.
    :returns: two lists of :class:`StandbyKey`, in the order of the algorithms, and of the files.
    :raises ChainError: a file that cannot be read as one of these.
    """
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(SUFFIX))
    except FileNotFoundError:
        return [], []
    except OSError as exc:
        raise ChainError(f"Cannot read the directory {directory!r}: {exc.strerror}") from exc
    found = [_read_file(os.path.join(directory, name)) for name in names]
    fresh = {}
    for key in sorted((key for key in found if key.spki not in used), key=lambda key: os.stat(key.path).st_mtime):
        fresh[key.algorithm] = key
    return [fresh[one] for one in algorithms if one in fresh], [key for key in found if key.spki in used]


def _read_file(path):
    try:
        with open(path, encoding="utf-8") as stream:
            return read(stream.read(), path)
    except (OSError, UnicodeDecodeError) as exc:
        raise ChainError(f"Cannot read {path!r}: {getattr(exc, 'strerror', None) or exc}") from exc


# --------------------------------------------------------------------------------------------------------- a new key


def make(directory, name, algorithm, recipients):
    """Make a key, encrypt it, and put the file in place in one step, for root alone.

    :param directory: made where it is missing. :param name: of the host, for the file's name.
    :param algorithm: one of ``ALGORITHMS``. :param recipients: what :func:`load_recipients` gave.
    :returns: :class:`StandbyKey`.
    :raises ChainError: openssl failed, or the file cannot be written; there is no key then.
    """
    private = _private_key(algorithm)
    spki = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    message = encrypt(private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()), recipients)
    path = os.path.join(directory, f"{name}-{algorithm}-{_chain.spki_digest(spki)[:16]}{SUFFIX}")
    text = file_text(name, spki, message, recipients)
    made = read(text, path)
    _write(path, text)
    return made


def _private_key(algorithm):
    # As the lineages' keys are made.
    return rsa.generate_private_key(65537, RSA_BITS) if algorithm == "rsa" else ec.generate_private_key(ec.SECP256R1())


def encrypt(content, recipients):
    """An encrypted message (CMS enveloped data, PEM text) for any one of the recipients.

    :param content: what is encrypted (bytes). It goes to openssl by a pipe.
    :param recipients: list of ``_chain.Certificate``.
    :raises ChainError: openssl is not there, or fails.
    """
    with tempfile.TemporaryDirectory(prefix="dane-standby-") as directory:
        command = ["openssl", "cms", "-encrypt", "-binary", CIPHER, "-outform", "PEM"]
        for number, certificate in enumerate(recipients):
            path = os.path.join(directory, f"{number}.pem")
            with open(path, "w", encoding="ascii") as stream:
                stream.write(certificate.pem())
            command += ["-recip", path]
            # It belongs to the recipient before it.
            command += ["-keyopt", "rsa_padding_mode:oaep"] if certificate.algorithm == "rsa" else []
        try:
            done = subprocess.run(command, input=content, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=SECONDS,
                                  check=False)
        except (OSError, subprocess.SubprocessError) as exc:
            # Not its own words: those of a timeout quote what was read.
            raise ChainError(f"Cannot encrypt the standby key by openssl: {getattr(exc, 'strerror', None) or 'no answer'}"
                             ) from None
    message = done.stdout.decode("ascii", "replace").replace("\r\n", "\n")
    if done.returncode or not _MESSAGE.fullmatch(message):
        # openssl does not quote what it was given; a program in its place might.
        quotes = any(line in done.stderr for line in content.splitlines())
        said = "" if quotes else " ".join(done.stderr.decode("utf-8", "replace").split())[-300:]
        raise ChainError(f"Cannot encrypt the standby key: openssl ended with {done.returncode}: {said or 'without a message'}")
    return message


def file_text(name, spki, message, recipients):
    """The file (str): how to use it, the public key, the encrypted private key.

    :param name: of the host. :param spki: SubjectPublicKeyInfo (DER bytes).
    :param message: what :func:`encrypt` gave. :param recipients: whom it is for.
    """
    public = serialization.load_der_public_key(spki).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode("ascii")
    # A line that begins with a hyphen would be part of the PEM.
    readers = "".join(f"  {_NOT_PLAIN.sub('?', certificate.title)[:200]}\n" for certificate in recipients)
    about = HEADER.format(name=_NOT_PLAIN.sub("?", name), algorithm=_chain.key_algorithm(spki),
                          digest=_chain.spki_digest(spki), readers=readers)
    return about + public + message


def _write(path, text):
    directory = os.path.dirname(path)
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".standby-", dir=directory)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            os.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _sync(directory)
    except OSError as exc:
        raise ChainError(f"Cannot write {path!r}: {exc.strerror or exc}") from exc


def _sync(directory):
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def forget(key):
    """Remove the file of a key that is no standby any more.

    :raises ChainError: it cannot be removed.
    """
    try:
        os.unlink(key.path)
    except OSError as exc:
        raise ChainError(f"Cannot remove {key.path!r}: {exc.strerror}") from exc
