# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The door on the mail host: the only place through which the served chain changes. Private to this collection.

One call, :func:`deploy`, does a whole deployment, because nothing that a playbook would run afterwards (rescue, handler)
runs when the connection to the host is lost. It asks, notes its intent in the ledger, replaces one file that holds key
and chain (from then on a starting smtpd presents it), reloads, shakes hands until only the new chain is seen, and puts
the old file back when that does not happen.

The ledger lies on the host it speaks of and is only touched under a lock on it. No Ansible here: the same file serves
on the host without Ansible.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import socket
import ssl
import subprocess
import tempfile
import time
from typing import Callable, NamedTuple, Optional, Tuple

from . import _chain, _pkix, _probe
from ._errors import ChainError, DaneError, DeployError, LedgerError, RefusedError
from ._ledger import Clock, Ledger, Operation
from ._memory import Name, endpoint_key, left_endpoints
from ._rollover import Chain, Timing, Version, all_of, may_deploy
from ._waivers import Override, at_your_word, waive_endpoints
from ._tlsa import Record, owner_name

LEDGER_PATH = "/var/lib/mailops-dane/ledger.json"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
LOCK_SECONDS = 60
CLOCK_SECONDS = 60
COMMAND_SECONDS = 60
# Which playbook completes an operation of this kind, where it has another name.
PLAYBOOKS = {"compromise": "rekey"}
# A daemon with several processes may answer with the old chain once and the new one next.
HANDSHAKES = 5
# As tempfile.mkstemp makes them for _replace_file.
_TEMPORARY = re.compile(r"\.[a-z0-9_]{8}\.new")


class Daemon(NamedTuple):
    """How the gate speaks with the service: commands as lists, and what shows that it uses the chain file. ``running``
    ends with an error where the service does not run; empty: nobody can be asked."""

    name: str
    check: Tuple[str, ...]
    reload: Tuple[str, ...]
    objections: Callable
    running: Tuple[str, ...] = ()


# ------------------------------------------------------------------------------------------------------- ledger file


def read_clock(clock=time.time):
    """What this host knows of the time (:class:`Clock`)."""
    try:
        with open(BOOT_ID, encoding="ascii") as stream:
            boot = stream.read().strip()
    except OSError:
        boot = ""
    # CLOCK_BOOTTIME also runs while the computer sleeps; nobody can set it.
    return Clock(clock(), boot, time.clock_gettime(time.CLOCK_BOOTTIME))


class OpenLedger:
    """The ledger while its lock is held. ``ledger`` is the value; ``save`` writes it; ``lost`` says why it was new."""

    def __init__(self, path, clock=time.time):
        self.path = path
        self.clock = clock
        self.lost = None
        try:
            with open(path, encoding="utf-8") as stream:
                self.ledger = Ledger.from_dict(json.load(stream, object_pairs_hook=_each_once)).at(read_clock(clock))
        except FileNotFoundError:
            self.ledger, self.lost = Ledger(), "there is none yet"
        except (LedgerError, ValueError, RecursionError) as exc:
            # A lost ledger is no error: what was before it is then unknown, and the questions know how to wait.
            self.ledger, self.lost = Ledger(), f"{str(exc)[:400]}; it is kept as {self._aside()}"
        except OSError as exc:
            raise LedgerError(f"Cannot read the ledger {path!r}: {exc.strerror}") from exc

    def save(self, ledger):
        """Replace the file atomically (mode 0644: it holds digests only, and people read it).

        :raises LedgerError: disk full, read-only, ...: the old ledger is still whole.
        """
        self.ledger = ledger = ledger._replace(clock=read_clock(self.clock))
        text = json.dumps(ledger.to_dict(), indent=1, sort_keys=True) + "\n"
        try:
            if self.lost and os.path.exists(self.path) and not os.path.exists(self._aside()):
                os.link(self.path, self._aside())
            _replace_file(self.path, text.encode(), 0o644)
        except OSError as exc:
            raise LedgerError(f"Cannot write the ledger {self.path!r}: {exc.strerror}; it is as it was") from exc

    def _aside(self):
        # What cannot be read may still tell a person something. One is kept: the first may be the last that was good.
        return self.path + ".unreadable"


def _each_once(pairs):
    # JSON lets the last of two equal names win: the memory of the first would be forgotten.
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return found


