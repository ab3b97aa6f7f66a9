"""Places with a roof. Outside their windows it is the scene's hour."""

import torch
from torch import Tensor

from .canvas import Canvas, mix, rgb, smooth
from .place import Place, chance


def coloured(colours: Tensor, key: Tensor, salt: Tensor | float) -> Tensor:
    """A colour [B, 3, h, w] of colours [n, 3] for each whole number [B, h, w]."""
    return colours[(chance(key, salt) * (len(colours) - 0.01)).long()].permute(0, 3, 1, 2)


def window(c: Canvas, p: Place, x: Tensor | float, y: float, half: float, high: float) -> None:
    frame = c.box(x - half, y - high, x + half, y + high, 0.02)
    c.fill(c.edge(frame + 0.05), rgb("#f6efe2"))
    pane = c.edge(frame)
    c.fill(pane, p.sky(0.3))
    c.fill(pane * smooth(y - high, y + high, c.v), p.sky(0.95))
    c.fill(pane * c.edge(c.v - y - 0.4 * high - 0.1 * high * torch.sin(7 * c.u + 5 * p.d)), p.tone("#7fae78"))
    c.fill(pane * c.disc(x + 0.45 * half, y - 0.45 * high, 0.07, 0.07) * (1 - p.day), rgb("#fff3d0"))
    for bar in (0.014 - (c.u - x).abs(), 0.014 - (c.v - y).abs()):
        c.fill(pane * c.edge(bar), rgb("#f6efe2"))
    c.fill(c.edge(c.box(x - half - 0.09, y + high + 0.04, x + half + 0.09, y + high + 0.1, 0.01)), rgb("#e6dac6"))


def plant(c: Canvas, x: Tensor, foot: float, size: float, pot: Tensor) -> None:
    for k in range(-3, 4):
        tip_x, tip_y = x + 0.22 * k * size, foot - size * (1.5 - 0.09 * k * k)
        leaf = c.line(x, foot - 0.35 * size, tip_x, tip_y, 0.045 * size + 0.012, 0.09 * size * (1 - 0.08 * abs(k)))
        c.fill(c.edge(leaf), rgb("#4f8f62" if k % 2 else "#6aab70"))
    half = 0.3 * size - 0.2 * (c.v - foot + 0.4 * size)
    c.fill(c.edge(torch.minimum(half - (c.u - x).abs(), torch.minimum(c.v - foot + 0.45 * size, foot - c.v))), pot)


def draw_room(c: Canvas, p: Place) -> None:
    wall = p.pick(p.a, "#e7b7a0", "#a9c4b4", "#e9d5a8", "#a8bcd4", "#d3b4cf", "#cf8f7d", "#7fa3a3")
    c.paint[:] = wall[:, :, None, None]
    c.fill(
        c.edge(torch.sin(c.u * 31 + 5 * p.c) * 0.03).expand_as(c.paint[:, 0]) * 0.18 * (p.b > 0.4),
        mix(wall, torch.ones(3), 0.5),
    )
    c.fill(c.glow(mix(-0.9, 0.9, p.d), -0.6, 1.1, 1.0) * 0.3, torch.tensor([1.0, 0.96, 0.82]))
    side = torch.where(p.c > 0.5, 1.0, -1.0)
    window(c, p, 0.66 * side, -0.35, 0.24, 0.36)
    for x, y, half, high, salt in (
        (-0.72, -0.5, 0.2, 0.26, 0.1),
        (-0.2, -0.66, 0.16, 0.15, 0.5),
        (-0.7, 0.1, 0.14, 0.17, 0.8),
    ):
        picture(c, p, x * side, y, half, high, (p.d + salt).remainder(1))
    c.fill(c.edge(c.v - 0.52), mix(wall, rgb("#fff8ec"), 0.65))
    c.fill(c.edge(torch.minimum(c.v - 0.5, 0.55 - c.v)), rgb("#fff8ec"))
    panel = ((c.u * 2.6 + p.a).remainder(1) - 0.5).abs() / 2.6 - 0.03
    c.fill(c.edge(torch.minimum(0.008 - (panel - 0.03).abs(), c.v - 0.6)) * 0.4, wall * 0.7)
    plant(c, 0.62 * side, 0.98, 0.4, rgb("#c4694a"))


