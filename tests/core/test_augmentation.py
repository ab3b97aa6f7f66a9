"""Variants of a photo: the mask goes with the picture, and what lies around it is not learned."""

import torch

from persona_core.photos import AROUND, VARIANTS, Photo, augmented, jittered, shrunk

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


def test_around_a_smaller_photo_nothing_is_learned():
    small = shrunk(photo(), 0.5, across=1.0, down=0.0)
    assert small.image.shape == (HEIGHT, WIDTH, 3) and small.mask.shape == (HEIGHT, WIDTH)
    outside = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    outside[: HEIGHT // 2, WIDTH // 2 :] = False
    assert (small.image[outside] == AROUND).all() and (small.mask[outside] == 0).all()
    inside = small.mask[: HEIGHT // 2, WIDTH // 2 :]
    torch.testing.assert_close(inside, small.image[: HEIGHT // 2, WIDTH // 2 :, 0])
    assert inside[:, :18].min() == 1 and inside[:, 22:].max() == 0


def test_variants_are_of_all_sizes_from_half_on_and_both_ways():
    """In a smaller one a face would be a few cells, which would count as much as a whole one."""
    views = augmented([photo(0.5)], seed=3)
    assert len(views) == VARIANTS
    # The masked half of the photo, in the shares of the whole.
    areas = torch.tensor([float(view.mask.sum()) for view in views]) / (HEIGHT * WIDTH / 2)
    assert 0.23 < areas.min() < 0.4 and 0.7 < areas.max() <= 1.01
    lefts = [brighter_on_the_left(view) for view in views]
    assert VARIANTS // 4 < sum(lefts) < 3 * VARIANTS // 4
    shades = torch.tensor([float(view.image[view.mask > 0.9].mean()) for view in views if view.mask.max() > 0.9])
    assert shades.std() > 0.03  # of light


def brighter_on_the_left(view: Photo) -> bool:
    """Whether the masked half lies left in the patch that is no grey canvas."""
    columns = (view.image != AROUND).any(-1).any(0).nonzero()[:, 0]
    middle = (int(columns.min()) + int(columns.max()) + 1) // 2
    return bool(view.mask[:, :middle].sum() > view.mask[:, middle:].sum())


def test_the_same_seed_gives_the_same_variants_and_each_photo_its_turn():
    one, two, other = (augmented([photo()], seed) for seed in (1, 1, 2))
    assert all(torch.equal(a.image, b.image) and torch.equal(a.mask, b.mask) for a, b in zip(one, two, strict=True))
    assert not all(torch.equal(a.image, b.image) for a, b in zip(one, other, strict=True))
    dark, bright = augmented([photo(0.2), photo(0.8)], 0)[:2]
    assert dark.image[dark.mask > 0.5].mean() < 0.5 < bright.image[bright.mask > 0.5].mean()
    assert len(augmented([photo()] * 40, 0)) == 40
