"""Models as people see them: which versions there are, who reigns, and the requests by which a person overrules."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from catalog.errors import HeadwaterError
from headwater.model_card import Card, card_of
from headwater.model_skew import Skew, skew_of
from operators.model.artefact import ModelError, decode
from operators.model.format import load
from operators.model.learner import Learner
from operators.model.stream import control_stream
from streams.message import RowAddress
from streams.stream import Stream

if TYPE_CHECKING:
    from headwater.hub import Hub

Standing = Literal["champion", "challenger", "former"]
_TOLD = ["version", "at", "event", "role", "estimator", "trained_rows", "chunk", "chunks", "sha256", "reason"]


class NoSuchModel(HeadwaterError):
    """A model, candidate or version was asked for that is not there, or that already is what was asked."""

    exit_code = 4


@dataclass(frozen=True)
class Version:
    """One message of a trainer: a version of a candidate, what happened to it, and where the message lies."""

    estimator: str
    version: int
    event: str
    role: str
    at: datetime
    trained_rows: int
    sha256: str | None
    reason: str | None
    address: RowAddress


@dataclass(frozen=True)
class Model:
    """What a model stream says: the `champion` (None before the first, or retired), the challengers by name, and
    every message, oldest first."""

    name: str
    owner: str
    description: str
    champion: Version | None
    challengers: tuple[Version, ...]
    history: tuple[Version, ...] = field(repr=False)

    def standing(self, version: Version) -> Standing:
        """What a message's version is now."""
        for name, others in (("champion", [self.champion]), ("challenger", list(self.challengers))):
            if any(one is not None and one.version == version.version for one in others):
                return name  # type: ignore[return-value]
        return "former"

    def find(self, version: int) -> Version:
        """The last message that brought this version. NoSuchModel if there is none."""
        for one in reversed(self.history):
            if one.version == version and one.event != "retired":
                return one
        there = f"There are 1 to {self.history[-1].version}." if self.history else "There are none yet."
        raise NoSuchModel(f"There is no version {version}", where=self.name, fix=there)

    def _repr_html_(self) -> str:
        from headwater.model_card import table_html

        return f"<b>{self.name}</b>" + table_html(*version_rows(self))


