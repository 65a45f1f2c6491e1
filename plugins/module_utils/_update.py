# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changing TLSA RRsets, and nothing else in a zone. Private to this collection.

A change is compare-and-swap: the RRset is read from the server that will change it, the question whether the new one
may be published is asked about exactly what was read, and the update carries prerequisites (RFC 2136 section 2.4)
that pin it. When somebody else was quicker the server says so, and everything is done again: read, ask, send.

A *publisher* is anything with

* ``name``: text for messages;
* ``read(zone, owner)``, which returns :class:`Served`;
* ``change(zone, owner, ttl, add, remove, expected, allow_empty)``, which makes the change or raises
  :class:`UpdateError`, of which :class:`Conflict` says that ``expected`` is no longer there.

:class:`Rfc2136` is the one for DNS servers that take dynamic updates with TSIG.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
from dataclasses import replace
from typing import FrozenSet, NamedTuple, Optional

from . import _dns, _fields
from ._errors import DaneError, RefusedError, UpdateError
from ._rollover import Chain, Timing, Version, may_publish
from ._tlsa import Record, check_publishable
from ._waivers import at_your_word

try:
    import dns.message
    import dns.name
    import dns.rcode
    import dns.rdata
    import dns.rdataclass
    import dns.rdatatype
    import dns.rrset
    import dns.tsig
    import dns.update
except ImportError:
    # _dns.require_library says it, with what to install.
    pass

DEFAULT_TTL = 3600
# How often somebody else may be quicker before we say so instead of trying again.
ATTEMPTS = 5
# In bytes: the most that RFC 6891 section 6.2.5 thinks of for an answer over UDP, and what a signature takes of it (an RSA
# key of 2048 bits, and names of common length). Over 1232 it takes TCP in practice: a server that has none is silent to
# our looks from then on, which stops a rollover before anything is deployed.
LARGEST_ANSWER, SIGNATURE = 4096, 350
# The digest of a key that nobody has.
_NOBODYS = Record(3, 1, 1, "00" * 32)
# The TSIG algorithms that RFC 8945 section 6 knows and that are not truncated or broken.
ALGORITHMS = ("hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512")


class Conflict(UpdateError):
    """The RRset is not what it was when it was read: read it again, ask again, try again."""


class Served(NamedTuple):
    """What a server gives at an owner name: full records, their TTL.

    ``wildcard``: the records come from a wildcard above; the owner name itself has none, and an RRset put there hides
    them. For an RRset that does not exist ``ttl`` is the negative TTL.
    """

    records: FrozenSet[Record]
    ttl: int
    wildcard: bool = False

    @property
    def own(self):
        """The records at the owner name itself: what an update pins, adds to and removes from."""
        return frozenset() if self.wildcard else self.records

    def lines(self, owner):
        """The RRset in zone-file lines, for a diff (list of str)."""
        return [f"{owner} {self.ttl} IN TLSA {record}" for record in sorted(self.records)]


class Change(NamedTuple):
    """What :func:`apply` found, and what it made of it (or would, in check mode)."""

    owner: str
    before: Served
    after: Served
    changed: bool


def plan(served, state, records, ttl=None):
    """The RRset that ``state`` wants instead of ``served``: (:class:`Served`, records to add, records to remove).

    Records are compared in their brief form, so that a ledger, which keeps digests only, can name a Full record that
    is to stay or to go.

    :param state: ``present``: these too; ``absent``: without exactly these; ``exact``: these and no others.
    :param records: iterable of :class:`Record`.
    :param ttl: seconds; None: as it is, for a new RRset 3600.
    """
    there = {record.brief(): record for record in served.own}
    wanted = {record.brief(): record for record in records}
    if state == "absent":
        add, remove = [], [there[key] for key in there if key in wanted]
    else:
        add = [wanted[key] for key in wanted if key not in there]
        remove = [there[key] for key in there if key not in wanted] if state == "exact" else []
    new = (served.own - frozenset(remove)) | frozenset(add)
    if not new:
        return Served(new, served.ttl), frozenset(add), frozenset(remove)
    if state == "absent" or ttl is None:
        ttl = served.ttl if served.own else DEFAULT_TTL
    elif served.own and ttl != served.ttl:
        # An RRset has one TTL (RFC 2181 section 5.2): to change it, every record is given it anew.
        add = list(new)
    return Served(new, ttl), frozenset(add), frozenset(remove)


