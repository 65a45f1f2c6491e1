# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``dane-csr``, the command on the mail host that obtains and renews certificates for a request of ours.

``certbot certonly --csr`` obtains a certificate, and ``certbot renew`` then knows nothing of it. So the certbot role
installs this file, with a timer, where ``dane_certbot_method`` is ``csr``. Private to this collection. No Ansible here.

Key, request, certificate and issuers of one lineage lie together in a directory that is never changed once it is
complete; ``live/NAME`` is a symbolic link to the newest, replaced by one rename. Below that link everything has the names
that certbot gives: ``privkey.pem``, ``cert.pem``, ``chain.pem``, ``fullchain.pem``; and ``request.pem``.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

from . import _chain
from ._errors import ChainError, DaneError

CONFIGURATION = "/etc/mailops-dane/csr.json"
WANTED = {"certbot": list, "directory": str, "environment": dict, "gate": list, "lineages": list}
CERTBOT_SECONDS = 1800
GATE_SECONDS = 900
# certbot's own timer, or somebody at a terminal: each locks the others out.
BUSY, BUSY_TRIES, BUSY_SECONDS = "Another instance of Certbot is already running", 24, 5
# The newest, and the one before it for people; and whatever the gate may still serve.
KEPT = 2
MADE = ("privkey.pem", "request.pem")
OBTAINED = ("cert.pem", "chain.pem", "fullchain.pem")


