from matplotlib.figure import Figure
def draw(results):
    return Figure()
