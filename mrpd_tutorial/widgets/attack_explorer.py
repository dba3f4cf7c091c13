"""The attack explorer: choose an object and an attack, see what everybody says."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mrpd_tutorial.checks import check_choice
from mrpd_tutorial.data import PointDataset
from mrpd_tutorial.plotting import explorer_figure
from mrpd_tutorial.projection import View, depth_maps
from mrpd_tutorial.runtime import generator
from mrpd_tutorial.widgets.attack_choices import ATTACK_CHOICES, AttackChoice
from mrpd_tutorial.widgets.background import LatestOnly, Watched
from mrpd_tutorial.widgets.controls import Slider, choice
from mrpd_tutorial.widgets.live import LiveWidget, sentence
from mrpd_tutorial.zoo import Lab

__all__ = ["AttackExplorer"]

UNDEFENDED, HARDENED = "undefended student", "MRPD prompts"
IMAGE, POINT = "image teacher", "point teacher"


@dataclass(frozen=True)
class Request:
    """What the controls ask for."""

    index: int
    attack: str
    eps: float
    steps: int
    victim: str
    view: int


@dataclass(frozen=True)
class Seen:
    """A cloud as everybody sees it: maps (V, H, W), model -> probabilities (C,)."""

    points: Tensor
    maps: Tensor
    opinions: dict[str, Tensor]


class AttackExplorer(LiveWidget):
    """One cloud, one attack: points, depth maps and the models' bars, before and after.

    Answers in about a second. While it works, a newer request ends the older one; what
    goes wrong is said in the status line.

    Args:
        lab: the models.
        data: clouds to choose from; about 1000 points each keep the answers quick.
        hardened: the student with distilled prompts, to be shown and attacked as well.
        attacks: name -> AttackChoice; None: ATTACK_CHOICES.
        object_index: the cloud shown first.
        attack: the attack shown first.
        seed: of the attacks: the same controls give the same cloud.
        delay: seconds that a request waits for a newer one.

    Raises:
        ValueError: if data is no PointDataset, or there is no such cloud or attack.

    Example:
        >>> from mrpd_tutorial.data import load_dataset
        >>> from mrpd_tutorial.zoo import load_lab
        >>> data = load_dataset("objects", "test").limit(4).subsample_points(1024)
        >>> explorer = AttackExplorer(load_lab("tiny"), data)
        >>> "PGD" in explorer.status.value
        True
    """

    def __init__(
        self,
        lab: Lab,
        data: PointDataset,
        *,
        hardened: nn.Module | None = None,
        attacks: Mapping[str, AttackChoice] | None = None,
        object_index: int = 0,
        attack: str = "PGD",
        seed: int = 0,
        delay: float = 0.15,
    ) -> None:
        if not isinstance(data, PointDataset):
            raise ValueError(
                f"data must be a PointDataset; received {type(data).__name__}. "
                "load_dataset('objects', 'test') gives one."
            )
        if not 0 <= object_index < len(data):
            raise ValueError(
                f"object_index must be 0 to {len(data) - 1}; received {object_index}."
            )
        self.attacks = dict(ATTACK_CHOICES if attacks is None else attacks)
        check_choice("attack", attack, tuple(self.attacks))
        self.lab, self.data, self.seed = lab, data, seed
        models = lab.classifiers(data.class_names)
        self.models: dict[str, nn.Module] = {UNDEFENDED: models["student"]}
        if hardened is not None:
            self.models[HARDENED] = hardened
        self.models |= {IMAGE: models[IMAGE], POINT: models[POINT]}
        views = lab.image_teacher.views
        self.views = (views,) if isinstance(views, View) else tuple(views)
        super().__init__(self._make_controls(object_index, attack))
        self.latest = LatestOnly(self._failed, delay)
        self._clean: dict[int, Seen] = {}
        self._last: tuple[Request, Seen] | None = None
        self._quiet = False
        self._set_ranges()
        self.controls["attack"].observe(self._attack_chosen, "value")
        for control in self.controls.values():
            control.observe(self._changed, "value")
        try:  # the first answer is there before anybody looks
            self._answer(self._request(), lambda: None)
        except Exception as error:  # said in the widget, whatever it is
            self._failed(error)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the newest request is answered; False if that takes longer."""
        return self.latest.wait(timeout)

    def _make_controls(self, index: int, attack: str) -> dict[str, Any]:
        names = [self._name(i) for i in range(len(self.data))]
        views = [(view.name, i) for i, view in enumerate(self.views)]
        # The image teacher's depth maps let no gradient through to the points.
        victims = [name for name in self.models if name != IMAGE]
        return {
            "object": choice(
                "Object", [(n, i) for i, n in enumerate(names)],
                "Which cloud is attacked.", value=index,
            ),
            "attack": choice(
                "Attack", list(self.attacks), "How it is attacked.", value=attack
            ),
            "victim": choice(
                "Made on", victims, "The model whose gradient the attack follows."
            ),
            "view": choice("View", views, "From where the depth maps are drawn."),
            "eps": Slider(description="eps", tooltip="The budget of the attack."),
            "steps": Slider(description="Steps", tooltip="Steps of the attack."),
        }  # fmt: skip

    def _name(self, index: int) -> str:
        name = self.data.class_names[int(self.data.labels[index])]
        caption = self.data.captions[index] if self.data.captions else ""
        return (
            f"{index + 1} {name}: {caption:.24}" if caption else f"{index + 1} {name}"
        )

    @property
    def _choice(self) -> AttackChoice:
        return self.attacks[self.controls["attack"].value]

    def _set_ranges(self) -> None:
        """Fit the sliders to the attack: each has a budget of its own."""
        chosen, eps, steps = self._choice, self.controls["eps"], self.controls["steps"]
        low, high, step, value = chosen.eps
        if not chosen.is_length:  # a cloud must keep some of its points
            high = min(high, self.data.points.shape[1] // 2)
        eps.set_range(
            low, high, step, min(value, high), chosen.eps_label or "No budget."
        )
        eps.disabled = chosen.eps_label is None
        most, first = chosen.steps or (1, 1)
        steps.set_range(1, max(most, 2), 1, first)
        steps.disabled = chosen.steps is None

    def _attack_chosen(self, change: Any) -> None:
        self._quiet = True
        try:
            self._set_ranges()
        finally:
            self._quiet = False

    def _changed(self, change: Any) -> None:
        if self._quiet:
            return
        request = self._request()
        self.status.say(f"attacking with {request.attack} …", "busy")
        self.latest.submit(lambda check: self._answer(request, check))

    def _request(self) -> Request:
        values = {name: control.value for name, control in self.controls.items()}
        return Request(
            index=values["object"],
            attack=values["attack"],
            eps=values["eps"],
            steps=int(values["steps"]),
            victim=values["victim"],
            view=values["view"],
        )

    def _answer(self, request: Request, check: Callable[[], None]) -> None:
        began = time.perf_counter()
        clean = self._clean_view(request.index, check)
        seen = self._attacked_view(request, clean, check)
        check()
        self._last = (request, seen)
        self._show(request, clean, seen)
        seconds = time.perf_counter() - began
        self.status.say(f"{self._verdict(request, clean, seen)} ({seconds:.1f} s)")

    def _clean_view(self, index: int, check: Callable[[], None]) -> Seen:
        if index not in self._clean:
            self._clean[index] = self._look(self.data.points[index : index + 1], check)
        return self._clean[index]

    def _attacked_view(
        self, request: Request, clean: Seen, check: Callable[[], None]
    ) -> Seen:
        if self._last is not None:
            before, seen = self._last
            if replace(before, view=request.view) == request:
                return seen  # another view of the same cloud
        chosen = self.attacks[request.attack]
        result = chosen.make(request.eps, request.steps)(
            Watched(self.models[request.victim], check),
            clean.points,
            self.data.labels[request.index : request.index + 1],
            generator=generator(self.seed),
        )
        return self._look(result.points, check)

    def _look(self, points: Tensor, check: Callable[[], None]) -> Seen:
        opinions = {}
        with torch.no_grad():
            for name, model in self.models.items():
                check()
                opinions[name] = model(points).softmax(1)[0]  # (C,)
            resolution = self.lab.image_teacher.resolution
            maps = depth_maps(points, self.views, resolution)[0]  # (V, H, W)
        return Seen(points, maps, opinions)

    def _show(self, request: Request, clean: Seen, seen: Seen) -> None:
        chosen, names = self.attacks[request.attack], self.data.class_names
        label, view = int(self.data.labels[request.index]), request.view
        budget = "" if chosen.eps_label is None else f", eps {request.eps:g}"
        self.draw(
            explorer_figure,
            clean.points[0],
            seen.points[0],
            clean.maps[view],
            seen.maps[view],
            {
                name: torch.stack([clean.opinions[name], seen.opinions[name]])
                for name in self.models
            },
            names,
            label,
            # Not this attack's own eps: while that changes, colours must not.
            eps=chosen.eps[1] if chosen.is_length and chosen.eps_label else None,
            view_name=self.views[view].name,
            title=f"{request.attack}{budget} on the {request.victim}: {names[label]}",
        )

    def _verdict(self, request: Request, clean: Seen, seen: Seen) -> str:
        names = self.data.class_names

        def said(cloud: Seen, model: str) -> str:
            return names[int(cloud.opinions[model].argmax())]

        true = names[int(self.data.labels[request.index])]
        victim = request.victim
        before, after = said(clean, victim), said(seen, victim)
        if before != true:
            told = f"the {victim} takes this {true} for a {before} before any attack"
        elif after == true:
            told = f"the {victim} withstands: it still says {true}"
        else:
            told = f"the {victim} is misled: it says {after} instead of {true}"
        rest = [f"{m}: {said(seen, m)}" for m in self.models if m != victim]
        return f"{request.attack}: {told}. After the attack, {'; '.join(rest)}."

    def _failed(self, error: Exception) -> None:
        attack = self.controls["attack"].value
        self.status.say(f"{attack} did not work: {sentence(error)}", "error")
