"""Places under the sky."""

import torch
from torch import Tensor

from .canvas import Canvas, mix, rgb, smooth
from .place import Place, chance, draw_sky, peaks, ridge, stars


def draw_garden(c: Canvas, p: Place) -> None:
    draw_sky(c, p, 0.15)
    far = mix(p.tone("#8fb78a"), p.sky(0.8), 0.45)
    c.fill(c.edge(c.v - 0.0 - ridge(c, p.a, (3.0, 0.06), (7.0, 0.02))), far)
    for k, green in enumerate(("#6fa868", "#57945a")):
        bumps = -0.07 * torch.sin(c.u * (9 + 3 * k) + 6 * p.b + k).abs() - 0.02 * torch.sin(c.u * 41).abs()
        c.fill(c.edge(c.v - 0.14 - 0.1 * k - bumps), p.tone(green))
    tree(c, p, mix(-0.85, -0.55, p.c), 0.3, 0.4, "#5f9c5b")
    tree(c, p, mix(0.6, 0.95, p.d), 0.34, 0.5, "#74ad62")
    # A fence, grass before it and flowers in the grass.
    board = ((c.u * 6 + p.a).remainder(1) - 0.5).abs() / 6
    fence = torch.minimum(0.055 - board, torch.minimum(c.v - 0.2 - board * 0.9, 0.62 - c.v))
    rail = torch.minimum(c.v - 0.33, 0.38 - c.v)
    c.fill(c.edge(torch.maximum(fence, rail)), p.tone(p.pick(p.b, "#f7f0e2", "#d9b48a", "#c4d6dc")))
    grass = 0.5 + 0.02 * torch.sin(c.u * 60).abs() + ridge(c, p.c, (2.0, 0.03))
    c.fill(c.edge(c.v - grass), p.tone("#86b95a"))
    c.fill(c.edge(c.v - grass) * smooth(0.5, 1.1, c.v) * 0.5, p.tone("#4f8a48"))
    petals = rgb("#f2789a", "#fbe9ef", "#f7c948", "#e2574c", "#a98bd8")
    for row in range(3):
        x = c.u * (7 - row) + 5 * p.d + 0.4 * row
        key = x.floor() + 17 * row
        dx, y = (x - x.floor() - 0.3 - 0.4 * chance(key, 0.3)) / (7 - row), 0.6 + 0.15 * row + 0.09 * chance(key, 0.6)
        size = 0.035 + 0.012 * row
        c.fill(c.edge(torch.minimum(0.008 - dx.abs(), torch.minimum(c.v - y, y + 0.1 - c.v))), p.tone("#3f7a3c"))
        dot = size * (0.8 + 0.2 * torch.cos(5 * torch.atan2(c.v - y, dx))) - (dx**2 + (c.v - y) ** 2).sqrt()
        colours = (
            p.tone(petals[row])
            if row == 1
            else p.tone(p.pick((p.a + 0.37 * row).remainder(1), "#f2789a", "#f7c948", "#e2574c", "#a98bd8"))
        )
        c.fill(c.edge(dot), colours)
        c.fill(c.edge(0.35 * size - (dx**2 + (c.v - y) ** 2).sqrt()), p.tone("#f9e08a"))


def tree(c: Canvas, p: Place, x: Tensor, foot: float, size: float, green: str) -> None:
    c.fill(c.edge(c.line(x, foot, x, foot - size, 0.045, 0.03)), p.tone("#7a5640"))
    crown = c.oval(x, foot - 1.25 * size, 0.62 * size, 0.66 * size)
    angle = torch.atan2(c.v - foot + 1.25 * size, c.u - x)
    bumps = 0.03 * torch.sin(5.5 * angle + 3).abs()
    c.fill(c.edge(crown + bumps), p.tone(green))
    c.fill(
        c.edge(c.oval(x - 0.12 * size, foot - 1.42 * size, 0.4 * size, 0.4 * size) + bumps) * 0.5,
        mix(p.tone(green), p.tone("#e9f3a8"), 0.35),
    )