@contextlib.contextmanager
def open_ledger(path=LEDGER_PATH, wait=LOCK_SECONDS, write=True, clock=time.time):
    """Hold the ledger's lock. Only one door of a host is open at a time.

    :param path: the ledger file (str); its directory is made when missing.
    :param wait: how long to wait for another holder (seconds).
    :param write: False makes neither directory nor lock (check mode): where there is none, nobody else is there.
    :raises LedgerError: another process holds the lock for longer, or the directory cannot be made.
    """
    if not write and not os.path.exists(path + ".lock"):
        yield OpenLedger(path, clock)
        return
    try:
        if write:
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        lock = open(path + ".lock", "a" if write else "r", encoding="utf-8")
    except OSError as exc:
        raise LedgerError(f"Cannot open the ledger {path!r}: {exc.strerror}") from exc
    with lock:
        if not _locked(lock, wait):
            raise LedgerError(
                f"Cannot open the ledger {path!r}: another process has held its lock for {wait} s; see who does with: "
                f"fuser -v {path}.lock; a deployment may take some minutes, so run again then")
        yield OpenLedger(path, clock)


@contextlib.contextmanager
def alone(path, wait):
    """Be the only one at work on a host. Whoever is killed lets go.

    :param path: a file for the lock (str); its directory is made when missing. :param wait: for another one (seconds).
    :raises LedgerError: another process holds it for longer, or the file cannot be made.
    """
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        lock = open(path, "a", encoding="utf-8")
    except OSError as exc:
        raise LedgerError(f"Cannot open {path!r}: {exc.strerror}") from exc
    with lock:
        if not _locked(lock, wait):
            raise LedgerError(
                f"Cannot begin: another process has been at work on this host for {wait} s; see who with: fuser -v {path}")
        yield


def _locked(lock, wait):
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)


def _replace_file(path, content, mode, owner=None):
    directory = os.path.dirname(path) or "."
    descriptor, temporary = tempfile.mkstemp(dir=directory, prefix=".", suffix=".new")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            if owner is not None:
                os.fchown(stream.fileno(), owner.st_uid, owner.st_gid)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    # The rename itself has to survive a power cut, or an old key comes back after the old record went.
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ----------------------------------------------------------------------------------------------------------- take note


def note(path, timing, looks=(), memories=None, nothing_before=False, intents=None, settled=None, published=None,
         outcomes=None, operation=None, retire=(), write=True, clock=time.time, chain_file=None, issuers=(), anchor="issuer"):
    """Take notes in the ledger, all or none.

    :param looks: fresh looks at the DNS, one for each owner name (JSON form of ``_dns.look``).
    :param memories: owner name to memory (JSON form of ``_memory.Name``) that began as a copy of the ledger's.
    :param nothing_before: the names are being enabled: see ``_memory.Name.observe``.
    :param intents: owner name to the versions (JSON form) that are about to be published.
    :param settled: the same, for those noted by an earlier call that have been published or will not be.
    :param published: owner name to the list of records (text) that are ours there from now on.
    :param outcomes: one complete look at the endpoints (``_probe.look``).
    :param operation: a dict ``{"id", "kind", "target_spki", "started"}`` to open or update, ``{"id", "closed": True}``
        to close this one, ``{}`` to close whichever is open.
    :param retire: digests of keys that are never to be used again.
    :param write: False only computes (check mode).
    :param chain_file: the file that the daemon reads: with ``outcomes``, what it holds may be seen as well, and its
        issuer is remembered.
    :param anchor: whether that is the first one above the leaf, or the root, see ``_chain.describe``.
    :param issuers: records (text, usage 2) of the issuers of a chain that is about to be served, to be remembered.
    :returns: tuple of the ledger (:class:`Ledger`), whether what was *decided* changed (looks do not count), and
        why the ledger was new (str) or None.
    :raises LedgerError: see :func:`open_ledger`; or another operation is open.
    """
    with open_ledger(path, write=write, clock=clock) as door:
        before = door.ledger
        ledger = _with_dns(before, timing, looks, memories, nothing_before)
        # What is settled is of before: one call may end one step and begin the next with the same version.
        for owner, version in _versions(settled):
            ledger = ledger.with_name(ledger.name(owner).settled(version))
        for owner, version in _versions(intents):
            ledger = ledger.with_name(ledger.name(owner).intend(version, clock(), timing))
        for owner, records in (published or {}).items():
            ledger = ledger.with_published(owner, [Record.parse(text) for text in records])
        if outcomes:
            ledger = _with_endpoints(ledger, timing, outcomes, chain_file, clock(), nothing_before, anchor)
        if before.operation:
            # Also for a run that died before it could: a key that was served must not pass for a fresh one.
            ledger = _with_retired(ledger, before.operation.target_spki)
        if operation is not None:
            ledger = ledger._replace(operation=_operation(before.operation, operation))
        ledger = ledger._replace(
            retired=ledger.retired | frozenset(retire), issuers=ledger.issuers.noted(map(Record.parse, issuers), clock()))
        if looks or memories or outcomes:
            # Not by whoever only reads: the timing may not be that of this host.
            now = clock()
            ledger = ledger._replace(
                names=tuple(name.pruned(now, timing) for name in ledger.names), chains=ledger.chains.pruned(now, timing))
        if write and ledger != before:
            door.save(ledger)
            ledger = door.ledger
        changed = any(getattr(ledger, part) != getattr(before, part) for part in ("operation", "published", "retired"))
        return ledger, changed, door.lost


