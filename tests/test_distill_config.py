"""Settings: presets, one switch for each departure, bad values refused."""

import dataclasses
import json

import pytest

from mrpd_tutorial.attacks import PGD
from mrpd_tutorial.distill import DistillConfig


def test_defaults_are_the_papers():
    config = DistillConfig.paper()
    paper = {
        "prompt_tokens": 10,
        "context_tokens": 3,
        "epochs": 100,
        "learning_rate": 1e-3,
        "final_learning_rate": 1e-5,
        "weight_decay": 1e-2,
        "weight_floor": -1.0,
        "gate": "class",
        "text_gated": True,
        "schedule": "mixed",
        "point_teacher_input": "clean",
        "selection_split": "val",
    }
    assert {name: getattr(config, name) for name in paper} == paper
    assert config.attack == PGD.paper()


def test_released_differs_from_the_paper_item_by_item():
    paper, released = (
        DistillConfig.paper().as_dict(),
        DistillConfig.released().as_dict(),
    )
    differing = {name for name in paper if paper[name] != released[name]}
    assert differing == {
        "gate",
        "text_gated",
        "weight_floor",
        "floor_gradient",
        "schedule",
        "point_teacher_input",
        "selection",
        "selection_split",
        "normalise_text_at_inference",
        "image_views",
        "colour",
    }
    alone = DistillConfig.paper(gate="batch_position").as_dict()
    assert {name for name in paper if paper[name] != alone[name]} == {"gate"}


OTHER = {
    "teachers": ("image", "text"),
    "gate": "none",
    "text_gated": False,
    "floor_gradient": "stops",
    "schedule": "clean",
    "image_teacher_input": "clean",
    "point_teacher_input": "student_input",
    "image_views": "released",
    "attack": PGD.quick(eps=0.04),
    "attack_targets": "random",
    "attacked_through": "prompts",
    "average": 0.9,
    "text_contrast": "classes",
    "selection": "last",
    "selection_split": "any",
    "normalise_text_at_inference": False,
    "weight_floor": -0.5,
    "colour": 0.5,
    "gate_level": 0.3,
    "final_learning_rate": 1e-4,
}


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(DistillConfig)])
def test_every_setting_is_part_of_the_digest_and_of_the_file(name):
    config = DistillConfig()
    changed = OTHER[name] if name in OTHER else getattr(config, name) * 2 + 2
    other = DistillConfig(**{name: changed})
    assert config.digest() == DistillConfig().digest() != other.digest()
    assert json.loads(json.dumps(other.as_dict())) == other.as_dict()


def test_order_of_teachers_changes_nothing():
    one = DistillConfig(teachers=("text", "image"))
    assert one == DistillConfig(teachers=("image", "text"))
    assert one.teachers == ("image", "text")


def test_settings_cannot_change_and_unknown_ones_fail():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DistillConfig().epochs = 3
    for make in (DistillConfig, DistillConfig.quick, DistillConfig.released):
        with pytest.raises(TypeError, match="tau2"):
            make(tau2=0.07)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"gate": "classes"}, "gate must be one of 'class', 'none', 'threshold'"),
        ({"schedule": "both"}, "schedule must be one of"),
        ({"selection_split": "test"}, "selection_split must be one of"),
        ({"teachers": ()}, "each teacher once, at least one"),
        ({"teachers": ("text", "text")}, "each teacher once"),
        ({"teachers": ("audio",)}, "teachers must be one of"),
        ({"epochs": 0}, "epochs must be a whole number, at least 1"),
        ({"prompt_tokens": -1}, "prompt_tokens must be a whole number, at least 0"),
        ({"prompt_tokens": 0, "context_tokens": 0}, "nothing to learn"),
        ({"prompt_tokens": 0, "teachers": ("image",)}, "must include 'text'"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"final_learning_rate": 1.0}, "final_learning_rate must lie in"),
        ({"temperature": -0.1}, "temperature must be above 0"),
        ({"weight_floor": 0.5}, "weight_floor must lie in"),
        ({"colour": 1.5}, "colour must lie in"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"k": 0}, "k must be a whole number, at least 1"),
        (
            {"attack": PGD.quick(eps=(0.1, 0.2))},
            "attack must be an Attack with one eps",
        ),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        DistillConfig(**changes)