def draw_street(c: Canvas, p: Place) -> None:
    draw_sky(c, p, 0.3)
    walls = ("#e8a583", "#f0cf9a", "#a9c2c9", "#d98880", "#c9bfe0", "#b5cfa3", "#f3e2cf")
    for depth, (count, base, foot) in enumerate(((3.2, -0.25, 0.55), (1.9, -0.5, 0.62))):
        x = c.u * count + 7 * p.a + 3.7 * depth
        key, inside = x.floor(), x.remainder(1)
        roof = base - 0.3 * chance(key, p.b + depth)
        gable = 0.3 * (chance(key, p.c) > 0.5) * (inside - 0.5).abs()
        there = (chance(key, p.d + 0.3) > 0.3).float() if depth else torch.ones_like(x)
        house = c.edge(torch.minimum(c.v - roof - gable, foot - c.v)) * there
        colours = rgb(*walls)[(chance(key, 0.4) * 6.99).long()[:, 0]].permute(0, 2, 1)[:, :, None]
        tone = p.tone(torch.ones(3))[:, :, None, None]
        colours = (mix(colours * tone, p.sky(0.6)[:, :, None, None], 0.35 - 0.25 * depth)).expand(
            -1, -1, c.v.shape[1], -1
        )
        c.fill(house, colours)
        trim = c.edge(torch.minimum(c.v - roof - gable, roof + gable + 0.06 - c.v)) * there
        c.fill(trim, p.tone(p.pick(p.c, "#8a5a4c", "#5d6878", "#7a4f58")))
        # Windows, some of them lit at night.
        wx, wy = (inside * 3).remainder(1) - 0.5, ((c.v - roof) * 5.2).remainder(1) - 0.5
        cell = (inside * 3).floor() + 5 * ((c.v - roof) * 5.2).floor() + 11 * key
        pane = torch.minimum(0.26 - wx.abs(), 0.3 - wy.abs()) / (3 * count) * 2
        pane = c.edge(torch.minimum(pane, torch.minimum(c.v - roof - 0.16, foot - 0.16 - c.v))) * there
        lit = (chance(cell, p.a) > 0.45).float() * p.night
        c.fill(pane, mix(p.tone("#8fb4c6"), p.tone("#53708c"), 0.4))
        c.fill(pane * (lit + 0.35 * p.sunset), rgb("#ffd889"))
        c.fill(house * c.edge(0.006 - inside.minimum(1 - inside) / count) * 0.5, p.tone("#6b5560"))
    c.fill(c.edge(c.v - 0.58), p.tone("#b9b3b4"))
    c.fill(c.edge(c.v - 0.74), p.tone("#77757f"))
    c.fill(c.edge(torch.minimum(c.v - 0.72, 0.76 - c.v)), p.tone("#e3dcd2"))
    dash = torch.minimum(((c.u * 2 + p.b).remainder(1) - 0.5).abs() - 0.25, 0.012 - (c.v - 0.9).abs())
    c.fill(c.edge(dash), p.tone("#efe6cf"))
    for x in (-0.78 + 0.2 * p.d, 0.72 + 0.2 * p.c):
        c.fill(c.edge(c.line(x, 0.7, x, -0.34, 0.022, 0.014)), p.tone("#3d4250"))
        c.fill(c.glow(x, -0.42, 0.3, 0.3) * 0.7 * p.night, rgb("#ffdf9a"))
        c.fill(c.disc(x, -0.42, 0.07, 0.09), mix(p.tone("#e9e6da"), rgb("#fff0c4"), 1 - p.day[:, 0]))
        c.fill(c.disc(x, -0.53, 0.08, 0.03), p.tone("#3d4250"))