def apply(publisher, zone, owner, state, records, ttl=None, ask=None, check_mode=False, allow_empty=False):
    """Bring the RRset at an owner name into a state, one compare-and-swap at a time.

    :param publisher: see the module's text.
    :param zone: the zone that holds ``owner`` (absolute name).
    :param state, records, ttl: see :func:`plan`.
    :param ask: called with (before, after), both :class:`Served`, before every message that would be sent; it raises
        RefusedError to prevent it.
    :param check_mode: read, plan and ask, but send nothing.
    :param allow_empty: the name is being retired: its last record may go.
    :returns: :class:`Change`.
    :raises UpdateError: it could not be changed; RefusedError: ``ask`` said no; RecordError: a record that must not
        be published.
    """
    first = None
    for _attempt in range(ATTEMPTS):
        served = publisher.read(zone, owner)
        first = first or served
        after, add, remove = plan(served, state, records, ttl)
        if not add and not remove:
            return Change(owner, first, after if after.records else served, first != served)
        for record in sorted(add - served.own):
            check_publishable(record)
        _check_not_empty(publisher, owner, served.own, after.records, allow_empty)
        _check_size(publisher, owner, served.records, after.records)
        if ask:
            ask(served, after)
        if check_mode:
            return Change(owner, served, after, True)
        try:
            publisher.change(zone, owner, after.ttl, add, remove, served.own, allow_empty)
        except Conflict:
            continue
        # Some servers say yes and do nothing, for instance at a name that has become an alias.
        if publisher.read(zone, owner).own == after.records:
            return Change(owner, first, after, True)
    raise UpdateError(
        f"Cannot change {owner!r} on {publisher.name}: {ATTEMPTS} times in a row the RRset was not, or did not become, "
        "what it should be: somebody else changes it all the time, or it comes from a wildcard. Find the other writer, "
        "then run again", owner=owner, server=publisher.name, rcode="NXRRSET")


class Wanted(NamedTuple):
    """What is wanted at one owner name: see :func:`plan`."""

    owner: str
    zone: str
    records: FrozenSet[Record]
    ttl: Optional[int] = None


def apply_all(publisher, wanted, state, door=None, check_mode=False):
    """Bring many RRsets into a state. All are read and asked about before the first is changed.

    :param wanted: iterable of :class:`Wanted`.
    :param door: :class:`Door`; None: nothing is asked.
    :returns: list of :class:`Change`.
    :raises DaneError: as :func:`apply`. Its fields ``done`` and ``not_done`` list the owner names that were dealt with
        and those that were not; several refusals come as one.
    """
    wanted, changes, refusals = list(wanted), [], []

    def one(want, dry):
        ask = None if door is None else (lambda before, after: door.ask(want.owner, before, after))
        return apply(
            publisher, want.zone, want.owner, state, want.records, want.ttl, ask, dry,
            allow_empty=door is not None and door.retiring(want.owner))

    try:
        for want in wanted:
            try:
                changes.append(one(want, dry=True))
            except RefusedError as exc:
                refusals.append(exc)
        if refusals:
            raise _together(refusals)
        if not check_mode:
            planned, changes = changes, []
            for want, plan_of in zip(wanted, planned):
                changes.append(one(want, dry=False) if plan_of.changed else plan_of)
    except DaneError as exc:
        done = [] if refusals or check_mode else [change.owner for change in changes if change.owner]
        exc.fields.update(done=done, not_done=[want.owner for want in wanted if want.owner not in done])
        raise
    return changes


def _together(refusals):
    if len(refusals) == 1:
        return refusals[0]
    return RefusedError("\n".join(refusal.message for refusal in refusals), answers={
        refusal.fields["owner"]: refusal.fields["answer"] for refusal in refusals})