def _versions(given):
    for owner, versions in (given or {}).items():
        if not isinstance(versions, list):
            raise LedgerError(f"Cannot note {versions!r:.80} at {owner!r}: expected a list of versions")
        for version in versions:
            yield owner, Version.from_dict(version)


def with_left(path, endpoints):
    """These endpoints, and those at addresses that are gone but may be cached (list of dict); see ``left_endpoints``.

    :raises LedgerError: the ledger cannot be opened.
    """
    if not endpoints:
        return []
    with open_ledger(path, write=False) as door:
        return endpoints + left_endpoints(door.ledger.chains, endpoints)


def check_clock(other, clock=time.time, most=CLOCK_SECONDS):
    """Refuse to work by two clocks that differ.

    :param other: the controller's time (epoch seconds), or None. :param most: what may lie between them (seconds).
    :raises LedgerError: they differ by more.
    """
    behind = 0 if other is None else other - clock()
    if not abs(behind) <= most:
        raise LedgerError(
            f"Cannot use the ledger: the clock of this host is {abs(behind):.0f} s {'behind' if behind > 0 else 'ahead of'} "
            f"the controller's. Set both by NTP, then run again: no wait can be measured by clocks that differ by more than "
            f"{most} s")


def look_with(waivers, clock=time.time):
    """``_probe.look`` that marks silent endpoints which a waiver names.

    :param waivers: tuple of ``_waivers.Waiver``. :returns: a function with the arguments of ``_probe.look``.
    """
    def look(endpoints, **options):
        return waive_endpoints(_probe.look(endpoints, **options), waivers, clock())
    return look


def _with_dns(ledger, timing, looks, memories=None, nothing_before=False):
    for owner, memory in (memories or {}).items():
        ledger = ledger.with_name(ledger.name(owner).merge(Name.from_dict(owner, memory)))
    for look in looks:
        ledger = ledger.with_name(ledger.name(look["owner"]).observe(look, timing, nothing_before))
    return ledger


def _with_endpoints(ledger, timing, outcomes, chain_file, now, nothing_before=False, anchor="issuer"):
    # Where records are published, a process that lingers with another chain matters from the start.
    nothing_before = nothing_before and not any(seen.version.records for name in ledger.names for seen in name.versions)
    chains = ledger.chains.observe(outcomes, timing, nothing_before)
    # A run may have died between replace and reload: whatever process starts next presents what lies in the file.
    with contextlib.suppress(ChainError):
        base_domains = sorted({outcome["endpoint"]["name"] for outcome in outcomes})
        for certificates in _chains_of_file(chain_file) if chain_file else ():
            described = _chain.describe(certificates, base_domains, now, now, anchor)
            chains = chains.intend(Chain.from_dict(described))
            ledger = _with_issuers(ledger, described, now, anchor)
    return ledger._replace(chains=chains)


def _with_issuers(ledger, described, now, anchor):
    told = frozenset(map(Record.parse, described["issuer_records"]))
    below = frozenset(map(Record.parse, described["matches"])) - told
    # Those below a root that is presented need no record of their own any more.
    issuers = ledger.issuers.without(below) if told and anchor == "root" else ledger.issuers
    return ledger._replace(issuers=issuers.noted(told, now))


def _operation(now_open, wanted):
    if not wanted:
        return None
    if isinstance(wanted, dict) and wanted.get("closed"):
        # Another one may have been begun meanwhile.
        return None if now_open and now_open.id == wanted.get("id") else now_open
    wanted = Operation.from_dict({"target_spki": "", **wanted} if isinstance(wanted, dict) else wanted)
    if now_open and now_open.id != wanted.id:
        raise LedgerError(
            f"Cannot begin operation {wanted.id!r} ({wanted.kind}): operation {now_open.id!r} ({now_open.kind}) is open; "
            f"run {PLAYBOOKS.get(now_open.kind, now_open.kind)}.yml again to complete it")
    if now_open and now_open.target_spki and wanted.target_spki != now_open.target_spki:
        raise LedgerError(
            f"Cannot change the key of operation {now_open.id!r} from {now_open.target_spki[:16]} to "
            f"{wanted.target_spki[:16] or 'none'}: an operation keeps its key to the end")
    return wanted


