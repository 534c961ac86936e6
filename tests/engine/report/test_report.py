"""The page says what was measured, needs nothing from elsewhere, and lets no name break out of its place."""

import re
import warnings
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.engine.report import factory
from whetstone.contract.failures import Failure, FailureCode
from whetstone.contract.insights import Picture, Saliency, SaliencyMaps
from whetstone.contract.metrics import Metric
from whetstone.contract.reports import (
    Confusion,
    Curve,
    Estimate,
    FailedTarget,
    Flips,
    JobReport,
    LayerFate,
    Verdict,
    VerdictKind,
)
from whetstone.contract.steps import MakeReport
from whetstone.contract.targets import Target
from workers.engine.report import charts, wording
from workers.engine.report.page import make_report, render, render_markdown
from workers.engine.report.studies import importances
from workers.engine.report.wording import MINUS
from workers.engine.request import Message, Request

HOSTILE = "</title></style><script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{ 7 * 7 }}-->$\\frac$"


KERNEL = factory.built_report().kernels[0]


class Outline(HTMLParser):
    """Collects start tags with their attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def text_of(report: JobReport) -> str:
    return Outline(render(report)).text


def test_the_verdict_comes_first_then_the_numbers() -> None:
    page = text_of(factory.job_report())
    told = [
        "The result is 2 times as fast.",
        "2×",
        "95% interval 1.94 to 2.07",
        "1.26 MB → 355 kB",
        f"{MINUS}0.12 points",
        "0.5 ms",
    ]
    places = [page.index(words) for words in told]
    assert places == sorted(places)
    assert f"95% interval {MINUS}0.45 to +0.21" in page


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = render(factory.job_report())
    outline = Outline(page)
    assert not {tag for tag, _ in outline.tags} & {"script", "link", "iframe", "img", "object", "base", "image"}
    references = [
        value or ""
        for _, attributes in outline.tags
        for key, value in attributes.items()
        if "href" in key or key == "src"
    ]
    assert all(value.startswith("#") for value in references)
    assert not re.search(r"url\((?!#)|@import", page)
    assert set(re.findall(r'https?://[^"\s<]+', page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_names_are_escaped_wherever_they_stand() -> None:
    report = factory.job_report(
        job_name=HOSTILE,
        model_name=HOSTILE,
        dataset_name=HOSTILE,
        passes=factory.pass_reports(layer=HOSTILE),
        candidates=factory.candidates(because=HOSTILE),
        study=factory.study(layer=HOSTILE),
        targets=(factory.target_report(result=factory.measured(operator=HOSTILE)),),
        built=(factory.built_report(notes=(HOSTILE,), kernels=(KERNEL.model_copy(update={"nodes": (HOSTILE,)}),)),),
        failed_targets=(
            FailedTarget(
                target=Target.OPENVINO_CPU,
                failure=Failure(code=FailureCode.TARGET_BUILD_FAILED, message=HOSTILE, hint=HOSTILE),
            ),
        ),
    )
    curves = (Curve(name=HOSTILE, x_label=HOSTILE, y_label=HOSTILE, x=(0, 1), y=(0, 1)),) * 2
    report = report.model_copy(
        update={"passes": (*report.passes, report.passes[1].model_copy(update={"curves": curves}))}
    )
    built = (factory.built_report(),)
    plain = Outline(render(factory.job_report(candidates=factory.candidates(), study=factory.study(), built=built)))
    hostile = Outline(render(report))
    assert HOSTILE in "".join(hostile.words)
    assert "49" not in hostile.text.split()
    new_tags = {tag for tag, _ in hostile.tags} - {tag for tag, _ in plain.tags}
    assert not new_tags
    assert not [attributes for _, attributes in hostile.tags if any(key.startswith("on") for key in attributes)]


def test_what_a_search_tried_is_told() -> None:
    page = Outline(render(factory.job_report(candidates=factory.candidates())))
    assert "What was tried" in page.text
    assert "simplify → quantize (partial max_drop 0.5" not in page.text  # defaults are left out
    assert "quantize (partial" in page.text
    assert "exclude conv1 and 1 more" in page.text
    labels = [attributes.get("aria-label") or "" for _, attributes in page.tags]
    assert any("2 candidates" in label and "chosen: 2× as fast" in label for label in labels)


def test_how_it_was_tuned_is_told() -> None:
    study = factory.study()
    page = Outline(render(factory.job_report(study=study)))
    assert "24 trials (22 complete, 1 failed, 1 pruned), values chosen by tpe" in page.text
    assert f"Trial {study.chosen} was taken." in page.text
    assert "failed: The loss became infinite." in page.text
    assert "given up after epoch 2" in page.text
    labels = [attributes.get("aria-label") or "" for _, attributes in page.tags]
    for told in (
        "Validation loss of 22 completed trials",
        f"22 trials, validation loss against size; {len(study.front)} on the front",
        "Parallel coordinates of 22 trials over 1.learning_rate, 1.batch_size, 0.exclude",
        "Importance: 1.learning_rate",
    ):
        assert any(told in label for label in labels), told
    assert render(factory.job_report(study=study)) == render(factory.job_report(study=study))


def test_the_parameter_that_mattered() -> None:
    found = importances(factory.study(trials=60))
    assert next(iter(found)) == "1.learning_rate"
    assert sum(found.values()) == pytest.approx(1)
    assert found["1.learning_rate"] > 0.5
    assert importances(factory.study(trials=9)) == {}


def test_a_study_in_markdown_is_one_table() -> None:
    study = factory.study()
    lines = render_markdown(factory.job_report(study=study)).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| trial |"))
    table = lines[start : start + 2 + len(study.trials)]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert lines[start + len(table)] == ""


def test_the_runner_up_is_told_of_in_both_forms() -> None:
    target = factory.target_report().model_copy(update={"first_choice": "3 points of accuracy lost"})
    report = factory.job_report(targets=(target,))
    for text in (Outline(render(report)).text, render_markdown(report)):
        assert "runner-up" in text
        assert "3 points of accuracy lost" in text


def test_a_study_of_one_completed_trial() -> None:
    study = factory.study(trials=6, objectives=("drop",))
    lone = tuple(trial for trial in study.trials if trial.number in (study.chosen, 3, 5))
    page = Outline(render(factory.job_report(study=study.model_copy(update={"trials": lone}))))
    assert "Drop of 1 completed trials" in str(page.tags)


def test_the_same_report_gives_the_same_bytes() -> None:
    assert render(factory.job_report()) == render(factory.job_report())


def test_every_id_is_unique_and_every_reference_resolves() -> None:
    report = factory.job_report(targets=(factory.target_report(), factory.target_report(target=Target.OPENVINO_CPU)))
    tags = Outline(render(report)).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = {str(value)[1:] for _, attributes in tags for key, value in attributes.items() if "href" in key}
    used |= set(re.findall(r"url\(#([^)]+)\)", str(tags)))
    assert used <= set(ids)


def test_charts_speak_and_take_the_pages_colours_and_font() -> None:
    outline = Outline(render(factory.job_report()))
    drawings = [attributes for tag, attributes in outline.tags if tag == "svg" and "role" in attributes]
    assert len(drawings) == 9
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in drawings)
    drawing = charts.speedup_chart("c", Estimate(value=2, low=1.9, high=2.1))
    assert "var(--result)" in drawing
    assert not re.search(r"#[0-9a-f]{6}|font-family|<style|<metadata", drawing)


@pytest.mark.parametrize("kind", list(VerdictKind))
def test_each_verdict_has_its_badge(kind: VerdictKind) -> None:
    verdict = Verdict(kind=kind, reason="Because.")
    page = Outline(render(factory.job_report(verdict=verdict, targets=(factory.target_report(verdict=verdict),))))
    assert any(attributes.get("class") == f"pill {kind}" for _, attributes in page.tags)
    assert wording.HEADLINES[kind] in page.text


def test_a_percentile_without_enough_samples_says_what_it_needs() -> None:
    result = factory.measured(latency=factory.latency(samples=70))
    page = text_of(factory.job_report(targets=(factory.target_report(result=result),)))
    assert "needs 662 samples, there are 70" in page
    assert "needs 64 samples" not in page


def test_a_doubtful_measurement_is_told_before_the_numbers() -> None:
    target = factory.target_report(conditions=factory.conditions("noisy: other work", "unstable: drifting"))
    page = text_of(factory.job_report(targets=(target,)))
    assert page.index("should not be relied on. noisy: other work unstable: drifting") < page.index("Times as fast")


def test_without_labels_the_page_says_so() -> None:
    synthetic = factory.target_report(accuracy=None, fidelity=factory.fidelity(synthetic=True))
    assert "Compared on random inputs." in text_of(factory.job_report(dataset_id=None, targets=(synthetic,)))
    unlabelled = factory.target_report(accuracy=None)
    page = text_of(factory.job_report(targets=(unlabelled,)))
    assert "No labelled test split." in page
    assert "Same decision 99.60%" in page


def test_identical_outputs_without_a_decision() -> None:
    fidelity = factory.fidelity(agreement=None, sqnr_db=None, cosine=1.0)
    page = text_of(factory.job_report(targets=(factory.target_report(accuracy=None, fidelity=fidelity),)))
    assert "Cosine similarity 1.00000" in page
    assert "outputs are no decision" in page
    assert "identical" in page


def test_an_error_metric_is_no_percentage() -> None:
    page = text_of(factory.job_report(targets=(factory.target_report(accuracy=factory.accuracy(Metric.MSE)),)))
    assert "Mean squared error 0.907 0.906 +0.12%" in page


def test_a_job_without_passes_or_targets() -> None:
    page = text_of(factory.job_report(passes=(), targets=(), dataset_id=None))
    assert "No pass was run." in page


def test_letters_no_font_has_and_names_matplotlib_would_hide() -> None:
    curves = [Curve(name=name, x_label="эпоха", y_label="損失", x=(1, 2), y=(1, 2)) for name in ("_hidden", "훈련")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing = charts.curves_chart("c", curves)
    assert "_hidden" in drawing
    assert "損失" in drawing


def test_many_layers_are_cut_and_long_names_shortened() -> None:
    layers = [factory.pass_reports(layer=f"{'block.' * 20}{number}")[0].layers[0] for number in range(100)]
    drawing = charts.sparsity_chart("c", layers)
    assert len(drawing) < 200_000
    assert "…" in drawing


@pytest.mark.parametrize(
    ("text", "percent", "bits"),
    [
        ("50.5 % zero", 50.5, None),
        ("int8", None, 8),
        ("uint8 per channel", None, 8),
        ("float32", None, 32),
        (None, None, None),
    ],
)
def test_what_can_be_drawn_of_a_layer(text: str | None, percent: float | None, bits: int | None) -> None:
    assert charts.percent_in(text) == percent
    assert charts.bits_in(text) == bits


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (wording.size(999), "999 B"),
        (wording.size(1_262_983), "1.26 MB"),
        (wording.size(46_800_000), "46.8 MB"),
        (wording.milliseconds(0.0114), "11.4 µs"),
        (wording.milliseconds(1234.5), "1.23 s"),
        (wording.milliseconds(25.71), "25.7 ms"),
        (wording.seconds(83.4), "1 min 23 s"),
        (wording.seconds(4.12), "4.12 s"),
        (wording.number(-1234), f"{MINUS}1234"),
        (wording.signed(-0.001), "0.00"),
        (wording.signed(0.5), "+0.50"),
        (wording.change(2.0, 1.0), f"{MINUS}50%"),
        (wording.change(0.0, 1.0), ""),
        (wording.change(1.0, 0.999), "0%"),
        (wording.seconds(0.059), "59 ms"),
        (wording.smaller(1), "the same size"),
        (wording.smaller(0.5), "2× larger"),
        (wording.count_of(1_234_567), "1\u202f234\u202f567"),
    ],
)
def test_numbers_as_people_read_them(written: str, expected: str) -> None:
    assert written == expected


def test_the_step_writes_the_page_and_the_data(tmp_path: Path) -> None:
    task = MakeReport(report=factory.job_report())
    told: list[Message] = []
    done = make_report(Request(task=task, inputs={}, outputs=tmp_path, scratch=tmp_path), task, told.append)
    assert [file.name for file in done.outputs] == ["report.html", "report.md", "report.json"]
    assert JobReport.model_validate_json((tmp_path / "report.json").read_bytes()) == task.report
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert told


def test_layers_and_changed_decisions_are_told_in_both_forms() -> None:
    flips = Flips(
        lost=2, won=1, moved=0, confusions=(Confusion(label=3, original=3, result=5, samples=2),), examples=(7, 40)
    )
    common = {"op": "Conv", "params": 432, "macs": 1000, "bits": 8, "sparsity": 0.25}
    layers = (
        LayerFate(name="stem", sqnr_db=31.25, **common),
        LayerFate(name="head", sqnr_db=None, same=True, **common),
        LayerFate(name="cut", op="Gemm", params=4, macs=None, bits=None, sparsity=None, sqnr_db=None),
    )
    accuracy = factory.accuracy().model_copy(update={"flips": flips})
    report = factory.job_report(targets=(factory.target_report(accuracy=accuracy, layers=layers),))
    page, text = text_of(report), render_markdown(report)
    assert "2 lost, 1 won, 0 wrong in another way" in page
    assert "Lost, by their place in the test split (from 0): 7, 40" in page
    assert "stem Conv 432 1 000 8 25.00% 31.2 dB" in page
    assert "cut Gemm 4 – – – –" in page
    assert "| 3 | 3 | 5 | 2 |" in text
    assert "| head | Conv | 432 | 1 000 | 8 | 25.00% | the same |" in text


def test_worst_samples_are_shown_as_they_are() -> None:
    worst = (factory.worst(), factory.worst(picture=False, values=HOSTILE))
    report = factory.job_report(targets=(factory.target_report(worst=worst),))
    outline = Outline(render(report))
    (picture,) = [attributes for tag, attributes in outline.tags if tag == "img"]
    assert picture["src"] == f"data:image/png;base64,{worst[0].picture.png}"
    assert HOSTILE in outline.words
    assert "3 → 5 , label 3 98.40% → 12.50% no. 17" in outline.text
    assert "| 17 | 3 | 3 | 5 | 98.40% | 12.50% |" in render_markdown(report)


def test_saliency_is_shown_or_says_why_not() -> None:
    pictures = SaliencyMaps.model_validate(dict.fromkeys(("image", "original", "result"), factory.worst().picture))
    seen = Saliency(samples=8, rank_correlation=0.71, overlap=0.5, shown=(pictures,))
    missing = Saliency(samples=0, missing=HOSTILE)
    targets = (
        factory.target_report(saliency=seen),
        factory.target_report(saliency=missing, target=Target.OPENVINO_CPU),
    )
    outline, text = (
        Outline(render(factory.job_report(targets=targets))),
        render_markdown(factory.job_report(targets=targets)),
    )
    assert len([tag for tag, _ in outline.tags if tag == "img"]) == 3
    assert "50.00% of the most salient pixels in common" in outline.text
    assert HOSTILE in "".join(outline.words)
    assert "of 8 samples: rank correlation 0.71, 50.00% of the most salient" in text
    assert "Not known: \\</title\\>" in text


@pytest.mark.parametrize("png", ['"><script>', "", "A" * (2**17 + 1)])
def test_a_picture_is_nothing_but_base64(png: str) -> None:
    with pytest.raises(ValidationError):
        Picture(png=png, width=1, height=1)


def test_calibration_is_drawn_and_told() -> None:
    target = factory.target_report(calibration=factory.calibration())
    page, text = render(factory.job_report(targets=(target,))), render_markdown(factory.job_report(targets=(target,)))
    assert "expected calibration error 5.00% → 7.25%" in Outline(page).text
    assert "Expected calibration error: 5.00% of the original, 7.25% of the result" in page
    assert "Expected calibration error 5.00% before, 7.25% now." in text
    assert "| original | 500 | 55.00% | 60.00% |" in text


def test_what_each_pass_did_to_the_layers_is_told() -> None:
    page, text = render(factory.job_report()), render_markdown(factory.job_report())
    for told in (Outline(page).text, text):
        assert "can be compared with that before: 2, changed: 1; farthest: conv1 12.5 dB." in told
    assert "signal to noise, dB: conv1 12.5" in page
    assert "Cut by importance: conv1 2 of 4" in page
    assert "Cut: 2 of 4 in conv1" in text


def test_loads_are_told_in_both_forms() -> None:
    report = factory.job_report(targets=(factory.target_report(scenarios=factory.loads()),))
    page, text = Outline(render(report)), render_markdown(report)
    for told in (page.text, text):
        assert "Server, 100 calls a second, 99% within 20 ms" in told
        assert "not valid: 9 of 40 calls were late; 2 were given up" in told
        assert "of 5 s that were its share; it ended because all settings were measured" in told
    assert "1 original 100 1 ms – – result 150 1 ms 1.4 ms 2.2 ms 1.5×" in page.text
    assert "the runtime <gave up>" in page.text
    assert "Noisy: other work took 40.00%" in page.text
    labels = [attributes.get("aria-label") or "" for _, attributes in page.tags]
    assert "samples a second by batch, at most 200 of the original, 300 of the result" in labels
    assert len([label for label in labels if label.startswith("Latency distribution")]) == 2
    assert "| 2 | result | 300 | 1 ms | 1.4 ms | 2.2 ms | 1.5× (95% interval 1.4 to 1.6) |" in text


def test_markdown_says_what_the_page_says_and_no_name_breaks_out() -> None:
    text = render_markdown(factory.job_report(job_name=f"a|b\n# c {HOSTILE}", candidates=factory.candidates(HOSTILE)))
    assert text.startswith("# Improved: a\\|b \\# c \\</title\\>")
    assert "| accuracy, 2 000 samples | 90.71% | 90.59% |" in text
    assert "2× (95% interval 1.94 to 2.07)" in text
    assert not re.search(r"(?<!\\)[<>`]", text)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} <= {5, 7}
    labelless = factory.target_report(accuracy=None, fidelity=factory.fidelity(synthetic=True))
    assert "| Same decision | | 99.60% |" in render_markdown(factory.job_report(targets=(labelless,)))


def test_what_was_built_and_not_run_claims_no_speed() -> None:
    built = factory.built_report()
    report = factory.job_report(targets=(), built=(built,), verdict=built.verdict)
    page, text = text_of(report), render_markdown(report)
    for told in (page, text):
        assert "Built, not run" in told
        assert "on the CPU" in told
        assert "435 kB" in told
        assert "1 in i8" in told
        assert "x: 1 to 64 (tuned for 8) × 3 × 32" in told
        assert "Something may be slow." in told
    assert "conv1, relu1" in page
    for words in ("Times as fast", "Peak memory of the process", "95% interval 1.94"):
        assert words not in page
    assert "speed-up" not in text


def test_of_a_refused_result_the_page_says_whose_accuracy_it_tells() -> None:
    refused = Verdict(kind=VerdictKind.NO_GAIN, reason="The original is built: too much was lost.")
    report = factory.job_report(built=(factory.built_report(verdict=refused),))
    assert "that of the refused result's graph" in text_of(report)
    assert "the refused result's graph" in render_markdown(report)
