"""The calibration part of a model card."""

from routewright.calibrate import calibration_section, with_calibration
from routewright.calibration import OperatingPoint, TaskCalibration
from routewright.confidence import BetaCalibration

POINT = OperatingPoint(
    metric="fpr",
    goal=0.01,
    threshold=0.9,
    achieved=0.008,
    bound=0.02,
    num_examples=500,
    met=True,
    coverage=0.3,
)


def test_a_new_section_replaces_the_old_one_and_nothing_else() -> None:
    old = {"int8": {"attack": TaskCalibration(temperature=1.5)}}
    new = {
        "int8": {
            "attack": TaskCalibration(
                temperature=2.0,
                beta=BetaCalibration(a=1.25, b=0.5, c=-0.1),
                threshold=0.9,
                operating_point=POINT,
            )
        }
    }
    card = f"# Title\n\n{calibration_section(old)}\n\n## Limits\n"
    renewed = with_calibration(card, new)
    assert renewed == f"# Title\n\n{calibration_section(new)}\n\n## Limits\n"
    row = (
        "| int8 | attack | 2.000 | 1.25, 0.50, -0.10 | 0.9 | fpr <= 0.01 | 0.0080 (<= 0.0200) |"
    )
    assert row in renewed


def test_results_of_the_present_calibration_and_of_other_precisions_need_no_word() -> None:
    present = {"int8": {"attack": TaskCalibration(temperature=2.0, threshold=0.9)}}

    def section(precision: str, temperature: float, threshold: float | None) -> str:
        stated = {"temperature": temperature, "threshold": threshold}
        model = {"precision": precision}
        report = {"task": "attack", "model": model, "calibration": stated}
        return calibration_section(present, [report])

    plain = calibration_section(present)
    assert section("int8", 2.0, 0.9) == section("fp32", 1.0, 0.9) == plain
    for other in (section("int8", 2.0, 0.8), section("int8", 2.5, 0.9)):
        assert "\n\nTest results of attack in this card" in other
        assert "of this one.\n\n| precision" in other


def test_a_card_without_the_section_stays_as_it_is() -> None:
    assert with_calibration("# My own words\n", {}) == "# My own words\n"