def picture(c: Canvas, p: Place, x: Tensor, y: float, half: float, high: float, kind: Tensor) -> None:
    frame = c.box(x - half, y - high, x + half, y + high, 0.01)
    c.fill(
        c.edge(c.box(x - half - 0.0, y - high + 0.03, x + half + 0.03, y + high + 0.04), 0.04) * 0.25, rgb("#3a2535")
    )
    c.fill(c.edge(frame), p.pick(kind, "#8a5a3c", "#e9c46a", "#3d3a48", "#f7f1e6"))
    inside = c.edge(frame - 0.035)
    c.fill(inside, p.pick(kind, "#f5e3c4", "#cfe3e6", "#f3c9b8", "#dcd3ee"))
    c.fill(
        inside * c.disc(x + 0.3 * half, y - 0.3 * high, 0.25 * half, 0.25 * half),
        p.pick(kind, "#e76f51", "#f4a261", "#fff3d6", "#e9c46a"),
    )
    for k, shade in enumerate((0.0, 0.3)):
        hill = y + high * (0.15 + 0.3 * k) + 0.2 * high * torch.sin((c.u - x) / half * 3 + 7 * kind + 2 * k)
        c.fill(
            inside * c.edge(c.v - hill), p.pick((kind + shade).remainder(1), "#2a9d8f", "#6d8fb8", "#8ab17d", "#b56576")
        )


def draw_library(c: Canvas, p: Place) -> None:
    wood = p.pick(p.a, "#6e4630", "#7d5540", "#4f3a35")
    c.paint[:] = (wood * 0.45)[:, :, None, None]
    books = rgb("#b5493f", "#3f6e78", "#d9a441", "#5d7a4f", "#7a4f78", "#e3d2b0", "#34486b", "#a86a45", "#8c2f39")
    rows = (c.v + 1) * 2.2 + 0.3
    shelf, up = rows.floor(), 1 - rows.remainder(1)  # up: 0 on the board, 1 below the next
    x = c.u * 13 + 40 * chance(shelf, p.b)
    x = x + 0.3 * torch.sin(2.1 * x)  # unequal widths
    key = x.floor() + 57 * shelf
    inside = x - x.floor()
    high = 0.58 + 0.28 * chance(key, p.c)
    there = chance(key, p.d + 0.2) > 0.08
    book = c.edge(torch.minimum((0.5 - (inside - 0.5).abs() - 0.05) / 13, (high - up) / 2.2)) * there
    c.fill(book, coloured(books, key, 0.37))
    c.fill(book * c.edge((0.16 - inside) / 13) * 0.3, torch.ones(3))
    c.fill(book * c.edge((inside - 0.75) / 13) * 0.35, rgb("#1d1420"))
    c.fill(book * c.edge(0.012 - ((up - 0.75 * high) / 2.2).abs()) * (chance(key, 0.9) > 0.4) * 0.7, rgb("#f3dca0"))
    c.fill(c.edge((0.12 - up) / 2.2) + 0 * c.u, wood)
    c.fill(c.edge((0.12 - up) / 2.2) * c.edge((up - 0.08) / 2.2) + 0 * c.u, mix(wood, torch.ones(3), 0.25))
    for post in (-0.62, 0.62):
        at = post + 0.3 * (p.b - 0.5)
        c.fill(c.edge(0.055 - (c.u - at).abs()) + 0 * c.v, wood)
        c.fill(c.edge(0.012 - (c.u - at + 0.03).abs()) * 0.5 + 0 * c.v, mix(wood, torch.ones(3), 0.4))
    lamp = mix(-0.75, 0.75, p.d)
    c.fill(c.glow(lamp, -0.5, 0.9, 0.8) * 0.35, rgb("#ffcf87"))
    c.fill(c.edge(c.line(lamp, -1.1, lamp, -0.8, 0.012, 0.012)), rgb("#2d2320"))
    shade = torch.minimum(c.oval(lamp, -0.62, 0.2, 0.22), -0.62 - c.v)
    c.fill(c.edge(shade), p.pick(p.c, "#3f7f6b", "#e0a63c", "#b5493f"))
    c.fill(c.disc(lamp, -0.61, 0.12, 0.035), rgb("#fff3c9"))


