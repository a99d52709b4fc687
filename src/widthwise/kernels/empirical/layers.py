"""The structured form: in a dense layer an example's gradient is an outer product, and two of them meet in two numbers.

For inputs A and output gradients D, a row an example, the kernel of a layer is (A A^T + 1) o (D D^T), the 1 for the
biases. A layer that is applied at several places of an example (convolution, tokens, reuse) or that is sparse has its
gradients worked out from the same two factors. Parameters of any other kind are left to Jacobian contraction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from widthwise.kernels.empirical.factors import Factor, Gradients, Outer, contract
from widthwise.kernels.empirical.jacobian import JacobianContraction
from widthwise.kernels.empirical.subject import Subject

__all__ = ["LayerForm", "Use"]


@dataclass(frozen=True)
class Use:
    """What a layer saw and what reached it, at every place where it was applied.

    Attributes:
        inputs: ``(b, places, p)``.
        deltas: gradients of the outputs with respect to the layer's own, ``(b, k, places, q)``.
    """

    inputs: Tensor
    deltas: Tensor

    def gradients(self) -> Tensor:
        """Gradients of the weights, ``(b, k, q, p)``."""
        return self.deltas.mT @ self.inputs[:, None]


class LayerForm:
    """Dense and convolutional layers by their factors, all other parameters by Jacobian contraction.

    Args:
        subject: the network.
        x: some of its examples, on which every layer's factors are held against autograd.
    """

    name: ClassVar[str] = "layers"

    def __init__(self, subject: Subject, x: Tensor) -> None:
        self.subject = subject
        self._layers = _candidates(subject)
        self.sizes = self._confirmed(x[:2])
        self._layers = list(self.sizes)
        covered = {name for layer in self._layers for name in _own(subject, layer)}
        rest = subject.without(covered)
        self.rest = JacobianContraction(rest) if rest.params else None

    @property
    def applicable(self) -> bool:
        """Whether there is a layer to gain from."""
        return bool(self._layers)

    @property
    def row_size(self) -> int:
        """Numbers held for an example."""
        k = self.subject.outputs
        held = 0
        for layer, (places, p, q) in self.sizes.items():
            held += 2 * places * (p + k * q)
            if not self.is_outer(layer, places):
                held += 2 * k * p * q
        return held + (self.rest.row_size if self.rest else 0)

    def prepare(self, x: Tensor) -> list[Factor]:
        """The factors of a block of examples."""
        factors: list[Factor] = []
        for layer, use in self._uses(x).items():
            factors += self._factors(layer, use)
        return factors + (self.rest.prepare(x) if self.rest else [])

    def kernel(self, first: list[Factor], second: list[Factor], full: bool) -> Tensor:
        """The kernel of two blocks."""
        return contract(first, second, full)

    def is_outer(self, layer: nn.Module, places: int) -> bool:
        """Whether an example's gradient in a layer is a single outer product, every weight of it counting."""
        return places == 1 and not any(name in self.subject.live for name in _own(self.subject, layer))

    def _factors(self, layer: nn.Module, use: Use) -> list[Factor]:
        parts = {_leaf(name): name for name in _own(self.subject, layer)}
        if self.is_outer(layer, use.inputs.shape[1]):
            inputs = use.inputs[:, 0] if "weight" in parts else None
            return [Outer(use.deltas[:, :, 0], inputs, "bias" in parts)]
        found: list[Factor] = []
        if "weight" in parts:
            rows = use.gradients().flatten(2)
            live = self.subject.live.get(parts["weight"])
            found.append(Gradients(rows if live is None else rows[:, :, live]))
        if "bias" in parts:
            found.append(Gradients(use.deltas.sum(2)))
        return found

    def _uses(self, x: Tensor) -> dict[nn.Module, Use]:
        """Run the model forward once and backward once an output, watching its layers."""
        seen: defaultdict[nn.Module, list[tuple[Tensor, GradientEdge]]] = defaultdict(list)

        def watch(layer: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Tensor) -> None:
            given = args[0] if args else kwargs["input"]
            if out.requires_grad and _fits(layer, given, len(x)):
                seen[layer].append((given.detach(), get_gradient_edge(out)))

        hooks = [layer.register_forward_hook(watch, with_kwargs=True) for layer in self._layers]
        try:
            with torch.enable_grad():
                out = self.subject.model(x)
                columns = [column.sum() for column in (out.flatten(1).unbind(1) if out.dim() > 1 else (out,))]
        finally:
            for hook in hooks:
                hook.remove()
        edges = [edge for uses in seen.values() for _, edge in uses]
        if not edges:  # of a model that computes with its layers' weights and never calls them
            return {}
        deltas = [
            torch.autograd.grad(c, edges, retain_graph=c is not columns[-1], materialize_grads=True) for c in columns
        ]
        by_edge = iter([torch.stack(each) if len(each) > 1 else each[0][None] for each in zip(*deltas, strict=True)])
        return {layer: _joined(layer, [(a, next(by_edge)) for a, _ in seen[layer]], len(x)) for layer in seen}

    def _confirmed(self, x: Tensor) -> dict[nn.Module, tuple[int, int, int]]:
        """The layers whose factors give what autograd gives, on the first example, with their sizes (places, p, q).

        They do not where the parameter is used outside its layer too, or the batch is not the first dimension.
        """
        uses = self._uses(x) if self._layers else {}
        if not uses:
            return {}
        names = [name for layer in uses for name in _own(self.subject, layer)]
        with torch.enable_grad():
            out = self.subject.model(x)[0].flatten()
            cotangent = torch.linspace(1, 2, len(out), dtype=out.dtype, device=out.device)
            params = [self.subject.params[name] for name in names]
            true = torch.autograd.grad(out @ cotangent, params, allow_unused=True, materialize_grads=True)
        gradient = dict(zip(names, true, strict=True))
        return {
            layer: (*use.inputs.shape[1:], use.deltas.shape[-1])
            for layer, use in uses.items()
            if all(_agree(_leaf(n), use, cotangent, gradient[n]) for n in _own(self.subject, layer))
        }


