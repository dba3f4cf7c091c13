"""Import torchvision beside a torch that cannot load its C++ operators.

The torchvision wheel on PyPI is built for CUDA. Beside a CPU-only torch its operator
library does not load, which torchvision tolerates, except for two registrations that
it makes for operators that then do not exist (`nms` and `qnms` in 0.28). They end in
a RuntimeError, and with it fail timm and open_clip, which need none of the operators.

`ensure_torchvision` imports torchvision normally; only after exactly that error it
imports it again, passing over the registrations for operators that are missing. What
is lost are torchvision's C++ operators (non-maximum suppression, RoI pooling, ...).
"""

import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_log = logging.getLogger(__name__)
_SYMPTOM = "operator torchvision::nms does not exist"
_status = ""


def ensure_torchvision() -> str:
    """Make `import torchvision` work, and say what that took.

    Safe to call any number of times: the work is done once, and the same sentence is
    returned again.

    Returns:  one sentence: whether torchvision is absent, was imported normally, or
              was imported without its C++ operators (which are named)
    Raises:   whatever the import of torchvision raises, other than the one error that
              is treated here
    """
    global _status
    if not _status:
        _status = _import_torchvision()
    return _status


def _import_torchvision() -> str:
    if sys.modules.get("torchvision") is not None:
        return "torchvision had been imported before; nothing was changed"
    if importlib.util.find_spec("torchvision") is None:
        return "torchvision is not installed; nothing was changed"
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if str(error) != _SYMPTOM:
            raise
    else:
        return "torchvision was imported normally"
    _forget_half_imported()
    try:
        with _passing_over_missing_operators() as passed_over:
            importlib.import_module("torchvision")
    except BaseException:
        _forget_half_imported()
        raise
    status = (
        "torchvision was imported without its C++ operators, which this torch cannot "
        f"load; registrations passed over: {', '.join(passed_over)}"
    )
    _log.info(status)
    return status


def _forget_half_imported() -> None:
    """Drop the torchvision modules that a failed import leaves behind."""
    for name in list(sys.modules):
        if name == "torchvision" or name.startswith("torchvision."):
            del sys.modules[name]


@contextmanager
def _passing_over_missing_operators() -> Iterator[list[str]]:
    """Let `torch.library.register_fake` ignore torchvision operators that are missing.

    The original function is put back on leaving, whatever happens. Yields the list
    that collects the names of the operators passed over.
    """
    import torch

    original = torch.library.register_fake
    passed_over: list[str] = []

    def register_fake(op: object, *args: object, **kwargs: object) -> Callable:
        if isinstance(op, str) and op.startswith("torchvision::"):
            name = op.removeprefix("torchvision::").split(".")[0]
            if not hasattr(torch.ops.torchvision, name):
                passed_over.append(op)
                return lambda function: function
        return original(op, *args, **kwargs)

    torch.library.register_fake = register_fake
    try:
        yield passed_over
    finally:
        torch.library.register_fake = original