class Models:
    """The models of a hub. What changes them goes through their trainers, as messages: nothing is changed in place."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def __iter__(self) -> Iterator[Model]:
        return iter(self.list())

    def list(self) -> list[Model]:
        """All models, by name."""
        records = self._hub.catalog.streams(roles=["model"], limit=100_000)
        return sorted((self.show(record.spec.name) for record in records), key=lambda one: one.name)

    def show(self, model: Stream | str) -> Model:
        """One model with its history. NotRegistered, NoSuchModel."""
        stream = self._stream(model)
        rows = self._hub.read(stream, columns=_TOLD)
        history = []
        champion: Version | None = None
        challengers: dict[str, Version] = {}
        for address, told in zip(rows.addresses, rows.table.to_pylist(), strict=True):
            if told["chunk"]:
                continue
            said = Version(
                told["estimator"],
                told["version"],
                told["event"],
                told["role"],
                told["at"],
                told["trained_rows"],
                told["sha256"],
                told["reason"],
                address,
            )
            history.append(said)
            if said.event == "retired":
                challengers.pop(said.estimator, None)
                champion = None if champion is not None and champion.version == said.version else champion
            elif said.role == "champion":
                champion = said
                challengers.pop(said.estimator, None)
            else:
                challengers[said.estimator] = said
        by_name = tuple(challengers[name] for name in sorted(challengers))
        return Model(stream.name, stream.owner, stream.description, champion, by_name, tuple(history))

    def learner(self, model: Stream | str, version: int | None = None) -> Learner:
        """The learner of a version, by default of the champion's: a copy of one's own to predict with or to look into.
        NotRegistered, NoSuchModel, ModelError."""
        shown = self.show(model)
        if version is None and shown.champion is None:
            raise NoSuchModel("There is no champion", where=shown.name, fix="Run its trainer, or name a version.")
        wanted = shown.champion if version is None else shown.find(version)
        assert wanted is not None
        return load(decode(self.content(shown, wanted), str(wanted.address)), str(wanted.address))

    def content(self, model: Model, version: Version) -> bytes:
        """The bytes of a version. ModelError if they are not those that its message announced."""
        address = version.address
        rows = self._hub.read(model.name, ranges={address.partition: (address.offset, 2**62)}).table.to_pylist()
        start = next(at for at, row in enumerate(rows) if row["version"] == version.version and not row["chunk"])
        parts = [row["content"] or b"" for row in rows[start : start + max(rows[start]["chunks"], 1)]]
        content = b"".join(parts)
        if hashlib.sha256(content).hexdigest() != version.sha256:
            raise ModelError(
                "The content of this version is not what its message announced",
                where=str(address),
                fix="Go back to an earlier version: headwater models rollback.",
            )
        return content

    def promote(
        self,
        model: Stream | str,
        estimator: str | None = None,
        *,
        version: int | None = None,
        by: str | None = None,
        reason: str | None = None,
    ) -> None:
        """Ask the trainer to make a challenger the champion: the candidate of this name, or of this version. It does so
        in its next run, whatever the comparison says. NotRegistered, NoSuchModel."""
        shown = self.show(model)
        if estimator is None and version is None:
            raise NoSuchModel("It is not said whom to promote", where=shown.name, fix=_candidates(shown))
        if estimator is None:
            estimator = shown.find(version or 0).estimator
        if shown.champion is not None and shown.champion.estimator == estimator:
            raise NoSuchModel(f"{estimator} is the champion already", where=shown.name, fix=_candidates(shown))
        if estimator not in [one.estimator for one in shown.challengers]:
            raise NoSuchModel(f"There is no challenger {estimator!r}", where=shown.name, fix=_candidates(shown))
        self._ask(shown, "promote", estimator, version, by, reason)

    def rollback(
        self, model: Stream | str, version: int | None = None, *, by: str | None = None, reason: str | None = None
    ) -> None:
        """Ask the trainer to go back to a version that has been champion, by default to the champion before. It does
        so in its next run. NotRegistered, NoSuchModel."""
        shown = self.show(model)
        reigned = [one for one in shown.history if one.role == "champion" and one.event != "retired"]
        if version is not None and shown.find(version).role != "champion":
            raise NoSuchModel(
                f"Version {version} has never been the champion",
                where=shown.name,
                fix=f"Versions that were: {', '.join(str(one.version) for one in reigned[-10:])}.",
            )
        if version is not None and shown.champion is not None and shown.champion.version == version:
            raise NoSuchModel(f"Version {version} is the champion already", where=shown.name)
        if len(reigned) < 2:
            raise NoSuchModel("There is no champion to go back to", where=shown.name, fix="It has had one version.")
        self._ask(shown, "rollback", None, version, by, reason)

    def card(self, model: Stream | str) -> Card:
        """What there is to know about a model, on one page. NotRegistered, NoSuchModel, ModelError."""
        shown = self.show(model)
        learner = None if shown.champion is None else self.learner(shown.name)
        return card_of(self._hub, shown, learner)

    def skew(self, model: Stream | str) -> tuple[Skew, ...]:
        """For each stream of the model's predictions in how many rows the features were others than in training."""
        return tuple(skew_of(self._hub, self._stream(model).name))

    def __repr__(self) -> str:
        return f"Models({', '.join(one.name for one in self.list())})"

    def _ask(
        self, model: Model, action: str, estimator: str | None, version: int | None, by: str | None, reason: str | None
    ) -> None:
        control = control_stream(model.name)
        if not self._hub.catalog.has_stream(control.name):
            raise NoSuchModel(
                "Its trainer takes no requests", where=model.name, fix=f"A trainer that does reads {control.name}."
            )
        row = {
            "action": action,
            "estimator": estimator,
            "version": version,
            "by": by or self._hub.config.service,
            "asked_at": datetime.fromtimestamp(self._hub.clock() // 1_000_000, UTC),
            "reason": reason,
        }
        self._hub.publish(control.name, [row])

    def _stream(self, model: Stream | str) -> Stream:
        name = model if isinstance(model, str) else model.name
        stream = self._hub.stream(name)
        if stream.role != "model":
            known = [one.spec.name for one in self._hub.catalog.streams(roles=["model"], limit=100)]
            raise NoSuchModel(
                "This stream holds no models",
                where=name,
                fix=f"Those that do: {', '.join(known)}." if known else "No stream does, so far.",
            )
        return stream


def version_rows(model: Model) -> tuple[list[str], list[list[Any]]]:
    """Names and rows of a table of the model's champion and challengers."""
    names = ["candidate", "stands as", "version", "since", "learnt rows", "why"]
    now = [*([model.champion] if model.champion else []), *model.challengers]
    rows = [
        [one.estimator, model.standing(one), one.version, one.at, one.trained_rows, one.reason or ""] for one in now
    ]
    return names, rows


def _candidates(model: Model) -> str:
    names = ", ".join(f"{one.estimator} (version {one.version})" for one in model.challengers)
    return f"Challengers are {names}." if names else "There are no challengers."
