"""Sparse convolutions against ``torch.nn.functional.conv2d``, over shapes, layouts, element types and threads."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from widthwise import errors
from widthwise.sparse import conv_ops
from widthwise.sparse.conv import SparseConv2d

CLOSE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 5e-2}
# channels in and out, kernel, stride, padding, dilation, groups
SHAPES = [
    (4, 6, 3, 1, 1, 1, 1),
    (3, 5, 1, 1, 0, 1, 1),
    (3, 5, 1, 2, 0, 1, 1),
    (4, 6, (2, 3), (2, 1), (1, 0), (1, 2), 2),
    (6, 6, 3, 2, 1, 1, 6),
    (2, 3, (4, 2), 1, "same", (1, 3), 1),
    (2, 3, 5, 3, "valid", 1, 1),
    (2, 3, 1, 1, 3, 1, 1),
]


def dense_layer(shape, density: float = 0.5, dtype: torch.dtype = torch.float32) -> nn.Conv2d:
    inputs, outputs, kernel, stride, padding, dilation, groups = shape
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, dtype=dtype)
    layer.weight.data *= torch.rand(layer.weight.shape) < density
    return layer


def reference(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """The dense layer; zeros are put on by hand, since PyTorch warns of an uneven ``"same"``."""
    top, left, bottom, right = SparseConv2d.from_conv2d(layer).geometry[4:8]
    wide = functional.pad(x, (left, right, top, bottom))
    return functional.conv2d(wide, layer.weight, layer.bias, layer.stride, 0, layer.dilation, layer.groups)


def batch_last(x: Tensor) -> Tensor:
    return x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)


def error(got: Tensor, wanted: Tensor) -> float:
    """Largest deviation relative to the largest number, which is what rounding of sums is relative to."""
    assert got.shape == wanted.shape
    if not wanted.numel():
        return 0.0
    got, wanted = got.detach(), wanted.detach()
    return float((got - wanted).abs().max() / wanted.abs().max().clamp(min=1e-3))


def check(layer: nn.Conv2d, x: Tensor, *, clip: bool = False, stays: bool = False) -> SparseConv2d:
    """Result and all three gradients of the sparse layer against the dense one's."""
    sparse = SparseConv2d.from_conv2d(layer)
    sparse.clip, sparse.batch_last = clip, stays
    close = CLOSE[x.dtype]
    ours = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    # PyTorch 2.13's own backward writes out of bounds for 1x1 kernels, stride 2 and channels last: not for the oracle.
    theirs = x.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
    result, wanted = sparse(ours), reference(layer, theirs)
    wanted = wanted.relu() if clip else wanted
    assert error(result, wanted) <= close
    assert result.is_contiguous() or stays
    slopes = torch.randn_like(wanted)
    if clip:  # where rounding decides whether the gate opens, nothing is compared
        slopes[wanted.abs() < 1e-5] = 0
    result.backward(batch_last(slopes) if stays else slopes)
    wanted.backward(slopes)
    assert error(ours.grad, theirs.grad) <= close
    assert error(sparse.values.grad, layer.weight.grad[layer.weight != 0]) <= close
    if layer.bias is not None:
        assert error(sparse.bias.grad, layer.bias.grad) <= close
    return sparse


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("batch", [0, 1, 7, 16])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_dense(shape, batch: int, dtype: torch.dtype) -> None:
    layer = dense_layer(shape, dtype=dtype)
    check(layer, torch.randn(batch, shape[0], 9, 8, dtype=dtype))


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("stays", [False, True])
@pytest.mark.parametrize("lay", [batch_last, Tensor.contiguous, lambda x: x.to(memory_format=torch.channels_last)])
@pytest.mark.parametrize("shape", SHAPES[:5])
def test_any_layout_of_input_and_gradient(shape, lay, stays: bool, clip: bool) -> None:
    for batch in (8, 5):
        check(dense_layer(shape), lay(torch.randn(batch, shape[0], 8, 6)), clip=clip, stays=stays)


def test_strided_and_expanded_inputs() -> None:
    layer = dense_layer(SHAPES[0])
    check(layer, torch.randn(6, 8, 10, 14)[::2, ::2, 1:, 3::2])
    x = torch.randn(1, 4, 6, 6).expand(9, 4, 6, 6)
    assert error(SparseConv2d.from_conv2d(layer)(x), layer(x)) <= 1e-5


