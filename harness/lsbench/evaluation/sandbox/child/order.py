"""What the harness tells the launcher to run, as one JSON document on its standard input."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Order:
    """One program, its test, and how to confine them."""

    mechanism: str
    """``bubblewrap``, ``namespaces``, ``landlock`` or ``limits``."""
    seal: str
    """A secret of this run that the launcher's answer must carry."""
    program: str
    test: str
    uid: int | None
    """The user and group id to become before the program runs; None leaves the id as it is."""
    executable: str
    """Python's binary."""
    import_path: list[str]
    """``sys.path`` of the program."""
    visible: list[str]
    """What the program may read."""
    environment: dict[str, str]
    """What the interpreter needs in its environment to start."""
    runner: str
    """Source text of the runner, the trusted code in the program's own process."""
    bubblewrap: str | None
    """Path of the ``bwrap`` binary."""
    wall_s: float
    cpu_s: int
    memory_bytes: int
    file_bytes: int
    processes: int
    output_bytes: int

    def to_json(self) -> str:
        """This order as the launcher reads it."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Order:
        """The order that ``to_json`` wrote."""
        return cls(**json.loads(text))

    @property
    def isolated(self) -> bool:
        """Whether the program gets a process table and file system of its own."""
        return self.mechanism in ("bubblewrap", "namespaces")
