"""What each reference names, at one moment: ``name``, ``name:version``, or none at all for the default."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from app.errors import ModelNotFound, NotReady
from app.registry.layout import VERSION
from app.registry.versions import Entry

_LOAD = "POST /v2/repository/models/NAME/load serves it again"


class References:
    """The versions that are served.

    Never changed, but replaced as a whole when something is, so that requests read it without a lock. A model's name
    alone is for its highest version; those that are lost just then are passed over as long as there is another.
    """

    def __init__(
        self,
        served: Iterable[Entry] = (),
        default: str | None = None,
        unloaded: Iterable[str] = (),
        refused: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Note what is served.

        Args:
            served: By name and version.
            default: Model, or ``name:version``, that answers when none is named; None is the first by name.
            unloaded: Models that were unloaded by request.
            refused: By ``name:version``, why a file is not served.
        """
        self._unloaded = frozenset(unloaded)
        self._refused = refused
        self._entries: dict[str, list[Entry]] = {}  # by "name:version", one, and by name all, lowest first
        for entry in served:
            self._entries[entry.reference] = [entry]
            self._entries.setdefault(entry.name, []).append(entry)
        self.default = default.partition(":")[0] if default else min(self._entries, default="")
        """Name of the model that answers when none is named."""
        self.reference = default or self.default
        """The reference such a request stands for: the default model, with its version if one is set."""
        self.answering = self.default if self.reference in self._entries else ""
        """Name of that model; empty when it is not served."""

    def get(self, reference: str) -> Entry | None:
        """Look up ``name`` or ``name:version``; None if it is not served."""
        entries = self._entries.get(reference)
        return None if entries is None else _highest(entries)

    def why_none_answers(self) -> str:
        """Say why a request that names no model cannot be answered, and what to do."""
        if all(entry.is_lost for entry in self):
            unloaded = f": {', '.join(sorted(self._unloaded))} unloaded; {_LOAD}" if self._unloaded else ""
            return f"no model is served{unloaded}"
        said = "was unloaded" if self.default in self._unloaded else "is not in the model repository, or was refused"
        return f"the default model {self.reference!r} {said}; name another: GET /models lists those there are"

    def __iter__(self) -> Iterator[Entry]:
        """Go through the highest version served of every model, by name."""
        return (_highest(entries) for reference, entries in sorted(self._entries.items()) if ":" not in reference)

    def versions(self, name: str) -> list[int]:
        """List the versions of a model that are served, lowest first; there is at least one.

        Raises:
            ModelNotFound: There is no such model.
        """
        if name in self._unloaded:
            raise ModelNotFound(f"model {name!r} was unloaded; {_LOAD}")
        if name not in self._entries or ":" in name:
            if whys := [why for reference, why in self._refused.items() if reference.startswith(f"{name}:")]:
                raise ModelNotFound(f"no version of model {name!r} can be served; the highest was refused: {whys[-1]}")
            meant = name.replace("/", ":")  # as it lies in the repository
            other = f"write {meant!r}" if meant != name else f"leave out {meant[meant.find(':') :]!r}"
            advice = other if meant in self._entries else "GET /models lists those there are"
            raise ModelNotFound(f"there is no model {name[:80]!r}; {advice}")
        entries = self._entries[name]
        return [entry.number for entry in entries if not entry.is_lost] or [_highest(entries).number]

    def find(self, name: str) -> Entry:
        """Look up the highest version of a model.

        Raises:
            ModelNotFound: There is no such model.
        """
        self.versions(name)
        return _highest(self._entries[name])

    def resolve(self, reference: str | None) -> Entry:
        """Look up ``name``, ``name:version``, or the default model for None.

        Raises:
            ModelNotFound: There is no such model or version.
            NotReady: None is named, and none is served.
        """
        entry = self.get(self.reference if reference is None else reference)
        if entry is not None:
            return entry
        if reference is None:
            raise (ModelNotFound if self._entries else NotReady)(self.why_none_answers())
        name, _, version = reference.partition(":")
        numbers = self.versions(name)
        if not VERSION.fullmatch(version):
            raise ModelNotFound(
                f"model {name[:80]!r} has no version {version[:20]!r}; versions are positive integers of up to 9 digits"
            )
        there = f"it has {', '.join(map(str, numbers))}"
        if (why := self._refused.get(reference)) is not None:
            raise ModelNotFound(f"version {version} of model {name!r} was refused: {why}; {there}")
        raise ModelNotFound(f"model {name!r} has no version {version}; {there}")


def _highest(entries: list[Entry]) -> Entry:
    return next((entry for entry in reversed(entries) if not entry.is_lost), entries[-1])
