"""Words: names and sentences taken apart into what people would say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD = re.compile(r"[^\W_]+")

_QUESTION: Final = """a about actually all an and any anybody anyone anything are as at be been being by can come comes
coming contain contained containing contains could did do does doing done every everything find for from gather gathered
get gets give go goes going had has have having held help hold holding holds how i if in info information into is it its
just keep keeping keeps kept knew know knowing known knows like live lives look looking may me might mine must my need
needed needs of on one or other our out over per please record recorded see shall should show so some someone something
store stored stores storing such take tell tells than that the their them then there these they thing things this those
through to under up us use used uses using via want was we were what whatever when where which who whom whose why will
with within would you your"""

_CATALOG: Final = """belong belongs catalog column columns data dataset datasets feed feeds field fields job jobs
maintain maintains manage manages message messages operator operators own owned owner owners owning owns pipeline
pipelines publish published publishes responsible row rows stream streams table tables team teams topic topics write
writes
written"""

_NOUNS_TOO: Final = frozenset(("store", "stores", "record", "records"))
_SUBJECTS: Final = frozenset(("i", "we", "you", "they", "it", "to"))

#: Words that a question is built with and that say nothing about what is sought.
QUESTION_WORDS: Final = frozenset(_QUESTION.split())

#: Words that are dropped only if others are left: in a catalog nearly everything is a stream of data with an owner.
CATALOG_WORDS: Final = frozenset(_CATALOG.split())


def words(text: str) -> list[str]:
    """The words of a name or sentence in lower case: `carrier.tailNum_id` gives carrier, tail, num, id."""
    return [word.lower() for word in _WORD.findall(_CAMEL.sub(" ", text))]


def is_filler(spoken: Sequence[str], at: int) -> bool:
    """True if this word of a question only helps to ask it. `We store` does; `our stores` are shops."""
    if spoken[at] in _NOUNS_TOO:
        return at > 0 and spoken[at - 1] in _SUBJECTS
    return spoken[at] in QUESTION_WORDS


def singular(word: str) -> str:
    """A noun without its plural ending, roughly: enough to tell that `planes` are said for `plane`."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("sses", "shes", "ches", "xes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
