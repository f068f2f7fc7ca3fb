"""Tiny-ImageNet (Stanford CS231n): 200 classes, 64x64 pixels, 100,000 + 10,000 images.

The published test images have no labels: the validation images are the test set here, as in
the papers. A tree of fewer classes in the official layout is read as well.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdlsr.config import UserError
from kdlsr.config.inputs import ImageSpec
from kdlsr.data.dataset import Facts, datasets
from kdlsr.data.image_files import IMAGES
from kdlsr.data.listing import Files, Passed, Tree, listed
from kdlsr.data.official_tree import OfficialTree, unpack_official
from kdlsr.data.scan import read_bytes
from kdlsr.files.download import Archive, Progress

FOLDER = "tiny-imagenet-200"
VAL, ANNOTATIONS = "val/images", "val/val_annotations.txt"
ARCHIVE = Archive(
    urls=("http://cs231n.stanford.edu/tiny-imagenet-200.zip",),
    filename="tiny-imagenet-200.zip",
    checksum="md5:90528d7ca1a48142e341f4ef8d21d0de",
    size=248_100_043,
)
OFFICIAL = ImageSpec(64, 64, 3)
# The WordNet numbers of the official wnids.txt, sorted: a label is a place in this order.
OFFICIAL_CLASSES = tuple(
    """
    n01443537 n01629819 n01641577 n01644900 n01698640 n01742172 n01768244 n01770393 n01774384
    n01774750 n01784675 n01855672 n01882714 n01910747 n01917289 n01944390 n01945685 n01950731
    n01983481 n01984695 n02002724 n02056570 n02058221 n02074367 n02085620 n02094433 n02099601
    n02099712 n02106662 n02113799 n02123045 n02123394 n02124075 n02125311 n02129165 n02132136
    n02165456 n02190166 n02206856 n02226429 n02231487 n02233338 n02236044 n02268443 n02279972
    n02281406 n02321529 n02364673 n02395406 n02403003 n02410509 n02415577 n02423022 n02437312
    n02480495 n02481823 n02486410 n02504458 n02509815 n02666196 n02669723 n02699494 n02730930
    n02769748 n02788148 n02791270 n02793495 n02795169 n02802426 n02808440 n02814533 n02814860
    n02815834 n02823428 n02837789 n02841315 n02843684 n02883205 n02892201 n02906734 n02909870
    n02917067 n02927161 n02948072 n02950826 n02963159 n02977058 n02988304 n02999410 n03014705
    n03026506 n03042490 n03085013 n03089624 n03100240 n03126707 n03160309 n03179701 n03201208
    n03250847 n03255030 n03355925 n03388043 n03393912 n03400231 n03404251 n03424325 n03444034
    n03447447 n03544143 n03584254 n03599486 n03617480 n03637318 n03649909 n03662601 n03670208
    n03706229 n03733131 n03763968 n03770439 n03796401 n03804744 n03814639 n03837869 n03838899
    n03854065 n03891332 n03902125 n03930313 n03937543 n03970156 n03976657 n03977966 n03980874
    n03983396 n03992509 n04008634 n04023962 n04067472 n04070727 n04074963 n04099969 n04118538
    n04133789 n04146614 n04149813 n04179913 n04251144 n04254777 n04259630 n04265275 n04275548
    n04285008 n04311004 n04328186 n04356056 n04366367 n04371430 n04376876 n04398044 n04399382
    n04417672 n04456115 n04465501 n04486054 n04487081 n04501370 n04507155 n04532106 n04532670
    n04540053 n04560804 n04562935 n04596742 n04597913 n06596364 n07579787 n07583066 n07614500
    n07615774 n07695742 n07711569 n07715103 n07720875 n07734744 n07747607 n07749582 n07753592
    n07768694 n07871810 n07873807 n07875152 n07920052 n09193705 n09246464 n09256479 n09332890
    n09428293 n12267677
    """.split()  # noqa: SIM905
)


@datasets.register("tiny_imagenet")
@dataclass(frozen=True, kw_only=True)
class TinyImageNet(OfficialTree):
    """Read from `<root>/tiny-imagenet-200`, which is downloaded and unpacked if need be.

    The validation images may be sorted into `val/<class>/` or `val/<class>/images/`, as many do.
    """

    @property
    def archive(self) -> Archive:
        return ARCHIVE

    @property
    def published(self) -> Facts:
        names = OFFICIAL_CLASSES
        return Facts(OFFICIAL, len(names), ARCHIVE.checksum, names, 100_000, 10_000, ())

    @property
    def tree_folder(self) -> Path:
        given = self.folder
        return given if (given / "wnids.txt").is_file() else given / FOLDER

    def read_tree(self, root: Path) -> Tree:
        return _tree(root, self.skip_unreadable)

    def unpack(self, archive: Path, root: Path, progress: Progress) -> None:
        _unpack(archive, root, progress)


def _tree(root: Path, skip_unreadable: bool = False) -> Tree:
    class_names = tuple(sorted(_read(root, "wnids.txt").split()))
    passed: list[Passed] = []
    rows: list[tuple[str, int]] = []
    for label, name in enumerate(class_names):
        folder = f"train/{name}/images"
        if not (root / folder).is_dir():
            raise UserError(f"{root} has no folder {folder}, though wnids.txt lists it")
        rows += _labelled(root, folder, label, passed)
    is_sorted = any((root / "val" / name).is_dir() for name in class_names)
    test = (_sorted if is_sorted else _annotated)(root, class_names, passed)
    annotations = ("wnids.txt",) if is_sorted else ("wnids.txt", ANNOTATIONS)
    train = _files(rows)
    return Tree(root, IMAGES, class_names, train, test, annotations, tuple(passed), skip_unreadable)


def _files(rows: list[tuple[str, int]]) -> Files:
    labels = np.array([label for _, label in rows], dtype=np.int64)
    return Files(tuple(path for path, _ in rows), labels)


def _labelled(root: Path, folder: str, label: int, passed: list[Passed]) -> list[tuple[str, int]]:
    found, others = listed(root, folder, IMAGES)
    passed += others
    if not found:
        raise UserError(f"{root / folder} holds no image")
    return [(path, label) for path in found]


def _annotated(root: Path, class_names: tuple[str, ...], passed: list[Passed]) -> Files:
    """The validation images with the classes that `val_annotations.txt` gives them."""
    label_of = {name: label for label, name in enumerate(class_names)}
    rows = []
    for number, line in enumerate(_read(root, ANNOTATIONS).splitlines(), start=1):
        name, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0]
        if wnid not in label_of:
            raise UserError(
                f"{root / ANNOTATIONS}, line {number}: {name} has class {wnid or 'none'}, not in "
                "wnids.txt"
            )
        rows.append((f"{VAL}/{name}", label_of[wnid]))
    annotated = {path for path, _ in rows}
    if (root / VAL).is_dir():
        found, others = listed(root, VAL, IMAGES)
        passed += others
        passed += [Passed(VAL, path, "not annotated") for path in found if path not in annotated]
    return _files(sorted(rows))


def _sorted(root: Path, class_names: tuple[str, ...], passed: list[Passed]) -> Files:
    """The validation images of class folders, in the order that they are published in."""
    left = listed(root, VAL, IMAGES)[0] if (root / VAL).is_dir() else []
    if left:
        raise UserError(
            f"{root / 'val'} is sorted into classes in part: {VAL} still holds {len(left)} files"
        )
    rows = []
    for label, name in enumerate(class_names):
        inner = f"val/{name}/images"
        folder = inner if (root / inner).is_dir() else f"val/{name}"
        if not (root / folder).is_dir():
            raise UserError(f"{root} has no folder {folder}, though wnids.txt lists it")
        rows += _labelled(root, folder, label, passed)
    return _files(sorted(rows, key=lambda row: row[0].rpartition("/")[2]))


def _read(root: Path, name: str) -> str:
    reason = "it is missing"
    if (root / name).exists():
        try:
            return read_bytes(root / name)[0].decode()
        except UserError as error:
            reason = str(error)
        except UnicodeDecodeError:
            reason = "it is not UTF-8"
    raise UserError(
        f"{root} is not Tiny-ImageNet as published: cannot read {name} ({reason}); remove it to "
        "have it downloaded"
    )


def _unpack(archive: Path, root: Path, progress: Progress) -> None:
    def extract(folder: Path) -> None:
        with zipfile.ZipFile(archive) as zipped:
            members = zipped.infolist()
            for done, member in enumerate(members):
                member.filename = member.filename.removeprefix(f"{FOLDER}/")
                if member.filename:
                    zipped.extract(member, folder)
                progress(f"unpack {archive.name}", done + 1, len(members))

    unpack_official(root, ARCHIVE, extract, lambda folder: [_tree(folder)], progress)
