# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names that lead to a host and are not among its ``dane_names``: records there that pin the key which a rekey replaces.

Nobody would change those records, and after the rekey they match nothing. Which names there are is told by the
certificate that is served, and by the operator (``dane_other_names``).

Pure, standard library only. Private to this collection. A *host* is the dict that ``_plan`` describes, with ``names``,
``services``, ``other_names`` and ``ignore_names``.
"""

from __future__ import annotations

from . import _waivers
from ._errors import DaneError, RecordError, WaiverError
from ._tlsa import DANE_EE, PKIX_EE, Record, owner_name

PARTS = ("name", "until", "reason")


def impossible_names(other_names, ignored):
    """One sentence for each of ``dane_other_names`` and ``dane_ignore_names`` that cannot be used (list of str)."""
    found = []
    for option, check in (
        ("dane_other_names", lambda: [owner_name(name, 25) for name in _listed(other_names)]),
        ("dane_ignore_names", lambda: _ignored(ignored)),
    ):
        try:
            check()
        except DaneError as exc:
            found.append(f"{option}: {exc.message}")
    return found


def owners_elsewhere(host, outcomes):
    """The owner names of the services at names that lead to a host beside its own (sorted list of str).

    :param outcomes: outcomes of its endpoints (``_probe.look``), for the names in the certificate that is served.
    """
    return sorted({owner for name in _names(host, outcomes) for owner in _owners(host, name)})


def pinned_elsewhere(host, outcomes, looks, looks_elsewhere, now):
    """One sentence for each record elsewhere that pins the key or the certificate which the host serves, and for each
    name of which nobody can say whether there is one (list of str).

    A name whose TLSA name is an alias of one of the host's own is none of these: it gets what that one gets. Neither is
    one in a zone that is not signed: no sender heeds a record there (RFC 7672 section 2.2).

    :param looks: looks at the host's own owner names. :param looks_elsewhere: looks at least at :func:`owners_elsewhere`.
    :param now: the time (epoch seconds), for what ``dane_ignore_names`` ends with.
    """
    if host.get("operation") and host["operation"]["target_spki"] in _file_spkis(host):
        # The rekey is past its deployment.
        return []
    ignored = {name: (until, reason) for name, until, reason in _ignored(host["ignore_names"])}
    ours = {*host["owners"], *(end for look in looks for _records, end in _versions(look))}
    found = []
    for name in _names(host, outcomes):
        until, reason = ignored.get(name, (now + 1, ""))
        if reason and now < until:
            continue
        problems = [text for look in looks_elsewhere if look["owner"] in _owners(host, name)
                    for text in _problems(look, ours, _pins(host, outcomes))]
        ended = f". Its entry in dane_ignore_names has run out: {reason}" if reason else ""
        found += [f"{text}. {_way_out(name)}{ended}" for text in problems]
    return found


def _problems(look, ours, pins):
    owner, versions = look["owner"], _versions(look)
    if look["security"] == "insecure":
        return
    if look["security"] != "secure" or not versions:
        why = "; ".join(look["findings"]) or "no server answers"
        yield f"nobody can say whether a record at {owner} pins the key that is served ({look['security']}: {why})"
    for text in sorted({text for records, end in versions if end not in ours for text in records}):
        record = Record.parse(text)
        if record.usage in (PKIX_EE, DANE_EE) and record._replace(usage=DANE_EE) in pins:
            yield f"{owner} has {text[:38]}, which matches what is served now, and will match nothing after a rekey"


def _way_out(name):
    return (f"Add {name} to dane_names, so that its records change with the key; or remove that record; or, if it does not "
            f"matter, name it in dane_ignore_names: [{{name: {name}, until: YYYY-MM-DD, reason: ...}}]")


def _versions(look):
    """The records (text) of each version that a server has, with the owner name at which they stand (list of tuples)."""
    versions = [server["version"] for server in look["servers"] if server.get("version")]
    return [(version["records"], ([*version.get("path", ())] or [look["owner"]])[-1]) for version in versions]


def _pins(host, outcomes):
    return {record for chain in _served(host, outcomes) for record in map(Record.parse, chain["matches"])
            if record.usage == DANE_EE}


def _names(host, outcomes):
    certified = {name for chain in _served(host, outcomes) for name in chain.get("names", ())}
    return sorted({_bare(name) for name in {*certified, *host["other_names"]}} - set(map(_bare, host["names"])))


def _served(host, outcomes):
    # Another key at an address of the name is another host's. A host that is being enabled has no chain file of ours yet.
    chains = [outcome["chain"] for outcome in outcomes if outcome["outcome"] == "chain"]
    return [chain for chain in chains if chain["spki"] in _file_spkis(host) or not host["file_spki"]]


def _file_spkis(host):
    return [key["spki"] for key in host.get("file_keys", ())] or [host["file_spki"]]


def _owners(host, name):
    try:
        return {owner_name(name, service["port"]) for service in host["services"]}
    except RecordError:
        # A wildcard, or what else a certificate may hold that is no name of a host.
        return set()


def _ignored(option):
    found = []
    for entry in _listed(option):
        given = entry if isinstance(entry, dict) else {}
        missing = [part for part in PARTS if not str(given.get(part) or "").strip()]
        if missing or set(given) - set(PARTS):
            raise WaiverError(f"Cannot use {entry!r:.200}: expected name, until (YYYY-MM-DD) and reason"
                              + (f"; {', '.join(missing)} is missing" if missing else ""))
        until = _waivers._end_of(given["until"], f"{entry!r:.200}")
        found.append((_bare(str(given["name"]).strip()), until, str(given["reason"]).strip()))
    return found


def _listed(option):
    if not isinstance(option, (list, tuple)):
        raise WaiverError(f"Cannot use {option!r:.80}: expected a list")
    return option


def _bare(name):
    return name.rstrip(".").lower()
