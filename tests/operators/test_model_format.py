"""Models as data: what is saved and restored predicts and goes on learning to the bit, and nothing else is read."""

from __future__ import annotations

import hashlib
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.model.artefact import LARGEST_CONTENT, MAGIC, Artefact, ModelError, decode, encode
from operators.model.features import Features, features
from operators.model.format import dump, load
from operators.model.learner import Learner, UnknownClass, learner
from operators.model.registry import REGISTRY, CannotLearn

linear_model = pytest.importorskip("sklearn.linear_model")
naive_bayes = pytest.importorskip("sklearn.naive_bayes")
neural_network = pytest.importorskip("sklearn.neural_network")
pipeline = pytest.importorskip("sklearn.pipeline")
preprocessing = pytest.importorskip("sklearn.preprocessing")

#: In an order that no sorting by name would give.
MIXED = features(
    ["b", "a"], plain=["f"], binned={"b": [0, 4], "a": [-1, 1]}, onehot={"t": 30, "c": 5}, hashed={"t": 16, "c": 3}
)
COUNTS = features(binned={"a": [-1, 0, 1]}, onehot={"c": 5}, hashed={"t": 16})
SCHEMA = pa.schema(
    [("a", pa.float64()), ("b", pa.float64()), ("f", pa.bool_()), ("c", pa.string()), ("t", pa.string())]
)

Make = Callable[[], Any]
CLASSIFIERS: dict[str, Make] = {
    "sgd": lambda: linear_model.SGDClassifier(loss="log_loss", random_state=0),
    "sgd huber": lambda: linear_model.SGDClassifier(loss="modified_huber", penalty="elasticnet", random_state=3),
    "sgd hinge": lambda: linear_model.SGDClassifier(random_state=0),
    "sgd adaptive": lambda: linear_model.SGDClassifier(
        "log_loss", learning_rate="invscaling", eta0=0.1, random_state=0
    ),
    "sgd averaged": lambda: linear_model.SGDClassifier(loss="log_loss", average=True, random_state=0),
    "sgd averaged later": lambda: linear_model.SGDClassifier(loss="log_loss", average=120, random_state=0),
    "sgd weighted": lambda: linear_model.SGDClassifier(loss="log_loss", class_weight={0: 2.0}, random_state=0),
    "perceptron": lambda: linear_model.Perceptron(random_state=1),
    "multinomial": lambda: naive_bayes.MultinomialNB(alpha=0.5),
    "bernoulli": naive_bayes.BernoulliNB,
    "bernoulli at 1": lambda: naive_bayes.BernoulliNB(binarize=1.0, fit_prior=False),
    "gaussian": naive_bayes.GaussianNB,
    "network": lambda: neural_network.MLPClassifier((8, 4), random_state=0),
    "network sgd": lambda: neural_network.MLPClassifier(5, solver="sgd", learning_rate="adaptive", random_state=0),
    "network inverse": lambda: neural_network.MLPClassifier(
        (5,), solver="sgd", learning_rate="invscaling", nesterovs_momentum=False, random_state=2
    ),
    "scaled": lambda: pipeline.make_pipeline(
        preprocessing.StandardScaler(), linear_model.SGDClassifier(loss="log_loss", random_state=0)
    ),
    "four steps": lambda: pipeline.make_pipeline(
        preprocessing.MinMaxScaler((0, 2), clip=True),
        preprocessing.MaxAbsScaler(),
        preprocessing.Normalizer("l1"),
        naive_bayes.MultinomialNB(),
    ),
}
REGRESSORS: dict[str, Make] = {
    "sgd regressor": lambda: linear_model.SGDRegressor(random_state=0),
    "sgd regressor averaged": lambda: linear_model.SGDRegressor(average=7, random_state=0),
    "network regressor": lambda: neural_network.MLPRegressor(hidden_layer_sizes=(6,), random_state=0),
}


