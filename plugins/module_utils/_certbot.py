# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What certbot is asked for, by its version, by how it is to show control of the names, and by whose request. Pure.

Private to this collection. Read in the sources of certbot 1.9 to 5.0: docs/certbot.md has the table.
"""

from __future__ import annotations

import ipaddress
import re

from ._chain import covers
from ._errors import DaneError

# --key-type came with 1.10; before it there are RSA keys only, and none of them on request.
OLDEST = (1, 10)
# --new-key replaces the key of a lineage in one run that also keeps the setting to reuse it.
NEW_KEY = (1, 26)
ALGORITHMS = ("HMAC-MD5", "HMAC-SHA1", "HMAC-SHA224", "HMAC-SHA256", "HMAC-SHA384", "HMAC-SHA512")


class CertbotError(DaneError):
    """certbot cannot do what it is to be asked for."""


def version(said):
    """The version in what ``certbot --version`` says (tuple of int).

    :raises CertbotError: there is none in it, or it is too old.
    """
    found = re.search(r"certbot (\d+)\.(\d+)", said)
    if not found:
        raise CertbotError(f"Cannot use certbot: asked for its version it says {said.strip()[:200]!r}; install certbot "
                           f"{_text(OLDEST)} or newer, or let dane_manage_packages do so")
    number = int(found.group(1)), int(found.group(2))
    if number < OLDEST:
        raise CertbotError(f"Cannot use certbot {_text(number)}: {_text(OLDEST)} or newer is wanted, the first that makes "
                           "keys of a type that is asked for (--key-type). Debian 11 has 1.12, Ubuntu 22.04 1.21")
    return number


def damages(names, there, directory):
    """One sentence for each lineage of which only a part is there (list of str).

    Files without a renewal configuration are whole: somebody else may keep them fresh.

    :param names: of the lineages. :param there: the files that exist, symbolic links followed (paths).
    :param directory: certbot's.
    """
    found = []
    for name in names:
        live = [f"{directory}/live/{name}/{part}.pem" for part in ("privkey", "cert", "chain", "fullchain")]
        missing = [path for path in live if path not in there]
        if missing and {*live, f"{directory}/renewal/{name}.conf"} & set(there):
            found.append(
                f"certbot's lineage {name} is damaged: {', '.join(missing)} is missing or a link that leads nowhere. Nothing "
                "that is served has changed. 'certbot update_symlinks' puts the links back, if the files in "
                f"{directory}/archive/{name} are there; else 'certbot delete --cert-name {name}', and run the same playbook "
                "again, which obtains another")
    return found


def _text(number):
    return ".".join(map(str, number))


def key_arguments(said, replace):
    """The arguments that say which key a certificate is for.

    :param said: what ``certbot --version`` says. :param replace: whether the lineage exists and is to get another key.
    :returns: list of str. Without ``--reuse-key`` among them, renewals no longer keep the key until the setting is
        put back: a certbot without ``--new-key`` makes a new key only then.
    """
    if not replace:
        return ["--reuse-key"]
    try:
        old = version(said) < NEW_KEY
    except CertbotError:
        # In check mode there may be no certbot yet; else it was refused before.
        old = False
    return ["--force-renewal"] if old else ["--reuse-key", "--new-key", "--force-renewal"]


def objections(said, authenticator, configured):
    """Why no certificate can be obtained (list of str); empty when one can.

    :param said: what ``certbot --version`` says. :param authenticator: the option ``dane_certbot_authenticator``.
    :param configured: the lines ``authenticator = NAME`` of the renewal configurations that are there.
    """
    found = []
    try:
        version(said)
    except CertbotError as exc:
        found.append(exc.message)
    names = sorted({line.partition("=")[2].strip() for line in configured} - {"standalone", ""})
    if authenticator == "auto" and names:
        found.append(_other_way(names[0]))
    return found


def _other_way(name):
    known = {"webroot": "webroot, and dane_certbot_webroot: its directory",
             "dns-rfc2136": "dns-rfc2136, and dane_certbot_rfc2136: server, name and secret"}
    how = known.get(name, f"arguments, and dane_certbot_arguments: [--authenticator, {name}, ...] with what else that needs")
    return (f"Cannot obtain a certificate: the lineage that is there is renewed by {name}, and the next one would be obtained "
            f"by standalone, as nothing else is said. Set dane_certbot_authenticator: {how}")


# ------------------------------------------------------------------------------------------------------ authenticators


def authenticator_arguments(authenticator, webroot, credentials, propagation):
    """The arguments that say how control of the names is shown.

    :param authenticator: the option ``dane_certbot_authenticator``. :param webroot: a directory.
    :param credentials: the path of the file that :func:`rfc2136_credentials` is written to.
    :param propagation: how long certbot waits for secondaries, in seconds.
    :returns: list of str; empty for ``arguments``, where the operator gives them.
    """
    return {
        "auto": ["--standalone"],
        "standalone": ["--standalone"],
        "webroot": ["--webroot", "--webroot-path", webroot],
        "dns-rfc2136": ["--dns-rfc2136", "--dns-rfc2136-credentials", credentials,
                        "--dns-rfc2136-propagation-seconds", str(propagation)],
        "arguments": [],
    }[authenticator]


def renewal_settings(authenticator, names, webroot, credentials, propagation):
    """What has to stand in the renewal configuration of each lineage, so that certbot's timer renews in the same way.

    The parameters are those of :func:`authenticator_arguments`, and the base domains ``names``.

    :returns: list of ``{"name", "value", "only_there"}``: with ``only_there`` the line is changed and never added.
    """
    found = [("reuse_key", "True", False)]
    if authenticator in ("standalone", "webroot", "dns-rfc2136"):
        found.append(("authenticator", authenticator, False))
    if authenticator == "webroot":
        found.append(("webroot_path", webroot + ",", False))
        # certbot notes a directory for each name, too, and goes by that first.
        found += [(name, webroot, True) for name in names]
    if authenticator == "dns-rfc2136":
        found.append(("dns_rfc2136_credentials", credentials, False))
        found.append(("dns_rfc2136_propagation_seconds", str(propagation), False))
    return [{"name": name, "value": value, "only_there": only} for name, value, only in found]


def rfc2136_credentials(options):
    """The credentials file of certbot-dns-rfc2136 (str), for options that :func:`impossible_authenticator` lets through.

    The algorithm in capitals: written otherwise, the plugin takes HMAC-MD5 without a word.
    """
    settings = {
        "server": options["server"], "port": int(options.get("port") or 53), "name": options["name"],
        "secret": options["secret"], "algorithm": _algorithm(options),
    }
    return "".join(f"dns_rfc2136_{name} = {value}\n" for name, value in settings.items())


def _algorithm(options):
    return str(options.get("algorithm") or "hmac-sha256").upper()


def impossible_authenticator(authenticator, webroot="", rfc2136=None):
    """One sentence for everything that is missing or wrong in the options of an authenticator (list of str).

    No sentence has a secret in it.
    """
    if authenticator == "webroot":
        wrong = not str(webroot).startswith("/") or re.search(r"[,\s]", str(webroot))
        return [f"dane_certbot_webroot: Cannot use {webroot!r:.100}: expected the directory below which the web server of "
                "this host finds /.well-known/acme-challenge, such as /var/www/html"] if wrong else []
    if authenticator != "dns-rfc2136":
        return []
    given, found = rfc2136 or {}, []
    if not _is_address(given.get("server")):
        found.append(f"server is {given.get('server')!r:.60}, expected an IP address: certbot takes no name")
    if not re.fullmatch(r"[A-Za-z0-9._-]+", str(given.get("name") or "")):
        found.append(f"name is {given.get('name')!r:.60}, expected the name of a TSIG key")
    if not re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", str(given.get("secret") or "")):
        found.append("secret is missing or not Base64")
    if _algorithm(given) not in ALGORITHMS:
        found.append(f"algorithm is {given.get('algorithm')!r:.60}, expected one of {', '.join(ALGORITHMS).lower()}")
    for name, most in (("port", 65535), ("propagation", 86400)):
        if not re.fullmatch("[0-9]{1,5}", str(given.get(name, 60))) or not 1 <= int(given.get(name, 60)) <= most:
            found.append(f"{name} is {given.get(name)!r:.60}, expected 1 to {most}")
    return ["dane_certbot_rfc2136: " + "; ".join(found)] if found else []


def _is_address(text):
    try:
        return bool(ipaddress.ip_address(str(text)))
    except ValueError:
        return False


# ------------------------------------------------------------------------------------------ requests of somebody else's


def impossible_request(path, method, key_path):
    """One sentence for everything that is wrong with the option ``dane_csr_request``, whatever is in the file (list of str).

    :param path: the option. :param method: ``dane_certbot_method``. :param key_path: ``dane_csr_privatekey``.
    """
    if not path:
        return []
    found = []
    if method != "csr":
        found.append(f"found dane_certbot_method: {method}, expected csr: for its own lineages certbot makes the requests")
    if not str(path).startswith("/"):
        found.append("expected a file on the mail host by its whole path")
    if not key_path:
        found.append("found no key for it, expected the file with its private key in dane_csr_privatekey: a server has to hold "
                     "the key of what it presents, so a certificate without it could never be in the chain file")
    return [f"dane_csr_request: Cannot use {path!r:.100}: {problem}" for problem in found]


def request_objections(request, key, path, key_path, names):
    """Why a request that was made elsewhere cannot be handed to certbot for this host (list of str); empty when it can.

    :param request: what community.crypto's openssl_csr_info returned for it (dict), also where that failed.
    :param key: likewise its openssl_privatekey_info. :param path, key_path: the options they were read by.
    :param names: base domains that the certificate has to cover.
    """
    mine, wanted, found = _key_digest(request), _key_digest(key), []
    if not wanted:
        found.append(f"dane_csr_privatekey: Cannot use {key_path!r}: expected a private key in PEM form, not encrypted; found: "
                     f"{_said(key)}")
    if not mine:
        return [*found, f"dane_csr_request: Cannot use {path!r}: expected a certificate signing request in PEM form; found: "
                        f"{_said(request)}"]
    problems = []
    if not request["signature_valid"]:
        problems.append("expected that its own key has signed it, found a signature that does not verify: it was changed "
                        "afterwards, or damaged. Make it anew")
    if wanted and mine != wanted:
        problems.append(f"expected a request for the key in {key_path}, {wanted[:16]}, found one for key {mine[:16]}. Name the "
                        "file of its own key, or make it for that one")
    given = [name[4:] for name in request["subject_alt_name"] or [] if name.startswith("DNS:")]
    missing = [name for name in names if not any(covers(pattern, name) for pattern in given)]
    if missing:
        problems.append(f"expected subject alternative names that cover dane_names, found {', '.join(given) or 'none'}; "
                        f"{', '.join(missing)} is missing. Make it anew for all of them")
    return found + [f"dane_csr_request: Cannot use {path!r}: {problem}" for problem in problems]


def _key_digest(info):
    return (info.get("public_key_fingerprints") or {}).get("sha256", "").replace(":", "")


def _said(info):
    return " ".join(str(info.get("msg") or "none").split())[:300]
