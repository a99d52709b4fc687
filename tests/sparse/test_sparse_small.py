import copy
import os
import platform
import subprocess
import sys
from importlib import import_module

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from widthwise.errors import InputError, InputTypeError
from widthwise.sparse import SparseLinear, _small
from widthwise.sparse._fallback import product as plain_product


def layer_of(rows=20, columns=30, connectivity=0.3, dtype=torch.float64, seed=0, bias=True):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    weight *= torch.rand(rows, columns, generator=generator) < connectivity
    return SparseLinear(weight.to(dtype), torch.linspace(-1, 1, rows, dtype=dtype) if bias else None)


def examples(batch, columns, how, dtype=torch.float64):
    x = torch.randn(batch, columns, dtype=dtype)
    return {
        "rows": x,
        "columns": x.t().contiguous().t(),
        "every other": x.repeat_interleave(2, 0)[::2],
        "features apart": x.repeat_interleave(3, 1)[:, ::3],
        "repeated": x[:1].expand(batch, columns),
    }[how]


def usual(layer, x):
    """The numbers by the way that learning takes."""
    with torch.enable_grad():
        return layer(x).detach()


@settings(deadline=None, max_examples=60)
@given(
    batch=st.integers(1, 7),
    rows=st.integers(1, 40),
    columns=st.integers(1, 300),
    connectivity=st.sampled_from([0.0, 0.02, 0.2, 1.0]),
    how=st.sampled_from(["rows", "columns", "every other", "features apart", "repeated"]),
    clip=st.booleans(),
    batch_last=st.booleans(),
    bias=st.booleans(),
    seed=st.integers(0, 3),
)
def test_a_few_examples_are_answered_as_by_the_dense_layer(
    batch, rows, columns, connectivity, how, clip, batch_last, bias, seed
):
    layer = layer_of(rows, columns, connectivity, seed=seed, bias=bias)
    layer.clip, layer.batch_last = clip, batch_last
    x = examples(batch, columns, how)
    expected = nn.functional.linear(x, layer.dense(), layer.bias)
    with torch.no_grad():
        got = layer(x)
    torch.testing.assert_close(got, expected.relu() if clip else expected)
    assert torch.equal(got, usual(layer, x))


@pytest.mark.parametrize("batch", [1, 2, 4, 5, 7])
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_pytorchs_own_sparse_product_agrees(batch):
    layer = layer_of(70, 500, 0.1)
    x = torch.randn(batch, 500, dtype=torch.float64)
    with torch.no_grad():
        csr = layer.dense().to_sparse_csr()
        torch.testing.assert_close(layer(x), (csr @ x.t()).t() + layer.bias)


@pytest.mark.parametrize("batch", [1, 3, 6])
@pytest.mark.parametrize("connectivity", [0.01, 0.1, 0.6])
def test_single_precision_is_within_a_hundred_thousandth(batch, connectivity):
    layer = layer_of(300, 1100, connectivity, torch.float32)
    x = torch.randn(batch, 1100)
    exact = x.double() @ layer.dense().double().t() + layer.bias.double()
    with torch.no_grad():
        assert (layer(x) - exact).abs().max() <= 1e-5 * exact.abs().max()


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_the_fallback_says_the_same(batch):
    layer = layer_of(40, 600, 0.1)
    x = torch.randn(batch, 600, dtype=torch.float64)
    with torch.no_grad():
        slow = plain_product(x, layer.values, layer.bias, layer.columns, layer.rows, layer.order, False)
        torch.testing.assert_close(layer(x), slow)


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_results_do_not_depend_on_the_number_of_threads(batch):
    layer = layer_of(400, 900, 0.5, torch.float32)
    x = torch.randn(batch, 900)
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            with torch.no_grad():
                found.append(layer(x))
            found.append(usual(layer, x))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize("batch", [1, 3])
def test_a_matrix_too_wide_for_sixteen_bits(batch):
    layer = layer_of(5, 70_000, 0.001)
    x = torch.randn(batch, 70_000, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), x @ layer.dense().t() + layer.bias)


@pytest.mark.parametrize("batch", [1, 3])
def test_wide_indices_give_the_same(batch):
    layer = layer_of(12, 300, 0.1)
    x, result = torch.randn(batch, 300, dtype=torch.float64), torch.empty(batch, 12, dtype=torch.float64)
    _small.product(x, layer.values, layer.bias, layer.columns.to(torch.int32), layer.starts, False, result)
    assert torch.equal(result, usual(layer, x))


@pytest.mark.parametrize("shape", [(30,), (1, 1, 30), (2, 3, 30), (0, 30), (2, 0, 30)])
def test_any_leading_shape(shape):
    layer = layer_of()
    x = torch.randn(*shape, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), nn.functional.linear(x, layer.dense(), layer.bias))


def test_rows_without_a_weight_give_their_bias():
    layer = SparseLinear(torch.zeros(3, 4), torch.tensor([1.0, -2.0, 3.0]))
    with torch.no_grad():
        assert torch.equal(layer(torch.randn(1, 4)), layer.bias[None])
        assert torch.equal(layer(torch.randn(5, 4)), layer.bias.expand(5, 3))


