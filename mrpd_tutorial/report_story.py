"""What a report says: eight sections, each from the result's numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from mrpd_tutorial import plotting
from mrpd_tutorial.report_page import Drawing, Section, table
from mrpd_tutorial.report_words import (
    change_in_points,
    escape,
    interval,
    norm_in_words,
    percent,
    share,
)

__all__ = ["Story"]

_SHOWN_VIEWS = 4
_THREATS = ("clean", "static", "adaptive", "transfer")


class Story:
    """The sections of the demo's report.

    Args:
        result: of `run_demo`, JSON values; every number comes from it.
        arrays: of `run_demo`: clean, attacked, clean_maps, attacked_maps.
    """

    def __init__(self, result: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
        self.result, self.arrays = result, arrays
        self.example = result["example"]
        self.names = result["data"]["class_names"]
        self.chance = 1 / len(self.names)
        self.rows = {(r["model"], r["threat_model"]): r for r in result["rows"]}
        self.teachers = {
            (r["model"], r["threat_model"]): r for r in result["teacher_rows"]
        }
        models = list(dict.fromkeys(row["model"] for row in result["rows"]))
        self.models, self.undefended, self.hardened = models, models[0], models[-1]
        budget = self.rows[self.undefended, "static"]
        steps = result["config"]["distill"]["attack"].get("steps")
        self.budget = (
            f"{budget['attack']}, {steps} steps, {norm_in_words(budget['norm'])} "
            f"{budget['eps']:g}"
        )

    def sections(self) -> list[Section]:
        """All of them, in order."""
        return [
            self._undefended_student(),
            self._attack(),
            self._depth_maps(),
            self._opinions(),
            self._distillation(),
            self._weights(),
            self._accuracy(),
            self._limits(),
        ]

    def introduction(self) -> list[str]:
        """What this is, on what, and the result in a table."""
        data, lab = self.result["data"], self.result["lab"]
        clouds = data["clouds"]
        paragraphs = [
            "<p>Multimodal Robust Prompt Distillation (MRPD, Gu et al., arXiv "
            "2511.21574) keeps a point-cloud encoder frozen and learns a few prompt "
            "tokens for it from three teachers. This page shows one run of it.</p>",
            f"<p class=facts>Data: <b>{escape(data['name'])}</b>, {len(self.names)} "
            f"classes, {data['num_points']} points a cloud; {clouds['train']} clouds "
            f"to learn from, {clouds['val']} to choose the epoch, {clouds['test']} to "
            f"measure on. Models: lab <b>{escape(lab['name'])}</b>"
            + (
                ", small stand-ins for the paper's models: these are not the paper's "
                "numbers."
                if lab["is_stand_in"]
                else "."
            )
            + "</p>",
        ]
        return [
            *paragraphs,
            self._table(),
            f"<p class=facts>{self._threat_notes()}</p>",
        ]

    def _undefended_student(self) -> Section:
        row = self.rows[self.undefended, "clean"]
        teachers = " and ".join(
            f"the {escape(name)} reaches {percent(r)}"
            for (name, threat), r in self.teachers.items()
            if threat == "clean"
        )
        body = (
            f"<p>The frozen student names a cloud by the closest of {len(self.names)} "
            f"class texts. It is right on {percent(row)} of {row['n']} clean test "
            f"clouds (95 % interval {interval(row)}); guessing would give "
            f"{share(self.chance)}. On the same clouds {teachers}.</p>"
            f"<p>The object below, a <b>{escape(self._label())}</b>, goes through the "
            "whole page. It was not drawn at random: it is "
            f"{escape(self.example['rule'])}.</p>"
        )
        drawing = Drawing(
            "cloud",
            plotting.cloud_figure,
            (self.arrays["clean"],),
            {"title": f"A {self._label()}, as the student sees it"},
            "Drag to turn, scroll to come closer. The y axis points up.",
        )
        return Section("student", "The undefended student", [body], [drawing])

    def _attack(self) -> Section:
        clean, static = (self.rows[self.undefended, t] for t in ("clean", "static"))
        before, after = self.example["opinions"][self.undefended]
        body = (
            f"<p>The attack ({escape(self.budget)}) moves each point a little, along "
            "the gradient of the student's loss. The points of this cloud moved by "
            f"{self.example['mean_displacement']:.3f} of its radius on average, "
            f"{self.example['max_displacement']:.3f} at most. The student's answer "
            f"went from <b>{self._top(before)}</b> to <b>{self._top(after)}</b>.</p>"
            f"<p>Over all {static['n']} test clouds its accuracy fell from "
            f"{percent(clean)} to {percent(static)} (95 % interval "
            f"{interval(static)}).</p>"
        )
        eps = static["eps"] if static["norm"] == "per_point" else None
        drawing = Drawing(
            "attack",
            plotting.attack_figure,
            (self.arrays["clean"], self.arrays["attacked"]),
            {"eps": eps, "title": "The same object before and after the attack"},
            "Right: each point's colour says how far it moved.",
        )
        return Section("attack", "An attack that fools it", [body], [drawing])

    def _depth_maps(self) -> Section:
        clean, static = (self.teachers["image teacher", t] for t in ("clean", "static"))
        student = [self.rows[self.undefended, t] for t in ("clean", "static")]
        body = (
            f"<p>The image teacher sees {self.result['lab']['views']} depth maps of "
            "each cloud instead of its points. Drawing rounds positions to pixels, "
            "thickens and smooths them, so that small displacements leave less "
            "trace than in the points. On the attacked clouds the image teacher is "
            "right on "
            f"{percent(static)} (clean: {percent(clean)}), a change of "
            f"{change_in_points(static, clean)}; the student for which the attack was "
            f"made changes by {change_in_points(student[1], student[0])}.</p><p>These "
            "clouds were not made to fool the image teacher: an attack through the "
            "projection is another question.</p>"
        )
        shown = slice(0, _SHOWN_VIEWS)
        drawing = Drawing(
            "depth_maps",
            plotting.depth_map_figure,
            (self.arrays["clean_maps"][shown], self.arrays["attacked_maps"][shown]),
            {
                "view_names": self.example["view_names"][shown],
                "title": "Depth maps before and after the attack",
            },
            "The difference is drawn on the full scale from -1 to 1.",
        )
        return Section("depth", "What the depth maps keep", [body], [drawing])

    def _opinions(self) -> Section:
        nearest = ", ".join(
            f"{escape(name)} ({cosine:.2f})"
            for name, cosine in self.example["nearest_texts"]
        )
        body = (
            "<p>Three teachers guide the prompts. The image teacher judges the depth "
            "maps; the point teacher, a larger point encoder, judges the points. The "
            "text teacher never sees a cloud: it gives the class features that every "
            f"opinion is measured against. For it, the names closest to "
            f"“{escape(self._label())}” are {nearest} (cosine). A gate lets the image "
            "and point teachers teach a cloud only where they name its class correctly."
            "</p>"
        )
        drawing = Drawing(
            "opinions",
            plotting.opinions_figure,
            (self.example["opinions"], self.names, self.example["label"]),
            {"title": "What each model says of this object"},
            "Softmax of cosine / 0.07 between the features of cloud and class texts.",
        )
        return Section("opinions", "The three teachers' opinions", [body], [drawing])

    def _distillation(self) -> Section:
        told, settings = self.result["distilled"], self.result["config"]["distill"]
        history = told["history"]
        chosen, first = history[told["best_epoch"] - 1], told["undefended"]
        cost = list(self.result["cost"].values())
        times = cost[1]["seconds_per_cloud"] / cost[0]["seconds_per_cloud"] - 1
        work = cost[1]["multiply_adds_per_cloud"] / cost[0]["multiply_adds_per_cloud"]
        body = (
            f"<p>Everything stays frozen but {told['numbers_learned']} numbers: "
            f"{settings['prompt_tokens']} prompt tokens of the student and "
            f"{settings['context_tokens']} context vectors of the text tower, learned "
            f"in {len(history)} epochs on clean and attacked training clouds. The "
            f"epoch kept, {told['best_epoch']}, was chosen on the validation clouds: "
            f"clean accuracy {share(first['val_clean'])} → "
            f"{share(chosen['val_clean'])}, on clouds attacked for the undefended "
            "student "
            f"{share(first['val_attacked'])} → {share(chosen['val_attacked'])}.</p>"
            f"<p>Prompts are not free: they add {share(work - 1)} to the "
            "multiply-adds of a cloud. The time for it changed by "
            f"{share(times, '+')} in this run, "
            "a measurement that other programs on the machine disturb.</p>"
        )
        drawing = Drawing(
            "training",
            plotting.training_curves,
            ([{"epoch": 0, **first}, *history],),
            {"title": "Distilling the prompts"},
            "Epoch 0 is the student without prompts. The gate's pass rate is the share "
            "of clouds a teacher may teach.",
        )
        return Section("distillation", "Prompts being distilled", [body], [drawing])

    def _weights(self) -> Section:
        told, settings = self.result["distilled"], self.result["config"]["distill"]
        last = told["history"][-1]
        ends = ", ".join(
            f"{name} {last[f'weight_{name}']:.2f}" for name in settings["teachers"]
        )
        body = (
            "<p>The three losses are added with weights 1/σ² = exp(-λ), and λ is "
            "learned (Eq. 8): a loss that stays large is trusted less. After the last "
            f"epoch the weights are {ends}.</p>"
        )
        drawing = Drawing(
            "weights",
            plotting.weight_curves,
            (told["history"],),
            {"floor": settings["weight_floor"], "title": "Learned weights"},
        )
        return Section("weights", "Learned uncertainty weights", [body], [drawing])

    def _accuracy(self) -> Section:
        changes = "; ".join(
            f"{threat} {percent(self.rows[self.undefended, threat])} → "
            f"{percent(self.rows[self.hardened, threat])}"
            for threat in _THREATS
            if (self.hardened, threat) in self.rows
        )
        body = (
            f"<p>From the undefended student to the student with prompts: {changes}. "
            "Static clouds never met the defense; the adaptive attack goes through "
            "it and is the number to trust when one asks what an attacker who knows "
            "the defense can do.</p>"
        )
        drawing = Drawing(
            "accuracy",
            plotting.accuracy_bars,
            (self.result["rows"],),
            {"chance": self.chance, "title": "Accuracy before and after"},
        )
        return Section("accuracy", "Accuracy, with its threat model", [body], [drawing])

    def _draws(self) -> str:
        """How an adaptive attack met random models."""
        rows = self.result["rows"]
        draws = max((row.get("eot_samples", 1) for row in rows), default=1)
        if draws == 1:
            return "no attack averaged over draws: its number is an upper bound."
        return (
            f"each step of the adaptive attack averaged over {draws} draws (EOT), "
            "so that a few more might find a little more."
        )

    def _limits(self) -> Section:
        result, lab = self.result, self.result["lab"]
        packages = result["environment"]["packages"]
        versions = ", ".join(f"{k} {v}" for k, v in packages.items())
        n = result["data"]["clouds"]["test"]
        items = [
            f"{n} test clouds: differences smaller than the intervals say nothing.",
            "One attack, one budget, one seed. PGD through the prompts is a first "
            "adaptive attack, not the strongest there is.",
            "A random defense (~) is shown by one draw that no attack has seen; "
            f"{self._draws()}",
            "The teachers' numbers are on clouds made for the student. No attack was "
            "made on the image teacher; clouds made on the point teacher were shown to "
            "the students alone (transfer).",
        ]
        if lab["is_stand_in"]:
            parts = "; ".join(
                f"{name.replace('_', ' ')} ({lab['parameters'][name]:,} parameters) "
                f"for {other}"
                for name, other in lab["stand_ins"].items()
            )
            items.insert(0, f"Stand-in models, not the paper's: {escape(parts)}.")
        lines = "".join(f"<li>{item}</li>" for item in items)
        seconds = result["seconds"]["total"]
        facts = (
            f"Seeds {result['config']['seed']} (evaluation) and "
            f"{result['config']['distill']['seed']} (distillation), "
            f"{escape(versions)}, {result['environment']['threads']} threads, "
            f"{seconds:.0f} s; test clouds {result['data']['hash']['test'][:12]}, "
            f"models {lab['digest'][:12]}; {escape(result['created'])}. "
            "Everything is in result.json beside this page."
        )
        body = [f"<ul>{lines}</ul>", f"<p class=facts>{facts}</p>"]
        return Section("limits", "Limits", body)

    def _table(self) -> str:
        head = ["model", *_THREATS]
        lines = []
        for model in self.models:
            cells = []
            for threat in _THREATS:
                row = self.rows.get((model, threat))
                text = "–"
                if row is not None:
                    text = f"{percent(row)} <small>{interval(row)}</small>"
                cells.append(text)
            marker = " ~" if self.rows[model, "clean"]["random_model"] else ""
            lines.append([escape(model) + marker, *cells])
        return table(head, lines)

    def _threat_notes(self) -> str:
        n = self.result["data"]["clouds"]["test"]
        notes = " ".join(
            escape(note[0].upper() + note[1:]) for note in self.result["notes"]
        )
        return (
            f"Accuracy on {n} test clouds, with 95 % Wilson intervals. Attack: "
            f"{escape(self.budget)}. {notes}"
        )

    def _label(self) -> str:
        return self.names[self.example["label"]].replace("_", " ")

    def _top(self, probabilities: Sequence[float]) -> str:
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        return f"{escape(self.names[best])} ({100 * probabilities[best]:.0f} %)"
