"""Learners as artefacts and back. What is loaded predicts and goes on learning to the bit like what was saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa

from operators.model.artefact import Array, Artefact, ModelError, decode, encode
from operators.model.attributes import restore, saved
from operators.model.encoder import STATISTICS, Encoder, OneHot, Statistics
from operators.model.features import declared_by, described
from operators.model.learner import Class, Learner
from operators.model.registry import CannotLearn, entry_of, made, parameters_of
from operators.model.shapes import FORGED, Sizes

__all__ = ["Artefact", "ModelError", "decode", "dump", "encode", "load"]

FORMAT: Final = 1
MOST_STEPS: Final = 8
MOST_COLUMNS: Final = 1 << 20
_WORDS = "encoder.words"
_ENDS = "encoder.word_ends"
_STATISTICS = "encoder.statistics"
_KEYS: Final = frozenset(
    {"format", "libraries", "classes", "trained_rows", "trained", "features", "kinds", "vocabularies", "parts"}
)


def dump(learner: Learner) -> Artefact:
    """The learner as data: a manifest and arrays of its own. ModelError if its training has diverged."""
    import sklearn

    arrays: dict[str, Array] = _encoder_arrays(learner.encoder)
    parts = []
    for number, part in enumerate((*learner.steps, learner.estimator)):
        name, entry = entry_of(part)
        told: dict[str, Any] = {"class": name, "parameters": parameters_of(part, name)}
        if learner.is_trained:
            told["numbers"], kept = saved(part, entry)
            arrays |= {f"{number}.{key}": values for key, values in kept.items()}
        parts.append(told)
    manifest = {
        "format": FORMAT,
        "libraries": {"scikit-learn": sklearn.__version__, "numpy": np.__version__},
        "classes": None if learner.classes is None else list(learner.classes),
        "trained_rows": learner.trained_rows,
        "trained": learner.is_trained,
        "features": described(learner.encoder.declared),
        "kinds": learner.encoder.kinds,
        "vocabularies": [len(part.vocabulary) for part in learner.encoder.parts if isinstance(part, OneHot)],
        "parts": parts,
    }
    return Artefact(manifest, arrays)


def load(artefact: Artefact, where: str = "model") -> Learner:
    """The learner that was dumped. ModelError for anything that `dump` would not have made."""
    try:
        return _loaded(artefact, where)
    except CannotLearn as error:
        raise ModelError(f"The model is refused: {error.what}", where=where, fix=FORGED) from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, pa.ArrowException) as error:
        raise ModelError(
            f"The manifest makes no sense ({type(error).__name__}: {str(error)[:200]})", where=where, fix=FORGED
        ) from error


def _loaded(artefact: Artefact, where: str) -> Learner:
    manifest = artefact.manifest
    if manifest.get("format") != FORMAT:
        raise ModelError(
            f"The model has the format {str(manifest.get('format'))[:40]!r}, and {FORMAT} is the one known here",
            where=where,
            fix="Upgrade Headwater, or publish the model again from its trainer.",
        )
    unknown = (_KEYS - set(manifest)) | (set(manifest) - _KEYS - {"training"})
    if unknown:
        raise ModelError(f"The manifest lacks or adds {sorted(unknown)}"[:200], where=where, fix=FORGED)
    encoder = _encoder(manifest, artefact.arrays, where)
    classes = _classes(manifest["classes"])
    told = manifest["parts"]
    if not isinstance(told, list) or not 1 <= len(told) <= MOST_STEPS:
        raise ModelError(f"A model has 1 to {MOST_STEPS} parts", where=where, fix=FORGED)
    parts = []
    taken = {_WORDS, _ENDS, _STATISTICS}
    for number, one in enumerate(told):
        entry, part = made(one["class"], one["parameters"], where)
        last = number == len(told) - 1
        expected = ("regressor" if classes is None else "classifier") if last else "transformer"
        if entry.kind != expected:
            raise ModelError(f"{one['class']} stands where a {expected} must", where=where, fix=FORGED)
        if manifest["trained"] is True:
            own = {
                key.partition(".")[2]: values
                for key, values in artefact.arrays.items()
                if key.partition(".")[0] == str(number)
            }
            taken |= {f"{number}.{key}" for key in own}
            sizes = Sizes(encoder.width, len(classes or ()) if last else 0)
            restore(part, entry, sizes, one["numbers"], own, where)
        parts.append(part)
    _check_weights(parts[-1], len(classes or ()), where)
    if set(artefact.arrays) - taken:
        odd = sorted(set(artefact.arrays) - taken)
        raise ModelError(f"The arrays {', '.join(odd)[:200]} are unknown", where=where, fix=FORGED)
    learner = Learner(encoder, parts[:-1], parts[-1], classes)
    learner.trained_rows = _count(manifest["trained_rows"], where)
    return learner


def _check_weights(estimator: Any, classes: int, where: str) -> None:
    weights = getattr(estimator, "class_weight", None) or {}
    for label, weight in weights.items():
        if type(label) is not int or not 0 <= label < classes or type(weight) not in (int, float) or weight < 0:
            raise ModelError("Its class_weight does not fit its classes", where=where, fix=FORGED)


def _encoder_arrays(encoder: Encoder) -> dict[str, Array]:
    words = [part.vocabulary for part in encoder.parts if isinstance(part, OneHot)]
    texts = [text.encode() for vocabulary in words for text in vocabulary.to_pylist()]
    return {
        _STATISTICS: np.array([part.known.values() for part in encoder.parts], dtype=np.float64),
        _WORDS: np.frombuffer(b"".join(texts), dtype=np.uint8),
        _ENDS: np.cumsum([len(text) for text in texts], dtype=np.int64),
    }


def _encoder(manifest: Mapping[str, Any], arrays: Mapping[str, Array], where: str) -> Encoder:
    declared = declared_by(manifest["features"])
    kinds = manifest["kinds"]
    if set(kinds) != set(declared.columns) or not set(kinds.values()) <= {"number", "bool", "text"}:
        raise ModelError("The kinds of its columns do not fit its features", where=where, fix=FORGED)
    encoder = Encoder(declared, {name: kinds[name] for name in declared.columns})
    if encoder.width > MOST_COLUMNS:
        raise ModelError(f"It claims {encoder.width:,} columns", where=where, fix=FORGED)
    statistics = arrays[_STATISTICS]
    if statistics.shape != (len(encoder.parts), len(STATISTICS)) or statistics.dtype != np.float64:
        raise ModelError("What its encoders have learnt does not fit its features", where=where, fix=FORGED)
    for part, values in zip(encoder.parts, statistics, strict=True):
        part.known = Statistics(values)
        if part.known.squares < 0 or not 0 <= part.known.missing <= part.known.rows:
            raise ModelError(f"What was learnt about {part.name!r} makes no sense", where=where, fix=FORGED)
    _restore_vocabularies(encoder, manifest["vocabularies"], arrays, where)
    return encoder


def _restore_vocabularies(encoder: Encoder, counts: Any, arrays: Mapping[str, Array], where: str) -> None:
    onehot = [part for part in encoder.parts if isinstance(part, OneHot)]
    words, ends = arrays[_WORDS], arrays[_ENDS]
    fits = (
        isinstance(counts, list)
        and len(counts) == len(onehot)
        and all(type(count) is int and 0 <= count <= part.limit for count, part in zip(counts, onehot, strict=True))
        and words.dtype == np.uint8
        and ends.dtype == np.int64
        and words.ndim == ends.ndim == 1
        and len(ends) == sum(counts)
        and (not len(ends) or (ends[0] >= 0 and bool((np.diff(ends) >= 0).all())))
        and (int(ends[-1]) if len(ends) else 0) == len(words)
    )
    if not fits:
        raise ModelError("Its vocabularies do not fit its features", where=where, fix=FORGED)
    data = words.tobytes()
    starts = np.append(0, ends[:-1]).tolist()
    texts = [data[start:end].decode() for start, end in zip(starts, ends.tolist(), strict=False)]
    at = 0
    for part, count in zip(onehot, counts, strict=True):
        vocabulary = texts[at : at + count]
        if len(set(vocabulary)) < count:
            raise ModelError(f"The vocabulary of {part.name!r} repeats a value", where=where, fix=FORGED)
        part.vocabulary = pa.array(vocabulary, pa.string())
        at += count


def _classes(told: Any) -> tuple[Class, ...] | None:
    if told is None:
        return None
    kinds = {type(value) for value in told}
    if not isinstance(told, list) or len(told) < 2 or len(kinds) != 1 or kinds - {bool, int, float, str}:
        raise ValueError(f"classes {str(told)[:80]}")
    if len(set(told)) < len(told):
        raise ValueError("classes repeat")
    return tuple(told)


def _count(value: Any, where: str) -> int:
    if type(value) is not int or value < 0:
        raise ModelError(f"It claims to have learnt from {str(value)[:40]} rows", where=where, fix=FORGED)
    return value