class Door:
    """Asks ``may_publish`` about each change, with the view of the endpoints that the caller has.

    A view is the JSON form ``{"chains": [chain], "chains_known": bool, "versions": [version], "remembered": [version],
    "seen_at": epoch, "enabling": bool, "retiring": bool, "gone_at": {chain id: epoch}, "security": str}`` by owner name.
    All but ``chains`` and ``seen_at`` may be left out; without ``remembered`` nobody has to know what is replaced.
    """

    def __init__(self, views, clock, override=None):
        """:param views: dict of owner name to view; None: nobody has looked, and only what suits every chain is let
        through.
        :param clock: gives the time (seconds since the epoch).
        :param override: ``_waivers.Override`` or None.
        """
        self.views, self.override = views, override
        self.clock = clock
        self.max_age = Timing().view_max_age
        self.answers = {}

    def retiring(self, owner):
        """Whether the last record may go."""
        try:
            return _flag((self.views or {}).get(owner, {}), "retiring", False)
        except ValueError:
            # What is wrong with it is said by ask().
            return False

    def ask(self, owner, before, after):
        """Ask about one change.

        :raises RefusedError: the answer is no, or the view cannot carry one.
        """
        if self.views is None:
            self._ask_blindly(owner, before, after)
            return
        view = self.views.get(owner)
        if view is None:
            self._refuse(owner, "there is no view of its endpoints. Give one for every name that is changed", None)
        try:
            chains = [Chain.from_dict(chain) for chain in view["chains"]]
            places = {chain.id: _fields.texts(told.get("presented_at") or ()) for chain, told in zip(chains, view["chains"])}
            served = [Version.from_dict(version) for version in view.get("versions") or ()]
            remembered = view.get("remembered")
            remembered = None if remembered is None else [Version.from_dict(version) for version in remembered]
            age = self.clock() - _seconds(view["seen_at"])
            gone_at = {str(chain): _seconds(until) for chain, until in (view.get("gone_at") or {}).items()}
            known = _flag(view, "chains_known", True)
            empty_is_fine = _flag(view, "enabling", False) or _flag(view, "retiring", False)
        except (KeyError, TypeError, ValueError, AttributeError, DaneError) as exc:
            cause = f"{exc} is missing" if isinstance(exc, KeyError) else str(exc)
            self._refuse(owner, f"the view of its endpoints cannot be read: {cause}", None)
        # More of what suits every chain suits those of today, too, however old the view is.
        alternatives = may_publish(_version(owner, after), [], served + [_version(owner, before)], owner, chains_known=False)
        if abs(age) > self.max_age and not alternatives.yes:
            how = f"is {age:.0f} s old" if age > 0 else f"was taken {-age:.0f} s from now (do the clocks differ?)"
            self._refuse(owner, f"the view of its endpoints {how}, and what is more than {self.max_age} s away is no "
                         "evidence of the present. Look again; with many hosts raise forks, so that all look at once", None)
        answer = at_your_word(may_publish(
            _version(owner, after), chains, served + [_version(owner, before)], owner,
            empty_is_fine=empty_is_fine, chains_known=known, gone_at=gone_at,
            security=str(view.get("security", "secure")),
            replaced=None if remembered is None else _version(owner, before), remembered=remembered or ()),
            self.override, self.clock())
        self.answers[owner] = answer
        if not answer.yes:
            self._refuse(owner, "; ".join(self._told(reason, places) for reason in answer.reasons), answer)

    def _told(self, reason, places):
        # The rules know neither addresses nor what time it is.
        where = ", ".join(places.get(reason.get("chain"), ()))
        when = "" if reason["until"] is None else f" (for {max(0.0, reason['until'] - self.clock()):.0f} s more)"
        return reason["text"] + when + (f" (it is presented at {where})" if where else "")

    def _ask_blindly(self, owner, before, after):
        answer = may_publish(_version(owner, after), [], [_version(owner, before)], owner, chains_known=False)
        if not answer.yes:
            self._refuse(owner, "without a view of its endpoints only records in combinations that are there already can be "
                         "added. Give view; or unchecked=true, which makes the change at your word", answer)

    @staticmethod
    def _refuse(owner, cause, answer):
        raise RefusedError(f"Cannot publish at {owner!r}: {cause}", owner=owner, answer=answer and answer.to_dict())


