# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one image of all lab hosts: Debian 12 with every daemon installed and switched off."""

from __future__ import annotations

import hashlib
import pathlib
import re
import shutil
import tempfile

from hosts import IMAGE_NAME
from machine import LAB, podman, run, say

PACKAGES = (
    "systemd systemd-sysv dbus procps iproute2 nftables rsyslog cron ca-certificates openssl "
    "python3 python3-cryptography python3-dnspython python3-apt openssh-server sudo "
    "postfix certbot python3-certbot python3-certbot-dns-rfc2136 dovecot-imapd "
    "bind9 bind9-utils bind9-dnsutils nsd knot knot-dnsutils unbound pdns-server pdns-backend-sqlite3 sqlite3 pebble"
).split()
# Documentation and translations are never read in the lab.
LEFT_OUT = ["/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*"]
SUITES = ("bookworm", "bookworm-updates", "bookworm-security")
FILES = LAB / "files" / "image"
SCRATCH = "mailops-dane-lab-"


def tag():
    """The image's name; its tag is the digest of everything that defines it."""
    digest = hashlib.sha256(repr((PACKAGES, LEFT_OUT)).encode())
    for path in sorted(FILES.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"{IMAGE_NAME}:{digest.hexdigest()[:16]}"


def exists():
    """Is the image of the present definition there?"""
    return tag() in podman("image", "list", "--format", "{{.Repository}}:{{.Tag}}").split()


def apt_sources():
    """This machine's own sources of Debian 12, so that a mirror configured here is used; else none."""
    found = []
    for path in [pathlib.Path("/etc/apt/sources.list"), *sorted(pathlib.Path("/etc/apt/sources.list.d").glob("*"))]:
        if not path.is_file():
            continue
        pairs = deb822_pairs(path.read_text()) if path.suffix == ".sources" else one_line_pairs(path.read_text())
        found += [f"deb {uri} {suite} main" for uri, suite in pairs if suite in SUITES]
    if not any(line.split()[2] == "bookworm" for line in found):
        return ""
    return "\n".join(dict.fromkeys(found)) + "\n"


def deb822_pairs(text):
    """(URI, suite) of each binary source in a .sources file."""
    for stanza in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
        if "deb" in fields.get("Types", "").split() and "main" in fields.get("Components", "").split():
            for uri in fields.get("URIs", "").split():
                yield from ((uri, suite) for suite in fields.get("Suites", "").split())


def one_line_pairs(text):
    """(URI, suite) of each binary source in a .list file."""
    for match in re.finditer(r"^deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+(?:.*\s)?main\b", text, re.MULTILINE):
        yield match.groups()


def build():
    """Make the image, and drop those of older definitions."""
    if exists():
        say(f"image {tag()} is there")
        return
    say(f"building image {tag()} (about a minute)")
    for left_over in pathlib.Path("/var/tmp").glob(SCRATCH + "*"):
        shutil.rmtree(left_over)
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir="/var/tmp") as directory:
        tar = pathlib.Path(directory) / "image.tar"
        sources = pathlib.Path(directory) / "sources.list"
        sources.write_text(apt_sources())
        run("env", f"TMPDIR={directory}", *mmdebstrap(tar, sources), timeout=900, apart=False)
        podman("import", "--quiet", tar, tag(), timeout=300)
    for old in images():
        if old != tag():
            podman("image", "rm", old, check=False)  # one still in use stays
    say("image built")


def mmdebstrap(tar, sources):
    """The command that makes the root file system."""
    return [
        shutil.which("mmdebstrap"),
        "--mode=root",
        "--variant=minbase",
        "--include=" + ",".join(PACKAGES),
        '--aptopt=Acquire::Check-Valid-Until "false"',
        *(f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT),
        '--customize-hook=mkdir -p "$1/usr/share/lab"',
        f"--customize-hook=copy-in {FILES / 'policy.conf'} /usr/share/lab",
        f"--customize-hook=copy-in {FILES / 'lab-init'} /usr/local/sbin",
        f"--customize-hook=copy-in {FILES / 'customize'} /usr/share/lab",
        '--customize-hook=chroot "$1" /usr/share/lab/customize',
        "bookworm",
        str(tar),
        # Without sources mmdebstrap takes Debian's own.
        *([str(sources)] if sources.read_text() else []),
    ]


def images():
    """Every image of the lab, of whatever definition."""
    names = podman("image", "list", "--format", "{{.Repository}}:{{.Tag}}").split()
    return [name for name in names if name.startswith(IMAGE_NAME + ":")]


def purge():
    """Remove all images of the lab."""
    for name in images():
        podman("image", "rm", "--force", name)
        say(f"removed {name}")
