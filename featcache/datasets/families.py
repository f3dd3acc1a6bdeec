"""Which family a generator belongs to, for means by group.

Source: the groupings that UnivFD and SIDBench use for ForenSynths and the diffusion sets.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

CONTROL_PREFIX = "control-"
"""A folder that begins like this holds processed photographs that no generator made."""

STRENGTH_MARK = "@"
"""Between artefact and strength in the name of a simulated generator: ``zero-insertion@0.25``."""

CONTROL = "control"
SIMULATED = "simulated"
OTHER_FAMILY = "other"

_MEMBERS = {
    "GAN": (
        "progan cyclegan biggan stylegan stylegan2 stylegan3 gaugan stargan whichfaceisreal ffhq "
        "attgan began cramergan infomaxgan mmdgan relgan s3gan sngan stgan gigagan "
        "realesrgan realesrgan-anime"
    ),
    "deepfake": "deepfake",
    "low-level": "sitd seeingdark san",
    "perceptual": "crn imle style26 stylearb",
    "diffusion": (
        "guided adm ddpm iddpm pndm ldm ldm_100 ldm_200 ldm_200_cfg glide glide_50_27 glide_100_10 "
        "glide_100_27 midjourney midjourney-v5 wukong vqdm elsa dalle2 dalle3 firefly "
        "stable_diffusion_v_1_4 stable_diffusion_v_1_5 stable-diffusion-1-3 stable-diffusion-1-4 "
        "stable-diffusion-2 stable-diffusion-xl sdxl ldm-text2im-large-256 stable-diffusion-v1-4 "
        "stable-diffusion-v1-5 stable-diffusion-2-1 stable-diffusion-xl-base-1.0 "
        "stable-diffusion-xl-refiner-1.0 sd-turbo sdxl-turbo lcm-lora-sdv1-5 lcm-lora-sdxl "
        "sd-controlnet-canny sd21-controlnet-canny controlnet-canny-sdxl-1.0 "
        "stable-diffusion-inpainting stable-diffusion-2-inpainting "
        "stable-diffusion-xl-1.0-inpainting-0.1 sdv1_new sdv2 vqdiffusion dmbgis pds stsp4 "
        "guided-diffusion improved-diffusion if sdv1 sdv2 pixart-alpha flux"
    ),
    "autoregressive": "dalle",
}

_GROUP_OF = {name: group for group, names in _MEMBERS.items() for name in names.split()}


def group_of(generator: str, own: Mapping[str, Collection[str]] | None = None) -> str:
    """Return the family of a generator, ``"control"``, ``"simulated"`` or ``"other"``.

    Parameters
    ----------
    generator : str
    own : mapping of str to collection of str, optional
        The user's families (``[groups]`` in ``featcache.toml``): they add to the built-in ones and
        win over them. A name ending in ``*`` stands for all that begin so.

    Returns
    -------
    str
        The family of a generator, ``"control"``, ``"simulated"`` or ``"other"``.

    Examples
    --------
    >>> group_of("ProGAN"), group_of("control-bicubic"), group_of("mine")
    ('GAN', 'control', 'other')
    >>> group_of("sd-turbo", {"few-step": ["sd-*", "lcm"]})
    'few-step'
    """
    name = generator.lower()
    for group, members in (own or {}).items():
        if any(_is_member(name, member.lower()) for member in members):
            return group
    if name.startswith(CONTROL_PREFIX):
        return CONTROL
    if STRENGTH_MARK in name:
        return SIMULATED
    return _GROUP_OF.get(name, OTHER_FAMILY)


def _is_member(name: str, member: str) -> bool:
    return name.startswith(member[:-1]) if member.endswith("*") else name == member
