"""Random numbers beside the one generator of the process, which a training may be drawing from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# All that networks are initialised by; the other functions of `nn.init` come down to these.
_DRAWING: frozenset[Callable[..., Any]] = frozenset(
    [
        Tensor.normal_,
        Tensor.uniform_,
        Tensor.random_,
        Tensor.bernoulli_,
        torch.rand,
        torch.randn,
        torch.randint,
        torch.randperm,
        torch.normal,
        # These are seen whole, and what they call within is not.
        nn.init.uniform_,
        nn.init.normal_,
        nn.init.kaiming_uniform_,
    ]
)


class OwnRandomNumbers(TorchFunctionMode):
    """A context manager: what torch draws within, in this thread, comes from a generator of its
    own, on the processor.
    """

    def __init__(self) -> None:
        super().__init__()
        self._generator = torch.Generator()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """What `func` gives, drawn from the own generator unless it is told another one."""
        kwargs = kwargs or {}
        if func in _DRAWING and kwargs.get("generator") is None:
            kwargs = {**kwargs, "generator": self._generator}
        return func(*args, **kwargs)