# ------------------------------------------------------------------------------------------------------------- deploy


class Deployment(NamedTuple):
    """One chain file, with one chain for each key algorithm, and all that is served from it. Times in seconds.

    ``looks``: a look at the DNS of the last minute for every owner name that is served from the file: the question
    is asked of each. Only ``offline``, where this host cannot see the DNS, there need be none: a renewal of the same
    key may then be judged by the ledger (see ``_rollover.may_deploy``).
    ``candidate``: file with the keys and chains to be served. ``dest``: the file that the daemon reads.
    ``endpoints``: where the chain is presented. ``empty_is_fine``: the names are being enabled or retired.
    ``expected_spki``: the key that the operation is about; a candidate without it is refused. Empty: whatever it holds.
    ``override``: turns a no of the question into a yes; of nothing else that is checked.
    ``anchor``: whose records are remembered, see ``_chain.describe``.
    ``pkix``, ``trust_store``: what clients without DANE may make of the chain, see ``_pkix.objection``.
    """

    candidate: str
    dest: str
    looks: list
    endpoints: list
    daemon: Daemon
    timing: Timing
    empty_is_fine: bool = False
    expected_spki: str = ""
    handshake_timeout: int = 60
    ledger_path: str = LEDGER_PATH
    offline: bool = False
    override: Optional[Override] = None
    pkix: str = "off"
    trust_store: str = ""
    anchor: str = "issuer"


def deploy(unit, write=True, clock=time.time, sleep=time.sleep, run=None, look=None):
    """Let the daemon present the candidate, if no sender can see a mismatch: every chain in it at once. Idempotent.

    What is *served* decides whether anything is to do, not what the files say: after a crash between replace and
    reload the file is new and the service is old.

    :param unit: :class:`Deployment`.
    :param write: False asks and checks, and changes nothing (check mode).
    :param clock, sleep, run, look: for tests.
    :returns: dict with ``changed``, ``chains`` (JSON, in the order of the file), ``chain`` (the first of them), ``answer``
        (JSON), ``before`` (presented key digests), ``outcomes``, ``pkix`` (a warning, or empty); and ``stale`` (a warning),
        only where the age of the ledger was overlooked, see :func:`_whatever_its_age`.
    :raises ChainError: the candidate cannot be used. :raises RefusedError: the answer is no, or the daemon is not
        set up to use the file; nothing was changed. :raises DeployError: the daemon did not come up with the chain;
        ``restored`` says whether the old one is back.
    """
    run, look = run or _run, look or _probe.look
    _check_scope(unit)
    with open_ledger(unit.ledger_path, write=write, clock=clock) as door:
        content, candidates = _load_candidate(unit, door.ledger, clock())
        outcomes = look(unit.endpoints + left_endpoints(door.ledger.chains, unit.endpoints), handshakes=HANDSHAKES)
        ledger = _with_dns(door.ledger, unit.timing, unit.looks)
        ledger = _with_endpoints(ledger, unit.timing, outcomes, unit.dest, clock(), unit.empty_is_fine, unit.anchor)
        # Also of a chain that is refused: the record that it lacks is what the next run has to publish.
        for candidate in candidates:
            ledger = _with_issuers(ledger, candidate, clock(), unit.anchor)
        before = sorted({chain.spki for chain in ledger.chains.presented()})
        if write:
            # Also before a no: a wait that begins anew with each refusal never ends.
            door.save(ledger)
        others = _others(ledger, {candidate["id"] for candidate in candidates}.union(
            _ids_of_file(unit.dest), _ids_of_file(unit.dest + ".previous")))
        # What nothing leads to any more is not deployed to.
        outcomes = [outcome for outcome in outcomes if not outcome["endpoint"].get("left")]
        in_file = _read(unit.dest) == content
        result = {"chain": candidates[0], "chains": candidates, "before": before, "outcomes": outcomes, "answer": None,
                  "changed": False, "pkix": ""}
        new = tuple(map(Chain.from_dict, candidates))
        if any(chain.spki not in before for chain in new):
            check_names(ledger, _owners(unit))
        if in_file and _presented_only(candidates, outcomes, others):
            if write:
                door.save(_with_retired(ledger, unit.expected_spki))
            return result
        old = _read_older(unit.dest, before) if in_file else _read(unit.dest)
        asked, stale = _whatever_its_age(unit, ledger, old, content, clock())
        result.update(answer=_ask(asked, ledger, new, clock(), others).to_dict(), changed=True, **stale)
        if not in_file:
            result["pkix"] = _ask_pkix(unit, content, clock())
        # In check mode main.cf may still be the old one because the task that would have changed it only said so.
        objections = unit.daemon.objections(unit.dest, run) if write else []
        if objections:
            raise RefusedError(
                f"Cannot deploy to {unit.dest!r}: {unit.daemon.name} does not serve from it alone: " + "; ".join(objections),
                objections=objections)
        if not write:
            return result
        _check_runs(unit.daemon, run)
        _check_answers(unit, outcomes, others, look, sleep)
        _check_command(unit.daemon.check, f"{unit.daemon.name} refuses its configuration; nothing was changed", run)
        # Intent first, then ask again: whoever withdraws a record reads this ledger before it acts.
        for chain in new:
            ledger = ledger._replace(chains=ledger.chains.intend(chain))
        door.save(ledger)
        _ask(asked, ledger, new, clock(), others)
        try:
            if not in_file:
                _swap(unit.dest, content, old)
            _check_command(unit.daemon.reload, f"{unit.daemon.name} did not reload", run)
            result["outcomes"] = _until_served(unit, candidates, look, clock, sleep, others)
        except (DaneError, OSError) as exc:
            _put_back(unit, door, ledger, old, exc, run, look)
        ledger = ledger._replace(chains=ledger.chains.observe(result["outcomes"], unit.timing))
        door.save(_with_retired(ledger, unit.expected_spki))
        return result


