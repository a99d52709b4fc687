import copy
import os
import pickle
import platform
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.library import opcheck

from widthwise.errors import InputError, InputTypeError
from widthwise.sparse import SparseLinear, _processor, _product, _small, _team, ops
from widthwise.sparse._fallback import gradients as plain_gradients
from widthwise.sparse._fallback import product as plain_product
from widthwise.sparse.pattern import Pattern, row_pointers


def sparse_weight(rows, columns, connectivity, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    return (weight * (torch.rand(rows, columns, generator=generator) < connectivity)).to(dtype)


def layer_of(rows=20, columns=30, connectivity=0.3, dtype=torch.float64, seed=0):
    bias = torch.linspace(-1, 1, rows, dtype=dtype)
    return SparseLinear(sparse_weight(rows, columns, connectivity, dtype, seed), bias)


def operands(layer, clip=False, batch_last=True):
    pattern = (layer.columns, layer.starts, layer.rows, layer.row_starts, layer.order)
    return (layer.values, layer.bias, *pattern, clip, batch_last)


def laid(x, how):
    return {"rows": x, "columns": x.t().contiguous().t(), "every other": x.repeat_interleave(2, 0)[::2]}[how]


@settings(deadline=None, max_examples=60)
@given(
    batch=st.integers(1, 140),
    rows=st.integers(1, 40),
    columns=st.integers(1, 900),
    connectivity=st.sampled_from([0.0, 0.02, 0.2, 1.0]),
    how=st.sampled_from(["rows", "columns", "every other"]),
    clip=st.booleans(),
    batch_last=st.booleans(),
    seed=st.integers(0, 3),
)
def test_the_layer_and_its_gradients_are_those_of_the_dense_one(
    batch, rows, columns, connectivity, how, clip, batch_last, seed
):
    layer = layer_of(rows, columns, connectivity, seed=seed)
    layer.clip, layer.batch_last = clip, batch_last
    weight = layer.dense().detach().requires_grad_()
    bias = layer.bias.detach().requires_grad_()
    generator = torch.Generator().manual_seed(seed)
    x = laid(torch.randn(batch, columns, generator=generator, dtype=torch.float64), how).requires_grad_()
    expected = nn.functional.linear(x, weight, bias)
    expected = expected.relu() if clip else expected
    slope = torch.randn(batch, rows, generator=generator, dtype=torch.float64)
    want = torch.autograd.grad(expected, (x, weight, bias), slope)
    got = layer(x)
    torch.testing.assert_close(got, expected)
    dx, change, total = torch.autograd.grad(got, (x, layer.values, layer.bias), slope)
    torch.testing.assert_close(dx, want[0])
    torch.testing.assert_close(change, want[1][layer.mask()])
    torch.testing.assert_close(total, want[2])


@pytest.mark.parametrize("batch", [3, 16, 40, 64])
@pytest.mark.parametrize("rows", [1, 8, 21])
@pytest.mark.parametrize("batch_last", [False, True])
def test_gradients_may_lie_in_any_way(batch, rows, batch_last):
    layer = layer_of(rows, 30)
    layer.clip, layer.batch_last = True, batch_last
    x = torch.randn(batch, 30, dtype=torch.float64, requires_grad=True)
    slope = torch.randn(rows, dtype=torch.float64).expand(batch, rows)
    slopes = [laid(slope.contiguous(), how) for how in ("rows", "columns", "every other")] + [slope]
    weight = layer.dense().detach().requires_grad_()
    want = torch.autograd.grad(nn.functional.linear(x, weight, layer.bias).relu(), (x, weight, layer.bias), slope)
    for lies in slopes:
        got = torch.autograd.grad(layer(x), (x, layer.values, layer.bias), lies)
        torch.testing.assert_close(got, (want[0], want[1][layer.mask()], want[2]))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_batch_in_waves_gives_the_same(monkeypatch, threads):
    layer, x = layer_of(40, 30, dtype=torch.float32), torch.randn(300, 30, requires_grad=True)
    layer.clip = True
    slope = torch.randn(300, 40)
    expected = torch.autograd.grad(layer(x), (x, *layer.parameters()), slope)
    monkeypatch.setattr(_product, "_WAVE", 1)
    monkeypatch.setattr(_product, "threads", lambda work: threads)
    got = torch.autograd.grad(layer(x), (x, *layer.parameters()), slope)
    assert all(map(torch.equal, got, expected))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("batch", [20, 300])
def test_weights_in_turns_give_the_same(monkeypatch, threads, batch):
    layer, x = layer_of(90, 700, 0.5, dtype=torch.float32), torch.randn(batch, 700, requires_grad=True)
    if _processor.vector_bytes() == 32:
        assert len(layer.starts) == 1 + 3  # blocks of what the nearest cache holds
    slope = torch.randn(batch, 90)
    expected = layer(x)
    slopes = torch.autograd.grad(expected, (x, *layer.parameters()), slope)
    monkeypatch.setattr(_product, "_HEAVY", 0)
    monkeypatch.setattr(_product, "_TURN", 2**13)
    monkeypatch.setattr(_product, "threads", lambda work: threads)
    got = layer(x)
    assert torch.equal(got, expected)
    assert all(map(torch.equal, torch.autograd.grad(got, (x, *layer.parameters()), slope), slopes))


@pytest.mark.parametrize("batch", [1, 7, 64, 100, 128, 200])
@pytest.mark.parametrize("shape", [(64, 784), (300, 1100)])
@pytest.mark.parametrize("connectivity", [0.01, 0.1, 0.6])
def test_single_precision_is_within_a_hundred_thousandth(batch, shape, connectivity):
    layer = layer_of(*shape, connectivity, dtype=torch.float32)
    x = torch.randn(batch, shape[1])
    exact = x.double() @ layer.dense().double().t() + layer.bias.double()
    assert (layer(x) - exact).abs().max() <= 1e-5 * exact.abs().max()


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("batch", [1, 3, 8, 70])
def test_gradients_pass_gradcheck(batch, clip):
    layer = layer_of(6, 9)
    layer.clip = clip
    x = torch.randn(batch, 9, dtype=torch.float64, requires_grad=True)

    def run(x, values, bias):
        return torch.func.functional_call(layer, {"values": values, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(run, (x, layer.values, layer.bias))


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # jacrev goes row by row
def test_torch_func_differentiates():
    layer = layer_of(6, 9)
    x = torch.randn(20, 9, dtype=torch.float64)
    values = layer.values.detach()

    def run(values):
        return torch.func.functional_call(layer, {"values": values}, (x,)).square()

    want = torch.autograd.functional.jacobian(run, values)
    torch.testing.assert_close(torch.func.jacrev(run)(values), want)
    torch.testing.assert_close(torch.func.grad(lambda v: run(v).sum())(values), want.sum((0, 1)))


@pytest.mark.parametrize("batch_last", [False, True])
@pytest.mark.parametrize("batch", [1, 3, 8, 70])
def test_the_operator_is_known_to_pytorch(batch, batch_last):
    layer = layer_of()
    x = laid(torch.randn(batch, 30, dtype=torch.float64), "columns" if batch_last else "rows").requires_grad_()
    found = opcheck(ops.sparse_linear_op, (x, *operands(layer, True, batch_last)))
    assert set(found.values()) == {"SUCCESS"}


def test_exports():
    layer = layer_of(dtype=torch.float32)
    x = torch.randn(5, 30)
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), layer(x))


def test_traced_and_eager_agree():
    layer = layer_of(dtype=torch.float32)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    results = []
    for run in (layer, compiled):
        x = torch.linspace(-1, 1, 150).reshape(5, 30).requires_grad_()
        y = run(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), (x, layer.values))))
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours, theirs)


