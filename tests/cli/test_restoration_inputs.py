"""Inputs of restorations by the command line: files of every kind, and words that end in one message."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from restorers import disturbed, picture, write

from evalkit.cli.program import app
from evalkit.imaging.colour import grey_level, luma
from evalkit.metrics.restoration.psnr import psnr, shave

Cli = Callable[..., tuple[str, str]]

GIVEN = ("run", "--sr", "sr", "--hr", "hr", "--scale", 4)


def forms(folder: Path) -> dict[str, Any]:
    """Originals of other kinds, with restorations of them."""
    size = (24, 32)
    colour = picture(*size)
    grey = picture(*size, 1)[..., 0]
    deep = picture(*size, 2)[..., 0].astype(np.uint16) * 256 + 77
    alpha = np.dstack([picture(*size, 3), np.full(size, 100, np.uint8)])
    write(
        folder / "hr", {"alpha.png": alpha, "deep.png": deep, "grey.png": grey, "odd.png": picture(27, 34, 4)}
    )
    seen = {
        "alpha": alpha[..., :3],
        "deep": (deep >> 8).astype(np.uint8),
        "grey": grey,
        "odd": picture(27, 34, 4)[:24, :32],
    }
    whole = {
        name: each if each.ndim == 3 else each[..., None].repeat(3, axis=2) for name, each in seen.items()
    }
    restored = {name: disturbed(each, seed) for seed, (name, each) in enumerate(whole.items())}
    write(folder / "sr", {f"{name}.png": each for name, each in restored.items()})
    write(folder / "sr", {"alpha.png": np.dstack([restored["alpha"], colour[..., 0]])})
    return {name: (restored[name], whole[name], name in ("grey", "deep")) for name in whole}


def test_originals_of_every_kind_are_read_by_rules_that_are_said(sr_cli: Cli, tmp_path: Path):
    expected = forms(tmp_path / "kinds")
    words = ("run", "--sr", "kinds/sr", "--hr", "kinds/hr", "--scale", 4, "--no-baselines", "-o", "out")
    out, err = sr_cli(*words, "--metrics", "psnr_rgb,psnr_y", "--json")
    rgb, y = json.loads(out)
    notes = rgb["data"]["notes"]
    for part in (
        "1 of 4 originals are cropped at the bottom and the right to multiples of 4, such as odd from 34x27",
        "2 of 4 originals are stored grey and are repeated to three channels",
        "originals: 1 of 4 images have transparency: the alpha channel is dropped",
        "originals: 1 of 4 images have 16 bits a channel: the high byte is used",
        "restorations: 1 of 4 images have transparency",
    ):
        assert any(note.startswith(part) for note in notes), notes
    for note in notes:
        assert note in err
    for name, (sr, hr, grey) in expected.items():
        a, b = (shave(each.transpose(2, 0, 1), 4) for each in (sr, hr))
        assert rgb["per_image"][name] == pytest.approx(psnr(a, b), rel=2**-23)
        of = grey_level if grey else luma
        assert y["per_image"][name] == pytest.approx(psnr(of(a), of(b)), rel=2**-23)


def test_originals_that_cannot_be_read_are_left_out_where_that_is_asked(sr_cli: Cli):
    broken = Path("hr/b.png")
    broken.write_bytes(broken.read_bytes()[:200])
    words = (*GIVEN, "--metrics", "psnr_rgb", "--no-baselines", "-o", "out", "--json")
    _, err = sr_cli(*words, code=2)
    assert "b.png" in err
    (told,) = json.loads(sr_cli(*words, "--skip-broken")[0])
    assert list(told["per_image"]) == ["a", "c"]
    assert (told["data"]["num"], told["data"]["num_broken"]) == (2, 1)


RESTORED = ["--sr", "sr", "--hr", "hr", "--scale", "4"]
BICUBIC = ["--sr-model", "bicubic", "--hr", "hr", "--scale", "4"]
DRAWS = ["--sr-model", "mine.py:draws", "--hr", "hr", "--scale", "4"]
OTHERS = [
    (["--data", "hr"], "--data", "give the originals with --hr"),
    (["--model", "stylegan2:tiny-random"], "--model", "name what restores with --sr-model"),
    (["--limit", "2"], "--limit", "limit the originals with --data-limit"),
    (["--num", "2"], "--num", "say how many restorations of each image with --samples"),
    (["--repeats", "2"], "--repeats", "ask for several restorations of each image with --samples"),
    (["--sampling", "temperature=0.5"], "--sampling", "give the temperature with --temperature"),
    (["--truncation", "0.5"], "--truncation", "give the temperature with --temperature"),
    (["--truncation-cutoff", "2"], "--truncation-cutoff", "leave it out"),
    (["--z-dim", "4"], "--z-dim", "leave it out"),
    (["--labels", "uniform"], "--labels", "leave it out"),
    (["--num-classes", "3"], "--num-classes", "leave it out"),
    (["--layer", "192"], "--layer", "leave it out"),
    (["--precision", "bfloat16"], "--precision", "leave it out"),
    (["--k", "3"], "--k", "leave it out"),
    (["--attributes", "digits"], "--attributes", "leave it out"),
    (["--subset-seed", "1"], "--subset-seed", "leave it out"),
    (["--batch-size", "8"], "--batch-size", "leave it out"),
]


@pytest.mark.parametrize(("words", "option", "advice"), OTHERS)
def test_options_of_what_generates_have_no_place(sr_cli: Cli, words: list[str], option: str, advice: str):
    for given in (RESTORED, BICUBIC):
        message = f"{option} does not go with {given[0]}, which is of restorations: {advice}"
        out, err = sr_cli("run", *given, "--metrics", "psnr_rgb", *words, "-o", "out", code=2)
        assert (out, err) == ("", f"evalkit: {message}\n")


TAKEN = (
    "--sr-model --sr --hr --lr --scale --samples --temperature --baselines --pictures --metrics --output "
    "--name --data-name --range --data-limit --seed --skip-broken --root --download --device --weights-dir "
    "--weights --cache-dir --dry-run --json"
)


def test_every_option_of_run_is_taken_or_refused():
    options = {option.opts[0] for option in typer.main.get_command(app).commands["run"].params}
    taken, refused = set(TAKEN.split()), {option for _, option, _ in OTHERS}
    assert options == taken | refused
    assert not taken & refused


BAD = [
    (["--sr", "sr", "--scale", "4"], "--hr is missing; give the originals"),
    (["--sr", "sr", "--hr", "hr"], "--scale is missing; say how many times as large the originals are"),
    (["--hr", "hr", "--scale", "4"], "neither of --sr (restorations) and --sr-model (what makes them)"),
    ([*RESTORED, "--sr-model", "bicubic"], "both of --sr (restorations) and --sr-model"),
    (["--samples", "sr", "--hr", "hr", "--scale", "4"], "--samples sr: restorations of originals are"),
    ([*BICUBIC, "--samples", "x"], "--samples x: beside --sr and --sr-model it is how many restorations"),
    ([*RESTORED, "--samples", "sr"], "--samples sr: beside --sr and --sr-model it is how many restorations"),
    ([*BICUBIC, "--samples", "2.5"], "--samples 2.5: beside --sr"),
    ([*BICUBIC, "--samples=--3"], "--samples --3: beside --sr"),
    ([*BICUBIC, "--samples", "9" * 30], "beside --sr and --sr-model it is how many restorations"),
    ([*BICUBIC, "--samples", "0"], "--samples is 0; give how many restorations of each image, from 1 to"),
    ([*BICUBIC, "--samples", "-2"], "--samples is -2; give how many"),
    ([*BICUBIC, "--samples", "2000"], "--samples is 2000; give how many"),
    ([*RESTORED, "--samples", "3"], "sr holds 2 restorations of each original and --samples asks for 3"),
    ([*RESTORED, "--temperature", "0.5"], "--temperature 0.5 belongs to a model, and --sr are images"),
    ([*RESTORED, "--range", "unit"], "--range belongs to a model, and --sr are images that are there"),
    ([*RESTORED, "--range", "signed"], "--range belongs to a model, and --sr are images that are there"),
    ([*BICUBIC, "--temperature", "0.5"], "bicubic has no temperature; leave --temperature 0.5 out"),
    ([*DRAWS, "--temperature", "nan"], "the temperature is nan; give a finite number from 0 on, such as 0.9"),
    ([*DRAWS, "--temperature=-1"], "the temperature is -1.0"),
    ([*BICUBIC, "--range", "signed"], "bicubic says itself what its images are; leave --range out"),
    ([*BICUBIC, "--seed=-1"], "the seed is -1"),
    (["--sr-model", "bicubik", *BICUBIC[2:]], "'bicubik' names nothing that restores images"),
    (["--sr-model", "mine.py:drws", *BICUBIC[2:]], "drws"),
    (["--sr-model", "vdvae:tiny-random", *BICUBIC[2:]], "restoration needs a model that turns"),
    (["--sr-model", "srflow:tiny-random", *BICUBIC[2:4], "--scale", "2"], "enlarges 4 times, and the"),
    ([*RESTORED[:-1], "0"], "the scale is 0"),
    ([*RESTORED[:-1], "64"], "cannot be the original of anything at scale 64"),
    (["--sr", "hr", *RESTORED[2:]], "--hr and --sr are the same images, hr; give a folder for each"),
    (["--sr", "sr", "--hr", "hrr", "--scale", "4"], "nothing is at hrr"),
    (["--sr", "nowhere", *RESTORED[2:]], "nothing is at nowhere"),
    ([*RESTORED, "--data-limit", "9"], "has 3 images and the limit asks for 9"),
    ([*RESTORED, "--metrics", "fid"], "fid is no metric of restorations and their originals"),
    ([*RESTORED, "--metrics", "psnr_rgb,bpd_exact"], "bpd_exact is no metric of restorations"),
    ([*RESTORED, "--metrics", "psnr_y_bset"], "unknown protocol 'psnr_y_bset' (nearest: "),
    ([*RESTORED, "--metrics", "sr_pixel_std_best"], "sr_pixel_std is one number an image"),
    ([*RESTORED, "--metrics", ""], "no metric was named"),
    ([*RESTORED, "--weights", "alexne=x"], "alexnet"),
    (["--samples", "sr", "--data", "hr", "--metrics", "psnr_y"],
     "psnr_y compares restorations with their originals; name those with --hr"),
    (["--model", "stylegan2:tiny-random", "--data", "hr", "--metrics", "lpips_mini_best"],
     "lpips_mini_best compares restorations with their originals; name those with --hr"),
    (["--samples", "sr", "--data", "hr", "--pictures", "2"], "--data does not go with --pictures, which"),
    (["--model", "vdvae:tiny-random", "--data", "hr", "--temperature", "0.9"],
     "--temperature 0.9 is of a model that restores (--sr-model); of one that generates, give --sampling"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "message"), BAD)
def test_words_that_cannot_be_end_in_one_message(sr_cli: Cli, words: list[str], message: str):
    metrics = [] if "--metrics" in words else ["--metrics", "psnr_rgb"]
    out, err = sr_cli("run", *words, *metrics, "-o", "out", code=2)
    assert out == ""
    last = err.splitlines()[-1]
    assert last.startswith("evalkit: ")
    assert message in last
    assert "Traceback" not in err
    assert not Path("out").exists()


SWEEPS = [
    ([], "nothing to sweep over: give --truncation 0.3:1.0:8, or --sr-model and --temperature 0:1:6"),
    (["--temperature", "0:1:3"], "--temperature is swept over for a model that restores; name it"),
    (["--model", "stylegan2:tiny-random", "--temperature", "0:1:3"], "name it with --sr-model"),
    (DRAWS, "--temperature is missing; say what to sweep over: --temperature 0:1:6"),
    ([*DRAWS, "--temperature", "0:1"], "--temperature '0:1': write start:stop:count, such as 0:1:6"),
    ([*DRAWS, "--temperature", "0.5"], "a sweep has 2 to 100 points, and 1 was given"),
    ([*DRAWS, "--temperature=-1:1:3"], "temperature is -1.0; a sweep takes finite numbers from 0 on"),
    ([*DRAWS, "--truncation", "0.5,1"], "--truncation does not go with --sr-model, which is of rest"),
    ([*DRAWS, "--temperature", "0,1", "--data", "hr"], "--data does not go with --sr-model"),
    ([*DRAWS, "--temperature", "0,1", "--samples", "x"], "--samples x: beside"),
    ([*BICUBIC, "--temperature", "0,1"], "bicubic has no temperature to sweep over"),
    ([*DRAWS[:2], *DRAWS[4:], "--temperature", "0,1"], "--hr is missing"),
    (["--hr", "hr", "--scale", "4", "--temperature", "0,1"], "asks a model for restorations; name it with"),
    ([*DRAWS, "--temperature", "0,1", "--metrics", "fid"], "fid is no metric of restorations"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "message"), SWEEPS)
def test_sweeps_that_cannot_be_end_in_one_message(sr_cli: Cli, words: list[str], message: str):
    out, err = sr_cli("sweep", *words, "-o", "out", code=2)
    assert out == ""
    assert err.splitlines()[-1].startswith("evalkit: ")
    assert message in err.splitlines()[-1]
    assert not Path("out").exists()


def test_partners_that_lack_or_do_not_fit_are_named(sr_cli: Cli):
    write(Path("lr"), {"a.png": picture(6, 8), "bx4.png": picture(8, 6)})
    words = (*GIVEN, "--metrics", "psnr_rgb", "-o", "out", "--lr", "lr")
    _, err = sr_cli(*words, code=2)
    assert "lr has no low-resolution image of 1 of 3 originals, c; looked for is NAME, NAMEx4" in err
    write(Path("lr"), {"c.png": picture(6, 7)})
    _, err = sr_cli(*words, code=2)
    assert "lr/c.png is 7x6 and its original hr/c.png is 24x24; at scale 4 expected is 6x6" in err
    write(Path("lr"), {"c.png": picture(6, 6)})
    sr_cli(*words, "--no-baselines", "--pictures", 0)
    write(Path("sr"), {"c_1.png": picture(24, 23)})
    _, err = sr_cli(*words, code=2)
    assert "sr/c_1.png is 23x24 and is no restoration of c at scale 4: expected is 24x24" in err
    assert "(it is off by a pixel); write it in that size" in err
    Path("sr/c_1.png").unlink()
    _, err = sr_cli(*words, code=2)
    assert "different numbers of restorations of different originals" in err


def test_pictures_are_six_at_most(sr_cli: Cli):
    _, err = sr_cli("run", *BICUBIC, "--metrics", "psnr_rgb", "--pictures", 7, "-o", "out", code=2)
    assert "--pictures" in err
    assert not Path("out").exists()


def test_help_tells_of_restorations(sr_cli: Cli):
    for verb, options in (
        (
            "run",
            ("--sr", "--sr-model", "--hr", "--lr", "--scale", "--temperature", "--baselines", "--pictures"),
        ),
        ("sweep", ("--sr-model", "--hr", "--lr", "--scale", "--temperature", "--samples")),
    ):
        out, _ = sr_cli(verb, "--help")
        words = out.split()
        assert [option for option in options if option not in words] == []
