# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``dane-gate``, the command on the mail host: certbot's deploy hook, a daily look, and what people want to know.

The certbot role installs this file with those it imports. There is no Ansible here and none is needed: a host renews
for years without a playbook. Private to this collection.

The hook serves a renewed certificate through the same door as the playbooks (``_gate.deploy``). A lineage whose key is
not the one that is served is never deployed from here: the next key is the playbooks' business, and a key that
somebody changed by hand has no record yet. certbot does not retry a hook; the daily look does.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import json
import os
import re
import sys
import time

from . import _age, _chain, _dns, _gate, _notify, _options, _pkix
from ._errors import ChainError, DaneError, DnsError, RefusedError
from ._rollover import Chain, may_deploy
from ._waivers import parse_waivers, waive_servers
from ._tlsa import owner_name

CONFIGURATION = "/etc/mailops-dane/unit.json"
WANTED = {
    "addresses": dict, "chain_file": str, "dns": dict, "handshake_timeout": int, "lineages": list, "names": list,
    "service": str, "services": list, "state_dir": str, "timing": dict,
}
# A renewed certificate that ends within this time, or a third of its life, is not worth a reload (seconds).
VALID_FOR = 3600
# certbot's hook and the daily look may meet; a deployment may take some minutes.
OTHER_SECONDS = 300
# certbot waits for its hook: what has not been seen by then is judged by the ledger. The daily look has all the time it
# takes. One try gets less than the whole, so that a single dead server does not make the hook blind.
HOOK_DNS_SECONDS, HOOK_QUERY_SECONDS = 10, 2
# What certbot has of a lineage, and how it numbers that in its archive.
PARTS = ("privkey", "cert", "chain")
_NUMBERED = re.compile(r"cert([0-9]+)\.pem")


