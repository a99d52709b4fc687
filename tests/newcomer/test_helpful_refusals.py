"""What somebody new gets wrong, and that the answer says what to do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset
from typer.testing import CliRunner

import widthwise as ww
from widthwise.cli import app
from widthwise.errors import DataError, InputError, InputTypeError, outlined

X, Y = torch.linspace(-1, 1, 128).reshape(16, 8), torch.arange(16) % 3
QUICK = {"base_width": 2, "factors": (2,), "seeds": 1, "train": ww.TrainConfig(epochs=1)}


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))


class Named(nn.Module):
    """A network that answers with a dictionary, as many do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x):
        return {"logits": self.inner(x)}


def meta() -> nn.Module:
    with torch.device("meta"):
        return network()


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        ((X.numpy(), Y.numpy()), InputTypeError, "torch.as_tensor makes a tensor of an array"),
        (TensorDataset(X, Y), InputTypeError, r"DataLoader\(dataset, batch_size=...\)"),
        ({"x": X, "y": Y}, InputTypeError, "a generator makes pairs of a loader's dictionaries"),
        ([{"x": X, "y": Y}], InputTypeError, "got a batch of type dict.*a generator makes pairs"),
        ([(X, Y, Y)], InputTypeError, r"one tuple: \(x, \(y, z\)\)"),
        (ww.data.load((X, Y)), InputTypeError, r"its parts are tensors: \(data.x, data.y\)"),
        ((X[:, :5], Y), InputError, r"model: fails on an x of shape \(16, 5\) and torch.float32.*cannot be multiplied"),
        ((X.double(), Y), InputError, "an x of shape .* and torch.float64, its weights being torch.float32"),
        ((X, Y[:, None]), InputError, r"loss: fails on an output of shape \(16, 3\) .* and a y of shape \(16, 1\)"),
    ],
)
def test_data_that_do_not_fit(data, error, said):
    with pytest.raises(error, match=said):
        ww.prune(network(), 0.5, "snip", data=data, loss=functional.cross_entropy)


@pytest.mark.parametrize("method", ["snip", "grasp"])
def test_a_network_that_answers_with_a_dictionary(method):
    with pytest.raises((InputError, InputTypeError), match="of type dict"):
        ww.prune(Named(), 0.5, method, data=(X, Y), loss=functional.cross_entropy)
    by_hand = ww.prune(
        Named(), 0.5, "snip", data=(X, Y), loss=lambda out, y: functional.cross_entropy(out["logits"], y)
    )
    assert by_hand.kept == 33


@pytest.mark.parametrize("method", ["random", "magnitude", "snip", "grasp", "synflow", "obd", "ntk_sap"])
def test_a_model_without_values(method, tmp_path):
    with pytest.raises(InputError, match=r"'0.weight' is on the meta device and has no values.*to_empty"):
        ww.prune(meta(), 0.5, method, data=(X, Y), loss=functional.cross_entropy)
    with pytest.raises(InputError, match="meta device"):
        ww.sparsify(meta())
    with pytest.raises(InputError, match="meta device"):
        ww.save(meta(), tmp_path / "model.safetensors")
    for act in (ww.sparse.count, ww.kernels.from_module):
        with pytest.raises(InputError, match="meta device"):
            act(meta())


@pytest.mark.parametrize("path", [None, 3, ["a", "b"]])
def test_paths_that_are_none(path):
    mask = ww.Mask.dense(network())
    for act in (
        lambda: ww.save(network(), path),
        lambda: ww.load(path),
        lambda: mask.save(path),
        lambda: ww.Mask.load(path),
        lambda: ww.store.Store(path),
    ):
        with pytest.raises(InputTypeError, match="path: got .*, allowed is (a|the) path"):
            act()


def test_a_missing_file_is_named_once(tmp_path):
    for load in (ww.load, ww.Mask.load):
        with pytest.raises(DataError) as caught:
            load(tmp_path / "none.safetensors")
        assert str(caught.value) == f"{tmp_path}/none.safetensors: cannot be opened (No such file or directory)"