def _check_runs(daemon, run):
    # It would not reload either; but without a terminal Postfix does not say why.
    if daemon.running and run(daemon.running)[0]:
        raise DeployError(
            f"Cannot deploy: {daemon.name} is not running; nothing was changed. Start it, and run again", restored=True)


def _check_answers(unit, outcomes, others, look, sleep):
    # Of an endpoint that is silent nobody would see what it presents: the chain would be put back after the timeout, at
    # every try. One lost packet is no silence; and where nobody presents anything, this may be what mends it.
    silent = _silent(outcomes, others)
    if silent and any(outcome["outcome"] == "chain" for outcome in outcomes):
        sleep(1)
        silent = _silent(look([outcome["endpoint"] for outcome in silent]), others)
    else:
        silent = []
    if silent:
        where = sorted({f"{_place(outcome)[0]} port {_place(outcome)[1]} ({outcome['detail']})" for outcome in silent})
        raise RefusedError(
            f"Cannot deploy to {unit.dest!r}: {'; '.join(where)} does not answer, so nobody could see what is presented there; "
            "nothing was changed. See that the service runs and can be reached from this host, or name the address in "
            "dane_waive if it is gone for good", silent=where)


def _silent(outcomes, others):
    return [outcome for outcome in outcomes if outcome["outcome"] == "silent" and _place(outcome) not in others]


def _check_scope(unit):
    # A question that is asked of no name is answered yes: every endpoint has to bring its owner name along.
    wanted = _owners(unit)
    missing = wanted - {look["owner"] for look in unit.looks} if not unit.offline else set()
    if not wanted or missing:
        why = "there is no look at " + ", ".join(sorted(missing)) if wanted else "no endpoint is given"
        raise RefusedError(f"Cannot deploy to {unit.dest!r}: {why}")


def check_names(ledger, owners):
    """Refuse another key while records of ours are published at names that nobody asks about any more.

    :param owners: the owner names that are asked about.
    :raises RefusedError: there are others, with what to do.
    """
    dropped = sorted(owner for owner, _records in ledger.published if owner not in owners)
    if dropped:
        raise RefusedError(
            f"Cannot serve another key: records of ours are published at {', '.join(dropped)}, which dane_names and "
            "dane_services no longer name, and they would match nothing. Put the name back; or remove the records there, "
            "wait two TTLs, and tell the ledger of this host with mailops.dane.dane_ledger: published: "
            + str({owner: [] for owner in dropped}).replace("'", '"'), dropped=dropped)


def _owners(unit):
    return {owner_name(endpoint["name"], endpoint["port"]) for endpoint in unit.endpoints}


