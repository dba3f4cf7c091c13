"""What evaluate and sweep are given, checked before work, and the cells it makes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mrpd_tutorial.attacks.auto_attack import PointAutoAttack
from mrpd_tutorial.attacks.base import Attack
from mrpd_tutorial.attacks.victim import require_evaluation_mode
from mrpd_tutorial.bench import Bench, Model
from mrpd_tutorial.checks import check_choice, check_labels, check_positive
from mrpd_tutorial.corruptions import Corruption
from mrpd_tutorial.protocol import Protocol, protocol_of, random_aims
from mrpd_tutorial.result_card import IN_BALL, clouds_of, split_attack

__all__ = ["THREAT_MODELS", "Setup", "find_models", "named_attacks", "set_up"]

THREAT_MODELS = ("clean", "static", "adaptive", "transfer")
_Cell = tuple[str, str, str | None, str | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Setup:
    """Checked inputs of an evaluation, and the cells they allow; made by `set_up`.

    Args:
        points, labels: on the device where the work is done.
        target_labels: on the same device, or None.
        class_names: of the data set, or None.
        data: what a card says of the data set.
        attacks: name -> attack.
        corruptions: name -> corruption.
        mislabelled: attack -> (B,) the labels it is told in place of the true ones.
        protocol: where attacks, targets and threat models came from, or None.
        victims: name -> model, the sources of static and transfer clouds included.
        names: "static" and "transfer" -> the victims their clouds are made on.
        cells: (model, threat model, attack or corruption, made on), in the table's
            order.
        seed, batch_size, eot_samples: as `evaluate` is given them.
    """

    points: Tensor
    labels: Tensor
    target_labels: Tensor | None
    class_names: tuple[str, ...] | None
    data: dict[str, Any]
    attacks: Mapping[str, Attack]
    corruptions: Mapping[str, Corruption]
    mislabelled: Mapping[str, Tensor]
    protocol: Protocol | None
    victims: Mapping[str, Model]
    names: Mapping[str, str]
    cells: Sequence[_Cell]
    seed: int
    batch_size: int
    eot_samples: int

    def work(self, cells: Collection[_Cell]) -> int:
        """How many clouds are made or shown in these cells."""
        makings = {
            (split_attack(attack)[0], made_on)
            for _, _, attack, made_on in cells
            if made_on is not None
        }
        return len(self.points) * (len(cells) + len(makings))

    def bench(self, **options) -> Bench:
        """Where the cells are measured; options are Bench's others."""
        return Bench(
            points=self.points,
            labels=self.labels,
            target_labels=self.target_labels,
            victims=self.victims,
            attacks=self.attacks,
            corruptions=self.corruptions,
            mislabelled=self.mislabelled,
            seed=self.seed,
            batch_size=self.batch_size,
            eot_samples=self.eot_samples,
            **options,
        )


def set_up(
    models: Any,
    dataset: Any,
    attacks: Any = None,
    corruptions: Any = (),
    *,
    undefended: Any = None,
    surrogate: Any = None,
    target_labels: Tensor | None = None,
    threat_models: Sequence[str] | None = None,
    protocol: str | Protocol | None = None,
    seed: int = 0,
    batch_size: int = 32,
    eot_samples: int = 8,
    device: str | torch.device | None = None,
) -> Setup:
    """Check what can be checked before any work; arguments as `evaluate`.

    Raises:
        ValueError: on bad input.
    """
    if not isinstance(models, Mapping) or not models:
        raise ValueError(
            "models must map at least one name to a model, as in {'student': model}; "
            f"received {models!r:.80}."
        )
    check_positive("batch_size", batch_size)
    if not isinstance(eot_samples, int) or eot_samples < 1:
        raise ValueError(
            "eot_samples must be a whole number of draws, 1 or more (1 averages over "
            f"none); received {eot_samples!r}."
        )
    protocol = protocol_of(protocol)
    points, labels, data = clouds_of(dataset)
    if protocol is not None:
        if attacks is None:
            attacks = protocol.attacks(points.shape[1])
        if threat_models is None:
            extra = () if surrogate is None else ("transfer",)
            threat_models = protocol.threat_models() + extra
    named, damage = named_attacks(attacks), _named_corruptions(corruptions)
    sources = {
        "static": find_models("undefended", undefended, models),
        "transfer": find_models("surrogate", surrogate, models),
    }
    cells = _plan(models, named, sources, threat_models)
    cells += [(m, "corruption", d, None) for d in damage for m in models]
    if device is not None:
        points, labels = points.to(device), labels.to(device)
    if target_labels is not None:
        check_labels(target_labels, batch=len(points), name="target_labels")
        target_labels = target_labels.to(labels.device)
    victims = dict(models) | sources["static"] | sources["transfer"]
    for name, model in sources["static"].items():
        if victims[name] is not model:
            raise ValueError(
                f"undefended and surrogate must not both be called {name!r}; received "
                "two models. Give the surrogate a name: surrogate={'name': model}."
            )
    for model in victims.values():
        require_evaluation_mode(model)
    for one in named.values():
        one.budget(points)
    mislabelled: dict[str, Tensor] = {}
    if protocol is not None:
        target_labels, mislabelled = random_aims(
            protocol, next(iter(victims.values())), points, labels, target_labels, seed
        )
    names = getattr(dataset, "class_names", None)
    return Setup(
        points=points,
        labels=labels,
        target_labels=target_labels,
        class_names=None if names is None else tuple(names),
        data=data,
        attacks=named,
        corruptions=damage,
        mislabelled={k: v for k, v in mislabelled.items() if k in named},
        protocol=protocol,
        victims=victims,
        names={key: ", ".join(found) for key, found in sources.items() if found},
        cells=cells,
        seed=seed,
        batch_size=batch_size,
        eot_samples=eot_samples,
    )