@st.composite
def geometries(draw):
    whole = lambda low, high: st.integers(low, high)  # noqa: E731
    pair = lambda low, high: (draw(whole(low, high)), draw(whole(low, high)))  # noqa: E731
    groups = draw(whole(1, 3))
    kernel, stride, dilation, padding = pair(1, 4), pair(1, 4), pair(1, 3), pair(0, 5)
    least = [max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in zip(kernel, dilation, padding, strict=True)]
    size = tuple(draw(whole(low, low + 9)) for low in least)
    shape = (groups * draw(whole(1, 3)), groups * draw(whole(1, 3)), kernel, stride, padding, dilation, groups)
    return shape, (draw(st.sampled_from([1, 2, 3, 4, 8, 9, 24])), shape[0], *size), draw(st.floats(0, 1))


@settings(deadline=None, max_examples=120)
@given(geometries(), st.booleans(), st.integers(0, 2**31))
def test_equals_dense_for_every_geometry(case, stays: bool, seed: int) -> None:
    shape, size, density = case
    torch.manual_seed(seed)
    x = torch.randn(size, dtype=torch.float64)
    check(dense_layer(shape, density, torch.float64), batch_last(x) if stays else x, stays=stays)


def test_gradients_by_differences() -> None:
    for shape in (SHAPES[0], SHAPES[3], SHAPES[6]):
        sparse = SparseConv2d.from_conv2d(dense_layer(shape, dtype=torch.float64))
        x = torch.randn(2, shape[0], 5, 6, dtype=torch.float64, requires_grad=True)

        def run(x: Tensor, values: Tensor, bias: Tensor, sparse: SparseConv2d = sparse) -> Tensor:
            return torch.func.functional_call(sparse, {"values": values, "bias": bias}, (x,))

        assert torch.autograd.gradcheck(run, (x, sparse.values, sparse.bias), nondet_tol=0.0)


def test_wide_indices() -> None:
    """More taps than 16 bits count, forward and backward."""
    layer = nn.Conv2d(900, 20, 9, bias=False)
    layer.weight.data *= torch.rand(layer.weight.shape) < 0.01
    sparse = check(layer, torch.randn(8, 900, 10, 9))
    assert sparse.columns.dtype == torch.int32
    layer = nn.Conv2d(3, 900, 9)
    layer.weight.data *= torch.rand(layer.weight.shape) < 0.1
    sparse = check(layer, torch.randn(8, 3, 10, 9))
    assert (sparse.columns.dtype, sparse.rows.dtype) == (torch.uint16, torch.int32)


@pytest.fixture
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("batch", [1, 8])
def test_results_do_not_depend_on_threads(batch: int) -> None:
    layer = nn.Conv2d(32, 48, 3, 2, 1)
    layer.weight.data *= torch.rand(layer.weight.shape) < 0.3
    sparse, x = SparseConv2d.from_conv2d(layer), torch.randn(batch, 32, 20, 20, requires_grad=True)
    seen = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        y = sparse(x)
        seen.append((y, *torch.autograd.grad(y.square().sum(), (x, sparse.values, sparse.bias))))
    for other in seen[1:]:
        assert all(torch.equal(a, b) for a, b in zip(seen[0], other, strict=True))


def test_calls_at_once_and_after_each_other_keep_apart() -> None:
    layer = dense_layer((8, 8, 3, 1, 1, 1, 1))
    sparse = SparseConv2d.from_conv2d(layer)
    pictures = [torch.randn(40, 8, 12, 12) for _ in range(12)]
    with torch.no_grad():
        wanted = [layer(x) for x in pictures]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(sparse, pictures))
        in_turn = [sparse(x) for x in pictures]
    for results in (together, in_turn):
        assert all(error(got, want) <= 1e-5 for got, want in zip(results, wanted, strict=True))


def test_channels_without_a_weight() -> None:
    layer = nn.Conv2d(4, 6, 3, padding=1)
    layer.weight.data[[0, 2, 5]] = 0
    layer.weight.data[:, [1, 3]] = 0
    check(layer, torch.randn(5, 4, 6, 6))
    layer.weight.data.zero_()
    layer.zero_grad()
    sparse = check(layer, torch.randn(5, 4, 6, 6))
    assert sparse.nnz == 0


