"""Part segmentation, attacked and defended: mIoU on clean, static, adaptive clouds.

    OMP_NUM_THREADS=1 python benchmarks/bench_segment.py [--out results/segment.json]

About two CPU minutes as it is; ten with --train 10 --test 8 --epochs 12
--adaptive-epochs 6 --without-gate, and the intervals are narrower.

Train: the train split of `shapes` with part labels. Every number: its test split, which
nothing was chosen on. The models differ in their prompts alone: none; distilled as MRPD
does (clouds attacked once, without prompts); perhaps the same without the gate; and
distilled against attacks that see the prompts. The multi-view teacher stands beside
them (clean and static: no gradient comes back through its depth maps).
"""

import argparse
import dataclasses
import time

import torch

from mrpd_tutorial.data import load_dataset
from mrpd_tutorial.runtime import environment_summary, tune_allocator, write_json
from mrpd_tutorial.segment import (
    MultiViewTeacher,
    PartSegmenter,
    SegmentationPGD,
    SegmentConfig,
    distil_prompts,
    evaluate_parts,
    parts_table,
    train_head,
    train_teacher_head,
)
from mrpd_tutorial.zoo import load_lab


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=4, help="clouds of each class")
    parser.add_argument("--test", type=int, default=3, help="clouds of each class")
    parser.add_argument("--steps", type=int, default=10, help="of the judging attack")
    parser.add_argument("--epochs", type=int, default=8, help="as MRPD does")
    parser.add_argument("--adaptive-epochs", type=int, default=3)
    parser.add_argument("--without-gate", action="store_true", help="prompts, too")
    parser.add_argument("--out", help="write a JSON card here")
    options = parser.parse_args()
    tune_allocator()
    torch.set_num_threads(1)
    seconds: dict[str, float] = {}
    clock = time.process_time()

    def done(name: str) -> None:
        nonlocal clock
        seconds[name] = time.process_time() - clock
        clock = time.process_time()
        print(f"{name}: {seconds[name]:.0f} CPU seconds", flush=True)

    lab = load_lab("tiny")
    train = load_dataset("shapes", "train", parts=True, per_class=options.train)
    test = load_dataset("shapes", "test", parts=True, per_class=options.test)
    student = PartSegmenter(lab.student, train.class_parts)
    heads = {"student": train_head(student, train)}
    teacher = MultiViewTeacher(lab.image_teacher, train.class_parts)
    heads["teacher"] = train_teacher_head(teacher, train)
    done("heads")

    attacked_once = SegmentConfig.quick(
        epochs=options.epochs, attack=SegmentationPGD.quick(steps=5)
    )
    configs = {
        "MRPD-like prompts": attacked_once,
        "adaptive prompts": SegmentConfig.adaptive(epochs=options.adaptive_epochs),
    }
    if options.without_gate:
        ungated = dataclasses.replace(attacked_once, gate="none")
        configs["prompts without the gate"] = ungated
    models, histories = {"undefended": student}, {}
    for name, config in configs.items():
        found = distil_prompts(student, teacher, train, config)
        models[name], histories[name] = found.segmenter, found.history
        done(name)

    attack = SegmentationPGD.quick(steps=options.steps)
    everyone = models | {"multi-view teacher": teacher}
    rows = evaluate_parts(everyone, test, attack, "undefended", tuple(models))
    done("evaluation")
    print(parts_table(rows))
    base = {row.threat_model: row for row in rows if row.model == "undefended"}
    gains = {
        f"{row.model}, {row.threat_model}": row.gain_over(base[row.threat_model])
        for row in rows
        if row.model != "undefended"
    }
    for name, (gain, low, high) in gains.items():
        print(f"{name}: {gain:+.1%} mIoU over undefended ({low:+.1%} to {high:+.1%})")
    if options.out:
        card = {
            "command": "python benchmarks/bench_segment.py",
            "options": vars(options) | {"out": None},
            "lab": {"name": lab.name, "digest": lab.digest()},
            "data": {
                "name": "shapes",
                "part_names": dict(zip(test.class_names, test.part_names, strict=True)),
                "train": {"n": len(train), "sha256": train.hash()},
                "test": {"n": len(test), "sha256": test.hash()},
                "points_per_cloud": test.points.shape[1],
            },
            "metric": "instance mIoU with a 95 % percentile bootstrap over clouds",
            "attack": dataclasses.asdict(attack),
            "threat_models": {
                "clean": "no attack",
                "static": "clouds made once, on the undefended segmenter",
                "adaptive": "clouds made on the very segmenter, through its prompts",
            },
            "head_loss": {name: losses[-1] for name, losses in heads.items()},
            "configs": {name: config.as_dict() for name, config in configs.items()},
            "history": histories,
            "gain over undefended, paired by cloud: mean, low, high": gains,
            "rows": [dataclasses.asdict(row) for row in rows],
            "cpu_seconds": seconds,
            "environment": environment_summary(),
        }
        write_json(options.out, card, overwrite=True)


if __name__ == "__main__":
    main()