def main(arguments=None):
    """Run one command; returns the exit status: 0 done or nothing to do, 1 refused or failed."""
    parser = argparse.ArgumentParser(prog="dane-gate", description="The DANE gate of this mail host.")
    parser.add_argument("--config", default=CONFIGURATION, help="what the Ansible role wrote (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    machine = argparse.ArgumentParser(add_help=False)
    machine.add_argument("--json", action="store_true", help="say it as JSON on standard output, failures too")

    def add(name, about):
        return commands.add_parser(name, help=about, parents=[machine])

    add("renew", "serve the renewed certificate of the key that is served (certbot's deploy hook)")
    add("look", "look at DNS and endpoints, keep it in the ledger, then renew")
    add("status", "what the ledger says; changes nothing")
    why = add("why", "what the ledger knows of a record or key; changes nothing")
    why.add_argument("what", metavar="RECORD-OR-KEY", help="the digest of a key or of a record's data, or how it begins")
    add("check", "whether the chain file may be presented, by the ledger (for ExecStartPre)")
    options = parser.parse_args(arguments)
    if options.command in ("renew", "look"):
        return _unattended(options)
    try:
        unit = read_configuration(options.config)
        if options.command == "status":
            say(json_status(unit) if options.json else text_status(unit, time.time()))
        elif options.command == "why":
            found = why_of(unit, options.what, time.time())
            say(json.dumps(found, indent=1) if options.json else "\n".join(found))
        else:
            _say_done(options, check(unit, time.time()))
        return 0
    except (DaneError, OSError) as exc:
        _say_failure(options, exc)
    return 1


def _unattended(options):
    """Renew or look, and tell people how that ended: nobody may be there to read it."""
    unit, failure, settled = None, None, False
    try:
        unit = read_configuration(options.config)
        lineage = os.environ.get("RENEWED_LINEAGE", "") if options.command == "renew" else ""
        text, settled = renew(unit, lineage, keep_look=options.command == "look")
        _say_done(options, text)
    except Exception as exc:
        failure = exc
        _say_failure(options, exc)
    _tell(options.config, _notify.Run(options.command, unit, failure, settled))
    if failure is not None and not isinstance(failure, (DaneError, OSError)):
        raise failure
    return 1 if failure else 0


def _tell(path, run):
    try:
        problems = _notify.tell(_notify.Settings.read(path), run, time.time())
    except Exception as exc:
        # What has been served, or refused, stays so.
        problems = [f"Cannot tell anybody: {type(exc).__name__}: {exc}"]
    for problem in problems:
        say(f"dane-gate: {problem}", sys.stderr)


def _say_done(options, text):
    say(json.dumps({"ok": True, "text": text, "reason": None}) if options.json else text)


def _say_failure(options, failure):
    if isinstance(failure, DaneError):
        text = failure.message
    else:
        # A directory where a file should be, or somebody who is not root. Of a fault of ours there is a traceback.
        text = f"Cannot {options.command}: {failure if isinstance(failure, OSError) else type(failure).__name__}"
    if options.json:
        say(json.dumps({"ok": False, "text": text, "reason": _notify.reason_of(failure)}))
    elif isinstance(failure, (DaneError, OSError)):
        say(f"dane-gate: {text}", sys.stderr)


def say(text, stream=None):
    """A line for the journal or a terminal (this is a command, not an Ansible module)."""
    (stream or sys.stdout).write(text + "\n")


def read_configuration(path):
    """The unit that the Ansible role described (dict).

    :raises DaneError: the file is missing or not that.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            unit = json.load(stream, object_pairs_hook=_gate._each_once)
    except OSError as exc:
        raise _unusable(f"Cannot read {path!r}: {exc.strerror}; the certbot role of mailops.dane writes it") from exc
    except (ValueError, RecursionError) as exc:
        raise _unusable(f"Cannot read {path!r}: {exc!s:.200}; run enable.yml again, which writes it anew") from exc
    found = unit if isinstance(unit, dict) else {}
    wrong = sorted(part for part, kind in WANTED.items() if not isinstance(found.get(part), kind))
    if wrong:
        raise _unusable(f"Cannot use {path!r}: {', '.join(wrong)} is missing or malformed; run enable.yml again")
    try:
        _check(unit)
    except (DaneError, KeyError, TypeError, ValueError, AttributeError) as exc:
        cause = f"{exc} is missing or unknown" if isinstance(exc, KeyError) else f"{exc!s:.500}"
        raise _unusable(f"Cannot use {path!r}: {cause}; run enable.yml again") from exc
    return unit


def _unusable(message):
    return DaneError(message, reason="configuration")


def _check(unit):
    """Try all that is made of the unit later, so that a file edited by hand fails here, before anything is done."""
    _options.timing(unit["timing"])
    _options.handshake_timeout(unit["handshake_timeout"])
    parse_waivers(unit.get("waive"))
    if unit.get("pkix", "off") not in _pkix.MODES or not isinstance(unit.get("trust_store", ""), str):
        raise ValueError(f"pkix is none of {', '.join(_pkix.MODES)}, or trust_store no path")
    if not isinstance(unit.get("key_lifetime", 0), int):
        raise ValueError("key_lifetime is no number of seconds")
    _gate.DAEMONS[unit["service"]]
    _dns.Settings.from_options(unit["dns"])
    for path in [unit["chain_file"], unit["state_dir"], *unit["lineages"]]:
        if not isinstance(path, str) or not os.path.isabs(path) or "\0" in path:
            raise ValueError(f"{path!r:.100} is no absolute path")
    if not unit["names"] or not unit["services"]:
        raise ValueError("names or services is empty")
    if not isinstance(unit.get("endpoints", {}), dict):
        raise ValueError("endpoints is no dictionary")
    _notify.Settings.of(unit)
    for name in unit["names"]:
        for service in unit["services"]:
            owner_name(name, service["port"])
        addresses = unit["addresses"].get(name, [])
        if not isinstance(addresses, list):
            raise ValueError(f"the addresses of {name!r} are no list")
        _options.endpoints([{"name": name, "addresses": addresses or ["192.0.2.1"]}], unit["services"])


def renew(unit, renewed="", keep_look=False):
    """Serve what certbot has renewed for the key that is served. Idempotent.

    :param unit: see :func:`read_configuration`. :param renewed: the lineage that certbot names; empty: whichever it is.
    :param keep_look: note the look in the ledger even if nothing is to be deployed.
    :returns: a sentence for the journal, and whether what is served is now the newest certificate of its key (tuple).
    :raises DaneError: refused or failed; the old chain is served.
    """
    if renewed and os.path.realpath(renewed) not in map(os.path.realpath, unit["lineages"]):
        return f"{renewed} is not a lineage of this mail host's chain: nothing to do", False
    with _gate.alone(os.path.join(unit["state_dir"], "renew.lock"), OTHER_SECONDS):
        try:
            return _renew(unit, renewed, keep_look)
        finally:
            # Another copy of the key, which would be that of an old one after a rekey. certbot keeps what is refused.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_candidate(unit))
            _gate.sweep({unit["state_dir"], os.path.dirname(unit["chain_file"])}, time.time())


def _candidate(unit):
    return os.path.join(unit["state_dir"], "renewed.pem")


def _renew(unit, renewed, keep_look):
    looks, problem = _looks(unit, hurry=not keep_look)
    if keep_look and looks:
        _gate.note(_ledger(unit), _options.timing(unit["timing"]), looks=looks)
    renewable, refusals = _renewable(unit, renewed)
    if renewed and not renewable and not refusals:
        return f"{renewed} has another key than the one that is served: nothing to do before a rekey", False
    said = []
    for spki, lineage in renewable.items():
        # One by one: what is refused for one key must not keep the other from being renewed.
        served, wrong = _renew_one(unit, lineage, spki, looks, problem)
        if wrong:
            refusals.append(wrong)
        else:
            said.append(served)
    if refusals:
        raise _one(refusals)
    if keep_look and problem:
        # Unseen, the ledger would grow old, and one day a renewal is refused.
        raise DnsError(f"Cannot look: {problem}; " + "; ".join(said))
    # Of one of several keys nothing is known of the others.
    return "; ".join(said) + _without_dns(problem), len(said) == len(_gate.keys_of_file(unit["chain_file"]))


def _renewable(unit, renewed):
    """The lineages of the keys that are served, by key, and what stands against the others (list of RefusedError).

    With ``renewed`` that one alone; that another key has no lineage is then told by the daily look.
    """
    served = [key["spki"] for key in _gate.keys_of_file(unit["chain_file"])] or [""]
    found = {spki: _current(unit, spki) for spki in served}
    lineages = {spki: path for spki, path in found.items() if isinstance(path, str)}
    mine = {spki: path for spki, path in lineages.items()
            if not renewed or os.path.realpath(renewed) == os.path.realpath(path)}
    return mine, [] if renewed and mine else [refusal for refusal in found.values() if not isinstance(refusal, str)]


def _one(errors):
    """One error for several; a single one as it is."""
    if len(errors) == 1:
        return errors[0]
    fields = {name: value for error in reversed(errors) for name, value in error.fields.items()}
    return RefusedError("; ".join(dict.fromkeys(error.message for error in errors)), **fields)


def _renew_one(unit, lineage, spki, looks, problem):
    """Serve the newest that a lineage has, or, where that is refused, the newest before it that is not: a sentence (str) and
    what somebody has to hear of (DaneError or None)."""
    try:
        return _serve(unit, _files(os.path.realpath(lineage)), spki, looks, problem)
    except (ChainError, RefusedError) as refusal:
        instead = _serve_older(unit, lineage, spki, looks, problem)
        seen = _without_dns(problem) if isinstance(refusal, RefusedError) else ""
        return "", type(refusal)(refusal.message + seen + _next_step(refusal, instead), **refusal.fields)


def _serve_older(unit, lineage, spki, looks, problem):
    """What is served instead of the newest (str), empty where that is what was served.

    certbot calls no hook twice: what was refused once may be fit by now, as one of the old issuer is while nothing is
    published for that of the newest.
    """
    since = _served_chain(unit["chain_file"], spki)[0].not_before
    for files in _older(lineage):
        with contextlib.suppress(ChainError, RefusedError):
            leaf = _chain.load_certificates(_text(files["cert"]), files["cert"])[:1]
            if leaf and _chain.spki_digest(leaf[0].spki) == spki and leaf[0].not_before > since:
                served, warning = _serve(unit, files, spki, looks, problem)
                return f"{warning.message if warning else served}, the one in {files['cert']}"
    return ""


def _serve(unit, files, spki, looks, problem):
    """Serve one version of a lineage, beside the chains of other algorithms as they are; as :func:`_renew_one`.

    :raises ChainError, RefusedError: it is not served.
    """
    candidate = _candidate(unit)
    root = _served_root(unit["chain_file"], spki)
    _gate.write_private(candidate, _assemble(files, unit, root, spki))
    result = _gate.deploy(_gate.Deployment(
        candidate=candidate, dest=unit["chain_file"], looks=looks, endpoints=_endpoints(unit),
        daemon=_gate.DAEMONS[unit["service"]], timing=_options.timing(unit["timing"]), expected_spki="",
        handshake_timeout=unit["handshake_timeout"], ledger_path=_ledger(unit),
        offline=not looks, pkix=unit.get("pkix", "off"), trust_store=unit.get("trust_store", ""),
        anchor="root" if root else "issuer"),
        look=_gate.look_with(parse_waivers(unit.get("waive"))))
    what = "serves the renewed certificate" if result["changed"] else "already serves the certificate"
    said = f"{unit['service']} {what} of key {spki[:16]}"
    # Served all the same, but somebody has to hear of it.
    wrong = [text for text in (result.get("stale"), result["pkix"]) if text]
    if not wrong:
        return said, None
    told = f"{said}{_without_dns(problem)}, but {'; and '.join(wrong)}"
    return said, DaneError(told, reason="stale") if result.get("stale") else ChainError(told)


def _current(unit, served):
    """The lineage that has this key, which is served, or why there is none (a RefusedError). What becomes of the others is
    no business of a renewal."""
    found = []
    for path in unit["lineages"]:
        if not os.path.exists(os.path.join(path, "privkey.pem")):
            continue
        try:
            spki = _key_of(path)
        except ChainError as exc:
            found.append(exc.message)
            continue
        if spki == served:
            return path
        found.append(f"{path} has key {spki[:16]}")
    if not served:
        return RefusedError(f"Cannot renew: there is no {unit['chain_file']}; run enable.yml")
    return RefusedError(
        f"Cannot renew: no lineage has key {served[:16]}, which {unit['chain_file']} holds: "
        f"{', '.join(found) or 'there is none'}. The old chain stays in service. If the key was changed by hand, let "
        "rekey.yml bring in a new one", reason="key")


def _without_dns(problem):
    return f" (by the ledger alone: {problem})" if problem else ""


def _next_step(refusal, instead):
    # Another issuer, or a record over the whole certificate: nothing that waiting alone mends.
    reasons = (refusal.fields.get("answer") or {}).get("reasons", ())
    if any(reason["code"] == "version-unmatched" for reason in reasons):
        served = f"Until then {instead}" if instead else "The old chain stays in service"
        return f". {served}; let renew.yml publish what this one needs, and then serve it"
    return f". Until that is mended {instead}" if instead else ""


def _ledger(unit):
    return os.path.join(unit["state_dir"], "ledger.json")


def _looks(unit, hurry):
    """A fresh look at every owner name, and the addresses with it; without one, why not.

    :param hurry: take no longer than certbot's hook should.
    """
    owners = [owner_name(name, service["port"]) for name in unit["names"] for service in unit["services"]]
    try:
        _dns.require_library()
        waivers = parse_waivers(unit.get("waive"))
        with _gate.open_ledger(_ledger(unit), write=False) as door:
            leaving = {owner: door.ledger.name(owner).leaving() for owner in owners}
        settings = _dns.Settings.from_options(unit["dns"])
        if hurry:
            settings = settings.within(HOOK_DNS_SECONDS, HOOK_QUERY_SECONDS)
        looks = [
            waive_servers(look.to_dict(), waivers, time.time()) for look in _dns.look(owners, settings, leaving).values()]
        for look in looks:
            if look["security"] != "secure":
                why = ": " + look["findings"][0] if look["findings"] else ""
                return [], f"{look['owner']} is {look['security']} as seen from here{why}"
            # A resolver that answers is not yet a sight of the servers: this look would keep an old memory young.
            if not any(server["outcome"] == "version" for server in look["servers"]):
                return [], f"no authoritative server of {look['owner']} answers this host"
        # Where the operator says by which addresses this host is looked at (dane_endpoints), the DNS knows others.
        given = {name.rstrip(".").lower() for name in unit.get("endpoints", ())}
        for name, found in _dns.addresses_of(unit["names"], settings).items():
            if not isinstance(found, DnsError) and name not in given:
                unit["addresses"][name], unit.setdefault("ttls", {})[name] = list(found.addresses), found.ttl
        return looks, ""
    except DnsError as exc:
        return [], exc.message


def _endpoints(unit):
    names = [{"name": name, "addresses": unit["addresses"].get(name) or [], "ttl": unit.get("ttls", {}).get(name, 0)}
             for name in unit["names"]]
    return _options.endpoints(names, unit["services"])


def _text(path):
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except (OSError, UnicodeDecodeError) as exc:
        raise ChainError(f"Cannot read {path!r}: {exc}") from exc


def _key_of(lineage):
    path = os.path.join(lineage, "privkey.pem")
    return _chain.spki_digest(_chain.public_key_of(_text(path), path))


def _files(directory):
    """Key, leaf and issuers of a lineage: part to path (dict). Of a directory that no link leads to, or they may be of
    several versions."""
    return {part: os.path.join(directory, part + ".pem") for part in PARTS}


def _older(lineage):
    """The versions of a lineage before its newest, newest first: those that certbot keeps beside the files that its links
    lead to, numbered, and those that ``dane-csr`` keeps in directories that sort by age (list of dict as :func:`_files`)."""
    folder, newest = os.path.split(os.path.realpath(os.path.join(lineage, "cert.pem")))
    numbered = _NUMBERED.fullmatch(newest)
    if numbered:
        names = map(os.path.basename, glob.glob(os.path.join(glob.escape(folder), "cert*.pem")))
        numbers = sorted({int(found.group(1)) for found in map(_NUMBERED.fullmatch, names) if found}, reverse=True)
        return [{part: os.path.join(folder, f"{part}{number}.pem") for part in PARTS}
                for number in numbers if number < int(numbered.group(1))]
    versions = os.path.dirname(folder)
    if not os.path.islink(lineage) or os.path.basename(versions) != os.path.basename(lineage):
        return []
    return [_files(path) for path in sorted(glob.glob(os.path.join(glob.escape(versions), "*")), reverse=True) if path < folder]


def _served_chain(path, served):
    chains = _chain.load_chains(_text(path), path)
    return next(chain for chain in chains if _chain.spki_digest(chain[0].spki) == served)


def _served_root(path, served):
    # A root is served only because records are about it (dane_anchor): what is renewed has to bring one, too.
    return _chain.served_root(_served_chain(path, served), time.time())


def _assemble(files, unit, root, served):
    """The chain file with the chain of one of its keys as a lineage has it, verified, and the others as they are."""
    renewed, path = _of_lineage(files, unit, root), unit["chain_file"]
    if len(_gate.keys_of_file(path)) == 1:
        # Whatever state it is in: nothing of it is kept.
        return renewed.encode()
    return "".join(
        renewed if _chain.spki_digest(bundle.certificates[0].spki) == served
        else _chain.file_text(bundle.key, bundle.certificates)
        for bundle in _chain.load_bundles(_text(path), path)).encode()


def _of_lineage(paths, unit, root):
    """Key, leaf and issuers of a lineage in one text, verified; with the root where one is served."""
    key = _chain.load_pem(_text(paths["privkey"]), paths["privkey"]).key
    leaves = _chain.load_certificates(_text(paths["cert"]), paths["cert"])
    if key is None or not leaves:
        raise ChainError(f"Cannot use lineage {os.path.dirname(paths['cert'])!r}: found no private key or no certificate in it")
    _chain.check_key_belongs(key, leaves[0])
    heap = _chain.load_certificates(_text(paths["chain"]), paths["chain"])
    now = time.time()
    if root:
        with contextlib.suppress(ChainError):
            # The one that is served may do without any of the host's.
            heap += _pkix.roots([leaves[0], *heap], unit.get("trust_store", ""))
    valid_at = now + _chain.reserve(leaves[0], VALID_FOR)
    chain = _chain.order(leaves[0], heap + root, unit["names"], valid_at, want_root=bool(root), now=now)
    return _chain.file_text(key, chain)


# -------------------------------------------------------------------------------------------------------------- check


def check(unit, now):
    """Whether the chain file may be presented, by the ledger alone: a restored backup brings an old key back.

    :param now: the time (seconds since the epoch). :returns: a sentence.
    :raises ChainError: the file cannot be used. :raises RefusedError: its key is retired, or what may be published does
        not match it.
    """
    path, timing = unit["chain_file"], _options.timing(unit["timing"])
    bundles = _chain.load_bundles(_text(path), path)
    for bundle in bundles:
        _chain.check_key_matches(bundle)
    chains = tuple(Chain.from_dict(_chain.describe(bundle.certificates, unit["names"], now)) for bundle in bundles)
    with _gate.open_ledger(_ledger(unit), write=False) as door:
        ledger = door.ledger
    for chain in chains:
        if chain.spki in ledger.retired:
            raise RefusedError(
                f"Cannot present {path!r}: its key {chain.spki[:16]} was retired on this host, and its record may be gone. If "
                "a backup brought it back, put back the file of the served key, or run rekey.yml", reason="key")
    replaced = ledger.chains.presented()
    reasons = [
        # How old the ledger is does not matter to a daemon that has to start: what it knows does.
        reason for name in ledger.names for reason in may_deploy(chains, name, replaced, now, timing).reasons
        if reason["code"] == "version-unmatched"]
    if reasons:
        raise RefusedError(
            f"Cannot present {path!r}: " + "; ".join(reason["text"] for reason in reasons) + ". Run rekey.yml or enable.yml",
            reason="unmatched", reasons=reasons)
    keys = " and ".join(chain.spki[:16] for chain in chains)
    return f"{path} holds key {keys}, which suits every record that may be seen"


# ---------------------------------------------------------------------------------------------------------------- why


def why_of(unit, what, now):
    """What the ledger knows of a key or record: where it is seen, since when not, until when it matters.

    :param what: hexadecimal digits, 8 at least: the beginning of a record's data or of a key's digest.
    :returns: list of sentences.
    :raises DaneError: not that, or nothing is known of it.
    """
    digits = "".join(what.split()[-1:]).lower().removeprefix("sha256:")
    if len(digits) < 8 or set(digits) - set("0123456789abcdef"):
        raise DaneError(f"Cannot look up {what!r}: expected 8 or more hexadecimal digits of a record's data or of a key")
    timing = _options.timing(unit["timing"])
    with _gate.open_ledger(_ledger(unit), write=False) as door:
        ledger = door.ledger
    found = [line for name in ledger.names for line in _why_records(ledger, name, digits, now, timing)]
    found += _why_keys(ledger, digits, now, timing)
    if not found:
        raise DaneError(f"Cannot say anything about {what!r}: the ledger knows no record and no key that begins so")
    return found


def _why_records(ledger, name, digits, now, timing):
    ours = ledger.published_at(name.owner)
    seen = name.may_be_seen(now, timing)
    for record in sorted({record for one in seen for record in one.version.records}):
        if not record.data.removeprefix("sha256:").startswith(digits):
            continue
        holds = "ours" if record in ours else "not ours, so never withdrawn by us"
        yield f"{name.owner} {str(record)[:40]} is {name.state(record, now, timing)}, {holds}"
        for one in seen:
            has = "has it" if record in one.version.records else "does not have it"
            if one.servers:
                where = "is served by " + ", ".join(sorted(one.servers))
            elif one.gone_since is None:
                where = "may be published at any moment, or is not known to be gone"
            else:
                where = f"may be in caches for {one.gone_since + timing.lifetime(one.version.ttl) - now:.0f} s more"
            yield f"  a version with TTL {one.version.ttl} that {has} {where}"


def _why_keys(ledger, digits, now, timing):
    for one in ledger.chains.may_be_seen(now, timing):
        if one.chain.spki.startswith(digits):
            if one.endpoints:
                where = f"is presented at {len(one.endpoints)} endpoints"
            elif one.gone_since is None:
                where = "is in the chain file or about to be presented"
            else:
                where = f"may be met for {one.gone_since + timing.linger - now:.0f} s more"
            yield f"key {one.chain.spki[:16]} ({one.chain.algorithm}) {where}"
    for spki in sorted(ledger.retired):
        if spki.startswith(digits):
            yield f"key {spki[:16]} is retired: it was served once and is never served or published again"
    operation = ledger.operation
    if operation and operation.target_spki.startswith(digits):
        yield f"key {operation.target_spki[:16]} is what {operation.kind} {operation.id} is about, which is open"


# ------------------------------------------------------------------------------------------------------------- status


def json_status(unit):
    """The ledger (JSON text), and why it is a new one (``lost``, null for one that is not); ``key_since`` and ``key_due``:
    since when the served key is known, and from when ``-e dane_rekey=due`` changes it (epoch seconds, or null)."""
    since, due = _age_of_key(unit)
    with _gate.open_ledger(_ledger(unit), write=False) as door:
        told = {**door.ledger.to_dict(), "lost": door.lost, "key_since": since, "key_due": due}
    return json.dumps(told, indent=1, sort_keys=True)


def _age_of_key(unit):
    since = _age.known_since(unit["state_dir"], unit["chain_file"], unit["lineages"], write=False)
    return since, since + unit["key_lifetime"] if since is not None and "key_lifetime" in unit else None


def text_status(unit, now):
    """The ledger for people: records with their states, keys, and what is open (str)."""
    timing = _options.timing(unit["timing"])
    with _gate.open_ledger(_ledger(unit), write=False) as door:
        ledger, lost = door.ledger, door.lost
    lines = [f"ledger {_ledger(unit)}" + (f": {lost}" if lost else "")]
    if ledger.operation:
        lines.append(f"open: {ledger.operation.kind} {ledger.operation.id}, "
                     f"key {ledger.operation.target_spki[:16] or 'not made yet'}")
    for name in ledger.names:
        looked = f"looked at {now - name.looked_at:.0f} s ago" if name.looked_at else "never looked at"
        lines.append(f"{name.owner} {name.security or 'unknown'}, {looked}")
        records = sorted({record for seen in name.may_be_seen(now, timing) for record in seen.version.records})
        lines += [f"  {str(record)[:40]} {name.state(record, now, timing)}" for record in records]
    for seen in ledger.chains.may_be_seen(now, timing):
        where = f"presented at {len(seen.endpoints)} endpoints" if seen.endpoints else "may still be met"
        lines.append(f"key {seen.chain.spki[:16]} ({seen.chain.algorithm}) {where}")
    # Each of them has other digests, too.
    lines += [f"issuer {str(record)[:40]} last in a chain of this host {(now - at) / 86400:.0f} days ago"
              for record, at in ledger.issuers.seen if record.combination == (2, 1, 1)]
    since, due = _age_of_key(unit)
    if since is not None:
        lines.append(f"the key in {unit['chain_file']} is known since {_day(since)}" + (
            f" and due for a rekey from {_day(due)}" if due is not None else ""))
    return "\n".join(lines)


def _day(when):
    return time.strftime("%Y-%m-%d", time.gmtime(when))