def test_no_gradient_where_none_is_wanted() -> None:
    layer = dense_layer(SHAPES[0])
    sparse, x = SparseConv2d.from_conv2d(layer), torch.randn(4, 4, 6, 6)
    sparse(x).sum().backward()
    layer(x).sum().backward()
    assert x.grad is None
    assert error(sparse.values.grad, layer.weight.grad[layer.weight != 0]) <= 1e-5
    with torch.no_grad():
        assert not sparse(x).requires_grad


def test_one_picture_without_a_batch() -> None:
    layer = dense_layer(SHAPES[0])
    x = torch.randn(4, 6, 6)
    assert error(SparseConv2d.from_conv2d(layer)(x), layer(x)) <= 1e-5


@pytest.mark.parametrize("shape", SHAPES)
def test_dense_and_back_is_exact(shape) -> None:
    layer = dense_layer(shape)
    back = SparseConv2d.from_conv2d(layer).to_conv2d()
    assert repr(back) == repr(layer)
    assert torch.equal(back.weight, layer.weight)
    assert torch.equal(back.bias, layer.bias)


def test_a_mask_keeps_zeros_that_live() -> None:
    layer = dense_layer(SHAPES[3])
    mask = torch.rand(layer.weight.shape) < 0.7
    sparse = SparseConv2d.from_conv2d(layer, mask)
    assert sparse.nnz == int(mask.sum())
    assert torch.equal(sparse.values, layer.weight[mask])
    assert torch.equal(sparse.weight, layer.weight * mask)


def test_state_dict_moves_the_weights() -> None:
    one, other = (SparseConv2d.from_conv2d(dense_layer(SHAPES[3])) for _ in range(2))
    x = torch.randn(3, 4, 7, 7)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(x), other(x))
    assert set(one.state_dict()) == {"values", "pointers", "columns", "bias"}


def test_state_dict_of_another_group_is_refused() -> None:
    layer = SparseConv2d.from_conv2d(dense_layer((4, 4, 1, 1, 0, 1, 2), 1.0))
    state = {**layer.state_dict(), "columns": (layer.columns.int() + 2).remainder(4).to(layer.columns.dtype)}
    with pytest.raises(errors.InputError, match="another of the 2 groups"):
        layer.load_state_dict(state)


def test_copies_and_training() -> None:
    sparse = SparseConv2d.from_conv2d(dense_layer(SHAPES[0]))
    twin, x = copy.deepcopy(sparse), torch.randn(4, 4, 6, 6)
    optimizer = torch.optim.Adam(twin.parameters(), lr=0.01)
    before = float(twin(x).detach().square().mean())
    for _ in range(20):
        optimizer.zero_grad()
        twin(x).square().mean().backward()
        optimizer.step()
    assert float(twin(x).detach().square().mean()) < before
    assert not torch.equal(twin.values, sparse.values)
    assert optimizer.state[twin.values]["exp_avg"].shape == (sparse.nnz,)
    file = io.BytesIO()
    torch.save(twin.state_dict(), file)
    assert file.tell() > 0


def test_autocast_computes_in_the_weights_type() -> None:
    layer = dense_layer(SHAPES[0])
    sparse, x = SparseConv2d.from_conv2d(layer), torch.randn(4, 4, 6, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = sparse(x.bfloat16())
    assert result.dtype == torch.float32
    assert error(result, layer(x.bfloat16().float())) <= 1e-5


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[3]])
@pytest.mark.parametrize("batch", [1, 5])
def test_operator_is_registered_properly(shape, batch: int) -> None:
    layer = SparseConv2d.from_conv2d(dense_layer(shape))
    x = torch.randn(batch, shape[0], 6, 7, requires_grad=True)
    arguments = (
        x, layer.values, layer.bias, layer.columns, layer.starts, layer.rows, layer.row_starts, layer.order, True,
        layer.geometry,
    )  # fmt: skip
    torch.library.opcheck(torch.ops.widthwise.sparse_conv2d.default, arguments)
    eager = conv_ops.sparse_conv2d(*arguments)
    assert torch.equal(eager, torch.ops.widthwise.sparse_conv2d(*arguments))


