"""A person, from the back to the front."""

from .canvas import Canvas
from .draw_body import draw_body, draw_neck
from .draw_eyes import draw_eye
from .draw_hair import Hair, draw_back_hair, draw_braids, draw_crest, draw_extra_behind, draw_front_hair, hair_box
from .draw_head import draw_earrings, draw_ears, draw_face, draw_marks, draw_nose
from .draw_mouth import draw_beard, draw_moustache, draw_mouth
from .draw_worn import draw_glasses, draw_hat
from .identity import COVERING
from .sitter import Sitter, on

HEAD = (-1.6, -2.0, 1.6, 2.6)
FACE = (-1.05, -1.15, 1.05, 1.2)


def draw_person(c: Canvas, s: Sitter) -> None:
    """Paint people on a canvas of head coordinates."""
    haired = (~s.is_("hair_style", "bald")).nonzero()[:, 0]
    if len(haired):
        owner, box = s[haired], hair_box(s)
        behind = c.cut(haired, *box)
        hair = Hair(behind, owner)
        draw_back_hair(behind, owner, hair)
        c.paste(behind)
    on(c, s, s.is_("hair_style", "ponytail", "bun"), HEAD, draw_extra_behind)
    on(c, s, None, (-0.9, 0.3, 0.9, 2.2), draw_neck)
    on(c, s, None, (-1.8, 0.9, 1.8, 9.0), draw_body)
    on(c, s, None, FACE, draw_bare_face)
    draw_beard(c, s)
    draw_features(c, s)
    on(c, s, s.is_("beard", "moustache", "goatee", "beard", "long beard"), (-0.9, 0.1, 0.9, 1.1), draw_moustache)
    if len(haired):
        before = c.cut(haired, *box)
        draw_front_hair(before, owner, hair)
        c.paste(before)
    open_ = (s.hat == 0).flatten() | s.is_("hat", "flowers")
    on(c, s, s.is_("hair_style", "mohawk") & open_, HEAD, draw_crest)
    on(c, s, s.is_("hair_style", "braids"), HEAD, draw_braids)
    on(c, s, ~s.is_("hair_style", *COVERING), FACE, draw_near_ear)
    # Eyes and brows come after the hair: a fringe lets them through, as illustrators do.
    for side in (-1, 1):
        x = s.turned(s.eye_x * side, 0.62)
        on(c, s, None, (x - 0.4, -0.62, x + 0.4, 0.36), draw_eye, side)
    on(c, s, s.glasses.flatten() > 0, FACE, draw_glasses)
    draw_hat(c, s)


def draw_bare_face(c: Canvas, s: Sitter) -> None:
    draw_ears(c, s, before=False)
    face = draw_face(c, s)
    draw_marks(c, s, face)


def draw_features(c: Canvas, s: Sitter) -> None:
    x = s.turned(0.0, 0.85)
    on(c, s, None, (x - 0.4, -0.2, x + 0.4, s.nose_v + 0.2), draw_nose)
    on(c, s, None, (x - 0.5, s.mouth_v - 0.25, x + 0.5, s.mouth_v + 0.4), draw_mouth)


def draw_near_ear(c: Canvas, s: Sitter) -> None:
    draw_ears(c, s, before=True)
    draw_earrings(c, s)
