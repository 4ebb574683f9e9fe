"""Draws a thing as a small picture: colour, size, place, tilt and ground follow from the seed."""

import io
import math
import random
from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw

SIDE = 32
_FINE = 4 * SIDE
COLOURS = {
    "red": (205, 40, 40),
    "blue": (40, 70, 205),
    "green": (30, 145, 60),
    "orange": (240, 150, 20),
    "purple": (130, 45, 160),
}
Point = tuple[float, float]


class _Pen:
    """Draws in a unit square that is scaled, tilted and moved onto the sheet."""

    def __init__(self, sheet: ImageDraw.ImageDraw, dice: random.Random, colour: tuple[int, int, int]) -> None:
        self._sheet, self._colour = sheet, colour
        self._size = _FINE * dice.uniform(0.62, 0.92)
        slack = (_FINE - self._size) / 2
        self._centre = (_FINE / 2 + dice.uniform(-slack, slack), _FINE / 2 + dice.uniform(-slack, slack))
        self._tilt = math.radians(dice.uniform(-9, 9))

    def area(self, *points: Point, dark: bool = False) -> None:
        """A filled polygon."""
        self._sheet.polygon([self._place(point) for point in points], fill=self._ink(dark))

    def line(self, *points: Point, width: float = 0.08, dark: bool = False) -> None:
        """An open line."""
        wide = int(width * self._size)
        self._sheet.line([self._place(point) for point in points], fill=self._ink(dark), width=wide, joint="curve")

    def disc(self, centre: Point, radius: float, dark: bool = False) -> None:
        """A filled circle."""
        (x, y), r = self._place(centre), radius * self._size
        self._sheet.ellipse((x - r, y - r, x + r, y + r), fill=self._ink(dark))

    def box(self, left: float, top: float, right: float, bottom: float, dark: bool = False) -> None:
        """A filled rectangle."""
        self.area((left, top), (right, top), (right, bottom), (left, bottom), dark=dark)

    def _place(self, point: Point) -> Point:
        x, y = point[0] - 0.5, point[1] - 0.5
        turn, lift = math.cos(self._tilt), math.sin(self._tilt)
        return (
            self._centre[0] + self._size * (x * turn - y * lift),
            self._centre[1] + self._size * (x * lift + y * turn),
        )

    def _ink(self, dark: bool) -> tuple[int, int, int]:
        return (30, 30, 30) if dark else self._colour


def draw(name: str, colour: str, seed: str) -> bytes:
    """A square PNG of `SIDE` pixels, the same bytes for the same arguments."""
    dice = random.Random(f"{name} {colour} {seed}")
    ground = tuple(dice.randint(215, 255) for _ in range(3))
    ink = tuple(min(255, max(0, part + dice.randint(-18, 18))) for part in COLOURS[colour])
    picture = Image.new("RGB", (_FINE, _FINE), ground)
    SHAPES[name](_Pen(ImageDraw.Draw(picture), dice, (ink[0], ink[1], ink[2])))
    file = io.BytesIO()
    picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(file, "PNG")
    return file.getvalue()


def _ring(count: int, radius: float) -> Sequence[Point]:
    turns = [2 * math.pi * step / count for step in range(count)]
    return [(0.5 + radius * math.cos(turn), 0.5 + radius * math.sin(turn)) for turn in turns]


def _pizza(pen: _Pen) -> None:
    pen.disc((0.5, 0.5), 0.45)
    for point in _ring(5, 0.26):
        pen.disc(point, 0.07, dark=True)


def _cake(pen: _Pen) -> None:
    pen.box(0.05, 0.5, 0.95, 0.95)
    pen.box(0.05, 0.64, 0.95, 0.72, dark=True)
    for x in (0.25, 0.5, 0.75):
        pen.line((x, 0.5), (x, 0.2), width=0.07)


def _boat(pen: _Pen) -> None:
    pen.area((0.02, 0.65), (0.98, 0.65), (0.75, 0.95), (0.25, 0.95))
    pen.line((0.5, 0.65), (0.5, 0.05), dark=True)
    pen.area((0.56, 0.08), (0.9, 0.55), (0.56, 0.55))


def _house(pen: _Pen) -> None:
    pen.area((0.0, 0.45), (0.5, 0.05), (1.0, 0.45))
    pen.box(0.12, 0.45, 0.88, 0.95)
    pen.box(0.4, 0.6, 0.6, 0.95, dark=True)