def _load_candidate(unit, ledger, now):
    base_domains = sorted({endpoint["name"] for endpoint in unit.endpoints})
    content = _read(unit.candidate)
    if content is None:
        raise ChainError(f"Cannot read the chain to deploy, {unit.candidate!r}: there is no such file; "
                         "chain_assemble makes it")
    bundles = _chain.load_bundles(content.decode("utf-8", "replace"), unit.candidate)
    for bundle in bundles:
        _chain.check_key_matches(bundle)
    _chain.check_algorithms([bundle.certificates[0] for bundle in bundles], unit.candidate)
    described = [_chain.describe(bundle.certificates, base_domains, now, anchor=unit.anchor) for bundle in bundles]
    for chain in described:
        if chain["spki"] in ledger.retired:
            raise RefusedError(
                f"Cannot deploy key {chain['spki'][:16]}: it was retired on this host, and its record may be gone. Run "
                "rekey.yml with -e dane_rekey=abandon, which makes another")
    if unit.expected_spki and unit.expected_spki not in [chain["spki"] for chain in described]:
        raise RefusedError(
            f"Cannot deploy {unit.candidate!r}: it holds key {_keys(described)}, and the open operation is about "
            f"key {unit.expected_spki[:16]}; run rekey.yml again, which assembles it anew")
    # The one thing that no daemon's own check tries: whether TLS can load the file. Further certificates count as well;
    # their keys have been read by the same library.
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(unit.candidate)
    except (ssl.SSLError, OSError) as exc:
        raise ChainError(f"Cannot use {unit.candidate!r}: OpenSSL does not load it: {exc}") from exc
    return content, described


def _keys(chains):
    """Keys for a sentence (str)."""
    return " and ".join(chain["spki"][:16] for chain in chains)


def _with_retired(ledger, target):
    # Only an operation retires keys: without one, a chain that nobody presents may still be somebody's next.
    presented = {chain.spki: chain.algorithm for chain in ledger.chains.presented()}
    if not target or target not in presented:
        return ledger
    # The key of another algorithm in the same file may be late: it is not gone before a complete look without it.
    gone = {seen.chain.spki for seen in ledger.chains.chains
            if seen.gone_since is not None or seen.chain.algorithm == presented[target]} - set(presented)
    return ledger._replace(retired=ledger.retired | gone)


def _others(ledger, ours):
    # Hosts that share a name share its endpoints, but not their keys: where neither our file's chain nor the one it
    # replaced is presented, another host answers, or did when it was last heard. Where nobody presents ours, nothing can
    # be told apart. Hosts that began with copies of one key are told apart by the addresses that this host has; behind a
    # translated address it has none of them.
    presented = {}
    for seen in ledger.chains.chains:
        for key in seen.endpoints:
            address, _name, port = key.split("|")[:3]
            presented.setdefault((address, int(port)), set()).add(seen.chain.id)
    theirs = {place for place, chains in presented.items() if not chains & ours}
    elsewhere = {place for place in presented if not _is_here(place[0])}
    others = set()
    for told in (theirs, elsewhere):
        others |= told if others | told != set(presented) else set()
    return others


def _is_here(address):
    # Nobody may use an address of another host, unless the kernel is told to let him (ip_nonlocal_bind).
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as attempt:
            attempt.bind((address, 0))
    except OSError:
        return False
    return True


def _place(outcome):
    return outcome["endpoint"]["address"], outcome["endpoint"]["port"]


def _ids_of_file(path):
    with contextlib.suppress(ChainError):
        return {_chain.describe(certificates, [], 0, 0)["id"] for certificates in _chains_of_file(path)}
    return set()


def _chains_of_file(path):
    return _chain.load_chains((_read(path) or b"").decode("utf-8", "replace"), path)


def _ask(unit, ledger, new, now, others=()):
    ours = {
        endpoint_key(endpoint) for endpoint in unit.endpoints if (endpoint["address"], endpoint["port"]) not in others}
    replaced = ledger.chains.presented_at(ours)
    answer = all_of(
        at_your_word(
            may_deploy(new, ledger.name(owner), replaced, now, unit.timing, unit.empty_is_fine), unit.override, now)
        for owner in sorted(_owners(unit)))
    if not answer.yes:
        raise RefusedError(
            f"Cannot deploy the chain of key {' and '.join(chain.spki[:16] for chain in new)} to {unit.dest!r}: "
            f"{answer.to_dict()['text']}",
            answer=answer.to_dict())
    return answer


def _whatever_its_age(unit, ledger, old, content, now):
    """The deployment as it is to be asked about, and ``{"stale": warning}`` where the age of the ledger is overlooked.

    Else a host that cannot see the DNS for long would end with an expired certificate. All else is asked as ever. A name of
    which nothing was ever heard stays a refusal: no record would be known to ask about, and no retired key.

    :param old, content: the chain file as it was and as it is to be (bytes).
    """
    heard = {owner: ledger.name(owner).heard_at for owner in sorted(_owners(unit))}
    if not unit.offline or None in heard.values():
        return unit, {}
    stale = [owner for owner, at in heard.items() if now - at > unit.timing.look_max_age]
    if not stale or not _renews_what_ends(old, content, now):
        return unit, {}
    days = (now - min(heard.values())) / 86400
    return unit._replace(timing=unit.timing._replace(look_max_age=int(now))), {"stale": (
        f"the ledger is stale: the last look at {', '.join(stale)} in which the DNS was seen is {days:.0f} days old, and what "
        "was published since is not known. It is served because the certificate in its place had less than a week left. Let "
        "this host see the DNS (dane_hook_resolvers), or run renew.yml from where it can be seen")}