def test_a_nan_stays_with_its_example():
    layer = layer_of()
    layer.clip = True
    x = torch.zeros(6, 30, dtype=torch.float64)
    x[3] = torch.nan
    with torch.no_grad():
        y = layer(x)
    assert y[3].isnan().any()
    assert y[[0, 1, 2, 4, 5]].isfinite().all()


def _move(layer):
    layer.load_state_dict(layer_of(connectivity=0.6, seed=1).state_dict())


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer.values.data.mul_(2),
        lambda layer: setattr(layer.values, "data", layer.values.data.flip(0)),
        lambda layer: setattr(layer, "values", nn.Parameter(layer.values.detach() + 1)),
        lambda layer: layer.bias.data.add_(1),
        lambda layer: setattr(layer, "bias", None),
        lambda layer: setattr(layer, "clip", True),
        lambda layer: layer.share_memory(),
        lambda layer: layer.float().double(),
        _move,
    ],
)
@pytest.mark.parametrize("batch", [1, 4])
def test_what_changes_in_a_layer_is_seen(change, batch):
    layer = layer_of()
    x = torch.randn(batch, 30, dtype=torch.float64)
    with torch.no_grad():
        layer(x)
        change(layer)
        expected = nn.functional.linear(x, layer.dense(), layer.bias)
        torch.testing.assert_close(layer(x), expected.relu() if layer.clip else expected)
        torch.testing.assert_close(copy.deepcopy(layer)(x), layer(x))


@pytest.mark.parametrize("batch", [1, 4])
def test_traces_and_transforms_give_the_same(batch):
    layer = layer_of()
    x = torch.randn(batch, 30, dtype=torch.float64)
    with torch.no_grad():
        expected = layer(x)
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(x), expected)
        assert torch.equal(torch.export.export(layer, (x,)).module()(x), expected)
        again = {name: 2 * value for name, value in layer.named_parameters()}
        assert torch.equal(torch.func.functional_call(layer, again, (x,)), 2 * expected)
    slope = torch.func.grad(lambda x: layer(x)[0, 5])(x)
    torch.testing.assert_close(slope[0], layer.dense()[5])


def test_inference_mode_and_autocast():
    layer = layer_of(dtype=torch.float32)
    x = torch.randn(3, 30)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), nn.functional.linear(x, layer.dense(), layer.bias))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x.bfloat16()).dtype is torch.float32
        assert torch.equal(layer(x), usual(layer, x))


@torch.no_grad()
def test_bad_input_is_named():
    layer = layer_of()
    with pytest.raises(InputError, match=r"allowed is \(\.\.\., 30\)"):
        layer(torch.randn(1, 29, dtype=torch.float64))
    with pytest.raises(InputTypeError, match="allowed is torch.float64"):
        layer(torch.randn(1, 30))


_COMPILE = """
import sys
from numba import njit, types
from widthwise.sparse._kernels import few_now
function, target = getattr(few_now, sys.argv[1]), sys.argv[2]
kernel = njit(types.void(*[types.int64] * function.__code__.co_argcount))(function)
library = kernel.overloads[kernel.signatures[0]].library
if target == "host":
    print(library.get_asm_str())
else:
    import llvmlite.binding as llvm
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    lines = library.get_llvm_str().splitlines()
    text = "\\n".join(line for line in lines if not line.startswith(("target triple", "target datalayout")))
    module = llvm.parse_assembly(text)
    module.triple = target
    machine = llvm.Target.from_triple(target).create_target_machine(opt=2)
    module.data_layout = str(machine.target_data)
    print(machine.emit_assembly(module))
"""


def _assembly(name, target, environment=None):
    done = subprocess.run(
        [sys.executable, "-c", _COMPILE, name, target],
        env=os.environ | (environment or {}), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one_now_f32_u16", "few_now_f32_u16", "few_now_f64_i32"])
def test_the_kernels_compile_for_arm(name):
    code = _assembly(name, "aarch64-unknown-linux-gnu")
    lanes = ".4s" if "f32" in name else ".2d"
    assert sum(("fmla" in line or "fmul" in line) and lanes in line for line in code) >= 4


@pytest.mark.slow
@pytest.mark.skipif("86" not in platform.machine(), reason="AVX-512 belongs to x86")
@pytest.mark.parametrize("name", ["one_now_f32_u16", "few_now_f32_u16"])
def test_the_kernels_compile_for_wider_machines(name):
    target = {"NUMBA_CPU_NAME": "skylake-avx512", "NUMBA_CPU_FEATURES": "+avx512f,+avx512vl,+avx512dq,+avx2,+fma"}
    code = _assembly(name, "host", target)
    assert sum(("vfmadd" in line or "vmulps" in line) and "ymm" in line for line in code) >= 4
    assert import_module("widthwise.sparse._kernels.rows").FEW == _small._LANES
