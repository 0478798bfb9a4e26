"""What laboratories share: claims, ranges of settings, learning-coefficient curves, statistics, how figures look."""