def _seconds(value):
    # Ansible's templates make texts of numbers.
    return _fields.seconds(float(value) if isinstance(value, str) else value)


def _flag(view, name, default):
    # Nobody has checked what is in a view: the text "false" must not count as true.
    value = view.get(name, default)
    word = str(value).strip().lower()
    if isinstance(value, (bool, int, str)) and word in ("true", "yes", "on", "1"):
        return True
    if value is None or isinstance(value, (bool, int, str)) and word in ("false", "no", "off", "0", ""):
        return bool(default) if value is None else False
    raise ValueError(f"expected true or false for {name}, found {value!r:.60}")


def _version(owner, served):
    return Version(frozenset(record.brief() for record in served.records), served.ttl, (owner,))


def _check_not_empty(publisher, owner, before, after, allow_empty):
    if before and not after and not allow_empty:
        raise UpdateError(
            f"Cannot change {owner!r} on {publisher.name}: no record would be left, an outage to senders that demand "
            "DANE and a downgrade to others. Publish another record first, or retire the name", owner=owner,
            server=publisher.name)


def _check_size(publisher, owner, before, after):
    # RFC 7671 section 10.1: where UDP fragments and TCP are filtered, senders would get no answer at all, and defer.
    size = answer_size(owner, after)
    if size > LARGEST_ANSWER and size > answer_size(owner, before):
        raise UpdateError(
            f"Cannot change {owner!r} on {publisher.name}: the answer would have about {size} bytes, more than the "
            f"{LARGEST_ANSWER} that senders can be expected to fetch. Remove records that nobody needs, use SHA2-256 instead "
            "of Full (0), or let fewer hosts share the name", owner=owner, server=publisher.name)


def answer_size(owner, records):
    """About how many bytes a signed answer with these records has (int)."""
    message = dns.message.make_response(dns.message.make_query(owner, "TLSA", want_dnssec=True))
    if records:
        message.answer = [dns.rrset.from_rdata_list(dns.name.from_text(owner), 0, [_rdata(one) for one in sorted(records)])]
    return len(message.to_wire(max_size=65535)) + SIGNATURE


