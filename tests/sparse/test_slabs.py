"""However the result of a convolution is cut into pieces, the numbers are those of the dense layer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from widthwise.sparse import SparseConv2d, _convolution
from widthwise.sparse._slabs import Cut, cut

sizes = st.integers(1, 40)


@given(
    st.tuples(sizes, sizes), st.integers(1, 70), st.integers(1, 300), st.tuples(st.integers(0, 4), st.integers(0, 4)),
    st.integers(0, 10**6), st.sampled_from([torch.float32, torch.float64]),
)  # fmt: skip
def test_pieces_hold_the_whole_result(size, batch, images, reach, weights, dtype):
    one = cut(size, batch, images, reach, weights, dtype)
    assert 1 <= one.downs <= size[0]
    assert 1 <= one.alongs <= size[1]
    assert (one.parts - 1) * one.examples < batch <= one.parts * one.examples
    assert one.lines == -(-size[0] // one.downs) + reach[0]
    assert one.columns == -(-size[1] // one.alongs) + reach[1]


@pytest.mark.parametrize(("registers", "cache"), [(32, 2**19), (64, 2**20)])
def test_slabs_fit_the_cache_where_they_can(monkeypatch, registers, cache):
    monkeypatch.setattr("widthwise.sparse._slabs.vector_bytes", lambda: registers)
    monkeypatch.setattr("widthwise.sparse._slabs.cache_bytes", lambda: cache)
    cut.cache_clear()
    one = cut((16, 16), 32, 128, (2, 2), 128 * 128 * 9 // 20, torch.float32)
    cut.cache_clear()
    assert 128 * one.lines * one.columns * one.examples * 4 <= cache


@pytest.fixture
def _forget() -> Iterator[None]:
    yield
    _convolution._forward.cache_clear()
    _convolution._backward.cache_clear()


@pytest.mark.usefixtures("_forget")
@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 20), st.integers(1, 3), st.integers(1, 2), st.integers(0, 2), st.tuples(st.integers(4, 9), sizes),
    st.integers(1, 9), st.integers(1, 9), st.sampled_from([0, 1, 2]), st.booleans(),
)  # fmt: skip
def test_any_cut_gives_the_same_numbers(batch, kernel, stride, padding, size, downs, alongs, lanes, clip):
    size = (size[0], max(kernel, size[1] % 10))

    def forced(found: tuple[int, int], batch: int, images: int, reach: tuple[int, int], *rest: object) -> Cut:
        examples = batch if lanes == 0 else lanes * 8
        down, along = min(downs, found[0]), min(alongs, found[1])
        tall, wide = -(-found[0] // down), -(-found[1] // along)
        return Cut(down, along, -(-batch // examples), examples, tall + reach[0], wide + reach[1])

    torch.manual_seed(0)
    dense = nn.Conv2d(3, 5, kernel, stride, padding, dtype=torch.float64)
    dense.weight.data *= torch.rand(dense.weight.shape) < 0.4
    sparse = SparseConv2d.from_conv2d(dense)
    sparse.clip = clip
    x = torch.randn(batch, 3, *size, dtype=torch.float64, requires_grad=True)
    wanted = dense(x).relu() if clip else dense(x)
    slopes = torch.randn_like(wanted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_convolution, "cut", forced)
        _convolution._forward.cache_clear()
        _convolution._backward.cache_clear()
        got = sparse(x)
        found = torch.autograd.grad(got, (x, sparse.values, sparse.bias), slopes)
    torch.testing.assert_close(got, wanted)
    dx, dw, db = torch.autograd.grad(wanted, (x, dense.weight, dense.bias), slopes)
    torch.testing.assert_close(found, (dx, dw[dense.weight != 0], db))