def _candidates(subject: Subject) -> list[nn.Module]:
    """Dense and plain convolutional layers that alone own their parameters and have one that counts."""
    owners: defaultdict[int, int] = defaultdict(int)
    for module in subject.model.modules():
        for p in module.parameters(recurse=False):
            owners[id(p)] += 1
    return [
        layer
        for layer in subject.model.modules()
        if _is_dense(layer) or _is_plain_convolution(layer)
        if "weight" in layer._parameters and all(owners[id(p)] == 1 for p in layer.parameters(recurse=False))
        if _own(subject, layer)
    ]


def _is_dense(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) and type(layer).forward is nn.Linear.forward


def _is_plain_convolution(layer: nn.Module) -> bool:
    return (
        isinstance(layer, nn.Conv2d)
        and type(layer).forward is nn.Conv2d.forward
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )


def _own(subject: Subject, layer: nn.Module) -> list[str]:
    """Names of the layer's parameters that count."""
    own = {id(p) for p in layer.parameters(recurse=False)}
    return [name for name, p in subject.params.items() if id(p) in own]


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _joined(layer: nn.Module, uses: list[tuple[Tensor, Tensor]], b: int) -> Use:
    """All uses of a layer as places of one."""
    inputs, deltas = zip(*(_places(layer, a, d, b) for a, d in uses), strict=True)
    return Use(torch.cat(inputs, 1), torch.cat(deltas, 2)) if len(uses) > 1 else Use(inputs[0], deltas[0])


def _places(layer: nn.Module, a: Tensor, d: Tensor, b: int) -> tuple[Tensor, Tensor]:
    """Inputs ``(b, places, p)`` and output gradients ``(b, k, places, q)``."""
    if isinstance(layer, nn.Conv2d):
        patches = nn.functional.unfold(a, layer.kernel_size, layer.dilation, layer.padding, layer.stride)  # type: ignore[arg-type]
        return patches.mT, d.flatten(-2).mT.transpose(0, 1)
    return a.reshape(b, -1, a.shape[-1]), d.reshape(len(d), b, -1, d.shape[-1]).transpose(0, 1)


def _fits(layer: nn.Module, given: Tensor, b: int) -> bool:
    """Whether what enters a layer can be told apart by example."""
    return given.dim() == 4 if isinstance(layer, nn.Conv2d) else given.shape[:-1].numel() % b == 0


def _agree(leaf: str, use: Use, cotangent: Tensor, true: Tensor) -> bool:
    """Whether the first example's factors give the gradient of its outputs times ``cotangent``."""
    delta = torch.einsum("k,ktq->tq", cotangent, use.deltas[0])
    found = delta.mT @ use.inputs[0] if leaf == "weight" else delta.sum(0)
    return bool(found.view_as(true).sub_(true).norm() <= 1e3 * torch.finfo(true.dtype).eps * true.norm())