def rows(count: int, seed: int) -> pa.RecordBatch:
    rng = np.random.default_rng(seed)
    return pa.RecordBatch.from_arrays(
        [
            pa.array(rng.normal(size=count)),
            pa.array(rng.normal(3, 2, count), mask=rng.random(count) < 0.1),
            pa.array(rng.random(count) < 0.3),
            pa.array(rng.choice(["x", "y", "z"], count), mask=rng.random(count) < 0.05),
            pa.array(rng.choice([f"t{n}" for n in range(40)], count)),
        ],
        schema=SCHEMA,
    )


def trained(make: Make, classes: int = 2, *, chunks: int = 3, size: int = 60, seed: int = 0) -> Learner:
    estimator = make()
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    declared: Features = COUNTS if type(last).__name__ == "MultinomialNB" else MIXED
    made = learner(estimator, declared, SCHEMA, classes=list(range(classes)) if classes else None)
    for chunk in range(chunks):
        learn(made, classes, size, seed * 100 + chunk)
    return made


def learn(one: Learner, classes: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    batch = rows(size, seed)
    labels = rng.integers(0, classes, size) if classes else rng.normal(size=size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one.partial_fit(batch, labels)


def predicted(one: Learner, batch: pa.RecordBatch) -> Any:
    return one.predict(batch) if one.classes is None else one.predict_proba(batch)


def copied(one: Learner) -> Learner:
    return load(decode(encode(dump(one)), "copy"), "copy")


ALL = [(name, classes) for name in CLASSIFIERS for classes in (2, 3)] + [(name, 0) for name in REGRESSORS]


@pytest.mark.parametrize(("name", "classes"), ALL)
@settings(max_examples=3, deadline=None)
@given(chunks=st.integers(1, 3), size=st.integers(20, 90), more=st.integers(1, 2), seed=st.integers(0, 1000))
def test_a_restored_model_predicts_and_learns_to_the_bit(
    name: str, classes: int, chunks: int, size: int, more: int, seed: int
) -> None:
    one = trained((CLASSIFIERS | REGRESSORS)[name], classes, chunks=chunks, size=size, seed=seed)
    other = copied(one)
    asked = rows(50, seed + 1)
    assert predicted(one, asked).tobytes() == predicted(other, asked).tobytes()
    for chunk in range(more):
        learn(one, classes, size, seed + 7 + chunk)
        learn(other, classes, size, seed + 7 + chunk)
        assert encode(dump(one)) == encode(dump(other))
        other = copied(other)
    assert predicted(one, asked).tobytes() == predicted(other, asked).tobytes()


@pytest.mark.parametrize(("name", "classes"), ALL)
def test_a_prediction_does_not_depend_on_how_rows_are_cut(name: str, classes: int) -> None:
    one = trained((CLASSIFIERS | REGRESSORS)[name], classes)
    asked = rows(280, 5)
    whole = predicted(one, asked)
    pieces = np.concatenate([predicted(one, asked.slice(start, 35)) for start in range(0, 280, 35)])
    assert whole.tobytes() == pieces.tobytes()


@pytest.mark.parametrize(("name", "classes"), ALL)
def test_scores_are_those_of_scikit_learn(name: str, classes: int) -> None:
    from operators.model.encoder import matrix

    one = trained((CLASSIFIERS | REGRESSORS)[name], classes)
    asked = rows(100, 5)
    values = matrix(one.encoder.blocks(one.encoder.columns(asked)), 100)
    for step in one.steps:
        values = step.transform(values)
    ours = predicted(one, asked)
    if not classes:
        assert np.allclose(ours, one.estimator.predict(values), rtol=0, atol=1e-12)
    elif hasattr(one.estimator, "predict_proba"):
        assert np.allclose(ours, one.estimator.predict_proba(values), rtol=0, atol=1e-12)
    else:
        assert (ours.argmax(axis=1) == one.estimator.predict(values)).all()


def test_every_class_of_the_registry_is_tested() -> None:
    used = set()
    for make in (CLASSIFIERS | REGRESSORS).values():
        estimator = make()
        used |= {type(step).__name__ for _, step in estimator.steps} if hasattr(estimator, "steps") else set()
        used.add(type(estimator).__name__)
    rest = {"PassiveAggressiveClassifier", "PassiveAggressiveRegressor"}
    assert set(REGISTRY) <= used | rest


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["PassiveAggressiveClassifier", "PassiveAggressiveRegressor"])
def test_passive_aggressive_models_are_restored_to_the_bit_where_they_exist(name: str) -> None:
    if not hasattr(linear_model, name):
        pytest.skip(f"scikit-learn has no {name} any more")
    classes = 3 if name.endswith("Classifier") else 0
    one = trained(lambda: getattr(linear_model, name)(random_state=0, average=True), classes)
    other = copied(one)
    learn(one, classes, 40, 9)
    learn(other, classes, 40, 9)
    assert encode(dump(one)) == encode(dump(other))


def test_an_untrained_learner_is_restored() -> None:
    one = learner(CLASSIFIERS["sgd"](), MIXED, SCHEMA, classes=[0, 1])
    other = copied(one)
    learn(one, 2, 40, 1)
    learn(other, 2, 40, 1)
    assert encode(dump(one)) == encode(dump(other))


def test_equal_learners_have_equal_bytes_and_others_do_not() -> None:
    assert encode(dump(trained(CLASSIFIERS["sgd"]))) == encode(dump(trained(CLASSIFIERS["sgd"])))
    assert encode(dump(trained(CLASSIFIERS["sgd"]))) != encode(dump(trained(CLASSIFIERS["sgd"], seed=1)))


def test_what_is_learnt_later_does_not_change_an_artefact() -> None:
    one = trained(CLASSIFIERS["sgd averaged"])
    artefact = dump(one)
    before = encode(artefact)
    learn(one, 2, 50, 9)
    assert encode(artefact) == before


# What cannot be learnt


@pytest.mark.parametrize("name", ["SGDClassifier", "MLPClassifier", "SGDRegressor"])
def test_an_estimator_without_a_seed_is_refused(name: str) -> None:
    make = getattr(linear_model, name, None) or getattr(neural_network, name)
    with pytest.raises(CannotLearn, match="random_state=None") as caught:
        learner(make(), ["a"], SCHEMA, classes=None if name == "SGDRegressor" else [0, 1])
    assert "random_state=0" in str(caught.value.fix)


def test_a_generator_is_no_seed() -> None:
    with pytest.raises(CannotLearn, match="random_state"):
        learner(linear_model.SGDClassifier(random_state=np.random.RandomState(0)), ["a"], SCHEMA, classes=[0, 1])


def test_a_class_that_is_not_in_the_registry_is_refused() -> None:
    with pytest.raises(CannotLearn, match="LogisticRegression is not in the registry"):
        learner(linear_model.LogisticRegression(random_state=0), ["a"], SCHEMA, classes=[0, 1])


def test_a_class_that_only_has_the_name_of_one_in_the_registry_is_refused() -> None:
    class SGDClassifier(linear_model.SGDClassifier):  # type: ignore[misc]
        def __init__(self, random_state: int = 0) -> None:
            super().__init__(random_state=random_state)

    with pytest.raises(CannotLearn, match="not in the registry"):
        learner(SGDClassifier(), ["a"], SCHEMA, classes=[0, 1])


@pytest.mark.parametrize(
    ("estimator", "classes", "what"),
    [
        (lambda: linear_model.SGDClassifier(random_state=0), None, "needs the classes"),
        (lambda: linear_model.SGDClassifier(random_state=0), [0], "needs the classes"),
        (lambda: linear_model.SGDClassifier(random_state=0), [0, 0], "needs the classes"),
        (lambda: linear_model.SGDClassifier(random_state=0), [0, "a"], "needs the classes"),
        (lambda: linear_model.SGDRegressor(random_state=0), [0, 1], "has no classes"),
        (preprocessing.StandardScaler, [0, 1], "cannot learn chunk by chunk"),
        (lambda: neural_network.MLPClassifier(solver="lbfgs", random_state=0), [0, 1], "cannot learn chunk by chunk"),
        (lambda: linear_model.SGDClassifier(early_stopping=True, random_state=0), [0, 1], "early_stopping"),
        (lambda: linear_model.SGDClassifier(class_weight={7: 1.0}, random_state=0), [0, 1], "class_weight"),
        (lambda: linear_model.SGDClassifier(alpha=-1, random_state=0), [0, 1], "alpha"),
        (naive_bayes.MultinomialNB, [0, 1], "negative"),
        (lambda: pipeline.Pipeline([]), [0, 1], "no steps"),
    ],
)
def test_a_declaration_that_cannot_work_is_refused(estimator: Make, classes: Any, what: str) -> None:
    with pytest.raises(CannotLearn, match=what):
        learner(estimator(), ["a"], SCHEMA, classes=classes)


def test_a_label_that_is_none_of_the_classes_is_refused_by_name() -> None:
    one = trained(CLASSIFIERS["sgd"])
    with pytest.raises(UnknownClass, match=r"label 7 is none of the classes \[0, 1\]"):
        one.partial_fit(rows(3, 0), [0, 1, 7])


def test_class_weights_are_by_class_and_not_by_place() -> None:
    plain = linear_model.SGDClassifier(loss="log_loss", class_weight={0: 5.0}, random_state=0)
    named = linear_model.SGDClassifier(loss="log_loss", class_weight={"on time": 5.0}, random_state=0)
    batch = rows(80, 1)
    labels = np.random.default_rng(1).integers(0, 2, 80)
    one = learner(plain, ["a"], SCHEMA, classes=[0, 1])
    other = learner(named, ["a"], SCHEMA, classes=["on time", "late"])
    one.partial_fit(batch, labels)
    other.partial_fit(batch, ["late" if label else "on time" for label in labels])
    assert one.predict_proba(batch).tobytes() == other.predict_proba(batch).tobytes()


def test_a_model_that_diverged_is_not_written() -> None:
    one = learner(naive_bayes.GaussianNB(), features(plain=["a"]), SCHEMA, classes=[0, 1])
    huge = pa.RecordBatch.from_arrays([pa.array([1e200, -1e200, 1e200, -1e200])], names=["a"])
    with np.errstate(all="ignore"):
        one.partial_fit(huge, [0, 0, 1, 1])
        with pytest.raises(ModelError, match="GaussianNB has diverged"):
            dump(one)


def test_rows_that_an_estimator_cannot_take_are_named() -> None:
    estimator = linear_model.SGDRegressor(learning_rate="constant", eta0=1e300, random_state=0)
    one = learner(estimator, features(plain=["a"]), SCHEMA)
    with np.errstate(all="ignore"), pytest.raises(ModelError, match="SGDRegressor could not learn from these rows"):
        one.partial_fit(rows(50, 0), np.full(50, 1e200))


# What is refused as a model

SCALED = dump(trained(CLASSIFIERS["scaled"]))
GOOD = encode(dump(trained(CLASSIFIERS["sgd"])))


def test_every_truncation_is_refused() -> None:
    for length in (*range(0, len(GOOD), 97), len(GOOD) - 1):
        with pytest.raises(ModelError):
            decode(GOOD[:length], "x")


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, len(GOOD) - 1), bit=st.integers(0, 7))
def test_every_flipped_bit_is_refused(at: int, bit: int) -> None:
    altered = bytearray(GOOD)
    altered[at] ^= 1 << bit
    with pytest.raises(ModelError):
        decode(bytes(altered), "x")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_noise_is_refused(noise: bytes) -> None:
    for content in (noise, MAGIC + noise, signed(MAGIC + noise), framed(noise)):
        with pytest.raises(ModelError):
            load(decode(content, "x"), "x")


