"""Toy models: tasks, models, training as a pure function, and what one reads off the weights.

`import toymodels as tm` is the whole API.
"""

# ruff: noqa: F401, I001
from toymodels import plots
from toymodels.analysis.circuits import Expansion, ablate, circuit_eigenvalues, composition, composition_baseline
from toymodels.analysis.circuits import copying_score, ov, path_expansion, patterns, qk
from toymodels.analysis.circuits import prefix_matching_score, previous_token_score
from toymodels.analysis.features import LIVE, POLYTOPES, Geometry, blocks, canonical, dimensionality
from toymodels.analysis.features import dimensions_per_feature, geometry, interference, kgon, leverage
from toymodels.analysis.features import polytope, transitions
from toymodels.analysis.fourier import answered, basis, directions, excluded, gini, key_frequencies, norms
from toymodels.analysis.fourier import projection, restricted, shares
from toymodels.models.autoencoder import Autoencoder
from toymodels.models.embedding_mlp import EmbeddingMLP
from toymodels.models.mlp import MLP
from toymodels.models.transformer import Attention, Transformer
from toymodels.prng import implementation, key, lowbias32
from toymodels.task import Apply, Batch, Loss, Model, Params, Task, draw_rows, finite, objective, sampling, split, whole
from toymodels.tasks.correlated import correlated_levels, correlated_loss, correlated_nodes, correlated_sets
from toymodels.tasks.correlated import merged_pairs
from toymodels.tasks.in_context_regression import Prior, dmmse, gaussian_prior, guesses, icl_regression
from toymodels.tasks.in_context_regression import pairs, ridge, tokens, uniform_prior
from toymodels.tasks.linear_regression import gaussian_inputs, regression, uniform_inputs
from toymodels.tasks.losses import answer_loss, cross_entropy, entropy, kl, token_losses
from toymodels.tasks.markov import bigram, entropy_rate, markov_chains, predictors, sequences, stationary
from toymodels.tasks.markov import transition_matrices, unigram
from toymodels.tasks.modular_arithmetic import Entropies, Operation, entropies, modular, table
from toymodels.tasks.moments import drawn_moments, empirical_potential, population_moments
from toymodels.tasks.superposition import levels, one_sparse, polygon, potential, quadrature, sparse_features
from toymodels.tasks.text import bigram_score, bigrams, common_ngrams, decode, encode, ends_ngram
from toymodels.tasks.text import king_james, ngram_numbers, text_windows, vocabulary
from toymodels.training import MAX_STEP, TrainState, Trajectory, advance, linear_steps, log_steps, segment, start
from toymodels.training import train, union
