"""How people read the figures of a segmentation."""

from infomri_core.tasks.figures import Figure


def _more(name: str, title: str, scale: str, reading: str) -> Figure:
    return Figure(name, title, scale, reading, interval=False)


def _less(name: str, title: str, scale: str, reading: str) -> Figure:
    return Figure(name, title, scale, reading, least=None, most=None, higher=False, interval=False)


_GED = "lower is nearer to the raters"

FIGURES = (
    Figure(
        *(
            "agreement",
            "1 - GED",
            "1 is spread as the raters are",
            "higher is a better segmentation",
        ),
        least=None,
        most=None,
    ),
    Figure("dsc", "Dice", "of the fused masks", "higher is a better segmentation"),
    _more("dsc_pairs", "Dice of pairs", "a sample and a rater", "higher is a better segmentation"),
    _more("iou", "IoU", "of the fused masks", "higher is a better segmentation"),
    _less("ged_v", "GED (V)", "as published, biased by 1/n", _GED),
    _less("ged_fixed", "GED of one mask", "the model's fused mask alone", _GED),
    _less("ged_levels", "GED of thresholds", "nested masks of the mean probability", _GED),
    _less("ged_floor", "GED of the best mask", "the best single mask there is", _GED),
    _less("sample_spread", "sample spread", "1 - IoU of two samples", "as the raters' is right"),
    _less("rater_spread", "rater spread", "1 - IoU of two raters", "the same for every arm"),
    _less("ece", "ECE", "all pixels", "lower is better calibrated"),
    _less("ece_band", "ECE at boundaries", "within 10 pixels", "lower is better calibrated"),
    _less("brier", "Brier score", "all pixels", "lower is better calibrated"),
)
LOSSES = {
    "nll": "outline given a sample, -log p (nats a slice)",
    "kl": "posterior from prior (nats a slice)",
    "image": "image, -log p (nats a slice)",
}