class Rfc2136:
    """A DNS server that takes dynamic updates (RFC 2136) over TCP, signed with TSIG (RFC 8945).

    Questions to it are signed with the same key: a server may show each key its own view, and a wrong key is noticed
    before anything is changed.
    """

    def __init__(self, server, port=53, key_name=None, key_algorithm="hmac-sha256", key_secret=None, timeout=10.0,
                 settings=None):
        """
        :param server: address, or a name, which is resolved through the resolver of ``settings``.
        :param key_secret: base64 (str). It appears in no message and no error.
        :param timeout: seconds that an update may take; questions have the timeout of ``settings``.
        :param settings: ``_dns.Settings``.
        :raises UpdateError: the key or the port cannot be used. :raises DnsError: the timeout cannot.
        """
        _dns.require_library()
        if not 1 <= port <= 65535:
            raise UpdateError(f"Cannot send updates to {server!r}: port {port!r:.60} is not in 1..65535")
        self.server = str(server).strip()
        self.port = port
        self.name = _dns.show_server(self.server, self.port)
        self.key = _key(key_name, key_algorithm, key_secret) if key_name else None
        self.settings = settings or _dns.Settings()
        self.timeout = _dns.check_seconds("timeout", timeout)
        self.addresses = None

    def read(self, zone, owner):
        """What the server gives at an owner name now (:class:`Served`).

        :raises UpdateError: it gives no answer, has no authority for the zone, or the name is an alias.
        """
        told = None
        for address in self._addresses():
            try:
                told = _dns.read_server(zone, owner, (address, self.port), self.settings, self.key)
            except _tsig_errors() as exc:
                raise self._tsig_error("read", owner, zone, exc) from None
            if told.outcome != _dns.SILENT:
                self.addresses = (address,)
                break
        if told.outcome != _dns.VERSION:
            raise self._error(
                "read", owner, zone, told.detail,
                f"Name the primary server of zone {zone}" if told.outcome == _dns.DOES_NOT_SERVE
                else "See that it runs and can be reached from here over UDP and TCP",
                told.detail if told.detail.isupper() else "")
        if told.alias:
            raise self._error(
                "use", owner, zone, f"it is an alias of {told.alias!r}, so it can hold no records of its own",
                f"Publish at {told.alias!r} if that RRset is yours, or remove the alias")
        return Served(told.records, told.ttl, told.wildcard)

    def change(self, zone, owner, ttl, add=(), remove=(), expected=frozenset(), allow_empty=False):
        """Send one update that adds and removes exactly these records, if ``expected`` is what is there.

        :raises Conflict: it is not.
        :raises UpdateError: anything else.
        """
        _check_not_empty(self, owner, expected, (frozenset(expected) - frozenset(remove)) | frozenset(add), allow_empty)
        message = dns.update.UpdateMessage(zone, keyring=self.key)
        name = dns.name.from_text(owner)
        if expected:
            message.present(name, *map(_rdata, sorted(expected)))
        else:
            message.absent(name, dns.rdatatype.TLSA)
        for record in sorted(add):
            message.add(name, ttl, _rdata(record))
        for record in sorted(remove):
            message.delete(name, _rdata(record))
        rcode = dns.rcode.to_text(self._send(message, owner, zone).rcode())
        if rcode in ("NXRRSET", "YXRRSET", "YXDOMAIN", "NXDOMAIN"):
            raise Conflict(
                f"Cannot change {owner!r} on {self.name}: {rcode}: somebody else has changed it since it was read. "
                "Read it again", owner=owner, zone=zone, server=self.name, rcode=rcode)
        self._check(rcode, owner, zone)

    def rehearse(self, zone, owner):
        """Find out whether the server takes updates of this name, by one that changes nothing: it removes a record that
        nobody publishes (RFC 2136 section 3.4.2.4 ignores that, after asking whether the sender may).

        :raises UpdateError: it does not.
        """
        message = dns.update.UpdateMessage(zone, keyring=self.key)
        message.delete(dns.name.from_text(owner), _rdata(_NOBODYS))
        self._check(dns.rcode.to_text(self._send(message, owner, zone).rcode()), owner, zone)

    def _check(self, rcode, owner, zone):
        if rcode == "NOERROR":
            return
        cause, step = _MEANINGS.get(rcode, ("an answer that does not belong to an update", "See the server's log"))
        values = {"zone": zone, "key": f"key {self.key.name}" if self.key else "a message without a key"}
        raise self._error("change", owner, zone, f"{rcode}: {cause.format(**values)}", step.format(**values), rcode)

    def _send(self, message, owner, zone):
        problem = ""
        for address in self._addresses():
            try:
                return _dns.exchange(message, (address, self.port), replace(self.settings, timeout=self.timeout))
            except _tsig_errors() as exc:
                raise self._tsig_error("change", owner, zone, exc) from None
            except (asyncio.TimeoutError, TimeoutError):
                raise self._error(
                    "change", owner, zone, f"no answer over TCP within {self.timeout:g} s",
                    "Whether the change was made is not known: run again, every run reads first") from None
            except (OSError, ValueError, dns.exception.DNSException) as exc:
                problem = _dns.reason(exc)
        raise self._error("change", owner, zone, f"{problem} (TCP)", "See that it runs and takes updates over TCP")

    def _addresses(self):
        if self.addresses is None:
            try:
                self.addresses = (str(ipaddress.ip_address(self.server)),)
            except ValueError:
                self.addresses = _dns.addresses(self.server, self.settings).addresses
        return self.addresses

    def _tsig_error(self, verb, owner, zone, exc):
        name, cause, step = next(
            (entry[1:] for entry in _tsig_meanings() if isinstance(exc, entry[0])),
            ("TSIG", f"the signature of the answer cannot be checked ({type(exc).__name__})", "See the server's log"))
        values = {"key": self.key.name.to_text() if self.key else "", "algorithm": (
            self.key.algorithm.to_text(omit_final_dot=True) if self.key else "")}
        return self._error(verb, owner, zone, f"{name}: {cause.format(**values)}", step.format(**values), name)

    def _error(self, verb, owner, zone, cause, step, rcode=""):
        return UpdateError(f"Cannot {verb} {owner!r} on {self.name}: {cause}. {step}", owner=owner, zone=zone,
                           server=self.name, rcode=rcode)


