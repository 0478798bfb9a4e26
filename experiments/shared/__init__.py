"""What laboratories share: claims, ranges of settings, learning-coefficient curves, statistics, the style of figures."""