def draw_kitchen(c: Canvas, p: Place) -> None:
    wall = p.pick(p.a, "#f4e3c8", "#cfe0dc", "#f0cdbd", "#d5dcec")
    c.paint[:] = wall[:, :, None, None]
    tile = ((c.u * 5.5).remainder(1) - 0.5).abs().maximum(((c.v * 5.5).remainder(1) - 0.5).abs())
    tiles = c.edge(torch.minimum(c.v + 0.12, 0.55 - c.v)) + 0 * c.u
    c.fill(tiles, mix(wall, torch.ones(3), 0.55))
    c.fill(tiles * c.edge((tile - 0.46) / 5.5), wall * 0.88)
    side = torch.where(p.b > 0.5, 1.0, -1.0)
    window(c, p, 0.6 * side, -0.42, 0.28, 0.34)
    # A shelf with jars, pans below it.
    edge = -0.62 * side
    for row, y in enumerate((-0.62, -0.18)):
        c.fill(c.edge(c.box(edge - 0.5, y, edge + 0.5, y + 0.045, 0.01)), rgb("#a8744a"))
        c.fill(c.edge(c.box(edge - 0.5, y + 0.045, edge + 0.5, y + 0.08), 0.03) * 0.25, rgb("#5a3a30"))
        x = (c.u - edge + 0.45) * 5.5
        key = x.floor() + 9 * row
        dx, high = (x - x.floor() - 0.5) / 5.5, 0.12 + 0.11 * chance(key, p.c)
        jar = torch.minimum(0.068 - dx.abs() + 0 * c.v, torch.minimum(c.v - y + high, y - c.v))
        jar = c.edge(torch.minimum(jar, 0.48 - (c.u - edge).abs())) * (chance(key, p.d) > 0.15)
        jars = rgb("#d96c4f", "#e8b44a", "#7fa86a", "#5f93a8", "#f4efe4", "#b5707f")
        c.fill(jar, coloured(jars, key, 0.6).expand(-1, -1, c.v.shape[1], -1))
        c.fill(jar * c.edge(y - high + 0.035 - c.v), rgb("#8a5f45"))
        c.fill(jar * c.edge(0.012 - (dx + 0.035).abs()) * 0.5, torch.ones(3))
    counter = p.pick(p.c, "#5f8a85", "#c97f5f", "#6d7fa8", "#8f9f6a")
    c.fill(c.edge(c.v - 0.55) + 0 * c.u, counter)
    c.fill(c.edge(torch.minimum(c.v - 0.5, 0.58 - c.v)) + 0 * c.u, rgb("#efe2cd"))
    door = ((c.u * 1.8 + p.d).remainder(1) - 0.5).abs() / 1.8
    c.fill(c.edge(torch.minimum(0.01 - (door - 0.22).abs(), c.v - 0.64)) * 0.5, counter * 0.6)
    bowl = 0.5 * side
    c.fill(c.edge(torch.minimum(c.oval(bowl, 0.38, 0.2, 0.13), c.v - 0.38)), rgb("#f7f2ea"))
    for k, fruit in enumerate(("#e5533d", "#f0a030", "#8fb84a")):
        c.fill(c.edge(torch.minimum(c.oval(bowl - 0.1 + 0.1 * k, 0.35, 0.075, 0.075), 0.39 - c.v)), rgb(fruit))
    kettle = -0.45 * side
    c.fill(c.edge(torch.minimum(0.016 - c.oval(kettle, 0.3, 0.12, 0.13).abs(), 0.31 - c.v)), rgb("#444250"))
    c.fill(c.edge(c.line(kettle + 0.1 * side, 0.4, kettle + 0.22 * side, 0.3, 0.035, 0.022)), rgb("#5d5a68"))
    c.fill(
        c.edge(torch.minimum(c.oval(kettle, 0.42, 0.16, 0.15), 0.5 - c.v)),
        p.pick(p.a, "#c8504a", "#4f7f9c", "#e0b34f", "#6f9a78"),
    )


