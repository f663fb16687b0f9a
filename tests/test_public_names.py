"""Which names are public, that each has one path, and that importing the package stays light."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys

import pytest

import overt

TOP = {
    "CompositionPenalty",
    "DeepCircularConvolution",
    "DeepDiagonal",
    "DeepLinear",
    "Factored",
    "JacobianPenalty",
    "MatrixCompletion",
    "MatrixSensing",
    "RFMClassifier",
    "RFMRegressor",
    "SpectralPenalty",
    "Spectrum",
    "SpectrumTracker",
    "VectorPenalty",
    "__version__",
    "compress",
    "functional",
    "infer_penalty",
    "measure",
    "reweighted",
    "train",
}
ROOMS = [
    "completion",
    "features",
    "functional",
    "linalg",
    "measures",
    "models",
    "optim",
    "penalties",
    "problems",
    "studies",
    "training",
]


def test_the_names_of_the_package():
    assert set(overt.__all__) == TOP
    assert len(overt.__all__) == len(TOP)


@pytest.mark.parametrize("name", sorted(TOP))
def test_each_name_can_be_imported(name):
    assert getattr(overt, name) is not None
    assert name in dir(overt)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_are_reached_without_further_imports(room):
    assert getattr(overt, room) is importlib.import_module(f"overt.{room}")
    assert room in dir(overt)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_what_it_lists_and_lists_it_once(room):
    module = importlib.import_module(f"overt.{room}")
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert not name.startswith("_")
        assert getattr(module, name) is not None


def test_no_object_is_public_in_two_rooms():
    """The few names that the package itself repeats are in its own list, and are the same objects."""
    homes = {}
    for room in ROOMS:
        module = importlib.import_module(f"overt.{room}")
        for name in module.__all__:
            value = getattr(module, name)
            if callable(value):
                homes.setdefault(id(value), []).append(f"overt.{room}.{name}")
    twice = [paths for paths in homes.values() if len(paths) > 1]
    # A functional of the spectrum is handy beside the others, and is the same function.
    assert twice in ([], [["overt.functional.singular_values", "overt.linalg.singular_values"]])
    for name in TOP - {"__version__", "functional"}:
        assert id(getattr(overt, name)) in homes


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'DeepLinaer'"):
        overt.DeepLinaer  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        overt.studies.nothing  # noqa: B018


HEAVY = {
    "matplotlib",
    "sklearn",
    "pandas",
    "scipy",
    "rich",
    "click",
    "joblib",
    "pydantic",
    "jinja2",
    "pooch",
    "PIL",
}


def loaded(code):
    """Which of the heavy packages a new interpreter has imported after some code."""
    code = f"import sys\n{code}\nprint(sorted({HEAVY!r} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ast.literal_eval(answer.stdout.strip()))


def test_importing_the_package_imports_nothing_heavy_not_even_torch():
    assert loaded("import overt; assert 'torch' not in sys.modules") == set()


@pytest.mark.slow
def test_functionals_penalties_and_training_need_torch_alone():
    code = "import overt; overt.functional, overt.SpectralPenalty, overt.DeepLinear, overt.train"
    assert loaded(code) == set()


@pytest.mark.slow
def test_problems_load_their_readers_only_when_asked():
    assert loaded("import overt.problems") == set()


@pytest.mark.slow
def test_reweighting_a_network_needs_torch_alone():
    code = "import torch, overt.features; fit = lambda X, y: torch.nn.Linear(2, 1)\n"
    code += "X = torch.randn(9, 2); overt.reweighted(fit, X, X[:, :1], rounds=1, validation=(X, X[:, :1]))"
    assert loaded(code) == set()


@pytest.mark.slow
def test_completion_does_without_plots_and_tables():
    found = loaded("import overt.completion, overt.completion.explicit")
    assert not {"matplotlib", "pandas", "click", "jinja2"} & found
