"""MRPD on trial: defenses and prompts against static, transfer and adaptive attacks.

    python benchmarks/trial.py train  --out build/trial --data modelnet40 --root FOLDER
    python benchmarks/trial.py attack --out build/trial --data modelnet40 --root FOLDER
    python benchmarks/trial.py card   --out build/trial --data modelnet40 --root FOLDER

`train` makes the prompts (each run in a folder of its own, resumed after a kill);
`attack` measures cell by cell and can be stopped and started again, or run by several
processes (RANK and WORLD_SIZE, as torchrun sets them); `card` writes
results/trial_DATA.json and .md from the cells that are there. Without --data it runs on
`objects`, which travels with the package.

Settings of the prompts were chosen on val; test clouds are for measuring alone.
Other parts: `costly` attacks on fewer clouds, by default through SRS (four draws a
step) and DUP-Net, a step of which takes four and ten times one through the student.
With `--only` and `--groups long` it makes the longest attack on others. Iterations are
fewer than published: `curve` shows on val what more of them would do. `protocol`
measures what each choice of the released evaluation is worth, into
results/protocol_DATA.json and .md.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from trial_card import OWN_GREY, RELEASED, slug, write_card, write_with_table

from mrpd_tutorial.attacks import (
    AOF,
    APGD,
    PGD,
    AdvPC,
    Attack,
    CWAdd,
    CWPerturb,
    KNNAttack,
    PointAutoAttack,
    SaliencyDrop,
)
from mrpd_tutorial.data import PointDataset, load_dataset
from mrpd_tutorial.defenses import (
    SOR,
    SRS,
    Defended,
    DUPNet,
    LinearHead,
    adversarial_training,
)
from mrpd_tutorial.distill import DistillConfig, HardenedStudent, distill
from mrpd_tutorial.evaluate import evaluate
from mrpd_tutorial.models import load_auto_encoder
from mrpd_tutorial.models.classifier import LOGIT_SCALE
from mrpd_tutorial.protocol import Protocol
from mrpd_tutorial.runtime import (
    load_tensors,
    save_tensors,
    tune_allocator,
    write_json,
)
from mrpd_tutorial.sweep import protocol_worth, sweep
from mrpd_tutorial.zoo import Lab, load_lab
from mrpd_tutorial.zoo_victims import load_victim

# Per point, of PGD and PointAutoAttack: the usual budget, and a smaller one.
EPS, SMALL_EPS = 0.05, 0.01
UNDEFENDED, COSTLY = "no defense", ("SRS", "DUP-Net")
GROUPS = ("pgd", "ensemble", "rest", "long")
# Of every sweep; a cell with others would be another one.
HOW = {"batch_size": 16, "eot_samples": 4}
# What a few hundred clouds need in place of the paper's schedule.
SCHEDULE = ("epochs", "batch_size", "learning_rate", "final_learning_rate")


def recipes(train_clouds: int = 1200) -> dict[str, DistillConfig]:
    """What is distilled, by the name in the table; small sets are seen more often."""
    epochs = max(DistillConfig.adaptive().epochs, round(7200 / train_clouds))
    through = DistillConfig.adaptive(epochs=epochs)
    quick = DistillConfig.quick()
    schedule = {name: getattr(quick, name) for name in SCHEDULE}
    return {
        RELEASED: DistillConfig.released(**schedule),
        OWN_GREY: DistillConfig.released(**schedule, colour=quick.colour),
        "MRPD": quick,
        "MRPD, deep prompts": DistillConfig.quick(
            prompt_depth=4, prompt_tokens=30, prompt_std=0.02
        ),
        "MRPD, attacked through prompts": through,
        "adversarial training (prompts)": DistillConfig.adaptive(
            teachers=("text",), epochs=epochs
        ),
    }


def data(args: argparse.Namespace, split: str) -> PointDataset:
    """A split with 1024 points a cloud, cut evenly over its classes."""
    wanted = {"train": args.train, "val": args.val, "test": args.test}[split]
    clouds = load_dataset(args.data, split, args.root).subsample_points(1024)
    return clouds if wanted is None else clouds.limit(wanted, seed=0)


def train(args: argparse.Namespace, lab: Lab) -> None:
    """Distil every recipe and train the head, each kept in its folder."""
    clouds, val = data(args, "train"), data(args, "val")
    for name, config in recipes(len(clouds)).items():
        if args.only and name not in args.only:
            continue
        distill(lab, clouds, val, config, args.out / "runs" / slug(name))
    path = args.out / "runs" / "head.safetensors"
    if path.exists() or (args.only and "head" not in args.only):
        return
    head = new_head(lab, clouds)
    history = adversarial_training(
        head,
        {"weight": head.weight, "bias": head.bias},
        clouds.points,
        clouds.labels,
        DistillConfig.adaptive().attack,
        val_points=val.points,
        val_labels=val.labels,
        epochs=5,
        lr=1e-2,
        clean_weight=0.5,
    )
    kept = {"weight": head.weight.detach(), "bias": head.bias.detach()}
    save_tensors(path, kept, {"epochs": list(history.epochs)})


class UnitFeatures(nn.Module):
    """`points -> features (B, D)` of the student, unit norm."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student

    def forward(self, points: Tensor) -> Tensor:
        return F.normalize(self.student(points), dim=-1)