def test_compiles() -> None:
    model = nn.Sequential(SparseConv2d.from_conv2d(dense_layer(SHAPES[0])), nn.ReLU(), nn.Flatten())
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for batch in (3, 4):
        x = torch.randn(batch, 4, 6, 6)
        assert torch.equal(compiled(x), model(x))
        compiled(x).sum().backward()
        traced = model[0].values.grad.clone()
        model.zero_grad()
        model(x).sum().backward()
        assert error(traced, model[0].values.grad) <= 1e-6
        model.zero_grad()


def test_nan_and_infinity_stay_where_they_are() -> None:
    layer = dense_layer(SHAPES[0])
    x = torch.randn(2, 4, 8, 8)
    x[0, 1, 4, 4], x[1, 2, 1, 1] = float("nan"), float("inf")
    sparse = SparseConv2d(layer.weight, layer.bias, padding=1, mask=layer.weight != 0)
    result = sparse(x)
    rows = (layer.weight[:, 1] != 0).flatten(1).any(1)
    assert result[0].isnan().any((1, 2)).equal(rows)
    assert result[0, :, 0, 0].isfinite().all()
    assert not result[1, :, 1, 1].isnan().any()


def weight(*shape: int) -> Tensor:
    return torch.ones(shape or (2, 2, 3, 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((weight(2, 2),), "weight: got"),
        ((weight().long(),), "weight: got"),
        ((weight(0, 2, 3, 3),), "weight: got"),
        ((weight() * float("inf"),), "not finite"),
        ((weight(), torch.ones(3)), "bias: got"),
        ((weight(), None, 0), "stride: got 0"),
        ((weight(), None, (1, 2, 3)), "stride: got"),
        ((weight(), None, 1, -1), "padding: got -1"),
        ((weight(), None, 2, "same"), "padding: got 'same'"),
        ((weight(), None, 1, "full"), "padding: got 'full'"),
        ((weight(), None, 1, 0, 0), "dilation: got 0"),
        ((weight(), None, 1, 0, 1, 3), "groups: got 3"),
    ],
)
def test_bad_layers_are_refused(arguments, message: str) -> None:
    with pytest.raises(errors.InputError, match=message):
        SparseConv2d(*arguments)


def test_bad_masks_and_paddings_are_refused() -> None:
    with pytest.raises(errors.InputError, match="mask: got"):
        SparseConv2d(weight(), mask=torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(errors.InputError, match="padding_mode 'reflect'"):
        SparseConv2d.from_conv2d(nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"))
    with pytest.raises(errors.InputTypeError, match="layer: got"):
        SparseConv2d.from_conv2d(nn.Linear(2, 2))
    with pytest.raises(errors.InputTypeError, match="stride: got"):
        SparseConv2d(weight(), None, 1.5)


@pytest.mark.parametrize("size", [(2, 3, 8, 8), (2, 8), (2, 2, 2, 8), (0, 2, 2, 2)])
def test_bad_inputs_are_refused(size) -> None:
    with pytest.raises(errors.InputError, match="x: got"):
        SparseConv2d(weight())(torch.ones(size))


@pytest.mark.parametrize("size", [(1, 2, 4, 4), (2, 4, 4)])
def test_an_array_is_refused(size) -> None:
    with pytest.raises(errors.InputTypeError, match=r"x: got ndarray of shape .*torch.as_tensor makes one of it"):
        SparseConv2d(weight())(torch.ones(size).numpy())


def test_another_type_is_refused() -> None:
    with pytest.raises(errors.InputTypeError, match=r"x: got torch\.float64"):
        SparseConv2d(weight())(torch.ones(1, 2, 4, 4, dtype=torch.float64))


def test_training_goes_on_after_inference_mode():
    layer = SparseConv2d(torch.randn(8, 4, 3, 3) * (torch.rand(8, 4, 3, 3) < 0.3), padding=1)
    with torch.inference_mode():
        layer(torch.randn(37, 4, 21, 19))  # the most memory that any test here needs
    x = torch.randn(37, 4, 21, 19, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.isfinite().all()


def test_a_default_device_does_not_reach_the_tables():
    weight = torch.randn(6, 3, 3, 3) * (torch.rand(6, 3, 3, 3) < 0.3)
    layer, x = SparseConv2d(weight, padding=1), torch.randn(5, 3, 11, 13)
    with torch.device("meta"):
        y = layer(x)
    torch.testing.assert_close(y, functional.conv2d(x, weight, padding=1), rtol=1e-4, atol=1e-5)