def test_files_that_are_none_of_ours(tmp_path):
    torch.save(network().state_dict(), tmp_path / "model.pt")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    for name, said in [
        ("model.pt", r"written by torch.save or another pickle.*weights_only=True.*widthwise.save"),
        ("table.csv", "is no safetensors file"),
        ("none.safetensors", "cannot be opened"),
    ]:
        with pytest.raises(DataError, match=said):
            ww.load(tmp_path / name)
    with pytest.raises(OSError, match=r"path: got .*, a folder; allowed is the name of a file"):
        ww.save(network(), tmp_path)
    with pytest.raises(OSError, match=r"path: got .*table.csv', but there is a file; allowed is a folder"):
        ww.save(network(), tmp_path / "table.csv" / "model.safetensors")


def test_a_file_where_a_folder_should_be_is_one_line(tmp_path):
    (tmp_path / "out").write_text("in the way")
    done = CliRunner().invoke(app, ["compare", "--seeds", "1", "--epochs", "1", "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "but there is a file; allowed is a folder" in " ".join(done.output.split())
    assert (tmp_path / "out").read_text() == "in the way"


@pytest.mark.parametrize(
    ("build", "error", "said"),
    [
        (network, InputError, "build: network fails on the width 2, allowed is a function of a width"),
        (network(), InputTypeError, "build: got a module, allowed is a function from a width"),
        (lambda width: ww.models.mlp(5, 3, width=width), InputError, r"width 2 fails on an x of shape \(2, 8\)"),
        (lambda width: ww.models.mlp(8, 2, width=width), InputError, r"output has shape \(2, 2\), allowed is \(2, 3\)"),
        (lambda width: Named(), InputTypeError, r"its network gives dict, allowed is a tensor"),
    ],
)
def test_a_factory_that_does_not_fit(build, error, said):
    with pytest.raises(error, match=said):
        ww.compare((X, Y), build, **QUICK)


@pytest.mark.parametrize(
    ("activation", "said"),
    [
        (nn.GELU, r"got the class GELU, allowed is an instance of it, GELU\(\)"),
        (lambda z: torch.from_numpy(np.tanh(z.numpy())), "requires grad"),
    ],
)
def test_an_activation_that_is_none(activation, said):
    with pytest.raises(InputError, match=said):
        ww.activations.get(activation)


def test_a_named_activation_of_ones_own_serves_everywhere():
    mine = ww.activations.register(ww.activations.Activation("newcomers_swish", lambda z: z * torch.sigmoid(z)))
    x = X.double()
    kernel = ww.kernels.MLP(1, "newcomers_swish").ntk(x)
    torch.testing.assert_close(kernel, ww.kernels.MLP(1, "silu").ntk(x), rtol=1e-6, atol=1e-9)
    assert ww.models.mlp(8, 3, width=4, activation=mine.name)(X).shape == (16, 3)


def test_a_loss_that_is_a_class_is_told_so():
    for act in (
        lambda: ww.prune(network(), 0.5, "snip", data=(X, Y), loss=nn.CrossEntropyLoss),
        lambda: ww.nodes.risk_curve(ww.models.node_scaled(8, width=4), X, Y, {"nodes": torch.ones(4)}, [1], nn.MSELoss),
    ):
        with pytest.raises(InputTypeError, match=r"loss: got the class \w+Loss, allowed is an instance of it"):
            act()


def test_flow_of_arrays_is_pointed_to_tensors():
    model = ww.models.node_scaled(8, width=4)
    for x, y, said in [(X.numpy(), X[:, 0], "X"), (X, X[:, 0].numpy(), "y")]:
        with pytest.raises(InputTypeError, match=f"{said}: got ndarray of shape .*torch.as_tensor makes one of it"):
            ww.flow.train(model, x, y, 1.0)


@pytest.mark.parametrize("estimator", [ww.WideSparseClassifier, ww.InfiniteWidthClassifier])
def test_labels_without_an_order_are_named(estimator):
    with pytest.raises(InputTypeError, match="y: got labels of types int, str, allowed are labels that can be sorted"):
        estimator().fit(X.numpy(), np.array(["a", 1] * 8, object))


def test_a_network_where_a_function_that_builds_one_should_be():
    with pytest.raises(InputTypeError, match="build: got a module, allowed is a function from a width to a module"):
        ww.widen(network(), 4, 2)


def test_missing_values_are_pointed_to_the_argument():
    with pytest.raises(ValueError, match="contains NaN") as caught:
        ww.WideSparseRegressor(weights=20, width=4, max_iter=1).fit(np.full((9, 2), np.nan), np.arange(9.0))
    assert "missing='mean'" in " ".join(caught.value.__notes__)


def test_big_arguments_are_told_in_a_few_words():
    assert outlined(np.ones((300, 2))) == "ndarray of shape (300, 2) and dtype float64"
    assert len(outlined(list(range(10_000)))) < 200
    assert len(outlined([[[list(range(100))] * 50] * 50] * 50)) < 200
    for act, said in [
        (lambda: ww.models.mlp(8, 3, width=[[0] * 1000] * 1000), "width: got "),
        (lambda: ww.models.mlp(8, 3, width=-(10**6000)), r"width: got about -2\*\*19932, allowed"),
        (lambda: ww.prune(network(), 10**400, "random"), r"sparsity: got about 2\*\*1329, allowed"),
        (lambda: ww.prune(network(), [[0.5] * 1000] * 1000, "random"), "sparsity: got "),
        (lambda: ww.prune(network(), 0.5, "snap" * 1000), "method: got "),
    ]:
        with pytest.raises((InputError, InputTypeError), match=said) as caught:
            act()
        assert len(str(caught.value)) < 300
    with pytest.raises(InputTypeError, match=r"x1: got ndarray of shape \(16, 8\).*torch.as_tensor makes one of it$"):
        ww.kernels.MLP(1).ntk(X.numpy())


def test_bench_says_which_option_gives_the_example(tmp_path, monkeypatch):
    monkeypatch.setenv("WIDTHWISE_CACHE", str(tmp_path))
    done = CliRunner().invoke(app, ["bench", "mlp", "--set", "in_features=64", "--out", str(tmp_path)])
    said = " ".join(done.output.split())
    assert done.exit_code == 2
    assert "--input: got 3x32x32, allowed is the shape of one example that the model takes" in said


def test_the_command_line_is_named_the_same_by_python_m(monkeypatch, capsys):
    from widthwise.cli import main

    monkeypatch.setattr("sys.argv", ["/somewhere/__main__.py", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert "Usage: widthwise " in capsys.readouterr().out


@pytest.mark.parametrize(
    "use",
    [
        lambda model: ww.prune(model, 0.5, "magnitude"),
        lambda model: ww.rescale(model, ww.Mask.dense(network()), "relu"),
        lambda model: ww.compress(model, 4),
        lambda model: ww.save(model, "never-written"),
    ],
)
def test_a_model_on_the_meta_device(use):
    with torch.device("meta"):
        model = network()
    with pytest.raises(InputError, match=r"model: '0.weight' is on the meta device .* load or draw them first"):
        use(model)


def test_scores_on_the_meta_device():
    with pytest.raises(InputError, match="scores: got 'a' on the meta device"):
        ww.critical_sparsity({"a": torch.ones(3, device="meta")})


@pytest.mark.parametrize(
    "use",
    [
        lambda x: ww.kernels.MLP(1).ntk(x),
        lambda x: ww.kernels.MLP(1).nngp(torch.ones(3, 2), x),
    ],
)
def test_inputs_on_the_meta_device(use):
    with pytest.raises(InputError, match=r"got Tensor of shape \(3, 2\) .* on the meta device, where it has no values"):
        use(torch.ones(3, 2, device="meta"))
