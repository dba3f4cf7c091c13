"""The gate explorer: which samples may a teacher teach, under which gate."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mrpd_tutorial import gates
from mrpd_tutorial.data import PointDataset
from mrpd_tutorial.plotting import gate_figure
from mrpd_tutorial.plotting.explorer_data import gate_numbers
from mrpd_tutorial.widgets.controls import Slider, choice
from mrpd_tutorial.widgets.live import LiveWidget, sentence
from mrpd_tutorial.zoo import Lab

__all__ = ["GATES", "GateExplorer"]

_BATCH = 32  # the released gate answers by position in a batch: its batch size


@dataclass(frozen=True)
class Setting:
    """What the sliders say: k, the level of a threshold, the temperature tau."""

    k: int
    level: float
    temperature: float


Gate = Callable[[Tensor, Tensor, Tensor, Setting], Tensor]


def _released(z: Tensor, texts: Tensor, labels: Tensor, setting: Setting) -> Tensor:
    parts = zip(z.split(_BATCH), labels.split(_BATCH), strict=True)
    return torch.cat([gates.released_gate(zs, texts, ls) for zs, ls in parts])


# name -> (gate, the sliders it heeds)
GATES: dict[str, tuple[Gate, tuple[str, ...]]] = {
    "top-k (paper)": (
        lambda z, texts, labels, s: gates.confidence_gate(
            z, texts, labels, s.k, s.temperature
        ),
        ("k",),
    ),
    "released code": (_released, ()),
    "threshold": (
        lambda z, texts, labels, s: gates.threshold_gate(
            z, texts, labels, s.level, s.temperature
        ),
        ("level", "temperature"),
    ),
    "entropy": (
        lambda z, texts, labels, s: gates.entropy_gate(
            z, texts, labels, s.level, s.temperature
        ),
        ("level", "temperature"),
    ),
    "soft": (
        lambda z, texts, labels, s: gates.soft_gate(z, texts, labels, s.temperature),
        ("temperature",),
    ),
    "none": (lambda z, texts, labels, s: torch.ones_like(labels, dtype=torch.bool), ()),
}


class GateExplorer(LiveWidget):
    """Who passes the gate: every cloud by the confidence its teacher has in its class.

    Args:
        lab: the teachers.
        data: clouds with labels. All are embedded once, when this is made: some ten
            clouds a second.
        attacked: (B, N, 3) the same clouds attacked, to be chosen too; or None.

    Raises:
        ValueError: if data is no PointDataset, or attacked has another number of
            clouds.

    Example:
        >>> from mrpd_tutorial.data import load_dataset
        >>> from mrpd_tutorial.zoo import load_lab
        >>> data = load_dataset("objects", "val").limit(4).subsample_points(1024)
        >>> explorer = GateExplorer(load_lab("tiny"), data)
        >>> explorer.controls["gate"].value = "none"
        >>> explorer.pass_rate
        1.0
    """

    def __init__(
        self, lab: Lab, data: PointDataset, *, attacked: Tensor | None = None
    ) -> None:
        if not isinstance(data, PointDataset):
            raise ValueError(
                f"data must be a PointDataset; received {type(data).__name__}. "
                "load_dataset('objects', 'val') gives one."
            )
        clouds = {"clean": data.points}
        if attacked is not None:
            if len(attacked) != len(data):
                raise ValueError(
                    f"attacked must hold the {len(data)} clouds of data, in their "
                    f"order; received {len(attacked)}."
                )
            clouds["attacked"] = attacked
        self.data = data
        with torch.no_grad():
            self.texts = lab.class_text_features(data.class_names)  # (C, D)
            self.features = {  # (teacher, clouds) -> (B, D)
                (teacher, kind): torch.cat(
                    [look(part) for part in points.split(_BATCH)]
                )
                for kind, points in clouds.items()
                for teacher, look in (
                    ("image teacher", lab.image_teacher),
                    (
                        "point teacher",
                        lambda p: F.normalize(lab.point_teacher(p), dim=-1),
                    ),
                )
            }
        for kind in clouds:
            self.features["text teacher", kind] = self.texts[data.labels]
        captions = data.captions or [data.class_names[int(c)] for c in data.labels]
        self._names = [f"{i + 1}: {caption:.40}" for i, caption in enumerate(captions)]
        super().__init__(self._make_controls(list(clouds)))
        for control in self.controls.values():
            control.observe(self._changed, "value")
        self._changed(None)

    def _make_controls(self, kinds: list[str]) -> dict[str, Any]:
        teachers = dict.fromkeys(teacher for teacher, _ in self.features)
        controls = {
            "teacher": choice("Teacher", list(teachers), "Whose knowledge is gated."),
            "gate": choice("Gate", list(GATES), "How the gate decides."),
        }
        if len(kinds) > 1:
            tooltip = "What the teacher looks at."
            controls["clouds"] = choice("Clouds", kinds, tooltip)
        top = len(self.data.class_names)
        return controls | {
            "k": Slider(
                description="k", value=1, min=1, max=top, step=1,
                tooltip="How many classes the teacher may name.",
            ),
            "level": Slider(
                description="Level", value=0.5, min=0, max=1, step=0.01,
                tooltip="Where the gate stands: least probability of the true class, "
                "or highest entropy as a share of log C.",
            ),
            "temperature": Slider(
                description="τ", value=0.07, min=0.01, max=0.5, step=0.01,
                tooltip="Temperature of the softmax over the classes.",
            ),
        }  # fmt: skip

    @property
    def setting(self) -> Setting:
        """What the sliders say."""
        values = {name: self.controls[name].value for name in ("level", "temperature")}
        return Setting(k=int(self.controls["k"].value), **values)

    @property
    def reference_features(self) -> Tensor:
        """(B, D) of the chosen teacher on the chosen clouds."""
        kind = self.controls["clouds"].value if "clouds" in self.controls else "clean"
        return self.features[self.controls["teacher"].value, kind]

    @property
    def weights(self) -> Tensor:
        """(B,) who passes the chosen gate; from the soft gate, how much each counts."""
        gate, _ = GATES[self.controls["gate"].value]
        return gate(self.reference_features, self.texts, self.data.labels, self.setting)

    @property
    def pass_rate(self) -> float:
        """The share that passes; from the soft gate, the mean weight."""
        return gate_numbers(self.weights, self._predicted == self.data.labels)[0]

    @property
    def _predicted(self) -> Tensor:
        return (self.reference_features @ self.texts.T).argmax(1)  # (B,)

    def _changed(self, change: Any) -> None:
        try:
            self._show()
        except Exception as error:  # said in the widget, whatever it is
            self.status.say(f"The gate did not work: {sentence(error)}", "error")

    def _show(self) -> None:
        name, teacher = self.controls["gate"].value, self.controls["teacher"].value
        _, heeded = GATES[name]
        for slider in ("k", "level", "temperature"):
            # τ also places the dots, whatever the gate is.
            idle = slider not in heeded and slider != "temperature"
            self.controls[slider].disabled = idle
        setting, labels = self.setting, self.data.labels
        weights, predicted = self.weights, self._predicted
        logits = self.reference_features @ self.texts.T / setting.temperature
        logs = logits.log_softmax(1)  # (B, C)
        if name == "entropy":
            count = torch.tensor(float(logs.shape[1]))
            x = -(logs.exp() * logs).sum(1) / count.log()
            x_label = "entropy of the teacher's opinion / log C"
        else:
            x = logs.gather(1, labels[:, None])[:, 0].exp()  # (B,)
            x_label = f"probability of the true class, τ = {setting.temperature:.2f}"
        words = {"k": f"k = {setting.k}", "level": f"level {setting.level:.2f}"}
        told = ", ".join(words[s] for s in heeded if s in words)
        self.draw(
            gate_figure,
            x,
            weights.float(),
            labels,
            predicted,
            self.data.class_names,
            x_label=x_label,
            level=setting.level if "level" in heeded else None,
            sample_names=self._names,
            title=f"Gate of the {teacher}: {name}{', ' if told else ''}{told}",
        )
        rate, precision = gate_numbers(weights, predicted == labels)
        passed = float(weights.float().sum())
        rightly = f"; of those {precision:.1%} are named rightly" if passed else ""
        self.status.say(
            f"{passed:.4g} of {len(labels)} clouds pass ({rate:.1%}){rightly}."
        )