def _renews_what_ends(old, content, now):
    # Whether nothing changes but certificates in their last week, and those in neither key nor issuers nor names.
    def lasting(chain):
        return chain[0].spki, sorted(set(chain[0].names)), [issuer.der for issuer in chain[1:]]

    with contextlib.suppress(ChainError):
        before, after = (_chain.load_chains((text or b"").decode("utf-8", "replace"), "") for text in (old, content))
        ends = [chain[0].not_after for chain in before if chain not in after]
        same = sorted(map(lasting, before)) == sorted(map(lasting, after))
        return same and bool(ends) and max(ends) - now < _pkix.LAST_SECONDS
    return False


def _ask_pkix(unit, content, now):
    served = _chains_of_file(unit.dest)
    base_domains = sorted({endpoint["name"] for endpoint in unit.endpoints})
    told = [_pkix.objection(unit.pkix, list(new), base_domains, _chain.counterpart(new, served), unit.trust_store, now)
            for new in _chain.load_chains(content.decode("utf-8", "replace"), unit.candidate)]
    return "; ".join(filter(None, told))


def _presented_only(candidates, outcomes, others=()):
    outcomes = [outcome for outcome in outcomes if _place(outcome) not in others]
    return any(outcome["outcome"] == "chain" for outcome in outcomes) and not any(
        _is_other(outcome, candidates) for outcome in outcomes)


def _is_other(outcome, candidates):
    # Whether this endpoint presents something else than what is to be served, or nothing that it should.
    if outcome["outcome"] == "chain":
        return outcome["chain"]["id"] not in [candidate["id"] for candidate in candidates]
    if outcome["outcome"] == "no-chain-for-algorithm":
        # Beside a chain of another algorithm: a process from before this one was added.
        return len(candidates) > 1 and outcome["endpoint"]["algorithm"] in [one["algorithm"] for one in candidates]
    return outcome["outcome"] != "waived"


def _until_served(unit, candidates, look, clock, sleep, others):
    deadline = clock() + unit.handshake_timeout
    while True:
        outcomes = look(unit.endpoints, handshakes=HANDSHAKES)
        if _presented_only(candidates, outcomes, others):
            return outcomes
        if clock() >= deadline:
            mine = [outcome for outcome in outcomes if _place(outcome) not in others]
            raise DeployError(_not_served(unit, candidates, mine))
        sleep(0.5)


def _swap(dest, content, old):
    owner = None
    if old is not None:
        owner = os.stat(dest)
        _replace_file(dest + ".previous", old, 0o600, owner)
    _replace_file(dest, content, 0o600, owner)


def _read_older(dest, presented):
    # A run that died between replace and reload left the new file. What comes back on failure is the chain that is
    # still presented, and never one from before: its record may be gone.
    older = _read(dest + ".previous")
    with contextlib.suppress(ChainError):
        return older if older and {key["spki"] for key in keys_of_file(dest + ".previous")} <= set(presented) else None
    return None


def _put_back(unit, door, ledger, old, cause, run, look):
    message = getattr(cause, "message", None) or f"Cannot write {unit.dest!r}: {getattr(cause, 'strerror', cause)}"
    if _read(unit.dest) == old:
        raise DeployError(message + "; nothing was changed", restored=True) from cause
    if old is None:
        raise DeployError(
            message + "; there was no older chain file to put back: the new one stays, and both records should too",
            restored=False) from cause
    try:
        _replace_file(unit.dest, old, 0o600, os.stat(unit.dest))
        _check_command(unit.daemon.reload, f"; the old chain file is back, but {unit.daemon.name} did not reload it", run)
    except (OSError, DeployError) as exc:
        raise DeployError(
            message + (getattr(exc, "message", None) or f"; and the old chain file could not be put back: {exc}"),
            restored=False) from cause
    # The ledger may stay as it is: both chains may be seen, and the next look says which one is.
    with contextlib.suppress(DaneError):
        door.save(ledger._replace(
            chains=ledger.chains.observe(look(unit.endpoints, handshakes=HANDSHAKES), unit.timing)))
    raise DeployError(message + "; the old chain is back", restored=True) from cause


