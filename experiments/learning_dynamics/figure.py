def draw(results):
    import matplotlib.pyplot as plt

    f = plt.figure()
    plt.close(f)
    return f
