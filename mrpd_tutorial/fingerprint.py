"""What an object is, in JSON: settings to read on a card, digests for weights and code.

Two objects with the same description behave alike; that is what a finished measurement
is recognised by.
"""

import functools
import math
import types
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mrpd_tutorial.runtime import digest

__all__ = ["describe", "describe_model"]


def describe(value: Any) -> Any:
    """Settings as JSON values; weights, arrays and code as digests.

    Dataclasses give their class and fields, modules their class, settings and weights,
    functions their name, code, defaults and what they close over or refer to (modules,
    tensors, numbers, the code of functions). Infinite numbers become "inf", as JSON has
    none. Attributes that begin with "_" do not count, nor does the state of random
    generators. What is met a second time is named by the digest of its description. The
    code of classes is not looked at, only their names.

    Args:
        value: an attack, a defense, a model, a corruption, or anything in them.

    Returns:
        What json.dumps takes; equal for equal settings, in every process.

    Example:
        >>> describe((1, math.inf, None))
        [1, 'inf', None]
    """
    return _Describer().describe(value)


def describe_model(model: Any) -> dict[str, Any]:
    """What a card says of a model: enough to recognise the same one."""
    info: dict[str, Any] = {
        "type": getattr(model, "__name__", type(model).__name__),
        "is_random": bool(getattr(model, "is_random", False)),
    }
    if hasattr(model, "defense"):
        info["defense"] = repr(model.defense)
    if isinstance(model, nn.Module):
        state = [(k, v) for k, v in sorted(model.state_dict().items())]
        tensors = [(k, v) for k, v in state if isinstance(v, Tensor)]
        info["parameters"] = sum(p.numel() for p in model.parameters())
        info["weights_hash"] = digest([k for k, _ in tensors], *(v for _, v in tensors))
    return info


class _Describer:
    """One call of `describe`; it remembers what it has met: shared parts are cheap."""

    def __init__(self) -> None:
        # The objects are kept too: a freed object's id may be given to another one.
        self.met: dict[int, tuple[Any, Any]] = {}

    def describe(self, value: Any) -> Any:
        plain, found = _plain(value)
        if plain:
            return found
        if id(value) in self.met:
            found = self.met[id(value)][1]
            return "itself" if found is None else {"again": found}
        self.met[id(value)] = (value, None)
        found = self._compound(value)
        if isinstance(value, (Mapping, Set, Sequence)):
            del self.met[id(value)]  # whether equal tuples are one object is chance
        else:
            self.met[id(value)] = (value, digest(found))
        return found

    def _compound(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): self.describe(item) for key, item in value.items()}
        if isinstance(value, Set):
            return sorted(str(self.describe(item)) for item in value)
        if isinstance(value, Sequence):
            return [self.describe(item) for item in value]
        if isinstance(value, nn.Module):
            return self._module(value)
        if is_dataclass(value):
            # Fields that are not given are made from those that are.
            names = [f.name for f in fields(value) if f.init and f.compare]
            return {"class": type(value).__name__} | {
                name: self.describe(getattr(value, name)) for name in names
            }
        if isinstance(value, types.MethodType):
            name = value.__func__.__qualname__
            return {"method": name, "of": self.describe(value.__self__)}
        if isinstance(value, functools.partial):
            parts = (value.func, value.args, value.keywords)
            return {"partial": [self.describe(part) for part in parts]}
        if isinstance(value, types.FunctionType):
            return self._function(value)
        return {"class": type(value).__qualname__} | self._attributes(value)

    def _attributes(self, value: Any) -> dict[str, Any]:
        public = sorted(n for n in getattr(value, "__dict__", {}) if n[:1] != "_")
        return {name: self.describe(getattr(value, name)) for name in public}

    def _module(self, module: nn.Module) -> dict[str, Any]:
        parts = {}
        for name, part in module.named_modules():
            settings = self._attributes(part)
            settings.pop("training", None)
            parts[name or "."] = [type(part).__qualname__, settings]
        # Also buffers that state_dict leaves out.
        state = dict(module.named_parameters()) | dict(module.named_buffers())
        return {
            "class": type(module).__qualname__,
            "parts": digest(parts),
            "settings": parts["."][1],
            "parameters": sum(p.numel() for p in module.parameters()),
            "weights": digest(sorted(state), *(state[name] for name in sorted(state))),
        }

    def _function(self, function: types.FunctionType) -> dict[str, Any]:
        kinds = (nn.Module, Tensor, bool, int, float, str, types.FunctionType)
        used = {}
        for name in sorted(_names(function.__code__)):
            item = function.__globals__.get(name)
            if isinstance(item, types.FunctionType):
                used[name] = digest(_code(item.__code__))  # not what it uses in turn
            elif isinstance(item, kinds):
                used[name] = self.describe(item)
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        parts = (function.__defaults__, function.__kwdefaults__, cells)
        return {
            "function": f"{function.__module__}.{function.__qualname__}",
            "code": digest(_code(function.__code__)),
            "with": [*(self.describe(part) for part in parts), used],
        }


def _plain(value: Any) -> tuple[bool, Any]:
    """Whether a value describes itself, and how."""
    if value is None or isinstance(value, (bool, int, str)):
        return True, value
    if isinstance(value, float):
        return True, value if math.isfinite(value) else str(value)
    if isinstance(value, (Tensor, np.ndarray)):
        return True, {"shape": list(value.shape), "digest": digest(value)}
    if isinstance(value, (torch.dtype, torch.device, PurePath, complex, np.generic)):
        return True, str(value)
    if isinstance(value, (bytes, bytearray)):
        return True, bytes(value).hex()
    if isinstance(value, torch.Generator):
        return True, "generator"
    if isinstance(value, (type, types.BuiltinFunctionType, types.ModuleType)):
        name = getattr(value, "__qualname__", value.__name__)
        return True, f"{getattr(value, '__module__', '')}.{name}"
    return False, None


def _names(code: types.CodeType) -> set[str]:
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _names(constant)
    return found


def _code(code: types.CodeType) -> list[Any]:
    constants = [
        _code(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts
    ]
    return [code.co_code.hex(), constants, list(code.co_names)]
