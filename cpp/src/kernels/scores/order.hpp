// The options of the scores in the order in which they touch one, listed once. What hides a score
// comes after them: mask, then position.
//
// What walks the list: block_options.hpp with rows in the lanes, row_options.hpp with keys in the
// lanes, option_gradients.hpp on the way back.
#pragma once

#include "kernels/scores/alibi.hpp"
#include "kernels/scores/bias.hpp"
#include "kernels/scores/key_norms.hpp"
#include "kernels/scores/option_chain.hpp"
#include "kernels/scores/position_bias.hpp"
#include "kernels/scores/query_scale.hpp"
#include "kernels/scores/score_mod.hpp"
#include "kernels/scores/softcap.hpp"

namespace regard::kernels {
namespace {

/// The list. What belongs to a query alone is part of Q' (scale.hpp).
template <class V>
using OptionsInOrder = OptionChain<V, QueryScale, KeyNorms, Softcap, Alibi, ScoreMod, RelativeBias,
                                   GridBias, ArrayBias>;

}  // namespace
}  // namespace regard::kernels