def _not_served(unit, candidates, outcomes):
    seen = sorted({
        f"{endpoint_key(outcome['endpoint'])}: "
        + (f"key {outcome['chain']['spki'][:16]}" if outcome["outcome"] == "chain"
           else f"{outcome['outcome']} ({outcome['detail']})")
        for outcome in outcomes
        if _is_other(outcome, candidates)
    })
    return (f"Cannot deploy key {_keys(candidates)}: {unit.handshake_timeout} s after the reload not every endpoint "
            f"presents it: " + ("; ".join(seen) or "no endpoint presents any chain"))


def sweep(directories, now):
    """Remove what a process that was killed while it replaced a file left half done, a day later: it may hold a key.

    :param now: epoch seconds.
    """
    # What cannot be swept is no reason to fail: it was done, or refused, what was to do.
    with contextlib.suppress(OSError):
        for path in (os.path.join(directory, name) for directory in directories for name in os.listdir(directory)):
            if _TEMPORARY.fullmatch(os.path.basename(path)) and os.path.isfile(path) and now - os.stat(path).st_mtime > 86400:
                os.unlink(path)


def write_private(path, content):
    """Replace a file that holds a key atomically, mode 0600 from its first moment.

    :param content: bytes. :raises DeployError: it could not be written; the old one is whole.
    """
    try:
        _replace_file(path, content, 0o600)
    except OSError as exc:
        raise DeployError(f"Cannot write {path!r}: {exc.strerror}; nothing was changed", restored=True) from exc


def keep(path, content):
    """Keep a file that people may read (mode 0644), with its directory, which is made when missing.

    :param content: bytes. :raises LedgerError: it could not be written; the old one is whole.
    """
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        _replace_file(path, content, 0o644)
    except OSError as exc:
        raise LedgerError(f"Cannot write {path!r}: {exc.strerror}") from exc


def _read(path):
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        raise ChainError(f"Cannot read {path!r}: {getattr(exc, 'strerror', None) or exc}") from exc


def _run(command):
    try:
        done = subprocess.run(
            list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=COMMAND_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        return 127, str(exc)
    return done.returncode, done.stdout.decode("utf-8", "replace").strip()


def _check_command(command, what, run):
    code, output = run(command)
    if code:
        raise DeployError(f"{what}: {' '.join(command)!r} ended with {code}: {output[-500:] or 'no output'}", restored=None)


def spki_of_file(path):
    """The SHA-256 digest of the key whose leaf comes first in a chain file; empty when there is no such file.

    :raises ChainError: the file is not a chain.
    """
    return next((key["spki"] for key in keys_of_file(path)), "")


def keys_of_file(path):
    """The keys whose chains are in a chain file, in its order: dicts with ``spki`` (SHA-256) and ``algorithm`` (list); none
    when there is no such file.

    :raises ChainError: the file is not a chain.
    """
    if _read(path) is None:
        return []
    chains = _chains_of_file(path)
    if not chains:
        raise ChainError(f"Cannot read {path!r}: found no certificate in it")
    return [{"spki": _chain.spki_digest(leaf.spki), "algorithm": leaf.algorithm} for leaf, *_issuers in chains]


# ------------------------------------------------------------------------------------------------------------ Postfix


def postfix_objections(dest, run=_run, managed=False):
    """Why Postfix would not present ``dest`` and nothing else on every TLS service (list of str).

    Asked of Postfix itself, because main.cf and master.cf may belong to somebody else's role.

    :param managed: ``smtpd_tls_chain_files`` in main.cf is about to be set, so whatever it is now is no objection.
    """
    code, value = run(("postconf", "-xh", "smtpd_tls_chain_files"))
    if code:
        return [f"postconf fails: {value[-200:]}"]
    found = []
    if value.replace(",", " ").split() != [dest] and not managed:
        found.append(f"main.cf has smtpd_tls_chain_files = {value or '(empty)'}, expected {dest}")
    code, value = run(("postconf", "-xh", "tls_server_sni_maps"))
    if value or code:
        found.append(f"main.cf has tls_server_sni_maps = {value}: other server names get other chains")
    code, overrides = run(("postconf", "-P"))
    if code:
        found.append(f"postconf -P fails: {overrides[-200:]}")
    for line in overrides.splitlines():
        setting, _equals, value = line.partition("=")
        parameter = setting.strip().rpartition("/")[2]
        # Without chain files a service falls back to other certificates, or to none.
        if (parameter == "smtpd_tls_chain_files" and value.strip() != dest) or value.strip() and parameter in (
                "smtpd_tls_cert_file", "smtpd_tls_eccert_file", "tls_server_sni_maps"):
            found.append(f"master.cf has -o {line.strip()}")
    return found


POSTFIX = Daemon("postfix", ("postfix", "check"), ("postfix", "reload"), postfix_objections, ("postfix", "status"))
DAEMONS = {"postfix": POSTFIX}
