"""What the privacy report says whatever the figures are: adversaries, limits, method."""

ADVERSARIES = (
    (
        "The study server (honest but curious), or the holder of its records",
        "Sees what sites send after each round, their weights or, under secure aggregation, the "
        "sum of them, and, where sites release measurements, y and its mask. From y it gets the "
        "images of the strongest attack below, no better than the figures say for these "
        "attackers. It gets sums of scores and mean image quality.",
        "It never receives an image, a measurement or a single patient's score during a study. "
        "What it could draw from a site's weights is not limited by the sampling mask.",
    ),
    (
        "Any holder of the final model",
        "Can run it, and can ask whether a known scan was among those it was trained on "
        "(membership inference).",
        "The model contains no scan and no mask of any patient. Without differential privacy "
        "there is no bound on what its weights remember.",
    ),
    (
        "The holder of candidate scans",
        "Can compare a measurement y with scans at hand and pick the one it was made of. A "
        "measurement that cannot be turned into an image can still be recognised: PSNR cannot "
        "see this.",
        "Without a candidate it is as far as the attackers in the tables.",
    ),
)

OUTSIDE = (
    "Sampled k-space released without calibrated noise has no differential privacy guarantee. "
    "The figures are what the attackers here achieved, not a bound on what is possible.",
    "The sampling mask does not protect weights: training draws new masks, so updates have seen "
    "every position of k-space that the policy can choose.",
    "Weights trained without differential privacy have no epsilon; the server is then trusted "
    "not to attack them.",
    "Secure aggregation, where the plan has it, hides each site's update, and its scores where "
    "they are under noise, and shows the sum. The "
    "sum may still say something of one site or patient, two of three sites can subtract their "
    "parts and have the third's, and a wrong or poisoned part is hidden as well.",
    "Loss terms, where a plan asks for them, stand outside epsilon.",
    "What scores say of validation patients stands outside the weights' epsilon. Under noise it "
    "has an epsilon of its own; where a study switches the noise off, sums of scores and image "
    "quality are exact sums over groups of patients.",
    "The suppression strength beta and the acceleration were chosen by looking at results on "
    "the same patients; that choice itself is not counted.",
    "Means hide single patients. The patient rebuilt best is in the report that each site keeps "
    "for itself, and nowhere else.",
)

METHOD = (
    "Every attacker is fitted on the study centre's own audit patients, who are at no site. It "
    "knows the true mask of each measurement and the noise level, and one fit serves all arms and "
    "accelerations.",
    "It is tested before it is believed: on audit patients held out, under a control mask "
    "(4x variable density) from which images can be rebuilt, it must come within 0.5 dB of the "
    "closed-form linear estimator (LMMSE) or better. One that fails is marked as weak: its "
    "failure says nothing about privacy.",
    "The attackers are then scored where the data are, on the very measurement that the "
    "network saw. PSNR is the mean over images of each image's PSNR in dB (range 1, output "
    "clipped to [0, 1]). Intervals are 95 %. Where scores left under noise they hold the noise "
    "and the patients' own spread; else they are by a jackknife over groups of patients, not "
    "slices, and where one group only stands behind a figure it has none.",
    "Under noise, matching with candidate scans and legibility are measured on the study centre's "
    "own held-out patients, whom no attack was fitted on.",
    "'Nothing measured' is the best of the answers that use no measurement (black, the best grey, "
    "the mean image). '{answer} alone' is the image regressed on the model's answer: what "
    "anyone given the {answer} can do. The ideal is a strongest attack no better than that.",
)