def main(arguments=None):
    """Run one command; returns the exit status: 0 done or nothing to do, 1 refused or failed."""
    parser = argparse.ArgumentParser(prog="dane-csr", description="Certificates for requests of this mail host.")
    parser.add_argument("--config", default=CONFIGURATION, help="what the Ansible role wrote (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    renew_parser = commands.add_parser("renew", help="renew what has a third of its life left, and let the gate serve it")
    renew_parser.add_argument("--force", action="store_true", help="whatever is left")
    obtain_parser = commands.add_parser("obtain", help="obtain the certificate for a key and request in next/NAME")
    obtain_parser.add_argument("name", metavar="NAME")
    options = parser.parse_args(arguments)
    try:
        unit = read_configuration(options.config)
        if options.command == "renew":
            return renew(unit, options.force)
        obtain_next(unit, options.name)
        return 0
    except DaneError as exc:
        say(f"dane-csr: {exc.message}", sys.stderr)
    except OSError as exc:
        say(f"dane-csr: Cannot {options.command}: {exc}", sys.stderr)
    return 1


def say(text, stream=None):
    """A line for the journal or a terminal (this is a command, not an Ansible module)."""
    stream = stream or sys.stdout
    stream.write(text + "\n")
    stream.flush()


def read_configuration(path):
    """What the Ansible role wrote (dict): ``directory``; ``lineages``, their names; ``certbot``, the command but for the
    request and its files, with its ``environment``; ``gate``, the command that serves what was renewed, or nothing.

    :raises DaneError: the file is missing or not that.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            unit = json.load(stream)
    except OSError as exc:
        raise DaneError(f"Cannot read {path!r}: {exc.strerror}; the certbot role of mailops.dane writes it") from exc
    except (ValueError, RecursionError) as exc:
        raise DaneError(f"Cannot read {path!r}: {exc!s:.200}; run enable.yml again, which writes it anew") from exc
    found = unit if isinstance(unit, dict) else {}
    wrong = [part for part, kind in sorted(WANTED.items()) if not isinstance(found.get(part), kind)]
    texts = [] if wrong else unit["certbot"] + unit["gate"] + unit["lineages"] + [
        *unit["environment"], *unit["environment"].values(), unit["directory"]]
    if wrong or not all(isinstance(text, str) and "\0" not in text for text in texts):
        raise DaneError(f"Cannot use {path!r}: {', '.join(wrong) or 'what should be text'} is missing or malformed; run "
                        "enable.yml again")
    if not unit["certbot"] or not os.path.isabs(unit["directory"]) or any(
            not name or "/" in name or name.startswith(".") for name in unit["lineages"]):
        raise DaneError(f"Cannot use {path!r}: certbot is empty, directory no absolute path, or a lineage no name; run "
                        "enable.yml again")
    return unit


# -------------------------------------------------------------------------------------------------------------- renew


def renew(unit, force=False, now=None):
    """Renew each lineage of which a third of its certificate's life is left, with the same key and request.

    One that fails does not keep the other back. What was renewed is given to the gate, as certbot's hook does.

    :param unit: see :func:`read_configuration`. :param force: whatever is left. :param now: epoch seconds.
    :returns: the exit status: 0, or 1 when something failed, here or in the gate.
    """
    now = time.time() if now is None else now
    status, found = 0, 0
    for name in unit["lineages"]:
        live = live_directory(unit, name)
        if not os.path.lexists(live):
            continue
        found += 1
        try:
            left, due = _left(live, now)
            if not due and not force:
                say(f"{name}: {left / 86400:.1f} days left, nothing to do")
                continue
            with _locked(unit):
                obtain(unit, name, os.path.realpath(live))
            say(f"{name}: renewed with the same key")
            if _serve(unit, live):
                status = 1
        except DaneError as exc:
            say(f"dane-csr: {exc.message}", sys.stderr)
            status = 1
        except OSError as exc:
            say(f"dane-csr: Cannot renew {name!r}: {exc}", sys.stderr)
            status = 1
    if not found:
        raise DaneError(f"Cannot renew: there is no lineage below {unit['directory']}/live; run enable.yml")
    return status


def live_directory(unit, name):
    """The directory with the key and certificate of a lineage (path)."""
    return os.path.join(unit["directory"], "live", name)


def _left(live, now):
    # A lineage whose certificate cannot be read is one that has to be obtained again.
    with contextlib.suppress(ChainError):
        leaf = _certificates(os.path.join(live, "cert.pem"))[0]
        return leaf.not_after - now, leaf.not_after - now <= (leaf.not_after - leaf.not_before) / 3
    return 0.0, True


def _serve(unit, live):
    if not unit["gate"]:
        return 0
    try:
        done = subprocess.run(unit["gate"], stdin=subprocess.DEVNULL, env={**os.environ, "RENEWED_LINEAGE": live},
                              timeout=GATE_SECONDS, check=False)
    except subprocess.TimeoutExpired as exc:
        raise DaneError(f"Cannot serve what was renewed in {live}: {exc}; the daily look tries again") from exc
    return done.returncode


# ------------------------------------------------------------------------------------------------------------- obtain


def obtain_next(unit, name):
    """Obtain the certificate for the key and request that lie in ``next/NAME``, and make them the lineage ``NAME``.

    What that was before stays as it is until then, and whatever fails.
    """
    if name not in unit["lineages"]:
        raise DaneError(f"Cannot obtain a certificate for {name!r}: expected one of {', '.join(unit['lineages'])}")
    source = os.path.join(unit["directory"], "next", name)
    with _locked(unit):
        obtain(unit, name, source)
        shutil.rmtree(source)
    say(f"{name}: obtained")


def obtain(unit, name, source):
    """Obtain a certificate and put it in service as the newest of a lineage, by one rename.

    :param source: the directory that has the key and the request. It is not changed.
    :raises DaneError: certbot failed, or what it obtained cannot be used; nothing was changed.
    """
    versions = os.path.join(unit["directory"], "versions", name)
    os.makedirs(versions, mode=0o700, exist_ok=True)
    made = tempfile.mkdtemp(dir=versions, prefix=".")
    try:
        for part in MADE:
            # With its time: it is when the key was made.
            shutil.copy2(os.path.join(source, part), os.path.join(made, part))
            os.chmod(os.path.join(made, part), 0o600)
        _ask_certbot(unit, name, made)
        _check(made)
        _sync(made)
        version = os.path.join(versions, _stamp(versions))
        os.rename(made, version)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    _point(live_directory(unit, name), version)
    _prune(versions, version, time.time())


def _ask_certbot(unit, name, made):
    command = [*unit["certbot"], "--csr", os.path.join(made, "request.pem")]
    for part in OBTAINED:
        command += [f"--{part[:-4]}-path", os.path.join(made, part)]
    for _try in range(BUSY_TRIES):
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                env={**os.environ, **unit["environment"]}, timeout=CERTBOT_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise DaneError(f"Cannot obtain a certificate for {name!r}: {exc!s:.300}; nothing that is served has changed"
                            ) from exc
        said = " ".join(done.stdout.decode("utf-8", "replace").split())
        if BUSY not in said:
            break
        time.sleep(BUSY_SECONDS)
    if done.returncode:
        raise DaneError(f"Cannot obtain a certificate for {name!r}: certbot ended with {done.returncode}, and nothing that is "
                        f"served has changed. It said: {said[-1500:] or 'nothing'}")


def _check(made):
    """Make sure that what certbot wrote belongs together. Whether it may be served is the gate's to say."""
    key_file = os.path.join(made, "privkey.pem")
    key = _chain.load_pem(_text(key_file), key_file).key
    if key is None:
        raise ChainError(f"Cannot use {key_file!r}: found no private key in it")
    leaf = _certificates(os.path.join(made, "cert.pem"))[0]
    _chain.check_key_belongs(key, leaf)
    now = time.time()
    _chain.order(leaf, _certificates(os.path.join(made, "chain.pem")), [], now, now=now)


def _certificates(path):
    found = _chain.load_certificates(_text(path), path)
    if not found:
        raise ChainError(f"Cannot use {path!r}: found no certificate in it")
    return found


def _text(path):
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except (OSError, UnicodeDecodeError) as exc:
        raise ChainError(f"Cannot read {path!r}: {getattr(exc, 'strerror', None) or exc}") from exc


# -------------------------------------------------------------------------------------------------------- directories


@contextlib.contextmanager
def _locked(unit):
    """One at a time: the timer and a playbook may meet. Whoever comes second waits."""
    with open(os.path.join(unit["directory"], ".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _stamp(versions):
    # Names that sort by age, also when the clock was set back.
    newest = max([name for name in os.listdir(versions) if not name.startswith(".")], default="")
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return now if now > newest else f"{newest}.1"


def _sync(directory):
    for part in (*MADE, *OBTAINED, "."):
        descriptor = os.open(os.path.join(directory, part), os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _point(live, version):
    parent = os.path.dirname(live)
    os.makedirs(parent, mode=0o700, exist_ok=True)
    fresh = os.path.join(parent, f".{os.path.basename(live)}.new")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh)
    os.symlink(os.path.relpath(version, parent), fresh)
    os.replace(fresh, live)
    for directory in (os.path.dirname(version), parent):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _prune(versions, newest, now):
    # Whoever holds the lock is alone: what begins with a dot is of a run that was killed.
    complete = sorted(name for name in os.listdir(versions) if not name.startswith("."))
    stay = {*complete[-KEPT:], os.path.basename(newest)}
    key = _certificates(os.path.join(newest, "cert.pem"))[0].spki
    for name in os.listdir(versions):
        if name not in stay and not (name in complete and _may_be_served(os.path.join(versions, name), key, now)):
            shutil.rmtree(os.path.join(versions, name), ignore_errors=True)


def _may_be_served(version, key, now):
    # Where the gate refuses a newer one of the same key it goes back to this one, which it may have refused before.
    with contextlib.suppress(ChainError):
        leaf = _certificates(os.path.join(version, "cert.pem"))[0]
        return leaf.spki == key and now < leaf.not_after
    return False
