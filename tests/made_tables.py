"""A table of one's own, small enough for seconds: its setting, and one row of distillation."""

from pathlib import Path


def setting(images: int, small: int, large: int) -> str:
    """A setting on `images` of digits, with two networks of these widths."""
    return f"""
source: a test
overrides: [dataset=digits, dataset.subset={images}, schedule=quick, schedule.epochs=2,
            'schedule.milestones=[1]']
classes: 10
train_images: {images}
epochs: 2
networks:
  small: {{overrides: [model=resnet8, model.width={small}], role: weak, batch_size: 64}}
  large: {{overrides: [model=resnet8, model.width={large}], role: strong, batch_size: 64}}
"""


TABLE = """
title: A table of one's own
source: a test
shows: nothing
setting: setting.yaml
grade: P
cells:
  - {row: weak, column: KD, method: kd, network: small, teacher: large, tau: 4, alpha: 0.9,
     paper: {accuracy: 50, deviation: 0.5}}
"""


def write_table(folder: Path, setting_text: str, table: str) -> None:
    """Writes `mine.yaml` and the setting that it names."""
    (folder / "setting.yaml").write_text(setting_text)
    (folder / "mine.yaml").write_text(table)
