"""What each reference names, at one moment: ``name``, ``name:version``, or none at all for the default."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from app.errors import ModelNotFound
from app.versions import Entry

_VERSION = re.compile(r"[1-9][0-9]{0,8}")


class References:
    """The versions that are served.

    Never changed, but replaced as a whole when something is, so that requests read it without a lock.
    """

    def __init__(self, served: Iterable[Entry] = (), default: str | None = None) -> None:
        """Note what is served.

        Args:
            served: By name and version.
            default: Model, or ``name:version``, that answers when none is named; None is the first by name.
        """
        self._default = default
        self._entries: dict[str, Entry] = {}  # by "name:version", and by name for the highest
        for entry in served:
            self._entries[entry.name] = self._entries[entry.found.reference] = entry

    def __contains__(self, reference: str) -> bool:
        return reference in self._entries

    @property
    def default(self) -> str:
        """Name of the model that answers when none is named."""
        if self._default:
            return self._default.partition(":")[0]
        return min(self._entries, default="")

    def answers_by_default(self) -> bool:
        """Tell whether there is a model that answers when none is named; it may have been withdrawn."""
        return (self._default or self.default) in self

    def __iter__(self) -> Iterator[Entry]:
        """Go through the highest version served of every model, by name."""
        return (entry for reference, entry in sorted(self._entries.items()) if ":" not in reference)

    def versions(self, name: str) -> list[int]:
        """List the versions of a model that are served, lowest first.

        Raises:
            ModelNotFound: There is no such model.
        """
        if name not in self._entries or ":" in name:
            raise ModelNotFound(f"there is no model {name[:80]!r}; GET /models lists those there are")
        return sorted(entry.number for reference, entry in self._entries.items() if reference.startswith(f"{name}:"))

    def find(self, name: str) -> Entry:
        """Look up the highest version of a model.

        Raises:
            ModelNotFound: There is no such model.
        """
        self.versions(name)
        return self._entries[name]

    def resolve(self, reference: str | None) -> Entry:
        """Look up ``name``, ``name:version``, or the default model for None.

        Raises:
            ModelNotFound: There is no such model or version.
        """
        if reference is None:
            reference = self._default or self.default
        entry = self._entries.get(reference)
        if entry is not None:
            return entry
        name, _, version = reference.partition(":")
        numbers = self.versions(name)
        if not _VERSION.fullmatch(version):
            raise ModelNotFound(f"model {name[:80]!r} has no version {version[:20]!r}; versions are positive integers")
        raise ModelNotFound(f"model {name!r} has no version {int(version)}; it has {numbers}")
