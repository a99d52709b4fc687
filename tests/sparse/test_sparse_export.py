"""An ONNX file says what the sparse model says."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from widthwise.errors import InputError, InputTypeError
from widthwise.models import mlp
from widthwise.pruning import prune
from widthwise.sparse import SparseLinear, sparsify
from widthwise.sparse.export import to_onnx


def run(path, x):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]


def test_a_sparse_model_says_the_same_in_another_runtime_at_any_batch_size(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    model = mlp(in_features=20, out_features=5, width=32)
    prune(model, 0.8, "random")
    sparsify(model, policy="always").train()
    before = str(model)
    to_onnx(model, tmp_path / "m.onnx", torch.randn(1, 20))
    assert model.training
    assert str(model) == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
    weights = {tuple(t.dims): onnx.numpy_helper.to_array(t) for t in onnx.load(tmp_path / "m.onnx").graph.initializer}
    dense = model.hidden1.dense().detach().numpy()
    assert np.array_equal(weights[(32, 20)], dense)
    for batch in (1, 2, 7):
        x = torch.randn(batch, 20)
        np.testing.assert_allclose(run(tmp_path / "m.onnx", x), model(x).detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_convolutional_model_with_a_mask(tmp_path):
    pytest.importorskip("onnxscript")
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()
    prune(model, 0.5, "magnitude")
    to_onnx(model, tmp_path / "m.onnx", torch.randn(2, 3, 8, 8))
    x = torch.randn(3, 3, 8, 8)
    np.testing.assert_allclose(run(tmp_path / "m.onnx", x), model(x).detach().numpy(), rtol=1e-4, atol=1e-5)


class Undecided(nn.Module):
    """Whose way depends on numbers, which ONNX has no words for."""

    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_what_pytorch_can_not_express_is_said_in_a_line_and_prints_nothing(tmp_path, capfd):
    pytest.importorskip("onnxscript")
    with pytest.raises(InputError, match=r"model: no ONNX for an example of shape \(2, 3\) and torch.float32 \("):
        to_onnx(Undecided(), tmp_path / "m.onnx", torch.ones(2, 3))
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


class Doubled(nn.Module):
    """Whose numbers are NumPy's on the way."""

    def forward(self, x):
        return torch.from_numpy(x.numpy() * 2)


def test_numpy_on_the_way_is_expressed(tmp_path):
    reference = pytest.importorskip("onnx.reference")
    pytest.importorskip("onnxscript")
    to_onnx(Doubled(), tmp_path / "m.onnx", torch.ones(2, 3))
    session = reference.ReferenceEvaluator(str(tmp_path / "m.onnx"))
    x = torch.randn(5, 3).numpy()
    np.testing.assert_array_equal(session.run(None, {session.input_names[0]: x})[0], 2 * x)


def test_what_can_not_be_exported_is_said_in_a_line_and_leaves_no_file(tmp_path, capfd):
    pytest.importorskip("onnxscript")
    model = nn.Sequential(SparseLinear(torch.eye(3)))
    with pytest.raises(InputError, match=r"model: no ONNX for an example of shape \(2, 4\)") as caught:
        to_onnx(model, tmp_path / "m.onnx", torch.ones(2, 4))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(InputError, match="example: got a number"):
        to_onnx(model, tmp_path / "m.onnx", torch.tensor(1.0))
    with pytest.raises(InputTypeError, match="example"):
        to_onnx(model, tmp_path / "m.onnx", [1.0])
    with pytest.raises(InputTypeError, match="model"):
        to_onnx("model", tmp_path / "m.onnx", torch.ones(2, 4))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"needs the package '{package}'.*widthwise\[onnx\]"):
        to_onnx(nn.Linear(2, 2), tmp_path / "m.onnx", torch.ones(1, 2))


def test_pytorchs_own_exporter_fails_and_is_told_of_ours(tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("torch.onnx._internal.exporter._flags")  # without it nothing says that an export is going on
    model = nn.Sequential(SparseLinear(torch.eye(3)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(torch.onnx.OnnxExporterError):
            torch.onnx.export(model, (torch.ones(2, 3),), tmp_path / "m.onnx", dynamo=True, verbose=False)
    said = [str(warning.message) for warning in caught if warning.category is UserWarning]
    assert any("widthwise.sparse.to_onnx(model, path, example)" in line for line in said)