def draw_beach(c: Canvas, p: Place) -> None:
    horizon = 0.12
    draw_sky(c, p, horizon)
    isle = -0.16 * torch.exp(-(((c.u - mix(-0.9, 0.9, p.d)) / 0.4) ** 2)) - 0.06 * torch.exp(
        -(((c.u - mix(-0.5, 1.2, p.d)) / 0.3) ** 2)
    )
    c.fill(
        c.edge(torch.minimum(c.v - horizon - isle - 0.01, horizon + 0.02 - c.v)),
        mix(p.tone("#6f93a0"), p.sky(0.8), 0.45),
    )
    c.fill(c.edge(c.v - horizon), p.tone("#4fb0c0"))
    deep = c.edge(c.v - horizon)
    c.fill(deep * smooth(0.5, 0.1, c.v) * 0.7, p.tone("#2f7fa8"))
    c.fill(
        deep * c.edge(torch.sin(c.v**2 * 130 + 1.2 * torch.sin(9 * c.u + 5 * p.a)) * 0.03 - 0.02) * 0.3,
        p.tone("#bfe6e6"),
    )
    c.fill(
        deep * c.glow(mix(-0.8, 0.8, p.a), 0.1, 0.2, 0.5) * 0.7 * (1 - p.day),
        mix(rgb("#ffd9a0"), rgb("#c8d4f5"), p.night[:, 0]),
    )
    sail = mix(-0.6, 0.7, p.c)
    c.fill(
        c.edge(torch.minimum(torch.minimum(c.u - sail, 0.17 - c.v), (c.v + 0.12) * 0.55 - (c.u - sail))),
        p.tone("#fbf6ea"),
    )
    c.fill(c.disc(sail + 0.05, 0.17, 0.11, 0.03), p.tone(p.pick(p.b, "#c8504a", "#3c5a8c", "#e0a63c")))
    shore = 0.5 + ridge(c, p.b, (2.2, 0.05), (5.0, 0.02))
    c.fill(c.edge(c.v - shore + 0.06), p.tone("#e9fbf6"))
    c.fill(c.edge(c.v - shore), p.tone("#d9b98a"))
    c.fill(c.edge(c.v - shore - 0.05), p.tone("#f0d7a6"))
    c.fill(c.edge(c.v - shore) * smooth(0.6, 1.1, c.v) * 0.35, p.tone("#c99a68"))
    draw_umbrella(c, p, torch.where(p.c > 0.5, -0.68, 0.68))


def draw_umbrella(c: Canvas, p: Place, x: Tensor) -> None:
    c.fill(c.edge(c.line(x, 0.75, x, -0.1, 0.018, 0.014)), p.tone("#f2eee2"))
    shade = torch.minimum(c.oval(x, 0.1, 0.42, 0.36), 0.06 + 0.02 * torch.sin((c.u - x) * 30).abs() - c.v)
    c.fill(c.edge(shade), p.tone(p.pick(p.d, "#e4574f", "#3f8fb8", "#f0b33f", "#58a878")))
    t = (c.u - x) / (0.42 * torch.sqrt((1 - ((c.v - 0.1) / 0.36) ** 2).clamp(min=0.02)))
    c.fill(c.edge(shade) * c.edge(torch.cos(t * 7.85) * 0.04), p.tone("#fff5e4"))


def draw_forest(c: Canvas, p: Place) -> None:
    draw_sky(c, p, 0.6)
    mist = p.sky(0.85)
    for depth in range(4):
        near = (depth + 1) / 4
        count = 5.5 - 1.0 * depth
        x = c.u * count + 9 * p.a + 2.3 * depth
        key = x.floor()
        dx = (x - key - 0.3 - 0.4 * chance(key, p.b + depth)) / count
        wide = (0.022 + 0.035 * near) * (0.7 + 0.6 * chance(key, p.c)) * (1 + 0.5 * smooth(0.2, 0.7, c.v))
        bark = mix(mist, p.tone(p.pick(p.d, "#5b4436", "#4a4650", "#6b4a3a")), 0.2 + 0.75 * near)
        foliage = mix(mist, p.tone(p.pick(p.c, "#4f8a55", "#3f7a60", "#c9853f")), 0.25 + 0.65 * near)
        top = (
            -0.62
            - 0.25 * near
            + 0.16 * torch.sin(c.u * 5 + 7 * p.b + 2 * depth)
            + 0.05 * torch.sin(c.u * (19 + 5 * depth)).abs()
        )
        ground = 0.36 + 0.14 * depth + ridge(c, p.a + 0.2 * depth, (3.0, 0.04), (8.0, 0.012))
        c.fill(c.edge(torch.minimum(wide - dx.abs(), ground + 0.05 - c.v)), bark)
        c.fill(c.edge(top - c.v), foliage)
        c.fill(c.edge(c.v - ground + 0.02 * torch.sin(c.u * 50).abs()), mix(foliage, p.tone("#7fae5c"), 0.3))
    for k in range(3):
        beam = (c.u + 0.55 * c.v - 0.55 * k + 0.4 - 0.3 * p.d).abs()
        c.fill(c.edge(0.1 - beam, 0.12) * 0.16 * smooth(0.7, -0.6, c.v) * (1 - 0.6 * p.night), rgb("#fff3c8"))
    if (p.night > 0).any():
        stars(c, p, p.night * smooth(-0.2, 0.5, c.v) * 0.8, 5.0)  # fireflies