def new_head(lab: Lab, clouds: PointDataset) -> LinearHead:
    """A linear head on the student's features that begins as the text classifier."""
    texts = lab.class_text_features(clouds.class_names)
    head = LinearHead(UnitFeatures(lab.student), texts.shape[1], len(texts))
    with torch.no_grad():
        head.weight.copy_(LOGIT_SCALE * texts)
    return head


def models(args: argparse.Namespace, lab: Lab, clouds: PointDataset) -> dict:
    """Everything that is judged, by its name in the table."""
    names = clouds.class_names
    student = HardenedStudent(lab.student, lab.class_text_features(names), names)
    found: dict[str, nn.Module] = {
        UNDEFENDED: student,
        "SRS": Defended(student, SRS(drop=500)),
        "SOR": Defended(student, SOR.released()),
    }
    dup_net = DUPNet.released(args.dup_net) if args.dup_net else DUPNet()
    found["DUP-Net"] = Defended(student, dup_net)
    path = args.out / "runs" / "head.safetensors"
    if path.exists():
        head, (tensors, _) = new_head(lab, clouds), load_tensors(path)
        head.load_state_dict(tensors, strict=False)
        found["adversarial training (head)"] = head.eval().requires_grad_(False)
    for name in recipes():
        path = args.out / "runs" / slug(name) / "prompts.safetensors"
        if path.exists():
            found[name] = HardenedStudent.load(path, lab.student)
    return found