# RFC 2136 section 2.2 and 3: what the answers mean here, and what to do.
_MEANINGS = {
    "REFUSED": ("the server does not let {key} change TLSA records of this name",
                "Allow it there (BIND: update-policy {{ grant KEY zonesub TLSA; }};), or use a key that may"),
    "NOTAUTH": ("the server is not the primary of zone {zone}, or takes no unsigned updates",
                "Name the primary server, and a key"),
    "NOTZONE": ("the name is not in zone {zone}", "Name the zone that holds it"),
    "NOTIMP": ("the server does not do dynamic updates", "Use another publisher, or switch updates on there"),
    "SERVFAIL": ("the server failed inside (journal, disk, signing keys)", "Its log says why"),
    "FORMERR": ("the server did not understand the message", "Its log says why; does it do RFC 2136?"),
}


def _tsig_meanings():
    clocks = "Set both clocks right (NTP)"
    return (
        (dns.tsig.PeerBadKey, "BADKEY", "the server does not know key {key} with {algorithm}",
         "Compare name and algorithm of the key with those configured there"),
        (dns.tsig.PeerBadSignature, "BADSIG", "the server's secret for key {key} is another",
         "Compare the secret with the one configured there"),
        (dns.tsig.PeerBadTime, "BADTIME", "the clocks here and there differ by more than 300 s", clocks),
        (dns.tsig.BadTime, "BADTIME", "the clocks here and there differ by more than 300 s", clocks),
        (dns.tsig.PeerBadTruncation, "BADTRUNC", "the server wants a longer signature for key {key}",
         "Use an algorithm that is not truncated, such as hmac-sha256"),
        (dns.tsig.BadSignature, "BADSIG", "the answer is not signed with key {key}: it may be forged",
         "See who answers at this address"),
    )


def _tsig_errors():
    return (dns.tsig.PeerError, dns.tsig.BadTime, dns.tsig.BadSignature, dns.tsig.BadKey, dns.tsig.BadAlgorithm,
            dns.message.UnknownTSIGKey)


def _key(name, algorithm, secret):
    algorithm = str(algorithm).lower().rstrip(".")
    if algorithm not in ALGORITHMS:
        raise UpdateError(f"Cannot use TSIG key {name!r}: algorithm {algorithm!r} is none of {', '.join(ALGORITHMS)}")
    try:
        raw = base64.b64decode("".join(str(secret or "").split()), validate=True)
    except ValueError:
        raw = b""
    if not raw:
        # The text of the original error could show the secret.
        raise UpdateError(f"Cannot use TSIG key {name!r}: its secret is missing or not base64") from None
    try:
        return dns.tsig.Key(dns.name.from_text(str(name)), raw, algorithm + ".")
    except dns.exception.DNSException as exc:
        raise UpdateError(f"Cannot use TSIG key {name!r}: not a domain name: {exc}") from None


def _rdata(record):
    # Generic rdata (RFC 3597): records whose length contradicts their type, which newer dnspython refuses, must still
    # be pinned and removed.
    data = bytes((record.usage, record.selector, record.mtype)) + bytes.fromhex(record.data)
    return dns.rdata.GenericRdata(dns.rdataclass.IN, dns.rdatatype.TLSA, data)