def signed(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()


def framed(manifest: bytes, arrays: bytes = b"") -> bytes:
    """Content whose length and SHA-256 are right, whatever it says."""
    return signed(MAGIC + len(manifest).to_bytes(4, "little") + manifest + arrays)


class Exploit:
    ran = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _ran, ()


def _ran() -> None:
    Exploit.ran = True


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_refused_and_not_run(protocol: int) -> None:
    payload = pickle.dumps(Exploit(), protocol)
    for content in (payload, MAGIC + payload, signed(MAGIC + payload), framed(payload)):
        with pytest.raises(ModelError):
            load(decode(content, "x"), "x")
    assert not Exploit.ran


@pytest.mark.parametrize(
    ("arrays", "what"),
    [
        ([{"name": "a", "type": "double", "shape": [1 << 60]}], "shape"),
        ([{"name": "a", "type": "double", "shape": [1 << 20, 1 << 20, 1 << 20]}], "more than there is"),
        ([{"name": "a", "type": "double", "shape": [-1]}], "shape"),
        ([{"name": "a", "type": "double", "shape": [1.5]}], "shape"),
        ([{"name": "a", "type": "double", "shape": [True]}], "shape"),
        ([{"name": "a", "type": "double", "shape": [1, 1, 1, 1]}], "shape"),
        ([{"name": "a", "type": "double", "shape": "8"}], "shape"),
        ([{"name": "a", "type": "object", "shape": [1]}], "type"),
        ([{"name": "a", "type": "|O", "shape": [1]}], "type"),
        ([{"name": "a", "type": ["double"], "shape": [1]}], "type"),
        ([{"name": 3, "type": "double", "shape": [1]}], "type"),
        ([{"name": "a", "type": "double"}], "described"),
        ([{"name": "a", "type": "double", "shape": [0]}] * 2, "two arrays"),
        ([{"name": f"{n}", "type": "double", "shape": [0]} for n in range(300)], "more than 256"),
        ("a", "lists no arrays"),
        (None, "lists no arrays"),
    ],
)
def test_what_arrays_claim_is_not_believed(arrays: Any, what: str) -> None:
    manifest = orjson.dumps({"format": 1, "arrays": arrays})
    with pytest.raises(ModelError, match=what):
        decode(framed(manifest, bytes(256)), "x")


def test_a_manifest_that_claims_more_than_there_is_is_refused() -> None:
    body = MAGIC + (2**32 - 1).to_bytes(4, "little") + b"{}"
    with pytest.raises(ModelError, match=r"claims 4,294,967,295 bytes"):
        decode(signed(body), "x")


def test_content_above_the_limit_is_refused_before_it_is_looked_at() -> None:
    with pytest.raises(ModelError, match="limit"):
        decode(bytes(LARGEST_CONTENT + 1), "x")


def test_deeply_nested_manifests_are_refused() -> None:
    with pytest.raises(ModelError):
        decode(framed(b"[" * 100_000 + b"]" * 100_000), "x")


def test_what_is_left_over_behind_the_arrays_is_refused() -> None:
    with pytest.raises(ModelError, match="left over"):
        decode(framed(b'{"arrays":[]}', b"more"), "x")


def test_an_object_array_is_not_written() -> None:
    with pytest.raises(ModelError, match="type object"):
        encode(Artefact({}, {"a": np.array([{}], dtype=object)}))


def forged(change: Callable[[dict[str, Any], dict[str, Any]], None], name: str = "sgd") -> bytes:
    """A model of which somebody changed the manifest or arrays, and then signed it again."""
    artefact = dump(trained(CLASSIFIERS[name]))
    manifest = orjson.loads(orjson.dumps(artefact.manifest))
    arrays = dict(artefact.arrays)
    change(manifest, arrays)
    return encode(Artefact(manifest, arrays))


def part(key: str, value: Any, number: int = 0) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda manifest, arrays: manifest["parts"][number].__setitem__(key, value)


def parameter(key: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda manifest, arrays: manifest["parts"][0]["parameters"].__setitem__(key, value)


def top(key: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda manifest, arrays: manifest.__setitem__(key, value)


def array(key: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda manifest, arrays: arrays.__setitem__(key, value)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (part("class", "os.system"), r"class 'os\.system' is refused: it is not in the registry"),
        (part("class", "sklearn.linear_model.SGDClassifier"), "not in the registry"),
        (part("class", "builtins.eval"), "not in the registry"),
        (part("class", {"py/object": "os.system"}), "not in the registry"),
        (part("class", ["SGDClassifier"]), "not in the registry"),
        (part("class", "Normalizer"), "no parameters|stands where"),
        (part("class", "SGDRegressor"), "no parameters|stands where"),
        (part("class", "Perceptron"), "no parameters"),
        (part("class", "MLPClassifier"), "no parameters"),
        (part("parameters", {"loss": "log_loss"}), "random_state"),
        (part("parameters", "log_loss"), "no parameters"),
        (part("parameters", None), "no parameters"),
        (part("numbers", {"t_": "x", "n_iter_": 1}), "number 't_'"),
        (part("numbers", {"t_": -1.0, "n_iter_": 1}), "number 't_'"),
        (part("numbers", {"t_": 1.0, "n_iter_": 1.5}), "number 'n_iter_'"),
        (part("numbers", {"t_": 1.0, "n_iter_": 1, "__class__": 2}), "Expected are the numbers"),
        (part("numbers", None), "Expected are the numbers"),
        (parameter("__class__", "x"), "no parameters"),
        (parameter("loss", "os.system"), "parameters of SGDClassifier are refused"),
        (parameter("loss", {"pairs": [["a", 1]]}), "parameters of SGDClassifier are refused"),
        (parameter("random_state", None), "random_state"),
        (parameter("random_state", 1.5), "random_state"),
        (parameter("random_state", True), "random_state"),
        (parameter("early_stopping", True), "early_stopping"),
        (parameter("average", True), "arrays"),
        (parameter("class_weight", {"pairs": [[[], 1]]}), "class_weight"),
        (parameter("class_weight", {"pairs": [[7, 1]]}), "class_weight"),
        (parameter("class_weight", {"pairs": [[0, "x"]]}), "class_weight"),
        (top("format", 2), "format '2'"),
        (top("format", None), "format 'None'"),
        (top("surplus", 1), "surplus"),
        (top("classes", [0, 1, 2]), "array"),
        (top("classes", [0]), "makes no sense"),
        (top("classes", [0, 0]), "makes no sense"),
        (top("classes", [0, {}]), "makes no sense"),
        (top("classes", None), "stands where a regressor must"),
        (top("classes", "ab"), "makes no sense"),
        (top("trained_rows", -1), "rows"),
        (top("trained_rows", "many"), "rows"),
        (top("trained", False), "are unknown"),
        (top("parts", []), "parts"),
        (top("parts", [1]), "makes no sense"),
        (top("parts", {}), "parts"),
        (top("kinds", {"a": "number"}), "kinds"),
        (top("kinds", None), "makes no sense"),
        (top("features", {}), "makes no sense"),
        (top("features", None), "makes no sense"),
        (top("vocabularies", [99, 3]), "vocabularies"),
        (top("vocabularies", [-1, 34]), "vocabularies"),
        (top("vocabularies", []), "vocabularies"),
        (top("vocabularies", None), "vocabularies"),
        (array("0.coef_", np.zeros((1, 3))), "shape"),
        (array("0.coef_", np.zeros((2, 74))), "shape"),
        (array("0.coef_", np.zeros((1, 74), dtype=np.int64)), "must be float64"),
        (array("0.coef_", np.full((1, 74), np.nan)), "not finite"),
        (array("0.intercept_", np.array([np.inf])), "not finite"),
        (array("0.surplus", np.zeros(3)), "missing or unknown"),
        (array("7.coef_", np.zeros(3)), "are unknown"),
        (array("surplus", np.zeros(3)), "are unknown"),
        (array("encoder.statistics", np.zeros((1, 1))), "encoders"),
        (array("encoder.statistics", np.full((9, 7), -1.0)), "makes no sense"),
        (array("encoder.words", np.full(84, 255, dtype=np.uint8)), "makes no sense"),
        (array("encoder.words", np.zeros(83, dtype=np.uint8)), "vocabularies"),
        (array("encoder.word_ends", np.array([2, 1, *range(3, 33), 84])), "vocabularies"),
        (array("encoder.word_ends", np.array([-1, *range(1, 32), 84])), "vocabularies"),
        (array("encoder.words", np.full(84, 65, dtype=np.uint8)), "repeats"),
        (lambda manifest, arrays: arrays.pop("0.coef_"), "missing or unknown"),
        (lambda manifest, arrays: arrays.pop("encoder.words"), "makes no sense"),
        (lambda manifest, arrays: manifest.pop("parts"), "parts"),
        (lambda manifest, arrays: manifest["features"]["hashed"][0].__setitem__(1, 1 << 40), "refused"),
        (lambda manifest, arrays: manifest["features"]["hashed"][0].__setitem__(1, 60_000), "shape"),
        (lambda manifest, arrays: manifest["features"]["onehot"][1].__setitem__(1, "many"), "refused"),
        (lambda manifest, arrays: manifest["features"]["binned"][1].__setitem__(1, [2, 1]), "refused"),
        (lambda manifest, arrays: manifest["features"].update(numeric=["a", "a"]), "refused"),
        (lambda manifest, arrays: manifest["features"].update(onehot={"c": 5, "t": 30}), "makes no sense"),
        (lambda manifest, arrays: manifest["features"].update(onehot=[["c", 5], ["c", 30]]), "makes no sense"),
    ],
)
def test_a_forged_model_is_refused(change: Any, what: str) -> None:
    with pytest.raises(ModelError, match=what) as caught:
        load(decode(forged(change), "plant.model 0:7"), "plant.model 0:7")
    assert caught.value.where == "plant.model 0:7"
    assert caught.value.fix


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (parameter("hidden_layer_sizes", [1 << 40]), "array"),
        (parameter("hidden_layer_sizes", [4] * 1000), "refused"),
        (parameter("hidden_layer_sizes", "many"), "refused"),
        (parameter("solver", "lbfgs"), "refused"),
        (parameter("solver", "sgd"), "missing or unknown"),
        (part("numbers", {}), "Expected are the numbers"),
        (array("0.ms.00", np.zeros((1, 1))), "shape"),
    ],
)
def test_a_forged_network_is_refused(change: Any, what: str) -> None:
    with pytest.raises(ModelError, match=what):
        load(decode(forged(change, "network"), "x"), "x")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_stands_in_a_manifest_is_loaded_or_refused(data: st.DataObject) -> None:
    """No value anywhere in the manifest leads to another error than ours."""
    artefact = SCALED
    manifest = orjson.loads(orjson.dumps(artefact.manifest))
    numbers = st.integers(-10, 2**40) | st.floats(allow_nan=False, allow_infinity=False)
    values = st.recursive(
        st.none() | st.booleans() | numbers | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    )
    at: Any = manifest
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(at[key], dict | list) and at[key] and data.draw(st.booleans()):
            at = at[key]
            continue
        at[key] = data.draw(values)
        break
    try:
        one = load(decode(encode(Artefact(manifest, artefact.arrays)), "x"), "x")
    except ModelError:
        return
    assert one.predict_proba(rows(5, 1)).shape == (5, 2)