def test_wide_indices_give_the_same():
    layer = layer_of(12, 300, 0.1)
    wide = (layer.columns.to(torch.int32), layer.starts, layer.rows.to(torch.int32), layer.row_starts, layer.order)
    x, dy = torch.randn(9, 300, dtype=torch.float64), torch.randn(9, 12, dtype=torch.float64)
    got = _product.product(x, layer.values, layer.bias, wide[0], wide[1], False)
    assert torch.equal(got, layer(x))
    dx, change, _ = _product.gradients(dy, x, None, layer.values, wide[2], wide[3], wide[4], True)
    torch.testing.assert_close(dx, dy @ layer.dense())
    torch.testing.assert_close(change, (dy.t() @ x)[layer.mask()])


def test_a_matrix_too_wide_for_sixteen_bits():
    layer = layer_of(5, 70_000, 0.001)
    x = torch.randn(33, 70_000, dtype=torch.float64)
    assert layer.columns.dtype is torch.int32
    torch.testing.assert_close(layer(x), x @ layer.dense().t() + layer.bias)


@pytest.mark.parametrize("clip", [False, True])
def test_the_fallback_says_the_same_as_the_kernels(clip):
    layer = layer_of(40, 600, 0.1)
    x, dy = torch.randn(9, 600, dtype=torch.float64), torch.randn(9, 40, dtype=torch.float64)
    y = layer.columns, layer.rows, layer.order
    fast = _product.product(x, layer.values, layer.bias, layer.columns, layer.starts, clip)
    slow = plain_product(x, layer.values, layer.bias, *y, clip)
    torch.testing.assert_close(fast, slow)
    gate = fast if clip else None
    ours = _product.gradients(dy, x, gate, layer.values, layer.rows, layer.row_starts, layer.order, True)
    for one, other in zip(ours, plain_gradients(dy, x, gate, layer.values, *y), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_types_go_through_the_fallback(dtype):
    layer = layer_of(dtype=dtype)
    x = torch.randn(4, 30, dtype=dtype, requires_grad=True)
    y = layer(x)
    torch.testing.assert_close(y, nn.functional.linear(x, layer.dense(), layer.bias), rtol=1e-2, atol=1e-2)
    y.sum().backward()
    assert layer.values.grad.dtype is dtype


def test_results_do_not_depend_on_the_number_of_threads():
    layer = layer_of(400, 900, 0.1, dtype=torch.float32)
    x = torch.randn(200, 900)
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            inputs = x.clone().requires_grad_()
            y = layer(inputs)
            found.append((y, *torch.autograd.grad(y.square().sum(), (inputs, layer.values, layer.bias))))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


def test_python_threads_do_where_there_is_no_openmp(monkeypatch):
    from widthwise.sparse import _team

    monkeypatch.setattr(_team, "_team", lambda: _team._python_threads)
    layer = layer_of(200, 500, 0.2)
    x = torch.randn(100, 500, dtype=torch.float64)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        torch.testing.assert_close(layer(x), x @ layer.dense().t() + layer.bias)
    finally:
        torch.set_num_threads(before)


def test_only_nonzeros_exist_in_gradients_and_optimizers():
    layer = layer_of()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    layer(torch.randn(6, 30, dtype=torch.float64)).square().mean().backward()
    optimizer.step()
    assert layer.values.grad.shape == (layer.nnz,)
    assert optimizer.state[layer.values]["exp_avg"].shape == (layer.nnz,)


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_training_goes_as_that_of_the_masked_dense_layer(make):
    layer = layer_of(8, 12, 0.4)
    dense, mask = layer.to_linear(), layer.mask()
    pairs = [(model, make(model.parameters(), lr=0.01)) for model in (layer, dense)]
    for step in range(5):
        x = torch.randn(16, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
        for model, optimizer in pairs:
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
        with torch.no_grad():
            dense.weight *= mask
    torch.testing.assert_close(layer.dense(), dense.weight)


def test_state_travels_with_its_places():
    layer, other = layer_of(seed=0), layer_of(connectivity=0.6, seed=1)
    other.load_state_dict(layer.state_dict())
    x = torch.randn(4, 30, dtype=torch.float64)
    assert torch.equal(other(x), layer(x))
    other(x).sum().backward()
    assert other.values.grad.shape == (layer.nnz,)


@pytest.mark.parametrize(
    ("key", "spoil", "says"),
    [
        ("columns", lambda t: torch.full_like(t, 30), "allowed is 0 to 29"),
        ("columns", lambda t: torch.zeros_like(t), "twice"),
        ("pointers", lambda t: t.flip(0), "do not rise"),
        ("pointers", lambda t: t[:-1], "in 20 rows"),
        ("values", lambda t: t[:-1], "size mismatch for values"),
    ],
)
def test_states_with_bad_places_are_refused_and_change_nothing(key, spoil, says):
    layer = layer_of()
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    state = {name: tensor.clone() for name, tensor in before.items()}
    state[key] = spoil(state[key])
    with pytest.raises((InputError, RuntimeError), match=says):
        layer.load_state_dict(state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.state_dict().items())


def test_a_state_without_its_places_is_missing_them():
    layer = layer_of()
    state = layer.state_dict()
    del state["columns"]
    with pytest.raises(RuntimeError, match="columns"):
        layer.load_state_dict(state)


def _train_one_of_two(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    model = nn.Sequential(layer_of(8, 12, dtype=torch.float32), nn.ReLU(), nn.Linear(8, 1))
    both = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(both.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        both(torch.randn(4, 12) + rank).sum().backward()
        optimizer.step()
    found = [torch.empty_like(model[0].values) for _ in range(2)]
    dist.all_gather(found, model[0].values.detach())
    dist.destroy_process_group()
    assert torch.equal(*found)


@pytest.mark.slow
def test_distributed_training_keeps_the_copies_equal(tmp_path):
    torch.multiprocessing.spawn(_train_one_of_two, args=(tmp_path,), nprocs=2)


def test_copies_and_pickles():
    layer = layer_of()
    x = torch.randn(4, 30, dtype=torch.float64)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x), layer(x))


def test_autocast_runs_in_the_layers_own_type():
    layer = layer_of(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(torch.randn(4, 30, dtype=torch.bfloat16))
    assert y.dtype is torch.float32
    assert y.isfinite().all()


@pytest.mark.parametrize("shape", [(0, 30), (2, 5, 30), (30,), (2, 0, 30)])
def test_any_leading_shape(shape):
    layer = layer_of()
    x = torch.randn(*shape, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    torch.testing.assert_close(y, nn.functional.linear(x, layer.dense(), layer.bias))
    y.sum().backward()
    assert x.grad.shape == shape


def test_a_layer_without_a_weight_gives_its_bias():
    layer = SparseLinear(torch.zeros(3, 4), torch.tensor([1.0, -2.0, 3.0]))
    x = torch.randn(5, 4, requires_grad=True)
    y = layer(x)
    assert torch.equal(y, layer.bias.expand(5, 3))
    y.sum().backward()
    assert layer.nnz == 0
    assert torch.equal(x.grad, torch.zeros(5, 4))


def test_a_nan_stays_where_it_is():
    layer = layer_of()
    x = torch.zeros(70, 30, dtype=torch.float64)
    x[3] = torch.nan
    y = layer(x)
    assert not y[3].isfinite().all()
    assert y[[i for i in range(70) if i != 3]].isfinite().all()


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: layer_of()(torch.randn(3, 29, dtype=torch.float64)), InputError, r"allowed is \(\.\.\., 30\)"),
        (lambda: layer_of()(torch.randn(3, 30)), InputTypeError, "allowed is torch.float64"),
        (lambda: SparseLinear(torch.zeros(3)), InputError, "weight: got"),
        (lambda: SparseLinear(torch.zeros(3, 3, dtype=torch.int64)), InputError, "weight: got"),
        (lambda: SparseLinear(torch.full((3, 3), torch.nan)), InputError, "not finite"),
        (lambda: SparseLinear(torch.ones(3, 3), torch.zeros(4)), InputError, "bias: got"),
        (lambda: SparseLinear(torch.ones(3, 3), mask=torch.ones(3, 2, dtype=torch.bool)), InputError, "mask: got"),
        (lambda: SparseLinear.from_linear(nn.ReLU()), InputTypeError, "layer"),
    ],
)
def test_bad_input_is_named(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_compressed_rows_round_trip():
    mask = sparse_weight(7, 11, 0.3) != 0
    pattern = Pattern.from_rows(*row_pointers(mask), 11)
    by_column = mask.nonzero()[pattern.order.long()]
    assert torch.equal(by_column[:, 0], pattern.rows.long())
    assert by_column[:, 1].diff().min() >= 0


def test_an_old_processor_is_told_once_and_served(monkeypatch):
    monkeypatch.setattr(_processor, "_features", lambda: {"sse2": True})
    monkeypatch.setattr(_processor.platform, "machine", lambda: "x86_64")
    _processor.is_supported.cache_clear()
    layer = layer_of()
    x = torch.randn(4, 30, dtype=torch.float64)
    try:
        with pytest.warns(UserWarning, match="no AVX2"):
            y = layer(x)
        torch.testing.assert_close(layer(x), y)
        torch.testing.assert_close(y, x @ layer.dense().t() + layer.bias)
    finally:
        _processor.is_supported.cache_clear()


def test_numba_loads_with_the_first_kernel_only():
    code = "import sys, widthwise.sparse; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("batch", [1, 70])
def test_a_default_device_does_not_reach_the_kernels_tables(batch):
    layer = layer_of(23, 31)
    x = torch.randn(batch, 31, dtype=torch.float64)
    with torch.device("meta"):
        y = layer(x)
    torch.testing.assert_close(y, x @ layer.dense().t() + layer.bias)


_COMPILE = """
from numba import cfunc, types
from widthwise.sparse import _processor
_processor.vector_bytes = lambda: 64
from widthwise.sparse._kernels.build import MODULES
function = next(vars(module)[{name!r}] for module in MODULES if {name!r} in vars(module))
code = cfunc(types.void(types.CPointer(types.int64)))(function)._library.get_asm_str()
print(sum("vfmadd" in line and "zmm" in line for line in code.splitlines()))
"""


_WIDE = ["conv_product_f32", "conv_gradients_f32", "linear_product_f32_u16", "linear_gradients_f32_u16"]


@pytest.mark.slow
@pytest.mark.skipif("86" not in platform.machine(), reason="AVX-512 belongs to x86")
@pytest.mark.parametrize("name", _WIDE)
def test_wider_vectors_compile_to_wider_instructions(name):
    target = {"NUMBA_CPU_NAME": "skylake-avx512", "NUMBA_CPU_FEATURES": "+avx512f,+avx512vl,+avx512dq,+avx2,+fma"}
    code = _COMPILE.format(name=name)
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | target, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 36  # one to eight registers, at least once each


@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize("batch", [1, 20])
def test_an_array_is_refused(learns, batch):
    layer = SparseLinear(torch.eye(3))
    with (
        torch.set_grad_enabled(learns),
        pytest.raises(InputTypeError, match="x: got ndarray of .*as_tensor makes"),
    ):
        layer(torch.ones(batch, 3).numpy())


def test_a_kernel_that_is_loaded_or_compiled_is_told_of_once(caplog):
    _team._address.cache_clear(), _team._function.cache_clear(), _small._kernel.cache_clear()
    layer = SparseLinear(torch.eye(40))
    with caplog.at_level("INFO", logger="widthwise"), torch.no_grad():
        for batch in (1, 30):
            caplog.clear()
            for _ in range(2):
                layer(torch.ones(batch, 40))
            names = [record.getMessage().split(":")[0] for record in caplog.records]
            assert names
            assert len(set(names)) == len(names)
