"""The options by which a person names a trained arm and its scans, for every command alike."""

from typing import Annotated

import typer

Model = Annotated[
    str,
    typer.Option(
        "--model",
        help="A run's folder, a checkpoint file, or a registered model: models:/NAME@approved",
    ),
]
Store = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="MLFLOW_TRACKING_URI",
        help="For a registered model: MLflow's URI, or a folder with mlflow.db.",
    ),
]
Acceleration = Annotated[
    float, typer.Option("--acceleration", help="1 / sampling ratio, such as 16.")
]
Beta = Annotated[
    float | None, typer.Option("--beta", help="The arm's beta: suppression, or below zero images.")
]
SamplerName = Annotated[str | None, typer.Option("--sampler", help="infomri, uniform, ..")]
ArmName = Annotated[str | None, typer.Option("--arm", help="The arm, by either of its names.")]
ArmSeed = Annotated[int | None, typer.Option("--arm-seed", help="The arm's seed.")]
Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...",
        help="Images (.npy, .png, NIfTI, DICOM file or folder), centred complex k-space (.npy), "
        "or data URIs.",
    ),
]
Magnitude = Annotated[
    bool, typer.Option("--magnitude", help="Turn k-space into its magnitude image first.")
]
Kspace = Annotated[bool, typer.Option("--kspace", help="Complex .npy files are centred k-space.")]
KeepIdentity = Annotated[
    bool,
    typer.Option(
        "--keep-identity",
        help="DICOM files name the patient and study of their input; by default nobody.",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
