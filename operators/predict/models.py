"""The models that a task scores with, in its state: the champion, and the challengers in its shadow."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

import orjson

from catalog.errors import HeadwaterError
from operators.execution.state import State
from operators.model.artefact import ModelError, decode
from operators.model.format import load
from operators.model.learner import Class, Learner
from operators.model.stream import ModelEvent
from operators.predict.inbox import Received, Refused
from streams.message import RowAddress

MOST_SHADOWS: Final = 16
_MOST_LOADED: Final = 64
_CHAMPION: Final = "champion"
_SHADOW: Final = "shadow "
_NEWEST: Final = "newest version"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to score: which version of which candidate, and the row that brought it."""

    estimator: str
    version: int
    address: RowAddress
    learner: Learner


#: The champion, and challengers that score beside it.
InForce: TypeAlias = tuple[Loaded | None, tuple[Loaded, ...]]


class Loading:
    """Keeps models in the states of tasks, and what was loaded of them for all tasks of a process, which get the same
    models. `beside` says whether challengers are wanted too."""

    def __init__(self, classes: tuple[Class, ...] | None, *, beside: bool) -> None:
        self._classes = classes
        self._beside = beside
        #: Learners by their content: they are not changed by scoring.
        self._learner = lru_cache(maxsize=_MOST_LOADED)(_load)

    def problem(self, event: ModelEvent, content: bytes) -> str | None:
        """What is wrong with the content of a model that is to score; others are looked at once they are champion."""
        if event.role != "champion" and not self._beside:
            return None
        try:
            learner = self._learner(content)
        except ModelError as error:
            return error.what
        if not learner.is_trained:
            return "it has learnt nothing yet"
        if learner.classes != self._classes or _kinds(learner.classes) != _kinds(self._classes):
            expected = "numbers" if self._classes is None else f"the classes {list(self._classes)}"
            got = "numbers" if learner.classes is None else f"the classes {list(learner.classes)}"
            return f"it predicts {got}; declared are {expected}"
        return None

    def in_force(self, state: State) -> InForce:
        """The champion, if there is one, and the challengers by name, if they are wanted."""
        names = _shadow_names(state) if self._beside else []
        found = [self._loaded(state, name) for name in names]
        return self._loaded(state, _CHAMPION), tuple(one for one in found if one is not None)

    def apply(self, state: State, received: Received) -> Refused | None:
        """Let an event take effect. A refusal if it brings no content and names a version that is not there, or brings
        content that is no newer than what was here: trainers count up, so that is a message said twice."""
        event, address = received.event, received.address
        if event.event == "retired":
            for name in (_CHAMPION, f"{_SHADOW}{event.estimator}"):
                about = _about(state, name)
                if about is not None and (about["estimator"], about["version"]) == (event.estimator, event.version):
                    _drop(state, name)
            return None
        content = event.content if event.content is not None else _known(state, event)
        if content is None:
            return _refusal(event, address, "it has no content, and this version is not among those in use")
        if event.content is None and (problem := self.problem(event, content)) is not None:
            return _refusal(event, address, problem)
        newest = int(state.raw(_NEWEST) or b"0")
        if event.content is not None and event.version <= newest:
            return _refusal(
                event, address, f"it is of version {event.version}, and version {newest} has been here already"
            )
        shadow = f"{_SHADOW}{event.estimator}"
        if event.role == "challenger" and shadow not in state and len(_shadow_names(state)) >= MOST_SHADOWS:
            return _refusal(event, address, f"there are {MOST_SHADOWS} challengers already")
        state[_NEWEST] = b"%d" % max(newest, event.version)
        if event.role == "champion":
            _put(state, _CHAMPION, event, address, content)
            _drop(state, shadow)
            return None
        _put(state, shadow, event, address, content)
        return None

    def _loaded(self, state: State, name: str) -> Loaded | None:
        about = _about(state, name)
        content = state.raw(name)
        if about is None or content is None:
            return None
        address = RowAddress(*about["address"])
        try:
            learner = self._learner(content)
        except HeadwaterError as error:
            raise ModelError(
                f"The model in force cannot be loaded: {error.what}",
                where=f"{about['estimator']} version {about['version']}, {address}",
                fix="Run with the library versions that its manifest names, or promote a model made with these.",
            ) from error
        return Loaded(about["estimator"], about["version"], address, learner)


def _load(content: bytes) -> Learner:
    where = "the content of a model message"
    return load(decode(content, where), where)


def _kinds(classes: tuple[Class, ...] | None) -> list[type]:
    return [type(value) for value in classes or ()]


def _shadow_names(state: State) -> list[str]:
    return [name for name in state if name.startswith(_SHADOW)]


def _put(state: State, name: str, event: ModelEvent, address: RowAddress, content: bytes) -> None:
    about = {"estimator": event.estimator, "version": event.version, "address": list(address)}
    state[_about_name(name)] = orjson.dumps(about)
    state[name] = content


def _drop(state: State, name: str) -> None:
    for one in (name, _about_name(name)):
        with contextlib.suppress(KeyError):
            del state[one]


def _known(state: State, event: ModelEvent) -> bytes | None:
    for name in (_CHAMPION, *_shadow_names(state)):
        about = _about(state, name)
        if about is not None and (about["estimator"], about["version"]) == (event.estimator, event.version):
            return state.raw(name)
    return None


def _about(state: State, name: str) -> dict[str, Any] | None:
    raw = state.raw(_about_name(name))
    return None if raw is None else orjson.loads(raw)


def _about_name(name: str) -> str:
    return f"about {name}"


def _refusal(event: ModelEvent, address: RowAddress, reason: str) -> Refused:
    return Refused(event.model, event.version, event.at, address, reason)
