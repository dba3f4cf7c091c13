"""Beyond classification: MRPD's idea, carried to part segmentation by us.

A frozen point encoder answers for every point (`segmenter`); an image teacher's feature
maps, brought back from the depth maps to the points, teach it (`teacher`); `heads`
trains the two heads on clean clouds; `config` and `prompts` distil prompt tokens, all
else frozen; `attack` is PGD on the mean loss of the points; `evaluate` reports mIoU for
clean, static and adaptive clouds.
"""

from mrpd_tutorial.segment.attack import SegmentationPGD, SegmentationResult
from mrpd_tutorial.segment.config import SegmentConfig
from mrpd_tutorial.segment.evaluate import PartRow, evaluate_parts, parts_table
from mrpd_tutorial.segment.heads import train_head, train_teacher_head
from mrpd_tutorial.segment.prompts import PromptResult, distil_prompts, point_gate
from mrpd_tutorial.segment.segmenter import PartSegmenter
from mrpd_tutorial.segment.teacher import MultiViewTeacher

__all__ = [
    "MultiViewTeacher",
    "PartRow",
    "PartSegmenter",
    "PromptResult",
    "SegmentConfig",
    "SegmentationPGD",
    "SegmentationResult",
    "distil_prompts",
    "evaluate_parts",
    "parts_table",
    "point_gate",
    "train_head",
    "train_teacher_head",
]