def draw_stage(c: Canvas, p: Place) -> None:
    cloth = p.pick(p.a, "#a3263a", "#7a2f6e", "#1f5a6e", "#2f4a8c", "#8c3f2a")
    c.paint[:] = (cloth * 0.4)[:, :, None, None]
    fold = torch.sin(c.u * 26 + 1.5 * torch.sin(3 * c.u + 6 * p.b))
    c.fill((0.5 + 0.5 * fold).clamp(0, 1) * 0.55 + 0 * c.v, cloth)
    # Spotlights from above, crossing.
    for k in range(3):
        x0, x1 = (-0.75, 0.0, 0.75)[k], (0.35, 0.0, -0.35)[k] + 0.5 * (p.c - 0.5)
        t = (c.v + 1.1) / 1.9
        beam = 0.06 + 0.34 * t - (c.u - x0 - (x1 - x0) * t).abs()
        c.fill(
            c.edge(beam, 0.06) * 0.2 * smooth(1.2, -0.8, c.v),
            p.pick((p.d + 0.3 * k).remainder(1), "#fff0c0", "#c8e4ff", "#ffc8dc", "#d8ffd0"),
        )
    floor = c.edge(c.v - 0.6) + 0 * c.u
    c.fill(floor, rgb("#8a5f43"))
    plank = (c.u / (c.v + 0.9) * 9).remainder(1)
    c.fill(floor * c.edge((plank - 0.93) * 0.1) * 0.5, rgb("#523626"))
    c.fill(floor * c.glow(0.5 * (p.c - 0.5), 0.85, 0.8, 0.2) * 0.6, rgb("#ffdfa8"))
    for side in (-1, 1):
        inner = side * (0.7 + 0.12 * torch.cos(2.2 * c.v + 0.6))
        d = side * (c.u - inner)
        folds = torch.sin(34 * (c.u + 0.06 * torch.sin(4 * c.v)))
        c.fill(c.edge(d), cloth * 0.85)
        c.fill(c.edge(d) * folds.clamp(0, 1) * 0.6, mix(cloth, torch.tensor([1.0, 0.7, 0.6]), 0.25))
        c.fill(c.edge(d) * (-folds).clamp(0, 1) * 0.6, cloth * 0.45)
        c.fill(c.edge(0.025 - (d - 0.02).abs()), rgb("#e9b949"))
    swag = -0.78 - 0.12 * torch.cos(c.u * 7).abs() * -1
    c.fill(c.edge(swag - c.v), cloth * 0.95)
    c.fill(c.edge(swag - c.v) * (torch.sin(c.u * 30).clamp(0, 1) * 0.4), cloth * 0.5)
    c.fill(c.edge(0.025 - (c.v - swag).abs()), rgb("#e9b949"))
    for k in range(6):
        x, y = -0.9 + 0.36 * k, -0.62 + 0.08 * (k % 2)
        c.fill(c.glow(x, y, 0.12, 0.12) * 0.45 * (p.b > 0.35), rgb("#ffe4a8"))
        c.fill(c.disc(x, y, 0.03, 0.03) * (p.b > 0.35), rgb("#fff6da"))
