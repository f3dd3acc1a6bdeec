"""Which family a generator belongs to, for means by group.

Source: the groupings that UnivFD and SIDBench use for ForenSynths and the diffusion sets.
"""

from __future__ import annotations

CONTROL_PREFIX = "control-"
"""A folder that begins like this holds processed photographs that no generator made."""

CONTROL = "control"
OTHER = "other"

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
        "stable-diffusion-2 stable-diffusion-xl sdxl"
    ),
    "autoregressive": "dalle",
}

_GROUP_OF = {name: group for group, names in _MEMBERS.items() for name in names.split()}


def group_of(generator: str) -> str:
    """Return the family of a generator, ``"control"`` or ``"other"``.

    Examples
    --------
    >>> group_of("ProGAN"), group_of("control-bicubic"), group_of("mine")
    ('GAN', 'control', 'other')
    """
    if generator.startswith(CONTROL_PREFIX):
        return CONTROL
    return _GROUP_OF.get(generator.lower(), OTHER)
