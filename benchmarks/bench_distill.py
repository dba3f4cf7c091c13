"""How much faster an epoch is with everything below the prompts in the cache.

    python benchmarks/bench_distill.py [--train 160] [--val 48] [--epochs 3]

The same epochs run with the cache and without: without it, tokens and teacher features
are computed anew for each batch, and attacked clouds for each epoch. Three sums are
compared with the cached epoch: features alone; with the attack on those clouds that the
epoch shows attacked (half of train, all of val); with the attack on all. The
loss curves of the first two are compared before any time is believed. What prompts cost
at inference is measured beside it. Times are wall clock and the processor's own, which
stays meaningful while other work runs on the machine.
"""

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mrpd_tutorial.data import load_dataset
from mrpd_tutorial.distill import DistillConfig, HardenedStudent, inference_cost
from mrpd_tutorial.distill.cache import FeatureCache
from mrpd_tutorial.distill.feature_maker import FeatureMaker
from mrpd_tutorial.distill.training import Training
from mrpd_tutorial.runtime import environment_summary, tune_allocator, write_json
from mrpd_tutorial.zoo import load_lab


def seconds(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What `work` returns, and its time."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
    }


def measure(args: argparse.Namespace, cache_folder: str) -> dict[str, Any]:
    lab = load_lab("tiny", folder=args.lab)
    train, val = (
        load_dataset("objects", split).limit(count).subsample_points(args.points)
        for split, count in (("train", args.train), ("val", args.val))
    )
    config = DistillConfig.quick(epochs=args.epochs)
    names = train.class_names
    plain = HardenedStudent(lab.student, lab.class_text_features(names), names)
    cache = FeatureCache(cache_folder)
    makers = {
        "cached": FeatureMaker(lab, names, config, plain, cache, progress=False),
        "recomputed": FeatureMaker(lab, names, config, plain, None, progress=False),
    }
    times: dict[str, dict[str, float]] = {}

    def features(maker: FeatureMaker) -> tuple:
        return maker.make(train, teachers=True), maker.make(val, teachers=False)

    _, times["filling the cache, once"] = seconds(lambda: features(makers["cached"]))
    _, times["opening the cache"] = seconds(lambda: features(makers["cached"]))
    made = {"cached": features(makers["cached"])}
    recomputed, attacks = [], []
    for data, teachers in ((train, True), (val, False)):
        part, spent = seconds(
            lambda d=data, t=teachers: makers["recomputed"].make(d, t)
        )
        recomputed.append(part)
        attacks.append(spent)
    made["recomputed"] = tuple(recomputed)
    curves, hardened = {}, None
    # The first epoch of a process pays for buffers that the others find ready.
    warm_up = dataclasses.replace(config, epochs=1)
    Training(lab, names, warm_up, None).run(*made["cached"], progress=False)
    for name, parts in made.items():
        training = Training(lab, names, config, None)
        _, spent = seconds(lambda t=training, p=parts: t.run(*p, progress=False))
        times[f"an epoch, {name}"] = {k: v / args.epochs for k, v in spent.items()}
        curves[name] = [row["loss"] for row in training.history]
        hardened = HardenedStudent(
            lab.student,
            training.best["class_text_features"],
            names,
            prompt=training.best["prompt"],
        )
    pairs = zip(curves["cached"], curves["recomputed"], strict=True)
    difference = max(abs(a - b) for a, b in pairs)
    assert difference <= 1e-5, f"not the same loss curve: {difference}"
    cached, everything = (times[f"an epoch, {name}"] for name in made)
    for name, share in (
        ("an epoch, attacking only what it shows attacked", (0.5, 0)),
        ("an epoch, recomputing features alone", (1, 1)),
    ):
        saved = zip(attacks, share, strict=True)
        times[name] = {k: everything[k] for k in everything}
        for attack, part in saved:
            for kind in attack:
                times[name][kind] -= part * attack[kind]
    faster = {
        name: {kind: spent[kind] / cached[kind] for kind in cached}
        for name, spent in times.items()
        if name.startswith("an epoch") and spent is not cached
    }
    for name, spent in times.items():
        print(f"{name}: {spent['wall']:.3f} s wall, {spent['cpu']:.3f} s CPU")
    for name, ratio in faster.items():
        wall, cpu = ratio["wall"], ratio["cpu"]
        print(f"{name}: cached is {wall:.1f} times faster (wall), {cpu:.1f} (CPU)")
    print(f"largest difference of the loss curves: {difference:.2g}")
    undefended = hardened.undefended(lab.class_text_features(names))
    costs = {}
    for name, model in (("without prompts", undefended), ("with prompts", hardened)):
        costs[name] = dataclasses.asdict(inference_cost(model, val.points))
        milliseconds = 1000 * costs[name]["seconds_per_cloud"]
        million = costs[name]["multiply_adds_per_cloud"] / 1e6
        print(f"inference {name}: {milliseconds:.2f} ms, {million:.1f} M multiply-adds")
    return {
        "train_clouds": len(train),
        "val_clouds": len(val),
        "points": args.points,
        "config": config.as_dict(),
        "seconds": times,
        "times_faster": faster,
        "largest_loss_difference": difference,
        "inference": costs,
        "environment": environment_summary(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lab", type=Path, default=None, help="folder of another lab")
    parser.add_argument("--train", type=int, default=160)
    parser.add_argument("--val", type=int, default=48)
    parser.add_argument("--points", type=int, default=1024)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("build/bench_distill.json"))
    args = parser.parse_args()
    tune_allocator()
    with tempfile.TemporaryDirectory() as cache_folder:
        card = measure(args, cache_folder)
    write_json(args.out, card, overwrite=True)
    print(f"written: {args.out}")


if __name__ == "__main__":
    main()
