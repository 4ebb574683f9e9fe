"""What can be wrong with a picture file, in the words of the error row."""

from autosteer_core.errors import BadItem


def truncated(form: str, where: str) -> BadItem:
    """The file ends before the picture does."""
    return BadItem("E_IMAGE_TRUNCATED", f"the {form} image is cut off {where}: supply the whole file")


def corrupt(form: str, what: str) -> BadItem:
    """The file contradicts itself."""
    return BadItem("E_IMAGE_CORRUPT", f"the {form} image is damaged, {what}: supply an intact file")


def animated(form: str, frames: str) -> BadItem:
    """Judging one frame of many would let the others through unseen."""
    return BadItem(
        "E_IMAGE_ANIMATED",
        f"the {form} image has {frames}, only still pictures are judged: supply the frames as images",
    )


def metadata(form: str, what: str) -> BadItem:
    """What comes beside the pixels is out of all proportion."""
    return BadItem("E_IMAGE_METADATA", f"the {form} image {what}: remove its metadata")
