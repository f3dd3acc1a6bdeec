"""The table of layouts: how each benchmark lies on disk. A new layout is a few lines in
:data:`LAYOUTS`.

A folder is read by the first rule that fits it, in the order of the table, so that a root may hold
several benchmarks side by side. Templates are explained in :mod:`featcache.datasets.template`.

What the place of an image says about it: label, generator, split, category.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from featcache.datasets.template import Template, compile_template

EVERY = "*"
"""As ``serves``: every generator of the same data set, split and, where it has one, category."""

PAIRED_SEPARATOR = "|"


@dataclass(frozen=True, slots=True)
class Place:
    """What a layout or a list says about an image.

    Parameters
    ----------
    split : {"train", "val", "test", ""}
        Empty where nothing says it.
    generator : str
        The generator; for a real the one whose set it belongs to.
    category : str
    label : int
        0 real, 1 fake.
    paired_with : str
        Where a real belongs to several: their names joined by ``|``, or ``*`` for every one.
    source : str
        The photograph that it comes from, where the place says it.
    layout : str
        Name of the layout that was recognised.
    """

    split: str
    generator: str
    category: str
    label: int
    paired_with: str = ""
    source: str = ""
    layout: str = "tree"


SETS = {
    "progan20": (
        *("airplane", "bird", "bicycle", "boat", "bottle", "bus", "car", "cat", "cow", "chair"),
        *("diningtable", "dog", "person", "pottedplant", "motorbike", "tvmonitor", "train"),
        *("sheep", "sofa", "horse"),
    ),
    "forensynths": (
        *("progan", "stylegan", "stylegan2", "cyclegan", "biggan", "stargan", "gaugan", "crn"),
        *("imle", "seeingdark", "sitd", "san", "deepfake", "whichfaceisreal"),
    ),
    "aigc": (
        *("ADM", "Glide", "Midjourney", "stable_diffusion_v_1_4", "stable_diffusion_v_1_5"),
        *("VQDM", "wukong", "DALLE2", "SDXL"),
    ),
    "genimage": (
        *("Midjourney", "VQDM", "Wukong", "Stable Diffusion V1.4", "Stable Diffusion V1.5"),
        *("GLIDE", "BigGAN", "ADM", "stable_diffusion_v_1_4", "stable_diffusion_v_1_5"),
    ),
    "univfd_laion": (
        *("ldm_200", "ldm_200_cfg", "ldm_100", "glide_100_27", "glide_50_27", "glide_100_10"),
        "dalle",
    ),
    "synthbuster": (
        *("dalle2", "dalle3", "firefly", "glide", "midjourney-v5", "stable-diffusion-1-3"),
        *("stable-diffusion-1-4", "stable-diffusion-2", "stable-diffusion-xl"),
    ),
    "drct": (
        *("ldm-text2im-large-256", "stable-diffusion-v1-4", "stable-diffusion-v1-5"),
        *("stable-diffusion-2-1", "stable-diffusion-xl-base-1.0"),
        *("stable-diffusion-xl-refiner-1.0", "sd-turbo", "sdxl-turbo", "lcm-lora-sdv1-5"),
        *("lcm-lora-sdxl", "sd-controlnet-canny", "sd21-controlnet-canny"),
        *("controlnet-canny-sdxl-1.0", "stable-diffusion-inpainting"),
        *("stable-diffusion-2-inpainting", "stable-diffusion-xl-1.0-inpainting-0.1"),
    ),
    "dire": ("lsun_bedroom", "imagenet", "celebahq"),
}
"""Named sets of folder names."""


@dataclass(frozen=True)
class Rule:
    """One template and what it leaves unsaid.

    Parameters
    ----------
    template : Template
    generator, split, source : str
        Values where the template has no such field; ``source`` is a regular expression on the
        file's path, whose first group is the photograph.
    label : int, optional
    paired_with : str
        The generators that reals in such a folder belong to (``a|b`` or ``*``).
    skip : bool
        Files here are no samples (reconstructions).
    """

    template: Template
    generator: str = ""
    split: str = ""
    label: int | None = None
    paired_with: str = ""
    source: str = ""
    skip: bool = False


@dataclass(frozen=True)
class Layout:
    """How one benchmark lies on disk.

    Parameters
    ----------
    name : str
        For ``--layout``.
    summary : str
    rules : tuple of Rule
    rename : mapping of str to str
        Folder names to generator names.
    marks : str
        A named set; unless forced, the layout is considered only if the tree has ``n_marks`` of its
        names.
    n_marks : int
    """

    name: str
    summary: str
    rules: tuple[Rule, ...]
    rename: Mapping[str, str] = field(default_factory=dict)
    marks: str = ""
    n_marks: int = 0

    def fits(self, names: Collection[str]) -> bool:
        """Say whether a tree with folders of these names (lower case) can be of this layout.

        Parameters
        ----------
        names : Collection[str]
            Names, in order.

        Returns
        -------
        bool
        """
        marks = {name.lower() for name in SETS.get(self.marks, ())}
        return len(marks & set(names)) >= self.n_marks

    def read(self, path: str) -> tuple[Rule, Place] | None:
        """Return what a folder's path (root's name first) says, None where no rule fits.

        Parameters
        ----------
        path : str
            File or folder.

        Returns
        -------
        tuple[Rule, Place] | None
            What a folder's path (root's name first) says, None where no rule fits.
        """
        for rule in self.rules:
            fields = rule.template.match(path)
            if fields is not None:
                label = int(fields["label"]) if "label" in fields else rule.label or 0
                generator = fields.get("generator") or rule.generator or path.split("/")[0]
                return rule, Place(
                    split=fields.get("split") or rule.split,
                    generator=self.rename.get(generator, ALIASES.get(generator, generator)),
                    category=fields.get("category", ""),
                    label=label,
                    paired_with="" if label else rule.paired_with,
                    layout=self.name,
                )
        return None


ALIASES = {"seeingdark": "sitd", "elsa_data": "elsa", "ffhq_test": "ffhq"}
"""Folders that are called otherwise than their generator, whatever the layout."""


def rule(template: str, **values: object) -> Rule:
    """Return the rule of a template.

    Parameters
    ----------
    template : str
        Template of the path.
    **values : object
        Values to read.

    Returns
    -------
    Rule
        The rule of a template.
    """
    return Rule(compile_template(template, SETS), **values)  # type: ignore[arg-type]


_LAION = "|".join(SETS["univfd_laion"])
_COCO_ID = r"(\d{12})[^/]*$"
_RAISE_ID = r"(r[0-9a-f]{7,9}t)[^/]*$"

LAYOUTS = (
    Layout(
        "genimage",
        "{generator}/[imagenet_*/]{train|val}/{ai|nature}/*; val is the test set",
        (
            rule("**/{generator}/{_:imagenet_*}/{split:train|val=test}/{label:ai=1|nature=0}"),
            rule("**/{generator:@genimage}/{split:train|val=test}/{label:ai=1|nature=0}"),
            rule("**/{generator}/{split:train|val=test}/{label:ai=1|nature=0}"),
        ),
        rename={
            "Stable Diffusion V1.4": "stable_diffusion_v_1_4",
            "Stable Diffusion V1.5": "stable_diffusion_v_1_5",
            "GLIDE": "glide",
            "Wukong": "wukong",
        },
    ),
    Layout(
        "progan-train",
        "[progan_]{train|val}/[progan/]{category}/{0_real|1_fake}/* (ForenSynths, UnivFD, RINE,"
        " 4-class)",
        (
            rule(
                "**/{split:progan_train=train|progan_val=val}/[progan]/{category}/{label}",
                generator="progan",
            ),
            rule("**/{split}/[progan]/{category:@progan20}/{label}", generator="progan"),
        ),
    ),
    Layout(
        "univfd",
        "diffusion_datasets/{generator}/{0_real|1_fake}/*; reals of imagenet/ and laion/ are"
        " shared",
        (
            rule("**/{generator:imagenet}/{label:0_real=0}", split="test", paired_with="guided"),
            rule("**/{generator:laion}/{label:0_real=0}", split="test", paired_with=_LAION),
            rule("**/diffusion_datasets/{generator}/[{category*}]/{label}", split="test"),
        ),
    ),
    Layout(
        "elsa",
        "elsa_data/{0_real|1_fake}/{id}-{real|fake}.png and ffhq_test/{0_real|1_fake}/*",
        (
            rule(
                "**/{generator:elsa_data}/{label}",
                split="test",
                source=r"([^/]+)-(?:real|fake)\.\w+$",
            ),
            rule("**/{generator:ffhq_test}/{label}", split="test"),
        ),
    ),
    Layout(
        "dire",
        "{images|recons|dire}/{split}/{lsun_bedroom|imagenet|celebahq}/{real|generator}/*",
        (
            rule("**/{_:recons|dire}/{split}/{category:@dire}/{label:real=0}", skip=True),
            rule("**/{_:recons|dire}/{split}/{category:@dire}", skip=True),
            rule("**/{split}/{category:@dire}/{label:real=0}", paired_with=EVERY),
            rule("**/{split}/{category:@dire}/{generator}", label=1),
            rule("**/{split}/lsun_{generator:adm}/{label}"),
        ),
    ),
    Layout(
        "diffusion-forensics",
        "{DiffusionForensics|GANGen-Detection|Diffusion1kStep}/{generator}/[...]/{0_real|1_fake}/*"
        " (NPR)",
        (
            rule(
                "**/{_:DiffusionForensics|GANGen-Detection|Diffusion1kStep}"
                "/{generator}/[{category*}]/{label}",
                split="test",
            ),
        ),
    ),
    Layout(
        "drct",
        "DRCT-2M/{model}/{train2017|val2017}/* and MSCOCO/{train2017|val2017}/*; val2017 is the"
        " test set",
        (
            rule(
                "**/{generator:MSCOCO|COCO|COCO2017}/[images]/{split:train2017=train|val2017=test}",
                label=0,
                paired_with=EVERY,
                source=_COCO_ID,
            ),
            rule("**/{generator}/{split:train2017=train|val2017=test}", label=1, source=_COCO_ID),
        ),
    ),
    Layout(
        "synthbuster",
        "synthbuster/{generator}/*, all fakes; reals in RAISE-1k/, RAISEpng/ or real_RAISE_1k/",
        (
            rule(
                "**/{generator:RAISE*|real_RAISE*}/[{_:png|tiff|tif|jpg|images}]",
                label=0,
                split="test",
                paired_with=EVERY,
                source=_RAISE_ID,
            ),
            rule("**/{generator:@synthbuster}", label=1, split="test", source=_RAISE_ID),
            rule("**/synthbuster/{generator}", label=1, split="test", source=_RAISE_ID),
        ),
    ),
    Layout(
        "simulated",
        "{train|test}/{artefact}@{strength}/{0_real|1_fake}/{photo}__{tile}.png (datasets"
        " simulate)",
        (rule("**/{split}/{generator:*@*}/{label}", source=r"([^/]+)__[^/]+$"),),
    ),
    Layout(
        "ldm-train",
        "latent_diffusion_trainingset/{train|valid}/{category}/*, all fakes (Corvi et al.)",
        (rule("**/latent_diffusion_trainingset/{split}/[{category*}]", generator="ldm", label=1),),
    ),
    Layout(
        "forensynths-test",
        "{generator}/[{category}/]{0_real|1_fake}/*, the 13 test sets of CNNDetection",
        (
            rule("**/{split}/{generator}/[{category*}]/{label}"),
            rule("**/CNN_synth_testset/{generator}/[{category*}]/{label}", split="test"),
            rule("**/{generator:@forensynths}/[{category*}]/{label}", split="test"),
        ),
        marks="forensynths",
        n_marks=3,
    ),
    Layout(
        "aigc",
        "{generator}/[{class}/]{0_real|1_fake}/*, AIGCDetectBenchmark's 16 test sets",
        (
            rule("**/{split}/{generator}/[{category*}]/{label}"),
            rule("**/{generator:@aigc}/[{category*}]/{label}", split="test"),
            rule("**/{generator:@forensynths}/[{category*}]/{label}", split="test"),
        ),
        marks="aigc",
        n_marks=3,
    ),
    Layout(
        "tree",
        "[{train|val|test}/]{generator}/[{category}/]{0_real|1_fake}/* (also real/fake, nature/ai)",
        (
            rule("**/{split}/{generator}/[{category*}]/{label}"),
            rule("{_:*}/{generator}/[{category*}]/{split}/{label}"),
            rule("{generator}/{split}/{label}"),
            rule("{split}/{label}"),
            rule("{_:*}/{generator}/[{category*}]/{label}"),
            rule("{generator}/{label}"),
        ),
    ),
)
"""All layouts, the particular before the general."""
