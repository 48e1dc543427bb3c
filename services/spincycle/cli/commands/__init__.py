"""The commands of spinc, one family a module; each module is imported when it is called."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command lives, and its line in the list of commands.

    Attributes:
        module: module under this package.
        args: what follows the command, for the list.
        summary: what it does, in a few words.
    """

    module: str
    args: str
    summary: str


COMMANDS = {
    "completion": Entry("completion", "<shell>", "Print a completion script for bash, zsh or fish"),
    "context": Entry("context", "<verb>", "Name addresses and credentials, and choose among them"),
    "explain": Entry("control", "<ID>", "Tell what a request and its jobs wait for"),
    "find": Entry("find", "[filters]", "Print (optionally) filtered request history"),
    "help": Entry("help", "<cmd|req>", "Print command or request help"),
    "info": Entry("show", "<ID>", "Print complete request information"),
    "log": Entry("log", "<ID>", "Print job log (tip: pipe output to less)"),
    "plan": Entry("plan", "<request>", "Print what a request would do, and do nothing"),
    "ps": Entry("ps", "[ID]", "Show running requests and jobs (request ID optional)"),
    "rerun": Entry("again", "<ID>", "Run what a failed or stopped request left undone"),
    "resume": Entry("control", "<ID>", "Let a suspended request go on"),
    "running": Entry("show", "<ID>", "Exit 0 if request is pending or running, else exit 1"),
    "skip": Entry("again", "<ID> <job>", "Run a failed request again, its failed job left out"),
    "start": Entry("start", "<request>", "Start new request"),
    "status": Entry("show", "<ID>", "Print request status and basic information"),
    "stop": Entry("control", "<ID>", "Stop request"),
    "suspend": Entry("control", "<ID>", "Halt a request so that it can be resumed"),
    "version": Entry("help", "", "Print Spin Cycle version"),
    "watch": Entry("watch", "<ID>", "Follow a request live until it has ended"),
}
"""All commands by name."""
