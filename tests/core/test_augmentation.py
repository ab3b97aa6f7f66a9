"""Variants of a photo: the mask goes with the picture."""

import torch

from persona_core.photos import VARIANTS, Photo, augmented, jittered

HEIGHT, WIDTH = 60, 80


def photo(shade: float = 1.0) -> Photo:
    """Bright on the left, where the mask is."""
    left = (torch.arange(WIDTH) < WIDTH // 2).float().expand(HEIGHT, WIDTH)
    return Photo((shade * left)[..., None].expand(-1, -1, 3).clone(), left.clone())


def test_another_light_changes_what_it_says():
    image = torch.rand(8, 9, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(jittered(image, 1, 1, 1), image)
    torch.testing.assert_close(jittered(image, 0.8, 1, 1), 0.8 * image)
    grey = jittered(image, 1, 1, 0)
    torch.testing.assert_close(grey, image.mean(-1, keepdim=True).expand_as(image))
    flat = jittered(image, 1, 0.5, 1)
    torch.testing.assert_close(flat.std(), 0.5 * image.std())
    torch.testing.assert_close(flat.mean(), image.mean())
    assert jittered(image, 5, 1, 1).max() == 1


def test_variants_are_of_other_light_and_both_ways_and_as_large_as_the_photo():
    views = augmented([photo(0.5)], seed=3)
    assert len(views) == VARIANTS
    masks = photo().mask, photo().mirrored().mask
    ways = [[torch.equal(view.mask, mask) for mask in masks] for view in views]
    assert all(map(any, ways))
    assert VARIANTS // 4 < sum(left for left, _ in ways) < 3 * VARIANTS // 4
    shades = torch.tensor([float(view.image[view.mask > 0.5].mean()) for view in views])
    assert shades.std() > 0.03


def test_the_same_seed_gives_the_same_variants_and_each_photo_its_turn():
    one, two, other = (augmented([photo()], seed) for seed in (1, 1, 2))
    assert all(torch.equal(a.image, b.image) and torch.equal(a.mask, b.mask) for a, b in zip(one, two, strict=True))
    assert not all(torch.equal(a.image, b.image) for a, b in zip(one, other, strict=True))
    dark, bright = augmented([photo(0.2), photo(0.8)], 0)[:2]
    assert dark.image[dark.mask > 0.5].mean() < 0.5 < bright.image[bright.mask > 0.5].mean()
    assert len(augmented([photo()] * 40, 0)) == 40
