"""People who use one stack: a token for each, and a context of spinc that sends it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import yaml

from spincycle.access.caller_names import check_name, check_roles
from spincycle.access.token_file import add_token, generate_token
from spincycle.dev.errors import StackError
from spincycle.identity.private_files import write_new
from spincycle.runtime.config import ConfigError

DIRECTORY = "people"
"""Name of the directory of their files in the directory of a stack."""

_TOKEN_SUFFIX = ".token"  # noqa: S105 # the end of a file name


@dataclass(frozen=True, slots=True)
class Person:
    """A caller of the services, beside the account that runs them."""

    name: str
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PeopleFiles:
    """The files of the people of a stack, which only its account can read.

    Attributes:
        directory: directory of all of them.
    """

    directory: Path

    @property
    def digests(self) -> Path:
        """File by which the services recognise the tokens."""
        return self.directory / "tokens.yaml"

    @property
    def spinc_config(self) -> Path:
        """Config file of spinc with a context for each person."""
        return self.directory / "spinc.yaml"

    def token(self, person: Person) -> Path:
        """Return the file of the token of a person."""
        return self.directory / f"{quote(person.name, safe='')}{_TOKEN_SUFFIX}"

    def delete(self) -> None:
        """Delete the files, and their directory if it contains nothing else.

        Raises:
            OSError: a file cannot be deleted.
        """
        tokens = self.directory.glob(f"*{_TOKEN_SUFFIX}")
        for file in (self.digests, self.spinc_config, *tokens):
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.directory.rmdir()

    def auth(self) -> dict[str, object]:
        """Return the section `auth` of the services: people, and the account that runs them."""
        return {"token_file": str(self.digests), "local_user": True}


def parse_people(texts: Iterable[str]) -> tuple[Person, ...]:
    """Return the people of texts of the form NAME:ROLE,ROLE or NAME.

    Raises:
        ValueError: a text does not have the form, or a name occurs twice.
    """
    people: dict[str, Person] = {}
    for text in texts:
        name, _, roles = text.partition(":")
        check_name(name)
        if name in people:
            raise ValueError(f'"{name}" is given twice')
        people[name] = Person(name, check_roles(role for role in roles.split(",") if role))
    return tuple(people.values())


def write_people(
    home: Path, people: Sequence[Person], request_manager: str, job_log: str
) -> PeopleFiles | None:
    """Write files with new tokens into the directory of a stack; None without people.

    The tokens of an earlier start are gone. `request_manager` and `job_log` are the addresses that
    they are for.

    Raises:
        StackError: the files cannot be written.
    """
    files = PeopleFiles(home / DIRECTORY)
    try:
        files.delete()
        if not people:
            return None
        files.directory.mkdir(mode=0o700, exist_ok=True)
        contexts = {}
        for person in people:
            token = generate_token()
            add_token(files.digests, person.name, person.roles, token)
            write_new(files.token(person), f"{token}\n".encode(), 0o600)
            contexts[person.name] = {
                "addr": request_manager,
                "job-log": job_log,
                "token-file": str(files.token(person)),
            }
        config = yaml.safe_dump({"contexts": contexts}, sort_keys=False, allow_unicode=True)
        write_new(files.spinc_config, config.encode(), 0o600)
    except OSError as error:
        raise StackError(f"cannot write {error.filename or files.directory}: {error.strerror}")
    except ConfigError as error:
        raise StackError(str(error))
    return files
