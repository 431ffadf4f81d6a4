"""Small copies of the datasets that play: demo clips under official names, in official trees."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from deepfake.corpora.demo.corpus import demo_corpus
from deepfake.video.write import write_video

COUPLES = 3  # of people: the first to train, then to validate, to test
FFPP_METHODS = {
    "Deepfakes": "swap",
    "FaceSwap": "swap",
    "Face2Face": "reenact",
    "NeuralTextures": "reenact",
}


def make_datasets(root: Path) -> None:
    """Fill root with celebdf, ffpp, dfo (DeeperForensics), dfdc and folder, of six people each.

    The last couple is tested. Of the fakes of FaceForensics++ one has a mask.
    """
    videos = demo_corpus(root / "clips", num_identities=2 * COUPLES).videos
    clips = {name: [v.path for v in videos if v.method == name] for name in ("real", "swap", "reenact")}
    for who in range(2 * COUPLES):
        real, other = clips["real"][2 * who : 2 * who + 2]
        swap, mate = clips["swap"][who], who ^ 1
        put(root, real, f"celebdf/Celeb-real/id{20 + who}_0000.mp4", f"folder/real/{who}.mp4")
        put(root, real, f"ffpp/original_sequences/youtube/c23/videos/00{who}.mp4")
        put(root, other, f"celebdf/YouTube-real/0000{who}.mp4")
        put(root, swap, f"celebdf/Celeb-synthesis/id{20 + who}_id{20 + mate}_0000.mp4")
        put(root, swap, f"dfo/manipulated_videos/end_to_end/00{who}_M10{who // 2}.mp4")
        put(root, swap, f"folder/fake/swap/{who}.mp4")
        for method, kind in FFPP_METHODS.items():
            place = f"ffpp/manipulated_sequences/{method}/c23/videos/00{who}_00{mate}.mp4"
            put(root, clips[kind][who], place)
    list_celebdf(root / "celebdf")
    list_ffpp_and_dfo(root)
    make_dfdc(root, clips["real"], clips["swap"])
    mask = np.zeros((50, 64, 64, 3), np.uint8)  # a patch in the middle, where the head is
    mask[:, 26:38, 26:38] = 255
    masks = root / "ffpp" / "manipulated_sequences" / "Deepfakes" / "masks" / "videos"
    masks.mkdir(parents=True)
    write_video(masks / "000_001.mp4", iter(mask), fps=25)


def put(root: Path, source: Path, *names: str) -> None:
    """The same clip under other names."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).hardlink_to(source)


def list_celebdf(root: Path) -> None:
    """The official list of the test videos, 1 = real."""
    testing = [f"0 Celeb-synthesis/id{a}_id{b}_0000.mp4" for a, b in ((24, 25), (25, 24))]
    testing += ["1 Celeb-real/id24_0000.mp4", "1 Celeb-real/id25_0000.mp4", "1 YouTube-real/00005.mp4"]
    (root / "List_of_testing_videos.txt").write_text("\n".join(testing))


def list_ffpp_and_dfo(root: Path) -> None:
    """The split lists; DeeperForensics tests on who trains FaceForensics++, as officially."""
    (root / "dfo" / "lists" / "splits").mkdir(parents=True)
    for couple, (ffpp_split, dfo_split) in enumerate((("train", "test"), ("val", "val"), ("test", "train"))):
        pair = [f"00{2 * couple}", f"00{2 * couple + 1}"]
        (root / "ffpp" / f"{ffpp_split}.json").write_text(json.dumps([pair]))
        names = [f"{number}_M10{couple}.mp4" for number in pair]
        (root / "dfo" / "lists" / "splits" / f"{dfo_split}.txt").write_text("\n".join(names))


def make_dfdc(root: Path, reals: list[Path], fakes: list[Path]) -> None:
    """Two parts with their metadata."""
    for part, people in enumerate((range(COUPLES), range(COUPLES, 2 * COUPLES))):
        folder, about = f"dfdc/dfdc_train_part_{part}", {}
        for who in people:
            put(root, reals[2 * who], f"{folder}/real{who}.mp4")
            put(root, fakes[who], f"{folder}/fake{who}.mp4")
            about[f"real{who}.mp4"] = {"label": "REAL", "split": "train"}
            about[f"fake{who}.mp4"] = {"label": "FAKE", "split": "train", "original": f"real{who}.mp4"}
        (root / folder / "metadata.json").write_text(json.dumps(about))