def attacks(steps: int) -> dict[str, Attack]:
    """The eight of the paper, and PGD at a smaller budget; `steps` updates each.

    None stops at the first success: clouds on the verge of a boundary flatter whoever
    has another boundary, in the static and the transfer columns.
    """
    searched = {"steps": steps // 2, "search_steps": 2}
    two_views = {"steps": steps, "restarts": 1}
    return {
        "PGD": PGD.quick(eps=EPS, steps=steps),
        "PGD, small": PGD.quick(eps=SMALL_EPS, steps=steps),
        "Perturb": CWPerturb.quick(**searched),
        "KNN": KNNAttack.quick(steps=steps),
        "Add-CD": CWAdd.quick("chamfer", eps=512, **searched),
        "Add-HD": CWAdd.quick("hausdorff", eps=512, **searched),
        "AOF": AOF.quick(**two_views),
        "Drop-200": SaliencyDrop.drop_200(per_round=200 // min(steps, 40)),
        "AdvPC": AdvPC.quick(load_auto_encoder(), **two_views),
    }


def groups(steps: int) -> dict[str, dict[str, Attack]]:
    """The attacks in the order in which they are run; each group is a sweep."""
    eight = attacks(steps)
    first = {name: eight.pop(name) for name in ("PGD", "PGD, small")}
    ensemble = {
        f"PointAutoAttack {eps:g}": PointAutoAttack.quick(eps=eps, steps=2 * steps)
        for eps in (SMALL_EPS, EPS)
    }
    # How much of what is left at a few updates is the attack's impatience.
    long = APGD(eps=SMALL_EPS, steps=8 * steps, criterion="success")
    patient = {f"APGD {SMALL_EPS:g}, {long.steps} updates": long}
    return dict(zip(GROUPS, (first, ensemble, eight, patient), strict=True))


def another_family(lab: Lab, class_names: tuple[str, ...]) -> dict[str, nn.Module]:
    """The surrogate: PointNet if it knows the classes, else the point teacher."""
    try:
        return {"PointNet": load_victim("pointnet").for_classes(class_names)}
    except ValueError:
        return {"point teacher": lab.classifiers(class_names)["point teacher"]}


def attack(args: argparse.Namespace, lab: Lab) -> None:
    """Measure every cell that is missing."""
    clouds = data(args, "test")
    judged = models(args, lab, clouds)
    if args.only:
        judged = {name: judged[name] for name in (UNDEFENDED, *args.only)}
    surrogate = another_family(lab, clouds.class_names)
    for group, chosen in groups(args.steps).items():
        if group not in args.groups:
            continue
        threats = args.threats or ("static", "transfer", "adaptive")
        sources = {"undefended": UNDEFENDED, "surrogate": surrogate}
        if group in ("ensemble", "long"):  # made to judge, not to be shown to others
            threats, sources = ("adaptive",), {}
        sweep(
            judged,
            clouds,
            chosen,
            folder=args.out / f"steps_{args.steps}" / group,
            threat_models=threats,
            **sources,
            **HOW,
        )


def costly(args: argparse.Namespace, lab: Lab) -> None:
    """Measure adaptive cells of what is slow to attack on fewer clouds, all classes."""
    clouds = data(args, "test")
    judged = models(args, lab, clouds)
    judged = {name: judged[name] for name in args.only or COSTLY}
    for group, chosen in groups(args.steps).items():
        if group not in args.groups:
            continue
        sweep(
            judged,
            clouds.limit(args.costly_clouds, seed=0),
            chosen,
            folder=args.out / f"steps_{args.steps}" / f"{group}_costly",
            threat_models=("adaptive",),
            **HOW,
        )


def curve(args: argparse.Namespace, lab: Lab) -> None:
    """Accuracy left by more and more updates, on val: what few of them cost."""
    clouds = data(args, "val").limit(args.curve_clouds, seed=0)
    judged = models(args, lab, clouds)
    wanted = args.only or (UNDEFENDED, *recipes())
    shown = {name: judged[name] for name in wanted if name in judged}
    for steps in (5, 10, 20, 40, 80, 160):
        path = args.out / "curve" / f"{steps}.json"
        if path.exists():
            continue
        done = evaluate(
            shown,
            clouds,
            {"APGD": APGD(eps=SMALL_EPS, steps=steps, criterion="success")}
            | groups(steps)["pgd"],
            threat_models=("adaptive",),
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"steps": steps, "rows": done.card["rows"]})


def protocol(args: argparse.Namespace, lab: Lab) -> None:
    """Accuracy under the paper's protocol, with each choice of the release, and all.

    The binary search of Perturb gets few updates a step in both: that choice is not
    compared here.
    """
    clouds = data(args, "test").limit(args.protocol_clouds, seed=0)
    judged = models(args, lab, clouds)
    worth = protocol_worth(
        {name: judged[name] for name in (UNDEFENDED, "MRPD")},
        clouds,
        args.out / "protocol",
        undefended=UNDEFENDED,
        paper=Protocol.paper(perturb_steps=10),
        released=Protocol.released(perturb_steps=10),
        batch_size=16,
    )
    path = args.results / f"protocol_{args.data}.json"
    value = {"kind": "protocol", "rows": worth.rows, "missing": len(worth.missing)}
    write_with_table(path, value, worth.markdown())


def main() -> None:
    """Read the command line and run one part."""
    parts = {f.__name__: f for f in (train, attack, costly, curve, protocol)}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=(*parts, "card"))
    parser.add_argument("--out", type=Path, default=Path("build/trial"))
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--data", default="objects")
    parser.add_argument("--root")
    parser.add_argument("--train", type=int, help="at most so many clouds of train")
    parser.add_argument("--val", type=int, help="at most so many clouds of val")
    parser.add_argument("--test", type=int, help="at most so many clouds of test")
    parser.add_argument("--dup-net", help="DUP-Net's published weights; else ours")
    parser.add_argument("--costly-clouds", type=int, default=80)
    parser.add_argument("--curve-clouds", type=int, default=80)
    parser.add_argument("--protocol-clouds", type=int, default=80)
    parser.add_argument("--steps", type=int, default=20, help="updates of an attack")
    parser.add_argument("--only", nargs="*", help="names of recipes or models")
    parser.add_argument(
        "--groups",
        nargs="*",
        choices=GROUPS,
        default=GROUPS[:-1],
        help="of attacks",
    )
    parser.add_argument("--threats", nargs="*", help="of static, transfer, adaptive")
    args = parser.parse_args()
    tune_allocator()
    if args.part == "card":
        path = args.results / f"trial_{args.data}.json"
        write_card(args.out, path, args.steps, GROUPS, recipes())
    else:
        parts[args.part](args, load_lab("tiny"))


if __name__ == "__main__":
    main()