def _kite(pen: _Pen) -> None:
    pen.area((0.5, 0.0), (0.85, 0.3), (0.5, 0.7), (0.15, 0.3))
    pen.line((0.5, 0.7), (0.4, 0.8), (0.6, 0.88), (0.45, 1.0), width=0.05, dark=True)


def _cup(pen: _Pen) -> None:
    pen.area((0.05, 0.2), (0.7, 0.2), (0.62, 0.9), (0.13, 0.9))
    pen.line((0.68, 0.32), (0.93, 0.36), (0.9, 0.66), (0.64, 0.7), width=0.09)


def _lamp(pen: _Pen) -> None:
    pen.area((0.32, 0.05), (0.68, 0.05), (0.9, 0.45), (0.1, 0.45))
    pen.line((0.5, 0.45), (0.5, 0.9), dark=True)
    pen.box(0.25, 0.88, 0.75, 0.97, dark=True)


def _drum(pen: _Pen) -> None:
    pen.box(0.1, 0.4, 0.9, 0.9)
    pen.line((0.1, 0.4), (0.3, 0.9), (0.5, 0.4), (0.7, 0.9), (0.9, 0.4), width=0.05, dark=True)
    pen.line((0.2, 0.02), (0.6, 0.36), width=0.07, dark=True)


def _bomb(pen: _Pen) -> None:
    pen.disc((0.42, 0.6), 0.36)
    pen.line((0.66, 0.34), (0.78, 0.18), (0.95, 0.12), dark=True)
    pen.disc((0.95, 0.1), 0.07)


def _dagger(pen: _Pen) -> None:
    pen.area((0.42, 0.6), (0.42, 0.15), (0.5, 0.0), (0.58, 0.15), (0.58, 0.6))
    pen.box(0.22, 0.6, 0.78, 0.69, dark=True)
    pen.box(0.44, 0.69, 0.56, 0.98, dark=True)


def _poison(pen: _Pen) -> None:
    pen.box(0.4, 0.02, 0.6, 0.28, dark=True)
    pen.area((0.4, 0.28), (0.6, 0.28), (0.85, 0.55), (0.85, 0.97), (0.15, 0.97), (0.15, 0.55))
    pen.line((0.3, 0.55), (0.7, 0.88), dark=True)
    pen.line((0.7, 0.55), (0.3, 0.88), dark=True)


def _trap(pen: _Pen) -> None:
    for left in (0.0, 0.25, 0.5, 0.75):
        pen.area((left, 0.6), (left + 0.125, 0.2), (left + 0.25, 0.6))
    pen.box(0.0, 0.6, 1.0, 0.75, dark=True)


def _cannon(pen: _Pen) -> None:
    pen.area((0.05, 0.5), (0.9, 0.15), (1.0, 0.38), (0.15, 0.75))
    pen.disc((0.35, 0.75), 0.2, dark=True)


def _dynamite(pen: _Pen) -> None:
    for left in (0.12, 0.39, 0.66):
        pen.box(left, 0.3, left + 0.22, 0.97)
    pen.box(0.08, 0.56, 0.92, 0.68, dark=True)
    pen.line((0.5, 0.3), (0.6, 0.12), (0.8, 0.04), width=0.06, dark=True)


def _spear(pen: _Pen) -> None:
    pen.line((0.05, 0.95), (0.72, 0.28), dark=True)
    pen.area((0.6, 0.22), (0.98, 0.02), (0.78, 0.4))


def _sling(pen: _Pen) -> None:
    pen.line((0.5, 1.0), (0.5, 0.6), (0.2, 0.1), width=0.13)
    pen.line((0.5, 0.6), (0.8, 0.1), width=0.13)
    pen.line((0.2, 0.12), (0.5, 0.3), (0.8, 0.12), width=0.05, dark=True)


SHAPES: dict[str, Callable[[_Pen], None]] = {
    "pizza": _pizza, "cake": _cake, "boat": _boat, "house": _house,
    "kite": _kite, "cup": _cup, "lamp": _lamp, "drum": _drum,
    "bomb": _bomb, "dagger": _dagger, "poison": _poison, "trap": _trap,
    "cannon": _cannon, "dynamite": _dynamite, "spear": _spear, "sling": _sling,
}  # fmt: skip
