"""Cross-validation folds that keep duplicates together and every class in every part."""

import numpy as np

FEWEST = 5  # images of a class in a sample: as many as a cross-validation usually has folds


def make_folds(labels: np.ndarray, groups: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
    """Split positions 0..N-1 into stratified, grouped folds.

    scikit-learn's `StratifiedGroupKFold` may leave classes out of parts on small grouped data (scikit-learn#33085), so
    groups are dealt out greedily here: class by class, the largest groups first, each to the fold that has the fewest
    of that class (then the fewest images).

    Args:
        labels: class index of each image, `[N]`.
        groups: duplicate group of each image, `[N]`; a group never straddles folds.
        count: number of folds; fewer come back when a class has fewer groups than that (at least two).
        seed: decides ties and the order of equal groups.
    """
    generator = np.random.default_rng(seed)
    _, firsts, inverse, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    group_labels = labels[firsts]
    smallest = int(np.bincount(group_labels, minlength=int(labels.max()) + 1).min())
    count = max(2, min(count, smallest))
    filled = np.zeros((count, int(labels.max()) + 1), dtype=np.int64)
    fold_of_group = np.zeros(len(sizes), dtype=np.int64)
    shuffled = generator.permutation(len(sizes))
    for group in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        label = group_labels[group]
        offset = int(generator.integers(count))
        load = [(filled[fold, label], filled[fold].sum(), (fold + offset) % count) for fold in range(count)]
        fold = load.index(min(load))
        filled[fold, label] += sizes[group]
        fold_of_group[group] = fold
    fold_of_row = fold_of_group[inverse]
    return [np.flatnonzero(fold_of_row == fold) for fold in range(count)]


def make_repeated_folds(
    labels: np.ndarray, groups: np.ndarray, count: int, repeats: int, seed: int
) -> list[list[np.ndarray]]:
    """Several partitions into folds, each drawn by itself; the first is `make_folds`' with the same seed.

    Args:
        labels: class index of each image, `[N]`.
        groups: duplicate group of each image, `[N]`.
        count: number of folds of a partition.
        repeats: number of partitions, at least one.
        seed: decides them all.
    """
    seeds = [seed, *(int(drawn) for drawn in np.random.SeedSequence(seed).generate_state(repeats - 1))]
    return [make_folds(labels, groups, count, one) for one in seeds]


def draw_sample(labels: np.ndarray, groups: np.ndarray, images: int, seed: int) -> np.ndarray:
    """Positions, ascending, of about `images` images in which every class has its share.

    Args:
        labels: class index of each image, `[N]`.
        groups: duplicate group of each image, `[N]`; a group is drawn as a whole.
        images: how many are wanted. It may be a few more or less, for groups of several images; and every class has
            five images, or all that it has, so many classes make it more.
        seed: decides the draw.
    """
    generator = np.random.default_rng(seed)
    _, firsts, inverse, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    group_labels = labels[firsts]
    share = min(1.0, images / len(labels))
    chosen = np.zeros(len(sizes), bool)
    for label in np.unique(group_labels):
        mine = generator.permutation(np.flatnonzero(group_labels == label))
        before = np.cumsum(sizes[mine]) - sizes[mine]  # images that come before a group
        chosen[mine[before < max(FEWEST, round(share * sizes[mine].sum()))]] = True
    return np.flatnonzero(chosen[inverse])
