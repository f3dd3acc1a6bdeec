"""The whole run: frozen features and probe, training, tuned features, both heads evaluated and
compared.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from featcache.backbones import BackboneSpec, precision_of, preprocessing_of, resolve
from featcache.cache import FeatureStore
from featcache.datasets import Manifest, Sample, expand
from featcache.errors import SettingsError
from featcache.evaluate import Probed, ProbeOptions, compare, run_probe, save_result
from featcache.evaluate.data import describe_training
from featcache.extract import ExtractOptions, Request, extract, make_requests
from featcache.extract.device import choose_device
from featcache.files import digest_json
from featcache.finetune.artifacts import (
    Artifact,
    check_name,
    check_out,
    find_product,
    head_path,
    save_head,
    tuned_spec,
    write_weights,
)
from featcache.finetune.data import Splits, split_manifest
from featcache.finetune.model import make_graph, prepare
from featcache.finetune.options import FinetuneOptions
from featcache.finetune.result import Epoch, FinetuneResult
from featcache.finetune.train import TuningTask, train
from featcache.results import RunComparison

log = logging.getLogger("featcache")

METRICS = ("ap", "auroc", "acc")
"""What the heads are compared by."""
FOLDER = "finetune"
"""Checkpoints lie in ``<cache>/finetune/<digest of the run>/`` until the run is over."""


@dataclass(frozen=True)
class _Run:
    """What all steps need."""

    store: FeatureStore
    options: FinetuneOptions
    out: Path
    spec: BackboneSpec
    request: Request
    parts: Splits

    @property
    def digest(self) -> str:
        """Digest of all that determines the tuned weights."""
        return digest_json(
            {
                "recipe": self.options.recipe(),
                "feature": self.request.key.fingerprint,
                "samples": self.parts.digest,
            }
        )

    @property
    def checkpoint(self) -> Path:
        return self.store.root / FOLDER / self.digest / "checkpoint.safetensors"


def finetune(
    manifest: Manifest, store: FeatureStore, options: FinetuneOptions, out: Path
) -> FinetuneResult:
    """Train a backbone further and compare it with the frozen one.

    Parameters
    ----------
    manifest : Manifest
        Its training split is trained on (a part of the photographs is held out to choose the
        epoch), its test split is only evaluated on.
    store : FeatureStore
        Gets the features of the frozen and of the tuned weights, both results, and the checkpoint.
    options : FinetuneOptions
    out : Path
        Where the weights are written; the head goes beside them. A run that was killed goes on when
        it is called again; one that is over is not trained again.

    Returns
    -------
    FinetuneResult

    Raises
    ------
    SettingsError
        If the backbone cannot be trained so, or ``out`` is another file.
    DataError
        If a part of the data lacks a class, an image cannot be used, or the training diverges.
    WeightsError, MissingExtraError
        If weights or ``peft`` are missing.
    """
    check_name(out)
    spec = resolve(options.backbone, weights=options.weights)
    usable = manifest.usable()
    # Say what is wrong with the settings before hours of extraction, not after them.
    if spec.create is None:
        raise SettingsError(
            f"{spec.network} cannot be trained further: its plug-in does not say how it is made "
            "without weights (BackboneSpec.create)."
        )
    split_manifest(usable, options.train, options.val_fraction, options.seed)
    if not out.exists():  # else nothing may be left to train
        prepare(spec, preprocessing_of(spec, options.preset).size, options)
    samples = _selected(usable, options)
    precision = precision_of(spec, options.precision, options.device)
    request = _extract(samples, spec, store, options, precision)
    rejected = store.rejects(request.key)
    good = Manifest(samples).where(lambda sample: sample.sample_id not in rejected)
    parts = split_manifest(good, options.train, options.val_fraction, options.seed)
    run = _Run(store, options, out, spec, request, parts)
    check_out(out, run.digest)
    frozen = run_probe(parts.manifest, store, _probe_options(run.request, options))
    product = find_product(out, run.digest)
    reused = product is not None
    timed: list[Epoch] = []
    if product is None:
        product, timed = _train(run, frozen)
    return _evaluate(run, frozen, product, timed or product.epochs, reused)


def _selected(usable: Manifest, options: FinetuneOptions) -> tuple[Sample, ...]:
    """Return the training samples of the chosen generators and all test samples."""

    def keep(sample: Sample) -> bool:
        trains = not options.train or sample.paired_with in options.train
        return sample.split == "test" or (sample.split == "train" and trains)

    return expand(usable).where(keep).samples


def _extract(
    samples: tuple[Sample, ...],
    spec: BackboneSpec,
    store: FeatureStore,
    options: FinetuneOptions,
    precision: str,
) -> Request:
    """Fill the store with one feature of these samples; return what was asked for."""
    options_of_run = ExtractOptions(
        preset=options.preset,
        precision=precision,
        device=options.device,
        workers=options.workers,
        shard_rows=options.shard_rows,
    )
    extract(Manifest(samples), [spec], store, options_of_run)
    return make_requests([spec], options_of_run)[0]


def _probe_options(request: Request, options: FinetuneOptions) -> ProbeOptions:
    fields = request.key.fields
    return ProbeOptions(
        features=[request.key.name],
        train=options.train,
        C=options.C,
        wanted={
            "weights": fields["weights"],
            "preset": request.preprocessing.preset,
            "precision": request.precision,
            "view": "clean",
        },
        n_resamples=options.n_resamples,
        seed=options.seed,
    )


def _train(run: _Run, frozen: Probed) -> tuple[Artifact, list[Epoch]]:
    """Train, write the weights and drop the checkpoint; return them and the epochs with their
    times.
    """
    options, request = run.options, run.request
    device = choose_device(options.device)
    tuner = prepare(run.spec, request.preprocessing.size, options)
    ids = [sample.sample_id for sample in run.parts.train]
    graph = make_graph(
        tuner,
        request.preprocessing,
        run.store.read(run.request.key, ids),
        request.precision,
        device,
    )
    if options.start == "probe":
        graph.start_at(frozen.saveable_head())
    log.info(
        "%s, %s: %s of %s parameters, %s images, %s held out",
        *(run.spec.name, options.method, f"{tuner.n_trained:,}", f"{tuner.n_parameters:,}"),
        *(f"{len(run.parts.train):,}", f"{len(run.parts.val):,}"),
    )
    task = TuningTask(
        run.parts,
        request.preprocessing,
        options,
        device,
        run.checkpoint,
        run.digest,
        tuner.refresh(),
    )
    state = train(graph, task)
    about = {
        "network": run.spec.network,
        "architecture": run.spec.architecture,
        "base": request.key.fields["weights"],
        "feature": dict(request.key.fields),
        "recipe": options.recipe(),
        "samples": run.parts.digest,
        "generators": frozen.result.train.generators,
    }
    product = write_weights(run.out, run.digest, tuner, graph, state, about)
    run.checkpoint.unlink(missing_ok=True)
    return product, state.epochs


def _evaluate(
    run: _Run, frozen: Probed, product: Artifact, epochs: list[Epoch], reused: bool
) -> FinetuneResult:
    """Extract the tuned features of what is evaluated, evaluate both heads and keep the results."""
    options, parts = run.options, run.parts
    samples, spec = (*parts.val, *parts.test), tuned_spec(run.spec, run.out)
    request = _extract(samples, spec, run.store, options, run.request.precision)
    head = save_head(
        product, request, options, describe_training(Manifest(parts.train)), run.digest
    )
    if reused:
        log.info("%s is the result of this very run; nothing was trained again.", run.out)
    tuned = run_probe(parts.manifest, run.store, _probe_options(request, options), head)
    kept = [save_result(run.store.root, p.result, p.scores, p.head) for p in (frozen, tuned)]
    best = int(product.about["best_epoch"])
    # What a careful reader must know.
    notes = list(frozen.result.notes)
    if best == 0:
        notes.append(
            "No epoch did better on the held-out photographs than the start: "
            "the weights are those that training began with."
        )
    if options.augment != "clean":
        notes.append(
            f"The tuned head saw images through {options.augment}, the frozen probe as they are; "
            "--blocks 0 trains the head alone in the same way."
        )
    return FinetuneResult(
        backbone=request.key.name,
        method=options.method,
        recipe=options.recipe(),
        weights=str(product.weights),
        head=str(head_path(product.weights)),
        weights_id=str(request.key.fields["weights"]),
        n_trained=int(product.about["n_trained"]),
        n_parameters=int(product.about["n_parameters"]),
        n_train=len(parts.train),
        n_val=len(parts.val),
        epochs=epochs,
        best_epoch=best,
        frozen=frozen.result,
        tuned=tuned.result,
        comparisons=_compare(frozen, tuned, options),
        results=[str(folder) for folder in kept],
        notes=notes,
        reused=reused,
    )


def _compare(frozen: Probed, tuned: Probed, options: FinetuneOptions) -> dict[str, RunComparison]:
    """Compare tuned with frozen on the same resamples of the test photographs."""
    result = frozen.result
    groups = {
        name: metrics.group for name, metrics in (result.generators | result.controls).items()
    }
    return {
        metric: compare(
            tuned.scores,
            frozen.scores,
            groups,
            metric,
            trained=result.train.generators,
            baseline=["frozen"],
            n_resamples=options.n_resamples,
            seed=options.seed,
        )
        for metric in METRICS
    }
