"""The commands of spinc; each module is imported when one of its commands is called."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the list of commands.

    Attributes:
        module: module of the command in this package.
        args: its arguments.
        summary: its purpose; the original's commands are worded as it words them.
    """

    module: str
    args: str
    summary: str


COMMANDS = {
    "audit": Entry("audit", "[ID]", "Print who did what (needs the operation admin)"),
    "can": Entry("access", "<op> [req]", "Explain whether you may do something; exit 0 if so"),
    "completion": Entry("completion", "<shell>", "Print a completion script for bash, zsh or fish"),
    "context": Entry("context", "<verb>", "Manage named addresses and credentials"),
    "explain": Entry("control", "<ID> [job]", "Show what a request and its jobs wait for"),
    "find": Entry("find", "[filters]", "Print (optionally) filtered request history"),
    "help": Entry("help", "<cmd|req>", "Print command or request help"),
    "info": Entry("show", "<ID>", "Print complete request information"),
    "log": Entry("log", "<ID> [job]", "Print job log (tip: pipe output to less)"),
    "login": Entry("login", "", "Log in at an OpenID Connect issuer"),
    "logout": Entry("login", "", "Delete the token of a login"),
    "plan": Entry("plan", "<request>", "Print what a request would run, without starting it"),
    "ps": Entry("ps", "[ID]", "Show running requests and jobs (request ID optional)"),
    "rerun": Entry("rerun", "<ID>", "Run the incomplete jobs of a failed or stopped request"),
    "resume": Entry("control", "<ID>", "Resume a suspended request"),
    "running": Entry("show", "<ID>", "Exit 0 if request is pending or running, else exit 1"),
    "skip": Entry("rerun", "<ID> <job>", "Skip a failed job and run the rest of the request"),
    "start": Entry("start", "<request>", "Start new request"),
    "status": Entry("show", "<ID>", "Print request status and basic information"),
    "stop": Entry("control", "<ID>", "Stop request"),
    "suspend": Entry("control", "<ID>", "Suspend a request so that it can be resumed"),
    "version": Entry("help", "", "Print Spin Cycle version"),
    "watch": Entry("watch", "<ID>", "Watch a request live until it ends"),
    "whoami": Entry("access", "", "Print your name and roles as the services see them"),
}
"""All commands by name."""
