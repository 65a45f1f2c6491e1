# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How ``dane-gate`` tells people what became of a run that nobody watched: by mail, and by metrics.

Private to this collection. Digests only. Nothing here changes what a run ends with: what cannot be told is said in the
journal, and that is all.
"""

from __future__ import annotations

import contextlib
import email.message
import json
import os
import re
import subprocess
import textwrap
import time
from typing import NamedTuple, Tuple

from . import _age, _chain, _gate
from ._errors import ChainError, DaneError, DeployError, DnsError, LedgerError, RefusedError

SENDMAIL = "/usr/sbin/sendmail"
SENDMAIL_SECONDS = 60
# Where the notes are kept when nothing says where.
STATE_DIR = "/var/lib/mailops-dane"
# Beside the ledger: which mails went out today, and what the last run ended with.
NOTES = "notified.json"
RECIPIENT = re.compile(r"[A-Za-z0-9._%+=@][A-Za-z0-9._%+=@-]*")
# Why a run was refused or failed, for a label and for one mail a day; with the playbook that goes on, where one does.
REASONS = {
    "certificate": "", "configuration": "enable", "deploy": "", "dns": "", "endpoint": "", "key": "rekey", "ledger": "",
    "other": "", "service": "", "stale": "renew", "unknown": "", "unmatched": "renew",
}


class Settings(NamedTuple):
    """Whom to tell. ``recipients``: mail addresses, none for no mail; ``metrics_file``: a path, empty for none;
    ``host``: what the inventory calls this one; ``state_dir``: the directory of the ledger."""

    recipients: Tuple[str, ...] = ("root",)
    metrics_file: str = ""
    host: str = ""
    state_dir: str = ""

    @classmethod
    def of(cls, unit):
        """Those of a unit (dict). A unit that says nothing about it wants nobody to be told.

        :raises ValueError: they are malformed.
        """
        given = unit.get("notify", {})
        if not isinstance(given, dict):
            raise ValueError("notify is no dictionary")
        recipients, metrics_file = given.get("to", []), given.get("metrics_file", "")
        host, state_dir = given.get("host", unit["names"][0]), unit["state_dir"]
        wrong = impossible_notifications(recipients, metrics_file)
        if not isinstance(host, str) or not host.isprintable():
            wrong.append("the host of notify is no name")
        if not state_dir.startswith("/") or "\0" in state_dir:
            wrong.append("state_dir is no absolute path")
        if wrong:
            raise ValueError("; ".join(wrong))
        return cls(tuple(recipients), metrics_file, host, state_dir)

    @classmethod
    def read(cls, path):
        """Those in the file of the unit. One that cannot be read is what root has to hear of."""
        with contextlib.suppress(OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
            with open(path, encoding="utf-8") as stream:
                return cls.of(json.load(stream))
        return cls(state_dir=STATE_DIR)


def impossible_notifications(recipients, metrics_file):
    """One sentence for everything that is wrong in the options of this file (list of str)."""
    given = recipients if isinstance(recipients, list) else [recipients]
    found = [f"dane_notify: Cannot send mail to {one!r:.80}: expected a list of mail addresses, such as [root]"
             for one in given if not isinstance(recipients, list) or not isinstance(one, str) or not RECIPIENT.fullmatch(one)]
    path = metrics_file if isinstance(metrics_file, str) else None
    if path is None or path and (not path.startswith("/") or not path.endswith(".prom") or not path.isprintable()):
        found.append(f"dane_metrics_file: Cannot write metrics to {metrics_file!r:.80}: expected an absolute path that ends in "
                     ".prom, as node_exporter reads no other, such as /var/lib/prometheus/node-exporter/mailops_dane.prom")
    return found


class Run(NamedTuple):
    """How a run of the gate ended. ``command``: renew or look. ``unit``: dict, or None: its file cannot be used.

    ``failure``: the exception, or None. ``settled``: nothing is left to be served. Neither: nothing was to do, and
    what an earlier run ended with still holds.
    """

    command: str
    unit: dict
    failure: BaseException
    settled: bool


def tell(settings, run, now):
    """Send the mail and write the metrics of a run.

    :param settings: :class:`Settings`. :param run: :class:`Run`. :param now: epoch seconds.
    :returns: what could not be told, sentences for the journal (list of str).
    """
    reason = reason_of(run.failure) if run.failure else ""
    notes = _read_notes(settings)
    problems, mailed = [], {known: day for known, day in notes["mailed"].items() if day == _day(now)}
    if reason and settings.recipients and reason not in mailed:
        problem = send(settings.recipients, _mail(settings, run, reason, now))
        if problem:
            problems.append(f"Cannot send mail to {', '.join(settings.recipients)}: {problem}")
        else:
            mailed[reason] = _day(now)
    refused = reason or ("" if run.settled else notes["refused"])
    if settings.recipients or settings.metrics_file:
        problems += _keep_notes(settings, notes, {"mailed": mailed, "refused": refused})
    if settings.metrics_file:
        problems += _write_metrics(settings.metrics_file, metrics(run.unit, refused, now))
    return problems


def reason_of(failure):
    """The class of a refusal or failure (a key of ``REASONS``)."""
    fields = getattr(failure, "fields", {})
    if isinstance(failure, RefusedError):
        codes = {reason["code"] for reason in (fields.get("answer") or {}).get("reasons", ())}
        if codes:
            return "unmatched" if "version-unmatched" in codes else "unknown"
        return "endpoint" if "silent" in fields else "service" if "objections" in fields else fields.get("reason", "other")
    if isinstance(failure, OSError):
        return "other"
    kinds = ((ChainError, "certificate"), (DeployError, "deploy"), (DnsError, "dns"), (LedgerError, "ledger"))
    return next((reason for kind, reason in kinds if isinstance(failure, kind)), fields.get("reason", "other"))


# --------------------------------------------------------------------------------------------------------------- mail


def _mail(settings, run, reason, now):
    ended = "refused" if isinstance(run.failure, RefusedError) else "failed"
    host = settings.host or "this mail host"
    message = email.message.EmailMessage()
    message["To"] = ", ".join(settings.recipients)
    message["Subject"] = f"{host}: dane-gate {run.command} {ended} ({reason})"
    # RFC 3834 section 5: no vacation notice is to answer it.
    message["Auto-Submitted"] = "auto-generated"
    parts = [
        f"`dane-gate {run.command}` on {host} was refused:" if ended == "refused"
        else f"`dane-gate {run.command}` on {host} failed:",
        _words(run.failure), _meanwhile(run, now), _what_next(reason, settings.host),
        "There is one such mail per reason and day. dane_notify says who gets it, and dane-gate status what is known."]
    text = "\n\n".join(
        part if part.startswith("    ") else textwrap.fill(part, 76, break_long_words=False, break_on_hyphens=False)
        for part in "\n\n".join(parts).split("\n\n"))
    # A file name that is no UTF-8 must not keep the rest back.
    message.set_content(text.encode("utf-8", "backslashreplace").decode() + "\n")
    return message.as_bytes()


def _words(failure):
    if isinstance(failure, DaneError):
        return failure.message
    # A fault of ours: what it says may be anything.
    return str(failure) if isinstance(failure, OSError) else f"{type(failure).__name__}; the journal has all of it"


def _meanwhile(run, now):
    leaf = _served(run.unit)
    if leaf is None:
        return "What is served meanwhile cannot be told: the chain file cannot be read."
    left = (leaf.not_after - now) / 86400
    until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(leaf.not_after))
    ends = f"lasts until {until}, {left:.0f} days from now" if left > 0 else f"ENDED at {until}"
    if getattr(run.failure, "fields", {}).get("restored", True) is False:
        return (f"What is served meanwhile is to be looked at: the old chain file is not back. {run.unit['chain_file']} holds "
                f"key {_chain.spki_digest(leaf.spki)[:16]}, and that certificate {ends}.")
    return (f"Meanwhile {run.unit['chain_file']} is served, with key {_chain.spki_digest(leaf.spki)[:16]}. Its certificate "
            f"{ends}.")


def _what_next(reason, host):
    again = "To try again at once, on the host:\n\n    dane-gate look"
    if not REASONS[reason]:
        return "When what it names is mended, the daily look goes on by itself. " + again
    return f"To go on, on the controller:\n\n    ansible-playbook mailops.dane.{REASONS[reason]} -l {host or 'HOST'}\n\n{again}"


def send(recipients, message):
    """Hand a mail to the host's own mail system.

    :param message: bytes. :returns: why that did not go (str), empty when it did.
    """
    try:
        done = subprocess.run(
            [SENDMAIL, "-i", "--", *recipients], input=message, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=SENDMAIL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        return str(exc)
    said = " ".join(done.stdout.decode("utf-8", "replace").split())
    return f"{SENDMAIL} ended with {done.returncode}: {said[:300] or 'no output'}" if done.returncode else ""


def _read_notes(settings):
    notes = {"mailed": {}, "refused": ""}
    with contextlib.suppress(OSError, ValueError, RecursionError, KeyError, TypeError):
        with open(os.path.join(settings.state_dir, NOTES), encoding="utf-8") as stream:
            found = json.load(stream)
        notes = {"mailed": dict(found["mailed"]), "refused": found["refused"]}
    return notes


def _keep_notes(settings, before, notes):
    if notes == before:
        return []
    try:
        _gate.keep(os.path.join(settings.state_dir, NOTES), (json.dumps(notes, sort_keys=True) + "\n").encode())
    except LedgerError as exc:
        return [exc.message + "; there may be more than one mail today"]
    return []


def _day(when):
    return time.strftime("%Y-%m-%d", time.gmtime(when))


# ------------------------------------------------------------------------------------------------------------ metrics


def metrics(unit, refused, now):
    """The text for node_exporter's textfile collector. What is not known is left out.

    Times are epoch seconds, not ages: the file is read much more often than it is written.

    :param unit: dict, or None. :param refused: what the last run that had something to do ended with (a key of
        ``REASONS``), empty for a good end. :param now: epoch seconds.
    """
    lines = _metric("last_run", "When dane-gate renew or look ended last.", [("", now)])
    for facts in (_of_certificate, _of_key, _of_ledger):
        with contextlib.suppress(DaneError, OSError, ValueError):
            lines += facts(unit) if unit else []
    return "".join(line + "\n" for line in lines + _metric(
        "refused", "1: the last run of dane-gate that had something to do was refused or failed, by class of reason.",
        [(_label("reason", reason), reason == refused) for reason in REASONS], ""))


def _of_certificate(unit):
    leaf = _served(unit)
    return _metric("certificate_not_after", "The end of the certificate in the chain file.",
                   [] if leaf is None else [("", leaf.not_after)])


def _of_key(unit):
    since = _age.known_since(unit["state_dir"], unit["chain_file"], unit["lineages"], write=False)
    due = [("", since + unit["key_lifetime"])] if since is not None and "key_lifetime" in unit else []
    return _metric("key_due", "From when rekey.yml -e dane_rekey=due changes the key in the chain file.", due)


def _of_ledger(unit):
    with _gate.open_ledger(os.path.join(unit["state_dir"], "ledger.json"), wait=5, write=False) as door:
        ledger = door.ledger
    looked = [(_label("name", name.owner), name.looked_at) for name in ledger.names if name.looked_at is not None]
    heard = [(_label("name", name.owner), name.heard_at) for name in ledger.names if name.heard_at is not None]
    operation = ledger.operation
    return (
        _metric("last_look", "The last look at the servers of an owner name.", looked)
        + _metric("last_evidence", "The last look in which the zone validated and a server answered; a ledger without one "
                  "for 7 days is stale.", heard)
        + _metric("ledger_written", "When the ledger was written.", [("", ledger.clock.wall)] if ledger.clock else [])
        + _metric("operation_started", "Since when an operation of a playbook is open; absent when none is.",
                  [(_label("kind", operation.kind), operation.started)] if operation else []))


def _metric(name, about, values, unit="_timestamp_seconds"):
    name = f"mailops_dane_{name}{unit}"
    lines = [f"{name}{labels} {value:.0f}" for labels, value in values]
    return [f"# HELP {name} {about}", f"# TYPE {name} gauge", *lines] if lines else []


def _label(name, value):
    escaped = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'{{{name}="{escaped}"}}'


def _served(unit):
    """The first certificate in the chain file, or None."""
    with contextlib.suppress(ChainError, OSError, ValueError):
        if unit:
            with open(unit["chain_file"], encoding="utf-8") as stream:
                # Of several keys the one whose certificate ends first.
                leaves = [chain[0] for chain in _chain.load_chains(stream.read(), unit["chain_file"])]
                return min(leaves, key=lambda leaf: leaf.not_after, default=None)
    return None


def _write_metrics(path, text):
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        # Made by us it would hide that nothing reads there.
        return [f"Cannot write {path!r}: there is no directory {directory}, where node_exporter would look"]
    try:
        _gate.keep(path, text.encode())
    except LedgerError as exc:
        return [exc.message]
    return []