def find_models(
    name: str, chosen: Any, models: Mapping[str, Model]
) -> dict[str, Model]:
    """Names and models of `undefended` or `surrogate`, given as either or both."""
    if chosen is None:
        return {}
    if isinstance(chosen, Mapping):
        single = name == "undefended"
        fits = len(chosen) == 1 or (len(chosen) > 1 and not single)
        if not fits or not all(map(callable, chosen.values())):
            raise ValueError(
                f"{name} must be {'one model' if single else 'models by name'}, as in "
                f"{{'point teacher': model}}; received {chosen!r:.80}."
            )
        for own_name, model in chosen.items():
            if models.get(own_name, model) is not model:
                raise ValueError(
                    f"{name} must be the model that models calls {own_name!r}; "
                    "received another one. Rename one of the two."
                )
        return dict(chosen)
    if isinstance(chosen, str):
        check_choice(name, chosen, tuple(models))
        return {chosen: models[chosen]}
    if not callable(chosen):
        raise ValueError(
            f"{name} must be a model or the name of one of models; received "
            f"{type(chosen).__name__}."
        )
    known = [key for key, model in models.items() if model is chosen]
    if not known and name in models:
        raise ValueError(
            f"{name} must be the model that models calls {name!r}; received another "
            "one. Rename one of the two."
        )
    return {known[0] if known else name: chosen}


def named_attacks(attack: Any) -> dict[str, Attack]:
    """One attack under its class's name, several under theirs, or none."""
    named = {type(attack).__name__: attack} if isinstance(attack, Attack) else attack
    if named is not None and not isinstance(named, Mapping):
        named = {"attack": named}
    for name, one in (named or {}).items():
        if not isinstance(one, Attack):
            raise ValueError(
                "attack must be an Attack, or map names to Attacks; received "
                f"{type(one).__name__} for {name!r}. Try PGD.quick()."
            )
        if str(name).endswith(IN_BALL):
            raise ValueError(
                f"an attack's name must not end in {IN_BALL!r}, which tells the rows "
                f"of PointAutoAttack apart; received {name!r}."
            )
    return dict(named or {})


def _named_corruptions(corruptions: Any) -> dict[str, Corruption]:
    named: dict[str, Corruption] = {}
    for one in [corruptions] if isinstance(corruptions, Corruption) else corruptions:
        if not isinstance(one, Corruption):
            raise ValueError(
                "corruptions must be Corruptions with their severity, such as "
                f"Rotation(severity=3); received {one!r:.60}."
            )
        name = f"{one.title} {one.severity}"
        if name in named:
            raise ValueError(f"corruptions must differ; {name!r} is there twice.")
        named[name] = one
    return named


def _plan(
    models: Mapping[str, Model],
    attacks: Mapping[str, Attack],
    sources: Mapping[str, Mapping[str, Model]],
    threat_models: Sequence[str] | None,
) -> list[_Cell]:
    """All cells with attacks: model, threat model, attack, model they are made on."""
    possible = ["clean"]
    if attacks:
        possible += [t for t in THREAT_MODELS[1:] if t == "adaptive" or sources[t]]
    wanted = set(possible if threat_models is None else threat_models)
    for threat_model in wanted:
        check_choice("threat_models", threat_model, THREAT_MODELS)
        if threat_model not in possible:
            raise ValueError(
                f"threat_models must be among {', '.join(possible)} with what was "
                f"given; received {threat_model!r}. Pass an attack, and undefended= "
                "for static or surrogate= for transfer."
            )
    # Clean comes first, always: without it there is no attack success rate.
    cells: list[_Cell] = [(name, "clean", None, None) for name in models]
    for threat_model in (t for t in THREAT_MODELS[1:] if t in wanted):
        for attack in attacks:
            for made_on in sources.get(threat_model, [None]):
                for name in models:
                    if threat_model == "transfer" and made_on == name:
                        continue  # shown to its own surrogate, nothing transfers
                    for row in _rows_of(attack, attacks[attack], threat_model):
                        cells.append((name, threat_model, row, made_on or name))
    return cells


def _rows_of(name: str, attack: Attack, threat_model: str) -> list[str]:
    """The worst case and, apart, the ball, where an attack leaves its ball as well."""
    if not isinstance(attack, PointAutoAttack) or attack.changed == 0:
        return [name]
    return [name, name + IN_BALL] if threat_model == "adaptive" else [name + IN_BALL]