def draw_mountains(c: Canvas, p: Place) -> None:
    draw_sky(c, p, 0.4)
    for depth, (count, base, height) in enumerate(((1.5, 0.05, 0.85), (1.15, 0.3, 0.85), (1.9, 0.48, 0.5))):
        line = base + peaks(c, p.a + 0.37 * depth, count, height)
        rock = mix(p.sky(0.75), p.tone(("#8d9cc0", "#6b7da8", "#55688f")[depth]), 0.55 + 0.2 * depth)
        whole = c.edge(c.v - line)
        c.fill(whole, rock)
        jag = 0.06 * torch.sin(c.u * 17 + depth) + 0.03 * torch.sin(c.u * 37)
        snow = c.edge(torch.minimum(c.v - line, line + 0.2 + jag - c.v))
        c.fill(snow, mix(p.sky(0.75), p.tone("#ffffff"), 0.75))
        side = torch.cat([line.diff(dim=2), line.diff(dim=2)[:, :, -1:]], 2) > 0
        c.fill(whole * side * 0.22, p.tone("#3d4f80"))
        c.fill(whole * smooth(base - 0.1, base + 0.35, c.v) * 0.5, mix(p.sky(0.9), p.tone("#e8eefa"), 0.4))
    ground = 0.5 + ridge(c, p.b, (2.0, 0.06), (4.5, 0.02))
    for depth in range(2):
        count = 6.0 - 2 * depth
        x = c.u * count + 7 * p.c + depth
        key = x.floor()
        dx = (x - key - 0.5).abs() / count
        high = (0.3 + 0.18 * depth) * (0.6 + 0.6 * chance(key, p.d))
        up = (ground + 0.04 + 0.1 * depth - c.v) / high
        pine = 0.5 * (1 - up) / count * (0.75 + 0.3 * (up * 4).remainder(1)) - dx
        there = chance(key, p.b + 0.1) > 0.25 + 0.25 * depth
        pine = c.edge(torch.minimum(pine, up * high)) * there
        c.fill(pine, mix(p.tone("#3f6a5e"), p.sky(0.8), 0.3 - 0.25 * depth))
        c.fill(pine * c.edge(((up * 4).remainder(1) - 0.7) * 0.1) * 0.6, p.tone("#f0f5fb"))
        c.fill(c.edge(c.v - ground - 0.08 * depth), p.tone(("#dfe8f5", "#f4f8fd")[depth]))
    c.fill(c.edge(c.v - ground - 0.08) * smooth(0.6, 1.1, c.v) * 0.4, p.tone("#b8c8e6"))


def draw_night_sky(c: Canvas, p: Place) -> None:
    top, low = p.pick(p.a, "#0f1440", "#1a1147", "#0b2440"), p.pick(p.a, "#4a4f9c", "#8a4f96", "#2f7f95")
    t = smooth(-1.0, 0.7, c.v)[:, None]
    c.paint[:] = mix(top[:, :, None, None], low[:, :, None, None], t)
    slope = c.v + 0.55 * (c.u * torch.where(p.b > 0.5, 1.0, -1.0)) + 0.25 + 0.08 * torch.sin(5 * c.u + 6 * p.c)
    c.fill(torch.exp(-((slope / 0.26) ** 2)) * 0.35, mix(low, torch.tensor([1.0, 0.85, 0.95]), 0.45))
    for count in (6.0, 11.0, 17.0):
        stars(c, p, torch.ones_like(p.a) * (1.1 - count / 22), count)
    x = mix(-0.75, 0.75, p.d)
    c.fill(c.glow(x, -0.55, 0.5, 0.5) * 0.35, rgb("#f7e8c0"))
    c.fill(c.disc(x, -0.55, 0.2, 0.2), rgb("#fbf1d2"))
    c.fill(c.disc(x - 0.06, -0.6, 0.05, 0.04) * 0.5 + c.disc(x + 0.07, -0.5, 0.07, 0.06) * 0.5, rgb("#e6d6ae"))
    tail = c.line(-x * 0.8, -0.75, -x * 0.8 + 0.35, -0.95, 0.012, 0.0)
    c.fill(c.edge(tail) * 0.9, rgb("#fff8e4"))
    for depth, tint in enumerate(("#2b3168", "#191c45", "#0f1230")):
        hill = 0.42 + 0.17 * depth + ridge(c, p.c + 0.3 * depth, (1.7 + depth, 0.09), (4.6, 0.03))
        c.fill(c.edge(c.v - hill), rgb(tint))
