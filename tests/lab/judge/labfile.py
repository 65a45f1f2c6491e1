# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the judge needs to know of the lab, from its lab.json; and what the senders' caches answer, from the hosts."""

from __future__ import annotations

import json
import pathlib
import subprocess

from . import senders, sightings, verdict

CONTROL = ["unbound-control", "-s", "/run/unbound.ctl"]


class Lab:
    """A lab.json, read.

    :param path: of lab.json.
    :param logs: directory with ``<sender>/mail.log``, where it is not the one that lab.json names.
    """

    def __init__(self, path, logs=None):
        about = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        self.hosts = about["hosts"]
        self.names = {short: host["name"] for short, host in about["mail_hosts"].items()}
        self.domains = {host["domain"]: short for short, host in about["mail_hosts"].items()}
        self.nameservers = about["nameservers"]
        self.logs = {
            short: pathlib.Path(logs) / short / "mail.log" if logs else pathlib.Path(sender["log"])
            for short, sender in about["senders"].items()
        }

    def owner(self, host):
        """Where the records of a mail host are."""
        return f"_25._tcp.{self.names[host]}."

    def plan(self):
        """What the witness has to watch: every server and every mail host over IPv4 and IPv6."""
        both = ("ipv4", "ipv6")
        return {
            "owners": {self.owner(host): host for host in self.names},
            "names": self.names,
            "sources": [
                [self.owner(host), server, self.hosts[server][family]]
                for host in self.names for server in self.nameservers for family in both
            ],
            "endpoints": [[host, self.hosts[host][family]] for host in self.names for family in both],
        }

    def cache_log(self, sender):
        """Where the answers of a sender's Unbound are logged, beside its mail log."""
        return self.logs[sender].with_name("unbound.log")

    def evidence(self, witness, start=None, end=None):
        """Everything to be judged, from the witness's log and the senders' (verdict.Evidence).

        Without ``start`` and ``end`` the window is what the witness watched.
        """
        seen = sightings.read(witness)
        times = [t for _target, looks in seen.targets() for look in looks for t in (look.before, look.after)]
        start = min(times, default=0.0) if start is None else start
        end = max(times, default=0.0) if end is None else end
        fetches = []
        for sender in self.logs:
            if self.cache_log(sender).exists():
                fetches += senders.fetches(_lines(self.cache_log(sender)), sender, end)
        return verdict.Evidence(seen, self.mail_logs(end), start, end, self.names, fetches)

    def mail_logs(self, near):
        """What every sender logged so far: {sender: PostfixLog}. ``near``: an epoch for stamps without a year."""
        logs = {}
        for sender, path in self.logs.items():
            logs[sender] = senders.PostfixLog(sender, self.domains, near)
            if path.exists():
                logs[sender].feed(_lines(path))
        return logs

    def delivering(self, host, since, times=3):
        """Were the last few deliveries of every sender to this host, since an epoch, verified?"""
        logs = self.mail_logs(since).values()
        last = [[d for d in log.deliveries if d.host == host and d.at > since][-times:] for log in logs]
        return all(len(few) == times and not any(d.failed for d in few) for few in last)

    # --- the senders' caches ---

    def log_answers(self):
        """Let every sender's Unbound log its answers from now on; return what went wrong (text) or ""."""
        return self._all(lambda sender: self._execute(sender, *CONTROL, "set_option", "log-replies:", "yes"))

    def collect_answers(self, since):
        """Fetch what the Unbounds logged since an epoch, to beside the mail logs; return what went wrong or ""."""

        def collect(sender):
            said = self._execute(sender, "journalctl", "-u", "unbound", "-o", "short-iso-precise", "--utc",
                                 f"--since=@{since:.0f}", "--no-pager")
            self.cache_log(sender).write_text("\n".join(line for line in said.splitlines() if " TLSA IN " in line)
                                              + "\n", encoding="utf-8")

        return self._all(collect)

    def _all(self, act):
        wrong = []
        for sender in self.logs:
            try:
                act(sender)
            except (OSError, subprocess.SubprocessError) as error:
                wrong.append(f"{sender}: {error}")
        return "; ".join(wrong)

    def _execute(self, host, *command):
        return subprocess.run(
            ["podman", "--runtime", "runc", "exec", self.hosts[host]["container"], *command],
            check=True, timeout=20, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        ).stdout


def _lines(path):
    with open(path, encoding="utf-8", errors="replace") as log:
        yield from log
